//! Whether a recorded vote is what the voter's gateway signed.
//!
//! In scope: the envelope in the evidence, its signature, every field of the record, and what the
//! voter's passkey signed.
//! Out of scope: whether the vote counts ([`quorum`](super::quorum)).
//! Invariant: says that a reason was given only if the signed statement has one.

use serde::Deserialize;

use super::{Problem, passkeys::Passkeys};
use crate::{
    body::ApprovalDecided,
    evidence::Evidence,
    key::VerifyingKey,
    leaf::{InRequest, Leaf},
    vote::VoteStatement,
};
use countersign_core::{approval::vote::PasskeySignature, canonical::Hash};

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

/// Checks the vote and returns whether it states a reason.
pub(super) fn check(
    leaf: &Leaf,
    place: &InRequest,
    vote: &ApprovalDecided,
    stored: &[u8],
    (known, passkeys): (Option<&[VerifyingKey]>, &Passkeys),
    problems: &mut Vec<Problem>,
) -> bool {
    // Missing or changed evidence is a finding of its own.
    let opened = leaf
        .evidence
        .and_then(|commitment| Evidence::open(stored, commitment).ok());
    let held = opened.and_then(|found| serde_json::from_value::<Held>(found.value()).ok());
    let Some(Held {
        envelope,
        vote: cast,
    }) = held
    else {
        problems.push(Problem::EnvelopeMissing);
        return false;
    };
    if Hash::of(envelope.as_bytes()) != vote.envelope {
        problems.push(Problem::EnvelopeMismatch);
    }
    match VoteStatement::open(&envelope, known) {
        Ok(statement) => {
            if let Some(field) = statement.difference(vote, &place.id, leaf.at) {
                problems.push(Problem::VoteDiffers { field });
            }
            passkeys.check(&statement, cast.signature.as_ref(), problems);
            statement.has_reason()
        }
        Err(error) => {
            problems.push(Problem::VoteRefused(error));
            false
        }
    }
}
