//! Traces: one for each request, from the gate to the outcome, to a collector that fails.
//! `integration/python/traces.py` reads them with OpenTelemetry's own library.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    add,
    collector::{Collector, Export, attribute},
    lab, place,
    receiver::Reply,
    stands,
};
use crate::support::{Caller, Lab, argv, event, events, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Asks for a command within the trace; gives the request.
async fn run(bot: &Caller, command: &str) -> String {
    let call = json!({ "target": "tools", "argv": argv(command), "wait_ms": 0 });
    let request = bot.request(Method::POST, "/v1/run").json(&call);
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let all = events(&answer.text().await.unwrap());
    let found = all.iter().find_map(|event| event["request"].as_str());
    found.unwrap_or_default().to_owned()
}

/// The requests that are over, by the log.
fn over(lab: &Lab) -> BTreeSet<String> {
    let ends = |entry: &crate::support::journal::Entry| match entry.kind() {
        "action.outcome" | "request.closed" => true,
        "policy.decided" => entry.field("decision") == "deny" && entry.field("phase") == "request",
        _ => false,
    };
    let records = lab.records();
    let ended = records.iter().filter(|entry| ends(entry));
    ended
        .map(|entry| entry.request().unwrap().to_owned())
        .collect()
}

async fn all_taken(lab: &Lab, collector: &Collector) -> Vec<Export> {
    until("all traces", async || {
        let taken: BTreeSet<String> = collector.taken().iter().map(Export::request).collect();
        over(lab).is_subset(&taken)
    })
    .await;
    collector.taken()
}

fn names(span: &Value) -> Vec<&str> {
    let all = span["events"].as_array().unwrap().iter();
    all.map(|event| event["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_trace_goes_from_the_gate_to_the_outcome() {
    let collector = Collector::good().await;
    let lab = lab(&collector.table("")).await;
    let bot = lab.bot().await;
    let held = run(&bot, "./tally one hidden-word").await;
    run(&bot, "./tally free hidden-word").await;
    run(&bot, "./tally never hidden-word").await;
    // What is open when the reader stops is told whole when it is over, and what was told since it
    // began is not told again.
    all_taken(&lab, &collector).await;
    let lab = lab.restart().await;
    assert!(collector.of(&held).is_none(), "it is not over");
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    ann.approve(&held).await;
    let lab = lab.restart().await;
    let bot = Caller {
        url: lab.url.clone(),
        ..bot
    };
    bot.claim(&held, "./tally one hidden-word").await;
    let taken = all_taken(&lab, &collector).await;
    assert_eq!(taken.len(), 3);
    for one in &taken {
        assert!(one.spans.iter().all(|span| span["traceId"] == TRACE));
        assert_eq!(one.root()["parentSpanId"], PARENT);
        assert_eq!(one.root()["status"], json!({}), "a denial is no error");
    }
    let ids: BTreeSet<String> = taken.iter().flat_map(Export::ids).collect();
    assert_eq!(ids.len(), 2 + 1 + 3);
    let found = collector.of(&held).unwrap();
    let (wait, execution) = (found.span("wait for people"), found.span("execution"));
    for part in [wait, execution] {
        assert_eq!(part["parentSpanId"], found.root()["spanId"]);
    }
    assert!(names(wait).contains(&"countersign.approval.decided"));
    assert_eq!(wait["endTimeUnixNano"], execution["startTimeUnixNano"]);
    assert_eq!(
        execution["endTimeUnixNano"],
        found.root()["endTimeUnixNano"]
    );
    for (key, expected) in [
        ("countersign.gate", "exec"),
        ("countersign.target", "tools"),
        ("countersign.decision", "hold"),
        ("countersign.result", "succeeded"),
    ] {
        assert_eq!(attribute(found.root(), key), expected);
    }
    assert_eq!(attribute(execution, "process.exit.code"), "0");
    let export: Value = serde_json::from_str(&found.text).unwrap();
    let resource = &export["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "countersign");
    let origin = lab.gateway.keys.log.verifying().name();
    assert_eq!(attribute(resource, "service.instance.id"), origin);
    // P11: references and names of the configuration, nothing else.
    let text: String = taken.iter().map(|one| one.text.as_str()).collect();
    for hidden in [
        "hidden",
        "olga",
        "agent:bot",
        "\"bot\"",
        "person:",
        "nonce",
        "attach",
    ] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    lab.verify().await;
}

#[tokio::test]
async fn details_are_said_where_they_are_allowed() {
    for (details, there, hidden) in [("names", "agent:bot", "a-word"), ("all", "a-word", "nonce")] {
        let collector = Collector::good().await;
        let table = collector.table(&format!("details = \"{details}\""));
        let lab = lab(&table).await;
        lab.bot().await.run("./tally free a-word", 10_000).await;
        let taken = all_taken(&lab, &collector).await;
        let text: String = taken.iter().map(|one| one.text.as_str()).collect();
        assert!(text.contains(there), "{details}");
        assert!(!text.contains(hidden), "{details}");
        assert!(!text.contains("attach"), "{details}");
    }
}

/// However often a request is told, and by which run: the same bytes.
#[tokio::test]
async fn what_is_told_again_is_the_same() {
    let collector = Collector::start(|_, before| match before {
        0 => Reply::Status(503),
        1 => Reply::Later(429, 1),
        2 => Reply::Hang,
        _ => Reply::Status(200),
    })
    .await;
    let lab = lab(&collector.table("")).await;
    let bot = lab.bot().await;
    let call = json!({ "target": "tools", "argv": argv("./tally free w"), "wait_ms": 10_000 });
    let ran = bot.run_with(call).await;
    assert!(event(&ran, "exited").is_some());
    until("an attempt that hangs", async || {
        collector.seen().len() == 3
    })
    .await;
    // The gateway ends while the collector has not answered.
    let started = Instant::now();
    let lab = lab.restart().await;
    assert!(started.elapsed() < Duration::from_secs(15));
    all_taken(&lab, &collector).await;
    let seen = collector.seen();
    assert!(seen.len() >= 4, "{}", seen.len());
    assert!(seen.iter().all(|one| one.text == seen[0].text));
    assert_eq!(seen[0].root().get("parentSpanId"), None);
    // Nothing that was taken comes again after one more restart.
    let lab = lab.restart().await;
    lab.bot().await.run("./tally free x", 10_000).await;
    collector.answer(|_, _| Reply::Status(200));
    all_taken(&lab, &collector).await;
    let all = collector.taken();
    assert_eq!(all.iter().filter(|one| one.text == seen[0].text).count(), 1);
}

/// What the collector will never take is not tried again by itself, and holds nothing up.
#[tokio::test]
async fn what_is_refused_is_given_up_listed_and_sent_again_when_asked() {
    let collector = Collector::start(|export, _| match export.spans.len() {
        1 => Reply::Status(400),
        2 => Reply::Partial(1),
        _ => Reply::Redirect,
    })
    .await;
    let lab = lab(&collector.table("")).await;
    let bot = lab.bot().await;
    run(&bot, "./tally never word").await;
    run(&bot, "./tally free word").await;
    let held = run(&bot, "./tally one word").await;
    lab.session("ann")
        .await
        .vote(&held, "deny")
        .await
        .expect(200);
    let list = stands(&lab, "traces", "dead letters", |one| one["dead"] == 3).await;
    let why: BTreeSet<&str> = list["dead_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["why"].as_str().unwrap())
        .collect();
    assert!(why.contains("status 400"), "{why:?}");
    assert!(why.contains("status 200, and 1 span rejected"), "{why:?}");
    assert!(!list.to_string().contains("hunter2"));
    let before = collector.seen();
    assert_eq!(before.len(), 3, "each came once");
    let lab = lab.restart().await;
    collector.answer(|_, _| Reply::Status(200));
    let ada = lab.session("ada").await;
    ada.post("/v1/streams/traces/retry", &json!({}))
        .await
        .expect(200);
    all_taken(&lab, &collector).await;
    let texts =
        |all: &[Export]| -> BTreeSet<String> { all.iter().map(|one| one.text.clone()).collect() };
    assert!(texts(&before).is_subset(&texts(&collector.taken())));
    stands(&lab, "traces", "no dead letters", |one| one["dead"] == 0).await;
}

#[tokio::test]
async fn a_collector_that_asks_for_a_secret_gets_it_and_nobody_else() {
    let collector = Collector::good().await;
    let table = collector.table(
        "secret = { file = \"otlp.key\" }\nsecret_header = \"x-key\"\nheaders = { x-team = \"ops\" }",
    );
    let place = place(&table);
    let lab = Lab::at(place).await;
    let fault = stands(&lab, "traces", "no secret", |one| one["fault"].is_string());
    lab.bot().await.run("./tally free word", 10_000).await;
    let fault = fault.await["fault"].to_string();
    assert!(fault.contains("no secret"), "{fault}");
    assert!(collector.seen().is_empty());
    let key = lab.place.config().join("otlp.key");
    fs::write(&key, "Bearer hunter2\r\nx-evil: 1").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let fault = stands(&lab, "traces", "no header", |one| {
        one["fault"].to_string().contains("can't stand in a header")
    });
    assert!(!fault.await.to_string().contains("hunter2"));
    fs::write(&key, "Bearer hunter2\n").unwrap();
    let taken = all_taken(&lab, &collector).await;
    assert_eq!(taken[0].headers["x-key"], "Bearer hunter2");
    assert_eq!(taken[0].headers["x-team"], "ops");
    assert!(!taken[0].headers.contains_key("authorization"));
}

/// A stream that begins in the middle of the log tells what is asked from then on.
#[tokio::test]
async fn what_was_asked_before_is_not_told() {
    let collector = Collector::good().await;
    let lab = lab("").await;
    let bot = lab.bot().await;
    let before = bot.held("./tally one before").await;
    let table = collector.table("").replace("\"beginning\"", "\"now\"");
    lab.apply(|files| add(files, &table)).await;
    stands(&lab, "traces", "the stream", |one| one["name"] == "traces").await;
    let after = bot.held("./tally one after").await;
    let ann = lab.session("ann").await;
    for (id, word) in [(&before, "before"), (&after, "after")] {
        ann.approve(id).await;
        bot.claim(id, &format!("./tally one {word}")).await;
    }
    until("the request after", async || collector.of(&after).is_some()).await;
    assert!(collector.of(&before).is_none());
    assert_eq!(lab.place.ran(), ["before", "after"]);
}
