//! The processes of one command, from start to the last of them.
//!
//! In scope: starting the leader, signalling all, noticing who is left, reaping the leader.
//! Out of scope: when to do so (see [`run`](super::run())).
//! Invariant: the leader is reaped last. Until then its number can't be given to another process,
//! so a signal to the group never reaches a stranger. However this value ends, the group is
//! killed.

use std::fs;
use std::io;
use std::process::{Child, ExitStatus};

use aws_lc_rs::rand;
use countersign_core::canonical::Hash;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// The variable by which processes are recognised that left the group but kept the environment.
const MARKER_NAME: &str = "COUNTERSIGN_RUN";

/// A random value in the environment of everything that one command starts.
#[derive(Debug, Clone)]
pub(super) struct Marker(String);

impl Marker {
    pub(super) fn new() -> io::Result<Self> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self(Hash::of(&random).to_hex()))
    }

    /// The name and value to set.
    pub(super) fn variable(&self) -> (&str, &str) {
        (MARKER_NAME, &self.0)
    }
}

/// A process group and what escaped from it as far as the marker shows.
pub(super) struct Group {
    leader: Option<Child>,
    pid: Pid,
    marker: Marker,
}

impl Group {
    /// Takes over `leader`, which must have been started as leader of its own group with `marker`
    /// in its environment.
    pub(super) fn new(leader: Child, marker: Marker) -> io::Result<Self> {
        let pid = i32::try_from(leader.id()).map_err(io::Error::other)?;
        Ok(Self {
            leader: Some(leader),
            pid: Pid::from_raw(pid),
            marker,
        })
    }

    pub(super) fn leader_mut(&mut self) -> Option<&mut Child> {
        self.leader.as_mut()
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal` to the group.
    pub(super) fn signal(&self, signal: Signal) {
        if self.leader.is_some() {
            // ESRCH says that nobody is left, which is what a signal is for.
            let _ = killpg(self.pid, signal);
        }
    }

    /// Looks for survivors; see [`Survivors`].
    pub(super) fn survivors(&self) -> Survivors {
        Survivors {
            group: self.pid,
            marker: self.marker.clone(),
        }
    }

    /// Takes the leader's status. Only after it has exited, or this blocks.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        match self.leader.take() {
            Some(mut leader) => leader.wait(),
            None => Err(io::Error::other("the process was reaped before")),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut leader) = self.leader.take() {
            for pid in self.survivors().escaped() {
                send(pid, Signal::SIGKILL);
            }
            // A killed process can take a while to go; not on this thread.
            std::thread::spawn(move || leader.wait());
        }
    }
}

/// Waits until the leader has exited, without reaping it. Blocks.
pub(super) fn wait_for_exit(leader: Pid) -> io::Result<()> {
    loop {
        match waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds living processes of a command by reading `/proc`. Blocks for a moment.
#[derive(Debug, Clone)]
pub(super) struct Survivors {
    group: Pid,
    marker: Marker,
}

impl Survivors {
    /// Whether any process of the group lives; a process that only waits to be reaped does not.
    /// If `/proc` can't be read, some may.
    pub(super) fn in_group(&self) -> bool {
        let Ok(pids) = processes() else {
            return true;
        };
        pids.into_iter()
            .any(|pid| living_group(pid) == Some(self.group))
    }

    /// Processes outside of the group that carry the marker.
    pub(super) fn escaped(&self) -> Vec<Pid> {
        let (name, value) = self.marker.variable();
        let wanted = format!("{name}={value}");
        let marked = |pid: &Pid| {
            living_group(*pid).is_some_and(|group| group != self.group)
                && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| {
                    all.split(|byte| *byte == 0)
                        .any(|one| one == wanted.as_bytes())
                })
        };
        processes()
            .unwrap_or_default()
            .into_iter()
            .filter(marked)
            .collect()
    }
}

/// Signals one process that escaped. Between looking and sending it can end and its number be given
/// away; unlike for the group there is no safe way around that without `unsafe`.
pub(super) fn send(pid: Pid, signal: Signal) {
    let _ = kill(pid, signal);
}

fn processes() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            pids.push(Pid::from_raw(pid));
        }
    }
    Ok(pids)
}

/// The group of a process that lives.
fn living_group(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name before may contain anything, even parentheses and spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let (state, _parent, group) = (fields.next()?, fields.next()?, fields.next()?);
    if matches!(state, "Z" | "X") {
        None
    } else {
        group.parse().ok().map(Pid::from_raw)
    }
}
