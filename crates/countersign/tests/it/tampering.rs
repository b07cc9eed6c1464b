//! What somebody does by hand in the database of a running gateway and is not refused, and what
//! `countersign log verify` says of it afterwards (P10).
//!
//! What is refused is in [`edited`](super::edited) and, at the claim, in [`record`](super::record).
//! `docs/verification.md` has all of it, also what nothing finds.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    record::{database, sql},
    support::{Caller, Lab, event, process::countersign},
};

/// What `log verify` says is wrong.
fn failures(lab: &Lab) -> Vec<String> {
    let mut command = countersign();
    command.args(["log", "verify", "--json"]);
    let verified = command.arg(lab.place.data()).output().unwrap();
    let text = String::from_utf8(verified.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failures = lines.filter(|line| line["severity"] == "failure");
    let found: Vec<_> = failures
        .map(|line| line["problem"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(verified.status.success(), found.is_empty());
    found
}

/// Has a held action approved with a session, run, and recorded under a checkpoint.
async fn approved_with(lab: &Lab, session: &Caller) {
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    session.approve(&id).await;
    let done = bot.run("./tally one x", 0).await;
    assert_eq!(event(&done, "exited").unwrap()["status"], 0, "{done:?}");
    lab.gateway.log.checkpoint().await;
}

async fn edit(lab: &Lab, change: &str) {
    let mut database = database(lab).await;
    sql(&mut database, "DROP TRIGGER credentials_step").await;
    sql(&mut database, change).await;
}

#[tokio::test]
async fn untouched_credentials_are_no_finding() {
    let lab = Lab::new().await;
    let ann = lab.session("ann").await;
    approved_with(&lab, &ann).await;
    assert_eq!(failures(&lab), Vec::<String>::new());
}

#[tokio::test]
async fn a_revoked_session_made_valid_again_is_found() {
    let lab = Lab::new().await;
    let ann = lab.session("ann").await;
    lab.gateway.identity.revoke(&ann.id).await.unwrap();
    let change = format!(
        "UPDATE credentials SET revoked = NULL WHERE id = '{}'",
        ann.id
    );
    edit(&lab, &change).await;
    approved_with(&lab, &ann).await;
    let found = failures(&lab);
    assert!(
        found[0].contains("was revoked before it voted"),
        "{found:?}"
    );
}

/// A bit of a published file is named, and putting it back is all that it takes.
#[tokio::test]
async fn a_changed_tile_is_named() {
    let lab = Lab::new().await;
    lab.gateway.log.close().await;
    assert_eq!(failures(&lab), Vec::<String>::new());
    let folder = lab.place.log().join("tile/0/000.p");
    // The one that is published last; those of earlier sizes may be removed at any time.
    let tiles = fs::read_dir(&folder)
        .unwrap()
        .map(|tile| tile.unwrap().path());
    let size = |tile: &PathBuf| tile.file_name()?.to_str()?.parse::<u64>().ok();
    let tile = tiles.max_by_key(size).unwrap();
    let whole = fs::read(&tile).unwrap();
    let mut changed = whole.clone();
    changed[40] ^= 1;
    fs::write(&tile, changed).unwrap();
    let name = tile.file_name().unwrap().to_str().unwrap();
    let expected = format!("`tile/0/000.p/{name}` is not what the journal makes of it");
    assert_eq!(failures(&lab), [expected]);
    fs::write(&tile, whole).unwrap();
    assert_eq!(failures(&lab), Vec::<String>::new());
}
