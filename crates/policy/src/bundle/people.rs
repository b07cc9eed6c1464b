//! The directory that a bundle describes, and changes made while running.
//!
//! In scope: from files to a [`Directory`]; single changes.
//! Out of scope: who may change what; the admin gate asks policy for that.
//! Invariant: a membership keeps its beginning for as long as it lasts; one that is new says
//! whether it was countersigned.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use countersign_core::{
    directory::{Account, Directory, Machine, Membership, Person},
    id::{AgentId, GroupId, PersonId, ProviderId, WorkloadId},
    provisioning::{Provisioning, Rows},
    subject::SubjectId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Bundle, absence, config::MachineEntry, machines, provided, provisioned};

impl Bundle {
    /// The directory of the files at `now`. Memberships that `previous` already has keep their
    /// beginning, and whoever is disabled or stopped there stays so; new memberships begin now and
    /// carry `countersigned`.
    #[must_use]
    pub fn directory(
        &self,
        now: Timestamp,
        previous: Option<&Directory>,
        countersigned: bool,
    ) -> Directory {
        let config = self.config();
        let empty = Directory::default();
        let previous = previous.unwrap_or(&empty);
        let people = config
            .people
            .iter()
            .map(|(id, entry)| {
                let twin = |(known, _): &(&PersonId, &Person)| {
                    known.as_str().eq_ignore_ascii_case(id.as_str())
                };
                let before = previous.people.get(id);
                let before = before.or_else(|| Some(previous.people.iter().find(twin)?.1));
                let new = Membership {
                    since: now,
                    countersigned,
                    provided: false,
                };
                // What a provider gave stays for good once the files have it.
                let stays = |known: &Membership| Membership {
                    since: known.since,
                    countersigned: known.countersigned || (known.provided && countersigned),
                    provided: false,
                };
                let groups = entry
                    .groups
                    .iter()
                    .map(|group| {
                        let kept = before.and_then(|person| person.groups.get(group));
                        (group.clone(), kept.map_or(new, stays))
                    })
                    .collect();
                let disabled = before.is_some_and(|person| person.disabled);
                (
                    id.clone(),
                    Person {
                        groups,
                        manager: entry.manager.clone(),
                        disabled,
                        ..Person::default()
                    },
                )
            })
            .collect();
        Directory {
            people,
            agents: machines(&config.agents, &previous.agents),
            workloads: machines(&config.workloads, &previous.workloads),
            absences: BTreeMap::new(),
            groups: config.groups.keys().cloned().collect(),
            provisioning: None,
            vouched: BTreeMap::new(),
        }
    }
}

/// A directory with what is provisioned and what was changed since, oldest first.
///
/// # Errors
/// [`RefusedChange`] of the first change that does not fit.
pub fn assembled(
    mut directory: Directory,
    provisioning: Option<Provisioning>,
    changes: impl IntoIterator<Item = (DirectoryChange, Timestamp, bool)>,
) -> Result<Directory, RefusedChange> {
    directory.provisioning = provisioning.map(Arc::new);
    directory.introduce();
    for (change, at, countersigned) in changes {
        change.apply_alone(&mut directory, at, countersigned)?;
    }
    directory.settle();
    Ok(directory)
}

fn machines<T: Ord + Clone>(
    entries: &BTreeMap<T, MachineEntry>,
    previous: &BTreeMap<T, Machine>,
) -> BTreeMap<T, Machine> {
    entries
        .iter()
        .map(|(id, entry)| {
            let machine = Machine {
                owner: entry.owner.clone(),
                groups: entry.groups.clone(),
                disabled: previous.get(id).is_some_and(|machine| machine.disabled),
            };
            (id.clone(), machine)
        })
        .collect()
}

/// A change of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum DirectoryChange {
    /// A new person.
    AddPerson {
        /// Who.
        person: PersonId,
        /// Their groups.
        #[serde(default)]
        groups: BTreeSet<GroupId>,
        /// Their manager.
        #[serde(default)]
        manager: Option<PersonId>,
    },
    /// A person who may do nothing any more.
    DisablePerson {
        /// Who.
        person: PersonId,
    },
    /// Somebody whom nobody names by now, kept because of what was taken from them or from machines that
    /// they answer for. They can do nothing until somebody names or provisions them again.
    KeepPerson {
        /// Who.
        person: PersonId,
    },
    /// A person who may act again.
    EnablePerson {
        /// Who.
        person: PersonId,
    },
    /// A person joins a group.
    AddMembership {
        /// Who.
        person: PersonId,
        /// Which group.
        group: GroupId,
    },
    /// A person leaves a group.
    RemoveMembership {
        /// Who.
        person: PersonId,
        /// Which group.
        group: GroupId,
    },
    /// What the provider who signed a person in says of them. Whoever is not known is a new person.
    ProvidePerson {
        /// Who.
        person: PersonId,
        /// Who says so.
        provider: ProviderId,
        /// Their account there, and all that it says.
        account: Account,
    },
    /// A person whose account with a provider is theirs no more.
    UnlinkAccount {
        /// Who.
        person: PersonId,
        /// The provider.
        provider: ProviderId,
    },
    /// What the provider who provisions people changes. It is kept by its rows.
    Provision {
        /// Who provisions.
        provider: ProviderId,
        /// Whom it is about; the provisioning itself, where that is nobody alone.
        subject: SubjectId,
        /// What is otherwise now.
        rows: Rows,
    },
    /// A person is away, and somebody signs in their place.
    SetAbsence {
        /// Who is away.
        person: PersonId,
        /// Who signs in their place.
        stand_in: PersonId,
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// A person is back.
    EndAbsence {
        /// Who.
        person: PersonId,
    },
    /// A new agent.
    AddAgent {
        /// Its name.
        agent: AgentId,
        /// Who answers for it.
        owner: PersonId,
        /// Its groups.
        #[serde(default)]
        groups: BTreeSet<GroupId>,
    },
    /// An agent that may do nothing any more.
    StopAgent {
        /// Its name.
        agent: AgentId,
    },
    /// An agent that may act again.
    StartAgent {
        /// Its name.
        agent: AgentId,
    },
    /// A new workload.
    AddWorkload {
        /// Its name.
        workload: WorkloadId,
        /// Who answers for it.
        owner: PersonId,
        /// Its groups.
        #[serde(default)]
        groups: BTreeSet<GroupId>,
    },
    /// A workload that may do nothing any more.
    StopWorkload {
        /// Its name.
        workload: WorkloadId,
    },
    /// A workload that may act again.
    StartWorkload {
        /// Its name.
        workload: WorkloadId,
    },
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedChange {
    /// The name is taken.
    #[error("the {kind} `{name}` exists already; choose another name")]
    Exists {
        /// `person`, `agent`, `workload` or `membership`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A provider gives it, and would give it again.
    #[error(
        "`{person}` is in `{group}` because the provider who signs them in says so; take them out \
         there, or the group out of `groups` of the provider"
    )]
    Provided {
        /// Who.
        person: PersonId,
        /// The group.
        group: GroupId,
    },
    /// The person has another account with the provider.
    #[error(
        "`{person}` has another account with `{provider}`; if that one is gone for good, an \
         administrator unlinks it: countersign people unlink {person} {provider}"
    )]
    OtherAccount {
        /// Who.
        person: PersonId,
        /// The provider.
        provider: ProviderId,
    },
    /// A stand-in who is the absent person.
    #[error("`{0}` can't stand in for themselves; name somebody else")]
    StandsInForThemselves(PersonId),
    /// The end of an absence that is not there.
    #[error("`{0}` is not away")]
    NotAway(PersonId),
    /// An absence without an end that comes after its beginning and soon enough.
    #[error("an absence ends after it begins, and at most 180 days later")]
    AbsenceTime,
    /// What a provider changes can't be understood.
    #[error("what `{0}` provisions does not fit what is known of it")]
    NotProvisioned(ProviderId),
    /// Nobody has that name.
    #[error("there is no {kind} `{name}`; check the name")]
    Unknown {
        /// `person`, `group`, `agent`, `workload`, `membership` or `account with`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

pub(super) fn unknown(kind: &'static str, name: impl ToString) -> RefusedChange {
    RefusedChange::Unknown {
        kind,
        name: name.to_string(),
    }
}

/// Refuses a name that somebody has in other small and capital letters: one human could be both.
pub(super) fn one_spelling(directory: &Directory, name: &PersonId) -> Result<(), RefusedChange> {
    // Who is known has no twin.
    if directory.people.contains_key(name) {
        return Ok(());
    }
    let twin =
        |known: &&PersonId| *known != name && known.as_str().eq_ignore_ascii_case(name.as_str());
    match directory.people.keys().find(twin) {
        Some(known) => Err(exists("person", known)),
        None => Ok(()),
    }
}

fn exists(kind: &'static str, name: impl ToString) -> RefusedChange {
    RefusedChange::Exists {
        kind,
        name: name.to_string(),
    }
}

impl DirectoryChange {
    /// Whether it is worth proposing: what a provider gives it would give again.
    ///
    /// # Errors
    /// [`RefusedChange::Provided`] when it is not.
    pub fn check_proposed(&self, directory: &Directory) -> Result<(), RefusedChange> {
        let Self::RemoveMembership { person, group } = self else {
            return Ok(());
        };
        let found = directory.people.get(person);
        match found.and_then(|found| found.groups.get(group)) {
            Some(known) if known.provided => Err(RefusedChange::Provided {
                person: person.clone(),
                group: group.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes the change, with what follows from it for what is provisioned, or leaves the directory as it
    /// is.
    ///
    /// # Errors
    /// [`RefusedChange`] when a name is taken or unknown.
    pub fn apply(
        &self,
        directory: &mut Directory,
        now: Timestamp,
        countersigned: bool,
    ) -> Result<(), RefusedChange> {
        let taken = match self {
            Self::UnlinkAccount { person, .. } => provisioned::let_go(directory, person),
            _ => false,
        };
        match self.apply_alone(directory, now, countersigned) {
            // Somebody without an account, whom only the provisioning kept from acting.
            Err(RefusedChange::Unknown { .. }) if taken => {}
            applied => applied?,
        }
        if directory.provisioning.is_some() {
            directory.settle();
        }
        Ok(())
    }

    /// Makes the change as it was kept: what followed for what is provisioned is kept there.
    ///
    /// # Errors
    /// [`RefusedChange`] when a name is taken or unknown.
    pub fn apply_alone(
        &self,
        directory: &mut Directory,
        now: Timestamp,
        countersigned: bool,
    ) -> Result<(), RefusedChange> {
        let membership = Membership {
            since: now,
            countersigned,
            provided: false,
        };
        match self {
            Self::AddPerson {
                person,
                groups,
                manager,
            } => {
                known_groups(directory, groups)?;
                if let Some(manager) = manager {
                    find(&mut directory.people, manager, "person")?;
                }
                let groups = groups
                    .iter()
                    .map(|group| (group.clone(), membership))
                    .collect();
                let new = Person {
                    groups,
                    manager: manager.clone(),
                    ..Person::default()
                };
                add_person(directory, person, new)
            }
            Self::DisablePerson { person } => {
                find(&mut directory.people, person, "person").map(|found| found.disabled = true)
            }
            Self::KeepPerson { person } => keep(directory, person),
            Self::EnablePerson { person } => {
                find(&mut directory.people, person, "person").map(|found| found.disabled = false)
            }
            Self::AddMembership { person, group } => {
                known_groups(directory, [group])?;
                let found = find(&mut directory.people, person, "person")?;
                if found.groups.contains_key(group) {
                    return Err(exists("membership", format_args!("{person} in {group}")));
                }
                found.groups.insert(group.clone(), membership);
                Ok(())
            }
            Self::RemoveMembership { person, group } => leave(directory, person, group),
            Self::ProvidePerson {
                person,
                provider,
                account,
            } => provided::provide(directory, person, provider, account),
            Self::UnlinkAccount { person, provider } => {
                provided::unlink(directory, person, provider)
            }
            Self::Provision { provider, rows, .. } => {
                provisioned::provision(directory, provider, rows)
            }
            Self::SetAbsence { .. } | Self::EndAbsence { .. } => {
                absence::apply(self, directory, countersigned)
            }
            Self::AddAgent { .. }
            | Self::StopAgent { .. }
            | Self::StartAgent { .. }
            | Self::AddWorkload { .. }
            | Self::StopWorkload { .. }
            | Self::StartWorkload { .. } => machines::apply(self, directory),
        }
    }
}

fn keep(directory: &mut Directory, person: &PersonId) -> Result<(), RefusedChange> {
    one_spelling(directory, person)?;
    let new = || Person {
        provided: true,
        ..Person::default()
    };
    let found = directory.people.entry(person.clone()).or_insert_with(new);
    // A provider may have made them a person by now; that may end again.
    found.unwelcome |= found.provided && found.accounts.is_empty();
    Ok(())
}

/// Whom a provider alone made a person becomes one by name.
fn add_person(
    directory: &mut Directory,
    person: &PersonId,
    new: Person,
) -> Result<(), RefusedChange> {
    one_spelling(directory, person)?;
    let known = directory.people.get_mut(person);
    match known.filter(|known| known.provided) {
        Some(known) => {
            provided::taken_over(known, new);
            Ok(())
        }
        None => add(&mut directory.people, person, new, "person"),
    }
}

fn leave(
    directory: &mut Directory,
    person: &PersonId,
    group: &GroupId,
) -> Result<(), RefusedChange> {
    let found = find(&mut directory.people, person, "person")?;
    let provisioned = found
        .standing
        .iter()
        .any(|one| one.groups.contains_key(group));
    if provisioned && found.groups.get(group).is_some_and(|of| of.provided) {
        let (person, group) = (person.clone(), group.clone());
        return Err(RefusedChange::Provided { person, group });
    }
    let removed = found.groups.remove(group).map(drop);
    removed.ok_or_else(|| unknown("membership", format_args!("{person} in {group}")))?;
    for account in found.accounts.values_mut() {
        // Given again, it begins anew.
        account.groups.remove(group);
    }
    Ok(())
}

pub(super) fn known_groups<'a>(
    directory: &Directory,
    groups: impl IntoIterator<Item = &'a GroupId>,
) -> Result<(), RefusedChange> {
    match groups
        .into_iter()
        .find(|group| !directory.groups.contains(*group))
    {
        Some(group) => Err(unknown("group", group)),
        None => Ok(()),
    }
}

pub(super) fn find<'a, K: Ord + ToString, V>(
    map: &'a mut BTreeMap<K, V>,
    key: &K,
    kind: &'static str,
) -> Result<&'a mut V, RefusedChange> {
    map.get_mut(key)
        .ok_or_else(|| unknown(kind, key.to_string()))
}

pub(super) fn add<K: Ord + Clone + ToString, V>(
    map: &mut BTreeMap<K, V>,
    key: &K,
    value: V,
    kind: &'static str,
) -> Result<(), RefusedChange> {
    if map.contains_key(key) {
        return Err(exists(kind, key.to_string()));
    }
    map.insert(key.clone(), value);
    Ok(())
}
