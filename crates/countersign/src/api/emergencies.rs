//! Emergencies: lifting one rule with a passkey, reviewing that somebody did, the list of both.
//!
//! In scope: the acts of people, and what of them a page or a list says.
//! Out of scope: who may lift and review what (core); what a passkey signs ([`signing`]).
//! Invariant: a lift comes with a passkey's signature that says what it lifts, made in a session; a
//! review from a session. Tokens, agents and accounts in a chat do neither.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use countersign_core::{
    approval::{rule::Assurance, vote::Verdict},
    id::{PersonId, RequestId},
    lifecycle::{self, Ballot, Event, Refusal, World},
    request::{Case, Lifted},
};
use countersign_store::{CaseFilter, ReviewFilter};
use serde::Deserialize;

use super::{
    Api, StrictJson,
    deciding::from_requesters_side,
    detail::line_of,
    problem::ApiError,
    requests::{act, check_act, check_side, request_id, summaries, voter},
    signing,
    types::{
        EmergencyBody, EmergencyLine, EmergencyList, LiftLine, Liftable, RequestDetail, ReviewBody,
        ReviewLine,
    },
};
use crate::{
    active::Active,
    engine::credential,
    gateway::Gateway,
    identity::{Caller, lineage_of},
    names::Names,
    secrets,
};

/// How reviews stand, as the interface says it.
const STATES: [&str; 3] = ["due", "overdue", "reviewed"];
/// Lines a page has when nobody says.
const PAGE: u32 = 50;
/// The most lines of a page.
const MAX_PAGE: u32 = 200;

/// Lifts a rule in an emergency.
///
/// # Errors
/// Why it can't be lifted; recorded as a refused attempt.
pub async fn lift(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: EmergencyBody,
) -> Result<RequestDetail, ApiError> {
    let case = api.gateway.case_of(caller, id).await?;
    let person = in_a_session(api, caller, id).await?;
    let digest = check_act(api, caller, id, (&body.digest, &body.act)).await?;
    check_side(api, caller, &case).await?;
    let reason = signing::written(&api.gateway.active(), Some(body.reason));
    let said = signing::Said {
        grant: None,
        verdict: Verdict::Approve,
        reason: reason.as_deref(),
        lifts: Some(&body.rule),
    };
    let (signature, credential) =
        signing::signature(api, caller, &case, (said, &body.passkey)).await?;
    let ballot = Ballot {
        grant: None,
        voter: person.clone(),
        credential,
        verdict: Verdict::Approve,
        reason,
        digest,
        typed_digest: body.typed_digest,
        signature: Some(Box::new(signature)),
    };
    let rule = body.rule;
    act(api, caller, id, Event::BreakGlass { rule, ballot }).await
}

/// Reviews the emergency use of a rule.
///
/// # Errors
/// Why the caller can't; recorded as a refused attempt.
pub async fn review(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: ReviewBody,
) -> Result<RequestDetail, ApiError> {
    let case = api.gateway.case_of(caller, id).await?;
    let by = in_a_session(api, caller, id).await?.clone();
    let digest = check_act(api, caller, id, (&body.digest, &body.act)).await?;
    if digest != case.request.digest {
        return Err(api.refused(caller, id, Refusal::OtherAction.into()).await);
    }
    let active = api.gateway.active();
    if let Some(refusal) = from_lifters(&active, caller, &case) {
        return Err(api.refused(caller, id, refusal.into()).await);
    }
    let event = Event::Review {
        rule: body.rule,
        by,
        credential: credential(&caller.credential, Assurance::Session),
        note: secrets::without(active.bundle.masker(), body.note),
    };
    act(api, caller, id, event).await
}

/// The caller as a person in a session.
async fn in_a_session<'a>(
    api: &Api,
    caller: &'a Caller,
    id: &RequestId,
) -> Result<&'a PersonId, ApiError> {
    let (person, assurance) = voter(api, caller, id).await?;
    if assurance >= Assurance::Session {
        return Ok(person);
    }
    let (needed, given) = (Assurance::Session, assurance);
    let refusal = Refusal::AssuranceTooLow { needed, given };
    Err(api.refused(caller, id, refusal.into()).await)
}

/// A session in which a lifter or the requester's side had a hand reviews for them.
fn from_lifters(active: &Active, caller: &Caller, case: &Case) -> Option<Refusal> {
    let involved = lifecycle::involved(case, active.world());
    let person = caller.person()?;
    let lineage = lineage_of(&caller.credential);
    let issuer = lineage.intersection(&involved).next();
    let issuer = issuer.filter(|_| !involved.contains(person))?;
    Some(Refusal::CredentialFromRequester(issuer.clone()))
}

/// The rules of a case that the caller can lift now with a passkey that signs here.
#[must_use]
pub fn liftable(gateway: &Gateway, caller: &Caller, case: &Case) -> Vec<Liftable> {
    let active = gateway.active();
    let in_session = caller.assurance() >= Some(Assurance::Session);
    let Some(person) = caller.person().filter(|_| in_session) else {
        return Vec::new();
    };
    if from_requesters_side(&active, caller, case).is_some() {
        return Vec::new();
    }
    let due = gateway.engine.emergencies().due_reviews();
    let world = World {
        due_reviews: Some(&due),
        ..active.world()
    };
    let rules = lifecycle::liftable(case, world, gateway.clock.now(), person);
    let each = rules.into_iter().map(|(rule, review_by)| Liftable {
        rule: rule.to_string(),
        review_by,
    });
    each.collect()
}

/// The rules whose emergency use the caller may review.
#[must_use]
pub fn reviewable(gateway: &Gateway, caller: &Caller, case: &Case) -> Vec<String> {
    let active = gateway.active();
    let in_session = caller.assurance() >= Some(Assurance::Session);
    let Some(person) = caller.person().filter(|_| in_session) else {
        return Vec::new();
    };
    if from_lifters(&active, caller, case).is_some() {
        return Vec::new();
    }
    let rules = lifecycle::reviewable(case, active.world(), person);
    rules.iter().map(ToString::to_string).collect()
}

/// What was lifted of a case, as a reader may hear it.
#[must_use]
pub fn lifted(gateway: &Gateway, case: &Case, names: Names) -> Vec<LiftLine> {
    let now = gateway.clock.now();
    let line = |lift: &Lifted| LiftLine {
        rule: lift.rule.to_string(),
        by: names.person(lift.by()),
        reason: lift.reason().to_owned(),
        at: lift.vote.at,
        review_by: lift.review_by,
        review: match (&lift.reviewed, lift.is_overdue(now)) {
            (Some(_), _) => "reviewed",
            (None, true) => "overdue",
            (None, false) => "due",
        }
        .into(),
        reviewed: lift.reviewed.as_ref().map(|review| ReviewLine {
            by: names.person(&review.by),
            at: review.at,
            note: review.note.clone(),
        }),
    };
    case.lifted.iter().map(line).collect()
}

/// What narrows the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyQuery {
    /// `due`, `overdue` or `reviewed`.
    #[serde(default)]
    pub state: Option<String>,
    /// The last request of the page before.
    #[serde(default)]
    pub after: Option<RequestId>,
    /// How many.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A page of emergencies that the caller may see.
///
/// # Errors
/// The filter can't be meant, or the store can't be read.
pub async fn list(
    api: &Api,
    caller: &Caller,
    query: EmergencyQuery,
) -> Result<EmergencyList, ApiError> {
    let gateway = &api.gateway;
    let now = gateway.clock.now();
    let state = match query.state.as_deref() {
        None | Some("") => ReviewFilter::Any,
        Some("due") => ReviewFilter::Due(now),
        Some("overdue") => ReviewFilter::Overdue(now),
        Some("reviewed") => ReviewFilter::Reviewed,
        Some(other) => {
            let wrong = ApiError::invalid(format!("`state` can't be `{other}`"));
            return Err(wrong.with_detail(format!("use one of {}", STATES.join(", "))));
        }
    };
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let wrong = ApiError::invalid(format!("`limit` can't be `{limit}`"));
        return Err(wrong.with_detail(format!("use 1 to {MAX_PAGE}")));
    }
    let filter = CaseFilter {
        emergency: Some(state),
        after: query.after,
        limit,
        ..CaseFilter::default()
    };
    let (ids, next) = summaries(api, caller, filter).await?;
    let mut items = Vec::new();
    for id in ids {
        // What was forgotten or edited in between is left out.
        if let Ok(case) = gateway.case_of(caller, &id).await {
            items.push(emergency(gateway, caller, &case));
        }
    }
    Ok(EmergencyList { items, next })
}

fn emergency(gateway: &Gateway, caller: &Caller, case: &Case) -> EmergencyLine {
    EmergencyLine {
        line: line_of(case),
        url: gateway.request_url(&case.request.id),
        lifted: lifted(gateway, case, Names::to(caller)),
        can_review: reviewable(gateway, caller, case),
    }
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    query: Result<Query<EmergencyQuery>, QueryRejection>,
) -> Result<Json<EmergencyList>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    list(&api, &caller, query).await.map(Json)
}

pub(super) async fn break_glass(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(body): StrictJson<EmergencyBody>,
) -> Result<Json<RequestDetail>, ApiError> {
    lift(&api, &caller, &request_id(&id)?, body).await.map(Json)
}

pub(super) async fn look_at(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(body): StrictJson<ReviewBody>,
) -> Result<Json<RequestDetail>, ApiError> {
    review(&api, &caller, &request_id(&id)?, body)
        .await
        .map(Json)
}
