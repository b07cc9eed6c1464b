//! What GitHub says of a run, and what a delivery says of it.
//!
//! In scope: reading, comparing, and telling attempts apart.
//! Out of scope: how it is fetched.
//! Invariant: nothing is asked that GitHub does not say itself, and nothing told of another attempt.

use serde_json::{Value, json};

use super::*;

fn run() -> Value {
    let account = |id: u64, login: &str| json!({ "id": id, "login": login, "type": "User" });
    json!({
        "id": 42, "run_attempt": 2, "status": "waiting", "conclusion": null,
        "head_sha": "a".repeat(40), "head_branch": "main", "event": "push",
        "actor": account(1, "dana"), "triggering_actor": account(2, "finn"),
        "repository": { "id": 11, "full_name": "acme/shop" },
        "head_repository": { "id": 11, "full_name": "acme/shop" },
        "pull_requests": [{ "number": 12 }],
    })
}

fn reading(said: &Value) -> Result<Run, &'static str> {
    read(said.to_string().as_bytes(), 42)
}

fn with(changes: &[(&str, Value)]) -> Run {
    let mut said = run();
    for (at, value) in changes {
        *said.pointer_mut(at).unwrap() = value.clone();
    }
    reading(&said).unwrap()
}

fn wanted(changes: &[(&str, Value)]) -> Wanted {
    let account = json!({ "id": 1, "login": "dana", "type": "User" });
    let mut wanted = json!({
        "repository": "acme/shop", "repository_id": 11, "installation": 77, "run": 42, "deployment": 5,
        "environment": "production", "ref": "main", "sha": "a".repeat(40), "event": "push",
        "sender": account, "creator": account,
    });
    for (at, value) in changes {
        *wanted.pointer_mut(at).unwrap() = value.clone();
    }
    serde_json::from_value(wanted).unwrap()
}

#[test]
fn a_run_is_read() {
    let run = reading(&run()).unwrap();
    assert_eq!((run.attempt, run.completed), (2, false));
    assert_eq!((run.actor.id, run.triggering_actor.id), (1, 2));
    assert!(with(&[("/status", json!("completed"))]).completed);
    for (at, value, expected) in [
        ("/id", json!(43), "it is another run"),
        (
            "/run_attempt",
            json!(0),
            "it has a number that GitHub has for nothing",
        ),
        (
            "/triggering_actor",
            json!(null),
            "it lacks what GitHub says of a run",
        ),
        ("/status", json!(null), "it lacks what GitHub says of a run"),
        (
            "/head_branch",
            json!("ma\u{202e}in"),
            "it has a name that can't be shown",
        ),
        ("/head_sha", json!("HEAD"), "it names no commit or no event"),
        ("/event", json!(""), "it names no commit or no event"),
    ] {
        let mut said = super::tests::run();
        *said.pointer_mut(at).unwrap() = value.clone();
        assert_eq!(reading(&said), Err(expected), "{at} {value}");
    }
}

#[test]
fn a_delivery_says_what_github_says() {
    let same = with(&[]);
    for (changes, expected) in [
        (vec![], Ok("main")),
        (vec![("/ref", json!("refs/heads/main"))], Ok("main")),
        (vec![("/event", json!(""))], Ok("main")),
        (vec![("/ref", json!("v1.0"))], Err("other_ref")),
        (
            vec![("/ref", json!("refs/pull/12/merge"))],
            Err("other_ref"),
        ),
        (vec![("/sha", json!("b".repeat(40)))], Err("other_commit")),
        (vec![("/event", json!("schedule"))], Err("other_event")),
        (vec![("/repository_id", json!(12))], Err("other_repository")),
    ] {
        let said = same.reference(&wanted(&changes));
        assert_eq!(
            said.as_deref(),
            expected.as_ref().map(|text| *text),
            "{changes:?}"
        );
    }
    let unnamed = with(&[("/head_branch", json!(null))]);
    assert_eq!(unnamed.reference(&wanted(&[])), Err("other_ref"));
}

#[test]
fn a_branch_of_elsewhere_is_not_one_of_here() {
    let pull = [("/event", json!("pull_request"))];
    let at = |number: &str| [("/event", json!("pull_request")), ("/ref", json!(number))];
    let own = with(&pull);
    assert_eq!(own.reference(&wanted(&pull)).as_deref(), Ok("main"));
    let merge = "refs/pull/12/merge";
    assert_eq!(own.reference(&wanted(&at(merge))).as_deref(), Ok(merge));
    for other in [
        "refs/pull/13/merge",
        "refs/pull/+12/merge",
        "refs/pull/12/x",
        "refs/pull/12",
    ] {
        assert_eq!(
            own.reference(&wanted(&at(other))),
            Err("other_ref"),
            "{other}"
        );
    }
    let fork = [
        ("/event", json!("pull_request")),
        (
            "/head_repository",
            json!({ "id": 99, "full_name": "evil/shop" }),
        ),
        ("/pull_requests", json!([])),
    ];
    let fork = with(&fork);
    assert_eq!(
        fork.reference(&wanted(&pull)).as_deref(),
        Ok("evil/shop:main")
    );
    assert_eq!(fork.reference(&wanted(&at(merge))).as_deref(), Ok(merge));
    let lost = with(&[("/head_repository", json!(null))]);
    assert_eq!(lost.reference(&wanted(&[])).as_deref(), Ok("unknown:main"));
}

#[test]
fn another_attempt_is_another_run() {
    let seen = with(&[]).seen();
    assert_eq!(gone(Some(&with(&[])), &seen), None);
    let other = json!({ "id": 3, "login": "mona" });
    for (changes, expected) in [
        (vec![("/run_attempt", json!(3))], "attempt 3"),
        (vec![("/run_attempt", json!(1))], "attempt 1"),
        (vec![("/status", json!("completed"))], "ended"),
        (vec![("/head_sha", json!("b".repeat(40)))], "did not say"),
        (vec![("/triggering_actor", other)], "did not say"),
    ] {
        let why = gone(Some(&with(&changes)), &seen).unwrap();
        assert!(why.contains(expected), "{why}");
    }
    assert!(gone(None, &seen).unwrap().contains("does not have"));
    for going_on in ["queued", "in_progress", "waiting", "pending", "requested"] {
        assert_eq!(
            gone(Some(&with(&[("/status", json!(going_on))])), &seen),
            None
        );
    }
}

#[test]
fn an_answer_is_for_a_run_and_an_environment() {
    let job = |changes: &[(&str, Value)]| wanted(changes).job();
    assert!(job(&[]).is_answered_with(&job(&[("/environment", json!("Production"))])));
    assert!(job(&[]).is_answered_with(&job(&[("/deployment", json!(6))])));
    assert!(!job(&[]).is_answered_with(&job(&[("/run", json!(43))])));
    assert!(!job(&[]).is_answered_with(&job(&[("/environment", json!("qa"))])));
}
