//! The log as anybody reads it: checkpoint, keys, tiles and entries.
//!
//! In scope: serving what the log's publisher wrote, with how long it may be kept.
//! Invariant: only files are read whose names are those of the log's format. Tiles of hashes are
//! for everybody: they say how many records there are, and nothing of them. Entries name nobody,
//! but tell what happens and when, so they are for auditors.
//! Specification: <https://c2sp.org/tlog-tiles>; `/v1/log` is the prefix.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use countersign_evidence::tile::Name;

use super::{Api, problem::ApiError};
use crate::{admin, engine::EngineError, identity::Caller};

/// For what changes with every record.
const FRESH: &str = "no-cache";
/// For what never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// For what never changes and is not for everybody.
const FOREVER_PRIVATE: &str = "private, max-age=31536000, immutable";

pub(super) async fn checkpoint(State(api): State<Api>) -> Result<Response, ApiError> {
    text(&api, "checkpoint").await
}

pub(super) async fn key(State(api): State<Api>) -> Result<Response, ApiError> {
    text(&api, "key.pub").await
}

pub(super) async fn vote_key(State(api): State<Api>) -> Result<Response, ApiError> {
    text(&api, "vote-key.pub").await
}

pub(super) async fn hashes(
    State(api): State<Api>,
    Path((level, path)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    tile(&api, &format!("tile/{level}/{path}"), FOREVER).await
}

pub(super) async fn entries(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let gateway = &api.gateway;
    if !admin::may_audit(&gateway.active(), &caller, gateway.clock.now()) {
        let title = "the log's entries are for people who may audit";
        let refused = ApiError::new(StatusCode::FORBIDDEN, "not_permitted", title);
        return Err(refused.with_detail("Policy decides with the action `countersign:audit-read`."));
    }
    tile(&api, &format!("tile/entries/{path}"), FOREVER_PRIVATE).await
}

async fn tile(api: &Api, name: &str, kept: &'static str) -> Result<Response, ApiError> {
    let absent = |title: String| {
        ApiError::new(StatusCode::NOT_FOUND, "no_such_tile", title)
            .with_detail("The checkpoint says which there are; a partial one may have become full.")
    };
    let name: Name = name.parse().map_err(|error| absent(format!("{error}")))?;
    let path = api.gateway.data.join("log").join(name.to_string());
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok((
            [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, kept),
            ],
            bytes,
        )
            .into_response()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(absent(format!("there is no `{name}`")))
        }
        Err(error) => Err(EngineError::Internal(error.to_string()).into()),
    }
}

async fn text(api: &Api, name: &str) -> Result<Response, ApiError> {
    let path = api.gateway.data.join("log").join(name);
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| EngineError::Internal(error.to_string()))?;
    Ok(([(header::CACHE_CONTROL, FRESH)], text).into_response())
}
