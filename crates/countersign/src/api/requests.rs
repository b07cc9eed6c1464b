//! Routes around one request: reading, voting, talking.

use super::{
    Api, StrictJson,
    deciding::from_requesters_side,
    detail::{detail, line},
    narrowing::{ListQuery, check_names},
    once,
    problem::ApiError,
    signing,
    types::{AmendBody, RequestDetail, RequestList, SayBody, VoteBody},
    ways::Ways,
};
use crate::{
    admin,
    engine::{EngineError, Input, credential},
    identity::{Caller, account::linked},
    ids, secrets,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::Response,
};
use countersign_core::{
    approval::{grant::GrantTerms, rule::Assurance, vote::Verdict},
    canonical::Hash,
    digest::ActionDigest,
    id::{MessageId, PersonId, RequestId},
    lifecycle::{Ballot, Event, Refusal},
    request::{Case, Message, MessageKind},
};
use countersign_store::{CaseFilter, CaseSummary, StoreError};

/// A page of the requests that a caller may see.
///
/// # Errors
/// The store can't be read.
pub async fn visible(
    api: &Api,
    caller: &Caller,
    filter: CaseFilter,
) -> Result<RequestList, ApiError> {
    let (items, next) = page_of(api, caller, filter).await?;
    let items = items.into_iter().map(line).collect();
    Ok(RequestList { items, next })
}

/// The names of such a page.
///
/// # Errors
/// The store can't be read.
pub(super) async fn summaries(
    api: &Api,
    caller: &Caller,
    filter: CaseFilter,
) -> Result<(Vec<RequestId>, Option<RequestId>), ApiError> {
    let (items, next) = page_of(api, caller, filter).await?;
    Ok((items.into_iter().map(|line| line.id).collect(), next))
}

async fn page_of(
    api: &Api,
    caller: &Caller,
    mut filter: CaseFilter,
) -> Result<(Vec<CaseSummary>, Option<RequestId>), ApiError> {
    let gateway = &api.gateway;
    let sees_all = admin::may_audit(&gateway.active(), caller, gateway.clock.now());
    let wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut items: Vec<CaseSummary> = Vec::new();
    // What the caller may not see is left out after reading, so several pages may be read.
    for _ in 0..20 {
        let page = gateway
            .store
            .list(&filter)
            .await
            .map_err(|error| match error {
                StoreError::Refused(why) => ApiError::invalid(why),
                other => EngineError::from(other).into(),
            })?;
        for summary in page.items {
            if items.len() == wanted {
                let next = items.last().map(|line| line.id.clone());
                return Ok((items, next));
            }
            if sees_all || gateway.case_of(caller, &summary.id).await.is_ok() {
                items.push(summary);
            }
        }
        let Some(next) = page.next else {
            return Ok((items, None));
        };
        filter.after = Some(next);
    }
    Ok((items, filter.after))
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<RequestList>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let active = api.gateway.active();
    let mut filter = query.filter(&active.directory)?;
    if query.mine == Some(true) {
        match caller.person() {
            Some(person) => filter.side_of = Some(person.clone()),
            None => filter.requester = Some(caller.credential.holder.clone()),
        }
    }
    let named = filter.clone();
    let found = visible(&api, &caller, filter).await?;
    if found.items.is_empty() && named.after.is_none() {
        check_names(&named, &active)?;
    }
    Ok(Json(found))
}

/// A request's name from an address.
///
/// # Errors
/// 404: a text that is no name names nothing.
pub fn request_id(text: &str) -> Result<RequestId, ApiError> {
    text.parse().map_err(|_| {
        ApiError::new(
            axum::http::StatusCode::NOT_FOUND,
            "no_such_request",
            "there is no such request",
        )
    })
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RequestDetail>, ApiError> {
    let id = request_id(&id)?;
    let case = api.gateway.case_of(&caller, &id).await?;
    api.record_opened(&caller, &id).await?;
    let ways = Ways::of(&api.gateway, &case).await?;
    Ok(Json(detail(&api.gateway, &caller, &case, &ways)))
}

/// Casts a vote of a session.
///
/// # Errors
/// Why it does not count; recorded as a refused attempt.
pub async fn cast(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: VoteBody,
) -> Result<RequestDetail, ApiError> {
    let case = api.gateway.case_of(caller, id).await?;
    let (person, assurance) = voter(api, caller, id).await?;
    let digest = check_act(api, caller, id, (&body.digest, &body.act)).await?;
    check_side(api, caller, &case).await?;
    let reason = signing::written(&api.gateway.active(), body.reason);
    let grant = body.grant.map(GrantTerms::from);
    let (signature, credential) = match &body.passkey {
        None => (None, credential(&caller.credential, assurance)),
        Some(signed) => {
            let said = signing::Said {
                verdict: body.verdict,
                reason: reason.as_deref(),
                grant: grant.as_ref(),
                lifts: None,
            };
            let made = signing::signature(api, caller, &case, (said, signed)).await?;
            (Some(Box::new(made.0)), made.1)
        }
    };
    let ballot = Ballot {
        voter: person.clone(),
        credential,
        verdict: body.verdict,
        reason,
        digest,
        typed_digest: body.typed_digest,
        grant,
        signature,
    };
    act(api, caller, id, Event::Vote(ballot)).await
}

/// What somebody clicked in a chat. The chat proves who and when; what was shown is told apart by the
/// first digits of its digest.
#[derive(Debug)]
pub(crate) struct Clicked<'a> {
    /// For or against.
    pub(crate) verdict: Verdict,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The first digits of the digest of what was shown.
    pub(crate) shown: &'a str,
}

/// The fewest digits that tell what was shown.
const SHOWN_DIGITS: usize = 16;

/// Casts a vote of a linked account.
///
/// # Errors
/// Why it does not count; recorded as a refused attempt.
pub(crate) async fn click(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    clicked: Clicked<'_>,
) -> Result<RequestDetail, ApiError> {
    let case = api.gateway.case_of(caller, id).await?;
    let (person, assurance) = voter(api, caller, id).await?;
    let digest = case.request.digest;
    let shown = clicked.shown;
    if shown.len() < SHOWN_DIGITS || !digest.to_string().starts_with(shown) {
        return Err(api.refused(caller, id, Refusal::OtherAction.into()).await);
    }
    check_side(api, caller, &case).await?;
    let vouched = linked(&caller.credential).is_some_and(|known| known.countersigned);
    if clicked.verdict == Verdict::Approve && !vouched {
        return Err(linked_alone(api, caller, id).await);
    }
    let ballot = Ballot {
        voter: person.clone(),
        credential: credential(&caller.credential, assurance),
        verdict: clicked.verdict,
        reason: signing::written(&api.gateway.active(), clicked.reason),
        digest,
        typed_digest: None,
        grant: None,
        signature: None,
    };
    act(api, caller, id, Event::Vote(ballot)).await
}

/// An account whose holder alone stands behind it.
async fn linked_alone(api: &Api, caller: &Caller, id: &RequestId) -> ApiError {
    api.record_refused(caller, id, "linked_alone").await;
    let title = "this account approves nothing: nobody countersigned that it is yours";
    let refused = ApiError::new(axum::http::StatusCode::FORBIDDEN, "linked_alone", title);
    refused.with_detail("Unlink it, and link it again under a rule.")
}

/// The caller as a voter.
pub(super) async fn voter<'a>(
    api: &Api,
    caller: &'a Caller,
    id: &RequestId,
) -> Result<(&'a PersonId, Assurance), ApiError> {
    if let (Some(person), Some(assurance)) = (caller.person(), caller.assurance()) {
        return Ok((person, assurance));
    }
    if caller.through.is_some() {
        return Err(linked_alone(api, caller, id).await);
    }
    api.record_refused(caller, id, "not_a_session").await;
    Err(ApiError::new(
        axum::http::StatusCode::FORBIDDEN,
        "not_a_session",
        "only people vote, by a fresh act in a signed-in session; tokens and agents never do",
    )
    .with_detail("Open the request's page and decide there.")
    .about(id))
}

/// Refuses whoever has what they sign in with from the requester's side.
pub(super) async fn check_side(api: &Api, caller: &Caller, case: &Case) -> Result<(), ApiError> {
    match from_requesters_side(&api.gateway.active(), caller, case) {
        Some(refusal) => Err(api.refused(caller, &case.request.id, refusal.into()).await),
        None => Ok(()),
    }
}

/// Checks the proof that this session was shown this action a short while ago, and gives the
/// action's digest.
///
/// # Errors
/// It is not that proof, or too old; recorded as a refused attempt.
pub async fn check_act(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    (digest, act): (&str, &str),
) -> Result<ActionDigest, ApiError> {
    let digest: Hash = digest
        .parse()
        .map_err(|_| ApiError::invalid("`digest` is not 64 hexadecimal digits"))?;
    let digest = ActionDigest(digest);
    let (acts, now) = (api.gateway.identity.acts(), api.gateway.clock.now());
    match acts.check(act, &caller.credential.id, id, &digest, now) {
        Ok(()) => Ok(digest),
        Err(stale) => {
            api.record_refused(caller, id, "stale_act").await;
            let status = axum::http::StatusCode::CONFLICT;
            Err(ApiError::new(status, "stale_act", stale.to_string()).about(id))
        }
    }
}

/// Does something to a request and shows it afterwards.
pub(super) async fn act(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    event: Event,
) -> Result<RequestDetail, ApiError> {
    match api
        .gateway
        .engine
        .step(id.clone(), Input::Event(event))
        .await
    {
        Ok(stepped) => {
            // It is done, whatever can be read now.
            let ways = Ways::of(&api.gateway, &stepped.case)
                .await
                .unwrap_or_default();
            Ok(detail(&api.gateway, caller, &stepped.case, &ways))
        }
        Err(error) => Err(api.refused(caller, id, error).await),
    }
}

pub(super) async fn vote(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(body): StrictJson<VoteBody>,
) -> Result<Json<RequestDetail>, ApiError> {
    cast(&api, &caller, &request_id(&id)?, body).await.map(Json)
}

/// Takes an approval back.
///
/// # Errors
/// There is none, or the caller has no session.
pub async fn take_back(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
) -> Result<RequestDetail, ApiError> {
    api.gateway.case_of(caller, id).await?;
    let Some(voter) = caller.person().filter(|_| caller.assurance().is_some()) else {
        return Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "not_a_session",
            "only a signed-in session takes a vote back",
        ));
    };
    act(
        api,
        caller,
        id,
        Event::Withdraw {
            voter: voter.clone(),
        },
    )
    .await
}

pub(super) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RequestDetail>, ApiError> {
    take_back(&api, &caller, &request_id(&id)?).await.map(Json)
}

pub(super) fn new_message_id(api: &Api) -> Result<MessageId, ApiError> {
    Ok(MessageId::from_bits(ids::bits(api.gateway.clock.now())?))
}

/// Says something about a request.
///
/// # Errors
/// The caller does not take part, or the text is too long.
pub async fn say(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    kind: MessageKind,
    text: String,
) -> Result<RequestDetail, ApiError> {
    api.gateway.case_of(caller, id).await?;
    if text.trim().is_empty() {
        return Err(ApiError::invalid("the text is empty"));
    }
    let message = Message {
        id: new_message_id(api)?,
        by: caller.subject.id.clone(),
        at: api.gateway.clock.now(),
        kind,
        text: secrets::without(api.gateway.active().bundle.masker(), text),
    };
    act(api, caller, id, Event::Say(message)).await
}

async fn say_once(
    api: Api,
    caller: Caller,
    id: String,
    headers: HeaderMap,
    kind: MessageKind,
    body: SayBody,
) -> Result<Response, ApiError> {
    let id = request_id(&id)?;
    let work = say(&api, &caller, &id, kind, body.text.clone());
    Box::pin(once(&api, &caller, &headers, &(&id, &body), work)).await
}

pub(super) async fn comment(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    StrictJson(body): StrictJson<SayBody>,
) -> Result<Response, ApiError> {
    say_once(api, caller, id, headers, MessageKind::Comment, body).await
}

pub(super) async fn question(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    StrictJson(body): StrictJson<SayBody>,
) -> Result<Response, ApiError> {
    say_once(api, caller, id, headers, MessageKind::Question, body).await
}

pub(super) async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    StrictJson(body): StrictJson<SayBody>,
) -> Result<Response, ApiError> {
    let Some(to) = body.to.clone() else {
        return Err(ApiError::invalid("an answer needs `to`, the question's id"));
    };
    say_once(api, caller, id, headers, MessageKind::Answer { to }, body).await
}

pub(super) async fn amend(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    StrictJson(body): StrictJson<AmendBody>,
) -> Result<Response, ApiError> {
    let id = request_id(&id)?;
    let work = super::amend::propose_instead(&api, &caller, &id, body.clone());
    Box::pin(once(&api, &caller, &headers, &(&id, &body), work)).await
}

/// Takes a request back.
///
/// # Errors
/// The caller is not on the requester's side, or it is over.
pub async fn take_request_back(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
) -> Result<RequestDetail, ApiError> {
    api.gateway.case_of(caller, id).await?;
    act(
        api,
        caller,
        id,
        Event::Cancel {
            by: caller.subject.id.clone(),
        },
    )
    .await
}

pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RequestDetail>, ApiError> {
    take_request_back(&api, &caller, &request_id(&id)?)
        .await
        .map(Json)
}
