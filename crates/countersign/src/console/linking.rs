//! Linking an account with a provider that only links: leaving for it from the page of accounts, and ending
//! with what it said.
//!
//! In scope: the two addresses, and that both ends are of one session.
//! Out of scope: the protocol (`identity::provider`); whether it may be linked (`admin`).
//! Invariant: what a provider said links nothing but in the very session that left for it with a form of
//! its own, minutes ago, once. Whatever else a browser brings back, or another session brings, links
//! nothing and signs nobody in.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use countersign_core::id::ProviderId;
use countersign_policy::Provider;

use super::{
    accounts, answer,
    fields::{Asked, Fields},
    flash::{self, Done},
    proposals,
    provider::{address_of, brought, find, going, keep, not_taken},
    request,
    session::Session,
};
use crate::{
    admin,
    api::{Api, problem::ApiError, types::ProposalAnswer},
    identity::{
        challenge,
        further::LinkedFurther,
        provider::{Purpose, Return},
    },
};

/// Sends the browser to the provider, which has to ask who it is: whoever sits here is who is linked.
pub(super) async fn leave(
    State(api): State<Api>,
    Path(provider): Path<String>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    match try_leave(&api, &session, &provider, fields).await {
        Ok(response) => response,
        Err(error) => accounts::refused(&api, &session, &error).await,
    }
}

async fn try_leave(
    api: &Api,
    session: &Session,
    named: &str,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    session.check_form(api, &fields?)?;
    admin::check_direct(&session.caller).map_err(admin::AdminError::from)?;
    let (id, provider) = find_linking(api, named)?;
    let (back, now) = (address_of(api, &id), api.gateway.clock.now());
    let wants = Purpose::Link(&session.caller.credential.id);
    let providers = api.gateway.identity.providers();
    let leaving = providers
        .leave((&id, &provider), (&back, wants, true), now)
        .await;
    let leaving = match leaving {
        Ok(leaving) => leaving,
        Err(error) => return Err(again(not_taken(api, error).await)),
    };
    // A form leads to this site only; the page behind it leads on.
    let title = format!("Going to {}", provider.title);
    let mut response = going(api, &title, &leaving.to);
    keep(api, &leaving.keeps, challenge::FRESH / 1_000, &mut response);
    Ok(response)
}

/// Takes the browser back, from the page that it returned to.
pub(super) async fn finish(
    State(api): State<Api>,
    Path(provider): Path<String>,
    session: Session,
    Asked(asked): Asked,
    headers: HeaderMap,
) -> Response {
    let brought = brought(&api, &headers, &asked);
    let proposed = Box::pin(try_finish(&api, &session, &provider, &brought)).await;
    let mut response = match proposed {
        Ok(answer) => told(&api, &session, &answer).await,
        Err(error) => accounts::refused(&api, &session, &error).await,
    };
    keep(&api, "", 0, &mut response);
    response
}

async fn try_finish(
    api: &Api,
    session: &Session,
    named: &str,
    brought: &Return<'_>,
) -> Result<ProposalAnswer, ApiError> {
    let (id, provider) = find_linking(api, named)?;
    let (back, now) = (address_of(api, &id), api.gateway.clock.now());
    let providers = api.gateway.identity.providers();
    let from = (back.as_str(), &session.caller.credential.id);
    let returned = providers
        .take_to_link((&id, &provider), from, brought, now)
        .await;
    let (account, called) = match returned {
        Ok(returned) => returned,
        Err(error) => return Err(again(not_taken(api, error).await)),
    };
    let linked = LinkedFurther {
        account,
        called,
        countersigned: false,
    };
    Ok(admin::propose_further(&api.gateway, &session.caller, linked).await?)
}

async fn told(api: &Api, session: &Session, answer: &ProposalAnswer) -> Response {
    let (path, about, done) = match answer.state.as_str() {
        "succeeded" => ("/accounts".to_owned(), None, Done::Linked),
        "denied" => return accounts::refused(api, session, &proposals::denied(answer)).await,
        _ => {
            let path = request::path(&answer.request);
            (path, Some(&answer.request), Done::Proposed)
        }
    };
    answer::see(&flash::address(api, session, &path, about, done))
}

/// A provider that links accounts.
fn find_linking(api: &Api, named: &str) -> Result<(ProviderId, Provider), ApiError> {
    let (id, provider) = find(api, named)?;
    match provider.links {
        Some(_) => Ok((id, provider)),
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_provider",
            format!("`{id}` says who people are, and links no accounts"),
        )),
    }
}

/// What to do next, for whoever is signed in already.
fn again(error: ApiError) -> ApiError {
    match error.problem().kind.as_str() {
        "not_admitted" => error.with_detail("Link another account, or ask an administrator."),
        _ => error.with_detail("Link it again, in one window, within five minutes."),
    }
}

/// An address of a form, opened as a page.
pub(super) async fn back() -> Response {
    answer::see("/accounts")
}
