//! Answers, and handing a permitted decision out.
//!
//! Invariant: `decision: true` is said in one place, after the permit was spent and its outcome is
//! awaited. Work that may permit something runs to its end even when the caller goes away.

use std::collections::BTreeSet;

use countersign_core::{
    decision::DenyReason,
    id::{PolicyId, RequestId},
    permit::Permit,
    request::Request,
};

use super::{
    metadata::address,
    types::{AnswerContext, EvaluationAnswer, OutcomeHint},
};
use crate::{
    api::{Api, problem::ApiError},
    engine::EngineError,
    gates::advisory::{
        hand_out as hand,
        outstanding::{Place, REPORT_WITHIN},
    },
    gateway::Gateway,
};

/// Does work to its end, whether or not the caller stays.
///
/// # Errors
/// What the work says.
pub(super) async fn unhurried<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| EngineError::Internal(format!("the question was not answered: {error}")))?
}

/// A denial.
pub(super) fn no(
    evaluation: Option<&RequestId>,
    reason: &str,
    message: String,
) -> EvaluationAnswer {
    EvaluationAnswer {
        decision: false,
        context: AnswerContext {
            advisory: true,
            evaluation_id: evaluation.cloned(),
            reason: Some(reason.into()),
            message: Some(message),
            ..AnswerContext::default()
        },
    }
}

/// What policy said against it, with the reasons its statements give.
pub(super) fn policy_words(
    gateway: &Gateway,
    reason: &DenyReason,
    policies: &BTreeSet<PolicyId>,
) -> String {
    let active = gateway.active();
    let said = |id: &PolicyId| {
        let statement = active.snapshot.statement(id);
        match statement.and_then(|one| one.reason.clone()) {
            Some(why) => format!("{id}: {why}"),
            None => id.to_string(),
        }
    };
    let said: Vec<_> = policies.iter().map(said).collect();
    match said.is_empty() {
        true => reason.to_string(),
        false => format!("{reason} ({})", said.join("; ")),
    }
}

/// Spends a permit and answers with its decision.
///
/// # Errors
/// The permit did not fit and that could not be recorded.
pub(super) async fn hand_out(
    api: &Api,
    place: Place,
    request: &Request,
    permit: Permit,
    has_case: bool,
) -> Result<EvaluationAnswer, ApiError> {
    let gateway = &api.gateway;
    let handed = hand(gateway, place, request, permit, has_case, REPORT_WITHIN).await?;
    let awaited = match handed {
        Ok(awaited) => awaited,
        Err(mismatch) => {
            let (reason, message) = ("approval_unverifiable", mismatch.to_string());
            return Ok(no(Some(&request.id), reason, message));
        }
    };
    Ok(EvaluationAnswer {
        decision: true,
        context: AnswerContext {
            advisory: true,
            evaluation_id: Some(request.id.clone()),
            permit: Some(awaited.permit.clone()),
            outcome: Some(OutcomeHint {
                endpoint: address(gateway, "/v1/outcomes"),
                before: awaited.until.to_string(),
            }),
            ..AnswerContext::default()
        },
    })
}
