//! Tokens for machines, in the words of OAuth 2.0.
//!
//! In scope: reading a form strictly, which grant it is, answers and errors of the protocol.
//! Out of scope: what is believed ([`exchange`](crate::identity::exchange)).
//! Invariant: whoever asks is a stranger until its proof is believed: size, number at once and rate are
//! limited before anything is verified. No answer may be kept by anybody on the way.
//! Specification: RFC 8693 (token exchange), RFC 6749 sections 4.4 and 5, RFC 7523 section 2.2, RFC 8414,
//! RFC 9449 section 5.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Form, Json,
    body::{Body, to_bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::time::timeout;

use super::{
    Api,
    auth::{proof_of, record_refused},
    types::{OauthMetadata, TokenAnswer, TokenError},
};
use crate::identity::{
    IdentityError,
    dpop::{ALGORITHMS, NotProven},
    exchange::{ExchangeError, Exchanged, Presented, Showing, Turn},
};

/// Exchanges at once; more wait for a moment.
pub(super) const AT_ONCE: usize = 32;
/// Exchanges a second that are looked at, good and bad, and four times as many in one burst.
pub(super) const RATE: u32 = 500;
/// The longest form, in bytes.
const MAX_FORM: usize = 64 << 10;
/// How long a form may take to arrive, and how long it may wait for its turn.
const ARRIVES: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_secs(5);

const FORM: &str = "application/x-www-form-urlencoded";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// Parameters that mean something here.
const KNOWN: [&str; 12] = [
    "grant_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "resource",
    "audience",
    "scope",
    "client_id",
    "client_assertion",
    "client_assertion_type",
];

/// A refusal in the protocol's own words (RFC 6749, section 5.2).
struct Refused {
    status: StatusCode,
    error: &'static str,
    why: String,
    /// What the next proof of a key must say (RFC 9449, section 8).
    nonce: Option<String>,
}

fn refused(error: &'static str, why: impl Into<String>) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        error,
        why: why.into(),
        nonce: None,
    }
}

fn invalid(why: impl Into<String>) -> Refused {
    refused("invalid_request", why)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        // What the protocol allows in a description.
        let plain = |c: char| match c {
            '"' => '\'',
            '\\' => '/',
            c if c == ' ' || c.is_ascii_graphic() => c,
            _ => '?',
        };
        let body = TokenError {
            error: self.error.into(),
            error_description: self.why.chars().map(plain).take(500).collect(),
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let soon = HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        if let Some(nonce) = self
            .nonce
            .and_then(|nonce| HeaderValue::try_from(nonce).ok())
        {
            response.headers_mut().insert("dpop-nonce", nonce);
        }
        unkept(response)
    }
}

fn unkept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Gives a token for what a machine shows.
pub(super) async fn token(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    match answer(&api, &headers, body).await {
        Ok(given) => unkept(Json(given).into_response()),
        Err(refused) => refused.into_response(),
    }
}

async fn answer(api: &Api, headers: &HeaderMap, body: Body) -> Result<TokenAnswer, Refused> {
    let busy = |why: &str| Refused {
        status: StatusCode::TOO_MANY_REQUESTS,
        ..refused("temporarily_unavailable", why)
    };
    if api.exchanging.check().is_err() {
        return Err(busy("too many ask for tokens; try again in a moment"));
    }
    let form = form(headers, body).await?;
    let turn = timeout(TURN, Turn::at(&api.exchanges)).await;
    let Ok(Some(mut turn)) = turn else {
        return Err(busy(
            "too many ask for tokens at once; try again in a moment",
        ));
    };
    let (url, here) = (api.gateway.url(), here(api));
    let (machine, delegation) = shown(&form, url)?;
    let exchange = matches!(form.get("grant_type"), Some(kind) if kind == EXCHANGE);
    let presented = Presented {
        machine,
        client: form.get("client_id").map(String::as_str),
        delegation,
        proof: proof_of(headers),
        url,
        here: &here,
    };
    match Box::pin(api.gateway.identity.exchange(&presented, &mut turn)).await {
        Ok(given) => Ok(given_as(given, exchange)),
        Err(error) => Err(said(api, machine, error).await),
    }
}

fn given_as(given: Exchanged, exchange: bool) -> TokenAnswer {
    let Exchanged {
        secret,
        credential,
        bound,
    } = given;
    let millis = credential.expires.millis_since(credential.issued);
    TokenAnswer {
        access_token: secret.text().into(),
        issued_token_type: exchange.then(|| ACCESS_TOKEN.into()),
        token_type: if bound { "DPoP" } else { "Bearer" }.into(),
        expires_in: millis / 1_000,
    }
}

/// The address where tokens are asked for.
fn here(api: &Api) -> String {
    format!("{}/oauth/token", api.gateway.url())
}

async fn form(headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, String>, Refused> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(FORM) {
        return Err(invalid("send a form: application/x-www-form-urlencoded"));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        // A secret in it would be taken for one that counts.
        return Err(invalid(
            "prove who you are in the form and not in the header Authorization",
        ));
    }
    let bytes = timeout(ARRIVES, to_bytes(body, MAX_FORM)).await;
    let Ok(Ok(bytes)) = bytes else {
        return Err(invalid(
            "the form did not arrive whole, in time and within 64 KiB",
        ));
    };
    let mut form = BTreeMap::new();
    for (name, value) in pairs(bytes).await? {
        // RFC 6749: what is empty is not there; what is not known is ignored.
        if value.is_empty() || !KNOWN.contains(&name.as_str()) {
            continue;
        }
        if form.insert(name, value).is_some() {
            return Err(invalid("a parameter is there twice"));
        }
    }
    Ok(form)
}

async fn pairs(form: Bytes) -> Result<Vec<(String, String)>, Refused> {
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, FORM)
        .body(Body::from(form));
    let unreadable = || invalid("the form can't be read");
    let request = request.map_err(|_| unreadable())?;
    let read = Form::<Vec<(String, String)>>::from_request(request, &()).await;
    read.map(|Form(pairs)| pairs).map_err(|_| unreadable())
}

type Shown<'a> = (Showing<'a>, Option<&'a str>);

/// What of a form shows who the machine is, and whom it acts for.
fn shown<'a>(form: &'a BTreeMap<String, String>, url: &str) -> Result<Shown<'a>, Refused> {
    let text = |name: &str| form.get(name).map(String::as_str);
    check_wanted(form, url)?;
    let assertion = assertion(form)?;
    match text("grant_type") {
        None => Err(invalid("`grant_type` is missing")),
        Some("client_credentials") => {
            if text("subject_token").or(text("actor_token")).is_some() {
                return Err(invalid("tokens are exchanged with another `grant_type`"));
            }
            let missing = || Refused {
                status: StatusCode::UNAUTHORIZED,
                ..refused(
                    "invalid_client",
                    "prove who you are with a `client_assertion`",
                )
            };
            Ok((Showing::Assertion(assertion.ok_or_else(missing)?), None))
        }
        Some(EXCHANGE) => exchanged(form, assertion),
        Some(_) => Err(refused(
            "unsupported_grant_type",
            "use token-exchange (RFC 8693) or client_credentials",
        )),
    }
}

fn exchanged<'a>(
    form: &'a BTreeMap<String, String>,
    assertion: Option<&'a str>,
) -> Result<Shown<'a>, Refused> {
    let text = |name: &str| form.get(name).map(String::as_str);
    let subject = text("subject_token").ok_or_else(|| invalid("`subject_token` is missing"))?;
    let actor = text("actor_token");
    if actor.is_some() != text("actor_token_type").is_some() {
        return Err(invalid(
            "`actor_token` and `actor_token_type` come together",
        ));
    }
    if actor.is_some() && !matches!(text("actor_token_type"), Some(JWT | ID_TOKEN)) {
        return Err(invalid(format!(
            "`actor_token_type` is {JWT}, or {ID_TOKEN}"
        )));
    }
    match text("subject_token_type") {
        Some(JWT | ID_TOKEN) => {
            if actor.or(assertion).is_some() {
                let why = "a machine's own token is exchanged by itself; whoever acts for somebody shows \
                           their delegation as `subject_token`";
                return Err(invalid(why));
            }
            Ok((Showing::Token(subject), None))
        }
        Some(ACCESS_TOKEN) => match (actor, assertion) {
            (Some(actor), None) => Ok((Showing::Token(actor), Some(subject))),
            (None, Some(assertion)) => Ok((Showing::Assertion(assertion), Some(subject))),
            (None, None) => Err(invalid(
                "a delegation needs who acts: an `actor_token`, or a `client_assertion`",
            )),
            (Some(_), Some(_)) => Err(invalid("prove who acts in one way")),
        },
        None => Err(invalid("`subject_token_type` is missing")),
        Some(_) => Err(invalid(format!(
            "`subject_token_type` is {JWT} or {ID_TOKEN} for a machine's token, {ACCESS_TOKEN} for a \
             delegation"
        ))),
    }
}

fn assertion(form: &BTreeMap<String, String>) -> Result<Option<&str>, Refused> {
    let text = |name: &str| form.get(name).map(String::as_str);
    let kind = text("client_assertion_type");
    match (text("client_assertion"), kind) {
        (None, None) => Ok(None),
        (Some(assertion), Some(ASSERTION)) => Ok(Some(assertion)),
        _ => Err(invalid(format!(
            "`client_assertion_type` of a `client_assertion` is {ASSERTION}"
        ))),
    }
}

/// Refuses what is asked for and can't be had.
fn check_wanted(form: &BTreeMap<String, String>, url: &str) -> Result<(), Refused> {
    let text = |name: &str| form.get(name).map(String::as_str);
    if text("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(invalid(format!(
            "`requested_token_type` can only be {ACCESS_TOKEN}"
        )));
    }
    if text("scope").is_some() {
        let why = "there are no scopes: policy decides about every action";
        return Err(refused("invalid_scope", why));
    }
    for name in ["resource", "audience"] {
        let other = text(name).is_some_and(|target| target.trim_end_matches('/') != url);
        if other {
            return Err(refused(
                "invalid_target",
                format!("tokens are for {url} only"),
            ));
        }
    }
    Ok(())
}

/// The protocol's word for why there is no token. Whoever is refused is recorded, as far as that does
/// not let strangers fill the log.
async fn said(api: &Api, machine: Showing<'_>, error: ExchangeError) -> Refused {
    let why = crate::explain(&error);
    // Nothing is wrong: the protocol's first step after a start.
    if let ExchangeError::Proof(NotProven::NeedsNonce(nonce)) = error {
        return Refused {
            nonce: Some(nonce),
            ..refused("use_dpop_nonce", why)
        };
    }
    let (holder, code) = match &error {
        ExchangeError::Disbelieved(_) => (None, "token_refused"),
        ExchangeError::Stopped { machine, .. } => (Some(machine.clone()), "disabled"),
        ExchangeError::Delegation { machine, .. } => (Some(machine.clone()), "delegation_refused"),
        ExchangeError::Proof(_) => (None, "unproven_key"),
        ExchangeError::TooMany(machine) => (Some(machine.clone()), "too_many_tokens"),
        ExchangeError::Identity(_) => (None, "token_refused"),
    };
    if record_refused(api, code, holder.as_ref()).await {
        tracing::warn!(why, "a machine got no token");
    }
    let by_assertion = matches!(machine, Showing::Assertion(_));
    match error {
        ExchangeError::Disbelieved(_) if by_assertion => Refused {
            status: StatusCode::UNAUTHORIZED,
            ..refused(
                "invalid_client",
                format!("the assertion is not believed: {why}"),
            )
        },
        ExchangeError::Disbelieved(_) => invalid(format!("the token is not believed: {why}")),
        ExchangeError::Stopped { .. } => refused("unauthorized_client", why),
        ExchangeError::Delegation { .. } => invalid(why),
        ExchangeError::Proof(_) => refused("invalid_dpop_proof", why),
        ExchangeError::TooMany(_) => Refused {
            status: StatusCode::TOO_MANY_REQUESTS,
            ..refused("temporarily_unavailable", why)
        },
        ExchangeError::Identity(IdentityError::Forged) => invalid("the delegation does not count"),
        ExchangeError::Identity(_) => Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..refused(
                "temporarily_unavailable",
                "the token can't be recorded now; try again",
            )
        },
    }
}

/// Where tokens are asked for, and how.
pub(super) async fn metadata(State(api): State<Api>) -> Json<OauthMetadata> {
    let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Json(OauthMetadata {
        issuer: api.gateway.url().into(),
        token_endpoint: here(&api),
        grant_types_supported: all(&[EXCHANGE, "client_credentials"]),
        response_types_supported: Vec::new(),
        token_endpoint_auth_methods_supported: all(&["none", "private_key_jwt"]),
        token_endpoint_auth_signing_alg_values_supported: all(&[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
        ]),
        dpop_signing_alg_values_supported: all(&ALGORITHMS),
    })
}
