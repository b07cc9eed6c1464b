//! The command line with what a job has: it waits longer than its token lasts.

use std::{fs, process::Stdio, time::Duration};

use serde_json::json;

use super::{Shop, now};
use crate::support::{
    process::{countersign, errors, finish},
    until,
};

/// A token of seconds is renewed while people think; what they approve then runs once.
#[tokio::test]
async fn a_wait_outlives_its_token() {
    let shop = Shop::new().await;
    let file = shop.lab.place.dir.path().join("token");
    let fresh = |lasts: i64| {
        let token = shop.github.sign(&shop.job(json!({ "exp": now() + lasts })));
        fs::write(&file, token).unwrap();
    };
    fresh(2);
    let mut command = countersign();
    command
        .args(["run", "--target", "tools", "--", "./tally", "one", "late"])
        .env("COUNTERSIGN_URL", &shop.lab.url)
        .env("COUNTERSIGN_IDENTITY", format!("file:{}", file.display()))
        .env_remove("COUNTERSIGN_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let waiting = tokio::spawn(finish(command));
    let ann = shop.lab.session("ann").await;
    let newest = async || ann.get("/v1/requests").await.body["items"][0].clone();
    until("it waits", || async { newest().await["state"] == "held" }).await;
    let id = newest().await["id"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(3)).await;
    fresh(60);
    ann.approve(&id).await;
    let ended = waiting.await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", errors(&ended));
    assert_eq!(shop.lab.place.ran_with("late"), 1);
    assert_eq!(shop.lab.state(&id).await, "succeeded");
    // Whoever keeps nothing fresh does not get in.
    fresh(-1);
    let mut command = countersign();
    command
        .arg("whoami")
        .env("COUNTERSIGN_URL", &shop.lab.url)
        .env("COUNTERSIGN_IDENTITY", format!("file:{}", file.display()))
        .env_remove("COUNTERSIGN_TOKEN");
    let refused = finish(command).await;
    assert_eq!(refused.status.code(), Some(69), "{}", errors(&refused));
    assert!(
        errors(&refused).contains("it is over"),
        "{}",
        errors(&refused)
    );
    shop.lab.verify().await;
}
