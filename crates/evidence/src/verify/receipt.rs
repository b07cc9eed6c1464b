//! Whether a receipt holds: each entry is in the log, and together they kept the rules.
//!
//! In scope: one request, from one file and a key, with the enrolments of the passkeys that voted.
//! Out of scope: whether the log has more of the request than the receipt shows after its last
//! entry; a later receipt or the whole log tells. The votes of a grant are in the receipt of the request
//! that was granted with. Who edited a request that was amended on the way is
//! in the records of its originals, which only the whole log has.
//! Invariant: nothing of a receipt is believed that its proofs and signatures do not cover.

use countersign_core::id::RequestId;

use super::{
    Problem, Report, Trust, check_evidence,
    finding::Findings,
    grounds::Grounds,
    requests::Requests,
    votes::{self, Cast},
};
use crate::{
    body::{ActionRequested, Body, Commented},
    checkpoint::Checkpoint,
    evidence::{Opened, sealing::NoKeys},
    leaf::Leaf,
    merkle::{leaf_hash, proof::verify_inclusion},
    receipt::{Proven, Receipt},
};

/// Verifies a receipt against the keys that the auditor trusts.
#[must_use]
pub fn verify_receipt(receipt: &Receipt, trust: &Trust) -> Report {
    let mut findings = Findings::default();
    let count = u64::try_from(receipt.entries.len()).unwrap_or(u64::MAX);
    let checkpoint = match Checkpoint::open(receipt.checkpoint.as_bytes(), &trust.log) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            findings.push(None, None, Problem::CheckpointRefused(error));
            return findings.report(count, 0);
        }
    };
    if trust.votes.is_none() {
        findings.push(None, None, Problem::VotesUnchecked);
    }
    let mut life = Life::default();
    let mut before = None;
    for entry in &receipt.entries {
        let mut problems = Vec::new();
        let proof = verify_inclusion(
            leaf_hash(entry.leaf.as_bytes()),
            entry.index,
            checkpoint.size,
            &entry.proof,
            checkpoint.root,
        );
        if let Err(error) = proof {
            problems.push(Problem::NotIncluded(error));
        }
        if before.is_some_and(|before| before >= entry.index) {
            problems.push(Problem::OutOfOrder);
        }
        before = Some(entry.index);
        life.apply(entry, &receipt.request, trust, &mut problems);
        for problem in problems {
            findings.push(Some(entry.index), Some(receipt.request.clone()), problem);
        }
    }
    let seen = life.requests.seen_of(&receipt.request);
    for (request, problem) in life.requests.unfinished() {
        findings.push(None, Some(request), problem);
    }
    findings.report(count, seen)
}

/// The life of a request, entry by entry.
#[derive(Default)]
struct Life {
    requests: Requests,
    grounds: Grounds,
}

impl Life {
    fn apply(
        &mut self,
        entry: &Proven,
        request: &RequestId,
        trust: &Trust,
        problems: &mut Vec<Problem>,
    ) {
        let leaf = match Leaf::parse(entry.leaf.as_bytes()) {
            Ok(leaf) => leaf,
            Err(error) => return problems.push(Problem::LeafRefused(error)),
        };
        self.grounds.note(&leaf);
        let Some(place) = leaf.request.as_ref().filter(|place| place.id == *request) else {
            match (&leaf.body, &entry.evidence) {
                // Beside the request: whose passkeys voted, and which of them ended.
                (Body::CredentialIssued(_) | Body::CredentialRevoked(_), Some(evidence)) => {
                    let opened = check_evidence(&leaf, evidence.as_bytes(), &NoKeys, problems);
                    left_out(opened.as_ref(), problems);
                }
                (Body::CredentialIssued(_) | Body::CredentialRevoked(_), None) => {}
                _ => problems.push(Problem::OtherRequest),
            }
            return;
        };
        if let Body::ActionRequested(ActionRequested {
            amends: Some(original),
            ..
        }) = &leaf.body
        {
            self.requests.assume(original.clone());
            let original = original.clone();
            problems.push(Problem::OriginalUnchecked { original });
        }
        if let Body::Commented(Commented {
            about: Some(into), ..
        }) = &leaf.body
        {
            self.requests.assume(into.clone());
        }
        if let Body::GrantUsed(used) = &leaf.body {
            self.requests.assume(used.grant.clone());
        }
        let cast = match (&entry.evidence, &leaf.body) {
            (None, _) if leaf.evidence.is_some() => {
                problems.push(Problem::EvidenceLeftOut);
                Cast::closed()
            }
            (evidence, body) => {
                let stored = evidence.as_deref().unwrap_or_default().as_bytes();
                let opened = check_evidence(&leaf, stored, &NoKeys, problems);
                left_out(opened.as_ref(), problems);
                match body {
                    Body::ApprovalDecided(vote) => {
                        let known = trust.votes.as_deref();
                        let cast =
                            votes::check(&leaf, place, vote, opened.as_ref(), known, problems);
                        self.grounds.signed(vote, &cast, problems);
                        cast
                    }
                    Body::ActionRequested(_) => Cast::asked(opened.as_ref()),
                    _ => Cast::default(),
                }
            }
        };
        let cast = (&cast, &self.grounds);
        self.requests.apply(&leaf, place, cast, problems);
    }
}

/// Says that parts of the evidence are not in the receipt: withheld, or erased before it was made.
fn left_out(opened: Option<&Opened>, problems: &mut Vec<Problem>) {
    let closed = opened.map_or(0, |opened| opened.closed.len());
    if closed > 0 {
        let parts = u64::try_from(closed).unwrap_or(u64::MAX);
        problems.push(Problem::EvidenceClosed { parts });
    }
}
