//! `countersign log verify URL`: what a gateway publishes, in the eyes of somebody who has a key and
//! an old checkpoint and nothing else.

use std::fs;

use serde_json::Value;

use crate::support::{Lab, process::countersign};

struct Auditor {
    dir: tempfile::TempDir,
    url: String,
}

impl Auditor {
    /// Keeps the key and today's checkpoint.
    fn of(lab: &Lab) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["key.pub", "checkpoint"] {
            fs::copy(lab.place.log().join(name), dir.path().join(name)).unwrap();
        }
        let url = lab.url.clone();
        Self { dir, url }
    }

    /// The exit status and the summary.
    async fn verify(&self) -> (i32, Value) {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = countersign();
        command.args(["--json", "log", "verify", &self.url]);
        command.arg("--key").arg(at("key.pub"));
        command.arg("--checkpoint").arg(at("checkpoint"));
        command.env("HOME", self.dir.path());
        let run = tokio::task::spawn_blocking(move || command.output().unwrap());
        let done = run.await.unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let summary = serde_json::from_str(text.trim());
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let summary = summary.unwrap_or_else(|_| Value::String(errors));
        (done.status.code().unwrap(), summary)
    }
}

/// A log of some hundred entries, so that it has full tiles and partial ones.
async fn busy(lab: &Lab) {
    let bot = lab.bot().await;
    for _ in 0..180 {
        bot.run("./tally free x", 0).await;
    }
    lab.gateway.log.checkpoint().await;
}

#[tokio::test]
async fn a_published_log_is_verified_by_whoever_kept_a_key_and_a_checkpoint() {
    let lab = Lab::new().await;
    lab.gateway.log.checkpoint().await;
    let auditor = Auditor::of(&lab);
    busy(&lab).await;
    let (status, found) = auditor.verify().await;
    assert_eq!(status, 0, "{found}");
    let entries = found["entries"].as_u64().unwrap();
    assert!(entries > 256, "{found}");
    let kept = fs::read_to_string(auditor.dir.path().join("checkpoint")).unwrap();
    let size: u64 = kept.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(found["continues"], serde_json::json!([size]));

    // A changed tile, and what was signed by somebody else.
    let tile = lab.place.log().join("tile/0/000");
    let whole = fs::read(&tile).unwrap();
    let mut changed = whole.clone();
    changed[40] ^= 1;
    fs::write(&tile, changed).unwrap();
    let (status, found) = auditor.verify().await;
    assert_eq!(status, 1, "{found}");
    let why = found["failures"].to_string();
    assert!(why.contains("is not made of the tiles below it"), "{why}");
    fs::write(&tile, whole).unwrap();
    assert_eq!(auditor.verify().await.0, 0);
}

#[tokio::test]
async fn a_published_log_that_was_rewritten_or_cut_does_not_continue_the_checkpoint() {
    let (lab, other) = (Lab::new().await, Lab::new().await);
    busy(&lab).await;
    let auditor = Auditor::of(&lab);
    // Another log altogether, at the same address: its key is another.
    let elsewhere = Auditor {
        url: other.url.clone(),
        dir: Auditor::of(&lab).dir,
    };
    other.gateway.log.checkpoint().await;
    let (status, found) = elsewhere.verify().await;
    assert_eq!(status, 1, "{found}");
    assert!(
        found["failures"]
            .to_string()
            .contains("the checkpoint was refused"),
        "{found}"
    );
    // The same log, put back to what it was before the checkpoint that was kept.
    let history = fs::read_to_string(lab.place.log().join("checkpoints")).unwrap();
    let first = history.split_inclusive("\n\n").take(2).collect::<String>();
    let first = first.trim_end_matches('\n').to_owned() + "\n";
    fs::write(lab.place.log().join("checkpoint"), first).unwrap();
    let (status, found) = auditor.verify().await;
    assert_eq!(status, 1, "{found}");
}
