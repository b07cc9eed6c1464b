//! The kill switch: it takes effect first and is recorded then.
//!
//! In scope: stopping agents and disabling people where policy permits that without anybody.
//! Out of scope: everything else that changes the directory; that is recorded before it counts.
//! Invariant: a stop that policy permits works at once, even while nothing can be recorded. It is
//! recorded as soon as that is possible, and until then every page and the health say so. This is
//! the one change that may precede its record (P6): it permits nothing, and undoes nothing.

use std::time::Duration;

use countersign_core::subject::SubjectId;
use countersign_policy::DirectoryChange;

use super::{AdminError, apply, propose_recorded};
use crate::{
    api::types::ProposalAnswer,
    engine::{Asked, EngineError},
    gates::exec::is_passing,
    gateway::Gateway,
    identity::Caller,
};

/// How soon a stop that could not be recorded is tried again, and how late at the most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Stops somebody, then records it.
///
/// # Errors
/// [`AdminError::Unrecorded`] when the stop is in effect and not recorded yet.
pub(super) async fn propose(
    gateway: &Gateway,
    caller: &Caller,
    asked: Asked,
    change: DirectoryChange,
) -> Result<ProposalAnswer, AdminError> {
    // Whoever stops its own side can't ask for anything afterwards, not even for the record.
    let is_own = concerns(&asked, &apply::subject_of(&change));
    if is_own || !gateway.admission.would_permit(asked.clone()).await? {
        return propose_recorded(gateway, caller, asked).await;
    }
    let by: Vec<SubjectId> = asked.chain.members().map(|one| one.id.clone()).collect();
    let not_applied = |error: anyhow::Error| AdminError::NotApplied(format!("{error:#}"));
    apply::stop_now(gateway, &change, by)
        .await
        .map_err(not_applied)?;
    match propose_recorded(gateway, caller, asked.clone()).await {
        Err(error) if is_later(&error) => {
            let later = record_later(gateway.clone(), caller.clone(), asked, change.clone());
            tokio::spawn(later);
            Err(AdminError::Unrecorded {
                who: apply::subject_of(&change),
                why: crate::explain(&error),
            })
        }
        done => done,
    }
}

/// Whether the requester's side depends on somebody.
fn concerns(asked: &Asked, who: &SubjectId) -> bool {
    asked.chain.members().any(|member| {
        let owner = member.owner.clone().map(SubjectId::Person);
        member.id == *who || owner.as_ref() == Some(who)
    })
}

/// Whether recording may work later.
fn is_later(error: &AdminError) -> bool {
    match error {
        AdminError::Engine(EngineError::Clock(_)) => true,
        AdminError::Engine(error) => is_passing(error),
        // Permitted and recorded as that, but not stored.
        AdminError::NotApplied(_) => true,
        AdminError::Invalid(_) | AdminError::Unrecorded { .. } => false,
    }
}

async fn record_later(gateway: Gateway, caller: Caller, asked: Asked, change: DirectoryChange) {
    let is_due = || gateway.active().stops.unrecorded().contains(&change);
    let mut pause = AGAIN;
    while is_due() {
        tokio::time::sleep(pause).await;
        // Without a log every attempt is in vain, and half of one would be worse.
        if gateway.log.fault().is_some() {
            continue;
        }
        match propose_recorded(&gateway, &caller, asked.clone()).await {
            // Policy may have come to want people, or the log takes records and the store does not:
            // each attempt leaves some.
            Ok(_) => pause = (pause * 2).min(AGAIN_AT_MOST),
            Err(error) if is_later(&error) => pause = (pause * 2).min(AGAIN_AT_MOST),
            Err(error) => {
                let (who, error) = (apply::subject_of(&change), crate::explain(&error));
                tracing::error!(%who, error, "a stop in effect was not recorded");
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
