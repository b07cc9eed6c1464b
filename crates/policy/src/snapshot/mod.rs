//! One bundle and one directory, ready to answer questions.
//!
//! In scope: evaluating, explaining and recording.
//! Out of scope: replacing a snapshot; whoever holds it swaps an `Arc`.
//! Invariant: stock Cedar skips a statement that fails, and a missing entity makes `in` false.
//! So here any failure denies, every entity that a statement names exists, and requests are typed
//! by construction. The caller's input stays under `context.arguments` and `context.stated`.

mod asking;
pub mod entities;
pub mod explain;
pub mod fast;
mod index;
pub mod question;
mod record;
pub mod reference;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid};
use countersign_core::{
    action::Effect,
    approval::{ApprovalRule, rule::Approver},
    canonical::Hash,
    count::counted,
    directory::Directory,
    id::{ActionName, PersonId, PolicyId, RuleName, TargetId},
};

use self::{
    asking::Touched,
    entities::Base,
    fast::{Compiled, Prepared},
    index::Index,
    question::{Evaluation, Question},
};
use crate::{bundle::Bundle, problem::Problem, statement::Statement, target::Target};

/// A bundle and a directory, ready to answer questions.
#[derive(Debug)]
pub struct Snapshot {
    bundle: Arc<Bundle>,
    directory: Arc<Directory>,
    base: Base,
    index: Index,
    compiled: Vec<Compiled>,
    numbers: HashMap<PolicyId, usize>,
}

/// Why rules cannot be satisfied with today's members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` needs {} and {available} can decide; add people to its groups", counted(*needed, "person", "people"))]
pub struct Unreachable {
    /// The rule.
    pub rule: RuleName,
    /// How many different people it needs.
    pub needed: u64,
    /// How many there are.
    pub available: usize,
}

impl Snapshot {
    /// Puts a bundle and a directory together.
    ///
    /// # Errors
    /// Statements that name somebody or something that does not exist.
    pub fn new(bundle: Arc<Bundle>, directory: Arc<Directory>) -> Result<Self, Vec<Problem>> {
        let base = Base::build(&bundle, &directory)?;
        let index = Index::new(bundle.statements(), &bundle.generated.schema);
        let compiled = bundle.statements().iter().map(Compiled::new).collect();
        let numbers = bundle
            .statements()
            .iter()
            .enumerate()
            .map(|(n, s)| (s.id.clone(), n))
            .collect();
        Ok(Self {
            bundle,
            directory,
            base,
            index,
            compiled,
            numbers,
        })
    }

    /// Answers a question.
    #[must_use]
    pub fn evaluate(&self, question: &Question<'_>) -> Evaluation {
        self.prepare(question).evaluate()
    }

    /// Does everything that does not depend on approvals.
    #[must_use]
    pub fn prepare(&self, question: &Question<'_>) -> Prepared<'_> {
        Prepared::new(self, question)
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// The hash of the bundle.
    #[must_use]
    pub fn bundle_hash(&self) -> Hash {
        self.bundle.hash()
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The approval rules by name.
    #[must_use]
    pub fn rules(&self) -> &BTreeMap<RuleName, ApprovalRule> {
        self.bundle.rules()
    }

    /// One approval rule.
    #[must_use]
    pub fn rule(&self, name: &RuleName) -> Option<&ApprovalRule> {
        self.rules().get(name)
    }

    /// One target.
    #[must_use]
    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.bundle.targets().get(id)
    }

    /// Whether approvers may grant more than one action of these effects, as far as the actions go.
    #[must_use]
    pub fn may_be_granted(&self, effects: &[Effect]) -> bool {
        let actions = &self.bundle.generated.actions;
        let may = |effect: &Effect| {
            let known = actions.get(&effect.action);
            known.is_some_and(|entry| !entry.no_grant)
        };
        !effects.is_empty() && effects.iter().all(may)
    }

    /// Whether `context.arguments` of an action may have this name.
    #[must_use]
    pub fn declares(&self, action: &ActionName, argument: &str) -> bool {
        let known = self.bundle.generated.actions.get(action);
        known.is_some_and(|entry| entry.arguments.contains_key(argument))
    }

    /// One statement.
    #[must_use]
    pub fn statement(&self, id: &PolicyId) -> Option<&Statement> {
        self.numbers
            .get(id)
            .and_then(|number| self.bundle.statements().get(*number))
    }

    /// How many statements there are, the built-in one included.
    #[must_use]
    pub fn statement_count(&self) -> usize {
        self.index.len()
    }

    /// Whether each rule has enough people apart from `excluded`. Only an estimate from below: the
    /// core counts slots exactly. Rules with `owner-of:` or `manager-of:` always pass.
    ///
    /// # Errors
    /// [`Unreachable`] for the first rule without enough people.
    pub fn reachable(
        &self,
        rules: &BTreeSet<RuleName>,
        excluded: &BTreeSet<PersonId>,
    ) -> Result<(), Unreachable> {
        for rule in rules.iter().filter_map(|name| self.rule(name)) {
            let from = || rule.stages.iter().flat_map(|stage| &stage.from);
            let relation = |a: &Approver| {
                matches!(a, Approver::OwnerOfResource | Approver::ManagerOfRequester)
            };
            if from().any(relation) {
                continue;
            }
            let mut people: BTreeSet<&PersonId> = BTreeSet::new();
            for approver in from() {
                match approver {
                    Approver::Group(group) => people.extend(self.directory.members(group)),
                    Approver::User(user) => {
                        people.extend(self.directory.active_person(user).map(|_| user));
                    }
                    Approver::OwnerOfResource | Approver::ManagerOfRequester => {}
                }
            }
            let available = people
                .iter()
                .filter(|person| !excluded.contains(**person))
                .count();
            let needed = rule.stages.iter().map(|stage| u64::from(stage.count)).sum();
            if u64::try_from(available).unwrap_or(u64::MAX) < needed {
                return Err(Unreachable {
                    rule: rule.name.clone(),
                    needed,
                    available,
                });
            }
        }
        Ok(())
    }

    /// The numbers of the statements whose scope holds.
    fn slice(&self, principal: &EntityUid, touched: &Touched) -> Vec<u32> {
        let entities = &self.base.entities;
        let ancestors = |uid| entities.ancestors(uid).into_iter().flatten();
        let target = touched.entity.is_some().then_some(&touched.target);
        self.index.slice(
            &touched.action,
            (principal, ancestors(principal)),
            (
                &touched.resource,
                target.into_iter().chain(ancestors(&touched.target)),
            ),
        )
    }

    /// The entities that the conditions of `slice` can look at, the resource last and with its
    /// parent alone. `None` when one is missing.
    fn reachable_entities<'a>(
        &'a self,
        principal: &'a EntityUid,
        touched: &'a Touched,
        slice: &[u32],
        seen: &mut HashSet<&'a EntityUid>,
    ) -> Option<Vec<Entity>> {
        let mut found = Vec::new();
        let starts = [principal, &touched.action, &touched.target];
        self.base.closure(
            starts.into_iter().chain(&touched.references),
            seen,
            &mut found,
        )?;
        for number in slice {
            let number = usize::try_from(*number).ok()?;
            let statement = self.bundle.statements.get(number)?;
            self.base.closure(&statement.entities, seen, &mut found)?;
        }
        found.extend(touched.entity.clone());
        Some(found)
    }
}
