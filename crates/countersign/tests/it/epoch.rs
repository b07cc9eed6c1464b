//! A new log after a restore: nothing of before runs, nothing runs twice, and nobody takes it for the
//! old one (P7, P10).

use std::{fs, path::Path, process::Output, time::Duration};

use countersign_evidence::key::SigningKey;
use serde_json::Value;

use crate::support::{
    Lab, Place, event, full, journal,
    process::{countersign, errors, free_port, pasted},
    text, until,
};

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn replace(from: &Path, to: &Path) {
    let _none = fs::remove_dir_all(to);
    copy(from, to);
}

fn command(words: &[&str]) -> Output {
    countersign().args(words).output().unwrap()
}

fn new_epoch(place: &Place) -> Output {
    command(&["--json", "log", "new-epoch", &text(&place.data()), "--yes"])
}

/// What `log verify` says of a log, line by line.
fn verify(log: &Path, options: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let done = command(&[&["--json", "log", "verify", &text(log)], options].concat());
    let lines = String::from_utf8_lossy(&done.stdout).into_owned();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (done.status.code(), lines.collect(), errors(&done))
}

/// An installation, a copy of it from when one action was approved and another one ran, and what came
/// after: the approved one ran, too, and a checkpoint covers that.
struct Aged {
    place: Place,
    copy: tempfile::TempDir,
    /// A checkpoint and the key, kept elsewhere.
    kept: tempfile::TempDir,
    approved: String,
    token: String,
}

impl Aged {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let approved = bot.held("./tally one x").await;
        ann.approve(&approved).await;
        let permitted = |lab: &Lab| {
            let records = lab.records();
            records
                .iter()
                .filter(|entry| entry.kind() == "action.permitted")
                .count()
        };
        let before = permitted(&lab);
        let slow = tokio::spawn({
            let bot = lab.bot().await;
            async move { bot.run("./tally slow y", 10_000).await }
        });
        until("it runs", async || permitted(&lab) > before).await;
        lab.gateway.log.checkpoint().await;
        let taken = tempfile::tempdir().unwrap();
        copy(&lab.place.data(), &taken.path().join("data"));
        slow.await.unwrap();
        let done = bot.claim(&approved, "./tally one x").await;
        assert_eq!(done["status"], 0, "{done:?}");
        lab.gateway.log.checkpoint().await;
        let kept = tempfile::tempdir().unwrap();
        let token = bot.secret.clone();
        let place = lab.stop().await;
        for name in ["checkpoint", "key.pub"] {
            fs::copy(place.log().join(name), kept.path().join(name)).unwrap();
        }
        Self {
            place,
            copy: taken,
            kept,
            approved,
            token,
        }
    }

    fn copied(&self, name: &str) -> std::path::PathBuf {
        self.copy.path().join("data").join(name)
    }

    /// Puts the copy back, and the newest checkpoint beside it, as a mirror may have it.
    fn restore_all(&self) {
        replace(&self.copied(""), &self.place.data());
        fs::copy(
            self.kept.path().join("checkpoint"),
            self.place.log().join("checkpoint"),
        )
        .unwrap();
    }

    fn restore_database(&self) {
        self.place.lose_the_database();
        for ending in ["", "-wal", "-shm"] {
            let name = format!("countersign.db{ending}");
            if self.copied(&name).exists() {
                fs::copy(self.copied(&name), self.place.data().join(&name)).unwrap();
            }
        }
    }

    fn restore_log(&self) {
        replace(&self.copied("log"), &self.place.log());
    }

    async fn refused(&self) -> String {
        let address = ([127, 0, 0, 1], 1).into();
        let refused = self.place.open(address).await.err();
        format!("{:#}", refused.expect("it started"))
    }
}

/// Whatever was restored: nothing that was approved before runs, and nothing of which nobody knows
/// whether it did runs again without a person.
async fn nothing_of_before_runs(aged: Aged, y_is_unknown: bool) -> Lab {
    let Aged {
        place,
        approved,
        token,
        ..
    } = aged;
    assert_eq!(place.ran_with("x"), 1);
    let lab = Lab::at(place).await;
    let notices = lab.gateway.notices().await;
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("A new log was begun")),
        "{notices:?}"
    );
    let mut bot = lab.bot().await;
    let claim = bot.claim(&approved, "./tally one x").await;
    assert_ne!(claim["event"], "exited", "{claim:?}");
    bot.held("./tally one x").await;
    if y_is_unknown {
        bot.held("./tally slow y").await;
    }
    assert_eq!((lab.place.ran_with("x"), lab.place.ran_with("y")), (1, 1));
    let done = bot.run("./tally free z", 10_000).await;
    assert_eq!(event(&done, "exited").unwrap()["status"], 0, "{done:?}");
    bot.secret = token;
    assert_eq!(bot.get("/v1/requests").await.status, 401);
    let lab = lab.restart().await;
    lab.verify().await;
    lab
}

#[tokio::test]
async fn a_restored_copy_goes_on_with_a_new_log() {
    let aged = Aged::new().await;
    aged.restore_all();
    let refused = aged.refused().await;
    assert!(refused.contains("data is missing"), "{refused}");
    let (config, data) = (text(&aged.place.config()), text(&aged.place.data()));
    let said = errors(&command(&["up", "--config", &config, "--data", &data]));
    let asked = pasted(&said, "begin a new log: ");
    assert_eq!(asked.status.code(), Some(64), "{said} {}", errors(&asked));
    let said = errors(&asked);
    assert!(said.contains("records are missing"), "{said}");
    assert!(!aged.place.data().join("log.1").exists());
    let journal_before = fs::read(aged.place.log().join("journal")).unwrap();

    let done = new_epoch(&aged.place);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let former = aged.place.data().join("log.1");
    assert_eq!(fs::read(former.join("journal")).unwrap(), journal_before);
    let kept = text(&aged.kept.path().join("checkpoint"));
    let key = text(&aged.kept.path().join("key.pub"));

    // The new log says where it comes from, and is no continuation.
    let (status, lines, said) = verify(&aged.place.data(), &[]);
    assert_eq!(status, Some(0), "{lines:?} {said}");
    let notes = format!("{lines:?}");
    assert!(notes.contains("this log begins in the place of"), "{notes}");
    assert!(notes.contains("log.1"), "{notes}");
    for options in [["--checkpoint", &kept], ["--key", &key]] {
        let (status, lines, said) = verify(&aged.place.data(), &options);
        assert_eq!(status, Some(64), "{lines:?}");
        assert!(said.contains("begins in the place of"), "{said}");
    }
    // The old one holds as far as it goes, and says that it ends too early.
    let (status, lines, _) = verify(&former, &["--key", &key, "--checkpoint", &kept]);
    assert_eq!(status, Some(1));
    let failures: Vec<_> = lines
        .iter()
        .filter(|line| line["severity"] == "failure")
        .collect();
    assert!(
        failures.iter().all(|line| line["problem"]
            .as_str()
            .unwrap()
            .contains("entries were cut off")),
        "{failures:?}"
    );
    let first = &journal::read(&aged.place.log())[0];
    assert_eq!(
        (first.kind(), first.field("found")),
        ("epoch.started", &"short".into())
    );
    assert!(first.field("missing").as_u64().unwrap() > 0);
    assert_eq!(first.field("dropped"), 1);
    // Nobody has a credential; the way back in is local.
    let link = command(&[
        "--json", "recover", "--person", "ann", "--config", &config, "--data", &data,
    ]);
    assert_eq!(link.status.code(), Some(0), "{}", errors(&link));
    assert!(String::from_utf8_lossy(&link.stdout).contains("/sign-in/"));
    Box::pin(nothing_of_before_runs(aged, true)).await;
}

#[tokio::test]
async fn a_database_of_another_time_goes_on_with_a_new_log() {
    // The older log has a permit whose outcome it has not; the newer one has that outcome.
    for older_database in [true, false] {
        let aged = Aged::new().await;
        match older_database {
            true => aged.restore_database(),
            false => aged.restore_log(),
        }
        let refused = aged.refused().await;
        assert!(refused.contains("log new-epoch"), "{refused}");
        let done = new_epoch(&aged.place);
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        let lab = Box::pin(nothing_of_before_runs(aged, !older_database)).await;
        // A second time, from there; and the first copy's database does not fit any more.
        let place = lab.stop().await;
        let refused = new_epoch(&place);
        assert_eq!(refused.status.code(), Some(64), "nothing is wrong with it");
        let data = text(&place.data());
        let done = command(&["log", "new-epoch", &data, "--yes", "--although-whole"]);
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        let first = &journal::read(&place.log())[0];
        assert_eq!(first.field("found"), "whole");
        for ending in ["", "-wal", "-shm"] {
            let name = format!("countersign.db{ending}");
            let _none = fs::copy(
                place.data().join("former.2").join(&name),
                place.data().join(name),
            );
        }
        let refused = place.open(([127, 0, 0, 1], 1).into()).await.err();
        let refused = format!("{:#}", refused.expect("it started"));
        assert!(
            refused.contains("the database belongs to the log"),
            "{refused}"
        );
    }
}

/// What is not known of the log is taken from a checkpoint that was kept; and without a database the
/// files are trusted again by a recovery, never by themselves.
#[tokio::test]
async fn a_copy_without_a_database_needs_a_recovery() {
    let aged = Aged::new().await;
    replace(&aged.copied(""), &aged.place.data());
    aged.place.lose_the_database();
    let kept = text(&aged.kept.path().join("checkpoint"));
    let data = text(&aged.place.data());
    let done = command(&["log", "new-epoch", &data, "--yes", "--checkpoint", &kept]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let first = &journal::read(&aged.place.log())[0];
    assert_eq!(first.field("found"), "short");
    let refused = aged.refused().await;
    assert!(
        refused.contains("countersign recover --config"),
        "{refused}"
    );
    let config = text(&aged.place.config());
    let main = aged.place.config().join("countersign.toml");
    let port = format!("127.0.0.1:{}", free_port());
    let changed = fs::read_to_string(&main)
        .unwrap()
        .replace("127.0.0.1:0", &port);
    fs::write(&main, changed).unwrap();
    let done = command(&["recover", "--bundle", "--config", &config, "--data", &data]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let lab = Lab::at(aged.place).await;
    let bot = lab.bot().await;
    bot.held("./tally slow y").await;
    lab.verify().await;
}

#[tokio::test]
async fn a_new_log_that_was_killed_is_finished_by_the_next_call() {
    let aged = Aged::new().await;
    let waits: &[u64] = match full() {
        true => &[0, 5, 15, 30, 50, 70, 90, 120, 150, 200, 300, 400, 600],
        false => &[20, 80, 150, 300],
    };
    for &wait in waits {
        aged.restore_all();
        let mut command = countersign();
        let data = text(&aged.place.data());
        let mut begun = command
            .args(["log", "new-epoch", &data, "--yes"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        begun.kill().unwrap();
        begun.wait().unwrap();
        let has = |name: &str| aged.place.data().join(name).exists();
        if !has("log.1") || has("epoch") {
            assert!(!aged.refused().await.is_empty());
            let done = new_epoch(&aged.place);
            assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        }
        assert!(
            has("log.1") && !has("log.2") && !has("epoch"),
            "after {wait} ms"
        );
        let gateway = aged.place.open(([127, 0, 0, 1], 1).into()).await.unwrap();
        gateway.log.close().await;
        drop(gateway);
        journal::verify(&aged.place.log());
    }
}

/// A start that refuses a journal which was cut off leaves it as it is.
#[tokio::test]
async fn a_journal_that_was_cut_off_is_not_written_to() {
    let lab = Lab::new().await;
    let place = lab.stop().await;
    let path = place.log().join("journal");
    let whole = fs::read(&path).unwrap();
    let cut = &whole[..whole.len() / 2];
    fs::write(&path, cut).unwrap();
    for _ in 0..2 {
        let refused = place.open(([127, 0, 0, 1], 1).into()).await.err();
        let refused = format!("{:#}", refused.expect("it started"));
        assert!(refused.contains("data is missing"), "{refused}");
        let found = fs::read(&path).unwrap();
        assert!(found == cut, "it was written to");
    }
    let done = new_epoch(&place);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    Lab::at(place).await.verify().await;
}

#[tokio::test]
async fn a_gateway_that_runs_keeps_its_log() {
    let lab = Lab::new().await;
    let done = new_epoch(&lab.place);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        errors(&done).contains("another gateway uses"),
        "{}",
        errors(&done)
    );
    lab.verify().await;
}

/// A key of another log is no sign that anything was changed: both logs are named, and what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_another_log_names_both() {
    let lab = Lab::new().await;
    let ran = lab.bot().await.run("./tally free z", 10_000).await;
    let request = ran.iter().find_map(|event| event["request"].as_str());
    let request = request.unwrap().to_owned();
    let place = lab.stop().await;
    let kept = tempfile::tempdir().unwrap();
    let path = |name: &str| kept.path().join(name);
    fs::copy(place.log().join("key.pub"), path("before")).unwrap();
    let mut prove = countersign();
    let proven = prove
        .args(["log", "prove", &request])
        .current_dir(place.data());
    let proven = proven.output().unwrap();
    assert_eq!(proven.status.code(), Some(0), "{}", errors(&proven));
    fs::write(path("receipt"), proven.stdout).unwrap();
    let data = text(&place.data());
    let done = command(&["log", "new-epoch", &data, "--yes", "--although-whole"]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    fs::copy(place.log().join("key.pub"), path("after")).unwrap();
    let other = SigningKey::from_seed("other.example", &[7; 32]).unwrap();
    fs::write(path("other"), other.verifying().to_string()).unwrap();
    let lab = Lab::at(place).await;
    lab.gateway.log.checkpoint().await;
    let (published, former) = (lab.url.clone(), text(&lab.place.data().join("log.1")));
    let name_of = |key: &str| {
        let key = fs::read_to_string(path(key)).unwrap();
        key.split('+').next().unwrap().to_owned()
    };
    let receipt = text(&path("receipt"));
    for (what, key, of, advice) in [
        (&data, "before", "after", "log.1"),
        (&published, "before", "after", "log.1"),
        (&receipt, "after", "before", "log new-epoch"),
        (&former, "after", "before", "log new-epoch"),
        (&published, "other", "after", "countersign log key"),
        (&receipt, "other", "before", "countersign log key"),
    ] {
        let done = command(&["log", "verify", what, "--key", &text(&path(key))]);
        let said = errors(&done) + &String::from_utf8_lossy(&done.stdout);
        // What an address serves is a finding about it; a key beside files is a command line.
        let expected = if *what == published { 1 } else { 64 };
        assert_eq!(done.status.code(), Some(expected), "{what} {key}: {said}");
        for words in [name_of(key), name_of(of), advice.to_owned()] {
            assert!(said.contains(&words), "{what} {key}: `{words}` in {said}");
        }
    }
    for (what, key) in [
        (&data, "after"),
        (&published, "after"),
        (&receipt, "before"),
    ] {
        let done = command(&["log", "verify", what, "--key", &text(&path(key))]);
        assert_eq!(done.status.code(), Some(0), "{what}: {}", errors(&done));
    }
}
