//! Policy statements: reading Cedar, refusing what would fail open, and making approvals part of
//! the condition.
//!
//! In scope: annotations, the transformation of `@approval`, strict validation.
//! Out of scope: evaluation.
//! Invariant: no source can name `context.approvals`; only the transformation does. Whatever
//! loads validates strictly and without a warning.
//! Specification: <https://docs.cedarpolicy.com/policies/syntax-policy.html>.

pub(crate) mod approval;
pub(crate) mod load;
pub mod scan;
pub(crate) mod walk;

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::{Effect, EntityUid, Policy};
use countersign_core::id::{PolicyId, RuleName};
use miette::Diagnostic;

/// Reserved for statements of the gateway itself.
pub const RESERVED_PREFIX: &str = "countersign.";
/// The built-in statement that forbids what could not be understood.
pub const UNCLASSIFIED_STATEMENT: &str = "countersign.unclassified";

/// One statement as written and as evaluated.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its `@id`.
    pub id: PolicyId,
    /// The file that holds it.
    pub file: Arc<str>,
    /// The line on which it begins.
    pub line: u32,
    /// The text as written.
    pub source: Arc<str>,
    /// Its `@reason`, for people.
    pub reason: Option<String>,
    /// The rules that lift it; empty for a plain statement.
    pub approvals: BTreeSet<RuleName>,
    /// Without the lifting condition.
    pub(crate) unlifted: Policy,
    /// What stock Cedar evaluates.
    pub(crate) lifted: Policy,
    /// Entities whose attributes or ancestors its conditions may look at.
    pub(crate) entities: BTreeSet<EntityUid>,
}

impl Statement {
    /// Whether it forbids.
    #[must_use]
    pub fn forbids(&self) -> bool {
        self.unlifted.effect() == Effect::Forbid
    }
}

/// The line of the first label of a Cedar error, relative to `text`.
pub(crate) fn line_of(error: &dyn Diagnostic, text: &str) -> Option<u32> {
    if let Some(mut labels) = error.labels()
        && let Some(label) = labels.next()
    {
        return Some(crate::problem::line_at(text, label.offset()));
    }
    error
        .related()
        .into_iter()
        .flatten()
        .find_map(|related| line_of(related, text))
}
