//! Routes of the exec gate.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use countersign_core::id::TargetId;
use countersign_runner::inputs::{Limits, receive};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    Api, StrictJson,
    problem::ApiError,
    trace_of,
    types::{InputsReceived, RunEvent, RunRequest, TargetInfo},
};
use crate::{
    gates::exec,
    identity::Caller,
    uploads::{Quota, UploadError},
};

/// The most bytes of inputs a target takes when it says nothing.
const MAX_INPUTS: u64 = 64 << 20;
/// Events that wait for a slow caller.
const EVENTS: usize = 64;
/// Uploads of one subject at once, so that nobody takes every thread.
pub(super) const UPLOADS: usize = 4;
/// Commands of one subject at once that are waited for or run with their caller connected, so that
/// nobody takes every connection.
pub(super) const CALLS: usize = 256;
/// The longest pause within an upload, and the longest an upload may take.
const UPLOAD_IDLE: Duration = Duration::from_secs(10);
const UPLOAD_WITHIN: Duration = Duration::from_secs(600);
/// How often an empty line keeps a quiet connection open.
const BEAT: Duration = Duration::from_secs(15);

pub(super) async fn target(
    State(api): State<Api>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<TargetInfo>, ApiError> {
    let unknown = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_target",
            "there is no such target",
        )
        .with_detail("Ask an administrator for the names of targets.")
    };
    let id: TargetId = name.parse().map_err(|_| unknown())?;
    let active = api.gateway.active();
    let target = active.snapshot.target(&id).ok_or_else(unknown)?;
    let inputs = target.exec().and_then(|exec| exec.inputs.as_ref());
    Ok(Json(TargetInfo {
        name: target.id.to_string(),
        environment: target.environment.to_string(),
        keep: inputs.map(|inputs| inputs.keep.clone()).unwrap_or_default(),
        max_input_bytes: inputs.map_or(0, |inputs| inputs.max_bytes.unwrap_or(MAX_INPUTS)),
        env: target
            .exec()
            .map(|e| e.env_allow.iter().cloned().collect())
            .unwrap_or_default(),
        advisory: target.advisory,
    }))
}

pub(super) async fn inputs(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Json<InputsReceived>, ApiError> {
    let uploads = api.gateway.uploads.clone();
    let active = api.gateway.active();
    let limits = active.bundle.server().limits;
    let quota = Quota {
        bytes: limits.max_input_bytes_per_subject,
        count: limits.max_inputs_per_subject,
    };
    let (who, now) = (caller.subject.id, api.gateway.clock.now());
    let largest = active
        .bundle
        .targets()
        .values()
        .filter_map(|target| target.exec()?.inputs.as_ref())
        .map(|inputs| inputs.max_bytes.unwrap_or(MAX_INPUTS))
        .max()
        .unwrap_or(0);
    let Some(_seat) = api.uploading.take(&caller.credential.holder) else {
        let title = format!("you send {UPLOADS} uploads at once, which is the limit");
        let refused = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", title);
        return Err(refused.with_detail("Wait until one is done, and send this one again."));
    };
    let Ok(_place) = api.uploads.clone().try_acquire_owned() else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(
            status,
            "busy",
            "too many uploads at once; try again in a moment",
        ));
    };
    // A sender that stalls or drips must not keep a thread from everybody else.
    let pieces = Box::pin(body.into_data_stream());
    let end = Instant::now() + UPLOAD_WITHIN;
    let stream = futures_util::stream::unfold(pieces, move |mut pieces| async move {
        let next = end.min(Instant::now() + UPLOAD_IDLE);
        let piece = match timeout_at(next, pieces.next()).await {
            Ok(None) => return None,
            Ok(Some(piece)) => piece.map_err(std::io::Error::other),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        Some((piece, pieces))
    });
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let received = tokio::task::spawn_blocking(move || -> Result<_, UploadError> {
        let received = receive(
            reader,
            &Limits {
                total_bytes: largest,
            },
        )?;
        let entries = received.manifest().entries().len();
        let bytes = received.manifest().total_bytes();
        let digest = uploads.put(&who, received, quota, now)?;
        Ok((digest, entries, bytes))
    })
    .await;
    let (digest, entries, bytes) =
        received.map_err(|error| ApiError::invalid(error.to_string()))??;
    let entries = u64::try_from(entries).unwrap_or(u64::MAX);
    Ok(Json(InputsReceived {
        digest: digest.to_string(),
        entries,
        bytes,
    }))
}

pub(super) async fn run(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(mut call): StrictJson<RunRequest>,
) -> Result<Response, ApiError> {
    call.trace = trace_of(&headers);
    let seat = api.running.take(&caller.credential.holder).ok_or_else(|| {
        let title = format!("{CALLS} commands of yours wait or run, which is the limit");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", title)
            .with_detail("Wait until one is done, or let go of one that waits.")
    })?;
    let (to, events) = tokio::sync::mpsc::channel(EVENTS);
    tokio::spawn(exec::serve(api.gateway, api.outstanding, caller, call, to));
    let lines = futures_util::stream::unfold((events, seat), |(mut events, seat)| async {
        let line = match tokio::time::timeout(BEAT, events.recv()).await {
            Ok(None) => return None,
            Ok(Some(event)) => line(&event),
            Err(_quiet) => vec![b'\n'],
        };
        Some((Ok::<_, Infallible>(line), (events, seat)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn line(event: &RunEvent) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line
}
