//! What the store gives back.

use countersign_core::{
    canonical::Hash,
    id::{CredentialId, PersonId, RequestId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which cases to list. Every field narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseFilter {
    /// Phase names; empty means all.
    pub phases: Vec<String>,
    /// The requester (`agent:deploy-bot`).
    pub requester: Option<String>,
    /// The owner answerable for the requester, or the requester itself, or anybody in its chain.
    pub side_of: Option<PersonId>,
    /// Of which a rule was lifted in an emergency, by how its review stands.
    pub emergency: Option<ReviewFilter>,
    /// The target's name.
    pub target: Option<String>,
    /// Text contained in title, stated reason or requester, without regard to case.
    pub text: Option<String>,
    /// Asked at or after.
    pub since: Option<Timestamp>,
    /// Asked before.
    pub until: Option<Timestamp>,
    /// Continue after this request of the page before.
    pub after: Option<RequestId>,
    /// At most this many, 1 to 200.
    pub limit: u32,
}

/// How the review of an emergency stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewFilter {
    /// However it stands.
    Any,
    /// Nobody has reviewed it, and there is time until then or later.
    Due(Timestamp),
    /// Nobody has reviewed it, and somebody had to before then.
    Overdue(Timestamp),
    /// Everything of it is reviewed.
    Reviewed,
}

impl ReviewFilter {
    /// Whether it takes a case that must be reviewed by then; `None` for one that is reviewed.
    pub(crate) fn takes(self, review_by: Option<Timestamp>) -> bool {
        match self {
            Self::Any => true,
            Self::Due(now) => review_by.is_some_and(|by| by >= now),
            Self::Overdue(now) => review_by.is_some_and(|by| by < now),
            Self::Reviewed => review_by.is_none(),
        }
    }
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseSummary {
    /// Name.
    pub id: RequestId,
    /// Phase name.
    pub phase: String,
    /// `agent:deploy-bot`.
    pub requester: String,
    /// Target.
    pub target: String,
    /// One line of what.
    pub title: String,
    /// Why, as stated.
    pub reason: Option<String>,
    /// When asked.
    pub at: Timestamp,
    /// When it next changes by itself.
    pub deadline: Option<Timestamp>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The lines.
    pub items: Vec<T>,
    /// Pass as `after` for the next page; `None` on the last.
    pub next: Option<RequestId>,
}

/// The bundle that decides.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveBundle {
    /// Its hash.
    pub hash: Hash,
    /// Path and text of each file, as JSON object.
    pub files: Value,
    /// The directory it brought, with times of joining, as JSON of the core's `Directory`.
    pub directory: Value,
    /// Since when.
    pub activated: Timestamp,
    /// The request that approved it; `None` at first start and after recovery.
    pub request: Option<RequestId>,
}

/// A change of the directory made while running.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryEntry {
    /// The change, as JSON of the policy crate's `DirectoryChange`.
    pub change: Value,
    /// When.
    pub at: Timestamp,
    /// Whether somebody else countersigned it.
    pub countersigned: bool,
}

/// What a secret is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A sign-in link, used once.
    Link,
    /// A browser or terminal session of a person.
    Session,
    /// A token of an agent, a workload or a person's command line; never votes.
    Token,
    /// A passkey of a person, which signs votes and begins sessions.
    Passkey,
    /// A person's account in a chat, which decides there. It begins no session.
    Account,
}

/// A credential; its secret is kept only as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCredential {
    /// Name.
    pub id: CredentialId,
    /// Kind.
    pub kind: CredentialKind,
    /// SHA-256 of the secret, which has 256 random bits; of a passkey, of the name its authenticator
    /// has for it, and of an account of what it is called there, which are no secrets.
    pub secret: Hash,
    /// `person:…`, `agent:…` or `workload:…`.
    pub holder: String,
    /// The person who had it issued; `None` for the installation itself.
    pub issued_by: Option<PersonId>,
    /// The credential it came from: the link or passkey of a session.
    pub parent: Option<CredentialId>,
    /// When issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When a link was used.
    pub used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// Whether it was revoked because its holder was stopped or disabled.
    pub revoked_with_holder: bool,
    /// Further data of its kind, for example the hash of a session's CSRF token.
    pub extra: Value,
}

/// What a channel shows of a request in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The channel's name.
    pub channel: String,
    /// The request.
    pub request: RequestId,
    /// Where: a place in the channel's own words, or whoever is told in private: their name, or that of the
    /// credential whose holder it is; what goes with it stands behind it.
    pub place: String,
    /// The channel's name for the message, as soon as it has one.
    pub message: Option<String>,
    /// What it shows, so that the same is not sent again.
    pub shown: Option<Hash>,
    /// Whether nothing will change on it any more.
    pub done: bool,
}

/// What somebody asked of a gate and is answered later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The gate's own name.
    pub gate: String,
    /// By what the same is recognised.
    pub key: String,
    /// When it came.
    pub at: Timestamp,
    /// How far it is, in the gate's own form.
    pub state: String,
    /// Whether nothing is owed any more. It stays so, and is kept for 90 days.
    pub done: bool,
}

/// A record waiting to reach the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Ever growing.
    pub seq: u64,
    /// The record, opaque to the store.
    pub record: Vec<u8>,
}
