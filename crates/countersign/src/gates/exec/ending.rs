//! How a command ended: recorded first, then told to the caller.
//!
//! Invariant: an outcome that can't be recorded now is recorded as soon as that is possible, and
//! the caller is told that it is not.

use std::time::Duration;

use countersign_core::{
    id::RequestId,
    request::{Case, Closure, Outcome, Phase, Request},
};

use crate::{
    api::types::RunEvent,
    engine::{Ended, EngineError, Input},
    gateway::Gateway,
    log::LogError,
    names::Names,
    runner::Executed,
};

/// How soon an outcome that could not be recorded is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Records the outcome, with the case or without.
pub(super) async fn record(
    gateway: &Gateway,
    request: &Request,
    held: Option<RequestId>,
    ended: &Ended,
) -> Result<(), EngineError> {
    match held {
        Some(id) => gateway
            .engine
            .step(
                id,
                Input::Ended {
                    ended: ended.clone(),
                },
            )
            .await
            .map(|_| ()),
        None => gateway.admission.ended(request, ended).await,
    }
}

/// Whether recording may work later: the disk is full, or too much is under way.
pub(crate) fn is_passing(error: &EngineError) -> bool {
    match error {
        EngineError::Store(_) | EngineError::Busy => true,
        EngineError::Log(error) => !matches!(error, LogError::Stopped),
        _ => false,
    }
}

/// Records an outcome as soon as that is possible. A stop before makes it unknown at the next
/// start.
pub(super) async fn record_later(
    gateway: Gateway,
    request: Request,
    held: Option<RequestId>,
    ended: Ended,
) {
    loop {
        tokio::time::sleep(RECORD_AGAIN).await;
        match record(&gateway, &request, held.clone(), &ended).await {
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                let (request, error) = (&request.id, crate::explain(&error));
                tracing::error!(%request, error, "an outcome was not recorded");
                return;
            }
            Ok(()) => return,
        }
    }
}

pub(super) fn last_event(
    executed: Executed,
    recorded: Result<(), EngineError>,
    names: Names,
) -> RunEvent {
    let Executed {
        ended,
        error,
        stopped,
    } = executed;
    if let Some(error) = error.filter(|_| ended.outcome == Outcome::Failed) {
        return RunEvent::refused(None, "not_run", error.told(names), None);
    }
    let unrecorded = recorded.err().map(|error| {
        format!(
            "executed, but the outcome could not be recorded: {}",
            crate::explain(&error)
        )
    });
    let stopped = stopped.map(|stopped| {
        let who = stopped.told(names);
        format!("it was ended before it was done: {who}")
    });
    let warnings: Vec<_> = stopped.into_iter().chain(unrecorded).collect();
    RunEvent::Exited {
        status: ended.exit.unwrap_or(70),
        outcome: format!("{:?}", ended.outcome).to_lowercase(),
        warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
    }
}

/// What a waiting caller is told of a request that is no longer open, whose page is `page`.
pub(super) fn ended_event(case: &Case, page: String, names: Names) -> RunEvent {
    let refused = |code: &str, message: String, amended| RunEvent::Refused {
        request: Some(case.request.id.clone()),
        code: code.into(),
        message,
        amended,
        page: Some(page.clone()),
    };
    match &case.phase {
        Phase::Closed { closure, .. } => {
            let (message, amended) = closed(closure, names);
            refused(case.phase.name(), message, amended)
        }
        _ => refused(
            "already_claimed",
            "another caller of yours claimed this approval; it runs once".into(),
            None,
        ),
    }
}

fn closed(closure: &Closure, names: Names) -> (String, Option<RequestId>) {
    let message = match closure {
        Closure::Denied { by, reason } => {
            let why = reason
                .as_ref()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            format!("{} denied it{why}", names.person(by))
        }
        Closure::Expired => "nobody decided in time; ask again".into(),
        Closure::Unclaimed => "the approval lapsed before it was used; ask again".into(),
        Closure::Cancelled { by } => format!("{} cancelled it", names.subject(by)),
        Closure::Amended { by, into } => {
            let message = format!(
                "{} proposes another action instead; read it at its page and, if you accept it, \
                 run `countersign run --claim {into}`",
                names.person(by)
            );
            return (message, Some(into.clone()));
        }
        Closure::Unreachable { .. } => {
            "nobody is left who could approve it; ask an administrator".into()
        }
        Closure::PolicyChanged { detail } => {
            format!("current policy no longer allows it: {detail}")
        }
        Closure::RequesterStopped { who } => {
            format!("{} was stopped or disabled", names.subject(who))
        }
    };
    (message, None)
}
