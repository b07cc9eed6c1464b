//! The server killed in the middle of telling, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use countersign_store::CredentialKind;
use serde_json::json;

use super::{
    collector::{Collector, Export},
    file::{events, indexes, told},
    ocsf, place,
    receiver::{Receiver, Reply},
    webhook,
};
use crate::support::{
    Caller, argv, client, full, issue, journal,
    process::{Server, free_port},
    until_within,
};

/// At least once and in order, over kill -9: a receiver that fails every third time, and a file
/// that is put aside again and again.
#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() {
    let receiver = Receiver::start(|seen, before| match (seen.index() + before as u64) % 3 {
        0 => Reply::Status(503),
        _ => Reply::Status(200),
    })
    .await;
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("events.jsonl");
    let port = free_port();
    let collector = Collector::start(|_, before| match before {
        0 => Reply::Status(503),
        _ => Reply::Status(200),
    })
    .await;
    let tables = webhook(&receiver, "")
        + &ocsf(&path, "max_bytes = 30000\nkeep = 1000")
        + &collector.table("");
    let place = place(&tables);
    let main = place.config().join("countersign.toml");
    let config = std::fs::read_to_string(&main).unwrap();
    std::fs::write(
        &main,
        config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")),
    )
    .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let gateway = place.open(([127, 0, 0, 1], port).into()).await.unwrap();
    let (secret, id) = issue(&gateway, CredentialKind::Token, "agent:bot", None).await;
    gateway.log.close().await;
    drop(gateway);
    let bot = Caller {
        http: client(),
        url: url.clone(),
        secret,
        csrf: None,
        id,
    };
    let rounds = if full() { 100 } else { 6 };
    for round in 0..rounds {
        let server = Server::start(&place.config(), &place.data(), &url).await;
        let asking = (0..4).map(|n| {
            let bot = bot.clone();
            tokio::spawn(async move {
                for m in 0..100 {
                    let kind = if m % 2 == 0 { "free" } else { "one" };
                    let call = json!({
                        "target": "tools", "wait_ms": 0,
                        "argv": argv(&format!("./tally {kind} r{round}n{n}m{m}")),
                    });
                    let sent = bot.request(reqwest::Method::POST, "/v1/run").json(&call);
                    let Ok(answer) = sent.send().await else {
                        return;
                    };
                    let _cut_off = answer.text().await;
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        tokio::time::sleep(Duration::from_millis(150 + 170 * round % 700)).await;
        server.kill();
        for one in asking {
            one.await.unwrap();
        }
    }
    receiver.answer(|_, _| Reply::Status(200));
    let server = Server::start(&place.config(), &place.data(), &url).await;
    let records = || journal::read(&place.log());
    // A hundred rounds leave thousands of events, of which only a few are told at once.
    let patience = Duration::from_secs(if full() { 900 } else { 60 });
    until_within(patience, "everything at the receiver", async || {
        let taken: BTreeSet<u64> = receiver.taken().iter().map(|one| one.index()).collect();
        let told = |(index, entry): (usize, journal::Entry)| {
            entry.kind() == "heartbeat" || taken.contains(&(index as u64))
        };
        records().into_iter().enumerate().all(told)
    })
    .await;
    until_within(patience, "everything in the files", async || {
        let files = std::fs::read_dir(out.path()).unwrap();
        let found: BTreeSet<u64> = files
            .flat_map(|file| indexes(&events(&file.unwrap().path())))
            .collect();
        told(records().iter().map(|entry| entry.kind().to_owned())).is_subset(&found)
    })
    .await;
    until_within(
        patience,
        "every request that is over at the collector",
        async || {
            let taken: BTreeSet<String> = collector.taken().iter().map(Export::request).collect();
            records()
                .iter()
                .filter(|entry| entry.kind() == "action.outcome")
                .all(|entry| taken.contains(entry.request().unwrap()))
        },
    )
    .await;
    let mut traces = BTreeMap::new();
    for one in collector.seen() {
        let first = traces.entry(one.request()).or_insert(one.text.clone());
        assert_eq!(*first, one.text, "what is told again is the same");
    }
    server.kill();
    let taken = receiver.taken();
    let all = records();
    let (mut last, mut first_time) = (BTreeMap::new(), BTreeSet::new());
    for one in &taken {
        let entry = &all[usize::try_from(one.index()).unwrap()];
        assert_eq!(
            one.kind(),
            entry.kind(),
            "what was told is what is recorded"
        );
        assert_eq!(one.subject(), entry.request().unwrap_or_default());
        if first_time.insert(one.index()) {
            let before = last.insert(one.subject().to_owned(), one.index());
            assert!(
                before < Some(one.index()),
                "{} after {before:?}",
                one.index()
            );
        }
    }
    journal::verify(&place.log());
}
