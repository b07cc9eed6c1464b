//! Amended requests: who edited one on the way, and everybody on its side, is on the side of what
//! replaces it.

use super::{
    build::*,
    receipts,
    tamper::{Row, Scene},
    *,
};
use crate::body::{CloseReason, CommentKind, Commented, RequestClosed, SelfGrew};

/// What was asked first.
const FIRST: u128 = 7;
/// What Erin made of it.
const SECOND: u128 = 8;
/// What Finn made of that.
const THIRD: u128 = 9;

/// A request in the place of another one, with these people on its side.
fn replacing(request: u128, original: u128, people: &[&str]) -> Draft {
    let mut draft = requested(request);
    let asked = draft.asked();
    asked.amends = Some(id(original));
    asked.self_refs = people.iter().map(|name| person(name)).collect();
    draft
}

/// That somebody proposed another action instead.
fn edited(request: u128, at: i64, editor: &str, into: u128) -> Draft {
    let body = Commented {
        about: Some(id(into)),
        by: person(editor),
        kind: CommentKind::Amendment,
    };
    of(request, at, Body::Commented(body))
}

/// That a request ended for another one.
fn replaced(request: u128, at: i64, editor: &str) -> Draft {
    let body = RequestClosed {
        by: Some(person(editor)),
        why: CloseReason::Amended,
    };
    of(request, at, Body::RequestClosed(body))
}

/// A request is amended by Erin, then by Finn, then approved by Dana, and runs.
fn amended() -> Log {
    let at = MINUTE;
    let mut log = good();
    log.0.extend([
        requested(FIRST),
        held(FIRST, rule("dba", &[1])),
        replacing(SECOND, FIRST, &[OLGA, ERIN]),
        held(SECOND, rule("dba", &[1])),
        edited(FIRST, at, ERIN, SECOND),
        replaced(FIRST, at, ERIN),
        replacing(THIRD, SECOND, &[OLGA, ERIN, FINN]),
        held(THIRD, rule("dba", &[1])),
        edited(SECOND, 2 * at, FINN, THIRD),
        replaced(SECOND, 2 * at, FINN),
        vote(THIRD, 3 * at, &statement(THIRD, 3 * at, DANA, "dba", 0)),
        claimed(THIRD, 3 * at, "dba"),
        permitted(THIRD, 3 * at, &["dba"], vec![fill("dba", 0, DANA)]),
        outcome(THIRD, 4 * at),
    ]);
    log
}

fn sealed(change: impl Fn(&mut Log)) -> Scene {
    let mut log = amended();
    change(&mut log);
    Scene::of(&log)
}

/// Approves the last version as somebody in Dana's place.
fn approve_as(log: &mut Log, name: &str) {
    let at = 3 * MINUTE;
    *log.draft(THIRD, 2) = vote(THIRD, at, &statement(THIRD, at, name, "dba", 0));
    log.draft(THIRD, 4).permission().fills = vec![fill("dba", 0, name)];
}

fn forget(log: &mut Log, request: u128, name: &str) {
    let refs = &mut log.draft(request, 0).asked().self_refs;
    refs.retain(|one| *one != person(name));
}

/// For the table of attacks.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = people();
    rows.extend(ends());
    rows
}

fn people() -> Vec<Row> {
    let grown = SelfGrew {
        refs: vec![person(DANA)],
        why: "proposed_change".into(),
    };
    vec![
        (
            "an amended request approved by who edited it",
            sealed(|log| {
                forget(log, THIRD, FINN);
                approve_as(log, FINN);
            }),
            "is on the requester's side and cannot countersign",
        ),
        (
            "an amended request approved by who edited it before that",
            sealed(|log| {
                forget(log, THIRD, ERIN);
                approve_as(log, ERIN);
            }),
            "is on the requester's side and cannot countersign",
        ),
        (
            "an editor left out of the side of what a request became",
            sealed(|log| forget(log, THIRD, ERIN)),
            "leave out",
        ),
        (
            "an amended request approved by somebody who had become part of the original's side",
            sealed(move |log| log.behind(FIRST, 1, of(FIRST, 0, Body::SelfGrew(grown.clone())))),
            "is on the requester's side and cannot countersign",
        ),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        (
            "the record of who edited a request left out",
            sealed(|log| {
                log.remove(SECOND, 3);
                log.remove(SECOND, 2);
            }),
            "was not closed for it",
        ),
        (
            "who edited a request recorded only after its amendment ran",
            sealed(|log| {
                for _ in 0..2 {
                    let late = log.remove(SECOND, 2);
                    log.0.push(late);
                }
            }),
            "was not closed for it",
        ),
        (
            "who edited a request before recorded only after it was amended again",
            sealed(|log| {
                for nth in [3, 2] {
                    let late = log.remove(FIRST, nth);
                    log.behind(SECOND, 3, late);
                }
            }),
            "was not closed for it",
        ),
        (
            "an amendment said to replace another request than it does",
            sealed(|log| log.draft(THIRD, 0).asked().amends = Some(id(EXPIRED))),
            "does not say that it replaces it",
        ),
        (
            "an amendment said to replace nothing",
            sealed(|log| log.draft(THIRD, 0).asked().amends = None),
            "does not say that it replaces it",
        ),
    ]
}

#[test]
fn the_untampered_amendments_pass() {
    assert_eq!(amended().verify().findings, []);
}

/// Somebody who is recorded later is on the side all the same.
#[test]
fn who_is_left_out_at_first_can_be_recorded_later() {
    let mut log = amended();
    forget(&mut log, THIRD, ERIN);
    let grown = SelfGrew {
        refs: vec![person(ERIN)],
        why: "proposed_change".into(),
    };
    log.behind(SECOND, 3, of(THIRD, 2 * MINUTE, Body::SelfGrew(grown)));
    assert_eq!(log.verify().findings, []);
}

/// A crash, and a replacement that ends before its original does, are no lies.
#[test]
fn what_never_ran_owes_nothing() {
    let log = |ends: bool| {
        let mut log = good();
        log.0.extend([
            requested(FIRST),
            held(FIRST, rule("dba", &[1])),
            replacing(SECOND, FIRST, &[OLGA, ERIN]),
            held(SECOND, rule("dba", &[1])),
        ]);
        if ends {
            log.0.push(closed(SECOND, MINUTE, CloseReason::Cancelled));
            log.0.push(edited(FIRST, MINUTE, ERIN, SECOND));
            log.0.push(replaced(FIRST, MINUTE, ERIN));
        }
        log
    };
    assert_eq!(log(false).verify().findings, []);
    assert_eq!(log(true).verify().findings, []);
}

/// A receipt has one request, so that it can't tell who edited what it replaces; it says so.
#[test]
fn receipts_of_amended_requests_say_what_they_cannot_tell() {
    let log = amended();
    for (request, original) in [(FIRST, None), (SECOND, Some(FIRST)), (THIRD, Some(SECOND))] {
        let report = receipts::verify(&receipts::of(request, &log));
        let unchecked = original.map(|original| Problem::OriginalUnchecked {
            original: id(original),
        });
        let said = report.findings.iter().map(|found| found.problem.clone());
        assert_eq!(said.collect::<Vec<_>>(), Vec::from_iter(unchecked));
        assert!(report.passed());
    }
}

/// A receipt finds whom its own records have on the side.
#[test]
fn a_receipt_finds_an_editor_who_is_recorded() {
    let mut log = amended();
    approve_as(&mut log, ERIN);
    let report = receipts::verify(&receipts::of(THIRD, &log));
    assert!(report.failures().any(|found| {
        found.problem
            == Problem::SelfApproval {
                voter: person(ERIN),
            }
    }));
}
