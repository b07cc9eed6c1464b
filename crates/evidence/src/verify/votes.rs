//! Whether a recorded vote is what the voter's gateway signed.
//!
//! In scope: the envelope in the evidence, its signature, every field of the record, and what the
//! voter's passkey signed.
//! Out of scope: whether the vote counts ([`quorum`](super::quorum)).
//! Invariant: says that a reason was given only if the signed statement has one.

use serde::Deserialize;

use super::Problem;
use crate::{
    approval::{self, InvalidApproval},
    body::{ApprovalDecided, Assurance, EnrolledKey},
    evidence::Opened,
    key::VerifyingKey,
    leaf::{InRequest, Leaf},
    vote::VoteStatement,
};
use countersign_core::{
    approval::{grant::GrantTerms, vote::PasskeySignature},
    canonical::Hash,
};

#[derive(Deserialize)]
struct Held {
    envelope: String,
    #[serde(default)]
    vote: Vote,
}

#[derive(Default, Deserialize)]
struct Vote {
    #[serde(default)]
    signature: Option<PasskeySignature>,
}

/// What the evidence of an entry says, as far as later entries rest on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cast {
    /// Whether the signed statement has a reason.
    pub(super) has_reason: bool,
    /// What the signed statement grants.
    pub(super) grant: Option<GrantTerms>,
    /// What a first record has of the action, as text.
    pub(super) asked: Option<Box<str>>,
    /// The key that signed it, where a passkey did.
    pub(super) signed: Option<EnrolledKey>,
    /// What was signed, which is signed once.
    pub(super) statement: Option<Hash>,
}

impl Cast {
    /// Of a vote whose evidence can't be read: whether a reason was given is there alone.
    pub(super) fn closed() -> Self {
        Self {
            has_reason: true,
            ..Self::default()
        }
    }
}

impl Cast {
    /// Of a request's first record.
    pub(super) fn asked(opened: Option<&Opened>) -> Self {
        Self {
            asked: opened.and_then(Opened::details).map(Into::into),
            ..Self::default()
        }
    }
}

/// Checks the vote and returns what it says of itself.
pub(super) fn check(
    leaf: &Leaf,
    place: &InRequest,
    vote: &ApprovalDecided,
    opened: Option<&Opened>,
    known: Option<&[VerifyingKey]>,
    problems: &mut Vec<Problem>,
) -> Cast {
    // Missing, changed or closed evidence is a finding of its own.
    let details = opened.and_then(Opened::details);
    if details.is_none() && opened.is_some_and(|opened| !opened.closed.is_empty()) {
        return Cast::closed();
    }
    let held = details.and_then(|text| serde_json::from_str::<Held>(text).ok());
    let Some(Held {
        envelope,
        vote: cast,
    }) = held
    else {
        problems.push(Problem::EnvelopeMissing);
        return Cast::default();
    };
    if Hash::of(envelope.as_bytes()) != vote.envelope {
        problems.push(Problem::EnvelopeMismatch);
    }
    match VoteStatement::open(&envelope, known) {
        Ok(statement) => {
            if let Some(field) = statement.difference(vote, &place.id, leaf.at) {
                problems.push(Problem::VoteDiffers { field });
            }
            Cast {
                has_reason: statement.has_reason(),
                grant: statement.grant.clone(),
                signed: signed(&statement, cast.signature.as_ref(), problems),
                asked: None,
                statement: cast.signature.map(|one| Hash::of(one.statement.as_bytes())),
            }
        }
        Err(error) => {
            problems.push(Problem::VoteRefused(error));
            Cast::default()
        }
    }
}

/// Checks what the voter's passkey signed, where one is said to have, and gives its key.
fn signed(
    vote: &VoteStatement,
    signature: Option<&PasskeySignature>,
    problems: &mut Vec<Problem>,
) -> Option<EnrolledKey> {
    let voter = vote.voter;
    let Some(signature) = signature else {
        if vote.assurance == Assurance::Passkey || vote.signature.is_some() {
            problems.push(Problem::SignatureMissing { voter });
        }
        return None;
    };
    let checked = match approval::hash_of(signature).ok() {
        Some(hash) if vote.signature == Some(hash) => approval::verify(signature, vote).map(drop),
        _ => Err(InvalidApproval::Differs("signature")),
    };
    match checked.and_then(|()| approval::key_hash(signature)) {
        Ok(key) => Some(EnrolledKey {
            key,
            site: signature.site.clone(),
            // What nobody vouched for is not the voter's.
            countersigned: true,
        }),
        Err(why) => {
            problems.push(Problem::SignatureRefused { voter, why });
            None
        }
    }
}
