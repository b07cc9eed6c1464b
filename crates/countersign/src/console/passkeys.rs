//! A person's own passkeys, and signing in with one.
//!
//! In scope: the page, what a browser is told to make or sign with one, taking what it made.
//! Out of scope: checking it ([`passkey`]), whether it may be enrolled (admin, as any change).
//! Invariant: a passkey is added and removed only by its holder's own session; adding one is a
//! proposal like any other. Signing in tells nobody which passkeys there are.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_console::{
    passkeys::{PasskeyRow, PasskeysPage, PendingPasskey},
    shell::{Flash, Link, Place, Shell},
};
use countersign_core::id::{CredentialId, RequestId};
use serde_json::{Value, json};

use super::{
    answer,
    fields::{Asked, Fields},
    flash::{self, Done},
    proposals, request,
    session::{Left, Session, cookie, signed_out},
    viewer::Viewer,
    words,
};
use crate::{
    admin,
    api::{
        Api,
        auth::{check_csrf, record_stranger},
        problem::ApiError,
    },
    identity::{
        IdentityError, challenge,
        passkey::{self, Enrolled, PasskeyError, Signed},
    },
};

/// What a challenge of a stranger is for.
const SIGN_IN: &str = "sign-in";
/// The most characters of a passkey's label.
const MAX_LABEL: usize = 60;

/// What a challenge for a new passkey is for: this session only.
fn adding(session: &Session) -> String {
    format!("add\0{}", session.caller.credential.id)
}

pub(super) async fn show(State(api): State<Api>, session: Session, asked: Asked) -> Response {
    let flash = flash::read(&api, &session, &asked, None);
    answer::page(StatusCode::OK, &page(&api, &session, flash).await)
}

async fn page(api: &Api, session: &Session, flash: Option<Flash>) -> PasskeysPage {
    let viewer = Viewer::new(api, session);
    let rows = session.caller.passkeys.iter().filter_map(|stored| {
        let known = passkey::enrolled(stored)?;
        Some(PasskeyRow {
            id: stored.id.to_string(),
            fingerprint: passkey::fingerprint(&known),
            label: known.label,
            enrolled: viewer.moment(stored.issued),
            synced: known.backup_eligible,
            only_signs_in: !known.countersigned,
            current: session.caller.credential.parent.as_ref() == Some(&stored.id),
        })
    });
    let site = passkey::site(api.gateway.url());
    PasskeysPage {
        passkeys: rows.collect(),
        pending: pending(&viewer).await,
        cannot_add: match &site {
            Ok(_) => String::new(),
            Err(error) => format!("{}.", words::sentence(&error.to_string())),
        },
        origin: site.map(|site| site.origin).unwrap_or_default(),
        shell: Shell {
            flash,
            ..viewer.counted_shell(Place::Elsewhere, "").await
        },
    }
}

/// The viewer's passkeys that are requests as yet; none where they can't be read.
async fn pending(viewer: &Viewer<'_>) -> Vec<PendingPasskey> {
    let gateway = &viewer.api.gateway;
    let proposed = admin::proposed_passkeys(gateway).await.unwrap_or_default();
    let mine = proposed
        .into_iter()
        .filter(|one| one.person == viewer.session.person);
    mine.map(|one| PendingPasskey {
        fingerprint: passkey::fingerprint(&one.passkey),
        label: one.passkey.label,
        link: Link {
            href: request::path(&one.request),
            text: one.request.to_string(),
        },
        approved: one.approved,
    })
    .collect()
}

async fn refused(api: &Api, session: &Session, error: &ApiError) -> Response {
    let problem = error.problem();
    let next = problem.detail.clone().unwrap_or_default();
    let flash = Flash::refused(format!("{}.", words::sentence(&problem.title)), next);
    answer::page(
        answer::status(error),
        &page(api, session, Some(flash)).await,
    )
}

/// An address of a form, opened as a page.
pub(super) async fn back() -> Response {
    answer::see("/passkeys")
}

/// What a browser is told to make.
pub(super) async fn options(
    State(api): State<Api>,
    session: Session,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let token = headers
        .get("x-csrf-token")
        .and_then(|value| value.to_str().ok());
    check_csrf(&api, &session.caller, token.unwrap_or_default())?;
    let identity = &api.gateway.identity;
    let site = passkey::site(api.gateway.url())?;
    let (token, _) = identity.challenge(&adding(&session))?;
    let known: Vec<String> = session
        .caller
        .passkeys
        .iter()
        .filter_map(passkey::enrolled)
        .map(|known| known.passkey)
        .collect();
    // Authenticators keep this; it must not name anybody.
    let user = api.gateway.keys.pseudonyms.of_person(&session.person);
    Ok(Json(json!({
        "token": token,
        "challenge": encoded(&challenge::value(&token).0),
        "site": site.id,
        "user": encoded(user.to_string().as_bytes()),
        "name": session.person,
        "passkeys": known,
    })))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) async fn add(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    let proposed = async {
        let fields = fields?;
        session.check_form(&api, &fields)?;
        let made = taken(&api, &session, &fields)?;
        Ok::<_, ApiError>(admin::propose_passkey(&api.gateway, &session.caller, made).await?)
    };
    match proposed.await {
        Ok(answer) if answer.state == "succeeded" => answer::see(&flash::address(
            &api,
            &session,
            "/passkeys",
            None,
            Done::Applied,
        )),
        Ok(answer) if answer.state != "denied" => {
            let path = request::path(&answer.request);
            let about = Some(&answer.request);
            answer::see(&flash::address(
                &api,
                &session,
                &path,
                about,
                Done::Proposed,
            ))
        }
        Ok(answer) => refused(&api, &session, &proposals::denied(&answer)).await,
        Err(error) => refused(&api, &session, &error).await,
    }
}

fn taken(api: &Api, session: &Session, fields: &Fields) -> Result<Enrolled, ApiError> {
    let label = fields.name("label");
    let shown = label.chars().all(|one| !one.is_control());
    if label.is_empty() || label.chars().count() > MAX_LABEL || !shown {
        let why = format!("a passkey is called something of at most {MAX_LABEL} letters");
        return Err(ApiError::invalid(why));
    }
    let site = passkey::site(api.gateway.url())?;
    let purpose = adding(session);
    let made = api.gateway.identity.take_up(
        &site,
        (&purpose, fields.text("passkey_challenge")),
        (
            fields.text("passkey_client_data"),
            fields.text("passkey_authenticator_data"),
        ),
        label.into(),
    )?;
    Ok(made)
}

pub(super) async fn remove(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    let removed = async {
        let fields = fields?;
        session.check_form(&api, &fields)?;
        let id: Result<CredentialId, _> = fields.text("credential").parse();
        let mine = |id: &CredentialId| session.caller.passkeys.iter().any(|one| one.id == *id);
        let id = id.ok().filter(mine).ok_or(PasskeyError::Unknown)?;
        let current = session.caller.credential.parent.as_ref() == Some(&id);
        if current && fields.text("signs_out") != "yes" {
            let why = "removing the passkey that you signed in with signs you out";
            return Err(ApiError::new(StatusCode::CONFLICT, "signs_out", why)
                .with_detail("Say that you know it, and remove it again."));
        }
        api.gateway.identity.revoke(&id).await?;
        Ok::<_, ApiError>(current)
    };
    match removed.await {
        Ok(true) => {
            let mut response = signed_out(StatusCode::OK, &api, Left::RemovedPasskey, "");
            if let Some(cookie) = cookie(&api, "", 0) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(false) => answer::see(&flash::address(
            &api,
            &session,
            "/passkeys",
            None,
            Done::Removed,
        )),
        Err(error) => refused(&api, &session, &error).await,
    }
}

/// What a stranger's browser is told to sign.
pub(super) async fn sign_in_options(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let site = passkey::site(api.gateway.url())?;
    let (token, _) = api.gateway.identity.challenge(SIGN_IN)?;
    Ok(Json(json!({
        "challenge": encoded(&challenge::value(&token).0),
        "token": token,
        "site": site.id,
        "passkeys": [],
    })))
}

pub(super) async fn sign_in(
    State(api): State<Api>,
    headers: HeaderMap,
    fields: Result<Fields, ApiError>,
) -> Response {
    // Every browser that has passkeys says who sent a form. Somebody who is signed in by another
    // site's page would work in another's name.
    if headers
        .get("sec-fetch-site")
        .is_none_or(|site| site != "same-origin")
    {
        let title = "this form was not sent from the gateway's own page, so nothing was done";
        let error = ApiError::new(StatusCode::FORBIDDEN, "cross_site", title);
        return answer::stranger_error(&api, &error);
    }
    match begin(&api, fields).await {
        Ok(response) => response,
        Err(error) => answer::stranger_error(&api, &error),
    }
}

async fn begin(api: &Api, fields: Result<Fields, ApiError>) -> Result<Response, ApiError> {
    let fields = fields?;
    let text = |name: &str| fields.text(name).to_owned();
    let signed = Signed {
        challenge: text("passkey_challenge"),
        passkey: text("passkey"),
        client_data: text("passkey_client_data"),
        authenticator_data: text("passkey_authenticator_data"),
        signature: text("passkey_signature"),
    };
    let site = passkey::site(api.gateway.url())?;
    let begun = api.gateway.identity.sign_in(&site, SIGN_IN, &signed).await;
    let (secret, caller) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let strange = match error {
                PasskeyError::Identity(error) => error,
                error => {
                    record_stranger(api, &IdentityError::Invalid).await;
                    return Err(error.into());
                }
            };
            record_stranger(api, &strange).await;
            return Err(strange.into());
        }
    };
    let now = api.gateway.clock.now();
    let lasts = caller.credential.expires.millis_since(now) / 1_000;
    let mut response = answer::see(&next(fields.text("next"))).into_response();
    if let Some(cookie) = cookie(api, secret.text(), lasts) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Where to go on: the page or the request that somebody wanted to see, or the inbox.
pub(super) fn next(wanted: &str) -> String {
    let plain = |id: &&str| {
        let mut rest = id.strip_prefix("req_").unwrap_or_default().bytes();
        rest.len() > 0 && rest.all(|byte| byte.is_ascii_alphanumeric())
    };
    if ["/people", "/passkeys", "/accounts"].contains(&wanted) {
        return wanted.to_owned();
    }
    let id = wanted.strip_prefix("/requests/").filter(plain);
    match id.and_then(|id| id.parse::<RequestId>().ok()) {
        Some(id) => request::path(&id),
        None => "/inbox".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_goes_on_to_known_pages_only() {
        let id = RequestId::from_bits(7);
        assert_eq!(next(&format!("/requests/{id}")), format!("/requests/{id}"));
        assert_eq!(next("/people"), "/people");
        for wanted in [
            "",
            "//evil.example",
            "/requests/../x",
            "/people/x",
            "https://x",
        ] {
            assert_eq!(next(wanted), "/inbox", "{wanted}");
        }
    }
}
