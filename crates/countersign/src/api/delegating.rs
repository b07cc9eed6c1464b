//! Letting a machine act for whoever calls.
//!
//! In scope: the route that makes a delegation.
//! Out of scope: exchanging it ([`oauth`](super::oauth)).
//! Invariant: what is given counts for nothing by itself: only the machine that it names exchanges it,
//! with a proof of its own.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    Api, StrictJson,
    problem::ApiError,
    types::{DelegationBody, DelegationMade},
};
use crate::identity::Caller;

/// Makes a delegation of the caller's.
pub(super) async fn delegate(
    State(api): State<Api>,
    caller: Caller,
    StrictJson(body): StrictJson<DelegationBody>,
) -> Result<Response, ApiError> {
    let identity = &api.gateway.identity;
    let made = identity.delegate(&caller, &body.to, body.valid_for).await?;
    let (secret, credential, gives) = made.map_err(|error| ApiError::invalid(error.to_string()))?;
    // Before anybody has it: what its recipient asked and is still open is not for its maker to decide.
    api.gateway.engine.delegated().await?;
    let made = DelegationMade {
        delegation: secret.text().into(),
        credential: credential.id,
        to: gives.to.to_string(),
        on_behalf_of: gives.on_behalf_of.iter().map(ToString::to_string).collect(),
        expires: credential.expires,
    };
    let mut response = Json(made).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
