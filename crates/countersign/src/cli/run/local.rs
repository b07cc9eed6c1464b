//! `countersign run --local`: the command runs here, once the gateway has handed out the permit.
//!
//! In scope: what the command means on this machine, the last check before it starts, its end, the
//! report.
//! Out of scope: deciding. The gateway can't enforce any of this; it says so to everybody (P1).
//! Invariant: nothing is started before the gateway said that the permit is recorded, and nothing
//! but the executable that was stated. Every end that this process lives to see is reported.

use std::{
    collections::BTreeMap,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::id::RequestId;
use countersign_runner::resolve::{ResolveError, Resolved, resolve};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::mpsc::{self, Sender},
};

use super::follow::Events;
use crate::{
    api::{
        authzen::types::{OutcomeBody, ReportedStatus},
        types::{LocalCommand, RunEvent},
    },
    cli::{
        client::{At, Client},
        failure::{Failure, REFUSED, UNKNOWN},
        output::Output,
        signals::Signals,
        text,
    },
};

/// Between asking a command to end, because its requester was stopped, and killing it.
const GRACE: Duration = Duration::from_secs(5);
/// Pieces of output that wait.
const PIECES: usize = 64;

/// A command as this machine understands it.
pub(super) struct Here {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    executable: Resolved,
    directory: PathBuf,
}

/// What the gateway handed out.
pub(super) struct Permitted {
    pub(super) request: RequestId,
    pub(super) permit: String,
    /// Open as long as the command runs: by it the gateway knows that this process lives.
    pub(super) events: Events,
}

impl Here {
    /// Finds out what a command means here.
    ///
    /// # Errors
    /// The program is not found, or its content can't be read.
    pub(super) fn find(argv: &[String], env: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let directory = std::env::current_dir()
            .and_then(|here| here.canonicalize())
            .map_err(|error| Failure::usage(format!("there is no working directory: {error}")))?;
        if directory.to_str().is_none() {
            return Err(Failure::usage("the working directory's name is not UTF-8"));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path)
            .filter(|entry| !entry.as_os_str().is_empty())
            .map(|entry| directory.join(entry))
            .collect();
        let name = argv.first().map(String::as_str).unwrap_or_default();
        // A relative path means here what it means to a shell.
        let from_here = directory.join(name).display().to_string();
        let name = if name.contains('/') { &from_here } else { name };
        let executable = resolve(name, &path, &directory).map_err(not_found)?;
        Ok(Self {
            argv: argv.to_vec(),
            env: env.clone(),
            executable,
            directory,
        })
    }

    /// What is stated to the gateway.
    pub(super) fn stated(&self) -> LocalCommand {
        LocalCommand {
            executable: self.executable.clone(),
            directory: self.directory.display().to_string(),
        }
    }

    /// Starts the command, if its executable is still the one that was stated.
    fn start(&self, piped: bool) -> Result<Child, StartError> {
        let (name, arguments) = self.argv.split_first().ok_or(StartError::Empty)?;
        // Held until the process is started: its path can name this open file.
        let verified = self.executable.verify_again()?;
        let mut command = std::process::Command::new(verified.program());
        command
            .arg0(name)
            .args(arguments)
            .envs(&self.env)
            .current_dir(&self.directory);
        if piped {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Command::from(command).spawn().map_err(StartError::Start)
    }
}

/// Why a permitted command was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the command is empty")]
    Empty,
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("it could not be started: {0}")]
    Start(std::io::Error),
}

fn not_found(error: ResolveError) -> Failure {
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(&error) {
        text = format!("{text}: {cause}");
    }
    Failure::usage(text).next("nothing was asked and nothing was run")
}

/// Runs a permitted command to its end and reports it; gives its exit status.
///
/// # Errors
/// It was not started.
pub(super) async fn run(
    client: &Client,
    here: Here,
    mut permitted: Permitted,
    signals: &mut Signals,
    output: &mut Output,
) -> Result<u8, Failure> {
    let piped = output.is_json();
    let child = match here.start(piped) {
        Ok(child) => child,
        Err(error) => return Err(not_started(client, &permitted, &error).await),
    };
    let ended = attend(child, &mut permitted.events, signals, output).await;
    let status = ended.map_err(|error| lost(&permitted.request, &error))?;
    let exit = exit_of(status);
    let outcome = if exit == 0 { "succeeded" } else { "failed" };
    let detail = status
        .signal()
        .map(|number| format!("ended by signal {number}"));
    let told = report(client, &permitted, Some(exit), detail).await;
    let warning = told.err().map(|failure| {
        format!(
            "the command ended with status {exit}, which the gateway did not take ({}); its record \
             may say that the outcome is unknown: countersign requests show {}",
            failure.title, permitted.request
        )
    });
    if let Some(warning) = &warning {
        output.note(format!("countersign: {}", text::shown(warning)));
    }
    if output.is_json() {
        let event = RunEvent::Exited {
            status: exit,
            outcome: outcome.into(),
            warning,
        };
        output.result(&event, |_, _| String::new())?;
    }
    Ok(u8::try_from(exit & 0xff).unwrap_or(UNKNOWN))
}

/// Follows the command to its end: its output where events are wanted, signals to this process,
/// and word from the gateway that it must end.
async fn attend(
    mut child: Child,
    events: &mut Events,
    signals: &mut Signals,
    output: &mut Output,
) -> std::io::Result<ExitStatus> {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .map(Pid::from_raw);
    let tell = |signal| {
        if let Some(pid) = pid {
            // The child is not waited for yet, so the number is still its own.
            let _ended_already = kill(pid, signal);
        }
    };
    let mut pieces = pieces_of(&mut child);
    let (mut listening, mut kill_at) = (true, None);
    loop {
        tokio::select! {
            status = child.wait(), if pieces.is_none() => return status,
            piece = next_piece(&mut pieces) => match piece {
                Some(event) => _ = output.result(&event, |_, _| String::new()),
                None => pieces = None,
            },
            word = events.next(), if listening => match word {
                Ok(Some(RunEvent::Stop { message })) => {
                    output.note(format!("countersign: {}; the command is ended", text::shown(&message)));
                    tell(Signal::SIGTERM);
                    kill_at = Some(tokio::time::Instant::now() + GRACE);
                }
                Ok(Some(_)) => {}
                // The command goes on; its end is reported over another connection.
                Ok(None) | Err(_) => listening = false,
            },
            // A terminal sends the interrupt to the command by itself.
            status = signals.next() => if status != 130 {
                tell(Signal::SIGTERM);
            },
            () = until(kill_at) => {
                tell(Signal::SIGKILL);
                kill_at = None;
                // What it started may hold its output open for ever.
                pieces = None;
            }
        }
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The piped output of a command as events, if it is piped.
fn pieces_of(child: &mut Child) -> Option<mpsc::Receiver<RunEvent>> {
    let (stdout, stderr) = (child.stdout.take()?, child.stderr.take()?);
    let (to, pieces) = mpsc::channel(PIECES);
    tokio::spawn(read(stdout, to.clone(), |data| RunEvent::Stdout { data }));
    tokio::spawn(read(stderr, to, |data| RunEvent::Stderr { data }));
    Some(pieces)
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    to: Sender<RunEvent>,
    event: impl Fn(String) -> RunEvent,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        if to.send(event(STANDARD.encode(bytes))).await.is_err() {
            return;
        }
    }
}

async fn next_piece(pieces: &mut Option<mpsc::Receiver<RunEvent>>) -> Option<RunEvent> {
    match pieces {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

fn exit_of(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|number| 128 + number);
    status.code().or(by_signal).unwrap_or(-1)
}

async fn report(
    client: &Client,
    permitted: &Permitted,
    exit: Option<i32>,
    detail: Option<String>,
) -> Result<(), Failure> {
    let body = OutcomeBody {
        permit: Some(permitted.permit.clone()),
        request: Some(permitted.request.to_string()),
        status: match exit {
            Some(0) => ReportedStatus::Succeeded,
            _ => ReportedStatus::Failed,
        },
        exit,
        detail,
    };
    client.tell(At::new(&["outcomes"]), &body).await
}

async fn not_started(client: &Client, permitted: &Permitted, error: &StartError) -> Failure {
    let why = format!("refused: nothing was run: {error}");
    let detail = Some(format!("not run: {error}"));
    let told = report(client, permitted, None, detail).await;
    let next = match told {
        Ok(()) => "ask again: the approval was for another executable, and is used".to_owned(),
        Err(failure) => format!("and the gateway was not told ({})", failure.title),
    };
    Failure::new("not_run", why)
        .next(next)
        .about(&permitted.request)
        .exit(REFUSED)
}

fn lost(request: &RequestId, error: &std::io::Error) -> Failure {
    Failure::new(
        "lost",
        format!("it is not known how the command ended: {error}"),
    )
    .next(format!(
        "look before running it again: countersign requests show {request}"
    ))
    .about(request)
    .exit(UNKNOWN)
}
