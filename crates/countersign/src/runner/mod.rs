//! Executing permits near the target.
//!
//! In scope: the one door to targets, [`execute`], which takes a [`Permit`] by value.
//! Out of scope: deciding and recording.
//! Invariant: what runs is rebuilt from the stored request alone, and the permit is spent on the
//! digest computed from it here. Nothing a caller sends after the decision reaches a target (P2).

mod plan;

use std::sync::Arc;

use countersign_core::{
    digest::action_digest,
    permit::{Permit, PermitMismatch, Spent},
    request::{Outcome, Request},
};
use countersign_runner::spawn::{self, Exit, Finished, Output, SpawnError};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

pub use plan::{Arguments, Captured, Machine, PlanError, capture, runs_as};

use crate::{active::Active, clock::Clock, engine::Ended};

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
    #[error("`{0}` was stopped or disabled; nothing was run")]
    Stopped(String),
    /// The command could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Runs a permitted request and tells how it ended. An error before the start is an outcome too:
/// the permit is spent, and what was recorded as permitted is recorded as failed.
pub async fn execute(
    permit: Permit,
    request: &Request,
    machine: &Machine,
    clock: &Clock,
    active: &(dyn Fn() -> Arc<Active> + Send + Sync),
    output: Sender<Output>,
) -> (Ended, Option<RunError>) {
    let id = permit.id().clone();
    let ended = |outcome, exit, result| Ended {
        permit: id.clone(),
        outcome,
        exit,
        result,
    };
    match run(permit, request, machine, clock, active, output).await {
        Ok(finished) => (concluded(&finished, ended), None),
        Err(RunError::Spawn(error @ SpawnError::Lost(_))) => {
            let result = json!({ "error": error.to_string() });
            (ended(Outcome::Unknown, None, result), Some(error.into()))
        }
        Err(error) => {
            let result = json!({ "error": error.to_string(), "not_run": true });
            (ended(Outcome::Failed, None, result), Some(error))
        }
    }
}

async fn run(
    permit: Permit,
    request: &Request,
    machine: &Machine,
    clock: &Clock,
    active: &(dyn Fn() -> Arc<Active> + Send + Sync),
    output: Sender<Output>,
) -> Result<Finished, RunError> {
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce)
        .map_err(|_| PermitMismatch::OtherAction)?;
    let expires = permit.expires();
    let Spent { .. } = permit.spend(digest, clock.now())?;
    let (command, scratch) = plan::command(request, machine, active().bundle.clone()).await?;
    // Preparing can be made to take long; what was permitted then may not be any more.
    if clock.now() > expires {
        return Err(PermitMismatch::Lapsed.into());
    }
    if let Some(gone) = stopped(request, active) {
        return Err(RunError::Stopped(gone));
    }
    let finished = spawn::run(command, output, CancellationToken::new()).await?;
    if let Err(error) = tokio::task::spawn_blocking(move || scratch.remove()).await {
        tracing::warn!(%error, "a run's directory was not removed");
    }
    Ok(finished)
}

/// A member of the request's chain who can do nothing any more.
fn stopped(request: &Request, active: &(dyn Fn() -> Arc<Active> + Send + Sync)) -> Option<String> {
    let active = active();
    let gone = |id| active.directory.resolve(id).is_none();
    let mut members = request.chain.members();
    members
        .find(|member| gone(&member.id))
        .map(|member| member.id.to_string())
}

fn concluded(
    finished: &Finished,
    ended: impl FnOnce(Outcome, Option<i32>, serde_json::Value) -> Ended,
) -> Ended {
    let (outcome, exit, how) = match finished.exit {
        Exit::Code(0) => (Outcome::Succeeded, Some(0), "exited"),
        Exit::Code(code) => (Outcome::Failed, Some(code), "exited"),
        Exit::Signal(signal) => (Outcome::Failed, Some(128 + signal), "killed by a signal"),
        Exit::TimedOut => (Outcome::Failed, Some(124), "time over"),
        Exit::OutputLimit => (Outcome::Failed, Some(125), "too much output"),
        Exit::Cancelled => (Outcome::Failed, Some(130), "cancelled"),
    };
    let result = json!({
        "how": how,
        "stdout": { "bytes": finished.stdout.bytes, "sha256": finished.stdout.sha256 },
        "stderr": { "bytes": finished.stderr.bytes, "sha256": finished.stderr.sha256 },
        "milliseconds": u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
        "left_behind": finished.left_behind,
    });
    ended(outcome, exit, result)
}
