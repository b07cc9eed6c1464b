//! Backups of a gateway that runs: whole, of one moment, and enough to start with.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::Value;

use crate::support::{
    Lab, full,
    process::{Server, countersign, errors, finish, free_port, run},
};

async fn backup(data: &Path, dest: &Path) -> Output {
    let mut command = countersign();
    command
        .args(["--json", "backup", "--data"])
        .arg(data)
        .arg(dest);
    finish(command).await
}

/// Everything below a directory that others could read.
fn readable_by_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        if mode != expected {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if path.is_dir() {
            found.extend(readable_by_others(&path));
        }
    }
    found
}

/// Asks and votes until it is told to stop; gives how much was asked.
async fn load(lab: &Lab, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) {
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let command = format!("./tally one load{number}");
            let held = bot.held(&command).await;
            ann.approve(&held).await;
            bot.claim(&held, &command).await;
            bot.run(&format!("./tally free free{number}"), 10_000).await;
        }
    });
}

/// Each backup verifies, starts beside the gateway it is of, and has what was decided before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_taken_under_load_can_be_started() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let approved = bot.held("./tally two x").await;
    for person in ["ann", "bob"] {
        lab.session(person).await.approve(&approved).await;
    }
    let (stop, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    for _ in 0..3 {
        load(&lab, stop.clone(), asked.clone()).await;
    }
    let kept = tempfile::tempdir().unwrap();
    // One backup can be done before the next record is written; not all of them.
    let mut under_load = 0;
    for number in 0..if full() { 20 } else { 3 } {
        let dest = kept.path().join(number.to_string());
        let before = lab.gateway.log.size();
        let done = backup(&lab.place.data(), &dest).await;
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        let said: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert!(said["files"].as_u64().unwrap() > 10, "{said}");
        under_load += usize::from(before < lab.gateway.log.size());
        assert_eq!(readable_by_others(&dest), Vec::<String>::new());
        assert!(!kept.path().join(format!("{number}.partial")).exists());

        let mut verify = countersign();
        verify.args(["--json", "log", "verify"]).arg(&dest);
        let verified = finish(verify).await;
        let lines = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{lines}");
        let listen = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{listen}");
        let options = ["--listen", &listen];
        let server = Server::start_with(&lab.place.config(), &dest, &url, &options).await;
        let mut there = bot.clone();
        there.url = url;
        let seen = there.see(&approved).await;
        assert_eq!(seen["state"], "approved", "{seen}");
        server.kill();
    }
    assert!(under_load > 0, "nothing was recorded meanwhile");
    stop.store(true, Ordering::Relaxed);
    assert_eq!(ann.see(&approved).await["state"], "approved");
    lab.verify().await;
}

/// What is not whole has not the name, and what is there is not touched.
#[tokio::test]
async fn half_a_backup_does_not_look_whole() {
    let lab = Lab::new().await;
    let data = lab.place.data();
    let kept = tempfile::tempdir().unwrap();
    let dest = kept.path().join("copy");
    symlink("/etc/passwd", data.join("keys/linked")).unwrap();
    let done = backup(&data, &dest).await;
    assert_eq!(done.status.code(), Some(1));
    assert!(
        errors(&done).contains("neither a file"),
        "{}",
        errors(&done)
    );
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    fs::remove_file(data.join("keys/linked")).unwrap();

    let done = backup(&data, &dest).await;
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let partial = kept.path().join("other.partial");
    fs::create_dir(&partial).unwrap();
    for (data, dest, expected) in [
        (&data, dest.clone(), "nothing is overwritten"),
        (&data, kept.path().join("other"), "was interrupted"),
        (&data, data.join("inputs/copy"), "in the data directory"),
        (&data, kept.path().join("no/where"), "is no directory"),
        (&partial, kept.path().join("empty"), "no data directory"),
    ] {
        let refused = backup(data, &dest).await;
        assert_eq!(refused.status.code(), Some(1), "{expected}");
        assert!(errors(&refused).contains(expected), "{}", errors(&refused));
    }
    assert!(!data.join("inputs/copy").exists());

    // As the manual says: a copy to try has a log of its own, and its links lead to it.
    let mut epoch = countersign();
    epoch.args(["log", "new-epoch", "--yes", "--although-whole"]);
    epoch.arg(&dest);
    let done = finish(epoch).await;
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let mut recover = countersign();
    recover.args(["--json", "recover", "--person", "ann"]);
    recover.args(["--listen", "127.0.0.1:7781", "--config"]);
    recover.arg(lab.place.config()).arg("--data").arg(&dest);
    let link = finish(recover).await;
    let said = String::from_utf8_lossy(&link.stdout).into_owned();
    assert!(said.contains("http://127.0.0.1:7781/sign-in/"), "{said}");
}

/// Another address is asked what the configured one is asked, before anything is trusted; where
/// numbers are given out stays with whoever listens there.
#[tokio::test]
async fn another_address_weakens_nothing() {
    let numbers = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = numbers.local_addr().unwrap();
    let lab = Lab::with(|files| {
        let main = files.get_mut("countersign.toml").unwrap();
        *main = main.replacen("[server]", &format!("[server]\nmetrics = \"{taken}\""), 1);
    })
    .await;
    let token = lab.bot().await.secret;
    let place = lab.stop().await;
    for (listen, expected) in [
        ("192.0.2.1:7781", "there is no TLS"),
        ("0.0.0.0:7781", "public_url"),
        ("[::]:7781", "public_url"),
    ] {
        let mut up = countersign();
        up.args(["up", "--listen", listen, "--config"])
            .arg(place.config());
        up.arg("--data").arg(place.data());
        let refused = finish(up).await;
        assert_eq!(refused.status.code(), Some(1), "{listen}");
        assert!(errors(&refused).contains(expected), "{}", errors(&refused));
    }
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let options = ["--listen", &listen];
    let server = Server::start_with(&place.config(), &place.data(), &url, &options).await;
    let done = run(&url, &token, &["--json"], &["./tally", "free", "x"]);
    let done = finish(done).await;
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let held = run(
        &url,
        &token,
        &["--json", "--wait", "0s"],
        &["./tally", "one", "y"],
    );
    let held = finish(held).await;
    let said = format!("{}{}", String::from_utf8_lossy(&held.stdout), errors(&held));
    assert!(
        said.contains(&format!("{url}/requests/")),
        "links lead elsewhere: {said}"
    );
    drop(server);
}
