//! Votes: what is sent, what a passkey signs of it, and what stands.

use countersign_core::{
    approval::vote::Verdict,
    id::{CredentialId, RuleName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::GrantWanted;
use crate::identity::passkey::Signed;

/// A vote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoteBody {
    /// `approve` or `deny`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The digest of the action shown.
    pub digest: String,
    /// Its first 8 digits, where one click is not enough.
    #[serde(default)]
    pub typed_digest: Option<String>,
    /// What an approval grants beside this one action, where its rules offer that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantWanted>,
    /// The proof of a fresh act, from the request's page or `GET /v1/requests/ID`.
    pub act: String,
    /// What the voter's passkey signed, where a rule demands it; see
    /// `POST /v1/requests/ID/passkey`.
    #[serde(default)]
    pub passkey: Option<Signed>,
}

/// The vote that a passkey is to sign.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToSign {
    /// `approve` or `deny`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// Why; the same text goes with the vote.
    #[serde(default)]
    pub reason: Option<String>,
    /// What an approval grants; the same goes with the vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantWanted>,
    /// For lifting a rule in an emergency, which is no vote: the rule.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub lifts: Option<RuleName>,
    /// The digest of the action shown.
    pub digest: String,
    /// The proof of a fresh act.
    pub act: String,
}

/// What a passkey is asked to sign. Bytes are base64url without padding.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SigningOptions {
    /// Goes back with the vote, in `passkey.challenge`.
    pub token: String,
    /// WebAuthn's `challenge`.
    pub challenge: String,
    /// What the challenge is made of: the statement that is signed.
    pub statement: String,
    /// The authenticator's names of the passkeys that can sign.
    pub passkeys: Vec<String>,
    /// WebAuthn's `rpId`.
    pub site: String,
}

/// A vote that stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VoteLine {
    /// Who.
    pub voter: String,
    /// The person who is away, where they voted in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<String>,
    /// `approve` or `deny`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// How strongly the voter proved who they are: `session` or `passkey`.
    #[serde(default)]
    pub assurance: String,
    /// The passkey that signed it; people only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub passkey: Option<SignedWith>,
    /// What it grants beside the one action, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<String>,
    /// Whether it still counts: not any more once the passkey that signed it was removed.
    #[serde(default = "yes")]
    pub counts: bool,
    /// Whether it is a confirmation by the requester's own side, which is no countersignature.
    #[serde(default)]
    pub confirmation: bool,
}

fn yes() -> bool {
    true
}

/// The passkey that signed a vote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignedWith {
    /// Its name.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// What its holder called it.
    pub label: Option<String>,
    /// The first digits of the hash of its key.
    pub fingerprint: Option<String>,
    /// Whether it is still its holder's.
    pub counts: bool,
}
