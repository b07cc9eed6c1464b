//! Which statements can match, by scope alone.
//!
//! In scope: postings from the entities and types that scopes name to statements.
//! Out of scope: conditions.
//! Invariant: exact. A statement is found if and only if its whole scope holds, and a scope that
//! does not hold neither matches nor errs, so leaving the statement out changes nothing.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint, Schema,
};

use crate::statement::Statement;

/// Numbers of statements, as bits.
#[derive(Debug, Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn sized(statements: usize) -> Self {
        Self(vec![0; statements.div_ceil(64)])
    }

    fn set(&mut self, number: u32) {
        if let Some(word) = usize::try_from(number / 64)
            .ok()
            .and_then(|i| self.0.get_mut(i))
        {
            *word |= 1 << (number % 64);
        }
    }

    fn set_all(&mut self, numbers: Option<&Vec<u32>>) {
        numbers
            .into_iter()
            .flatten()
            .for_each(|number| self.set(*number));
    }

    fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    fn numbers(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        for (place, word) in (0u32..).zip(&self.0) {
            let mut word = *word;
            while word != 0 {
                numbers.push(place * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        numbers
    }
}

/// The postings of one side, principal or resource.
#[derive(Debug, Default)]
struct Side {
    any: Bits,
    equal: HashMap<EntityUid, Vec<u32>>,
    within: HashMap<EntityUid, Vec<u32>>,
    of_type: HashMap<EntityTypeName, Vec<u32>>,
    of_type_within: HashMap<(EntityTypeName, EntityUid), Vec<u32>>,
    has_of_type_within: bool,
}

impl Side {
    fn add(&mut self, constraint: Constraint, number: u32) {
        match constraint {
            Constraint::Any => self.any.set(number),
            Constraint::Equal(uid) => self.equal.entry(uid).or_default().push(number),
            Constraint::Within(uid) => self.within.entry(uid).or_default().push(number),
            Constraint::OfType(kind) => self.of_type.entry(kind).or_default().push(number),
            Constraint::OfTypeWithin(kind, uid) => {
                self.has_of_type_within = true;
                self.of_type_within
                    .entry((kind, uid))
                    .or_default()
                    .push(number);
            }
        }
    }

    fn matching<'a>(
        &self,
        uid: &'a EntityUid,
        ancestors: impl Iterator<Item = &'a EntityUid>,
    ) -> Bits {
        let mut bits = self.any.clone();
        bits.set_all(self.equal.get(uid));
        bits.set_all(self.of_type.get(uid.type_name()));
        // Cedar's `in` holds for the entity itself as well.
        for ancestor in std::iter::once(uid).chain(ancestors) {
            bits.set_all(self.within.get(ancestor));
            if self.has_of_type_within {
                let key = (uid.type_name().clone(), ancestor.clone());
                bits.set_all(self.of_type_within.get(&key));
            }
        }
        bits
    }
}

enum Constraint {
    Any,
    Equal(EntityUid),
    Within(EntityUid),
    OfType(EntityTypeName),
    OfTypeWithin(EntityTypeName, EntityUid),
}

impl From<PrincipalConstraint> for Constraint {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::Eq(uid) => Self::Equal(uid),
            PrincipalConstraint::In(uid) => Self::Within(uid),
            PrincipalConstraint::Is(kind) => Self::OfType(kind),
            PrincipalConstraint::IsIn(kind, uid) => Self::OfTypeWithin(kind, uid),
        }
    }
}

impl From<ResourceConstraint> for Constraint {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::Eq(uid) => Self::Equal(uid),
            ResourceConstraint::In(uid) => Self::Within(uid),
            ResourceConstraint::Is(kind) => Self::OfType(kind),
            ResourceConstraint::IsIn(kind, uid) => Self::OfTypeWithin(kind, uid),
        }
    }
}

/// The index over all statements.
#[derive(Debug)]
pub(crate) struct Index {
    statements: usize,
    principals: Side,
    resources: Side,
    any_action: Bits,
    /// Statements whose scope names the action or a group of it.
    actions: HashMap<EntityUid, Vec<u32>>,
}

impl Index {
    /// Indexes statements in their order.
    pub(crate) fn new(statements: &[Statement], schema: &Schema) -> Self {
        let size = statements.len();
        let side = || Side {
            any: Bits::sized(size),
            ..Side::default()
        };
        let mut index = Self {
            statements: size,
            principals: side(),
            resources: side(),
            any_action: Bits::sized(size),
            actions: HashMap::new(),
        };
        let members = action_members(schema);
        for (number, statement) in (0u32..).zip(statements) {
            let policy = &statement.unlifted;
            index
                .principals
                .add(policy.principal_constraint().into(), number);
            index
                .resources
                .add(policy.resource_constraint().into(), number);
            let named = match policy.action_constraint() {
                ActionConstraint::Any => {
                    index.any_action.set(number);
                    continue;
                }
                ActionConstraint::Eq(uid) => vec![uid],
                ActionConstraint::In(groups) => groups
                    .iter()
                    .flat_map(|group| members.get(group).into_iter().flatten().cloned())
                    .collect(),
            };
            for action in named {
                let numbers = index.actions.entry(action).or_default();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        index
    }

    /// The numbers of the statements whose scope holds, in order.
    pub(crate) fn slice<'a>(
        &self,
        action: &EntityUid,
        principal: (&'a EntityUid, impl Iterator<Item = &'a EntityUid>),
        resource: (&'a EntityUid, impl Iterator<Item = &'a EntityUid>),
    ) -> Vec<u32> {
        let mut bits = self.any_action.clone();
        bits.set_all(self.actions.get(action));
        bits.and(&self.principals.matching(principal.0, principal.1));
        bits.and(&self.resources.matching(resource.0, resource.1));
        bits.numbers()
    }

    /// How many statements there are.
    pub(crate) fn len(&self) -> usize {
        self.statements
    }
}

/// Each action with the actions below it, itself included.
fn action_members(schema: &Schema) -> HashMap<EntityUid, Vec<EntityUid>> {
    let mut members: HashMap<EntityUid, Vec<EntityUid>> = HashMap::new();
    let entities = schema
        .action_entities()
        .unwrap_or_else(|_| cedar_policy::Entities::empty());
    for entity in entities.iter() {
        let uid = entity.uid();
        for ancestor in entities.ancestors(&uid).into_iter().flatten() {
            members
                .entry(ancestor.clone())
                .or_default()
                .push(uid.clone());
        }
        members.entry(uid.clone()).or_default().push(uid);
    }
    members
}
