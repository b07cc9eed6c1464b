//! The trace that a caller says its request belongs to: kept beside the first record, and nowhere
//! that anything is decided.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Lab, argv, event, events, process::countersign};

const ONE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";

/// Asks for a command within a trace.
async fn run(bot: &Caller, command: &str, trace: &str) -> Vec<Value> {
    let call = json!({ "target": "tools", "argv": argv(command), "wait_ms": 0 });
    let request = bot.request(Method::POST, "/v1/run").json(&call);
    let answer = request.header("traceparent", trace).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    events(&answer.text().await.unwrap())
}

/// Asks a question of AuthZEN within a trace.
async fn ask(bot: &Caller, path: &str, body: &Value) -> Answer {
    let request = bot.request(Method::POST, path).json(body);
    Answer::of(request.header("traceparent", ONE).send().await.unwrap()).await
}

/// The traces of all requests so far, in order. They are in no leaf and no policy's input.
fn traces(lab: &Lab) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for record in lab.records() {
        let leaf = serde_json::to_string(&record.leaf).unwrap();
        let mut evidence = record.evidence.clone();
        if record.kind() == "action.requested" {
            let own = evidence.as_object_mut().unwrap().remove("traceparent");
            found.push(own.map(|own| own.as_str().unwrap().to_owned()));
        }
        let rest = leaf + &evidence.to_string();
        for trace in [ONE, OTHER] {
            assert!(!rest.contains(trace), "{}", record.kind());
        }
    }
    found
}

#[tokio::test]
async fn a_trace_goes_from_the_gate_to_the_outcome() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    // What was asked to set the laboratory up.
    let before = traces(&lab).len();
    run(&bot, "./tally free a", ONE).await;
    run(&bot, "./tally never a", ONE).await;
    let asked = run(&bot, "./tally one a", ONE).await;
    let held = event(&asked, "held").unwrap()["request"].clone();
    // The trace is no part of what makes two calls identical, nor of what is approved.
    let again = run(&bot, "./tally one a", OTHER).await;
    assert!(
        again.iter().any(|event| event["request"] == held),
        "{again:?}"
    );
    ann.approve(held.as_str().unwrap()).await;
    let claimed = run(&bot, "./tally one a", OTHER).await;
    assert_eq!(claimed.last().unwrap()["event"], "exited", "{claimed:?}");
    for none in ["", "00-zz", &ONE.to_uppercase()] {
        run(&bot, "./tally free a", none).await;
    }
    let mut expected = vec![Some(ONE.to_owned()); 3];
    expected.extend([None, None, None]);
    assert_eq!(traces(&lab).split_off(before), expected);
    lab.verify().await;
}

#[tokio::test]
async fn questions_and_the_command_line_belong_to_traces() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let before = traces(&lab).len();
    let question = |name: &str| {
        json!({
            "subject": { "type": "agent", "id": "bot" },
            "action": { "name": name },
            "resource": { "type": "Target", "id": "tools" },
        })
    };
    let answer = ask(&bot, "/access/v1/evaluation", &question("read")).await;
    assert_eq!(answer.body["decision"], true, "{answer:?}");
    let mut batch = question("read");
    batch["evaluations"] = json!([{}, { "action": { "name": "delete" } }]);
    ask(&bot, "/access/v1/evaluations", &batch)
        .await
        .expect(200);
    let mut command = countersign();
    command
        .args(["run", "--target", "tools", "--", "./tally", "free", "b"])
        .env("COUNTERSIGN_URL", &lab.url)
        .env("COUNTERSIGN_TOKEN", &bot.secret)
        .env("TRACEPARENT", ONE);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
    assert!(ran.unwrap().status.success());
    assert_eq!(
        traces(&lab).split_off(before),
        vec![Some(ONE.to_owned()); 4]
    );
}
