//! What policy says: permit, deny or hold, never a `bool`.
//!
//! In scope: the decision with the statements that made it, and strictest-wins combination.
//! Out of scope: evaluating policies.
//! Invariant: combining decisions never yields something milder than any of them (P5).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Hash,
    id::{PolicyId, RuleName},
};

/// Why an action is denied by policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "why", content = "detail")]
pub enum DenyReason {
    /// A forbid that no approval lifts.
    #[error("a policy forbids it")]
    Forbidden,
    /// No permit matches, even with every approval.
    #[error("no policy permits it")]
    NotPermitted,
    /// Evaluation failed; the text says where.
    #[error("the policy could not be evaluated: {0}")]
    EvaluationFailed(String),
    /// An effect that the gate could not classify.
    #[error("part of the action could not be understood")]
    Unclassified,
    /// A member of the chain is unknown, disabled or has no owner.
    #[error("{0}")]
    UnresolvedSubject(String),
    /// The target is unknown or has no environment.
    #[error("{0}")]
    UnresolvedResource(String),
    /// The rules that would have to be satisfied cannot be, with today's members.
    #[error("{0}")]
    QuorumUnreachable(String),
    /// A person denied an identical call a short while ago.
    #[error(
        "a person denied an identical call{}; it can be asked again from {until} on",
        said(.reason)
    )]
    RecentlyDenied {
        /// Until when it is refused.
        until: crate::time::Timestamp,
        /// Why, in the words of whoever denied it.
        reason: Option<String>,
    },
    /// People denied too many requests of this subject at this target.
    #[error(
        "people denied {max} requests of yours at this target a short while ago, so nobody is \
         asked again before {0}; change what you ask for, or talk to the people who decide",
        max = crate::lifecycle::MAX_DENIALS
    )]
    OftenDenied(crate::time::Timestamp),
}

/// The reason somebody gave, as part of a sentence.
fn said(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" (\u{201c}{reason}\u{201d})"))
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Go ahead.
    Permit {
        /// The statements that decided.
        policies: BTreeSet<PolicyId>,
    },
    /// Wait until every named rule is satisfied.
    Hold {
        /// The rules to satisfy, never empty.
        rules: BTreeSet<RuleName>,
        /// The statements that decided.
        policies: BTreeSet<PolicyId>,
    },
    /// No.
    Deny {
        /// Why.
        reason: DenyReason,
        /// The statements that decided, empty when none did.
        policies: BTreeSet<PolicyId>,
    },
}

impl Decision {
    /// A denial that no statement caused.
    #[must_use]
    pub fn deny(reason: DenyReason) -> Self {
        Self::Deny {
            reason,
            policies: BTreeSet::new(),
        }
    }

    /// The stricter of two decisions; two holds hold for the rules of both.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (deny @ Self::Deny { .. }, _) | (_, deny @ Self::Deny { .. }) => deny,
            (
                Self::Hold {
                    mut rules,
                    mut policies,
                },
                Self::Hold {
                    rules: more,
                    policies: others,
                },
            ) => {
                rules.extend(more);
                policies.extend(others);
                Self::Hold { rules, policies }
            }
            (hold @ Self::Hold { .. }, _) | (_, hold @ Self::Hold { .. }) => hold,
            (Self::Permit { mut policies }, Self::Permit { policies: others }) => {
                policies.extend(others);
                Self::Permit { policies }
            }
        }
    }

    /// The strictest of all; no decision at all is a denial.
    #[must_use]
    pub fn strictest_of(decisions: impl IntoIterator<Item = Self>) -> Self {
        decisions
            .into_iter()
            .reduce(Self::strictest)
            .unwrap_or_else(|| Self::deny(DenyReason::NotPermitted))
    }

    /// The statements that decided.
    #[must_use]
    pub fn policies(&self) -> &BTreeSet<PolicyId> {
        match self {
            Self::Permit { policies }
            | Self::Hold { policies, .. }
            | Self::Deny { policies, .. } => policies,
        }
    }

    /// `permit`, `hold` or `deny`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Permit { .. } => "permit",
            Self::Hold { .. } => "hold",
            Self::Deny { .. } => "deny",
        }
    }
}

/// A decision together with what it was based on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The answer.
    pub decision: Decision,
    /// The hash of the bundle that decided.
    pub bundle: Hash,
    /// The rules taken as satisfied when asking; empty at first.
    pub approvals: BTreeSet<RuleName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_when_they_end() {
        let until = crate::time::Timestamp(0);
        let denied = |reason: Option<&str>| DenyReason::RecentlyDenied {
            until,
            reason: reason.map(str::to_owned),
        };
        for (reason, expected) in [
            (
                denied(None),
                "a person denied an identical call; it can be asked again from \
                 1970-01-01T00:00:00.000Z on",
            ),
            (
                denied(Some("not on a Friday")),
                "a person denied an identical call (\u{201c}not on a Friday\u{201d}); it can be asked \
                 again from 1970-01-01T00:00:00.000Z on",
            ),
            (
                DenyReason::OftenDenied(until),
                "people denied 5 requests of yours at this target a short while ago, so nobody is \
                 asked again before 1970-01-01T00:00:00.000Z; change what you ask for, or talk to \
                 the people who decide",
            ),
        ] {
            assert_eq!(reason.to_string(), expected);
        }
    }

    #[test]
    fn strictest_wins_in_any_order() {
        let permit = Decision::Permit {
            policies: BTreeSet::new(),
        };
        let hold = |rule: &str| Decision::Hold {
            rules: [rule.parse().unwrap()].into(),
            policies: BTreeSet::new(),
        };
        let deny = Decision::deny(DenyReason::Forbidden);
        for (decisions, expected) in [
            (vec![], "deny"),
            (vec![permit.clone()], "permit"),
            (vec![permit.clone(), hold("dba")], "hold"),
            (vec![hold("dba"), deny.clone(), permit.clone()], "deny"),
        ] {
            let reversed = decisions.iter().rev().cloned().collect::<Vec<_>>();
            assert_eq!(Decision::strictest_of(decisions).name(), expected);
            assert_eq!(Decision::strictest_of(reversed).name(), expected);
        }
        let Decision::Hold { rules, .. } = hold("dba").strictest(hold("security")) else {
            panic!("two holds make a hold")
        };
        assert_eq!(rules.len(), 2);
    }
}
