//! What the core needs to know about people, groups, agents and workloads.
//!
//! In scope: membership with its beginning and whether it was countersigned, owners, managers.
//! Out of scope: credentials, how the directory is stored and changed.
//! Invariant: a directory is a value; a new one replaces the old, so a decision and a vote see
//! one state each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    absence::Absence,
    canonical::Hash,
    id::{AgentId, GroupId, PersonId, ProviderId, WorkloadId},
    provisioning::{Provisioning, Standing},
    subject::{Subject, SubjectId},
    time::Timestamp,
};

/// Somebody's account with a provider: a hash of the provider's address and its own name for the
/// account, which says nothing about the person to whoever doesn't know both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub Hash);

impl AccountId {
    /// The account that `issuer` calls `subject`.
    #[must_use]
    pub fn of(issuer: &str, subject: &str) -> Self {
        Self(Hash::of_parts(&[
            b"countersign/account/v1\0",
            issuer.as_bytes(),
            b"\0",
            subject.as_bytes(),
        ]))
    }
}

/// Somebody's account with a provider, as it was when they signed in with it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Which account.
    pub id: AccountId,
    /// Where it is.
    pub issuer: String,
    /// The settings under which the provider was believed.
    pub settings: Hash,
    /// Since when it is theirs, and believed under these settings: whatever was signed in with before
    /// is not signed in any more.
    pub believed: Timestamp,
    /// Whether it makes a person of somebody whom nobody else names.
    pub admits: bool,
    /// What it says of their groups.
    pub groups: BTreeMap<GroupId, Given>,
}

impl Account {
    /// An account as somebody signs in with it at `now`, who has these groups there. What it said
    /// `before`, under the same settings, keeps its beginning for as long as it goes on.
    #[must_use]
    pub fn signed_in(
        (issuer, id, settings): (&str, AccountId, Hash),
        groups: BTreeMap<GroupId, String>,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let known = before.filter(|before| (before.id, before.settings) == (id, settings));
        let given = |(group, theirs): (GroupId, String)| {
            let kept = known.and_then(|known| known.groups.get(&group));
            let since = kept.map_or(now, |kept| kept.since);
            (group, Given { since, theirs })
        };
        Self {
            id,
            issuer: issuer.to_owned(),
            settings,
            believed: known.map_or(now, |known| known.believed),
            admits: true,
            groups: groups.into_iter().map(given).collect(),
        }
    }
}

/// A membership that a provider gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Since when.
    pub since: Timestamp,
    /// The provider's group that it stands for.
    pub theirs: String,
}

/// How somebody came to be in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Since when.
    pub since: Timestamp,
    /// Whether somebody else countersigned it, or it was there at first start.
    pub countersigned: bool,
    /// Whether it is there because the provider who signs the person in says so, and goes when the
    /// provider no longer does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub provided: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A human being.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Groups and how they were joined.
    #[serde(default)]
    pub groups: BTreeMap<GroupId, Membership>,
    /// The person's manager, for rules with `manager-of:requester`.
    #[serde(default)]
    pub manager: Option<PersonId>,
    /// A disabled person can do nothing.
    #[serde(default)]
    pub disabled: bool,
    /// Whether they are a person only because the provider who signs them in says so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub provided: bool,
    /// Whether no provider makes a person of them any more: then they can do nothing, like somebody who
    /// is disabled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unwelcome: bool,
    /// The person's account with each provider who signs them in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<ProviderId, Account>,
    /// Whether the provider who provisions people lets them do nothing, like somebody who is disabled.
    /// Follows from what is provisioned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inactive: bool,
    /// What is provisioned of them. Follows from what is provisioned.
    #[serde(skip)]
    pub standing: Option<Standing>,
}

impl Person {
    /// Whether they can do anything.
    #[must_use]
    pub fn acts(&self) -> bool {
        let provisioned = self.standing.as_ref().is_some_and(|one| one.active);
        !self.disabled && !self.inactive && (!self.unwelcome || provisioned)
    }
}

/// An agent or a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The person answerable for it. Without one it is denied everything.
    #[serde(default)]
    pub owner: Option<PersonId>,
    /// Its groups.
    #[serde(default)]
    pub groups: BTreeSet<GroupId>,
    /// A stopped machine can do nothing.
    #[serde(default)]
    pub disabled: bool,
}

/// Everybody there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// People.
    #[serde(default)]
    pub people: BTreeMap<PersonId, Person>,
    /// AI agents.
    #[serde(default)]
    pub agents: BTreeMap<AgentId, Machine>,
    /// Pipelines and services.
    #[serde(default)]
    pub workloads: BTreeMap<WorkloadId, Machine>,
    /// Who is away, and who signs in their place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absences: BTreeMap<PersonId, Absence>,
    /// Groups that exist, with or without members.
    #[serde(default)]
    pub groups: BTreeSet<GroupId>,
    /// What a provider provisions, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Arc<Provisioning>>,
    /// Who proposed what machines prove themselves with, by what the log calls them: each part of a proof
    /// that was there once, with everybody who brought it in. What was there at the first start is nobody's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vouched: BTreeMap<Hash, BTreeSet<String>>,
}

impl Directory {
    /// The machine behind an agent's or workload's name.
    #[must_use]
    pub fn machine(&self, id: &SubjectId) -> Option<&Machine> {
        match id {
            SubjectId::Person(_) => None,
            SubjectId::Agent(id) => self.agents.get(id),
            SubjectId::Workload(id) => self.workloads.get(id),
        }
    }

    /// A subject with its owner as it is now; `None` when it is unknown or disabled.
    #[must_use]
    pub fn resolve(&self, id: &SubjectId) -> Option<Subject> {
        match id {
            SubjectId::Person(person) => self
                .active_person(person)
                .map(|_| Subject::person(person.clone())),
            machine => {
                let found = self.machine(machine).filter(|m| !m.disabled)?;
                Some(Subject {
                    id: machine.clone(),
                    owner: found.owner.clone(),
                })
            }
        }
    }

    /// Whether there is such a subject, disabled or not.
    #[must_use]
    pub fn knows(&self, id: &SubjectId) -> bool {
        match id {
            SubjectId::Person(person) => self.people.contains_key(person),
            machine => self.machine(machine).is_some(),
        }
    }

    /// A person who exists and can act.
    #[must_use]
    pub fn active_person(&self, id: &PersonId) -> Option<&Person> {
        self.people.get(id).filter(|person| person.acts())
    }

    /// Whether somebody is away at a time.
    #[must_use]
    pub fn is_away(&self, person: &PersonId, at: Timestamp) -> bool {
        let absence = self.absences.get(person);
        absence.is_some_and(|absence| absence.covers(at))
    }

    /// The active members of a group.
    pub fn members<'a>(&'a self, group: &'a GroupId) -> impl Iterator<Item = &'a PersonId> {
        self.people
            .iter()
            .filter(move |(_, person)| person.acts() && person.groups.contains_key(group))
            .map(|(id, _)| id)
    }
}
