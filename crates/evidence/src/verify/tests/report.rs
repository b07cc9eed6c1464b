//! What a report says beside failures.

use super::{build::*, *};
use crate::body::{Decision, Phase};

#[test]
fn a_finding_names_entry_request_and_what_is_wrong() {
    let mut log = good();
    log.draft(HELD, 0).asked().self_refs.push(person(DANA));
    let entry = log.place(HELD, 5);
    let report = log.verify();
    assert_eq!(report.findings[0].entry, Some(entry as u64));
    assert_eq!(report.findings[0].request, Some(id(HELD)));
    let text = report.findings[0].to_string();
    let dana = person(DANA);
    let expected = format!(
        "entry 20: req_00000000000000000000000002: `{dana}` is on the requester's side and cannot countersign"
    );
    assert_eq!(text, expected);
    assert!(report.holds(Area::Integrity) && report.holds(Area::Completeness));
    assert!(!report.holds(Area::Rules));
}

#[test]
fn votes_without_keys_are_said_to_be_unchecked() {
    let frames = good().frames();
    let trust = Trust {
        votes: None,
        ..trust()
    };
    let report = verify_journal(
        &journal(&frames),
        trust,
        checkpoint(&frames).as_bytes(),
        &[],
    );
    assert_eq!(report.findings[0].problem, Problem::VotesUnchecked);
    assert!(report.passed());
}

#[test]
fn a_permit_without_outcome_is_noted() {
    let mut log = good();
    log.0.truncate(21);
    let report = log.verify();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].problem, Problem::OutcomeMissing);
    assert_eq!(report.findings[0].request, Some(id(HELD)));
    assert!(report.passed());
}

/// Run with `cargo test --release -p countersign-evidence -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn a_million_entries() {
    let mut log = Log(good().0[..2].to_vec());
    for request in 0..250_000 {
        log.0.push(requested(request));
        log.0
            .push(decided(request, 0, Phase::Request, Decision::Permit));
        log.0.push(permitted(request, 0, &[], vec![]));
        log.0.push(outcome(request, 5));
    }
    let frames = log.frames();
    let (journal, note) = (journal(&frames), checkpoint(&frames));
    let started = std::time::Instant::now();
    let report = verify_journal(&journal, trust(), note.as_bytes(), &[]);
    println!(
        "{} entries, {} bytes: {:?}",
        report.entries,
        journal.len(),
        started.elapsed()
    );
    assert_eq!(report.findings, []);
}
