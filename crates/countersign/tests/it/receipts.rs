//! `countersign log prove` and `log verify FILE`: one request, shown to somebody without the log.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use countersign_evidence::key::SigningKey;
use serde_json::Value;

use crate::support::{
    Lab, argv, event,
    process::{countersign, errors},
};

/// A gateway's record of one approved and one denied request, and where receipts are put.
struct Bench {
    lab: Lab,
    ran: String,
    denied: String,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let ran = bot.held("./tally one secret-word").await;
        ann.approve(&ran).await;
        let done = bot.run("./tally one secret-word", 0).await;
        assert_eq!(event(&done, "exited").unwrap()["status"], 0, "{done:?}");
        let denied = bot.held("./tally one other").await;
        ann.vote(&denied, "deny").await.expect(200);
        lab.gateway.log.checkpoint().await;
        Self {
            lab,
            ran,
            denied,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn log(&self, words: &[&str]) -> Output {
        let mut command = countersign();
        command.arg("log").args(words);
        command.current_dir(self.lab.place.data()).output().unwrap()
    }

    fn receipt(&self, request: &str, more: &[&str]) -> String {
        let made = self.log(&[&["prove", request], more].concat());
        assert_eq!(made.status.code(), Some(0), "{}", errors(&made));
        String::from_utf8(made.stdout).unwrap()
    }

    /// The exit status and the verdict over a receipt.
    fn verify(&self, text: &str, key: &Path) -> (Option<i32>, Vec<Value>) {
        let file = self.dir.path().join("receipt");
        fs::write(&file, text).unwrap();
        let votes = self.lab.place.log().join("vote-key.pub");
        let arguments = [
            "--json",
            "verify",
            file.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "--vote-key",
            votes.to_str().unwrap(),
        ];
        let verified = self.log(&arguments);
        let said = String::from_utf8(verified.stdout).unwrap();
        let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
        (verified.status.code(), lines.collect())
    }

    fn key(&self) -> std::path::PathBuf {
        self.lab.place.log().join("key.pub")
    }
}

#[tokio::test]
async fn a_receipt_shows_one_request_and_nothing_else() {
    let bench = Bench::new().await;
    for request in [&bench.ran, &bench.denied] {
        let receipt = bench.receipt(request, &[]);
        let (status, said) = bench.verify(&receipt, &bench.key());
        assert_eq!(status, Some(0), "{said:?}");
        let verdict = said.last().unwrap();
        assert_eq!(verdict["request"], **request, "{verdict}");
        for area in ["integrity", "completeness", "rules", "votes_checked"] {
            assert_eq!(verdict[area], true, "{area}: {verdict}");
        }
        // Its entries are read as those of a log are.
        let file = bench.dir.path().join("receipt");
        let listed = bench.log(&["list", file.to_str().unwrap()]);
        assert_eq!(listed.status.code(), Some(0), "{}", errors(&listed));
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("person:ann"), "{listed}");
        assert!(listed.contains("action.requested"), "{listed}");
    }
    // Without evidence nobody learns what was asked.
    let bare = bench.receipt(&bench.ran, &["--without-evidence"]);
    let (status, said) = bench.verify(&bare, &bench.key());
    assert_eq!(status, Some(0), "{said:?}");
    // Nor does anybody learn whether the votes are what it says.
    assert_eq!(said.last().unwrap()["votes_checked"], false, "{said:?}");
    for (receipt, shows) in [(bare, false), (bench.receipt(&bench.ran, &[]), true)] {
        let extra = receipt.lines().nth(1).unwrap().strip_prefix("extra ");
        let extra = base64(extra.unwrap());
        assert_eq!(extra.contains("secret-word"), shows, "{extra}");
        assert!(!extra.contains(&bench.denied));
    }
    // A new file, never one that is there.
    let file = bench.dir.path().join("new");
    let to = ["--output", file.to_str().unwrap()];
    assert_eq!(bench.receipt(&bench.ran, &to), "");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        bench.receipt(&bench.ran, &[])
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = bench.log(&[&["prove", &bench.ran], &to[..]].concat());
    assert_eq!(again.status.code(), Some(64), "{}", errors(&again));
    let nobody = bench.log(&["prove", "req_01hzzzzzzzzzzzzzzzzzzzzzzz"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", errors(&nobody));
}

fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

/// Whoever changes a receipt, or has another log's key, is told that it does not hold.
#[tokio::test]
async fn a_changed_receipt_does_not_hold() {
    let bench = Bench::new().await;
    let good = bench.receipt(&bench.ran, &[]);
    let lines: Vec<&str> = good.lines().collect();
    let changed = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for part in 0..lines.len() {
        let start: usize = lines[..part].iter().map(|line| line.len() + 1).sum();
        if lines[part].is_empty() {
            continue;
        }
        for at in [start, start + lines[part].len() / 2] {
            let text = changed(&good, at);
            let (status, said) = bench.verify(&text, &bench.key());
            assert_ne!(status, Some(0), "byte {at} of {}: {said:?}", lines[part]);
        }
    }
    // Another key of that name; one of another name is refused as what it is.
    let key = fs::read_to_string(bench.key()).unwrap();
    let name = key.split('+').next().unwrap();
    let other = SigningKey::from_seed(name, &[7; 32]).unwrap();
    let file = bench.dir.path().join("other.pub");
    fs::write(&file, other.verifying().to_string()).unwrap();
    let (status, said) = bench.verify(&good, &file);
    assert_eq!(
        (status, &said.last().unwrap()["integrity"]),
        (Some(1), &Value::Bool(false))
    );
    assert_eq!(bench.verify(&good, &bench.key()).0, Some(0), "the control");
}

/// A receipt is not made of a log that does not hold.
#[tokio::test]
async fn a_damaged_log_gives_no_receipt() {
    let bench = Bench::new().await;
    let lab = bench.lab.gateway.clone();
    lab.log.close().await;
    let tiles = bench.lab.place.log().join("tile/0");
    for tile in walk(&tiles) {
        let mut bytes = fs::read(&tile).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(&tile, bytes).unwrap();
    }
    let made = bench.log(&["prove", &bench.ran]);
    assert_eq!(made.status.code(), Some(1), "{}", errors(&made));
    assert!(made.stdout.is_empty());
    let unknown = argv("prove req_1");
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    assert_eq!(bench.log(&unknown).status.code(), Some(1));
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path],
        })
        .collect()
}
