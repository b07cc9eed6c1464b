//! How people are called in what is said to somebody.
//!
//! In scope: names for people; for agents and workloads what they can act on instead: rules,
//! groups and counts.
//! Invariant: a machine never learns from us who approves, who could, or who said no. It needs
//! none of that to work, and a name is what somebody who wants to press or deceive a person starts
//! with. The person who answers for the machine sees the names.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{approval::ApprovalRule, id::PersonId, lifecycle, subject::SubjectId};

use crate::{api::types::Approvers, engine::Update, identity::Caller};

/// The most people named.
const NAMED: usize = 10;
/// Stands for a person in what machines are told.
const SOMEBODY: &str = "a person";

/// How people are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// By their names.
    Given,
    /// Not at all.
    Withheld,
}

impl Names {
    /// As this caller may hear them.
    #[must_use]
    pub fn to(caller: &Caller) -> Self {
        match caller.person() {
            Some(_) => Self::Given,
            None => Self::Withheld,
        }
    }

    /// A person.
    #[must_use]
    pub fn person(self, person: &PersonId) -> String {
        match self {
            Self::Given => person.to_string(),
            Self::Withheld => SOMEBODY.into(),
        }
    }

    /// Anybody. Machines are named to everybody.
    #[must_use]
    pub fn subject(self, subject: &SubjectId) -> String {
        match (self, subject) {
            (Self::Withheld, SubjectId::Person(_)) => SOMEBODY.into(),
            (_, subject) => subject.to_string(),
        }
    }

    /// An entry of a rule's `from`, such as `group:dba`.
    #[must_use]
    pub fn entry(self, entry: &str) -> String {
        match self {
            Self::Withheld if entry.starts_with("user:") => "a person the rule names".into(),
            _ => entry.into(),
        }
    }

    /// Who can satisfy rules: the people that `can_sign` now, each with whoever they stand in for, and whom
    /// the rules name.
    #[must_use]
    pub fn approvers(
        self,
        rules: &[ApprovalRule],
        can_sign: &BTreeMap<PersonId, Option<PersonId>>,
    ) -> Approvers {
        let from: BTreeSet<_> = lifecycle::electorate_names(rules)
            .iter()
            .map(|entry| self.entry(entry))
            .collect();
        let named = match self {
            Self::Given => NAMED,
            Self::Withheld => 0,
        };
        let named = || can_sign.iter().take(named);
        let standing_in = named().filter_map(|(person, away)| Some((person, away.as_ref()?)));
        let rights: BTreeSet<_> = can_sign
            .iter()
            .map(|(person, away)| away.as_ref().unwrap_or(person))
            .collect();
        Approvers {
            count: u64::try_from(rights.len()).unwrap_or(u64::MAX),
            people: named().map(|(person, _)| person.to_string()).collect(),
            standing_in: standing_in
                .map(|(person, away)| (person.to_string(), away.to_string()))
                .collect(),
            from: from.into_iter().collect(),
            hindered: Vec::new(),
        }
    }

    /// What happened to a request.
    #[must_use]
    pub fn update(self, update: &Update) -> &str {
        match self {
            Self::Given => &update.text,
            Self::Withheld => &update.unnamed,
        }
    }
}
