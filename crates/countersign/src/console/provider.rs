//! Signing in with a provider: leaving for it, and coming back.
//!
//! In scope: the two addresses, what the browser keeps in between, the session's cookie; sending on whoever
//! left to link an account, which [`linking`](super::linking) does.
//! Out of scope: the protocol (`identity::provider`) and the directory (`admin`).
//! Invariant: what the browser keeps in between signs nobody in and is good for one provider, a few
//! minutes and one return. A refusal says why to whoever was refused, and what the
//! provider really answered to the gateway's own diagnostics alone.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use countersign_console::{
    access::{GoingPage, WelcomePage},
    shell::Link,
};
use countersign_core::id::ProviderId;
use countersign_policy::{Provider, RefusedChange};

use super::{
    answer,
    fields::{Asked, Fields},
    passkeys::next,
    people::encode,
    session::cookie,
    viewer,
};
use crate::{
    admin::provide,
    api::{
        Api,
        auth::{cookies_named, record_refused, record_stranger},
        problem::ApiError,
    },
    identity::{
        Caller, IdentityError, Secret, challenge,
        further::NotLinked,
        provider::{Purpose, Return, SignInError, is_to_link},
    },
};

/// The longest text about a failure that is written to the diagnostics.
const MAX_SAID: usize = 500;

/// Sends the browser to the provider. Whatever site sends people here: it decides nothing.
pub(super) async fn leave(
    State(api): State<Api>,
    Path(provider): Path<String>,
    Asked(asked): Asked,
) -> Response {
    let again = !asked.text("again").is_empty();
    match try_leave(&api, &provider, (asked.text("next"), again)).await {
        Ok(response) => response,
        Err(error) => refusal(&api, &provider, &error),
    }
}

async fn try_leave(
    api: &Api,
    named: &str,
    (wanted, again): (&str, bool),
) -> Result<Response, ApiError> {
    let (id, provider) = find(api, named)?;
    let (back, now) = (address_of(api, &id), api.gateway.clock.now());
    let providers = api.gateway.identity.providers();
    let leaving = providers
        .leave(
            (&id, &provider),
            (&back, Purpose::SignIn(&next(wanted)), again),
            now,
        )
        .await;
    let leaving = match leaving {
        Ok(leaving) => leaving,
        Err(error) => return Err(not_taken(api, error).await),
    };
    let mut response = Redirect::to(&leaving.to).into_response();
    keep(api, &leaving.keeps, challenge::FRESH / 1_000, &mut response);
    Ok(response)
}

/// Takes the browser back from the provider.
pub(super) async fn come_back(
    State(api): State<Api>,
    Path(provider): Path<String>,
    Asked(asked): Asked,
    headers: HeaderMap,
) -> Response {
    let brought = brought(&api, &headers, &asked);
    if is_to_link(brought.kept)
        && let Ok((id, _)) = find(&api, &provider)
    {
        return on_to_link(&api, &id, &brought);
    }
    let error = match try_come_back(&api, &provider, &brought).await {
        Ok((secret, caller, next)) => {
            let mut response = welcome(&api, &secret, &caller, &next);
            keep(&api, "", 0, &mut response);
            return response;
        }
        Err(error) => error,
    };
    // Another window may have left later, or this one may try again.
    let still_good = ["stale_sign_in", "busy"].contains(&error.problem().kind.as_str());
    let mut response = refusal(&api, &provider, &error);
    if !still_good {
        keep(&api, "", 0, &mut response);
    }
    response
}

/// What a browser brings back.
pub(super) fn brought<'a>(api: &Api, headers: &'a HeaderMap, asked: &'a Fields) -> Return<'a> {
    // Of two, another page of this host may have set one.
    let mut kept = cookies_named(headers, keeps(api));
    let kept = kept.next().filter(|_| kept.next().is_none());
    Return {
        kept: kept.unwrap_or_default(),
        state: asked.text("state"),
        code: asked.text("code"),
        issuer: asked.text("iss"),
        error: asked.text("error"),
    }
}

/// Has the browser go on to where linking ends. It came from another site, so that it sent no session; it
/// does from this page.
fn on_to_link(api: &Api, id: &ProviderId, brought: &Return<'_>) -> Response {
    let fields = [
        ("state", brought.state),
        ("code", brought.code),
        ("iss", brought.issuer),
        ("error", brought.error),
    ];
    let fields = fields.map(|(name, value)| format!("{name}={}", encode(value)));
    let next = format!("/accounts/from/{id}?{}", fields.join("&"));
    going(api, "Linking your account", &next)
}

/// A page that goes on by itself, to an address here or of a provider.
pub(super) fn going(api: &Api, title: &str, to: &str) -> Response {
    let shown = GoingPage {
        shell: viewer::strangers_shell(api),
        title: title.into(),
        link: Link {
            href: to.into(),
            text: "Go on".into(),
        },
    };
    let mut response = answer::page(StatusCode::OK, &shown);
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={to}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

/// The page for whoever was refused, with a way on that does not lead to the same account again.
fn refusal(api: &Api, named: &str, error: &ApiError) -> Response {
    // Whom it vouches for is refused; otherwise nobody knows yet who it is.
    let kind = error.problem().kind.as_str();
    let known = ["not_admitted", "other_account", "disabled"].contains(&kind);
    let link = match find(api, named) {
        Ok(_) if kind == "not_linked" => Link {
            href: "/sign-in".into(),
            text: "Sign in in another way".into(),
        },
        Ok((id, provider)) if known => Link {
            href: format!("/sign-in/with/{id}?again=1"),
            text: format!("Sign in with {}, as somebody else", provider.title),
        },
        Ok((id, provider)) => Link {
            href: format!("/sign-in/with/{id}"),
            text: format!("Sign in with {}", provider.title),
        },
        Err(_) => Link {
            href: "/sign-in".into(),
            text: "Sign in".into(),
        },
    };
    answer::error_with(viewer::strangers_shell(api), error, link)
}

async fn try_come_back(
    api: &Api,
    named: &str,
    brought: &Return<'_>,
) -> Result<(Secret, Caller, String), ApiError> {
    let (id, provider) = find(api, named)?;
    let (back, now) = (address_of(api, &id), api.gateway.clock.now());
    let providers = api.gateway.identity.providers();
    let which = (&id, &provider);
    if let Some(links) = provider.links {
        let returned = providers.take_linked(which, &back, brought, now).await;
        let (account, next) = match returned {
            Ok(returned) => returned,
            Err(error) => return Err(not_taken(api, error).await),
        };
        let identity = &api.gateway.identity;
        let signed_in = identity.sign_in_linked((&provider, links), &account).await;
        return match signed_in {
            Ok((secret, caller)) => Ok((secret, caller, next)),
            Err(error) => Err(not_linked(api, error).await),
        };
    }
    let returned = providers.take_back(which, &back, brought, now).await;
    let (vouched, next) = match returned {
        Ok(returned) => returned,
        Err(error) => return Err(not_taken(api, error).await),
    };
    let signed_in = provide::sign_in(&api.gateway, which, vouched).await;
    let (secret, caller) = match signed_in {
        Ok(signed_in) => signed_in,
        Err(error) => return Err(refused(api, error).await),
    };
    Ok((secret, caller, next))
}

/// Says and records that nobody came back whom the provider vouches for, both within limits.
pub(super) async fn not_taken(api: &Api, error: SignInError) -> ApiError {
    let code = match &error {
        SignInError::Stale(_) | SignInError::Disbelieved { .. } => "invalid_credential",
        SignInError::Refused(_) => "account_refused",
        _ => "not_signed_in",
    };
    if record_refused(api, code, None).await {
        let error: String = crate::explain(&error).chars().take(MAX_SAID).collect();
        tracing::warn!(error, "a sign-in with a provider failed");
    }
    error.into()
}

/// Says and records why a linked account signs nobody in.
async fn not_linked(api: &Api, error: NotLinked) -> ApiError {
    let title = error.to_string();
    let next = match error {
        NotLinked::Nobody(_) => {
            "Sign in as you usually do, and link it under Accounts; from then on it signs you in. It makes \
             nobody a person here."
        }
        NotLinked::Over(_) => {
            "Sign in as you usually do; unlink it under Accounts, and link it again."
        }
        NotLinked::SignInAgain { .. } => {
            "Sign in there once; your linked account then signs you in again."
        }
        NotLinked::Identity(error) => {
            record_stranger(api, &error).await;
            return error.into();
        }
    };
    record_refused(api, "account_refused", None).await;
    ApiError::new(StatusCode::FORBIDDEN, "not_linked", title).with_detail(next)
}

async fn refused(api: &Api, error: anyhow::Error) -> ApiError {
    let error = match error.downcast::<IdentityError>() {
        Ok(error) => {
            record_stranger(api, &error).await;
            return error.into();
        }
        Err(error) => error,
    };
    let error = match error.downcast::<provide::Unwelcome>() {
        Ok(unwelcome) => {
            record_refused(api, "account_refused", None).await;
            return ApiError::new(StatusCode::FORBIDDEN, "not_admitted", unwelcome.to_string());
        }
        Err(error) => error,
    };
    match error.downcast::<RefusedChange>() {
        Ok(refused) => {
            record_refused(api, "other_account", None).await;
            ApiError::new(StatusCode::CONFLICT, "other_account", refused.to_string())
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "nobody could be signed in");
            let title = "you could not be signed in";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_signed_in", title)
                .with_detail("Sign in again; if that does not help, tell an administrator.")
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        let title = error.to_string();
        let (status, kind, next) = match &error {
            SignInError::Stale(_) => (
                StatusCode::UNAUTHORIZED,
                "stale_sign_in",
                "Sign in again, in one window, within five minutes.",
            ),
            SignInError::Declined { .. } => (
                StatusCode::UNAUTHORIZED,
                "declined",
                "Sign in again; if it says the same, ask whoever runs it.",
            ),
            SignInError::Unreachable { .. } | SignInError::Disbelieved { .. } => (
                StatusCode::BAD_GATEWAY,
                "provider",
                "Sign in again; if it says the same, an administrator finds out more in what the \
                 gateway writes to its standard error.",
            ),
            SignInError::Refused(_) => (
                StatusCode::FORBIDDEN,
                "not_admitted",
                "Sign in with another account, or ask an administrator.",
            ),
            SignInError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Reload this page."),
        };
        Self::new(status, kind, title).with_detail(next)
    }
}

pub(super) fn find(api: &Api, named: &str) -> Result<(ProviderId, Provider), ApiError> {
    let active = api.gateway.active();
    let id = named.parse::<ProviderId>().ok();
    let found = id.and_then(|id| Some((id.clone(), active.bundle.providers().get(&id)?.clone())));
    found.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_provider",
            "nobody of that name signs people in here",
        )
    })
}

/// The address that browsers return to, which the provider has to know.
pub(super) fn address_of(api: &Api, id: &ProviderId) -> String {
    format!("{}/sign-in/from/{id}", api.gateway.url())
}

/// The name of the cookie that the browser keeps in between.
fn keeps(api: &Api) -> &'static str {
    match api.gateway.is_https() {
        true => "__Host-countersign_leaving",
        false => "countersign_leaving",
    }
}

/// Has the browser keep something for so many seconds. `Lax`, because it comes back from another site.
pub(super) fn keep(api: &Api, text: &str, seconds: i64, response: &mut Response) {
    let secure = match api.gateway.is_https() {
        true => "; Secure",
        false => "",
    };
    let cookie = format!(
        "{}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        keeps(api)
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

fn welcome(api: &Api, secret: &Secret, caller: &Caller, next: &str) -> Response {
    let shown = WelcomePage {
        shell: viewer::strangers_shell(api),
        person: caller.subject.id.name().into(),
        link: Link {
            href: next.into(),
            text: "Go on".into(),
        },
    };
    let mut response = answer::page(StatusCode::OK, &shown);
    let lasts = caller
        .credential
        .expires
        .millis_since(api.gateway.clock.now())
        / 1_000;
    let headers = response.headers_mut();
    if let Some(cookie) = cookie(api, secret.text(), lasts) {
        headers.append(header::SET_COOKIE, cookie);
    }
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={next}")) {
        headers.insert(header::REFRESH, refresh);
    }
    response
}
