//! The run against a gateway of prepared answers.

use expect_test::{Expect, expect};

use super::*;
use crate::cli::{
    output::capture::captured,
    testing::{Stub, detail, json_answer, problem, stream_answer},
};

const HELD: &str = r#"{"event":"held","request":"req_1","url":"https://gate.example.com/requests/req_1","rules":["dba"],"approvers":{"count":1,"people":[],"from":["group:dba"]},"expires":0,"attached":false}"#;
const PROGRESS: &str =
    r#"{"event":"progress","request":"req_1","text":"dana asked: which\u001b branch?"}"#;
const STARTED: &str = r#"{"event":"started","request":"req_1","permit":"permit_1"}"#;
const OUT: &str = r#"{"event":"stdout","data":"AP8K"}"#;
const STILL: &str =
    r#"{"event":"still_held","request":"req_1","url":"https://gate.example.com/requests/req_1"}"#;
const REFUSED_LINE: &str = r#"{"event":"refused","request":"req_1","code":"denied","message":"lea denied it: not today","amended":"req_2"}"#;

fn exited(status: i32, outcome: &str) -> String {
    format!(r#"{{"event":"exited","status":{status},"outcome":"{outcome}"}}"#)
}

fn request() -> RunRequest {
    serde_json::from_str(r#"{"target":"release","argv":["make"],"wait_ms":60000}"#).unwrap()
}

struct Ending {
    exit: u8,
    out: String,
    err: String,
    requests: Vec<String>,
}

async fn run_against(answers: Vec<String>, json: bool, on_terminal: bool) -> Ending {
    let stub = Stub::start(answers).await;
    let client = Client::new(&stub.settings()).unwrap();
    let (mut output, out, err) = captured(json, on_terminal);
    let mut signals = Signals::listen().unwrap();
    let pauses = [Duration::from_millis(5), Duration::from_millis(5)];
    let exit = match follow(&client, request(), None, &pauses, &mut signals, &mut output).await {
        Ok(status) => status,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    };
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let requests = stub.seen().into_iter().map(first_line).collect();
    Ending {
        exit,
        out: out.text(),
        err: err.text(),
        requests,
    }
}

async fn check_run(answers: Vec<String>, exit: u8, said: Expect) {
    let ending = run_against(answers, false, false).await;
    said.assert_eq(&ending.err);
    assert_eq!(ending.exit, exit);
}

#[tokio::test]
async fn held_then_run_has_the_status_of_the_command() {
    let exited = exited(3, "failed");
    let lines = [HELD, PROGRESS, STARTED, &exited];
    check_run(
        vec![stream_answer(&lines, true)],
        3,
        expect![[r#"
            countersign: req_1 is held until dba is satisfied by group:dba (1 person now) (0s left): https://gate.example.com/requests/req_1
        "#]],
    )
    .await;
}

#[tokio::test]
async fn on_a_terminal_the_wait_is_shown() {
    let lines = [HELD, PROGRESS, STARTED, &exited(0, "succeeded")];
    let ending = run_against(vec![stream_answer(&lines, true)], false, true).await;
    assert_eq!(ending.exit, 0);
    expect![[r#"
        Held: req_1
          page       https://gate.example.com/requests/req_1
          rules      dba
          can sign   group:dba (1 person now)
          time left  0s
          Ctrl-C stops waiting here; the request goes on.
          · dana asked: which⟨U+001B⟩ branch?
        Approved; it runs.
    "#]]
    .assert_eq(&ending.err);
}

#[tokio::test]
async fn output_passes_as_it_is() {
    let lines = [STARTED, OUT, &exited(0, "succeeded")];
    let stub = Stub::start(vec![stream_answer(&lines, true)]).await;
    let client = Client::new(&stub.settings()).unwrap();
    let (mut output, out, _) = captured(false, false);
    let mut signals = Signals::listen().unwrap();
    let status = follow(&client, request(), None, &[], &mut signals, &mut output).await;
    assert_eq!(status, Ok(0));
    assert_eq!(out.bytes(), b"\0\xff\n");
}

#[tokio::test]
async fn with_json_every_event_is_a_line() {
    let lines = [HELD, STARTED, OUT, &exited(0, "succeeded")];
    let ending = run_against(vec![stream_answer(&lines, true)], true, true).await;
    assert_eq!((ending.exit, ending.err.as_str()), (0, ""));
    let kinds: Vec<String> = ending
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string())
        .collect();
    assert_eq!(
        kinds,
        [r#""held""#, r#""started""#, r#""stdout""#, r#""exited""#]
    );
}

#[tokio::test]
async fn refusals_say_why_and_what_next() {
    check_run(
        vec![stream_answer(&[REFUSED_LINE], true)],
        77,
        expect![[r#"
            countersign: refused: lea denied it: not today
              read the amended action: countersign requests show req_2
              to run it instead: countersign run --claim req_2
        "#]],
    )
    .await;
    check_run(
        vec![problem(403, "denied", "agents may not push")],
        77,
        expect![[r#"
            countersign: agents may not push
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_wait_that_is_over_leaves_the_request() {
    check_run(
        vec![stream_answer(&[STILL], true)],
        75,
        expect![[r#"
            countersign: req_1 still waits for people: https://gate.example.com/requests/req_1
              run the same command again once it is approved, or `countersign requests cancel req_1`
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_not_there_runs_nothing() {
    let ending = run_against(vec![], false, false).await;
    assert_eq!(ending.exit, 69);
    assert_eq!(
        run_against(vec![problem(401, "bad_token", "no")], false, false)
            .await
            .exit,
        69
    );
}

#[tokio::test]
async fn a_break_after_the_start_is_unknown() {
    for whole in [true, false] {
        let ending = run_against(vec![stream_answer(&[STARTED], whole)], false, false).await;
        assert_eq!((ending.exit, ending.requests.len()), (70, 1));
        assert!(
            ending.err.contains("broke after the action started"),
            "{}",
            ending.err
        );
        assert!(
            ending
                .err
                .contains("may have run; ask `countersign requests show req_1`")
        );
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_unknown() {
    let ending = run_against(
        vec![stream_answer(&[STARTED, &exited(0, "unknown")], true)],
        false,
        false,
    )
    .await;
    assert_eq!(ending.exit, 70);
    assert!(
        ending.err.contains("countersign requests show req_1"),
        "{}",
        ending.err
    );
}

#[tokio::test]
async fn a_break_before_any_event_is_not_repeated() {
    for whole in [true, false] {
        let ending = run_against(
            vec![stream_answer(&[], whole), json_answer("{}")],
            false,
            false,
        )
        .await;
        assert_eq!(
            (ending.exit, ending.requests.len()),
            (69, 1),
            "{}",
            ending.err
        );
        assert!(ending.err.contains("nothing was run"), "{}", ending.err);
    }
}

#[tokio::test]
async fn a_request_without_answer_is_not_repeated() {
    let ending = run_against(vec![String::new(), json_answer("{}")], false, false).await;
    assert_eq!(
        (ending.exit, ending.requests.len()),
        (69, 1),
        "{}",
        ending.err
    );
    assert!(
        ending.err.contains("requests list --mine"),
        "{}",
        ending.err
    );
}

#[tokio::test]
async fn a_break_while_held_is_taken_up_if_it_still_waits() {
    let answers = vec![
        stream_answer(&[HELD], false),
        problem(503, "starting", "not yet"),
        json_answer(&detail("approved")),
        stream_answer(&[HELD, STARTED, &exited(4, "failed")], true),
    ];
    let ending = run_against(answers, false, false).await;
    assert_eq!(ending.exit, 4);
    assert_eq!(
        ending.requests,
        [
            "POST /v1/run HTTP/1.1",
            "GET /v1/requests/req_1 HTTP/1.1",
            "GET /v1/requests/req_1 HTTP/1.1",
            "POST /v1/run HTTP/1.1"
        ]
    );
    assert_eq!(ending.err.matches("is held until").count(), 1);
}

#[tokio::test]
async fn a_break_while_held_is_not_taken_up_otherwise() {
    for (state, exit) in [
        ("running", 70),
        ("succeeded", 70),
        ("unknown", 70),
        ("denied", 77),
        ("expired", 77),
    ] {
        let answers = vec![
            stream_answer(&[HELD], false),
            json_answer(&detail(state)),
            json_answer("{}"),
        ];
        let ending = run_against(answers, false, false).await;
        assert_eq!((ending.exit, ending.requests.len()), (exit, 2), "{state}");
    }
    let ending = run_against(vec![stream_answer(&[HELD], false)], false, false).await;
    assert_eq!(ending.exit, 69);
    assert!(
        ending.err.contains("countersign requests cancel req_1"),
        "{}",
        ending.err
    );
}

#[tokio::test]
async fn a_caller_that_leaves_is_told_how_to_come_back() {
    let mut watch = Watch::new();
    let (mut output, _, err) = captured(false, true);
    watch
        .event(serde_json::from_str(HELD).unwrap(), now(), &mut output)
        .unwrap();
    let failure = watch.interrupted(130);
    output.failure(&failure);
    assert_eq!(failure.exit, 130);
    assert!(err.text().ends_with(
        "countersign: stopped waiting; req_1 goes on without you\n  attach again: run the same command\n  \
         cancel it:    countersign requests cancel req_1\n"
    ));
}
