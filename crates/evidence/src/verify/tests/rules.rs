//! What somebody does who holds the log's key and rewrites or invents records; and what a broken
//! gateway would record although every signature is right.
//!
//! Requests and the places of their records are those of [`good`](super::build::good): the held
//! one is asked (0), held (1), voted on (2, 3), claimed (4), permitted (5), ended (6).

use countersign_core::{canonical::Hash, id::PermitId, time::Span};

use super::{build::*, check, *};
use crate::body::*;

#[test]
fn order() {
    check(
        "never asked",
        |log| drop(log.remove(FORBIDDEN, 0)),
        &[
            Problem::NotRequested,
            Problem::CounterExceedsLog {
                counter: "seen",
                claimed: 6,
                found: 5,
            },
        ],
    );
    check(
        "asked twice",
        |log| log.behind(PERMITTED, 0, requested(PERMITTED)),
        &[Problem::RequestedTwice],
    );
    check(
        "no digest",
        |log| log.draft(EXPIRED, 0).digest = None,
        &[
            Problem::DigestMissing,
            Problem::DigestMismatch { what: "record" },
            Problem::DigestMismatch { what: "record" },
        ],
    );
    check(
        "replaces nothing",
        |log| log.draft(EXPIRED, 0).asked().amends = Some(id(99)),
        &[Problem::AmendsUnknown { original: id(99) }],
    );
    check(
        "replaces another",
        |log| log.draft(EXPIRED, 0).asked().amends = Some(id(DENIED)),
        &[],
    );
    check(
        "decided twice",
        |log| {
            let again = log.draft(HELD, 1).clone();
            log.behind(HELD, 1, again);
        },
        &[Problem::DecidedTwice],
    );
    check(
        "time went back",
        |log| log.draft(HELD, 4).at = MINUTE,
        &[Problem::TimeWentBack],
    );
}

#[test]
fn nothing_but_talk_follows_the_end() {
    check(
        "no request",
        |log| {
            let draft = log.draft(EXPIRED, 2);
            (draft.request, draft.digest) = (None, None);
        },
        &[Problem::RequestMissing],
    );
    check(
        "closed, then closed",
        |log| {
            log.behind(DENIED, 4, closed(DENIED, 2 * MINUTE, CloseReason::Expired));
        },
        &[Problem::AfterEnd],
    );
    check(
        "closed, then voted",
        |log| {
            let stated = statement(EXPIRED, 31 * MINUTE, DANA, "dba", 0);
            log.behind(EXPIRED, 3, vote(EXPIRED, 31 * MINUTE, &stated));
        },
        &[Problem::AfterEnd],
    );
    check(
        "closed, then permitted",
        |log| {
            log.behind(DENIED, 4, permitted(DENIED, MINUTE, &["dba"], vec![]));
        },
        &[Problem::AfterEnd],
    );
}

#[test]
fn nothing_but_the_outcome_follows_the_permit() {
    let late_vote = || {
        vote(
            HELD,
            4 * MINUTE,
            &statement(HELD, 4 * MINUTE, FINN, "dba", 0),
        )
    };
    check(
        "finished, then voted",
        |log| log.behind(HELD, 6, late_vote()),
        &[Problem::AfterEnd],
    );
    check(
        "permitted, then voted",
        |log| log.behind(HELD, 5, late_vote()),
        &[Problem::VoteAfterPermit],
    );
    check(
        "permitted, then closed",
        |log| {
            *log.draft(HELD, 6) = closed(HELD, 4 * MINUTE, CloseReason::Cancelled);
        },
        &[
            Problem::ClosedAfterPermit,
            Problem::CounterExceedsLog {
                counter: "executed",
                claimed: 3,
                found: 2,
            },
        ],
    );
    check(
        "talk may follow",
        |log| {
            let about = Commented {
                about: None,
                by: person(DANA),
                kind: CommentKind::Comment,
            };
            log.behind(HELD, 6, of(HELD, 0, Body::Commented(about)));
        },
        &[],
    );
}

#[test]
fn permits_and_outcomes() {
    check(
        "permitted twice",
        |log| {
            log.behind(HELD, 5, permitted(HELD, 3 * MINUTE, &[], vec![]));
        },
        &[Problem::PermittedTwice],
    );
    check(
        "permitted again after the outcome",
        |log| {
            log.behind(HELD, 6, permitted(HELD, 4 * MINUTE, &[], vec![]));
        },
        &[Problem::PermittedTwice],
    );
    check(
        "two outcomes",
        |log| log.behind(HELD, 6, outcome(HELD, 4 * MINUTE)),
        &[Problem::OutcomeTwice],
    );
    check(
        "an outcome without permit",
        |log| drop(log.remove(PERMITTED, 2)),
        &[Problem::OutcomeWithoutPermit],
    );
    check(
        "an outcome before the permit",
        |log| {
            let permit = log.remove(PERMITTED, 2);
            log.behind(PERMITTED, 2, permit);
        },
        &[Problem::OutcomeWithoutPermit, Problem::PermittedTwice],
    );
}

#[test]
fn permits_bind_one_action_and_one_bundle() {
    check(
        "another permit's outcome",
        |log| {
            log.draft(HELD, 6).ending().permit = PermitId::from_bits(PERMITTED);
        },
        &[Problem::OutcomeOfOtherPermit {
            found: PermitId::from_bits(PERMITTED),
        }],
    );
    check(
        "another action permitted",
        |log| log.draft(HELD, 5).permission().digest = digest(9),
        &[Problem::DigestMismatch { what: "permit" }],
    );
    check(
        "another action run",
        |log| log.draft(HELD, 6).digest = Some(digest(9)),
        &[Problem::DigestMismatch { what: "record" }],
    );
    check(
        "another bundle",
        |log| log.draft(HELD, 5).permission().bundle = Hash::of(b"x"),
        &[Problem::BundleMismatch],
    );
    check(
        "permitted before policy decided",
        |log| drop(log.remove(PERMITTED, 1)),
        &[
            Problem::PermittedBeforeDecision,
            Problem::CounterExceedsLog {
                counter: "permitted",
                claimed: 1,
                found: 0,
            },
        ],
    );
}

#[test]
fn permits_rest_on_a_decision() {
    check(
        "permitted although policy forbids",
        |log| {
            log.behind(FORBIDDEN, 1, permitted(FORBIDDEN, 0, &[], vec![]));
        },
        &[Problem::PermittedDespitePolicy],
    );
    check(
        "permitted although policy forbade the claim",
        |log| {
            log.draft(HELD, 4).decision().decision = Decision::Deny;
        },
        &[Problem::PermittedDespitePolicy],
    );
    check(
        "held again at the claim",
        |log| {
            log.draft(HELD, 4).decision().decision = Decision::Hold;
        },
        &[Problem::ClaimMissing],
    );
    check(
        "not decided again",
        |log| drop(log.remove(HELD, 4)),
        &[Problem::ClaimMissing, Problem::ApprovalsMismatch],
    );
    check(
        "claimed before it was held",
        |log| {
            let claim = log.remove(HELD, 4);
            log.before(HELD, 1, Draft { at: 0, ..claim });
        },
        &[
            Problem::ClaimBeforeDecision,
            Problem::ClaimMissing,
            Problem::ApprovalsMismatch,
        ],
    );
}

#[test]
fn times() {
    let move_end = |log: &mut Log, to: i64| {
        for nth in 4..=6 {
            log.draft(HELD, nth).at = to;
        }
    };
    check(
        "claimed in the last moment",
        |log| move_end(log, 12 * MINUTE),
        &[],
    );
    check(
        "claimed too late",
        |log| move_end(log, 12 * MINUTE + 1),
        &[Problem::ClaimTooLate],
    );
    check(
        "shortened meanwhile",
        |log| {
            let mut shape = rule("dba", &[1, 1]);
            shape.valid_for = Span::from_millis(1);
            log.draft(HELD, 4).decision().rules.push(shape);
        },
        &[Problem::ClaimTooLate],
    );
    check(
        "run long after the claim",
        |log| {
            log.draft(HELD, 5).at = 13 * MINUTE;
            log.draft(HELD, 6).at = 13 * MINUTE;
        },
        &[Problem::ClaimTooLate],
    );
    check(
        "recorded again after a crash",
        |log| {
            log.draft(HELD, 5).at = 13 * MINUTE;
            log.draft(HELD, 5).permission().recovered = true;
            log.draft(HELD, 6).at = 13 * MINUTE;
        },
        &[],
    );
    check(
        "claimed before the last vote",
        |log| {
            let claim = log.remove(HELD, 4);
            log.before(
                HELD,
                3,
                Draft {
                    at: 2 * MINUTE,
                    ..claim
                },
            );
        },
        &[Problem::ClaimBeforeVotes],
    );
    let vote_at = |at: i64| {
        move |log: &mut Log| {
            *log.draft(HELD, 3) = vote(HELD, at, &statement(HELD, at, ERIN, "dba", 1));
            move_end(log, at);
        }
    };
    check("voted in the last moment", vote_at(30 * MINUTE), &[]);
    check(
        "voted after expiry",
        vote_at(30 * MINUTE + 1),
        &[Problem::VoteAfterExpiry {
            voter: person(ERIN),
        }],
    );
}
