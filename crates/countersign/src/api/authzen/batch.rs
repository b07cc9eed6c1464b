//! `POST /access/v1/evaluations`: several questions.
//!
//! In scope: defaults from the top level, the three semantics.
//! Invariant: every question is read, and found to be the caller's own, before the first is
//! decided. Questions are answered one after another, so a semantic that ends early permits
//! nothing behind its end. What was permitted is always answered: a question that could not be
//! decided is a denial in its place, never an error of the whole.
//! Specification: <https://openid.net/specs/authorization-api-1_0.html#section-7>.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    answer::{no, unhurried},
    evaluate::{decide, evaluate_once},
    question::Question,
    types::{
        AnswerError, EvaluationAnswer, EvaluationBody, EvaluationsAnswer, EvaluationsBody,
        PartialBody, Semantic,
    },
};
use crate::{
    api::{Api, StrictJson, once_if, problem::ApiError, trace_of},
    identity::Caller,
};

/// The most questions of one batch.
const MAX_EVALUATIONS: usize = 100;

pub(super) async fn evaluations(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(body): StrictJson<EvaluationsBody>,
) -> Result<Response, ApiError> {
    let items = body.evaluations.as_deref().unwrap_or_default();
    if items.is_empty() {
        // By the specification the same as a single evaluation, its answer included.
        let one = PartialBody::default().complete(&body.common, "")?;
        return Box::pin(evaluate_once(api, caller, headers, one)).await;
    }
    if items.len() > MAX_EVALUATIONS {
        let title = format!("a batch has at most {MAX_EVALUATIONS} evaluations");
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            title,
        ));
    }
    let mut questions = read_all(&api, &caller, items, &body.common)?;
    let trace = trace_of(&headers);
    questions.iter_mut().for_each(|one| one.trace = trace);
    let semantic = body
        .options
        .clone()
        .unwrap_or_default()
        .evaluations_semantic;
    unhurried(async move {
        let decided = Box::pin(decide_all(&api, &caller, &questions, semantic));
        let work = async { Ok(decided.await) };
        let is_final =
            |answer: &EvaluationsAnswer| answer.evaluations.iter().any(|one| one.decision);
        once_if(
            &api,
            &caller,
            &headers,
            &("evaluations", &body),
            is_final,
            work,
        )
        .await
    })
    .await
}

fn read_all(
    api: &Api,
    caller: &Caller,
    items: &[PartialBody],
    common: &PartialBody,
) -> Result<Vec<EvaluationBody>, ApiError> {
    let active = api.gateway.active();
    let mut questions = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        // The request itself took one; a batch is not a way around the limit.
        if number > 0 {
            api.check_rate(caller)?;
        }
        let question = item.complete(common, &format!(" in `evaluations[{number}]`"))?;
        Question::read(&active, caller, &question)?;
        questions.push(question);
    }
    Ok(questions)
}

async fn decide_all(
    api: &Api,
    caller: &Caller,
    questions: &[EvaluationBody],
    semantic: Semantic,
) -> EvaluationsAnswer {
    let mut evaluations = Vec::with_capacity(questions.len());
    for question in questions {
        let answer = decide(api, caller, question)
            .await
            .unwrap_or_else(|error| undecided(&error));
        let last = match semantic {
            Semantic::ExecuteAll => false,
            Semantic::DenyOnFirstDeny => !answer.decision,
            Semantic::PermitOnFirstPermit => answer.decision,
        };
        evaluations.push(answer);
        if last {
            break;
        }
    }
    EvaluationsAnswer { evaluations }
}

fn undecided(error: &ApiError) -> EvaluationAnswer {
    let problem = error.problem();
    let mut answer = no(None, &problem.kind, problem.title.clone());
    answer.context.error = Some(AnswerError {
        status: problem.status,
        message: problem.title.clone(),
    });
    answer
}
