//! What a start trusts, and when.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

use countersign_store::CredentialKind;
use serde_json::{Value, json};

use crate::support::{
    Lab, Place,
    files::limit,
    issue,
    process::{countersign, errors, free_port, pasted},
};

fn listening_on(port: u16) -> Place {
    Place::new(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    })
}

/// Runs a command on the place until it ends; its exit status and what it said.
fn command(place: &Place, words: &[&str]) -> (Option<i32>, String) {
    let mut command = countersign();
    command.args(words).arg("--config").arg(place.config());
    command.arg("--data").arg(place.data());
    let output = command.output().unwrap();
    (output.status.code(), errors(&output))
}

/// Files that the gateway could not serve with are not trusted: whoever corrects them starts anew.
#[tokio::test]
async fn a_start_that_fails_trusts_nothing() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = listening_on(taken.local_addr().unwrap().port());
    let (status, said) = command(&place, &["up"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("can't listen on"), "{said}");

    let main = place.config().join("countersign.toml");
    let original = fs::read_to_string(&main).unwrap();
    fs::write(&main, original.replace("127.0.0.1:", "0.0.0.0:")).unwrap();
    let (status, said) = command(&place, &["up"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("public_url"), "{said}");

    let approvals = place.config().join("approvals.toml");
    let changed = fs::read_to_string(&approvals).unwrap();
    fs::write(&approvals, changed.replace("count = 2", "count = 1")).unwrap();
    fs::write(&main, original).unwrap();
    let gateway = place.open(([127, 0, 0, 1], 1).into()).await.unwrap();
    assert!(gateway.is_first_start(), "no links would be shown");
    let files = gateway.active().bundle.files().clone();
    assert!(!files["approvals.toml"].contains("count = 2"));
}

/// Broken files are broken proposals: what is active goes on deciding.
#[tokio::test]
async fn broken_files_stop_no_gateway_that_has_a_bundle() {
    let place = listening_on(free_port());
    let address = ([127, 0, 0, 1], 1).into();
    let gateway = place.open(address).await.unwrap();
    let hash = gateway.active().hash;
    gateway.log.close().await;
    drop(gateway);
    fs::write(place.config().join("countersign.toml"), "nonsense = [").unwrap();
    let gateway = place.open(address).await.unwrap();
    assert_eq!(gateway.active().hash, hash);
}

/// Where a recovery made files active before anybody had a credential, the next start shows links;
/// it does not when somebody had one.
#[tokio::test]
async fn links_are_shown_after_a_recovery_only_if_nobody_ever_had_one() {
    let place = listening_on(free_port());
    let address = ([127, 0, 0, 1], 1).into();
    let gateway = place.open(address).await.unwrap();
    gateway.log.close().await;
    drop(gateway);
    place.lose_the_database();
    let approvals = place.config().join("approvals.toml");
    let changed = fs::read_to_string(&approvals).unwrap();
    fs::write(&approvals, changed.replace("count = 2", "count = 1")).unwrap();
    assert!(place.open(address).await.is_err(), "it was trusted");

    // A recovery of one person's access trusts no files.
    let (status, said) = command(&place, &["recover", "--person", "ann"]);
    assert_eq!(status, Some(1), "{said}");

    // What the refusal names leads out of it, with the directories that were given.
    let (status, said) = command(&place, &["up"]);
    assert_eq!(status, Some(1), "{said}");
    let done = pasted(&said, "or trust the files again: ");
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let gateway = place.open(address).await.unwrap();
    assert!(gateway.is_first_start(), "nobody can sign in");
    issue(&gateway, CredentialKind::Link, "person:ann", None).await;
    gateway.log.close().await;
    drop(gateway);

    place.lose_the_database();
    let (status, said) = command(&place, &["recover", "--bundle"]);
    assert_eq!(status, Some(0), "{said}");
    let gateway = place.open(address).await.unwrap();
    assert!(!gateway.is_first_start(), "ann had one");
}

/// What only this machine reads is changed like everything else, although it is not in the hash
/// that decisions carry; and what was compared with other files does not replace these.
#[tokio::test]
async fn settings_of_the_server_are_changed_by_proposals() {
    let lab = Lab::new().await;
    let (ada, abe) = (lab.session("ada").await, lab.session("abe").await);
    let before = lab.gateway.active();
    let mut files = before.bundle.files().clone();
    limit(&mut files, "max_held", 70);
    let stale = ada.propose("bundle-apply", json!({ "files": files })).await;
    let stale = stale.text("request");
    abe.vote(&stale, "approve").await.expect(200);

    lab.apply(|files| limit(files, "max_held", 80)).await;
    let after = lab.gateway.active();
    assert_eq!(after.hash, before.hash);
    assert_eq!(after.bundle.server().limits.max_held, 80);
    let claim = format!("/v1/requests/{stale}/claim");
    let claimed = ada.post(&claim, &json!({})).await;
    assert_ne!(claimed.text("state"), "succeeded", "{claimed:?}");
    assert_eq!(lab.gateway.active().bundle.server().limits.max_held, 80);

    let lab = lab.restart().await;
    assert_eq!(lab.gateway.active().bundle.server().limits.max_held, 80);
}

/// The links of the first start are shown once: a program that starts a gateway gets them, too.
#[tokio::test]
async fn a_program_that_starts_a_gateway_gets_its_links() {
    let place = listening_on(free_port());
    for first in [true, false] {
        let mut up = countersign();
        up.args(["--json", "up", "--config"]).arg(place.config());
        up.arg("--data").arg(place.data());
        let mut up = up
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(up.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        up.kill().unwrap();
        up.wait().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["first_start"], first, "{said}");
        let links = said["links"].as_array().unwrap();
        assert_eq!(links.is_empty(), !first, "{said}");
        for link in links {
            let address = link["link"].as_str().unwrap();
            assert!(address.starts_with(said["url"].as_str().unwrap()), "{said}");
            assert!(address.contains("/sign-in/csl_"), "{said}");
        }
    }
}
