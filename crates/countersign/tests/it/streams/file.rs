//! Lines of OCSF in a file.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use super::{ocsf, place, standing, stands};
use crate::support::{Lab, until};

/// Every event in a file, whole lines only.
pub(super) fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The numbers of the records that events are about.
pub(super) fn indexes(events: &[Value]) -> BTreeSet<u64> {
    events
        .iter()
        .map(|event| event["metadata"]["uid"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// Records that become events.
pub(super) const KINDS: &[&str] = &[
    "action.requested",
    "policy.decided",
    "approval.decided",
    "approval.withdrawn",
    "action.permitted",
    "action.outcome",
    "request.closed",
    "emergency.reviewed",
    "refused",
    "policy.activated",
    "credential.issued",
    "credential.revoked",
    "directory.changed",
    "epoch.started",
    "key.rotated",
    "recovered",
    "security.event",
];

/// The records so far that become events.
pub(super) fn told(kinds: impl Iterator<Item = String>) -> BTreeSet<u64> {
    let all = kinds.enumerate();
    all.filter(|(_, kind)| KINDS.contains(&kind.as_str()))
        .map(|(index, _)| index as u64)
        .collect()
}

async fn all_written(lab: &Lab, path: &Path) -> Vec<Value> {
    until("all lines", async || {
        let told = told(lab.records().iter().map(|entry| entry.kind().to_owned()));
        told.is_subset(&indexes(&events(path)))
    })
    .await;
    events(path)
}

#[tokio::test]
async fn requests_and_changes_become_lines() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("events.jsonl");
    let lab = Lab::at(place(&ocsf(&path, ""))).await;
    let bot = lab.bot().await;
    bot.run("./tally free hidden-word", 10_000).await;
    let held = bot.held("./tally one hidden-word").await;
    lab.session("ann").await.approve(&held).await;
    // What a request is about is known after a restart, too.
    let lab = lab.restart().await;
    let bot = lab.bot().await;
    bot.claim(&held, "./tally one hidden-word").await;
    let ada = lab.session("ada").await;
    ada.propose("person-disable", serde_json::json!({ "person": "dan" }))
        .await;
    let written = all_written(&lab, &path).await;
    let of = |kind: &str| -> Vec<Value> {
        let wanted = |event: &&Value| event["metadata"]["event_code"] == kind;
        written.iter().filter(wanted).cloned().collect()
    };
    let outcome = of("action.outcome");
    let outcome = outcome
        .iter()
        .find(|event| event["metadata"]["correlation_uid"] == held.as_str())
        .unwrap();
    assert_eq!(outcome["class_uid"], 6003);
    assert_eq!(outcome["type_uid"], 600_303, "a write is an update");
    assert_eq!(outcome["status_id"], 1);
    assert_eq!(outcome["api"]["operation"], "exec:one");
    assert_eq!(outcome["resources"][0]["name"], "tools");
    let bot_ref = lab
        .gateway
        .keys
        .pseudonyms
        .of(&countersign::identity::parse_subject("agent:bot").unwrap());
    assert_eq!(outcome["actor"]["user"]["uid"], bot_ref.to_string());
    let changed = &of("directory.changed")[0];
    assert_eq!(changed["type_uid"], 300_409, "disabled");
    assert_eq!(of("policy.activated")[0]["class_uid"], 3004);
    let text = fs::read_to_string(&path).unwrap();
    for hidden in [
        "hidden-word",
        "olga",
        "agent:bot",
        "person:",
        "nonce",
        "attach",
    ] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A new log is told from its first record on, under its own name.
#[tokio::test]
async fn a_new_log_is_told_from_its_beginning() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("events.jsonl");
    let config = ocsf(&path, "").replace("\"beginning\"", "\"now\"");
    let lab = Lab::at(place(&config)).await;
    lab.bot().await.run("./tally free x", 10_000).await;
    until("something is told", async || !events(&path).is_empty()).await;
    let place = lab.stop().await;
    let before = events(&path).len();
    let mut command = crate::support::process::countersign();
    command
        .args(["log", "new-epoch", "--yes", "--although-whole"])
        .arg(place.data());
    assert!(command.output().unwrap().status.success());
    let lab = Lab::at(place).await;
    lab.bot().await.run("./tally free y", 10_000).await;
    let origin = lab.gateway.keys.log.verifying().name().to_owned();
    let of_new = || -> Vec<Value> {
        let new = events(&path).split_off(before);
        assert!(
            new.iter()
                .all(|event| event["metadata"]["log_name"] == origin.as_str())
        );
        new
    };
    until("the new log is told", async || {
        let told = told(lab.records().iter().map(|entry| entry.kind().to_owned()));
        told.contains(&0) && told.is_subset(&indexes(&of_new()))
    })
    .await;
    assert_eq!(of_new()[0]["metadata"]["event_code"], "epoch.started");
}

/// Full files are put aside; a file that somebody else puts aside is made again; nothing is lost.
#[tokio::test]
async fn files_are_put_aside_by_us_and_by_others() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("events.jsonl");
    let lab = Lab::at(place(&ocsf(&path, "max_bytes = 20000\nkeep = 100"))).await;
    let bot = lab.bot().await;
    for n in 0..10 {
        bot.run(&format!("./tally free w{n}"), 10_000).await;
        if n == 5 {
            fs::rename(&path, out.path().join("events.jsonl.moved")).unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    let told = told(lab.records().iter().map(|entry| entry.kind().to_owned()));
    until("all lines in all files", async || {
        let files = fs::read_dir(out.path()).unwrap();
        let found: BTreeSet<u64> = files
            .flat_map(|file| indexes(&events(&file.unwrap().path())))
            .collect();
        told.is_subset(&found)
    })
    .await;
    assert!(out.path().join("events.jsonl.1").exists());
    assert!(fs::metadata(&path).unwrap().len() <= 20_000);
}

/// A relative path is below the stream's own directory, and nothing of the gateway's is written to.
#[tokio::test]
async fn a_file_is_the_streams_own() {
    let lab = Lab::at(place(&ocsf(Path::new("events.jsonl"), ""))).await;
    let path = lab.place.data().join("streams/siem/files/events.jsonl");
    all_written(&lab, &path).await;
    let standing = standing(&lab, "siem").await;
    assert_eq!(standing["kind"], "ocsf");
    let key = lab.place.data().join("keys/log.key");
    let before = fs::read(&key).unwrap();
    let table = ocsf(&key, "").replace("siem", "evil");
    lab.apply(|files| super::add(files, &table)).await;
    stands(&lab, "evil", "a refusal", |one| {
        let fault = one["fault"].as_str().unwrap_or_default();
        fault.contains("among the gateway's own data")
    })
    .await;
    assert_eq!(fs::read(&key).unwrap(), before);
}

/// A place in a log that this one is not is no place.
#[tokio::test]
async fn a_stream_does_not_go_on_in_another_log() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("events.jsonl");
    let lab = Lab::at(place(&ocsf(&path, ""))).await;
    lab.bot().await.run("./tally free word", 10_000).await;
    all_written(&lab, &path).await;
    let place = lab.stop().await;
    let state = place.data().join("streams/siem/ocsf.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    kept["before"]["hash"] = "00".repeat(32).into();
    fs::write(&state, kept.to_string()).unwrap();
    let before = events(&path).len();
    let lab = Lab::at(place).await;
    stands(&lab, "siem", "a fault", |one| {
        let fault = one["fault"].as_str().unwrap_or_default();
        fault.contains("an older copy was restored")
    })
    .await;
    assert_eq!(events(&path).len(), before);
    let place = lab.stop().await;
    fs::remove_dir_all(place.data().join("streams/siem")).unwrap();
    let lab = Lab::at(place).await;
    all_written(&lab, &path).await;
    assert!(events(&path).len() > before, "it begins anew");
}
