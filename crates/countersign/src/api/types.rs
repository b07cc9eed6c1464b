//! What the HTTP interface takes and gives, for the server and for the command line alike.
//!
//! In scope: the JSON of `/v1/…`. AuthZEN's own types are in [`authzen`](super::authzen).
//! Out of scope: what any of it means; that is the core's.
//! Invariant: unknown fields in a body are errors, so that a misspelt field is never ignored.

mod approvers;
mod channels;
mod emergencies;
mod grants;
mod run;
mod streams;
mod tokens;
mod votes;

pub use approvers::Approvers;
pub use channels::{ChannelInfo, ChannelList};
pub use emergencies::{
    EmergencyBody, EmergencyLine, EmergencyList, EmergencyTerms, LiftLine, Liftable, ReviewBody,
    ReviewLine,
};
pub use grants::{
    GrantLine, GrantList, GrantOffered, GrantPlace, GrantWanted, GrantedRequest, RunsUnder,
};
pub use run::{InputsReceived, LocalCommand, RunEvent, RunRequest, TargetInfo};
pub use streams::{StreamInfo, StreamList};
pub use tokens::{
    DelegationBody, DelegationMade, OauthMetadata, TokenAnswer, TokenError, TokenForm,
};
pub use votes::{SignedWith, SigningOptions, ToSign, VoteBody, VoteLine};

use std::collections::BTreeMap;

use countersign_core::{
    id::{CredentialId, MessageId, RequestId},
    subject::Origin,
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An error, as RFC 9457 problem details (`application/problem+json`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable name such as `own_request`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, for people.
    pub title: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The request concerned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub request: Option<RequestId>,
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// `person:dana@example.com`, `agent:deploy-bot` or `workload:ci`.
    pub subject: String,
    /// Groups by the active directory.
    pub groups: Vec<String>,
    /// The person answerable for an agent or workload.
    pub owner: Option<String>,
    /// Whom the caller acts for, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub on_behalf_of: Vec<String>,
    /// `session` or `token`; only a session votes.
    pub credential: String,
    /// When the credential ends.
    #[schema(value_type = i64)]
    pub expires: Timestamp,
    /// When it was issued.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub issued: Option<Timestamp>,
}

/// A comment, question or answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SayBody {
    /// The text, at most 4,096 bytes.
    pub text: String,
    /// For an answer: the question.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub to: Option<MessageId>,
}

/// An amended action.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmendBody {
    /// The new command; everything else stays as it was.
    pub argv: Vec<String>,
    /// Why.
    pub text: String,
}

/// One line of a list of requests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestLine {
    /// Its name.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// `held`, `approved`, `running`, `succeeded`, `denied`, …
    pub state: String,
    /// Who asks.
    pub requester: String,
    /// Of what.
    pub target: String,
    /// What, in one line.
    pub title: String,
    /// Why, as stated.
    pub reason: Option<String>,
    /// When it was asked.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// When it next changes by itself.
    #[schema(value_type = Option<i64>)]
    pub deadline: Option<Timestamp>,
}

/// A page of requests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestList {
    /// Newest first.
    pub items: Vec<RequestLine>,
    /// Pass as `after` for the next page.
    #[schema(value_type = Option<String>)]
    pub next: Option<RequestId>,
}

/// A secret that is shown to nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaskedSecret {
    /// The text that it was in, as an RFC 6901 pointer into the arguments.
    pub at: String,
    /// Where its mask begins in that text, in bytes.
    pub start: usize,
    /// What it is.
    pub kind: String,
    /// How long it is, in characters.
    pub length: usize,
    /// Whether its form leaves no room for anything but a secret.
    pub verified: bool,
}

/// One request with everything its reader may see.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestDetail {
    /// The line of the list.
    #[serde(flatten)]
    pub line: RequestLine,
    /// The page for people.
    pub url: String,
    /// The chain, the requester first: `agent:deploy-bot (owner olga@example.com)`.
    pub chain: Vec<String>,
    /// What the requester says of its origin.
    #[schema(value_type = Object)]
    pub origin: Origin,
    /// The gate.
    pub gate: String,
    /// The user that the command runs as, where the gateway runs it.
    #[serde(default)]
    pub runs_as: Option<String>,
    /// Whether somebody else executes.
    pub advisory: bool,
    /// The whole action, hidden characters made visible.
    pub action: String,
    /// Its exact arguments.
    pub arguments: Value,
    /// The secrets in whose place the arguments have masks such as `‹github-token 40›`.
    #[serde(default)]
    pub masked: Vec<MaskedSecret>,
    /// What it would touch.
    pub blast_radius: String,
    /// What in the texts that others supplied reads as something else than it is: invisible
    /// characters, long runs of blanks, letters that look like others.
    #[serde(default)]
    pub unusual: Vec<String>,
    /// What approvals bind.
    pub digest: String,
    /// Whether approving needs the digest's first digits typed.
    pub needs_typed_digest: bool,
    /// The rules and how far each is.
    pub rules: Vec<RuleProgress>,
    /// Who could countersign now, while held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub can_sign: Option<Approvers>,
    /// The statements that decided.
    pub policies: Vec<PolicyLine>,
    /// Votes that stand.
    pub votes: Vec<VoteLine>,
    /// Rules that were lifted in an emergency, which is no vote.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lifted: Vec<LiftLine>,
    /// Rules that the caller can lift in an emergency, with a passkey.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub can_lift: Vec<Liftable>,
    /// Rules whose emergency use the caller may review.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub can_review: Vec<String>,
    /// How it ended, or since when it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<OutcomeLine>,
    /// What approvers may grant beside it, while it is held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offers: Option<GrantOffered>,
    /// What they granted beside it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantLine>,
    /// The grant it runs under.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub granted: Option<RunsUnder>,
    /// What was said.
    pub conversation: Vec<MessageLine>,
    /// The request that replaces this one, or that this one replaces.
    #[schema(value_type = Option<String>)]
    pub amends: Option<RequestId>,
    /// What the caller can do: `vote`, `withdraw`, `comment`, `ask`, `answer`, `amend`, `cancel`,
    /// `claim`, `end-grant`.
    pub can: Vec<String>,
    /// Why the caller can't vote, in words.
    pub why_not_vote: Option<String>,
    /// For sessions: the proof of having been shown this action; pass it back as `act` within 15
    /// minutes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<String>,
}

/// How a request ended, or since when it runs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutcomeLine {
    /// `running`, `succeeded`, `failed`, `unknown`, or how it ended without running.
    pub state: String,
    /// When it ended, or began to run.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// The exit status, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<i32>,
    /// The permit under which it ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub permit: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// How far one rule is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleProgress {
    /// Its name.
    pub name: String,
    /// Whether it is a confirmation by the requester's own side.
    pub confirmation: bool,
    /// Who can lift it in an emergency, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub emergency: Option<EmergencyTerms>,
    /// Its stages.
    pub stages: Vec<StageProgress>,
}

/// How far one stage is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StageProgress {
    /// Who can sign.
    pub from: Vec<String>,
    /// How many must.
    pub count: u32,
    /// Who did.
    pub signed: Vec<String>,
}

/// A statement that decided.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyLine {
    /// Its `@id`.
    pub id: String,
    /// Its `@reason`.
    pub reason: Option<String>,
    /// `policies/prod.cedar:12`.
    pub place: Option<String>,
    /// Its source; people only.
    pub source: Option<String>,
}

/// Something said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MessageLine {
    /// Its name.
    #[schema(value_type = String)]
    pub id: MessageId,
    /// Who.
    pub by: String,
    /// `comment`, `question`, `answer` or `amendment`.
    pub kind: String,
    /// The question an answer answers.
    #[schema(value_type = Option<String>)]
    pub to: Option<MessageId>,
    /// The text.
    pub text: String,
    /// When.
    #[schema(value_type = i64)]
    pub at: Timestamp,
}

/// A change of Countersign itself, proposed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalBody {
    /// What: `bundle-apply`, `person-add`, `person-disable`, `person-enable`, `person-link`,
    /// `person-erase`, `membership-add`, `membership-remove`, `account-unlink`, `absence-set`,
    /// `absence-end`, `agent-add`, `agent-stop`,
    /// `agent-start`, `agent-token`, `credential-revoke`, `key-rotate`.
    pub operation: String,
    /// Its arguments.
    pub arguments: Value,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What became of a proposal or a claim.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProposalAnswer {
    /// The request.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// `held`, `succeeded`, `denied`, …
    pub state: String,
    /// Its page.
    pub url: String,
    /// Who can sign, while held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approvers: Option<Approvers>,
    /// The result once applied, for example a new token, shown once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Value>,
    /// What to know before it is countersigned and used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What to do next.
    pub message: String,
}

/// The active bundle.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BundleInfo {
    /// Its hash.
    pub hash: String,
    /// Path and text of each file.
    pub files: BTreeMap<String, String>,
    /// Since when.
    #[schema(value_type = i64)]
    pub activated: Timestamp,
    /// The request that approved it.
    #[schema(value_type = Option<String>)]
    pub request: Option<RequestId>,
}

/// A question to the active policy, without asking for anything.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// Who: `agent:deploy-bot`.
    pub subject: String,
    /// For whom.
    #[serde(default)]
    pub on_behalf_of: Vec<String>,
    /// A target, for a command …
    #[serde(default)]
    pub target: Option<String>,
    /// … and the command.
    #[serde(default)]
    pub argv: Option<Vec<String>>,
    /// Whether inputs would be bound.
    #[serde(default)]
    pub inputs: bool,
}

/// A person of the directory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PersonLine {
    /// Name.
    pub id: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Manager.
    pub manager: Option<String>,
    /// Whether disabled.
    pub disabled: bool,
    /// Their passkeys that are good now.
    #[serde(default)]
    pub passkeys: Vec<PasskeyLine>,
    /// The providers that they have an account with.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Whether they are a person only because a provider says so.
    #[serde(default)]
    pub provided: bool,
    /// Whether a provider provisions them.
    #[serde(default)]
    pub provisioned: bool,
    /// Whether they can do nothing because the provider who provisions people lets them not.
    #[serde(default)]
    pub inactive: bool,
    /// That they are away, or will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<AbsenceLine>,
}

/// That somebody is away.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AbsenceLine {
    /// From when, in milliseconds since 1970 in UTC.
    #[schema(value_type = i64)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = i64)]
    pub until: Timestamp,
    /// Who signs in their place.
    pub stand_in: String,
    /// Whether somebody else countersigned it; otherwise it counts for later requests only.
    pub countersigned: bool,
}

/// A passkey of a person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PasskeyLine {
    /// The name under which it can be revoked.
    #[schema(value_type = String)]
    pub id: CredentialId,
    /// What its holder called it.
    pub label: String,
    /// Whether it signs votes; otherwise it signs in only, because nobody countersigned it.
    pub signs: bool,
}

/// An agent or workload of the directory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MachineLine {
    /// `agent:deploy-bot`.
    pub id: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Whether stopped.
    pub disabled: bool,
    /// Its credentials.
    pub credentials: Vec<CredentialLine>,
    /// How long its tokens can last, where that is longer than a day.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub long_lived_tokens: Option<Span>,
}

/// A credential without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialLine {
    /// Name.
    #[schema(value_type = String)]
    pub id: CredentialId,
    /// `link`, `session`, `token` or `passkey`.
    pub kind: String,
    /// Who had it issued.
    pub issued_by: Option<String>,
    /// When it was issued.
    #[schema(value_type = i64)]
    pub issued: Timestamp,
    /// When it ends.
    #[schema(value_type = i64)]
    pub expires: Timestamp,
    /// Whether it is revoked, used or over.
    pub ended: bool,
    /// Whether it was issued for longer than a day.
    #[serde(default)]
    pub long_lived: bool,
    /// How it came about and what it gives, where it was not simply issued.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acts: Option<String>,
}

/// People and machines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DirectoryInfo {
    /// People.
    pub people: Vec<PersonLine>,
    /// Agents and workloads.
    pub machines: Vec<MachineLine>,
    /// Groups.
    pub groups: Vec<String>,
}

/// A sign-in by link from the command line.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The secret of a single-use link.
    pub link: String,
}

/// A token, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// The secret.
    pub token: String,
    /// Whose.
    pub subject: String,
    /// When it ends.
    #[schema(value_type = i64)]
    pub expires: Timestamp,
}

/// Where the gateway stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// The version.
    pub version: String,
    /// Entries in the log.
    pub log_size: u64,
    /// Requests held or approved now.
    pub held: u64,
    /// Warnings to show on every page, for example a single-person installation.
    pub notices: Vec<String>,
}
