//! Evaluating again with an approval, which *is* the claim.
//!
//! In scope: whether the approval is for this very question, and what its state means.
//! Out of scope: judging votes and asking policy again; the engine does both in one step (P4).
//! Invariant: only the requester claims, only with the identical question (equal attach keys), and
//! only once. Whatever can't be verified is no approval.

use countersign_core::{
    lifecycle::Refusal,
    request::{Case, Closure, Phase},
};
use serde_json::Value;

use super::{
    GATE,
    answer::{hand_out, no},
    question::{Question, approval_id},
    types::EvaluationAnswer,
};
use crate::{
    api::{Api, problem::ApiError},
    engine::EngineError,
    identity::Caller,
};

/// Why an approval does not help, by the profile's name.
type Reason = (&'static str, String);

/// Claims an approval for a question.
///
/// # Errors
/// It could not be decided; nothing was claimed.
pub(super) async fn claim(
    api: &Api,
    caller: &Caller,
    question: &Question,
    approval: &Value,
) -> Result<EvaluationAnswer, ApiError> {
    let gateway = &api.gateway;
    let Some(case) = approved_case(api, caller, approval).await? else {
        let message = "there is no such approval of yours".into();
        return Ok(no(None, "approval_unverifiable", message));
    };
    let id = case.request.id.clone();
    if question.attach_key(&gateway.keys)? != case.request.attach_key {
        api.record_refused(caller, &id, "out_of_scope").await;
        let message = "the approval is for another question; every member must be the same".into();
        return Ok(no(Some(&id), "out_of_scope", message));
    }
    if let Some((reason, message)) = not_claimable(&case) {
        return Ok(no(Some(&id), reason, message));
    }
    let place = api.outstanding.reserve(&caller.subject.id)?;
    let by = caller.subject.id.clone();
    match gateway.engine.claim(&id, by, caller.lineage()).await {
        Ok(stepped) => {
            let permit = stepped
                .permit
                .ok_or_else(|| EngineError::Internal("a claim without a permit".into()))?;
            hand_out(api, place, &stepped.case.request, permit, true).await
        }
        Err(error) => {
            let Some((reason, message)) = refused(&error) else {
                return Err(error.into());
            };
            // Recorded like every refused attempt on a request.
            let _said_in_the_answer = api.refused(caller, &id, error).await;
            Ok(no(Some(&id), reason, message))
        }
    }
}

/// The case of an approval that the caller itself asked for here.
async fn approved_case(
    api: &Api,
    caller: &Caller,
    approval: &Value,
) -> Result<Option<Case>, ApiError> {
    let Some(id) = approval_id(approval).and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    match api.gateway.case_of(caller, &id).await {
        Ok(case) => {
            let request = &case.request;
            let own = request.chain.requester.id == caller.subject.id;
            Ok(Some(case).filter(|case| own && case.request.action.gate == GATE))
        }
        Err(EngineError::NoSuchRequest(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a case can't be claimed by its state; `None` when it may be.
fn not_claimable(case: &Case) -> Option<Reason> {
    match &case.phase {
        Phase::Approved { .. } => None,
        Phase::Held { .. } => Some(("grant_pending", "people have not decided yet".into())),
        Phase::Running { .. } | Phase::Finished { .. } => Some(already_claimed()),
        Phase::Closed { closure, .. } => Some(match closure {
            Closure::Expired => (
                "approval_expired",
                "nobody decided in time; ask again".into(),
            ),
            Closure::Unclaimed => (
                "approval_expired",
                "the approval lapsed before it was used; ask again".into(),
            ),
            Closure::PolicyChanged { detail } => (
                "policy_denied",
                format!("current policy no longer allows it: {detail}"),
            ),
            _ => (
                "approval_unverifiable",
                format!("the request is {}", case.phase.name()),
            ),
        }),
    }
}

fn already_claimed() -> Reason {
    (
        "already_claimed",
        "the approval was used already; it counts once".into(),
    )
}

/// What a refused claim means; `None` when it could not be decided at all.
fn refused(error: &EngineError) -> Option<Reason> {
    let words = error.to_string();
    Some(match error {
        EngineError::ForgedVote(_)
        | EngineError::ForgedRequest(_)
        | EngineError::OriginalNotClosed(_)
        | EngineError::MayHaveRun(_)
        | EngineError::RevokedPasskey(_) => ("approval_unverifiable", words),
        EngineError::Refused(refusal) => match refusal {
            Refusal::Lapsed(_) => ("approval_expired", words),
            Refusal::PolicyChanged(_) => ("policy_denied", words),
            Refusal::NotApproved(_) | Refusal::NoLongerSatisfied => ("grant_pending", words),
            // The state was looked at before: another call of the same moment was faster.
            Refusal::NotOpen(_) => already_claimed(),
            _ => ("approval_unverifiable", words),
        },
        _ => return None,
    })
}
