//! One person's verdict on one action.
//!
//! In scope: the vote as a value and the credential it was cast with.
//! Out of scope: signing it (the gateway wraps it in an envelope) and counting it
//! ([`quorum`](super::quorum)).
//! Invariant: a voter is a [`PersonId`]; there is no way to write down a vote by a machine (P3).

use serde::{Deserialize, Serialize};

use super::rule::Assurance;
use crate::{
    digest::ActionDigest,
    id::{CredentialId, PersonId},
    time::Timestamp,
};

/// For or against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Countersigned.
    Approve,
    /// Refused; one eligible denial ends the request.
    Deny,
}

/// The session a person votes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its name, never its secret.
    pub id: CredentialId,
    /// Who issued it, when a person did; that person is *self* together with the voter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<PersonId>,
    /// How strongly it identifies.
    pub assurance: Assurance,
}

/// One person's verdict, as it is signed and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub voter: PersonId,
    /// With what.
    pub credential: Credential,
    /// For or against.
    pub verdict: Verdict,
    /// Why, in the voter's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The action voted on.
    pub digest: ActionDigest,
    /// When.
    pub at: Timestamp,
}
