//! What holds for every answer and every changing request, before any page is asked.
//!
//! In scope: security headers, refusing forms that another site sent.
//! Out of scope: the CSRF token, which each form's handler checks.
//! Invariant: a page is never stored, framed or named to other sites. `Origin` is not looked at:
//! under `Referrer-Policy: no-referrer` browsers send `null` in it.
//! Specification: <https://www.w3.org/TR/fetch-metadata/>.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use countersign_console::CONTENT_SECURITY_POLICY;

use super::answer;
use crate::api::{Api, problem::ApiError};

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Adds the security headers. Whatever does not say how it is cached is not.
pub(super) async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let cached = headers.entry(header::CACHE_CONTROL);
    cached.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses a changing request that another site caused, where the browser says so.
pub(super) async fn refuse_other_sites(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let site = request.headers().get("sec-fetch-site");
    let own = site.is_none_or(|site| site == "same-origin" || site == "none");
    if own || request.method().is_safe() {
        return next.run(request).await;
    }
    tracing::warn!(
        path = request.uri().path(),
        "a form that another site sent was refused"
    );
    let error = ApiError::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "this form was sent from another site, so nothing was done",
    )
    .with_detail("Open the page here and decide there.");
    answer::stranger_error(&api, &error)
}
