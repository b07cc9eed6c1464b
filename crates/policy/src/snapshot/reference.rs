//! The decision by Cedar's public authorizer alone, slowly and plainly.
//!
//! In scope: the two-ask algorithm over all entities and all statements.
//! Out of scope: speed. Tests hold the fast path against this one.
//! Invariant: a permit means that Cedar answers Allow without any error.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Decision as Answer, Entities, Request, Response};
use countersign_core::{
    action::UNCLASSIFIED,
    decision::{Decision, DenyReason},
    id::{PolicyId, RuleName},
};

use super::{
    Snapshot,
    asking::{self, Touched},
    question::{Ask, Evaluation, Question},
};
use crate::schema::report;

/// Answers a question like [`Snapshot::evaluate`].
#[must_use]
pub fn evaluate(snapshot: &Snapshot, question: &Question<'_>) -> Evaluation {
    let taken = match asking::take(snapshot, question) {
        Ok(taken) => taken,
        Err(decision) => return Evaluation::refused(decision),
    };
    let mut asks = Vec::new();
    for (member, principal) in &taken.members {
        for (effect, touched) in taken.effects.iter().enumerate() {
            let answer = match (principal, touched) {
                (Err(reason), _) | (_, Err(reason)) => Answered::refused(reason.clone()),
                (Ok(principal), Ok(touched)) => {
                    let asked = Asked {
                        snapshot,
                        question,
                        principal,
                        touched,
                    };
                    asked.answer().unwrap_or_else(Answered::refused)
                }
            };
            let Answered {
                decision,
                policies,
                errors,
            } = answer;
            asks.push(Ask {
                member: member.clone(),
                effect,
                decision,
                policies,
                errors,
            });
        }
    }
    Evaluation::of(asks)
}

/// The answer for one member and one effect.
pub(crate) struct Answered {
    pub(crate) decision: Decision,
    pub(crate) policies: BTreeSet<PolicyId>,
    pub(crate) errors: BTreeSet<PolicyId>,
}

impl Answered {
    /// A denial without asking.
    pub(crate) fn refused(reason: DenyReason) -> Self {
        let decision = Decision::deny(reason);
        Self {
            decision,
            policies: BTreeSet::new(),
            errors: BTreeSet::new(),
        }
    }
}

struct Asked<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question<'a>,
    principal: &'a cedar_policy::EntityUid,
    touched: &'a Touched,
}

impl Asked<'_> {
    fn answer(&self) -> Result<Answered, DenyReason> {
        let granted = self.question.approvals;
        let first = self.ask(granted)?;
        let policies = reasons(&first);
        let errors = errors(&first);
        if !errors.is_empty() {
            let text = errors
                .iter()
                .map(|(_, text)| text.as_str())
                .collect::<Vec<_>>()
                .join("; ");
            let errors: BTreeSet<PolicyId> = errors.into_iter().map(|(id, _)| id).collect();
            let reason = DenyReason::EvaluationFailed(text);
            let decision = Decision::Deny {
                reason,
                policies: errors.clone(),
            };
            return Ok(Answered {
                decision,
                policies,
                errors,
            });
        }
        let decision = self.decide(&first, &policies)?;
        Ok(Answered {
            decision,
            policies,
            errors: BTreeSet::new(),
        })
    }

    fn decide(
        &self,
        first: &Response,
        policies: &BTreeSet<PolicyId>,
    ) -> Result<Decision, DenyReason> {
        if self.touched.action.id().unescaped() == UNCLASSIFIED {
            let policies = policies.clone();
            return Ok(Decision::Deny {
                reason: DenyReason::Unclassified,
                policies,
            });
        }
        if first.decision() == Answer::Allow {
            return Ok(Decision::Permit {
                policies: policies.clone(),
            });
        }
        let mut missing = BTreeSet::new();
        for id in policies {
            let rules = self.snapshot.statement(id).map(|s| &s.approvals);
            match rules.filter(|rules| !rules.is_empty()) {
                Some(rules) => missing.extend(rules.difference(self.question.approvals).cloned()),
                None => {
                    let policies = policies.clone();
                    return Ok(Decision::Deny {
                        reason: DenyReason::Forbidden,
                        policies,
                    });
                }
            }
        }
        if policies.is_empty() {
            return Ok(Decision::deny(DenyReason::NotPermitted));
        }
        let candidate = self.question.approvals.union(&missing).cloned().collect();
        let second = self.ask(&candidate)?;
        if second.decision() == Answer::Allow && errors(&second).is_empty() {
            return Ok(Decision::Hold {
                rules: missing,
                policies: policies.clone(),
            });
        }
        Ok(Decision::deny(DenyReason::NotPermitted))
    }

    fn ask(&self, approvals: &BTreeSet<RuleName>) -> Result<Response, DenyReason> {
        let failed = |error: &dyn std::error::Error| DenyReason::EvaluationFailed(report(error));
        let context = asking::context(self.touched, approvals)?;
        let request = Request::new(
            self.principal.clone(),
            self.touched.action.clone(),
            self.touched.resource.clone(),
            context,
            Some(&self.snapshot.bundle.generated.schema),
        )
        .map_err(|error| failed(&error))?;
        let entities = self.entities()?;
        Ok(Authorizer::new().is_authorized(&request, &self.snapshot.bundle.set, &entities))
    }

    fn entities(&self) -> Result<Entities, DenyReason> {
        let resource = self.touched.entity.clone();
        let schema = &self.snapshot.bundle.generated.schema;
        let entities = self
            .snapshot
            .base
            .entities
            .clone()
            .add_entities(resource, Some(schema));
        entities.map_err(|error| DenyReason::EvaluationFailed(report(&error)))
    }
}

fn reasons(response: &Response) -> BTreeSet<PolicyId> {
    let ids = response.diagnostics().reason();
    ids.filter_map(|id| AsRef::<str>::as_ref(id).parse().ok())
        .collect()
}

/// Statements that failed, with what to say about each, by id.
fn errors(response: &Response) -> Vec<(PolicyId, String)> {
    let mut errors = response
        .diagnostics()
        .errors()
        .filter_map(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            let id: PolicyId = AsRef::<str>::as_ref(error.policy_id()).parse().ok()?;
            let text = failure(&id, error.inner());
            Some((id, text))
        })
        .collect::<Vec<_>>();
    errors.sort();
    errors
}

/// What is said about a statement that failed.
pub(crate) fn failure(id: &PolicyId, error: &impl std::fmt::Display) -> String {
    format!("statement `{id}`: {error}")
}
