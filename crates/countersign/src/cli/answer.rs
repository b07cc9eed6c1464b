//! The gateway's answers, read with limits.
//!
//! In scope: successes as JSON or bytes, refusals and redirects as failures, what broke off.
//! Out of scope: sending ([`client`](super::client)).
//! Invariant: an answer is read whole and within a limit, or not at all.

use std::error::Error as _;

use reqwest::{Response, StatusCode, header::LOCATION};
use serde::de::DeserializeOwned;

use super::failure::{Failure, UNAVAILABLE};
use crate::api::types::Problem;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Passes successes on and turns everything else into a failure.
pub(super) async fn checked(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status.is_redirection() {
        let to = answer
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .unwrap_or("?");
        return Err(Failure::new("redirect", format!("the gateway points to `{to}`"))
            .next("the token was not sent there; if that is right, use that address as COUNTERSIGN_URL")
            .exit(UNAVAILABLE));
    }
    let bytes = whole(answer).await?;
    let problem = serde_json::from_slice::<Problem>(&bytes).unwrap_or_else(|_| Problem {
        kind: "http".into(),
        status: status.as_u16(),
        title: format!("the gateway answered {status}"),
        detail: not_ours(status),
        request: None,
    });
    Err(Failure::of_problem(problem, status))
}

fn not_ours(status: StatusCode) -> Option<String> {
    (status == StatusCode::NOT_FOUND)
        .then(|| "check that the address is that of a Countersign gateway of this version".into())
}

pub(super) async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, Failure> {
    let bytes = whole(answer).await?;
    serde_json::from_slice(&bytes).map_err(|error| unexpected(&error.to_string()))
}

pub(super) async fn whole(mut answer: Response) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let broken = |error: reqwest::Error| {
        Failure::new(
            "broken",
            format!("the gateway's answer broke off: {}", chain(&error)),
        )
        .next("try again")
        .exit(UNAVAILABLE)
    };
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if bytes.len().saturating_add(piece.len()) > MAX_ANSWER {
            return Err(unexpected("more than 64 MiB"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(super) fn unexpected(what: &str) -> Failure {
    Failure::new(
        "unexpected_answer",
        format!("the gateway's answer is not understood: {what}"),
    )
    .next("compare the versions with `countersign doctor`")
    .exit(UNAVAILABLE)
}

/// An error with its causes, without the address, on one line.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = match cause {
        Some(_) => String::new(),
        None => error.to_string(),
    };
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
