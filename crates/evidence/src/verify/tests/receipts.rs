//! Receipts of one request, whole and tampered with.

use countersign_core::{canonical::Hash, id::RequestId};

use super::build::*;
use crate::{
    key::SigningKey,
    merkle::{leaf_hash, proof::subtrees_of},
    receipt::{Proven, Receipt},
    verify::{Area, Problem, Report, Trust, verify_receipt},
};

/// The receipt of a request of [`good`], after a change of the log.
pub(super) fn of_log(request: u128, change: impl Fn(&mut Log)) -> Receipt {
    let mut log = good();
    change(&mut log);
    of(request, &log)
}

/// The receipt of a request of a log.
pub(super) fn of(request: u128, log: &Log) -> Receipt {
    let frames = log.frames();
    let id = RequestId::from_bits(request);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut entries = Vec::new();
    for ((index, draft), (leaf, evidence)) in (0u64..).zip(&log.0).zip(&frames) {
        if draft.request == Some(request) {
            entries.push((index, text(leaf), Some(text(evidence))));
        }
    }
    let hashes: Vec<Hash> = frames.iter().map(|(leaf, _)| leaf_hash(leaf)).collect();
    let size = u64::try_from(frames.len()).unwrap();
    let subtrees = subtrees_of(&hashes);
    Receipt::prove(id, entries, (checkpoint(&frames), size), &subtrees).unwrap()
}

pub(super) fn verify(receipt: &Receipt) -> Report {
    // Through its text, as it reaches an auditor.
    let text = receipt.to_text().unwrap();
    verify_receipt(&Receipt::parse(&text).unwrap(), &trust())
}

#[track_caller]
fn fails(name: &str, receipt: &Receipt, expected: impl Fn(&Problem) -> bool) {
    let report = verify(receipt);
    assert!(!report.passed(), "{name}");
    let found: Vec<_> = report.failures().map(|found| &found.problem).collect();
    assert!(found.into_iter().any(expected), "{name}: {report:?}");
}

fn not_included(problem: &Problem) -> bool {
    matches!(problem, Problem::NotIncluded(_))
}

#[test]
fn the_untampered_receipt_of_every_request_passes() {
    for request in [PERMITTED, HELD, DENIED, EXPIRED, FORBIDDEN, CONFIRMED] {
        let receipt = of_log(request, |_| {});
        let report = verify(&receipt);
        assert_eq!(report.findings, [], "{request}");
        assert_eq!(report.requests, 1);
        assert_eq!(report.entries, receipt.entries.len() as u64);
    }
}

#[test]
fn a_changed_entry_is_not_in_the_log() {
    let whole = of_log(HELD, |_| {});
    let changed = |change: &dyn Fn(&mut Proven)| {
        let mut receipt = whole.clone();
        change(&mut receipt.entries[2]);
        receipt
    };
    let leaf = changed(&|entry| entry.leaf = entry.leaf.replace("approve", "deny"));
    fails("leaf", &leaf, not_included);
    let index = changed(&|entry| entry.index += 1);
    fails("index", &index, not_included);
    let proof = changed(&|entry| entry.proof[0].0[0] ^= 1);
    fails("proof", &proof, not_included);
    let shorter = changed(&|entry| entry.proof.truncate(1));
    fails("a shorter proof", &shorter, not_included);
    let evidence = changed(&|entry| {
        let stored = entry.evidence.as_mut().unwrap();
        *stored = stored.replace("envelope", "Envelope");
    });
    fails("evidence", &evidence, |problem| {
        matches!(problem, Problem::EvidenceRefused(_))
    });
}

#[test]
fn entries_can_not_be_left_out_swapped_or_borrowed() {
    let whole = of_log(HELD, |_| {});
    let mut without = whole.clone();
    without.entries.remove(2);
    fails("a vote left out", &without, |problem| {
        matches!(problem, Problem::RequestGap { .. })
    });
    let mut swapped = whole.clone();
    swapped.entries.swap(2, 3);
    fails("two votes swapped", &swapped, |problem| {
        *problem == Problem::OutOfOrder
    });
    let mut twice = whole.clone();
    let again = twice.entries[2].clone();
    twice.entries.insert(3, again);
    fails("a vote shown twice", &twice, |problem| {
        *problem == Problem::OutOfOrder
    });
    let mut borrowed = whole.clone();
    borrowed.entries[2] = of_log(DENIED, |_| {}).entries[3].clone();
    fails("a vote of another request", &borrowed, |problem| {
        *problem == Problem::OtherRequest
    });
}

#[test]
fn the_rules_are_run_again() {
    let by_self = of_log(HELD, |log| {
        *log.draft(HELD, 2) = vote(HELD, MINUTE, &statement(HELD, MINUTE, OLGA, "dba", 0));
        let fills = vec![fill("dba", 0, OLGA), fill("dba", 1, ERIN)];
        *log.draft(HELD, 5) = permitted(HELD, 3 * MINUTE, &["dba"], fills);
    });
    let expected = Problem::SelfApproval {
        voter: person(OLGA),
    };
    fails("self", &by_self, |problem| *problem == expected);
    let unfilled = of_log(HELD, |log| drop(log.remove(HELD, 3)));
    fails("too few votes", &unfilled, |problem| {
        problem.area() == Area::Rules
    });
}

#[test]
fn keys_decide_whom_to_believe() {
    let receipt = of_log(HELD, |_| {});
    let other = SigningKey::from_seed("log.example", &[9; 32]).unwrap();
    let trust_other = Trust {
        log: other.verifying().clone(),
        ..trust()
    };
    let report = verify_receipt(&receipt, &trust_other);
    assert!(matches!(
        report.findings.first().unwrap().problem,
        Problem::CheckpointRefused(_)
    ));
    let votes_of_other = Trust {
        votes: Some(vec![other.verifying().clone()]),
        ..trust()
    };
    assert!(!verify_receipt(&receipt, &votes_of_other).holds(Area::Rules));
    let unchecked = Trust {
        votes: None,
        ..trust()
    };
    let report = verify_receipt(&receipt, &unchecked);
    assert!(report.passed());
    assert!(
        report
            .findings
            .iter()
            .any(|found| found.problem == Problem::VotesUnchecked)
    );
}

#[test]
fn evidence_can_be_left_out_and_that_is_said() {
    let mut receipt = of_log(HELD, |_| {});
    for entry in &mut receipt.entries {
        entry.evidence = None;
    }
    let report = verify(&receipt);
    assert!(report.passed(), "{report:?}");
    let said = report
        .findings
        .iter()
        .filter(|found| found.problem == Problem::EvidenceLeftOut);
    assert_eq!(said.count(), receipt.entries.len());
}
