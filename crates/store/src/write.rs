//! Everything that can be written, as data, so that one commit can carry any mixture.

use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, PermitId, PersonId, RequestId},
    request::Case,
    time::Timestamp,
};

use crate::model::{ActiveBundle, Card, Delivery, DirectoryEntry, StoredCredential};

/// A case to insert or swap.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseWrite {
    /// The case afterwards; its version is one more than what was read, or 0 for a new one.
    pub case: Case,
    /// Signed envelopes of votes that are new in this step.
    pub envelopes: Vec<(PersonId, Vec<u8>)>,
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new case. Conflicts with an open or running case of the same attach key.
    InsertCase(Box<CaseWrite>),
    /// A stepped case. Conflicts unless the stored version is one less. Envelopes of voters no
    /// longer in `case.votes` are deleted.
    SwapCase(Box<CaseWrite>),
    /// A permit of a held request. Conflicts when the request has one.
    InsertPermit {
        /// The permit.
        permit: PermitId,
        /// The request.
        request: RequestId,
        /// When.
        at: Timestamp,
    },
    /// A record for the log.
    Record(Vec<u8>),
    /// Removes records that reached the log, up to and including this one.
    Acknowledge(u64),
    /// Makes a bundle the active one and clears the directory changes. Conflicts unless the
    /// active bundle's hash is `replaces`.
    ActivateBundle {
        /// The bundle.
        bundle: Box<ActiveBundle>,
        /// What it replaces; `None` at first start.
        replaces: Option<Hash>,
    },
    /// A change of the directory.
    ChangeDirectory(DirectoryEntry),
    /// Sets, or clears, a row of what is provisioned.
    Provision {
        /// Its key.
        key: String,
        /// What it is now, as JSON.
        value: Option<String>,
    },
    /// A new credential.
    InsertCredential(Box<StoredCredential>),
    /// Uses a link. Conflicts when it was used or revoked.
    UseCredential {
        /// Which.
        id: CredentialId,
        /// When.
        at: Timestamp,
    },
    /// Revokes a credential and those that came from it; revoking twice changes nothing.
    RevokeCredential {
        /// Which.
        id: CredentialId,
        /// When.
        at: Timestamp,
    },
    /// Revokes every credential of a holder who was stopped or disabled.
    RevokeHolder {
        /// `agent:deploy-bot`.
        holder: String,
        /// When.
        at: Timestamp,
    },
    /// Remembers that an action ended unknown.
    RememberUnknown {
        /// The action.
        key: AttachKey,
        /// The request.
        request: RequestId,
        /// When.
        at: Timestamp,
    },
    /// Forgets it: a person approved repeating it, and that was claimed.
    ForgetUnknown {
        /// The action.
        key: AttachKey,
    },
    /// Notes what a channel shows of a request in a place.
    PutCard(Card),
    /// Notes how far something is that is answered later. Refused when it was answered.
    PutDelivery(Delivery),
    /// Sets a setting.
    Set {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// Keeps the answer under an idempotency key. Conflicts when there is one.
    Idempotent {
        /// Whose key.
        subject: String,
        /// The key.
        key: String,
        /// Hash of the request body.
        body: Hash,
        /// The answer.
        answer: Vec<u8>,
        /// When; kept for a day.
        at: Timestamp,
    },
}

/// What is to be deleted for good.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forgetting {
    /// Cases that ended, with their votes and permits.
    pub cases: Vec<RequestId>,
    /// Credentials, and the cards of whoever was told in private because of one. Those that came from
    /// one go with it or before.
    pub credentials: Vec<CredentialId>,
    /// The directory changes that stay; then bundles that are not active go, too.
    pub changes: Option<Vec<DirectoryEntry>>,
    /// Keys of rows of what is provisioned.
    pub provisioned: Vec<String>,
    /// Answers to idempotency keys that contain this text, or belong to a subject that does.
    pub answers_with: Option<String>,
    /// Cards in places that begin like one of these, whatever the case of its letters.
    pub places: Vec<String>,
}
