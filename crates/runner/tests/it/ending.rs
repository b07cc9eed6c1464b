//! Processes that don't want to end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign_runner::spawn::{Command, Exit, run};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::running::{collect, place};

/// Whether the process whose number is in `file` lives.
fn lives(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

#[tokio::test]
async fn a_background_child_ends_with_the_command() {
    let place = place();
    let started = Instant::now();
    let (finished, out, _) = collect(place.shell("sleep 60 & echo $! > child; echo done")).await;
    assert_eq!((finished.exit, out.as_str()), (Exit::Code(0), "done\n"));
    assert!(!lives(&place.dir().join("child")));
    assert!(!finished.left_behind && started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_child_that_leaves_the_group_ends_too() {
    let place = place();
    let script = "setsid bash -c 'echo $$ > child; exec sleep 60' > /dev/null 2>&1 & \
                  while ! [ -s child ]; do sleep 0.01; done";
    let (finished, ..) = collect(place.shell(script)).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(!lives(&place.dir().join("child")));
    assert!(!finished.left_behind);
}

#[tokio::test]
async fn a_child_that_hides_is_reported() {
    let place = place();
    let script = "env -i /usr/bin/setsid /bin/bash -c 'echo $$ > child; exec sleep 20' & \
                  while ! [ -s child ]; do sleep 0.01; done";
    let (finished, ..) = collect(place.shell(script)).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(finished.left_behind, "it still holds the output open");
    let pid = fs::read_to_string(place.dir().join("child"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

#[tokio::test]
async fn whoever_ignores_the_request_to_end_is_killed() {
    let place = place();
    let started = Instant::now();
    let script =
        "trap '' TERM; (while :; do sleep 1; done) & echo $! > child; while :; do sleep 1; done";
    let command = Command {
        timeout: Duration::from_millis(500),
        ..place.shell(script)
    };
    let (finished, ..) = collect(command).await;
    assert_eq!(finished.exit, Exit::TimedOut);
    assert!(!lives(&place.dir().join("child")));
    let took = started.elapsed();
    assert!(
        took > Duration::from_secs(2) && took < Duration::from_secs(5),
        "{took:?}"
    );

    // The leader ends by itself, what it left behind does not want to.
    let script = "(trap '' TERM; touch ready; while :; do sleep 1; done) & echo $! > child; \
                  while ! [ -e ready ]; do sleep 0.01; done";
    let (finished, ..) = collect(place.shell(script)).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(!finished.left_behind && !lives(&place.dir().join("child")));
}

#[tokio::test]
async fn a_command_is_asked_to_end_once_and_may_clean_up() {
    let place = place();
    let script =
        "trap 'echo asked; sleep 0.3; echo cleaned; exit 0' TERM; while :; do sleep 0.05; done";
    let command = Command {
        timeout: Duration::from_millis(300),
        ..place.shell(script)
    };
    let (finished, out, _) = collect(command).await;
    assert_eq!(
        (finished.exit, out.as_str()),
        (Exit::TimedOut, "asked\ncleaned\n")
    );
}

#[tokio::test]
async fn cancelling_and_dropping_end_it() {
    let place = place();
    let script = "echo $$ > child; sleep 60";
    let cancel = CancellationToken::new();
    let (sender, _receiver) = mpsc::channel(1);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    };
    let (finished, ()) = tokio::join!(
        run(place.shell(script), sender.clone(), cancel.clone()),
        stop
    );
    assert_eq!(finished.unwrap().exit, Exit::Cancelled);
    assert!(!lives(&place.dir().join("child")));

    let running = run(place.shell(script), sender, CancellationToken::new());
    assert!(
        tokio::time::timeout(Duration::from_millis(300), running)
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!lives(&place.dir().join("child")));
}
