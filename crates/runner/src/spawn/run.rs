//! Running one command under its limits.
//!
//! In scope: the order of things: verify, start, watch, end, drain, reap.
//! Out of scope: how signals and streams work (see `group` and `pipes`).
//! Invariant: when this returns, or is dropped, no process of the group lives. A command that was
//! not verified in this call is not started.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::group::{Group, Marker, send, wait_for_exit};
use super::pipes::{Flow, feed, pump};
use super::{Command, Exit, Finished, Output, SpawnError};

/// Between asking a group to end and killing it.
const GRACE: Duration = Duration::from_secs(2);
/// Between looks at what is left of a group.
const LOOK: Duration = Duration::from_millis(20);
/// How long a killed process may take to disappear before it counts as left behind.
const DYING: Duration = Duration::from_secs(1);
/// How long a killed command may hang in the kernel before its outcome counts as unknown.
const UNKILLABLE: Duration = Duration::from_secs(10);

/// Runs `command` to its end, sending its output as it comes.
///
/// The executable and its interpreters are verified again first (see
/// [`Verified`](crate::resolve::Verified) for what that leaves open). When the time is over, the
/// output limit is passed or `cancel` fires, the whole process group gets SIGTERM, and SIGKILL two
/// seconds later. After the command exits by itself, what it left in the background is ended in
/// the same way, including processes that left the group but kept their environment.
///
/// A slow receiver slows the command down, until `timeout` ends both. A receiver that goes away
/// doesn't stop the command; its output is then only counted and hashed. Dropping the future
/// kills the group.
///
/// # Errors
/// [`SpawnError`]: every variant but `Lost` means that nothing was started. `Lost` means an
/// unknown outcome.
pub async fn run(
    command: Command,
    output: Sender<Output>,
    cancel: CancellationToken,
) -> Result<Finished, SpawnError> {
    let stdin = command.stdin.clone();
    let (timeout, limit) = (command.timeout, command.output_limit);
    let maskers = (command.env.masker(), command.env.masker());
    let cancelled_before = cancel.clone();
    // Hashing and forking block. The group is made in there, so that a process which is started
    // after this future was dropped is killed as well.
    let started = spawn_blocking(move || {
        if cancelled_before.is_cancelled() {
            return Err(SpawnError::Cancelled);
        }
        start(&command)
    });
    let started = started
        .await
        .map_err(|error| SpawnError::Lost(io::Error::other(error)))?;
    let Started { group, pipes } = started?;
    let begin = Instant::now();
    let flow = Flow::new(
        limit,
        cancel,
        begin.checked_add(timeout).unwrap_or_else(far_away),
    );
    let supervised = async {
        let ended = supervise(group, &flow).await;
        flow.ended.cancel();
        (ended, begin.elapsed())
    };
    let ((ended, duration), stdout, stderr, ()) = tokio::join!(
        supervised,
        pump(
            pipes.stdout,
            Output::Stdout,
            maskers.0,
            output.clone(),
            &flow
        ),
        pump(pipes.stderr, Output::Stderr, maskers.1, output, &flow),
        feed(pipes.stdin, stdin, &flow),
    );
    let Ended {
        status,
        reason,
        left_behind,
    } = ended.map_err(SpawnError::Lost)?;
    let exit = match reason {
        Some(reason) => reason,
        // It exited before its last output was read.
        None if flow.over.is_cancelled() => Exit::OutputLimit,
        None => exit_of(status),
    };
    Ok(Finished {
        exit,
        stdout: stdout.stream,
        stderr: stderr.stream,
        duration,
        left_behind: left_behind || stdout.still_open || stderr.still_open,
    })
}

struct Started {
    group: Group,
    pipes: Pipes,
}

struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Verifies and starts the command. Blocks.
fn start(command: &Command) -> Result<Started, SpawnError> {
    let (name, arguments) = command.argv.split_first().ok_or(SpawnError::Empty)?;
    if command.argv.iter().any(|word| word.contains('\0')) {
        return Err(SpawnError::Nul);
    }
    let marker = Marker::new().map_err(SpawnError::Start)?;
    let (marker_name, marker_value) = marker.variable();
    // Held until the process is started: its path can name this open file.
    let verified = command.resolved.verify_again()?;
    let mut process = std::process::Command::new(verified.program());
    process
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(command.env.variables())
        .env(marker_name, marker_value)
        .current_dir(&command.dir)
        .process_group(0)
        .stdin(if command.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = &command.run_as {
        process.env("USER", &user.name).env("LOGNAME", &user.name);
        let effective = (nix::unistd::geteuid(), nix::unistd::getegid());
        if effective.0.is_root() {
            process.uid(user.uid).gid(user.gid);
        } else if (effective.0.as_raw(), effective.1.as_raw()) != (user.uid, user.gid) {
            return Err(SpawnError::NotRoot(user.name.clone()));
        }
    }
    let child = process.spawn().map_err(SpawnError::Start)?;
    drop(verified);
    let mut group = Group::new(child, marker).map_err(SpawnError::Lost)?;
    let pipes = match group.leader_mut() {
        Some(leader) => Pipes {
            stdin: leader.stdin.take().map(OwnedFd::from),
            stdout: leader.stdout.take().map(OwnedFd::from),
            stderr: leader.stderr.take().map(OwnedFd::from),
        },
        None => Pipes {
            stdin: None,
            stdout: None,
            stderr: None,
        },
    };
    Ok(Started { group, pipes })
}

struct Ended {
    status: ExitStatus,
    /// Which of our limits ended it.
    reason: Option<Exit>,
    left_behind: bool,
}

/// Watches the group until nothing of it is left.
async fn supervise(group: Group, flow: &Flow) -> io::Result<Ended> {
    let leader = group.pid();
    let mut exited = spawn_blocking(move || wait_for_exit(leader));
    let reason = tokio::select! {
        biased;
        done = &mut exited => {
            flatten(done)?;
            None
        }
        () = flow.over.cancelled() => Some(Exit::OutputLimit),
        () = flow.cancel.cancelled() => Some(Exit::Cancelled),
        () = sleep_until(flow.deadline) => Some(Exit::TimedOut),
    };
    let mut kill_at = None;
    if reason.is_some() {
        group.signal(Signal::SIGTERM);
        let at = after(GRACE);
        kill_at = Some(at);
        wait_or_kill(&group, &mut exited, at).await?;
    }
    let left_behind = end_the_rest(&group, kill_at).await;
    let status = group.reap()?;
    Ok(Ended {
        status,
        reason,
        left_behind,
    })
}

/// Waits for the leader, which was asked to end, and kills the group at `kill_at`.
async fn wait_or_kill(
    group: &Group,
    exited: &mut JoinHandle<io::Result<()>>,
    kill_at: Instant,
) -> io::Result<()> {
    if let Ok(done) = timeout_at(kill_at, &mut *exited).await {
        return flatten(done);
    }
    group.signal(Signal::SIGKILL);
    match timeout_at(after(UNKILLABLE), exited).await {
        Ok(done) => flatten(done),
        Err(_) => Err(io::Error::other(
            "the command does not end even when it is killed",
        )),
    }
}

/// Ends what lives on after the leader; says whether something could not be ended.
///
/// Each process is asked once: to many programs a second SIGTERM means to leave things undone.
async fn end_the_rest(group: &Group, asked: Option<Instant>) -> bool {
    let mut kill_at = asked;
    let mut asked_escaped = BTreeSet::new();
    loop {
        let survivors = group.survivors();
        let look = move || (survivors.in_group(), survivors.escaped());
        let Ok((in_group, escaped)) = spawn_blocking(look).await else {
            group.signal(Signal::SIGKILL);
            return true;
        };
        if !in_group && escaped.is_empty() {
            return false;
        }
        let now = Instant::now();
        if kill_at.is_some_and(|at| now >= at + DYING) {
            return true;
        }
        let kill = kill_at.is_some_and(|at| now >= at);
        if kill {
            group.signal(Signal::SIGKILL);
        } else if kill_at.is_none() {
            group.signal(Signal::SIGTERM);
            kill_at = Some(after(GRACE));
        }
        for pid in escaped {
            if kill {
                send(pid, Signal::SIGKILL);
            } else if asked_escaped.insert(pid) {
                send(pid, Signal::SIGTERM);
            }
        }
        sleep(LOOK).await;
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

fn flatten(done: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn after(span: Duration) -> Instant {
    Instant::now() + span
}

/// For spans that end after the end of the clock.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}
