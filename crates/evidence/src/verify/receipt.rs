//! Whether a receipt holds: each entry is in the log, and together they kept the rules.
//!
//! In scope: one request, from one file and a key.
//! Out of scope: whether the log has more of the request than the receipt shows after its last
//! entry; a later receipt or the whole log tells.
//! Invariant: nothing of a receipt is believed that its proofs and signatures do not cover.

use countersign_core::id::RequestId;

use super::{Problem, Report, Trust, check_evidence, finding::Findings, requests::Requests, votes};
use crate::{
    body::{ActionRequested, Body},
    checkpoint::Checkpoint,
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
    let mut requests = Requests::default();
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
        apply(entry, &receipt.request, trust, &mut requests, &mut problems);
        for problem in problems {
            findings.push(Some(entry.index), Some(receipt.request.clone()), problem);
        }
    }
    let seen = requests.seen_of(&receipt.request);
    for (request, problem) in requests.unfinished() {
        findings.push(None, Some(request), problem);
    }
    findings.report(count, seen)
}

/// Takes one entry into the life of the request.
fn apply(
    entry: &Proven,
    request: &RequestId,
    trust: &Trust,
    requests: &mut Requests,
    problems: &mut Vec<Problem>,
) {
    let leaf = match Leaf::parse(entry.leaf.as_bytes()) {
        Ok(leaf) => leaf,
        Err(error) => return problems.push(Problem::LeafRefused(error)),
    };
    let Some(place) = leaf.request.as_ref().filter(|place| place.id == *request) else {
        return problems.push(Problem::OtherRequest);
    };
    if let Body::ActionRequested(ActionRequested {
        amends: Some(original),
        ..
    }) = &leaf.body
    {
        requests.assume(original.clone());
    }
    let has_reason = match (&entry.evidence, &leaf.body) {
        (None, _) if leaf.evidence.is_some() => {
            problems.push(Problem::EvidenceLeftOut);
            // Whether a reason was given is in the evidence alone.
            true
        }
        (evidence, body) => {
            let stored = evidence.as_deref().unwrap_or_default().as_bytes();
            check_evidence(&leaf, stored, problems);
            match body {
                Body::ApprovalDecided(vote) => {
                    let known = trust.votes.as_deref();
                    votes::check(&leaf, place, vote, stored, known, problems)
                }
                _ => false,
            }
        }
    };
    requests.apply(&leaf, place, has_reason, problems);
}
