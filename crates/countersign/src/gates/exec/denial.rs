//! What whoever asked is told of a denial by policy.
//!
//! In scope: the statements that forbid it, in their own words, and as whom it was asked.
//! Out of scope: what a person's denial says ([`ending`](super::ending)).
//! Invariant: nothing but names and reasons of statements; no text of a policy.

use std::collections::BTreeSet;

use countersign_core::{decision::DenyReason, id::PolicyId};

use crate::{active::Active, identity::Caller};

/// Why, and as whom it was asked: a token of somebody else is the most frequent cause.
pub(super) fn words(
    active: &Active,
    caller: &Caller,
    reason: &DenyReason,
    policies: &BTreeSet<PolicyId>,
) -> String {
    let said = policies.iter().map(|id| {
        let statement = active.snapshot.statement(id);
        match statement.and_then(|one| one.reason.clone()) {
            Some(why) => format!("{id}: {why}"),
            None => id.to_string(),
        }
    });
    let said = said.collect::<Vec<_>>().join("; ");
    let said = match said.is_empty() {
        true => said,
        false => format!(" ({said})"),
    };
    format!("{reason}{said}; asked as `{}`", caller.subject.id)
}
