//! Where a client finds everything.
//!
//! Invariant: addresses come from the configuration, never from the request's own `Host`.
//! Specification: <https://openid.net/specs/authorization-api-1_0.html#section-9>.

use axum::{Json, extract::State};

use super::types::Metadata;
use crate::{api::Api, gateway::Gateway};

/// The address of an interface.
pub(super) fn address(gateway: &Gateway, path: &str) -> String {
    format!("{}{path}", gateway.url())
}

/// Public, like every address in it: a client reads it before it has a credential.
pub(super) async fn metadata(State(api): State<Api>) -> Json<Metadata> {
    let at = |path| address(&api.gateway, path);
    Json(Metadata {
        policy_decision_point: api.gateway.url().into(),
        access_evaluation_endpoint: at("/access/v1/evaluation"),
        access_evaluations_endpoint: at("/access/v1/evaluations"),
        access_request_endpoint: at("/access/v1/requests"),
    })
}
