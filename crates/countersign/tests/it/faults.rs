//! Full and read-only disks: refused clearly, nothing lost, and on it goes when there is space.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use countersign::log::Record;
use countersign_evidence::body::{Body, SecurityEvent};
use serde_json::json;

use crate::support::{Caller, Lab, Place, event, files::limit, is_root, text, until};

/// A small disk; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one, or says why that can't be.
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={size},mode=0755");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path);
        let mounted = is_root() && command.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: no small disk can be mounted here");
        }
        mounted.then(|| Self(path.to_owned()))
    }

    /// Takes all space there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let page = [0_u8; 4096];
        while std::io::Write::write_all(&mut file, &page).is_ok() {}
    }

    /// Takes all space, also what is left of the log's last page.
    async fn exhaust(&self, lab: &Lab) {
        self.fill();
        let record = || {
            Record::control(
                lab.gateway.clock.now(),
                Body::SecurityEvent(SecurityEvent { code: "x".into() }),
                json!({}),
            )
        };
        while lab.gateway.log.record(record()).await.is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A gateway whose log is on a small disk; `None` where none can be mounted.
async fn log_on_a_small_disk() -> Option<(Disk, Lab)> {
    let place = Place::new(|_| {});
    fs::create_dir_all(place.log()).unwrap();
    let disk = Disk::mount(&place.log(), "1m")?;
    Some((disk, Lab::at(place).await))
}

/// Reads, which need no record, still work; everything else is refused as what it is.
async fn everything_is_refused(lab: &Lab, bot: &Caller, ann: &Caller, held: &str) {
    for command in [
        "./tally free full",
        "./tally never full",
        "./tally one full",
    ] {
        let events = bot.run(command, 0).await;
        let last = events.last().unwrap();
        assert_eq!(
            (&last["event"], &last["code"]),
            (&json!("refused"), &json!("unavailable")),
            "{command}: {last}"
        );
        let message = last["message"].as_str().unwrap();
        assert!(message.contains("space"), "{message}");
    }
    bot.get("/v1/whoami").await.expect(200);
    let seen = lab.bot_sees(bot, held).await;
    assert_eq!(seen["state"], "held");
    let opened = ann.get(&format!("/v1/requests/{held}")).await;
    opened.refused(
        "a page whose opening can't be recorded",
        503,
        &opened.kind(),
    );
    let again = ann.get(&format!("/v1/requests/{held}")).await;
    again.refused("the second visit", 503, &again.kind());
    let path = format!("/v1/requests/{held}/comments");
    let said = ann.post(&path, &json!({ "text": "hello" })).await;
    said.refused("a comment", 503, &said.kind());
    let proposed = lab
        .session_now("ada")
        .await
        .propose("agent-stop", json!({ "agent": "twin" }))
        .await;
    proposed.refused("a stop", 503, "stopped_unrecorded");
    let title = proposed.text("title");
    assert!(
        title.contains("`agent:twin` is stopped from now on"),
        "{title}"
    );
    // It works all the same, and everybody can know what is wrong.
    let twin = lab.kept.lock().await.remove("twin").unwrap();
    twin.get("/v1/whoami")
        .await
        .refused("a stopped agent", 403, "disabled");
    let health = bot.get("/v1/health").await;
    assert!(health.text("status").contains("space"), "{health:?}");
    let notices = health.body["notices"].to_string();
    assert!(notices.contains("1 stop is in effect"), "{notices}");
    assert!(!notices.contains("twin"), "{notices}");
}

impl Lab {
    async fn bot_sees(&self, bot: &Caller, id: &str) -> serde_json::Value {
        bot.get(&format!("/v1/requests/{id}"))
            .await
            .expect(200)
            .body
    }

    /// A session made before the disk was full.
    async fn session_now(&self, person: &str) -> Caller {
        let mut kept = self.kept.lock().await;
        kept.remove(person).unwrap()
    }
}

#[tokio::test]
async fn a_full_disk_under_the_log() {
    let Some((disk, lab)) = log_on_a_small_disk().await else {
        return;
    };
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    lab.keep("ada").await;
    let twin = lab.token("agent:twin").await;
    lab.kept.lock().await.insert("twin".into(), twin);
    let held = bot.held("./tally one before").await;
    let waiting = bot.start("./tally one before", 30_000);
    let voted = bot.held("./tally one voted").await;
    let told = bot.start("./tally one voted", 30_000);
    let unseen = ann.see(&voted).await;
    let claimed = bot.held("./tally one claimed").await;
    ann.approve(&claimed).await;
    disk.exhaust(&lab).await;
    // The first change meets the full disk after it is stored: it says so, and is recorded later.
    let vote = ann.vote_seen(&voted, "approve", &unseen).await;
    vote.refused("a vote", 503, "unrecorded");
    everything_is_refused(&lab, &bot, &ann, &held).await;
    let claim = bot.claim(&claimed, "./tally one claimed").await;
    assert_eq!(claim["code"], "unavailable", "{claim}");
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    disk.free();
    until("it records again", || async {
        bot.run("./tally free after", 0).await.last().unwrap()["event"] == "exited"
    })
    .await;
    // The vote counts, as it was told; nothing that was refused happened.
    // Whoever waited is told, although the vote's own turn could tell nobody.
    assert_eq!(told.await.unwrap().last().unwrap()["event"], "exited");
    bot.run("./tally one claimed", 0).await;
    ann.approve(&held).await;
    assert_eq!(waiting.await.unwrap().last().unwrap()["event"], "exited");
    let mut ran = lab.place.ran();
    ran.sort_unstable();
    assert_eq!(ran, ["after", "before", "claimed", "voted"]);
    until("the stop is recorded", || async {
        let health = bot.get("/v1/health").await;
        health.text("status") == "ok"
            && !health.body["notices"].to_string().contains("not recorded")
    })
    .await;
    lab.verify().await;
    let lab = lab.restart().await;
    let directory = lab.gateway.active().directory.clone();
    assert!(directory.agents[&"twin".parse().unwrap()].disabled);
    lab.verify().await;
    let _removed_after_the_disk = lab.stop().await;
    drop(disk);
}

/// The claim itself meets the full disk: nothing runs, and the case does not hang.
#[tokio::test]
async fn a_claim_on_a_full_disk_runs_nothing() {
    let Some((disk, lab)) = log_on_a_small_disk().await else {
        return;
    };
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    disk.exhaust(&lab).await;
    let last = bot.claim(&id, "./tally one x").await;
    assert_eq!(last["code"], "unavailable", "{last}");
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    disk.free();
    until("the case ends", || async {
        lab.state(&id).await == "failed"
    })
    .await;
    lab.nothing_ran().await;
    // It can be asked anew.
    let again = bot.held("./tally one x").await;
    ann.approve(&again).await;
    bot.run("./tally one x", 0).await;
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
    let _removed_after_the_disk = lab.stop().await;
    drop(disk);
}

/// The disk fills while a command runs: its end is told with a warning and recorded later.
#[tokio::test]
async fn an_outcome_is_recorded_when_there_is_space_again() {
    let Some((disk, lab)) = log_on_a_small_disk().await else {
        return;
    };
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("sh -c sleep${IFS}1;echo${IFS}held>>ran").await;
    ann.approve(&id).await;
    for command in [
        "./tally slow permitted",
        "sh -c sleep${IFS}1;echo${IFS}held>>ran",
    ] {
        let before = lab.records().len();
        let running = bot.start(command, 0);
        until("it runs", || async {
            lab.records()[before..]
                .iter()
                .any(|e| e.kind() == "action.permitted")
        })
        .await;
        disk.exhaust(&lab).await;
        let events = running.await.unwrap();
        let last = events.last().unwrap();
        assert_eq!(last["event"], "exited", "{last}");
        assert!(
            last["warning"]
                .as_str()
                .is_some_and(|text| text.contains("recorded")),
            "{last}"
        );
        disk.free();
        until("the outcome is recorded", || async {
            let entries = lab.records();
            let request = entries[before..]
                .iter()
                .find(|e| e.kind() == "action.permitted")
                .unwrap();
            let of = |e: &&crate::support::journal::Entry| {
                e.kind() == "action.outcome" && e.request() == request.request()
            };
            entries.iter().any(|e| of(&e))
        })
        .await;
    }
    assert_eq!(lab.state(&id).await, "succeeded");
    assert_eq!(lab.place.ran(), ["permitted", "held"]);
    lab.verify().await;
    let _removed_after_the_disk = lab.stop().await;
    drop(disk);
}

#[tokio::test]
async fn a_full_disk_under_the_database() {
    let place = Place::new(|files| limit(files, "max_held_per_subject", 1_000));
    let Some(disk) = Disk::mount(&place.data(), "2m") else {
        return;
    };
    let elsewhere = place.dir.path().join("log-elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.log()).unwrap();
    let lab = Lab::at(place).await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let held = bot.held("./tally one before").await;
    let seen = ann.see(&held).await;
    disk.fill();
    // The write-ahead log has some room left; then nothing is taken any more.
    let mut refused = 0;
    for n in 0..400 {
        let events = bot.run(&format!("./tally one n{n}"), 0).await;
        if event(&events, "held").is_none() {
            assert_eq!(events.last().unwrap()["code"], "unavailable", "{events:?}");
            refused += 1;
            if refused == 3 {
                break;
            }
        }
    }
    assert_eq!(refused, 3, "the disk never was full");
    let vote = ann.vote_seen(&held, "approve", &seen).await;
    vote.refused("a vote", 503, "unavailable");
    assert!(vote.text("title").contains("can't be written"), "{vote:?}");
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    // What needs no row still runs and is recorded.
    assert_eq!(
        bot.run("./tally free permitted", 0).await.last().unwrap()["event"],
        "exited"
    );
    disk.free();
    until("it is taken", || async {
        ann.vote_seen(&held, "approve", &seen).await.status == 200
    })
    .await;
    bot.run("./tally one before", 0).await;
    assert_eq!(lab.place.ran(), ["permitted", "before"]);
    lab.verify().await;
    let _removed_after_the_disk = lab.stop().await;
    drop(disk);
}

/// A gateway that can't write does not start, and says which file.
#[tokio::test]
async fn read_only_data_is_refused_at_the_start() {
    let place = Lab::new().await.stop().await;
    if !is_root() {
        return;
    }
    let data = text(&place.data());
    let bind = |options: &str| {
        Command::new("mount")
            .args(["-o", options, &data, &data])
            .status()
            .is_ok_and(|s| s.success())
    };
    if !bind("bind") {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let disk = Disk(place.data());
    assert!(bind("remount,bind,ro"));
    let error = place.open(([127, 0, 0, 1], 1).into()).await.err().unwrap();
    assert!(format!("{error:#}").contains("Read-only"), "{error:#}");
    drop(disk);
    // Writable again, it starts as if nothing had been.
    let lab = Lab::at(place).await;
    lab.verify().await;
}
