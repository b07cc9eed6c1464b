//! Signing in with a single-use link, and signing out.
//!
//! In scope: the page of a link, using it up, the session's cookie.
//! Out of scope: making links; that is a proposal like any other.
//! Invariant: opening a link never uses it up, so that previews and scanners don't; only sending
//! its form does, and only once. A link that another site sends is refused by
//! [`guard`](super::guard), so nobody is signed in as somebody else unawares.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::Response,
};
use countersign_console::{
    access::{SignInPage, SignedOutPage},
    shell::Link,
};
use countersign_store::CredentialKind;

use super::{
    answer,
    fields::Fields,
    session::{Left, Session, cookie, signed_out, signed_out_page},
    viewer,
};
use crate::{
    api::{Api, auth::record_stranger, problem::ApiError},
    identity::{IdentityError, SESSION},
};

/// The page for whoever wants to sign in and has no link.
pub(super) async fn ask(State(api): State<Api>) -> Response {
    signed_out(StatusCode::OK, &api, Left::Never, "")
}

pub(super) async fn show(State(api): State<Api>, Path(secret): Path<String>) -> Response {
    let link = match api
        .gateway
        .identity
        .caller(&secret, CredentialKind::Link)
        .await
    {
        Ok(link) => link,
        Err(error) => return no_link(&api, error).await,
    };
    let now = api.gateway.clock.now();
    let shown = SignInPage {
        shell: viewer::strangers_shell(&api),
        person: link.subject.id.name().into(),
        action: format!("/sign-in/{secret}"),
        token: secret,
        issued_by: link
            .credential
            .issued_by
            .map(String::from)
            .unwrap_or_default(),
        left: Some(viewer::deadline(link.credential.expires, now)),
    };
    answer::page(StatusCode::OK, &shown)
}

pub(super) async fn take(State(api): State<Api>, Path(secret): Path<String>) -> Response {
    let used = api
        .gateway
        .identity
        .use_link(&secret, CredentialKind::Session, SESSION)
        .await;
    let (session, caller) = match used {
        Ok(used) => used,
        Err(error) => return no_link(&api, error).await,
    };
    let lasts = caller
        .credential
        .expires
        .millis_since(api.gateway.clock.now())
        / 1_000;
    let mut response = answer::see("/");
    if let Some(cookie) = cookie(&api, session.text(), lasts) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn no_link(api: &Api, error: IdentityError) -> Response {
    record_stranger(api, &error).await;
    let error = match error {
        IdentityError::Missing | IdentityError::Invalid | IdentityError::Forged => ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "this sign-in link can't be used: it was used before, has expired, or never was one",
        )
        .with_detail(
            "Ask an administrator for a new one; they make it with `countersign people link NAME`.",
        ),
        other => other.into(),
    };
    answer::stranger_error(api, &error)
}

pub(super) async fn leave(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    match end(&api, &session, fields).await {
        Ok(()) => {
            let shown = SignedOutPage {
                elsewhere: elsewhere(&api, &session),
                ..signed_out_page(&api, Left::SignedOut, "")
            };
            let mut response = answer::page(StatusCode::OK, &shown);
            if let Some(cookie) = cookie(&api, "", 0) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

/// Where whoever signed in with a provider signs out of it.
fn elsewhere(api: &Api, session: &Session) -> Option<Link> {
    let caller = &session.caller;
    let with = caller.account().map(|account| account.provider);
    let with = with.or_else(|| Some(caller.through.clone()?.provider))?;
    let active = api.gateway.active();
    let provider = active.bundle.providers().get(&with)?;
    let providers = api.gateway.identity.providers();
    let href = providers.sign_out(&with, provider)?;
    Some(Link {
        href,
        text: format!("sign out of {}", provider.title),
    })
}

async fn end(
    api: &Api,
    session: &Session,
    fields: Result<Fields, ApiError>,
) -> Result<(), ApiError> {
    session.check_form(api, &fields?)?;
    Ok(api
        .gateway
        .identity
        .revoke(&session.caller.credential.id)
        .await?)
}
