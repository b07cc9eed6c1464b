//! Spending a permit where somebody else executes.
//!
//! In scope: the counterpart of [`runner::execute`](crate::runner::execute) for advisory gates.
//! Invariant: the permit is taken by value and spent on the digest computed here from the stored
//! request, so one permit hands out one decision, about exactly what was decided (P1, P2). What
//! the caller then does is the caller's promise.

use countersign_core::{
    digest::action_digest,
    permit::{Permit, PermitMismatch, Spent},
    request::Request,
    time::Timestamp,
};

/// Hands a decision out.
///
/// # Errors
/// The permit is for another action or has lapsed; it is gone either way.
pub(super) fn advise(
    permit: Permit,
    request: &Request,
    now: Timestamp,
) -> Result<Spent, PermitMismatch> {
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce)
        .map_err(|_| PermitMismatch::OtherAction)?;
    permit.spend(digest, now)
}
