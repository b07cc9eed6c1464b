//! Grants: given by everybody counted, for one shape, until they are over; every lie about them.

use countersign_core::{
    approval::grant::GrantTerms,
    digest::{ActionDigest, action_digest},
    time::{Span, Timestamp},
};
use serde_json::json;

use super::{
    build::*,
    receipts,
    tamper::{Row, Scene},
    *,
};
use crate::body::{GrantEnded, GrantGiven, GrantUsed, OutcomeStatus, Phase, SelfGrew};

/// What Dana granted with.
const GRANTING: u128 = 20;
/// What ran under it, one after the other.
const USES: [u128; 2] = [21, 22];

fn terms() -> GrantTerms {
    GrantTerms {
        time: Span::minutes(15),
        open: ["/argv/2".to_owned()].into(),
        uses: 3,
    }
}

fn moment(at: i64) -> Timestamp {
    statement(GRANTING, at, DANA, "dba", 0).at
}

fn given(at: i64, until: i64, uses: u32) -> Draft {
    let until = moment(until);
    of(GRANTING, at, Body::GrantGiven(GrantGiven { until, uses }))
}

fn used(request: u128, at: i64) -> Draft {
    let grant = id(GRANTING);
    of(request, at, Body::GrantUsed(GrantUsed { grant }))
}

fn ended(at: i64) -> Draft {
    let by = person(ERIN);
    of(GRANTING, at, Body::GrantEnded(GrantEnded { by }))
}

fn granting_vote(grant: Option<GrantTerms>) -> Draft {
    let mut signed = statement(GRANTING, MINUTE, DANA, "dba", 0);
    signed.grant = grant;
    vote(GRANTING, MINUTE, &signed)
}

/// What runs under the grant at `at`: seven records, of which the third says so.
fn use_at(request: u128, at: i64) -> Vec<Draft> {
    let mut asked = [requested(request), held(request, rule("dba", &[1]))];
    asked.iter_mut().for_each(|draft| draft.at = at);
    let mut drafts = Vec::from(asked);
    drafts.extend([
        used(request, at),
        claimed(request, at, "dba"),
        permitted(request, at, &["dba"], vec![fill("dba", 0, DANA)]),
        outcome(request, at),
    ]);
    drafts
}

/// Dana approves one deployment, grants its like, and two more run.
fn granted() -> Log {
    let mut log = good();
    log.0.extend([
        requested(GRANTING),
        held(GRANTING, rule("dba", &[1])),
        granting_vote(Some(terms())),
        claimed(GRANTING, 2 * MINUTE, "dba"),
        permitted(GRANTING, 2 * MINUTE, &["dba"], vec![fill("dba", 0, DANA)]),
        given(2 * MINUTE, 16 * MINUTE, 3),
        outcome(GRANTING, 3 * MINUTE),
    ]);
    log.0.extend(use_at(USES[0], 4 * MINUTE));
    log.0.extend(use_at(USES[1], 15 * MINUTE));
    log
}

fn sealed(change: impl Fn(&mut Log)) -> Scene {
    let mut log = granted();
    change(&mut log);
    Scene::of(&log)
}

/// Has the last use ask for something else, with the digest that belongs to it.
fn asks(log: &mut Log, change: impl Fn(&mut serde_json::Value)) {
    let value = log.draft(USES[1], 0).value.as_mut().unwrap();
    change(value);
    let digest = digest_of(value, USES[1]);
    for nth in 0..6 {
        log.draft(USES[1], nth).digest = Some(digest);
    }
    log.draft(USES[1], 4).permission().digest = digest;
}

fn digest_of(value: &serde_json::Value, request: u128) -> ActionDigest {
    let part = |name: &str| value[name].clone();
    action_digest(
        &serde_json::from_value(part("chain")).unwrap(),
        &serde_json::from_value(part("action")).unwrap(),
        &id(request),
        &serde_json::from_value(part("nonce")).unwrap(),
    )
    .unwrap()
}

/// For the table of attacks.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = given_otherwise();
    rows.extend(over());
    rows.extend(of_something_else());
    rows
}

fn given_otherwise() -> Vec<Row> {
    vec![
        (
            "a grant recorded that nobody signed",
            sealed(|log| *log.draft(GRANTING, 2) = granting_vote(None)),
            "not everybody signed whose vote was counted",
        ),
        (
            "a grant recorded for longer than was signed",
            sealed(|log| *log.draft(GRANTING, 5) = given(2 * MINUTE, 90 * MINUTE, 3)),
            "another end or number of uses than was signed",
        ),
        (
            "a grant recorded for more uses than were signed",
            sealed(|log| *log.draft(GRANTING, 5) = given(2 * MINUTE, 16 * MINUTE, 30)),
            "another end or number of uses than was signed",
        ),
        (
            "a request under a grant that was never given",
            sealed(|log| drop(log.remove(GRANTING, 5))),
            "which no record gave",
        ),
        (
            "a request run on a grant's votes without using it",
            sealed(|log| drop(log.remove(USES[0], 2))),
            "no standing approval of",
        ),
    ]
}

fn over() -> Vec<Row> {
    vec![
        (
            "a request under a grant after its end",
            sealed(|log| {
                for nth in 0..6 {
                    log.draft(USES[1], nth).at = 16 * MINUTE;
                }
            }),
            "was over, used up or ended",
        ),
        (
            "a request begun under a grant and run after its end",
            sealed(|log| {
                for nth in 3..6 {
                    log.draft(USES[1], nth).at = 16 * MINUTE + 1;
                }
            }),
            "after its approval had lapsed",
        ),
        (
            "a grant used once more than was signed",
            sealed(|log| log.0.extend(use_at(23, 15 * MINUTE))),
            "was over, used up or ended",
        ),
        (
            "a request under a grant that somebody had ended",
            sealed(|log| log.before(USES[1], 0, ended(5 * MINUTE))),
            "was over, used up or ended",
        ),
        (
            "a request under a grant whose first action ended unknown",
            sealed(|log| log.draft(GRANTING, 6).ending().status = OutcomeStatus::Unknown),
            "was over, used up or ended",
        ),
        (
            "a request under a grant of somebody who has joined its side since",
            sealed(|log| {
                let refs = vec![person(DANA)];
                let grew = Body::SelfGrew(SelfGrew {
                    refs,
                    why: "policy".into(),
                });
                log.before(USES[1], 0, of(GRANTING, 5 * MINUTE, grew));
            }),
            "is on the requester's side and cannot countersign",
        ),
        (
            "a request run on a grant's votes after that grant was taken from it",
            sealed(|log| {
                let mut taken = ended(15 * MINUTE);
                taken.request = Some(USES[1]);
                taken.digest = Some(digest(USES[1]));
                log.behind(USES[1], 2, taken);
            }),
            "no standing approval of",
        ),
    ]
}

fn of_something_else() -> Vec<Row> {
    vec![
        (
            "another action under a grant",
            sealed(|log| {
                asks(log, |value| {
                    value["action"]["arguments"]["argv"][0] = json!("drop")
                })
            }),
            "which was given for something else",
        ),
        (
            "another agent under a grant",
            sealed(|log| {
                asks(log, |value| {
                    value["chain"]["requester"]["id"] = json!("erin@example.com")
                });
            }),
            "which was given for something else",
        ),
        (
            "a request that another rule holds under a grant",
            sealed(|log| {
                let mut other = held(USES[1], rule("security", &[1]));
                other.at = 15 * MINUTE;
                *log.draft(USES[1], 1) = other;
            }),
            "which was given for something else",
        ),
        (
            "a grant used by the side of who gave it",
            sealed(|log| log.draft(USES[1], 0).asked().self_refs.push(person(DANA))),
            "is on the requester's side and cannot countersign",
        ),
    ]
}

#[test]
fn the_untampered_grants_pass() {
    assert_eq!(granted().verify().findings, []);
}

#[test]
fn any_value_may_stand_at_an_open_place() {
    let mut log = granted();
    asks(&mut log, |value| {
        value["action"]["arguments"]["argv"][2] = json!("staging")
    });
    assert_eq!(log.verify().findings, []);
}

#[test]
fn an_ended_grant_hurts_nothing_that_ran_before() {
    let mut log = granted();
    log.0.push(ended(16 * MINUTE));
    assert_eq!(log.verify().findings, []);
}

/// People can sign in the place of a vote that a grant lost.
#[test]
fn who_gave_a_grant_can_still_sign_what_lost_it() {
    let mut log = granted();
    let mut taken = ended(15 * MINUTE);
    taken.request = Some(USES[1]);
    taken.digest = Some(digest(USES[1]));
    let at = 15 * MINUTE;
    log.behind(USES[1], 2, taken);
    log.behind(
        USES[1],
        3,
        vote(USES[1], at, &statement(USES[1], at, DANA, "dba", 0)),
    );
    let decided = log.draft(USES[1], 5);
    assert_eq!(decided.decision().phase, Phase::Claim);
    assert_eq!(log.verify().findings, []);
}

/// A receipt has one request, so that the votes of a grant are elsewhere; it says so.
#[test]
fn receipts_of_uses_say_where_their_votes_are() {
    let log = granted();
    let report = receipts::verify(&receipts::of(USES[0], &log));
    let said: Vec<_> = report
        .findings
        .iter()
        .map(|found| found.problem.clone())
        .collect();
    assert_eq!(
        said,
        [Problem::GrantUnchecked {
            grant: id(GRANTING)
        }]
    );
    assert!(report.passed());
    assert_eq!(receipts::verify(&receipts::of(GRANTING, &log)).findings, []);
}
