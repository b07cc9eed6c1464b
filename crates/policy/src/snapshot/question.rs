//! A question and its answer.
//!
//! In scope: what is asked of a snapshot and what comes back.
//! Out of scope: how the answer is found.
//! Invariant: an [`Ask`] stands for one question to Cedar: one member of the chain, one effect.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    action::Effect,
    decision::Decision,
    id::{PolicyId, RuleName},
    subject::{SubjectChain, SubjectId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most effects a question may have.
pub const MAX_EFFECTS: usize = 64;
/// The most members a chain may have.
pub const MAX_CHAIN: usize = 8;

/// May this chain do this, now, with these approvals?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks, and for whom.
    pub chain: &'a SubjectChain,
    /// The gate: `exec`, `admin`, …
    pub gate: &'a str,
    /// The gate's own verb.
    pub operation: &'a str,
    /// What the action does. At most [`MAX_EFFECTS`]; none is denied.
    pub effects: &'a [Effect],
    /// What the gate's placeholders took. An action sees those that its patterns declare.
    pub arguments: &'a BTreeMap<String, Value>,
    /// The reason that the requester states.
    pub reason: Option<&'a str>,
    /// The rules that are satisfied.
    pub approvals: &'a BTreeSet<RuleName>,
    /// The moment that policies see.
    pub now: Timestamp,
}

/// The answer for one member and one effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The member of the chain.
    pub member: SubjectId,
    /// The effect, by its place in the question.
    pub effect: usize,
    /// The answer.
    pub decision: Decision,
    /// What a Cedar engine lists as determining for the recorded request.
    pub policies: BTreeSet<PolicyId>,
    /// Statements that could not be evaluated; any makes the answer a denial.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub errors: BTreeSet<PolicyId>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The strictest of all asks.
    pub decision: Decision,
    /// One for each member and effect, members first; empty when the question itself is refused.
    pub asks: Vec<Ask>,
}

impl Evaluation {
    /// The strictest of `asks`.
    #[must_use]
    pub(crate) fn of(asks: Vec<Ask>) -> Self {
        let decision = Decision::strictest_of(asks.iter().map(|ask| ask.decision.clone()));
        Self { decision, asks }
    }

    /// A question refused as a whole.
    pub(crate) fn refused(decision: Decision) -> Self {
        Self {
            decision,
            asks: Vec::new(),
        }
    }
}
