//! `POST /access/v1/evaluation`: one question.
//!
//! In scope: from question to answer, whether it claims an approval or not.
//! Invariant: asking asks nothing of people. A `true` answer is kept under the caller's
//! `Idempotency-Key`; a `false` one is not, because it may be another one tomorrow.

use axum::{extract::State, http::HeaderMap, response::Response};
use countersign_core::request::Request;

use super::{
    answer::{hand_out, no, policy_words, unhurried},
    binding::{Bindings, LIFETIME},
    claim,
    metadata::address,
    question::Question,
    types::{AccessRequestHint, EvaluationAnswer, EvaluationBody},
};
use crate::{
    api::{Api, StrictJson, once_if, problem::ApiError, trace_of},
    engine::Evaluated,
    identity::Caller,
};

pub(super) async fn evaluation(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(body): StrictJson<EvaluationBody>,
) -> Result<Response, ApiError> {
    Box::pin(evaluate_once(api, caller, headers, body)).await
}

/// Answers one question, and answers it the same under the same key.
///
/// # Errors
/// The question can't be read, is not the caller's, or could not be decided.
pub(super) async fn evaluate_once(
    api: Api,
    caller: Caller,
    headers: HeaderMap,
    mut body: EvaluationBody,
) -> Result<Response, ApiError> {
    body.trace = trace_of(&headers);
    unhurried(async move {
        let work = Box::pin(decide(&api, &caller, &body));
        let is_final = |answer: &EvaluationAnswer| answer.decision;
        once_if(
            &api,
            &caller,
            &headers,
            &("evaluation", &body),
            is_final,
            work,
        )
        .await
    })
    .await
}

/// Answers one question.
///
/// # Errors
/// The question can't be read, is not the caller's, or could not be decided.
pub(super) async fn decide(
    api: &Api,
    caller: &Caller,
    body: &EvaluationBody,
) -> Result<EvaluationAnswer, ApiError> {
    let question = Question::read(&api.gateway.active(), caller, body)?;
    if let Some(approval) = &question.approval {
        return claim::claim(api, caller, &question, approval).await;
    }
    let place = api.outstanding.reserve(&caller.subject.id)?;
    match api.gateway.admission.evaluate(question.asked).await? {
        Evaluated::Permitted { request, permit } => {
            hand_out(api, place, &request, permit, false).await
        }
        Evaluated::Requestable(request) => Ok(requestable(api, &request)),
        Evaluated::Denied {
            request,
            reason,
            policies,
        } => {
            let message = policy_words(&api.gateway, &reason, &policies);
            Ok(no(Some(&request), "policy_denied", message))
        }
    }
}

/// A denial that people could lift, with what it takes to ask them.
fn requestable(api: &Api, request: &Request) -> EvaluationAnswer {
    let gateway = &api.gateway;
    let expires = gateway.clock.now().after(LIFETIME);
    let subject = &request.chain.requester.id;
    let token = Bindings::new(&gateway.keys.act).token(
        &request.id,
        request.digest,
        request.attach_key,
        subject,
        expires,
    );
    let rules: Vec<_> = request
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    let message = format!(
        "people must countersign it first (`{}`)",
        rules.join("`, `")
    );
    let mut answer = no(Some(&request.id), "approval_required", message);
    answer.context.access_request = Some(AccessRequestHint {
        endpoint: address(gateway, "/access/v1/requests"),
        expires_at: expires.to_string(),
        binding_token: token,
    });
    answer
}
