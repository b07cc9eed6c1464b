//! Executing permits near the target.
//!
//! In scope: the one door to targets, [`execute`], which takes a [`Permit`] by value.
//! A [`preview`] reaches no target: it has captured files, nobody's rights and no credential.
//! Out of scope: deciding and recording.
//! Invariant: what runs is rebuilt from the stored request alone, and the permit is spent on the
//! digest computed from it here. Nothing a caller sends after the decision reaches a target (P2).

mod plan;

use std::{collections::BTreeSet, fmt, sync::Arc};

use countersign_core::{
    digest::action_digest,
    permit::{Permit, PermitMismatch, Spent},
    request::{Outcome, Request},
    subject::{SubjectChain, SubjectId},
};
use countersign_policy::Bundle;
use countersign_runner::spawn::{self, Exit, Finished, Output, SpawnError};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

pub(crate) use plan::check_taken_for;
pub use plan::{Arguments, Call, Captured, Machine, PlanError, capture, runs_as};

use crate::{
    active::{Active, ActivePolicy},
    clock::Clock,
    engine::Ended,
    names::Names,
    secrets::{self, Secrets, TextMasks},
};

/// That a member of a chain can do nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    who: SubjectId,
    by: Vec<SubjectId>,
}

impl Stopped {
    /// In words, for somebody who may hear these names.
    #[must_use]
    pub fn told(&self, names: Names) -> String {
        let one = |id: &SubjectId| match (names, id) {
            (Names::Withheld, SubjectId::Person(_)) => names.subject(id),
            _ => format!("`{id}`"),
        };
        let mut text = format!("{} was stopped or disabled", one(&self.who));
        let by: BTreeSet<_> = self.by.iter().map(one).collect();
        for (index, who) in by.iter().enumerate() {
            text.push_str(if index == 0 { " by " } else { ", " });
            text.push_str(who);
        }
        text
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Names::Given))
    }
}

/// Why an action did not run although it was permitted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The permit is for something else, or too late.
    #[error(transparent)]
    Permit(#[from] PermitMismatch),
    /// It can't be run as it was approved.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A member of the chain was stopped since.
    #[error("{0}; nothing was run")]
    Stopped(Stopped),
    /// The command could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl RunError {
    /// In words, for somebody who may hear these names.
    #[must_use]
    pub fn told(&self, names: Names) -> String {
        match self {
            Self::Stopped(stopped) => format!("{}; nothing was run", stopped.told(names)),
            other => crate::explain(other),
        }
    }
}

/// What became of a permit.
#[derive(Debug)]
pub struct Executed {
    /// What is recorded.
    pub ended: Ended,
    /// Why nothing ran, or it is not known how it ended.
    pub error: Option<RunError>,
    /// Why it was ended before it was done.
    pub stopped: Option<Stopped>,
}

/// Runs a permitted request and tells how it ended. An error before the start is an outcome too:
/// the permit is spent, and what was recorded as permitted is recorded as failed.
pub async fn execute(
    permit: Permit,
    (request, secrets): (&Request, &Secrets),
    machine: &Machine,
    clock: &Clock,
    active: ActivePolicy,
    output: Sender<Output>,
) -> Executed {
    let id = permit.id().clone();
    let ended = |outcome, exit, result| Ended {
        permit: id.clone(),
        outcome,
        exit,
        result,
    };
    let executed = |ended, error, stopped| Executed {
        ended,
        error,
        stopped,
    };
    // Errors can name what was restored for the command.
    let masker = active.borrow().bundle.clone();
    let told = |error: String| {
        let masked = secrets.mask(&request.action, error);
        secrets::without(masker.masker(), masked)
    };
    match run(permit, (request, secrets), machine, clock, active, output).await {
        Ok((finished, stopped)) => {
            // It may have ended by itself before it was told to.
            let stopped = stopped.filter(|_| finished.exit == Exit::Cancelled);
            executed(concluded(&finished, stopped.as_ref(), ended), None, stopped)
        }
        Err(RunError::Spawn(error @ SpawnError::Lost(_))) => {
            let result = json!({ "error": told(error.to_string()) });
            let ended = ended(Outcome::Unknown, None, result);
            executed(ended, Some(error.into()), None)
        }
        Err(error) => {
            let result = json!({ "error": told(error.to_string()), "not_run": true });
            executed(ended(Outcome::Failed, None, result), Some(error), None)
        }
    }
}

async fn run(
    permit: Permit,
    (request, secrets): (&Request, &Secrets),
    machine: &Machine,
    clock: &Clock,
    active: ActivePolicy,
    output: Sender<Output>,
) -> Result<(Finished, Option<Stopped>), RunError> {
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce)
        .map_err(|_| PermitMismatch::OtherAction)?;
    let expires = permit.expires();
    let Spent { .. } = permit.spend(digest, clock.now())?;
    let bundle = active.borrow().bundle.clone();
    let (command, scratch) = plan::command((request, secrets), machine, bundle).await?;
    // Preparing can be made to take long; what was permitted then may not be any more.
    if clock.now() > expires {
        return Err(PermitMismatch::Lapsed.into());
    }
    if let Some(stopped) = stopped(&request.chain, &active.borrow()) {
        return Err(RunError::Stopped(stopped));
    }
    let cancel = CancellationToken::new();
    let mut running = std::pin::pin!(spawn::run(command, output, cancel.clone()));
    // Not what it may do next but what it does now is ended: the kill switch works at once.
    let (finished, stopped) = tokio::select! {
        finished = &mut running => (finished?, None),
        stopped = until_stopped(&request.chain, active) => {
            cancel.cancel();
            (running.await?, Some(stopped))
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(move || scratch.remove()).await {
        tracing::warn!(%error, "a run's directory was not removed");
    }
    Ok((finished, stopped))
}

/// What a preview showed.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The command.
    pub argv: Vec<String>,
    /// What it wrote.
    pub text: String,
    /// Why that is not all of it.
    pub cut: Option<String>,
}

impl Preview {
    /// Without the secrets in it.
    #[must_use]
    pub fn masked(&self, masks: &mut TextMasks<'_>) -> Self {
        let mut shown = self.clone();
        shown.argv.iter_mut().for_each(|word| masks.mask(word));
        masks.mask(&mut shown.text);
        shown
    }
}

/// Runs a command that shows reviewers what an action would do. Nothing is permitted by it, and
/// nothing stops when it fails: reviewers are told, and look more closely.
pub async fn preview(
    captured: &Captured,
    argv: Vec<String>,
    machine: &Machine,
    bundle: Arc<Bundle>,
) -> Preview {
    // Whoever asks again and again waits for the others; a closed semaphore only means no limit.
    let _turn = machine.previews.acquire().await.ok();
    let (mut text, cut) = match run_preview(captured, argv.clone(), machine, bundle).await {
        Ok(shown) => shown,
        Err(error) => (Vec::new(), Some(crate::explain(&error))),
    };
    let cut = match std::str::from_utf8(&text) {
        Ok(_) => cut,
        Err(error) => {
            text.truncate(error.valid_up_to());
            cut.or_else(|| Some("what follows is not text".into()))
        }
    };
    Preview {
        argv,
        text: String::from_utf8_lossy(&text).into_owned(),
        cut,
    }
}

async fn run_preview(
    captured: &Captured,
    argv: Vec<String>,
    machine: &Machine,
    bundle: Arc<Bundle>,
) -> Result<(Vec<u8>, Option<String>), RunError> {
    let (command, scratch) = plan::preview(captured, argv, machine, bundle).await?;
    let (output, mut written) = tokio::sync::mpsc::channel(16);
    let collecting = async {
        let mut text = Vec::new();
        while let Some(piece) = written.recv().await {
            match piece {
                Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend_from_slice(&bytes),
            }
        }
        text
    };
    let running = spawn::run(command, output, CancellationToken::new());
    let (finished, text) = tokio::join!(running, collecting);
    if let Err(error) = tokio::task::spawn_blocking(move || scratch.remove()).await {
        tracing::warn!(%error, "a preview's directory was not removed");
    }
    let cut = match finished?.exit {
        Exit::Code(0) => None,
        Exit::Code(code) => Some(format!("it failed with status {code}")),
        Exit::OutputLimit => Some("there is more than can be shown".into()),
        Exit::TimedOut => Some("it took too long".into()),
        Exit::Signal(_) | Exit::Cancelled => Some("it was ended".into()),
    };
    Ok((text, cut))
}

/// Waits until a member of the chain, or the person who answers for one, is stopped or disabled.
pub async fn until_stopped(chain: &SubjectChain, mut active: ActivePolicy) -> Stopped {
    loop {
        if let Some(stopped) = stopped(chain, &active.borrow_and_update()) {
            return stopped;
        }
        if active.changed().await.is_err() {
            // The gateway is going down; nobody is stopped any more.
            std::future::pending().await
        }
    }
}

/// A member of the chain, or an owner, who can do nothing any more.
#[must_use]
pub fn stopped(chain: &SubjectChain, active: &Active) -> Option<Stopped> {
    let owners = |member: &countersign_core::subject::Subject| {
        let now = active.directory.machine(&member.id);
        let now = now.and_then(|machine| machine.owner.clone());
        member.owner.clone().into_iter().chain(now)
    };
    let mut all = chain.members().flat_map(|member| {
        let owners = owners(member).map(SubjectId::Person);
        std::iter::once(member.id.clone()).chain(owners)
    });
    let who = all.find(|id| active.directory.resolve(id).is_none())?;
    let by = active.stops.by(&who);
    Some(Stopped { who, by })
}

fn concluded(
    finished: &Finished,
    stopped: Option<&Stopped>,
    ended: impl FnOnce(Outcome, Option<i32>, serde_json::Value) -> Ended,
) -> Ended {
    let (outcome, exit, how) = match finished.exit {
        Exit::Code(0) => (Outcome::Succeeded, Some(0), "exited"),
        Exit::Code(code) => (Outcome::Failed, Some(code), "exited"),
        Exit::Signal(signal) => (Outcome::Failed, Some(128 + signal), "killed by a signal"),
        Exit::TimedOut => (Outcome::Failed, Some(124), "time over"),
        Exit::OutputLimit => (Outcome::Failed, Some(125), "too much output"),
        Exit::Cancelled => (Outcome::Failed, Some(143), "stopped"),
    };
    let result = json!({
        "how": how,
        "stopped": stopped.map(ToString::to_string),
        "stdout": { "bytes": finished.stdout.bytes, "sha256": finished.stdout.sha256 },
        "stderr": { "bytes": finished.stderr.bytes, "sha256": finished.stderr.sha256 },
        "milliseconds": u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
        "left_behind": finished.left_behind,
    });
    ended(outcome, exit, result)
}
