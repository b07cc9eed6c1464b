//! Routes about streams.
//!
//! In scope: how they stand, and having one try everything again.
//! Out of scope: changing streams; that is a change of the bundle.
//! Invariant: only people who may audit see streams, because where the record goes is part of it.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use countersign_policy::StreamKind;

use super::{
    Api,
    problem::ApiError,
    types::{StreamInfo, StreamList},
};
use crate::{admin, engine::EngineError, identity::Caller, streams::Standing};

/// The most given up events that are shown of a stream.
const SHOWN: usize = 100;

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<StreamList>, ApiError> {
    auditors_only(&api, &caller)?;
    Ok(Json(all(&api).await?))
}

pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<StreamList>, ApiError> {
    auditors_only(&api, &caller)?;
    if !api.streams.retry(&name) {
        let title = "there is no such stream";
        let refused = ApiError::new(StatusCode::NOT_FOUND, "no_such_stream", title);
        return Err(refused.with_detail("`countersign stream list` shows them."));
    }
    Ok(Json(all(&api).await?))
}

fn auditors_only(api: &Api, caller: &Caller) -> Result<(), ApiError> {
    let gateway = &api.gateway;
    if admin::may_audit(&gateway.active(), caller, gateway.clock.now()) {
        return Ok(());
    }
    let title = "streams are for people who may audit";
    let refused = ApiError::new(StatusCode::FORBIDDEN, "not_permitted", title);
    Err(refused.with_detail("Policy decides with the action `countersign:audit-read`."))
}

async fn all(api: &Api) -> Result<StreamList, ApiError> {
    let mut list = StreamList::default();
    for standing in api.streams.standing() {
        let letters = match standing.state.dead {
            0 => Ok(Vec::new()),
            _ => api.streams.dead_letters(&standing.name, SHOWN).await,
        };
        let dead_letters = letters.map_err(|error| EngineError::Internal(format!("{error:#}")))?;
        let Standing {
            name,
            stream,
            state,
            lag,
        } = standing;
        list.streams.push(StreamInfo {
            name,
            kind: stream.kind.name().into(),
            to: match stream.kind {
                StreamKind::Ocsf(file) => file.path,
                StreamKind::Webhook(webhook) => webhook.url,
                StreamKind::Otlp(collector) => collector.url,
            },
            next: state.next,
            lag,
            delivered: state.delivered,
            failed: state.failed,
            last: state.last,
            fault: state.fault,
            dead: state.dead,
            dead_letters,
        });
    }
    Ok(list)
}
