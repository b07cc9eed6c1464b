//! The style sheet, the script and the logo.
//!
//! Invariant: only an address with the current hash is kept for good; after an upgrade an old
//! address never brings new bytes into a cache that keeps them.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use countersign_console::asset;

use super::answer;
use crate::api::{Api, problem::ApiError};

const FOR_GOOD: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

pub(super) async fn serve(
    State(api): State<Api>,
    Path(path): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(found) = asset(&path) else {
        let title = "there is nothing at this address";
        let error = ApiError::new(StatusCode::NOT_FOUND, "not_found", title);
        return answer::stranger_error(&api, &error);
    };
    let version = uri.query().and_then(|query| query.strip_prefix("v="));
    let current = version == Some(found.etag.trim_matches('"'));
    let caching = if current { FOR_GOOD } else { ASK_AGAIN };
    let about = [
        (header::CONTENT_TYPE, found.content_type),
        (header::ETAG, found.etag),
        (header::CACHE_CONTROL, caching),
    ];
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    let known = known
        .unwrap_or_default()
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"));
    if known.into_iter().any(|tag| tag == found.etag || tag == "*") {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, found.bytes).into_response()
}
