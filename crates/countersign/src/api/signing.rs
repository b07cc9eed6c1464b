//! Votes that a passkey signs, and rules that it lifts: what it is asked to sign, and what it signed.
//!
//! In scope: the statement of a vote, from the request as it is now.
//! Out of scope: whether the vote counts (core), whether the signature is that of the vote that is
//! recorded (engine).
//! Invariant: what is signed is made of the stored request and what the voter typed; of what a
//! browser sends nothing else goes into it.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    approval::{
        grant::GrantTerms,
        rule::Assurance,
        vote::{Credential, PasskeySignature, Verdict},
    },
    canonical::Hash,
    digest::ActionDigest,
    id::{RequestId, RuleName},
    request::Case,
    time::Timestamp,
};
use countersign_evidence::{
    approval::{ApprovalStatement, RENDERER},
    body,
};

use super::{
    Api, StrictJson,
    problem::ApiError,
    requests::{check_act, request_id},
    types::{SigningOptions, ToSign},
    ways::{issuer_on_side, with_passkey},
};
use crate::{
    active::Active,
    engine::{EngineError, credential},
    gateway::Gateway,
    identity::{
        Caller, challenge,
        passkey::{self, PasskeyError, Signed},
    },
    secrets,
};

/// What a vote says, as far as it is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) verdict: Verdict,
    pub(super) reason: Option<&'a str>,
    pub(super) grant: Option<&'a GrantTerms>,
    /// The rule that it lifts in an emergency.
    pub(super) lifts: Option<&'a RuleName>,
}

/// One challenge is for one session, one request and one action; and for a vote, or for lifting one
/// rule.
fn purpose(
    caller: &Caller,
    id: &RequestId,
    digest: &ActionDigest,
    lifts: Option<&RuleName>,
) -> String {
    let session = &caller.credential.id;
    match lifts {
        None => format!("vote\0{session}\0{id}\0{digest}"),
        Some(rule) => format!("lift\0{session}\0{id}\0{digest}\0{rule}"),
    }
}

fn statement(
    gateway: &Gateway,
    caller: &Caller,
    case: &Case,
    said: Said<'_>,
    (nonce, expires): (Hash, Timestamp),
) -> ApprovalStatement {
    ApprovalStatement {
        bundle: gateway.active().hash,
        digest: case.request.digest,
        expires,
        grant: said.grant.cloned(),
        lifts: said.lifts.cloned(),
        nonce,
        reason: said.reason.map(Into::into),
        renderer: RENDERER.into(),
        request: case.request.id.clone(),
        shown: Hash::of(case.request.presentation.body.as_bytes()),
        v: ApprovalStatement::VERSION,
        verdict: match said.verdict {
            Verdict::Approve => body::Verdict::Approve,
            Verdict::Deny => body::Verdict::Deny,
        },
        voter: gateway.keys.pseudonyms.of(&caller.subject.id),
    }
}

pub(super) async fn options(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(body): StrictJson<ToSign>,
) -> Result<Json<SigningOptions>, ApiError> {
    begin(&api, &caller, &request_id(&id)?, body)
        .await
        .map(Json)
}

/// What the caller's passkey is to sign for a vote.
///
/// # Errors
/// The caller has no passkey, or was not shown this action a short while ago.
pub async fn begin(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: ToSign,
) -> Result<SigningOptions, ApiError> {
    let gateway = &api.gateway;
    let case = gateway.case_of(caller, id).await?;
    let digest = check_act(api, caller, id, (&body.digest, &body.act)).await?;
    if digest != case.request.digest {
        return Err(EngineError::Refused(countersign_core::lifecycle::Refusal::OtherAction).into());
    }
    let site = passkey::site(gateway.url())?;
    let passkeys: Vec<_> = caller
        .passkeys
        .iter()
        .filter_map(passkey::enrolled)
        .filter(|known| known.site == site.id && known.countersigned)
        .map(|known| known.passkey)
        .collect();
    if passkeys.is_empty() {
        return Err(PasskeyError::Unknown.into());
    }
    let lifts = body.lifts.as_ref();
    let purpose = purpose(caller, id, &digest, lifts);
    let (token, until) = gateway.identity.challenge(&purpose)?;
    let reason = written(&gateway.active(), body.reason);
    let grant = body.grant.map(Into::into);
    let said = Said {
        verdict: body.verdict,
        reason: reason.as_deref(),
        grant: grant.as_ref(),
        lifts,
    };
    let nonce = challenge::value(&token);
    let statement = statement(gateway, caller, &case, said, (nonce, until));
    let internal = |error: countersign_core::canonical::NotCanonical| {
        ApiError::from(EngineError::Internal(error.to_string()))
    };
    Ok(SigningOptions {
        challenge: URL_SAFE_NO_PAD.encode(statement.challenge().map_err(internal)?.0),
        statement: statement.to_text().map_err(internal)?,
        token,
        passkeys,
        site: site.id,
    })
}

/// A reason with something in it, without secrets. What is signed is what is kept.
pub(super) fn written(active: &Active, reason: Option<String>) -> Option<String> {
    let reason = reason.filter(|text| !text.trim().is_empty())?;
    Some(secrets::without(active.bundle.masker(), reason))
}

/// The passkey's signature for a vote, and the credential that the vote is cast with.
///
/// # Errors
/// The signature does not hold, or somebody of the requester's side had a hand in the passkey.
pub(super) async fn signature(
    api: &Api,
    caller: &Caller,
    case: &Case,
    (said, signed): (Said<'_>, &Signed),
) -> Result<(PasskeySignature, Credential), ApiError> {
    let gateway = &api.gateway;
    let request = &case.request;
    let site = passkey::site(gateway.url())?;
    let purpose = purpose(caller, &request.id, &request.digest, said.lifts);
    let made = gateway
        .identity
        .signature(&site, caller, (&purpose, signed), |nonce, until| {
            statement(gateway, caller, case, said, (nonce, until))
        });
    let (signature, passkey) = match made {
        Ok(made) => made,
        Err(error) => {
            api.record_refused(caller, &request.id, "passkey_refused")
                .await;
            return Err(error.into());
        }
    };
    let active = gateway.active();
    let person = caller.person();
    let refusal = person.and_then(|person| issuer_on_side(&active, person, passkey, case));
    if let Some(refusal) = refusal {
        return Err(api.refused(caller, &request.id, refusal.into()).await);
    }
    let session = credential(&caller.credential, Assurance::Session);
    Ok((signature, with_passkey(passkey, &session)))
}

impl From<PasskeyError> for ApiError {
    fn from(error: PasskeyError) -> Self {
        let text = error.to_string();
        match error {
            PasskeyError::Identity(error) => error.into(),
            PasskeyError::NoSite => Self::new(StatusCode::CONFLICT, "no_site", text),
            PasskeyError::Form(_) => Self::invalid(text),
            PasskeyError::Unknown => Self::new(StatusCode::FORBIDDEN, "unknown_passkey", text)
                .with_detail("Add one under Passkeys, or use another."),
            PasskeyError::SignsOnly(_) => Self::new(StatusCode::FORBIDDEN, "signs_only", text)
                .with_detail("Sign in with your account."),
            PasskeyError::Alone => Self::new(StatusCode::FORBIDDEN, "unknown_passkey", text),
            PasskeyError::Stale(_) | PasskeyError::NotHeld(_) | PasskeyError::Copied => {
                Self::new(StatusCode::CONFLICT, "passkey_refused", text)
                    .with_detail("Reload the page, look, and try again.")
            }
        }
    }
}
