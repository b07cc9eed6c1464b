//! Numbers: where they are and what they say. `integration/python/streams.py` reads them with
//! another program's reader.

use std::collections::BTreeMap;

use countersign::server::{self, Listeners};
use tokio::net::TcpListener;

use super::{
    ocsf, place,
    receiver::{Receiver, Reply},
    webhook,
};
use crate::support::{Lab, until};

/// Samples by name and labels, read strictly.
fn read(page: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut family, mut seen) = (BTreeMap::new(), String::new(), Vec::new());
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, help] => {
                assert!(help.ends_with('.'), "{line}");
                assert!(!seen.contains(&name.to_string()), "{name} twice");
                family = (*name).to_owned();
                seen.push(family.clone());
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(*name, family);
                assert!(["counter", "gauge", "histogram"].contains(kind), "{line}");
                assert_eq!(name.ends_with("_total"), *kind == "counter", "{line}");
            }
            _ => {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let base = name.split('{').next().unwrap();
                let tail = base.strip_prefix(&family).unwrap_or("?");
                assert!(["", "_bucket", "_sum", "_count"].contains(&tail), "{line}");
                let good = |c: char| c.is_ascii_lowercase() || c == '_';
                assert!(base.chars().all(good), "{line}");
                let value = value.parse().expect("a number");
                assert!(samples.insert(name.to_owned(), value).is_none(), "{line}");
            }
        }
    }
    samples
}

#[tokio::test]
async fn numbers_are_on_their_own_socket_and_name_nobody() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let out = tempfile::tempdir().unwrap();
    let tables = webhook(&receiver, "retry_for = \"1s\"") + &ocsf(&out.path().join("e"), "");
    let place = place(&tables);
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (main, numbers) = (bind().await.unwrap(), bind().await.unwrap());
    let address = main.local_addr().unwrap();
    let page = format!("http://{}/metrics", numbers.local_addr().unwrap());
    let gateway = place.open(address).await.unwrap();
    let listeners = Listeners {
        main,
        metrics: Some(numbers),
    };
    let lab = Lab::serving(place, gateway, address, |gateway, stopped| {
        tokio::spawn(server::serve(gateway, listeners, None, stopped))
    });
    let bot = lab.bot().await;
    bot.run("./tally free secret-word", 10_000).await;
    bot.run("./tally never secret-word", 10_000).await;
    let held = bot.held("./tally one secret-word").await;
    let waits = bot.held("./tally two secret-word").await;
    lab.session("ann").await.approve(&held).await;
    bot.claim(&held, "./tally one secret-word").await;
    let stranger = crate::support::client();
    let stranger = stranger
        .get(format!("{}/v1/whoami", lab.url))
        .bearer_auth("cs_no");
    assert_eq!(stranger.send().await.unwrap().status(), 401);
    let fetch = async || {
        let answer = crate::support::client().get(&page).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    until("dead letters", async || {
        let dead = "countersign_stream_dead_letters{stream=\"hook\",kind=\"webhook\"}";
        read(&fetch().await)[dead] > 0.0
    })
    .await;
    let text = fetch().await;
    let found = read(&text);
    for (name, expected) in [
        ("countersign_build_info{version=\"0.1.0\"}", 1.0),
        ("countersign_held", 1.0),
        ("countersign_fault{part=\"log\"}", 0.0),
        (
            "countersign_decisions_total{gate=\"exec\",phase=\"request\",decision=\"permit\"}",
            1.0,
        ),
        (
            "countersign_decisions_total{gate=\"exec\",phase=\"request\",decision=\"deny\"}",
            1.0,
        ),
        (
            "countersign_decisions_total{gate=\"exec\",phase=\"request\",decision=\"hold\"}",
            2.0,
        ),
        (
            "countersign_decisions_total{gate=\"exec\",phase=\"claim\",decision=\"permit\"}",
            1.0,
        ),
        ("countersign_votes_total{verdict=\"approve\"}", 1.0),
        ("countersign_outcomes_total{status=\"succeeded\"}", 2.0),
        (
            "countersign_refused_total{code=\"invalid_credential\"}",
            1.0,
        ),
        ("countersign_wait_seconds_count", 1.0),
        ("countersign_wait_seconds_bucket{le=\"+Inf\"}", 1.0),
        (
            "countersign_stream_fault{stream=\"siem\",kind=\"ocsf\"}",
            0.0,
        ),
        (
            "countersign_stream_fault{stream=\"hook\",kind=\"webhook\"}",
            1.0,
        ),
    ] {
        assert_eq!(found.get(name), Some(&expected), "{name} in\n{text}");
    }
    assert!(found["countersign_log_entries"] > 10.0);
    assert!(found["countersign_log_sync_seconds_count"] > 5.0);
    assert!(found["countersign_log_checkpoint_age_seconds"] < 60.0);
    for hidden in [
        "bot",
        "ann",
        "olga",
        "secret-word",
        "127.0.0.1",
        waits.as_str(),
    ] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    // Nowhere else, and nothing else there.
    bot.get("/metrics").await.expect(404);
    let base = page.trim_end_matches("/metrics");
    let other = crate::support::client()
        .get(format!("{base}/v1/health"))
        .send()
        .await;
    assert_eq!(other.unwrap().status(), 404);
}
