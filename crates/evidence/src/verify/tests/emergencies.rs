//! Emergencies: lifts that were votes, votes that were lifts, and reviews that are nobody else's.
//!
//! In scope: what is reported of a lift until somebody else's review is recorded, and the attacks on
//! both for the table.
//! Out of scope: whether a lift carries a permit, which the approvals' tests have.
//! Invariant: every attack stands beside a control that passes.

use countersign_core::time::Span;

use super::{
    approvals::lift,
    build::*,
    passkeys::{enrolment, passkey, vote_with},
    tamper::{Row, Scene},
    *,
};
use crate::{
    approval::{hash_of, tests::signed},
    body::*,
    vote::VoteStatement,
    webauthn::tests::Key,
};

/// The good log in which Finn lifted the rule, whose uses must be reviewed within an hour.
fn lifted() -> Log {
    let mut log = good();
    lift(&mut log, &|_| {});
    log.draft(HELD, 1).decision().rules[0].review_within = Some(Span::minutes(60));
    log
}

fn review(at: i64, by: &str) -> Draft {
    let body = EmergencyReviewed {
        by: person(by),
        credential: session(by),
        rule: dba(),
    };
    of(HELD, at, Body::EmergencyReviewed(body))
}

fn reviewed(at: i64, by: &str) -> Log {
    let mut log = lifted();
    log.behind(HELD, 6, review(at, by));
    log
}

/// What is said of emergencies, without what is said of every lift.
fn said(log: &Log) -> Vec<Problem> {
    let used = |problem: &Problem| matches!(problem, Problem::EmergencyUsed { .. });
    let findings = log.verify().findings.into_iter();
    let mut said: Vec<_> = findings.map(|found| found.problem).collect();
    said.retain(|problem| !used(problem));
    said
}

#[test]
fn a_lift_is_reported_until_somebody_else_reviewed_it() {
    let (rule, voter) = (dba(), person(FINN));
    assert_eq!(said(&lifted()), [Problem::ReviewMissing { rule, voter }]);
    assert_eq!(said(&reviewed(5 * MINUTE, DANA)), []);
    assert!(reviewed(5 * MINUTE, DANA).verify().passed());
    // Once the log goes on past the time, it is overdue.
    let mut late = lifted();
    let by = start_plus(62 * MINUTE);
    let overdue = EmergencyOverdue {
        review_by: by,
        rule: dba(),
    };
    late.behind(
        HELD,
        6,
        of(HELD, 63 * MINUTE, Body::EmergencyOverdue(overdue)),
    );
    let (rule, voter) = (dba(), person(FINN));
    assert_eq!(said(&late), [Problem::ReviewOverdue { rule, voter, by }]);
    assert!(late.verify().passed());
    late.behind(HELD, 7, review(64 * MINUTE, DANA));
    assert_eq!(said(&late), []);
}

#[test]
fn a_review_is_somebody_elses_of_something_that_was_lifted() {
    let own = |by: &str| Problem::OwnReview {
        rule: dba(),
        by: person(by),
    };
    let missing = || Problem::ReviewMissing {
        rule: dba(),
        voter: person(FINN),
    };
    for by in [FINN, OLGA] {
        let mut log = reviewed(5 * MINUTE, by);
        if by == OLGA {
            log.0.insert(2, issued(OLGA));
        }
        assert_eq!(said(&log), [own(by), missing()], "{by}");
    }
    let mut twice = reviewed(5 * MINUTE, DANA);
    twice.behind(HELD, 7, review(6 * MINUTE, ERIN));
    assert_eq!(said(&twice), [Problem::ReviewOfNothing { rule: dba() }]);
    let mut nothing = good();
    nothing.behind(HELD, 6, review(5 * MINUTE, DANA));
    assert_eq!(said(&nothing), [Problem::ReviewOfNothing { rule: dba() }]);
    let mut elsewhere = reviewed(5 * MINUTE, DANA);
    let Body::EmergencyReviewed(of_erin) = &mut elsewhere.draft(HELD, 7).body else {
        panic!("the review comes last")
    };
    of_erin.credential = session(ERIN);
    let credential = session(ERIN);
    assert_eq!(said(&elsewhere), [Problem::ReviewCredential { credential }]);
}

/// Dana's vote and Finn's lift stand in for each other, signed anew with the key of votes.
fn exchanged(change: impl Fn(&mut VoteStatement)) -> Log {
    let mut log = good();
    log.draft(HELD, 1).decision().rules[0].emergency = true;
    let key = &Key::all()[0];
    let mut stated = statement(HELD, 2 * MINUTE, FINN, "dba", 0);
    stated.assurance = Assurance::Passkey;
    stated.credential = passkey();
    change(&mut stated);
    // What the passkey signed is of the statement as it was; what is recorded is its opposite.
    let (signature, mut stated) = signed(key, stated);
    stated.emergency = !stated.emergency;
    stated.signature = Some(hash_of(&signature).unwrap());
    log.0.insert(1, enrolment(key, stated.voter));
    *log.draft(HELD, 3) = vote_with(HELD, 2 * MINUTE, &signature, &stated);
    if stated.emergency {
        log.draft(HELD, 5).permission().fills.clear();
    }
    log
}

/// Erin, long after Finn's use was due, lifts the same rule of another request.
fn again(gap: i64) -> Log {
    let mut log = lifted();
    let mut rule = rule("dba", &[1]);
    (rule.emergency, rule.expires) = (true, Span::minutes(600));
    let mut held = held(9, rule);
    held.at = gap;
    let mut asked = requested(9);
    asked.at = gap;
    let mut stated = statement(9, gap, ERIN, "dba", 0);
    stated.emergency = true;
    log.0.extend([asked, held, vote(9, gap, &stated)]);
    log
}

#[test]
fn nothing_is_lifted_while_a_review_is_overdue() {
    let suspended = |log: &Log| {
        let is = |found: &Problem| matches!(found, Problem::LiftedWhileSuspended { .. });
        said(log).iter().any(is)
    };
    assert!(!suspended(&again(62 * MINUTE)));
    assert!(suspended(&again(62 * MINUTE + 1)));
    let mut reviewed = again(62 * MINUTE + 1);
    reviewed.behind(HELD, 6, review(5 * MINUTE, DANA));
    assert!(!suspended(&reviewed));
}

pub(super) fn rows() -> Vec<Row> {
    let turned = |emergency: bool| {
        let mut log = lifted();
        log.draft(HELD, 3).approval().emergency = emergency;
        Scene::of(&log)
    };
    let mut by_token = reviewed(5 * MINUTE, DANA);
    let token = issued(DANA);
    by_token.0.retain(|draft| !draft.is_session_of(DANA));
    by_token.0.insert(2, token);
    by_token.session_of(DANA).kind = CredentialKind::Token;
    vec![
        (
            "a lift turned into a vote",
            turned(false),
            "the record's `emergency` is not what was signed",
        ),
        (
            "a lift turned into a vote, with the key of votes",
            Scene::of(&exchanged(|stated| stated.emergency = true)),
            "its statement says another purpose than the vote",
        ),
        (
            "a vote turned into a lift, with the key of votes",
            Scene::of(&exchanged(|_| {})),
            "its statement says another purpose than the vote",
        ),
        (
            "an emergency reviewed by whoever lifted the rule",
            Scene::of(&reviewed(5 * MINUTE, FINN)),
            "and lifted a rule of that request or is on the requester's side",
        ),
        (
            "an emergency reviewed by the requester's side",
            Scene::of(&reviewed(5 * MINUTE, OLGA)),
            "and lifted a rule of that request or is on the requester's side",
        ),
        (
            "a review by a token",
            Scene::of(&by_token),
            "of the review is no session that its reviewer had then",
        ),
        (
            "a review of an emergency that never was",
            {
                let mut log = good();
                log.behind(HELD, 6, review(5 * MINUTE, DANA));
                Scene::of(&log)
            },
            "that was not there, or was reviewed before",
        ),
        (
            "a rule lifted again while the review of its last use was overdue",
            Scene::of(&again(62 * MINUTE + 1)),
            "although the review of an earlier use was overdue",
        ),
    ]
}
