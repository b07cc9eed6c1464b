//! Grants: the approvers of one request agree that its like may run for a while, so many times.
//!
//! In scope: what may be granted of a request, what approvers agree on, and when another action has the
//! granted shape.
//! Out of scope: counting and ending ([`lifecycle`](crate::lifecycle)); policy, which decides each use
//! again.
//! Invariant: an action has the shape of another only if the same chain asks for it at the same target
//! and they differ in nothing but single values at the places that the approvers left open.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApprovalRule, vote::Vote};
use crate::{
    action::{Action, Effect},
    canonical::{Hash, NotCanonical, hash_in_domain},
    digest::ActionDigest,
    id::{PersonId, RequestId},
    subject::{SubjectChain, SubjectId},
    time::{Span, Timestamp},
};

/// The most places of an action that can be left open.
pub const MAX_OPEN_PLACES: usize = 16;

/// What may be granted of a request, by every rule that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantOffer {
    /// The longest time.
    pub max: Span,
    /// The most uses, the first included.
    pub uses: u32,
    /// The places in the action's arguments that may be left open, as JSON pointers (RFC 6901), and what
    /// the gate calls the value there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, String>,
}

/// What an approver wants granted. Approvers of one quorum agree only if they say the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTerms {
    /// For how long after the last of the votes.
    #[serde(rename = "for")]
    pub time: Span,
    /// The places, as JSON pointers, at which another value may stand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub open: BTreeSet<String>,
    /// How many times, the first included.
    pub uses: u32,
}

/// A grant, kept with the request whose approvers gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What was agreed on.
    pub terms: GrantTerms,
    /// Its end.
    pub until: Timestamp,
    /// How many times it was used, the first included.
    pub used: u32,
    /// Those whose votes it lends: who filled the slots of the request that it was given with.
    #[serde(default)]
    pub givers: BTreeSet<PersonId>,
    /// Who ended it before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<GrantEnd>,
}

/// That somebody ended a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// Who.
    pub by: SubjectId,
    /// When.
    pub at: Timestamp,
}

/// The grant that a request runs under: a copy of the votes that count for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Granted {
    /// The request whose approvers gave it.
    pub request: RequestId,
    /// The action they voted on.
    pub digest: ActionDigest,
    /// Its end.
    pub until: Timestamp,
    /// Their votes, in the order in which they were cast.
    pub votes: Vec<Vote>,
}

impl GrantOffer {
    /// What all of `rules` offer together; `None` when one of them offers nothing.
    #[must_use]
    pub fn of(rules: &[ApprovalRule], places: BTreeMap<String, String>) -> Option<Self> {
        let limits: Option<Vec<_>> = rules.iter().map(|rule| rule.grants.as_ref()).collect();
        let limits = limits?;
        Some(Self {
            max: limits.iter().map(|limit| limit.max).min()?,
            uses: limits.iter().map(|limit| limit.uses).min()?,
            places,
        })
    }

    /// Whether approvers may agree on `terms`.
    #[must_use]
    pub fn allows(&self, terms: &GrantTerms) -> bool {
        terms.time.as_millis() > 0
            && terms.time <= self.max
            && (2..=self.uses).contains(&terms.uses)
            && terms.open.len() <= MAX_OPEN_PLACES
            && terms
                .open
                .iter()
                .all(|place| self.places.contains_key(place))
    }
}

impl Grant {
    /// Whether it can be used once more at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.used < self.terms.uses && now < self.until
    }

    /// When it can no longer be used, whatever happens; `None` when that is so already.
    #[must_use]
    pub fn live_until(&self) -> Option<Timestamp> {
        (self.ended.is_none() && self.used < self.terms.uses).then_some(self.until)
    }
}

#[derive(Serialize)]
struct Shaped<'a> {
    action: &'a Action,
    members: Vec<&'a SubjectId>,
    open: &'a BTreeSet<String>,
}

/// What every action has in common that is granted with one: who asks, for whom, and the action without
/// the values at its open places. Two actions have one shape if these are equal.
///
/// `None` where a place is open at which no single value stands (text, number or yes/no), or where the
/// action has masked secrets, whose equality can't be seen.
///
/// # Errors
/// [`NotCanonical`] when the arguments cannot be written as JSON.
pub fn shape(
    chain: &SubjectChain,
    action: &Action,
    open: &BTreeSet<String>,
) -> Result<Option<Hash>, NotCanonical> {
    if !action.masked.is_empty() {
        return Ok(None);
    }
    let mut action = action.clone();
    for place in open {
        let Some(value) = action.arguments.pointer_mut(place) else {
            return Ok(None);
        };
        let kind = match value {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Null | Value::Array(_) | Value::Object(_) => return Ok(None),
        };
        *value = json!({ "any": kind });
    }
    let members = chain.members().map(|member| &member.id).collect();
    let shaped = Shaped {
        action: &action,
        members,
        open,
    };
    hash_in_domain("grant-shape", &shaped).map(Some)
}

/// Whether two lists of effects do the same to the same kind of things; with nothing left open, to the
/// very same things.
#[must_use]
pub fn same_effects(one: &[Effect], other: &[Effect], exact: bool) -> bool {
    let alike = |(one, other): (&Effect, &Effect)| {
        one.action == other.action
            && one.resource.kind == other.resource.kind
            && one.resource.target == other.resource.target
            && (!exact || one.resource.id == other.resource.id)
    };
    !one.is_empty() && one.len() == other.len() && one.iter().zip(other).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;

    fn chain(agent: &str) -> SubjectChain {
        SubjectChain::of(Subject {
            id: SubjectId::Agent(agent.parse().unwrap()),
            owner: None,
        })
    }

    fn action(arguments: Value) -> Action {
        Action {
            gate: "exec".into(),
            target: "orders".parse().unwrap(),
            operation: "run".into(),
            arguments,
            session: Value::Null,
            masked: Vec::new(),
        }
    }

    fn places(open: &[&str]) -> BTreeSet<String> {
        open.iter().map(|place| (*place).to_owned()).collect()
    }

    #[test]
    fn an_action_has_the_shape_only_if_nothing_but_open_values_differ() {
        let granted = json!({ "argv": ["restart", "api", "5"], "cwd": "/srv", "n": 1 });
        for (open, other, fits) in [
            (&[][..], granted.clone(), true),
            (
                &[],
                json!({ "argv": ["restart", "web", "5"], "cwd": "/srv", "n": 1 }),
                false,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", "web", "5"], "cwd": "/srv", "n": 1 }),
                true,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", "web", "6"], "cwd": "/srv", "n": 1 }),
                false,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", "web", "5"], "cwd": "/", "n": 1 }),
                false,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", "web", "5", "-f"], "cwd": "/srv", "n": 1 }),
                false,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", 5, "5"], "cwd": "/srv", "n": 1 }),
                false,
            ),
            (
                &["/argv/1"],
                json!({ "argv": ["restart", { "any": "text" }, "5"], "cwd": "/srv", "n": 1 }),
                false,
            ),
            (
                &["/n"],
                json!({ "argv": ["restart", "api", "5"], "cwd": "/srv", "n": 2 }),
                true,
            ),
            (
                &["/n"],
                json!({ "argv": ["restart", "api", "5"], "cwd": "/srv" }),
                false,
            ),
            (&["/argv"], granted.clone(), false),
        ] {
            let open = places(open);
            let of =
                |arguments: &Value| shape(&chain("a"), &action(arguments.clone()), &open).unwrap();
            let (one, two) = (of(&granted), of(&other));
            assert_eq!(one.is_some() && one == two, fits, "{open:?} {other}");
        }
    }

    #[test]
    fn other_agents_targets_sessions_and_masks_have_another_shape() {
        let (granted, none) = (action(json!({ "argv": ["x"] })), places(&[]));
        let of = |chain: &SubjectChain, action: &Action| shape(chain, action, &none).unwrap();
        let shape = of(&chain("a"), &granted);
        assert!(shape.is_some());
        assert_ne!(of(&chain("b"), &granted), shape);
        let mut for_dana = chain("a");
        for_dana.on_behalf_of.push(Subject {
            id: SubjectId::Person("dana@example.com".parse().unwrap()),
            owner: None,
        });
        assert_ne!(of(&for_dana, &granted), shape);
        for other in [
            Action {
                target: "other".parse().unwrap(),
                ..granted.clone()
            },
            Action {
                gate: "authzen".into(),
                ..granted.clone()
            },
            Action {
                operation: "sign".into(),
                ..granted.clone()
            },
            Action {
                session: json!({ "role": "root" }),
                ..granted.clone()
            },
        ] {
            assert_ne!(of(&chain("a"), &other), shape, "{other:?}");
        }
    }

    #[test]
    fn an_offer_allows_what_all_rules_offer_and_no_more() {
        let offer = GrantOffer {
            max: Span::minutes(15),
            uses: 20,
            places: BTreeMap::from([("/argv/1".into(), "service".into())]),
        };
        let terms = |time, uses, open: &[&str]| GrantTerms {
            time: Span::from_millis(time),
            uses,
            open: places(open),
        };
        for (terms, allowed) in [
            (terms(900_000, 20, &[]), true),
            (terms(900_000, 20, &["/argv/1"]), true),
            (terms(900_001, 20, &[]), false),
            (terms(900_000, 21, &[]), false),
            (terms(900_000, 1, &[]), false),
            (terms(0, 20, &[]), false),
            (terms(-1, 20, &[]), false),
            (terms(900_000, 20, &["/argv/0"]), false),
            (terms(900_000, 20, &["/argv/1", ""]), false),
        ] {
            assert_eq!(offer.allows(&terms), allowed, "{terms:?}");
        }
    }
}
