//! `POST /v1/outcomes`: the caller says how its permitted action ended.
//!
//! Invariant: only the requester reports, once. Nobody checks what it says, and the record says
//! that it was reported rather than seen.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use countersign_core::request::{MAX_TEXT_BYTES, Outcome};
use serde_json::json;

use super::{
    answer::unhurried,
    types::{OutcomeAnswer, OutcomeBody, ReportedStatus},
};
use crate::{
    api::{Api, StrictJson, once, problem::ApiError},
    gates::advisory::outstanding::{Awaited, ended, record},
    identity::Caller,
    secrets,
};

pub(super) async fn report(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(body): StrictJson<OutcomeBody>,
) -> Result<Response, ApiError> {
    unhurried(async move {
        let work = take_report(&api, &caller, &body);
        once(&api, &caller, &headers, &("outcome", &body), work).await
    })
    .await
}

async fn take_report(
    api: &Api,
    caller: &Caller,
    body: &OutcomeBody,
) -> Result<OutcomeAnswer, ApiError> {
    if body
        .detail
        .as_ref()
        .is_some_and(|detail| detail.len() > MAX_TEXT_BYTES)
    {
        return Err(ApiError::invalid(format!(
            "`detail` is longer than {MAX_TEXT_BYTES} bytes"
        )));
    }
    if body.permit.is_none() && body.request.is_none() {
        return Err(ApiError::invalid("`permit` or `request` is missing"));
    }
    let same = |given: &Option<String>, id: &str| given.as_deref().is_none_or(|text| text == id);
    let matches = |one: &Awaited| {
        same(&body.permit, one.permit.as_str()) && same(&body.request, one.of.request.as_str())
    };
    let awaited = api
        .outstanding
        .take(&caller.subject.id, matches)
        .ok_or_else(not_awaited)?;
    let outcome = match body.status {
        ReportedStatus::Succeeded => Outcome::Succeeded,
        ReportedStatus::Failed => Outcome::Failed,
    };
    let active = api.gateway.active();
    let detail = body.detail.clone();
    let detail = detail.map(|text| secrets::without(active.bundle.masker(), text));
    let result = json!({ "reported_by": caller.subject.id.to_string(), "detail": detail });
    let mut how = ended(&awaited, outcome, result);
    how.exit = body.exit;
    let gateway = &api.gateway;
    if let Err(error) = record(&gateway.admission, &gateway.engine, &awaited, how).await {
        api.outstanding.put_back(awaited);
        return Err(error.into());
    }
    Ok(OutcomeAnswer {
        request: awaited.of.request,
        permit: awaited.permit,
        status: body.status,
    })
}

/// One answer for every reason, so that nobody learns of permits that are not theirs.
fn not_awaited() -> ApiError {
    let title = "no outcome of yours is awaited by that name";
    ApiError::new(StatusCode::CONFLICT, "not_outstanding", title)
        .with_detail("It was reported already, its time has passed, or you were not permitted it.")
}
