//! The AuthZEN face: for whoever wants to ask before it acts.
//!
//! In scope: OpenID AuthZEN's evaluation interfaces and metadata, its Access Request and Approval
//! Profile, and reports of how a permitted action ended. The gate is called `authzen`.
//! Out of scope: executing. Whoever asks here executes itself, so the gate is *advisory* (P1) and
//! every answer, card and record says so.
//! Invariant: a caller names only itself as subject. What it says of subject, resource and context
//! is part of the action's digest and never an attribute that policies trust. A denial is never
//! access: `decision` is `true` only when a permit was recorded and spent for this very answer.
//! Specification: <https://openid.net/specs/authorization-api-1_0.html>; the Access Request and
//! Approval Profile is a working-group draft of the same group.

mod answer;
mod batch;
mod binding;
mod claim;
mod evaluate;
mod metadata;
mod outcome;
mod present;
mod question;
mod task;

pub(crate) use question::label_of;
#[cfg(test)]
mod tests;
pub mod types;

use axum::{
    Router,
    extract::Request,
    http::HeaderName,
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post},
};

use super::Api;
use crate::gates::advisory::ADVISORY;

/// The name of this gate.
pub const GATE: &str = "authzen";

/// The header by which a caller recognises an answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes.
pub fn routes() -> Router<Api> {
    Router::new()
        .route(
            "/.well-known/authzen-configuration",
            get(metadata::metadata),
        )
        .route("/access/v1/evaluation", post(evaluate::evaluation))
        .route("/access/v1/evaluations", post(batch::evaluations))
        .route("/access/v1/requests", post(task::submit))
        .route("/access/v1/requests/{id}", get(task::status))
        .route("/access/v1/requests/{id}/cancel", post(task::cancel))
        .route("/v1/outcomes", post(outcome::report))
        .layer(from_fn(echo_request_id))
}

async fn echo_request_id(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
