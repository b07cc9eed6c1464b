//! One person's verdict on one action.
//!
//! In scope: the vote as a value and the credential it was cast with.
//! Out of scope: signing it (the gateway wraps it in an envelope) and counting it
//! ([`quorum`](super::quorum)).
//! Invariant: a voter is a [`PersonId`]; there is no way to write down a vote by a machine (P3).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{grant::GrantTerms, quorum::Signer, rule::Assurance};
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

/// The session or passkey a person votes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its name, never its secret.
    pub id: CredentialId,
    /// Who issued it, when a person did; that person is *self* together with the voter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<PersonId>,
    /// Everybody else who had a hand in it: in the link it came from, in the session in which that was
    /// asked for, and so on. Any of them could be who votes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lineage: BTreeSet<PersonId>,
    /// How strongly it identifies.
    pub assurance: Assurance,
}

impl Credential {
    /// Everybody who had a hand in it.
    pub fn makers(&self) -> impl Iterator<Item = &PersonId> {
        self.issued_by.iter().chain(&self.lineage)
    }

    /// The first of `people` who had a hand in it.
    #[must_use]
    pub fn maker_among(&self, people: &BTreeSet<PersonId>) -> Option<&PersonId> {
        self.makers().find(|maker| people.contains(*maker))
    }
}

/// What a person's passkey signed of a vote. The core keeps it and reads none of it: the gateway
/// verifies it when it is cast and again at the claim, an auditor whenever they like. Bytes are
/// base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeySignature {
    /// The statement that was signed, in canonical JSON.
    pub statement: String,
    /// The authenticator's name for the passkey.
    pub passkey: String,
    /// Its public key (COSE).
    pub public_key: String,
    /// Whether it can leave the device that made it.
    pub backup_eligible: bool,
    /// The host name it is for.
    pub site: String,
    /// The address at which the browser showed the page.
    pub origin: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// The signature over both.
    pub signature: String,
}

/// One person's verdict, as it is signed and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub voter: PersonId,
    /// The person who is away, where they vote in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<PersonId>,
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
    /// What an approval grants beside this one action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantTerms>,
    /// What their passkey signed, where they voted with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Box<PasskeySignature>>,
}

impl Vote {
    /// Who signs with it, and by whose right.
    #[must_use]
    pub fn signer(&self) -> Signer<'_> {
        Signer {
            person: &self.voter,
            in_place_of: self.in_place_of.as_ref(),
        }
    }
}
