//! Telling callers apart on every request.
//!
//! Invariant: a cookie alone changes nothing; a changing request with a cookie also needs the
//! session's CSRF token. Every caller is limited in its rate before anything else is done.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
};
use countersign_core::subject::SubjectId;
use countersign_evidence::body::{Body, Refused};
use countersign_store::CredentialKind;
use serde_json::json;

use super::{Api, problem::ApiError};
use crate::{
    gateway::Gateway,
    identity::{
        Caller, IdentityError,
        dpop::{self, NotProven},
    },
    log::Record,
};

/// The name of the session cookie. Under `https` no other page of the host, and nobody on the
/// network, can set a cookie of that name.
#[must_use]
pub fn cookie_name(gateway: &Gateway) -> &'static str {
    match gateway.is_https() {
        true => "__Host-countersign_session",
        false => "countersign_session",
    }
}

/// The session cookie's value.
#[must_use]
pub fn session_cookie<'a>(gateway: &Gateway, headers: &'a HeaderMap) -> Option<&'a str> {
    cookie_named(headers, cookie_name(gateway))
}

/// The value of a cookie; of several with one name, the first.
#[must_use]
pub fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    cookies_named(headers, wanted).next()
}

/// The values of all cookies of a name.
pub fn cookies_named<'a>(headers: &'a HeaderMap, wanted: &str) -> impl Iterator<Item = &'a str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// A token that was sent, and whether as one that is bound to a key.
fn token_of(headers: &HeaderMap) -> Option<(&str, bool)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let bound = match scheme {
        scheme if scheme.eq_ignore_ascii_case("bearer") => false,
        scheme if scheme.eq_ignore_ascii_case("dpop") => true,
        _ => return None,
    };
    Some((token.trim(), bound))
}

/// The bearer token that came along.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (token, bound) = token_of(headers)?;
    (!bound).then_some(token)
}

/// The proof of a key that came along; an empty one where several did, or none that is text.
pub(super) fn proof_of(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all("dpop").iter();
    let first = all.next()?;
    let only = first.to_str().ok().filter(|_| all.next().is_none());
    Some(only.unwrap_or_default())
}

/// Checks that a token comes with a proof of the key that it is bound to, if it is.
async fn check_key(
    api: &Api,
    caller: &Caller,
    (token, bound): (&str, bool),
    parts: &Parts,
) -> Result<(), ApiError> {
    let address = format!("{}{}", api.gateway.url(), parts.uri.path());
    let request = dpop::Request {
        method: parts.method.as_str(),
        address: &address,
        token: Some(token),
    };
    let proof = bound.then(|| proof_of(&parts.headers).unwrap_or_default());
    let checked = api.gateway.identity.check_key(caller, proof, &request);
    if let Err(error) = checked {
        if !matches!(error, NotProven::NeedsNonce(_)) {
            record_refused(api, "unproven_key", Some(&caller.subject.id)).await;
        }
        return Err(IdentityError::Key(error).into());
    }
    Ok(())
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let session = session_cookie(&api.gateway, &parts.headers);
        let sent = token_of(&parts.headers);
        let found = match (sent, session) {
            (Some((token, _)), _) => {
                api.gateway
                    .identity
                    .caller(token, CredentialKind::Token)
                    .await
            }
            (None, Some(session)) => {
                api.gateway
                    .identity
                    .caller(session, CredentialKind::Session)
                    .await
            }
            (None, None) => Err(IdentityError::Missing),
        };
        let caller = match found {
            Ok(caller) => caller,
            Err(error) => {
                record_stranger(api, &error).await;
                return Err(error.into());
            }
        };
        api.check_rate(&caller)?;
        if let Some(sent) = sent {
            check_key(api, &caller, sent, parts).await?;
        }
        let by_cookie = caller.credential.kind == CredentialKind::Session;
        if by_cookie && !is_safe(&parts.method) {
            let token = parts
                .headers
                .get("x-csrf-token")
                .and_then(|value| value.to_str().ok());
            check_csrf(api, &caller, token.unwrap_or_default())?;
        }
        Ok(caller)
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Checks the CSRF token of a session.
///
/// # Errors
/// 403 when it is not the session's.
pub fn check_csrf(api: &Api, caller: &Caller, token: &str) -> Result<(), ApiError> {
    if api
        .gateway
        .identity
        .acts()
        .is_csrf(&caller.credential.id, token)
    {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "csrf",
        "the request did not come from this session's own page",
    )
    .with_detail("Reload the page and try again."))
}

/// Records that somebody came with a credential that is none. Limited, so that strangers can't
/// fill the log.
pub(crate) async fn record_stranger(api: &Api, error: &IdentityError) {
    let (code, holder) = match error {
        IdentityError::Invalid => ("invalid_credential", None),
        IdentityError::Forged => ("forged_credential", None),
        // It was theirs, whatever it is worth now.
        IdentityError::Disabled(holder) | IdentityError::Removed(holder) => {
            ("disabled", Some(holder))
        }
        IdentityError::HasAccount(holder) => ("has_account", Some(holder)),
        _ => return,
    };
    record_refused(api, code, holder).await;
}

/// Records that somebody was refused. Limited, so that strangers can't fill the log; whether it was
/// within the limit.
pub(crate) async fn record_refused(api: &Api, code: &str, holder: Option<&SubjectId>) -> bool {
    if !api.may_record_stranger() {
        return false;
    }
    let record = Record::control(
        api.gateway.clock.now(),
        Body::Refused(Refused {
            by: holder.map(|id| api.gateway.keys.pseudonyms.of(id)),
            code: code.into(),
        }),
        holder.map_or_else(|| json!({}), |id| json!({ "by": id })),
    );
    if let Err(error) = api.gateway.log.record(record).await {
        tracing::error!(%error, "a refused attempt was not recorded");
    }
    true
}
