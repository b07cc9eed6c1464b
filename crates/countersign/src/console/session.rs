//! The signed-in person behind a page.
//!
//! In scope: the session cookie, who it stands for, the page for whoever has none.
//! Out of scope: bearer tokens, which get no pages; issuing sessions ([`sign_in`](super::sign_in)).
//! Invariant: a [`Session`] belongs to a person who is active now. Without one the answer is 401
//! and never a redirection.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use countersign_console::access::{SignInWay, SignedOutPage};
use countersign_core::id::PersonId;
use countersign_store::CredentialKind;

use super::{answer, fields::Fields, viewer};
use crate::{
    api::{
        Api,
        auth::{check_csrf, cookie_name, record_stranger, session_cookie},
        problem::ApiError,
    },
    identity::{Caller, IdentityError, passkey},
};

/// Marks the address of a page that was asked for once more, without another site in between.
const AGAIN: &str = "again=1";

/// A person with a session.
pub(super) struct Session {
    /// The session as a caller.
    pub(super) caller: Caller,
    /// The person.
    pub(super) person: PersonId,
}

impl Session {
    /// Checks that a form came from a page of this session.
    ///
    /// # Errors
    /// 403 when it did not.
    pub(super) fn check_form(&self, api: &Api, fields: &Fields) -> Result<(), ApiError> {
        check_csrf(api, &self.caller, fields.text("csrf"))
    }
}

impl FromRequestParts<Api> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        match of_cookie(parts, api).await {
            Ok(Some(session)) => Ok(session),
            Ok(None) => Err(nobody(parts, api)),
            Err(error) => Err(answer::stranger_error(api, &error)),
        }
    }
}

async fn of_cookie(parts: &Parts, api: &Api) -> Result<Option<Session>, ApiError> {
    let Some(secret) = session_cookie(&api.gateway, &parts.headers) else {
        return Ok(None);
    };
    let caller = match api
        .gateway
        .identity
        .caller(secret, CredentialKind::Session)
        .await
    {
        Ok(caller) => caller,
        Err(error @ (IdentityError::Store(_) | IdentityError::Engine(_))) => {
            return Err(error.into());
        }
        Err(error) => {
            record_stranger(api, &error).await;
            return Ok(None);
        }
    };
    api.check_rate(&caller)?;
    let person = caller.person().cloned();
    Ok(person.map(|person| Session { caller, person }))
}

fn nobody(parts: &Parts, api: &Api) -> Response {
    let left = Left::Never;
    let mut response = signed_out(StatusCode::UNAUTHORIZED, api, left, parts.uri.path());
    if let Some(refresh) = asking_again(parts) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

/// How somebody came to be signed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// They were not signed in.
    Never,
    /// They signed out.
    SignedOut,
    /// They removed the passkey that their session was begun with.
    RemovedPasskey,
}

/// The page for whoever is not signed in.
pub(super) fn signed_out(status: StatusCode, api: &Api, left: Left, next: &str) -> Response {
    answer::page(status, &signed_out_page(api, left, next))
}

/// What that page shows.
pub(super) fn signed_out_page(api: &Api, left: Left, next: &str) -> SignedOutPage {
    let site = passkey::site(api.gateway.url());
    let active = api.gateway.active();
    let mut providers: Vec<_> = active.bundle.providers().iter().collect();
    // Whoever says who people are comes first.
    providers.sort_by_key(|(_, provider)| provider.links.is_some());
    SignedOutPage {
        shell: viewer::strangers_shell(api),
        just_now: left != Left::Never,
        why: match left {
            Left::RemovedPasskey => {
                "You removed the passkey that this session was begun with, which ended the \
                     session. Sign in with another passkey, or with a new sign-in link."
            }
            Left::Never | Left::SignedOut => "",
        }
        .into(),
        providers: providers
            .into_iter()
            .map(|(id, provider)| SignInWay {
                id: id.to_string(),
                title: provider.title.clone(),
                linked: provider.links.is_some(),
            })
            .collect(),
        passkeys: site.is_ok(),
        origin: site.map(|site| site.origin).unwrap_or_default(),
        next: next.into(),
        elsewhere: None,
    }
}

/// A link on another site, for example in a chat, comes without the `SameSite=Strict` cookie. The
/// page then has the browser ask once more by itself, which sends the cookie if there is one; the
/// mark in the address makes sure that it is once.
fn asking_again(parts: &Parts) -> Option<HeaderValue> {
    let says = |name: &str, value: &str| parts.headers.get(name).is_some_and(|one| one == value);
    let elsewhere = says("sec-fetch-site", "cross-site") && says("sec-fetch-mode", "navigate");
    let query = parts.uri.query().unwrap_or_default();
    let asked_again = query.split('&').any(|pair| pair == AGAIN);
    if parts.method != Method::GET || !elsewhere || asked_again {
        return None;
    }
    let path = parts.uri.path();
    let address = match query {
        "" => format!("{path}?{AGAIN}"),
        query => format!("{path}?{query}&{AGAIN}"),
    };
    HeaderValue::from_str(&format!("0; url={address}")).ok()
}

/// The cookie that holds a session for so many seconds. Zero removes it.
pub(super) fn cookie(api: &Api, secret: &str, seconds: i64) -> Option<HeaderValue> {
    let secure = match api.gateway.is_https() {
        true => "; Secure",
        false => "",
    };
    let name = cookie_name(&api.gateway);
    let text =
        format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok()
}
