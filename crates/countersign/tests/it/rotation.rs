//! New keys take over: who has the old one follows, old votes hold, and a crash at any point is
//! finished by the next start (P10).

use std::fs;

use serde_json::json;

use crate::support::{Lab, Place, event, process::countersign};

/// What an auditor kept of the log before its key changed.
struct Kept(tempfile::TempDir);

impl Kept {
    fn of(place: &Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["key.pub", "vote-key.pub", "checkpoint"] {
            fs::copy(place.log().join(name), dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    /// The exit status of `log verify` with what was kept, and what it found.
    fn verify(&self, place: &Place) -> (Option<i32>, String) {
        let at = |name: &str| self.0.path().join(name);
        let mut command = countersign();
        command.args(["log", "verify"]).arg(place.data());
        command.arg("--key").arg(at("key.pub"));
        command.arg("--checkpoint").arg(at("checkpoint"));
        let done = command.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code(), text)
    }
}

fn key(place: &Place, name: &str) -> String {
    fs::read_to_string(place.log().join(name)).unwrap()
}

async fn rotate(lab: &Lab, purpose: &str) {
    lab.change_by("ada", "key-rotate", json!({ "purpose": purpose }))
        .await;
}

#[tokio::test]
async fn whoever_has_the_old_key_of_the_log_follows_to_the_new_one() {
    let lab = Lab::new().await;
    lab.gateway.log.checkpoint().await;
    let kept = Kept::of(&lab.place);
    rotate(&lab, "log").await;
    let before = key(&lab.place, "key.pub");
    let lab = Lab::at(lab.stop().await).await;
    assert_ne!(key(&lab.place, "key.pub"), before);
    assert!(!lab.place.data().join("keys/log.key.next").exists());
    lab.gateway.log.checkpoint().await;
    assert_eq!(
        kept.verify(&lab.place).0,
        Some(0),
        "{}",
        kept.verify(&lab.place).1
    );
    // And once more, over two changes.
    rotate(&lab, "log").await;
    let lab = Lab::at(lab.stop().await).await;
    let (status, text) = kept.verify(&lab.place);
    assert_eq!(status, Some(0), "{text}");
    let place = lab.stop().await;
    // Without what both keys signed there is no way from one to the other.
    fs::remove_file(place.log().join("rotation.1")).unwrap();
    let (status, text) = kept.verify(&place);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("the checkpoint was refused"), "{text}");
}

#[tokio::test]
async fn votes_of_before_carry_a_claim_after_the_key_of_votes_changed() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    rotate(&lab, "vote").await;
    let before = key(&lab.place, "vote-key.pub");
    let lab = Lab::at(lab.stop().await).await;
    let keys = key(&lab.place, "vote-key.pub");
    assert!(
        keys.ends_with(&before) && keys.lines().count() == 2,
        "{keys}"
    );
    let bot = lab.bot().await;
    let done = bot.run("./tally one x", 0).await;
    assert_eq!(event(&done, "exited").unwrap()["status"], 0, "{done:?}");
    lab.verify().await;
}

/// A crash between any two steps of the change leaves files as they are put back here.
#[tokio::test]
async fn a_change_of_key_that_was_interrupted_is_finished_by_the_next_start() {
    let lab = Lab::new().await;
    lab.gateway.log.checkpoint().await;
    let kept = Kept::of(&lab.place);
    rotate(&lab, "log").await;
    let place = lab.stop().await;
    let keys = |name: &str| place.data().join("keys").join(name);
    let (old, new) = (
        fs::read(keys("log.key")).unwrap(),
        fs::read(keys("log.key.next")).unwrap(),
    );
    let place = Lab::at(place).await.stop().await;
    // As if it had stopped before the old key's file was replaced.
    fs::write(place.data().join("keys/log.key"), &old).unwrap();
    fs::write(place.data().join("keys/log.key.next"), &new).unwrap();
    for name in ["log.key", "log.key.next"] {
        let path = place.data().join("keys").join(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
    }
    let lab = Lab::at(place).await;
    lab.gateway.log.checkpoint().await;
    assert!(!lab.place.data().join("keys/log.key.next").exists());
    let (status, text) = kept.verify(&lab.place);
    assert_eq!(status, Some(0), "{text}");
    let place = lab.stop().await;
    assert_eq!(fs::read(place.data().join("keys/log.key")).unwrap(), new);
}

#[tokio::test]
async fn a_second_change_waits_for_the_first() {
    let lab = Lab::new().await;
    rotate(&lab, "log").await;
    let ada = lab.session("ada").await;
    let again = ada.propose("key-rotate", json!({ "purpose": "log" })).await;
    let id = again.text("request");
    let abe = lab.session("abe").await;
    abe.vote(&id, "approve").await.expect(200);
    let path = format!("/v1/requests/{id}/claim");
    let again = ada.post(&path, &json!({})).await;
    assert!(
        format!("{again:?}").contains("restart the gateway"),
        "{again:?}"
    );
    let none = ada.propose("key-rotate", json!({ "purpose": "all" })).await;
    assert!(format!("{none:?}").contains("the arguments of"), "{none:?}");
}
