//! Votes: what a person decided, signed with the vote key and bound to the record.
//!
//! In scope: the signed statement, making the record from it, comparing the two.
//! Out of scope: who may vote; what a passkey signed ([`approval`](crate::approval)), which the
//! evidence holds beside the envelope.
//! Invariant: every field of an [`ApprovalDecided`] record but the envelope's hash is in the signed
//! statement too, so whoever holds the log's key alone cannot turn, move or reattribute a vote.
//! Specification: a DSSE envelope of type [`VOTE_TYPE`] around the canonical JSON of
//! [`VoteStatement`].

use countersign_core::{
    approval::grant::GrantTerms,
    canonical::{Hash, NotCanonical, to_canonical},
    digest::ActionDigest,
    id::{CredentialId, RequestId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    body::{ApprovalDecided, Assurance, Slot, Verdict},
    envelope::{self, InvalidEnvelope, VOTE_TYPE},
    key::{SigningKey, VerifyingKey},
    leaf::safe,
    reference::Ref,
};

/// Why a vote's envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVote {
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] InvalidEnvelope),
    /// Its payload.
    #[error("the signed payload is not a vote statement")]
    Statement,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteStatement {
    /// How strongly the voter was identified.
    pub assurance: Assurance,
    /// When, the same as the leaf's time.
    #[serde(with = "safe")]
    pub at: Timestamp,
    /// The session or passkey, by name.
    pub credential: CredentialId,
    /// The action voted on.
    pub digest: ActionDigest,
    /// Whether it lifts a rule in an emergency.
    pub emergency: bool,
    /// What an approval grants beside the one action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantTerms>,
    /// The person who is away, where somebody votes in their place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_place_of: Option<Ref>,
    /// Who issued the credential, when a person did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<Ref>,
    /// Everybody else who had a hand in the credential.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lineage: Vec<Ref>,
    /// Why, in the voter's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The request voted on.
    pub request: RequestId,
    /// SHA-256 of the text the voter was shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<Hash>,
    /// The hash of what the voter's passkey signed, where they voted with one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<Hash>,
    /// The slots it can fill, or the rule it lifts.
    pub slots: Vec<Slot>,
    /// For or against.
    pub verdict: Verdict,
    /// Who.
    pub voter: Ref,
}

impl VoteStatement {
    /// The signed envelope as text; put it into the evidence under the key `envelope`.
    ///
    /// # Errors
    /// [`NotCanonical`] when the time is beyond ±(2^53 - 1) milliseconds.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NotCanonical> {
        Ok(envelope::sign(VOTE_TYPE, &to_canonical(self)?, key))
    }

    /// The record of this vote, given the envelope that [`sign`](Self::sign) made.
    #[must_use]
    pub fn record(&self, envelope: &str) -> ApprovalDecided {
        ApprovalDecided {
            assurance: self.assurance,
            credential: self.credential.clone(),
            digest: self.digest,
            emergency: self.emergency,
            envelope: Hash::of(envelope.as_bytes()),
            in_place_of: self.in_place_of,
            issuer: self.issuer,
            lineage: self.lineage.clone(),
            slots: self.slots.clone(),
            verdict: self.verdict,
            voter: self.voter,
        }
    }

    /// Reads an envelope and, with `Some` keys, checks its signature under one of them.
    ///
    /// # Errors
    /// [`InvalidVote`] when the envelope or the statement is wrong.
    pub fn open(envelope: &str, known: Option<&[VerifyingKey]>) -> Result<Self, InvalidVote> {
        let payload = match known {
            Some(keys) => envelope::open(envelope.as_bytes(), VOTE_TYPE, keys),
            None => envelope::peek(envelope.as_bytes(), VOTE_TYPE),
        }?;
        serde_json::from_slice(&payload).map_err(|_| InvalidVote::Statement)
    }

    /// The first field in which a record, its request and its time differ from this statement.
    #[must_use]
    pub fn difference(
        &self,
        record: &ApprovalDecided,
        request: &RequestId,
        at: Timestamp,
    ) -> Option<&'static str> {
        let fields = [
            ("digest", self.digest == record.digest),
            ("request", self.request == *request),
            ("verdict", self.verdict == record.verdict),
            ("voter", self.voter == record.voter),
            ("slots", self.slots == record.slots),
            ("at", self.at == at),
            ("assurance", self.assurance == record.assurance),
            ("credential", self.credential == record.credential),
            ("in_place_of", self.in_place_of == record.in_place_of),
            ("issuer", self.issuer == record.issuer),
            ("lineage", self.lineage == record.lineage),
            ("emergency", self.emergency == record.emergency),
        ];
        fields.iter().find(|(_, same)| !same).map(|(name, _)| *name)
    }

    /// Whether the voter gave a reason other than white space.
    #[must_use]
    pub fn has_reason(&self) -> bool {
        self.reason
            .as_ref()
            .is_some_and(|text| !text.trim().is_empty())
    }
}
