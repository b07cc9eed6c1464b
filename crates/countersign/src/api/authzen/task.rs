//! Asking people: the Access Request and Approval Profile.
//!
//! In scope: submitting a denied question, looking at what became of it, taking it back.
//! Out of scope: deciding, which people do in their sessions, and claiming (see `claim`).
//! Invariant: a submission permits nothing. An identical one attaches to what is there already.
//! Nothing but `approved` is an approval, and an approval is no permission.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use countersign_core::{
    decision::DenyReason,
    id::RequestId,
    request::{Case, Closure, Outcome, Phase},
    time::Timestamp,
};

use super::{
    GATE,
    binding::{Bindings, Unbound},
    metadata::address,
    question::Question,
    types::{Approval, SubmitBody, Task, TaskAnswer, TaskLinks, TaskResult},
};
use crate::{
    api::{
        Api, StrictJson, once,
        problem::ApiError,
        requests::{request_id, take_request_back},
        trace_of,
    },
    engine::{EngineError, Submitted},
    gateway::Gateway,
    identity::Caller,
    names::Names,
};

pub(super) async fn submit(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(mut body): StrictJson<SubmitBody>,
) -> Result<Response, ApiError> {
    body.question.trace = trace_of(&headers);
    check_wishes(&body)?;
    let work = open(&api, &caller, &body);
    let asked = ("access-request", &body);
    let mut response = Box::pin(once(&api, &caller, &headers, &asked, work)).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Refuses what would otherwise be silently left out.
fn check_wishes(body: &SubmitBody) -> Result<(), ApiError> {
    let refuse = |kind: &str, title: &str, detail: &str| {
        Err(ApiError::new(StatusCode::BAD_REQUEST, kind, title).with_detail(detail))
    };
    if body.callback.is_some() {
        return refuse(
            "callback_unavailable",
            "callbacks are not available yet",
            "Leave `callback` out and read the task's `status_endpoint`.",
        );
    }
    if body.items.is_some() {
        return refuse(
            "items_unavailable",
            "requests for several items are not available yet",
            "Submit one request for each question.",
        );
    }
    if body
        .requested_access
        .as_ref()
        .is_some_and(|wanted| wanted.emergency)
    {
        return refuse(
            "emergency_unavailable",
            "programs don't break the glass",
            "Ask without `emergency`; a person can lift the rule in their own session.",
        );
    }
    Ok(())
}

async fn open(api: &Api, caller: &Caller, body: &SubmitBody) -> Result<TaskAnswer, ApiError> {
    let gateway = &api.gateway;
    let question = Question::read(&gateway.active(), caller, &body.question)?;
    check_denial(gateway, caller, body, &question)?;
    match gateway.admission.submit(question.asked).await? {
        Submitted::Held(case) | Submitted::Attached(case) => Ok(task(gateway, caller, &case)),
        Submitted::NotNeeded(id) => {
            let title = "policy permits it without anybody; there is nothing to request";
            Err(ApiError::new(StatusCode::CONFLICT, "not_needed", title)
                .with_detail("Evaluate again.")
                .about(&id))
        }
        Submitted::Denied { request, reason } => {
            let kind = match reason {
                DenyReason::RecentlyDenied { .. } => "recently_denied",
                DenyReason::OftenDenied(_) => "often_denied",
                _ => "denied",
            };
            Err(ApiError::new(StatusCode::FORBIDDEN, kind, reason.to_string()).about(&request))
        }
    }
}

/// Whether the submission names a denial, and its binding token was given for this question.
///
/// An evaluation's id alone is a reference and proves nothing. It needs no proof: whether people
/// may be asked is decided anew, for the authenticated caller, whatever was evaluated before.
fn check_denial(
    gateway: &Gateway,
    caller: &Caller,
    body: &SubmitBody,
    question: &Question,
) -> Result<(), ApiError> {
    let invalid = |title: String| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_denial_binding", title)
            .with_detail("Evaluate again and submit the same question with the answer's token.")
    };
    let denial = &body.denial;
    let named = denial
        .evaluation_id
        .as_deref()
        .map(str::parse::<RequestId>)
        .transpose();
    let named = named.map_err(|_| invalid("`denial.evaluation_id` is no evaluation's".into()))?;
    let Some(token) = &denial.binding_token else {
        let missing = "`denial` needs `evaluation_id` or `binding_token`";
        return named.map(|_| ()).ok_or_else(|| invalid(missing.into()));
    };
    let key = question.attach_key(&gateway.keys)?;
    let now = gateway.clock.now();
    let bindings = Bindings::new(&gateway.keys.act);
    let bound = bindings.check(token, key, &caller.subject.id, now);
    let bound = bound.map_err(|unbound: Unbound| invalid(unbound.to_string()))?;
    if named.is_some_and(|named| named != bound) {
        return Err(invalid(
            "`denial` names one evaluation and has the token of another".into(),
        ));
    }
    Ok(())
}

/// A case of this gate that the caller may see.
async fn own_case(api: &Api, caller: &Caller, id: &str) -> Result<Case, ApiError> {
    let id = request_id(id)?;
    let case = api.gateway.case_of(caller, &id).await?;
    if case.request.action.gate == GATE {
        return Ok(case);
    }
    Err(EngineError::NoSuchRequest(id).into())
}

pub(super) async fn status(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TaskAnswer>, ApiError> {
    let case = own_case(&api, &caller, &id).await?;
    Ok(Json(task(&api.gateway, &caller, &case)))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TaskAnswer>, ApiError> {
    let case = own_case(&api, &caller, &id).await?;
    let cancelled = matches!(
        &case.phase,
        Phase::Closed {
            closure: Closure::Cancelled { .. },
            ..
        }
    );
    if !cancelled {
        take_request_back(&api, &caller, &case.request.id).await?;
    }
    let case = own_case(&api, &caller, &id).await?;
    Ok(Json(task(&api.gateway, &caller, &case)))
}

/// What the profile says of a case.
fn task(gateway: &Gateway, caller: &Caller, case: &Case) -> TaskAnswer {
    let id = &case.request.id;
    let status_endpoint = address(gateway, &format!("/access/v1/requests/{id}"));
    let (status, message, approval) = stands(&case.phase, Names::to(caller));
    let approval = approval.map(|(state, until)| Approval {
        id: id.clone(),
        approved_until: until.map(|until| until.to_string()),
        state: state.into(),
    });
    let open = case.phase.is_open();
    TaskAnswer {
        task: Task {
            id: id.clone(),
            status: status.into(),
            expires_at: ends_at(&case.phase).map(|at| at.to_string()),
            message,
            links: TaskLinks {
                review: gateway.request_url(id),
                cancel: open.then(|| format!("{status_endpoint}/cancel")),
            },
            status_endpoint,
        },
        result: approval.map(|approval| TaskResult {
            mode: "reevaluate".into(),
            approval,
        }),
    }
}

/// When a case that nobody touches ends.
fn ends_at(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Held { expires } => Some(*expires),
        Phase::Approved { until } => Some(*until),
        Phase::Running { .. } | Phase::Finished { .. } | Phase::Closed { .. } => None,
    }
}

type Stands = (
    &'static str,
    Option<String>,
    Option<(&'static str, Option<Timestamp>)>,
);

/// Status, why, and the approval with its state. How the action itself went is not the task's.
fn stands(phase: &Phase, names: Names) -> Stands {
    match phase {
        Phase::Held { .. } => ("pending", None, None),
        Phase::Approved { until } => ("approved", None, Some(("active", Some(*until)))),
        Phase::Running { .. } => ("approved", None, Some(("claimed", None))),
        Phase::Finished { outcome, .. } => {
            let how = match outcome {
                Outcome::Succeeded => "the action succeeded",
                Outcome::Failed => "the action failed",
                Outcome::Unknown => "how the action ended is unknown",
            };
            ("approved", Some(how.into()), Some(("consumed", None)))
        }
        Phase::Closed { closure, .. } => {
            let (status, why) = ended(closure, names);
            (status, Some(why), None)
        }
    }
}

fn ended(closure: &Closure, names: Names) -> (&'static str, String) {
    match closure {
        Closure::Denied { by, reason } => {
            let why = reason
                .as_ref()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            ("denied", format!("{} denied it{why}", names.person(by)))
        }
        Closure::PolicyChanged { detail } => (
            "denied",
            format!("current policy no longer allows it: {detail}"),
        ),
        Closure::Amended { by, into } => (
            "denied",
            format!("{} proposes {into} instead", names.person(by)),
        ),
        Closure::Expired => ("expired", "nobody decided in time; ask again".into()),
        Closure::Unclaimed => (
            "expired",
            "the approval lapsed before it was used; ask again".into(),
        ),
        Closure::Cancelled { by } => ("cancelled", format!("{} cancelled it", names.subject(by))),
        Closure::RequesterStopped { who } => (
            "cancelled",
            format!("{} was stopped or disabled", names.subject(who)),
        ),
        Closure::Unreachable { .. } => (
            "failed",
            "nobody is left who could approve it; ask an administrator".into(),
        ),
    }
}
