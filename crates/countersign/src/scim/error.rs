//! Refusals in SCIM's own form.
//!
//! In scope: status, `scimType` and what to do.
//! Invariant: whoever is not let in learns nothing of who or what there is.
//! Specification: RFC 7644, section 3.12.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{api::problem::ApiError, engine::EngineError};

/// The media type of every answer.
pub(super) const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");
const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct ScimError {
    pub(super) status: StatusCode,
    pub(super) kind: Option<&'static str>,
    pub(super) detail: String,
}

impl ScimError {
    /// A refusal without a `scimType`.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind: None,
            detail: detail.into(),
        }
    }

    fn bad(kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: Some(kind),
            ..Self::new(StatusCode::BAD_REQUEST, detail)
        }
    }

    /// The body can't be understood.
    pub(super) fn syntax(detail: impl Into<String>) -> Self {
        Self::bad("invalidSyntax", detail)
    }

    /// A value can't be taken.
    pub(crate) fn value(detail: impl Into<String>) -> Self {
        Self::bad("invalidValue", detail)
    }

    /// A filter can't be understood.
    pub(super) fn filter(detail: impl Into<String>) -> Self {
        Self::bad("invalidFilter", detail)
    }

    /// A path of a PATCH can't be understood.
    pub(super) fn path(detail: impl Into<String>) -> Self {
        Self::bad("invalidPath", detail)
    }

    /// A path of a PATCH meets nothing.
    pub(super) fn no_target(detail: impl Into<String>) -> Self {
        Self::bad("noTarget", detail)
    }

    /// What can't be changed would be.
    pub(super) fn mutability(detail: impl Into<String>) -> Self {
        Self::bad("mutability", detail)
    }

    /// The answer would be too long.
    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::bad("tooMany", detail)
    }

    /// Somebody else has it.
    pub(crate) fn uniqueness(detail: impl Into<String>) -> Self {
        Self {
            kind: Some("uniqueness"),
            ..Self::new(StatusCode::CONFLICT, detail)
        }
    }

    /// There is no such resource.
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(60).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no {what} `{}`", id.escape_debug()),
        )
    }

    /// It could not be done now; nothing of why is told.
    pub(crate) fn unavailable(error: &anyhow::Error) -> Self {
        tracing::error!(
            error = format!("{error:#}"),
            "provisioning could not be done"
        );
        let detail = "it could not be stored or recorded; try again, and if it goes on, look at what \
                      the gateway writes to its standard error";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<ApiError> for ScimError {
    fn from(error: ApiError) -> Self {
        let problem = error.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, problem.title.clone())
    }
}

impl From<EngineError> for ScimError {
    fn from(error: EngineError) -> Self {
        Self::unavailable(&error.into())
    }
}

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "schemas": [SCHEMA],
            "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let (Some(kind), Some(fields)) = (self.kind, body.as_object_mut()) {
            fields.insert("scimType".into(), json!(kind));
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, SCIM_JSON);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
