//! The decision on the calling task, in microseconds.
//!
//! In scope: one evaluation of each condition whose scope holds, on `cedar_policy_core`'s own
//! evaluator; lifting computed from sets.
//! Out of scope: anything else of `cedar_policy_core`, whose interface is not stable. Its exact
//! version is pinned, this is the only module that uses it, and tests hold this path against
//! [`reference`](super::reference).
//! Invariant: no source can name `context.approvals`, so whether a condition holds does not depend
//! on approvals, and lifting is a question of sets.

use std::{
    collections::{BTreeSet, HashSet},
    sync::LazyLock,
};

use cedar_policy::{Context, Entity, EntityUid, Request, RestrictedExpression};
use cedar_policy_core::{
    ast,
    entities::{Entities, NoEntitiesSchema, TCComputation},
    evaluator::Evaluator,
    extensions::Extensions,
};
use countersign_core::{
    action::UNCLASSIFIED,
    decision::{Decision, DenyReason},
    id::{PolicyId, RuleName},
    subject::SubjectId,
};

use super::{
    Snapshot,
    asking::{self, Touched},
    question::{Ask, Evaluation, Question},
    reference::{Answered, failure},
};
use crate::statement::Statement;

/// What makes an instant of a text. Cedar's own function reads this name with its parser every time.
static DATETIME: LazyLock<Option<ast::Name>> = LazyLock::new(|| {
    let name = "datetime".parse().ok();
    name.map(ast::Name::unqualified_name)
});

/// The same as [`RestrictedExpression::new_datetime`].
pub(super) fn datetime(text: &str) -> RestrictedExpression {
    let Some(name) = DATETIME.as_ref() else {
        return RestrictedExpression::new_datetime(text);
    };
    let argument = ast::RestrictedExpr::val(text);
    ast::RestrictedExpr::call_extension_fn(name.clone(), [argument]).into()
}

/// A statement without its scope.
#[derive(Debug)]
pub(crate) struct Compiled {
    id: PolicyId,
    forbids: bool,
    approvals: BTreeSet<RuleName>,
    policy: ast::Policy,
    /// Whether there is a condition at all.
    conditional: bool,
}

impl Compiled {
    pub(crate) fn new(statement: &Statement) -> Self {
        let policy = AsRef::<ast::Policy>::as_ref(&statement.unlifted).clone();
        let conditional = policy.non_scope_constraints().is_some_and(|condition| {
            !matches!(
                condition.expr_kind(),
                ast::ExprKind::Lit(ast::Literal::Bool(true))
            )
        });
        Self {
            id: statement.id.clone(),
            forbids: statement.forbids(),
            approvals: statement.approvals.clone(),
            policy,
            conditional,
        }
    }

    /// Whether the condition holds.
    fn holds(&self, evaluator: &Evaluator<'_>) -> Result<bool, String> {
        if !self.conditional {
            return Ok(true);
        }
        let Some(condition) = self.policy.non_scope_constraints() else {
            return Ok(true);
        };
        match evaluator.interpret(condition, self.policy.env()) {
            Ok(value) => match value.value_kind() {
                ast::ValueKind::Lit(ast::Literal::Bool(holds)) => Ok(*holds),
                _ => Err(failure(
                    &self.id,
                    &"the condition is neither true nor false",
                )),
            },
            Err(error) => Err(failure(&self.id, &error)),
        }
    }
}

/// A question taken apart, with its requests built: evaluating it again costs only the conditions.
#[derive(Debug)]
pub struct Prepared<'s> {
    pub(super) snapshot: &'s Snapshot,
    approvals: BTreeSet<RuleName>,
    pub(super) asks: Vec<PreparedAsk>,
    refused: Option<Decision>,
}

#[derive(Debug)]
pub(super) struct PreparedAsk {
    pub(super) member: SubjectId,
    pub(super) effect: usize,
    pub(super) ready: Result<Box<Ready>, DenyReason>,
}

/// A request with the part of the world it can reach.
#[derive(Debug)]
pub(super) struct Ready {
    request: ast::Request,
    entities: Entities,
    slice: Vec<u32>,
    unclassified: bool,
    /// The context of the request, with the question's approvals.
    pub(super) context: Context,
    /// What `entities` holds, as it is recorded.
    pub(super) reached: Vec<Entity>,
}

impl<'s> Prepared<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, question: &Question<'_>) -> Self {
        let approvals = question.approvals.clone();
        let taken = match asking::take(snapshot, question) {
            Ok(taken) => taken,
            Err(refused) => {
                return Self {
                    snapshot,
                    approvals,
                    asks: Vec::new(),
                    refused: Some(refused),
                };
            }
        };
        let mut asks = Vec::with_capacity(taken.members.len() * taken.effects.len());
        for (member, principal) in &taken.members {
            for (effect, touched) in taken.effects.iter().enumerate() {
                let ready = match (principal, touched) {
                    (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
                    (Ok(principal), Ok(touched)) => {
                        Ready::new(snapshot, principal, touched, &approvals)
                    }
                };
                asks.push(PreparedAsk {
                    member: member.clone(),
                    effect,
                    ready,
                });
            }
        }
        Self {
            snapshot,
            approvals,
            asks,
            refused: None,
        }
    }

    /// The answer with the approvals of the question.
    #[must_use]
    pub fn evaluate(&self) -> Evaluation {
        self.evaluate_with(&self.approvals)
    }

    /// How many statements are looked at, over all asks.
    #[must_use]
    pub fn statements_in_scope(&self) -> usize {
        self.asks
            .iter()
            .filter_map(|ask| ask.ready.as_ref().ok())
            .map(|r| r.slice.len())
            .sum()
    }

    /// The answer with other approvals.
    #[must_use]
    pub fn evaluate_with(&self, approvals: &BTreeSet<RuleName>) -> Evaluation {
        if let Some(refused) = &self.refused {
            return Evaluation::refused(refused.clone());
        }
        let asks = self.asks.iter().map(|ask| {
            let Answered {
                decision,
                policies,
                errors,
            } = match &ask.ready {
                Ok(ready) => ready.answer(&self.snapshot.compiled, approvals),
                Err(reason) => Answered::refused(reason.clone()),
            };
            Ask {
                member: ask.member.clone(),
                effect: ask.effect,
                decision,
                policies,
                errors,
            }
        });
        Evaluation::of(asks.collect())
    }
}

impl Ready {
    fn new(
        snapshot: &Snapshot,
        principal: &EntityUid,
        touched: &Touched,
        approvals: &BTreeSet<RuleName>,
    ) -> Result<Box<Self>, DenyReason> {
        // The unlifted conditions never read approvals; they are there to be recorded.
        let context = asking::context(touched, approvals)?;
        let request = Request::new(
            principal.clone(),
            touched.action.clone(),
            touched.resource.clone(),
            context.clone(),
            None,
        )
        .map_err(|error| DenyReason::EvaluationFailed(crate::schema::report(&error)))?;
        let slice = snapshot.slice(principal, touched);
        let reached = snapshot
            .reachable_entities(principal, touched, &slice, &mut HashSet::new())
            .ok_or_else(|| DenyReason::EvaluationFailed("an entity is missing".into()))?;
        let entities = store(snapshot, touched, &reached)?;
        Ok(Box::new(Self {
            request: AsRef::<ast::Request>::as_ref(&request).clone(),
            entities,
            slice,
            unclassified: touched.action.id().unescaped() == UNCLASSIFIED,
            context,
            reached,
        }))
    }

    /// The principal, the action and the resource of the request.
    pub(super) fn names(&self) -> [String; 3] {
        [
            self.request.principal(),
            self.request.action(),
            self.request.resource(),
        ]
        .map(|entry| entry.uid().map(ToString::to_string).unwrap_or_default())
    }

    fn answer(&self, compiled: &[Compiled], approvals: &BTreeSet<RuleName>) -> Answered {
        let evaluator = Evaluator::new(
            self.request.clone(),
            &self.entities,
            Extensions::all_available(),
        );
        let mut tally = Tally::default();
        for number in &self.slice {
            let found = usize::try_from(*number).ok().and_then(|n| compiled.get(n));
            let Some(statement) = found else {
                let reason = DenyReason::EvaluationFailed("a statement is missing".into());
                return Answered::refused(reason);
            };
            match statement.holds(&evaluator) {
                Ok(true) => tally.add(statement, approvals),
                Ok(false) => {}
                Err(text) => tally.failed.push((&statement.id, text)),
            }
        }
        tally.conclude(self.unclassified, approvals)
    }
}

/// A small store. Ancestors of stored entities are complete already; those of the resource are
/// its target's.
fn store(
    snapshot: &Snapshot,
    touched: &Touched,
    reached: &[Entity],
) -> Result<Entities, DenyReason> {
    let resource: &ast::EntityUID = touched.resource.as_ref();
    let above = snapshot
        .base
        .entities
        .ancestors(&touched.target)
        .into_iter()
        .flatten();
    let above: Vec<&ast::EntityUID> = above.map(AsRef::as_ref).collect();
    let entities = reached.iter().map(|entity| {
        let mut entity = AsRef::<ast::Entity>::as_ref(entity).clone();
        if touched.entity.is_some() && entity.uid() == resource {
            above
                .iter()
                .for_each(|uid| entity.add_indirect_ancestor((*uid).clone()));
        }
        entity
    });
    let computed = TCComputation::AssumeAlreadyComputed;
    let extensions = Extensions::all_available();
    Entities::from_entities(entities, None::<&NoEntitiesSchema>, computed, extensions)
        .map_err(|error| DenyReason::EvaluationFailed(crate::schema::report(&error)))
}

/// The statements that hold.
#[derive(Default)]
struct Tally<'a> {
    permits: Vec<&'a Compiled>,
    forbids: Vec<&'a Compiled>,
    plain: bool,
    failed: Vec<(&'a PolicyId, String)>,
}

impl<'a> Tally<'a> {
    fn add(&mut self, statement: &'a Compiled, approvals: &BTreeSet<RuleName>) {
        if !statement.forbids {
            self.permits.push(statement);
        } else if statement.approvals.is_empty() {
            self.plain = true;
            self.forbids.push(statement);
        } else if !statement.approvals.is_subset(approvals) {
            self.forbids.push(statement);
        }
    }

    fn conclude(mut self, unclassified: bool, approvals: &BTreeSet<RuleName>) -> Answered {
        let determining = if self.forbids.is_empty() {
            &self.permits
        } else {
            &self.forbids
        };
        let policies: BTreeSet<PolicyId> = determining.iter().map(|s| s.id.clone()).collect();
        let deny = |reason| Decision::Deny {
            reason,
            policies: policies.clone(),
        };
        let decision = if !self.failed.is_empty() {
            return self.fail(policies);
        } else if unclassified {
            deny(DenyReason::Unclassified)
        } else if self.plain {
            deny(DenyReason::Forbidden)
        } else if self.permits.is_empty() {
            Decision::deny(DenyReason::NotPermitted)
        } else if self.forbids.is_empty() {
            Decision::Permit {
                policies: policies.clone(),
            }
        } else {
            let named = self
                .forbids
                .drain(..)
                .flat_map(|statement| &statement.approvals);
            let rules = named
                .filter(|rule| !approvals.contains(*rule))
                .cloned()
                .collect();
            Decision::Hold {
                rules,
                policies: policies.clone(),
            }
        };
        Answered {
            decision,
            policies,
            errors: BTreeSet::new(),
        }
    }

    fn fail(mut self, policies: BTreeSet<PolicyId>) -> Answered {
        self.failed.sort();
        let errors: BTreeSet<PolicyId> = self.failed.iter().map(|(id, _)| (*id).clone()).collect();
        let texts = self
            .failed
            .into_iter()
            .map(|(_, text)| text)
            .collect::<Vec<_>>();
        let reason = DenyReason::EvaluationFailed(texts.join("; "));
        let decision = Decision::Deny {
            reason,
            policies: errors.clone(),
        };
        Answered {
            decision,
            policies,
            errors,
        }
    }
}
