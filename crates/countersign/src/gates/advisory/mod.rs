//! Spending a permit where somebody else executes.
//!
//! In scope: the counterpart of [`runner::execute`](crate::runner::execute) for advisory gates, and
//! the outcomes that their callers owe ([`outstanding`]).
//! Out of scope: what a caller does with a decision; that is its promise (P1).
//! Invariant: the permit is taken by value and spent on the digest computed here from the stored
//! request, so one permit hands out one decision, about exactly what was decided (P1, P2). A
//! decision is handed out only after its outcome is awaited.

pub(crate) mod outstanding;

use countersign_core::{
    digest::action_digest,
    permit::{Permit, PermitMismatch, Spent},
    request::{Outcome, Request},
    time::{Span, Timestamp},
};
use serde_json::json;

pub use outstanding::{Outstanding, TooManyOutstanding};

use self::outstanding::{Awaited, Place, ended, record};
use crate::{
    engine::{EngineError, Uncased},
    gateway::Gateway,
    vault::Of,
};

/// What reviewers, callers and records are told about these gates.
pub const ADVISORY: &str =
    "Advisory: the caller executes this itself; Countersign can't enforce it.";

/// Spends a permit and awaits the outcome of what its caller may now do, for the time `within`.
/// The inner error means that nothing was handed out, which is recorded.
///
/// # Errors
/// [`EngineError`] when the permit did not fit and that could not be recorded.
pub(crate) async fn hand_out(
    gateway: &Gateway,
    place: Place,
    request: &Request,
    permit: Permit,
    has_case: bool,
    within: Span,
) -> Result<Result<Awaited, PermitMismatch>, EngineError> {
    let now = gateway.clock.now();
    let awaited = Awaited {
        of: Uncased {
            request: request.id.clone(),
            digest: request.digest,
            repeats: request.repeats(),
            asked: Of::asked(&request.chain),
        },
        permit: permit.id().clone(),
        requester: request.chain.requester.id.clone(),
        has_case,
        until: now.after(within),
    };
    if let Err(mismatch) = spend(permit, request, now) {
        let result = json!({ "error": mismatch.to_string(), "not_run": true });
        let failed = ended(&awaited, Outcome::Failed, result);
        record(&gateway.admission, &gateway.engine, &awaited, failed).await?;
        return Ok(Err(mismatch));
    }
    // A crash here is found at the next start: a permit without an outcome.
    place.fill(awaited.clone());
    Ok(Ok(awaited))
}

fn spend(permit: Permit, request: &Request, now: Timestamp) -> Result<Spent, PermitMismatch> {
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce)
        .map_err(|_| PermitMismatch::OtherAction)?;
    permit.spend(digest, now)
}
