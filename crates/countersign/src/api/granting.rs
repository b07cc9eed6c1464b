//! Grants: what is offered, what was given, in words and as Cedar, and ending them.
//!
//! In scope: showing them to whoever may see the request they were given with.
//! Out of scope: giving one, which approvers do with their votes; what one covers (core).
//! Invariant: what is shown is made of the stored request and its terms; nothing here decides.

use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{
    action::Effect,
    approval::grant::{Grant, GrantTerms},
    id::RequestId,
    lifecycle::{self, Event},
    request::{Case, Phase, Request},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_policy::Snapshot;
use serde_json::Value;

use super::{
    Api,
    authzen::label_of,
    detail::line_of,
    problem::ApiError,
    requests::{act, request_id},
    types::{
        GrantLine, GrantList, GrantOffered, GrantPlace, GrantedRequest, RequestDetail, RunsUnder,
    },
};
use crate::{
    active::Active, admin::may_audit, engine::EngineError, identity::Caller, names::Names,
};

/// What approvers may grant beside a request that waits.
pub(crate) fn offers(case: &Case) -> Option<GrantOffered> {
    let waits = matches!(case.phase, Phase::Held { .. }) && case.granted.is_none();
    let offer = case.request.grants.as_ref().filter(|_| waits)?;
    let place = |(place, name): (&String, &String)| GrantPlace {
        place: place.clone(),
        name: name.clone(),
        value: value_at(&case.request, place),
    };
    Some(GrantOffered {
        max: offer.max,
        uses: offer.uses,
        places: offer.places.iter().map(place).collect(),
    })
}

fn value_at(request: &Request, place: &str) -> String {
    match request.action.arguments.pointer(place) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// What a request calls the places that a grant leaves open.
fn open_names(request: &Request, terms: &GrantTerms) -> Vec<String> {
    let offer = request.grants.as_ref();
    let name = |place: &String| {
        let known = offer.and_then(|offer| offer.places.get(place));
        known.unwrap_or(place).clone()
    };
    terms.open.iter().map(name).collect()
}

/// What a grant lets run, in words.
pub(crate) fn words(case: &Case, terms: &GrantTerms) -> String {
    let request = &case.request;
    let what = match open_names(request, terms).as_slice() {
        [] => "exactly this action".to_owned(),
        names => format!("this action with any {}", names.join(", any ")),
    };
    let who = request.chain.members().map(|member| member.id.to_string());
    let who = who.collect::<Vec<_>>().join(" for ");
    format!(
        "{who}: {what}, {} times in all within {}",
        terms.uses, terms.time
    )
}

/// A grant as a Cedar policy that any Cedar engine reads. It decides nothing here: each use is decided by
/// the policies as they are then.
pub(crate) fn cedar(case: &Case, grant: &Grant, snapshot: &Snapshot) -> String {
    let request = &case.request;
    let effects = request.effects.iter().enumerate();
    let policies = effects.map(|(number, effect)| {
        let id = format!("@id(\"grant-{}-{number}\")", request.id);
        format!("{id}\n{}", policy(request, grant, effect, snapshot))
    });
    let policies: Vec<_> = policies.collect();
    format!(
        "// In all that is not named here exactly as request {} asked, {} times in all.\n{}",
        request.id,
        grant.terms.uses,
        policies.join("\n")
    )
}

fn policy(request: &Request, grant: &Grant, effect: &Effect, snapshot: &Snapshot) -> String {
    let text = |text: &str| format!("\"{}\"", text.escape_debug());
    let requester = &request.chain.requester.id;
    let kind = match requester {
        SubjectId::Person(_) => "Person",
        SubjectId::Agent(_) => "Agent",
        SubjectId::Workload(_) => "Workload",
    };
    let resource = &effect.resource;
    let resource = match grant.terms.open.is_empty() {
        true => format!("resource == {}::{}", resource.kind, text(&resource.id)),
        false => format!(
            "resource is {} in Target::{}",
            resource.kind,
            text(resource.target.as_str())
        ),
    };
    let open = open_names(request, &grant.terms);
    let is_open = |name: &str| {
        let property = label_of(name);
        let says = |label: &String| *label == property || label.split(", ").any(|one| one == name);
        open.iter().any(says)
    };
    let fixed = request
        .captures
        .iter()
        .filter(|(name, _)| snapshot.declares(&effect.action, name) && !is_open(name));
    let fixed = fixed.filter_map(|(name, value)| {
        let value = match value {
            Value::String(value) => text(value),
            Value::Number(number) if number.is_i64() => number.to_string(),
            _ => return None,
        };
        let name = text(name);
        Some(format!(
            " &&\n  context.arguments has {name} && context.arguments[{name}] == {value}"
        ))
    });
    format!(
        "permit (\n  principal == {kind}::{},\n  action == Action::{},\n  {resource}\n) when {{\n  \
         context.gate == {} && context.operation == {} &&\n  context.now < datetime({}){}\n}};",
        text(requester.name()),
        text(effect.action.as_str()),
        text(&request.action.gate),
        text(&request.action.operation),
        text(&grant.until.to_string()),
        fixed.collect::<String>(),
    )
}

/// The grant that was given with a request.
pub(crate) fn line(
    case: &Case,
    now: Timestamp,
    names: Names,
    snapshot: &Snapshot,
) -> Option<GrantLine> {
    let grant = case.grant.as_ref()?;
    Some(GrantLine {
        words: words(case, &grant.terms),
        cedar: cedar(case, grant, snapshot),
        until: grant.until,
        uses: grant.terms.uses,
        used: grant.used,
        live: grant.is_live(now),
        ended_by: grant.ended.as_ref().map(|end| names.subject(&end.by)),
    })
}

/// The grant that a request runs under.
pub(crate) fn runs_under(case: &Case, names: Names) -> Option<RunsUnder> {
    let granted = case.granted.as_ref()?;
    let voters = granted.votes.iter().map(|vote| names.person(&vote.voter));
    Some(RunsUnder {
        request: granted.request.clone(),
        until: granted.until,
        voters: voters.collect(),
    })
}

/// Whether this caller may end the grant that was given with a request.
pub(crate) fn can_end(case: &Case, active: &Active, now: Timestamp, caller: &Caller) -> bool {
    let live = case.grant.as_ref().is_some_and(|grant| grant.is_live(now));
    let may = || lifecycle::may_end(case, active.world(), now, &caller.subject.id);
    live && (may() || may_audit(active, caller, now))
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<GrantList>, ApiError> {
    live(&api, &caller)
        .await
        .map(|grants| Json(GrantList { grants }))
}

/// The grants that can be used, as far as the caller may see their requests.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn live(api: &Api, caller: &Caller) -> Result<Vec<GrantedRequest>, ApiError> {
    let gateway = &api.gateway;
    let (active, now, names) = (gateway.active(), gateway.clock.now(), Names::to(caller));
    let mut grants = Vec::new();
    let granting = gateway.store.granting(None, now).await;
    for id in granting.map_err(EngineError::from)? {
        let case = gateway.sealed_case(&id).await.map_err(EngineError::from)?;
        let Some(case) = case.filter(|case| gateway.may_see(caller, case)) else {
            continue;
        };
        let Some(grant) = line(&case, now, names, &active.snapshot).filter(|grant| grant.live)
        else {
            continue;
        };
        grants.push(GrantedRequest {
            can_end: can_end(&case, &active, now, caller),
            request: line_of(&case),
            grant,
        });
    }
    Ok(grants)
}

/// Ends the grant that was given with a request.
///
/// # Errors
/// There is none that can be used, or the caller may not end it.
pub(crate) async fn end(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
) -> Result<RequestDetail, ApiError> {
    api.gateway.case_of(caller, id).await?;
    let by = caller.subject.id.clone();
    let oversees = may_audit(&api.gateway.active(), caller, api.gateway.clock.now());
    act(api, caller, id, Event::EndGrant { by, oversees }).await
}

pub(super) async fn end_grant(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RequestDetail>, ApiError> {
    end(&api, &caller, &request_id(&id)?).await.map(Json)
}
