//! One command, run to its end near its target.
//!
//! In scope: a clean environment, the verified executable, bounded time and output, and an end
//! after which nothing goes on in the background.
//! Out of scope: isolation beyond another user and a directory of its own: no namespaces, system
//! call filters or resource limits. A command that wants to escape needs a container around the
//! runner. If the runner itself is killed, the command lives on, and its outcome is unknown.
//! What the runner itself was started with is open to commands unless [`close_inherited`] is called
//! first.
//! Invariant: nothing of the runner's or the caller's environment reaches the command except what
//! [`Environment`] let in; no secret of the target leaves in the output unmasked.

mod environment;
mod group;
mod inherited;
mod pipes;
mod run;
mod scratch;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use countersign_core::canonical::Hash;

pub use environment::{EnvError, Environment, caller_env_allowed};
pub use inherited::close_inherited;
pub use run::run;
pub use scratch::Scratch;

use crate::inputs::Owner;
use crate::resolve::{ResolveError, Resolved};

/// What to run, and within which bounds.
#[derive(Debug)]
pub struct Command {
    /// The words as they were approved; the first is only the name that the program sees.
    pub argv: Vec<String>,
    /// What the first word was resolved to when it was approved.
    pub resolved: Resolved,
    /// The working directory, usually the unpacked inputs.
    pub dir: PathBuf,
    /// The whole environment.
    pub env: Environment,
    /// Another user to run as; only root can do that.
    pub run_as: Option<User>,
    /// All of standard input; nothing means `/dev/null`.
    pub stdin: Option<Bytes>,
    /// The longest that the command and the delivery of its output may take together.
    pub timeout: Duration,
    /// The most bytes that it may write to standard output and standard error together.
    pub output_limit: u64,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group; supplementary groups are dropped.
    pub gid: u32,
    /// What `USER` and `LOGNAME` say.
    pub name: String,
}

impl User {
    /// Whom this user's files belong to.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// A piece of output, as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Of standard output.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal, which did not come from the runner's own limits.
    Signal(i32),
    /// Killed because its time was over.
    TimedOut,
    /// Killed, or cut short, because it wrote too much.
    OutputLimit,
    /// Killed because the run was cancelled.
    Cancelled,
}

/// What is known of a stream of output, after masking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// How many bytes there were within the limit.
    pub bytes: u64,
    /// Of these bytes.
    pub sha256: Hash,
    /// How many of these bytes the receiver did not get, because it went away or was too slow.
    pub undelivered: u64,
}

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Stream,
    /// Its standard error.
    pub stderr: Stream,
    /// From start to end.
    pub duration: Duration,
    /// Whether something that the command started could not be ended, or still held the output
    /// open. What was approved may then still be going on, and the record should say so.
    pub left_behind: bool,
}

/// Why a command was not started, or what became of it is not known.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There are no words.
    #[error("the command is empty: name a program")]
    Empty,
    /// A word with a zero byte.
    #[error("the command has a zero byte in a word, which no program can be given")]
    Nul,
    /// The executable is not what was approved.
    #[error("the command was not started")]
    Resolve(#[from] ResolveError),
    /// Another user without the right to become it.
    #[error("running as `{0}` takes a runner that is root; this one is not")]
    NotRoot(String),
    /// Cancelled before it was started.
    #[error("the run was cancelled before the command was started")]
    Cancelled,
    /// The system refused to start it.
    #[error("the command could not be started")]
    Start(#[source] std::io::Error),
    /// It was started, but how it ended can't be learnt. Its outcome is unknown.
    #[error("the command was started, but its end could not be observed")]
    Lost(#[source] std::io::Error),
}
