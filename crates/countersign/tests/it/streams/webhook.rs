//! Webhooks, and receivers that fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use super::{
    lab, ocsf, place,
    receiver::{Receiver, Reply, Seen},
    standing, stands, webhook,
};
use crate::support::{Lab, until};

/// Every event that a stream tells of, by its place in the log.
fn told(lab: &Lab) -> BTreeMap<u64, String> {
    let all = lab.records().into_iter().enumerate();
    all.map(|(index, entry)| (index as u64, entry.kind().to_owned()))
        .filter(|(_, kind)| kind != "heartbeat")
        .collect()
}

/// Waits until everything recorded so far was taken.
async fn all_taken(lab: &Lab, receiver: &Receiver) {
    until("all events", async || {
        let taken: BTreeSet<u64> = receiver.taken().iter().map(Seen::index).collect();
        told(lab).keys().all(|index| taken.contains(index))
    })
    .await;
}

/// That of each request every event came first at its turn.
fn in_order(taken: &[Seen]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for one in taken.iter().filter(|one| seen.insert(one.index())) {
        let before = last.insert(one.subject(), one.index());
        assert!(
            before < Some(one.index()),
            "{} after {before:?}",
            one.index()
        );
    }
}

#[tokio::test]
async fn everything_is_told_signed_in_order_and_without_content() {
    let receiver = Receiver::good().await;
    let lab = lab(&webhook(&receiver, "")).await;
    let bot = lab.bot().await;
    bot.run("./tally free hidden-word", 10_000).await;
    let held = bot.held("./tally one other-word").await;
    lab.session("ann")
        .await
        .vote(&held, "approve")
        .await
        .expect(200);
    bot.claim(&held, "./tally one other-word").await;
    bot.run("./tally never third-word", 10_000).await;
    all_taken(&lab, &receiver).await;
    let taken = receiver.taken();
    in_order(&taken);
    for (index, kind) in told(&lab) {
        let found = taken.iter().find(|one| one.index() == index).unwrap();
        assert_eq!(found.kind(), kind);
        assert_eq!(found.event["type"], format!("countersign.{kind}"));
    }
    let ids: BTreeSet<_> = taken.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids.len(), told(&lab).len(), "an id for each event");
    // P11: references and names of the configuration, nothing else.
    let text: String = taken.iter().map(|one| one.text.as_str()).collect();
    for hidden in [
        "-word",
        "olga",
        "agent:bot",
        "\"bot\"",
        "person:",
        "nonce",
        "attach",
    ] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    let asked = taken.iter().find(|one| one.kind() == "action.requested");
    assert_eq!(
        asked.unwrap().event["data"]["asked"],
        json!({ "gate": "exec", "target": "tools" })
    );
    lab.verify().await;
}

#[tokio::test]
async fn details_are_said_where_they_are_allowed() {
    for (details, there, hidden) in [
        ("names", "agent:bot", "a-word"),
        ("all", "a-word", "\"nonce\""),
    ] {
        let receiver = Receiver::good().await;
        let lab = lab(&webhook(&receiver, &format!("details = \"{details}\""))).await;
        lab.bot().await.run("./tally free a-word", 10_000).await;
        all_taken(&lab, &receiver).await;
        let text: String = receiver
            .taken()
            .iter()
            .map(|one| one.text.clone())
            .collect();
        assert!(text.contains(there), "{details}");
        assert!(!text.contains(hidden), "{details}");
        assert!(!text.contains("\"attach\""), "{details}");
    }
}

/// One request's events fail in several ways; later ones of it wait, others go on.
#[tokio::test]
async fn a_failing_request_waits_and_others_go_on() {
    let receiver = Receiver::good().await;
    let lab = lab(&webhook(&receiver, "")).await;
    let bot = lab.bot().await;
    all_taken(&lab, &receiver).await;
    let failing = std::sync::Mutex::new(String::new());
    receiver.answer(move |seen, before| {
        let mut failing = failing.lock().unwrap();
        if failing.is_empty() {
            *failing = seen.subject().to_owned();
        }
        match before {
            _ if seen.subject() != *failing => Reply::Status(200),
            0 => Reply::Status(500),
            1 => Reply::Redirect,
            _ => Reply::Status(200),
        }
    });
    let first = bot.held("./tally one first").await;
    until("the first attempt", async || {
        receiver.seen().iter().any(|one| one.subject() == first)
    })
    .await;
    let other = bot.held("./tally one second").await;
    all_taken(&lab, &receiver).await;
    let taken = receiver.taken();
    in_order(&taken);
    let place = |subject: &str| taken.iter().position(|one| one.subject() == subject);
    assert!(place(&other) < place(&first), "the other one waited");
    let attempts: Vec<_> = receiver.seen();
    let of = |index: usize| {
        let mut all = attempts.iter().filter(|one| one.subject() == first);
        all.nth(index).unwrap().clone()
    };
    assert_eq!(of(0).id, of(1).id, "the id stays through retries");
    assert_eq!((of(0).answered, of(1).answered), (500, 307));
    assert_eq!(of(0).text, of(1).text);
}

#[tokio::test]
async fn a_receiver_that_wants_peace_gets_it() {
    let receiver = Receiver::start(|_, before| match before {
        0 => Reply::Later(429, 2),
        _ => Reply::Status(200),
    })
    .await;
    let lab = lab(&webhook(&receiver, "")).await;
    all_taken(&lab, &receiver).await;
    // Only what was on its way already came within the two seconds.
    let refused = receiver
        .seen()
        .iter()
        .filter(|one| one.answered == 429)
        .count();
    assert!(refused <= told(&lab).len());
    in_order(&receiver.taken());
}

/// A receiver that never answers takes its own time and nobody else's.
#[tokio::test]
async fn a_receiver_that_hangs_holds_nothing_up() {
    let receiver = Receiver::start(|_, _| Reply::Hang).await;
    let lab = lab(&webhook(&receiver, "")).await;
    let bot = lab.bot().await;
    let started = std::time::Instant::now();
    for n in 0..20 {
        bot.run(&format!("./tally free w{n}"), 10_000).await;
    }
    assert_eq!(lab.place.ran().len(), 20);
    assert!(started.elapsed() < Duration::from_secs(10));
    let place = lab.stop().await;
    // What was on its way comes again.
    receiver.answer(|_, _| Reply::Status(200));
    let lab = Lab::at(place).await;
    all_taken(&lab, &receiver).await;
}

#[tokio::test]
async fn what_is_given_up_is_seen_listed_and_tried_again() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let lab = lab(&webhook(&receiver, "retry_for = \"1s\"")).await;
    let bot = lab.bot().await;
    bot.run("./tally free word", 10_000).await;
    let given_up = stands(&lab, "hook", "dead letters", |one| {
        one["dead"].as_u64().unwrap_or(0) >= 3
    })
    .await;
    let letter = &given_up["dead_letters"][0];
    assert_eq!(letter["why"], "status 500");
    assert!(letter["attempts"].as_u64().unwrap() >= 2);
    assert!(!given_up["fault"].as_str().unwrap().is_empty());
    let health = bot.get("/v1/health").await.body;
    assert_eq!(health["status"], "ok", "nothing else depends on it");
    let notices = health["notices"].to_string();
    assert!(notices.contains("given up by"), "{notices}");
    assert!(!notices.contains("hook"), "names are for auditors");
    for (caller, status) in [
        (&bot, 403),
        (&lab.session("ann").await, 403),
        (&lab.token("person:ada").await, 200),
    ] {
        caller.get("/v1/streams").await.expect(status);
        let retry = caller.post("/v1/streams/none/retry", &json!({})).await;
        retry.expect(if status == 200 { 404 } else { 403 });
    }
    // It survives a restart, and a retry delivers each with the id it had.
    let lab = lab.restart().await;
    stands(&lab, "hook", "the same dead letters", |one| {
        one["dead"].as_u64().unwrap_or(0) >= 3
    })
    .await;
    receiver.answer(|_, _| Reply::Status(200));
    let ada = lab.session("ada").await;
    ada.post("/v1/streams/hook/retry", &json!({}))
        .await
        .expect(200);
    all_taken(&lab, &receiver).await;
    let stands = stands(&lab, "hook", "no dead letters", |one| one["dead"] == 0).await;
    assert_eq!(stands["dead_letters"], json!([]));
    let ids: BTreeSet<_> = receiver.seen().iter().map(|one| one.id.clone()).collect();
    let taken: BTreeSet<_> = receiver.taken().iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids, taken);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_asked_for() {
    let receiver = Receiver::start(|_, _| Reply::Status(410)).await;
    let lab = lab(&webhook(&receiver, "")).await;
    stands(&lab, "hook", "gone", |one| {
        one["fault"]
            .as_str()
            .is_some_and(|fault| fault.contains("410"))
    })
    .await;
    let before = receiver.seen().len();
    lab.bot().await.run("./tally free word", 10_000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.seen().len(), before);
    receiver.answer(|_, _| Reply::Status(200));
    let ada = lab.session("ada").await;
    ada.post("/v1/streams/hook/retry", &json!({}))
        .await
        .expect(200);
    all_taken(&lab, &receiver).await;
    assert_eq!(standing(&lab, "hook").await["fault"], json!(null));
}

/// Streams come, change and go with the bundle, and a change is countersigned like any other.
#[tokio::test]
async fn streams_follow_the_bundle() {
    let receiver = Receiver::good().await;
    let lab = lab("").await;
    let bot = lab.bot().await;
    bot.run("./tally free before", 10_000).await;
    let table = webhook(&receiver, "").replace("beginning", "now");
    lab.apply(|files| super::add(files, &table)).await;
    stands(&lab, "hook", "the stream", |one| one["name"] == "hook").await;
    bot.run("./tally free after", 10_000).await;
    until("the run after", async || {
        receiver
            .taken()
            .iter()
            .any(|one| one.kind() == "action.outcome")
    })
    .await;
    let first = receiver.taken().iter().map(Seen::index).min().unwrap();
    let activated = told(&lab)
        .into_iter()
        .filter(|(_, kind)| kind == "policy.activated")
        .map(|(index, _)| index)
        .max();
    assert!(Some(first) > activated, "it begins when it is seen first");
    lab.apply(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace(&table, "");
    })
    .await;
    until("no stream", async || standing(&lab, "hook").await.is_null()).await;
    let before = receiver.seen().len();
    bot.run("./tally free later", 10_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.seen().len(), before);
}

/// No secret, no receiver, no place to write: everything else works, and what is wrong is said.
#[tokio::test]
async fn a_stream_that_can_not_work_stops_nothing() {
    let nobody = crate::support::process::free_port();
    let hook = |secret: &str| {
        format!(
            "\n[stream.hook]\nkind = \"webhook\"\nstart = \"beginning\"\n\
             url = \"http://127.0.0.1:{nobody}/\"\nsecret = {secret}\n"
        )
    };
    let nowhere = std::path::Path::new("/nonexistent/place/events.jsonl");
    let keys = |lab: &Lab| lab.place.data().join("keys/log.key");
    for (table, name, expected) in [
        (hook("{ file = \"missing.key\" }"), "hook", "no secret"),
        (
            hook("{ command = [\"echo\", \"hunter2\"] }"),
            "hook",
            "whsec_",
        ),
        (
            hook("{ file = \"hook.key\" }"),
            "hook",
            "does not take events",
        ),
        (ocsf(nowhere, ""), "siem", "is no directory"),
    ] {
        let lab = Lab::at(place(&table)).await;
        let stands = stands(&lab, name, expected, |one| {
            one["fault"]
                .as_str()
                .is_some_and(|fault| fault.contains(expected))
        })
        .await;
        assert!(!stands["fault"].to_string().contains("hunter2"));
        lab.bot().await.run("./tally free word", 10_000).await;
        assert_eq!(lab.place.ran(), ["word"]);
        let health = lab.bot().await.get("/v1/health").await.body;
        assert_eq!(health["status"], "ok");
        assert!(
            health["notices"]
                .to_string()
                .contains("1 stream does not go on")
        );
        assert!(keys(&lab).exists());
        lab.verify().await;
    }
}
