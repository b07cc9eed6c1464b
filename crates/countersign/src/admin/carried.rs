//! What of the changes made while running another bundle takes over.
//!
//! In scope: whoever has to be kept so that nothing that was taken away comes back; what was taken and
//! given back.
//! Out of scope: making the bundle active ([`apply`](super::apply)).
//! Invariant: a person who is disabled, and a machine that is stopped, stays so, whoever names them by
//! then; what was given back is not taken again.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    directory::Directory,
    id::{GroupId, PersonId},
    subject::SubjectId,
};
use countersign_policy::DirectoryChange;
use countersign_store::DirectoryEntry;

use super::apply::subject_of;

/// The changes with how they are stored, oldest first.
///
/// # Errors
/// One can't be read.
pub(super) fn entries(
    stored: Vec<DirectoryEntry>,
) -> anyhow::Result<Vec<(DirectoryChange, DirectoryEntry)>> {
    let entries = stored.into_iter().map(|entry| {
        let change = serde_json::from_value(entry.change.clone())?;
        Ok((change, entry))
    });
    entries.collect()
}

/// What somebody can have and lose: a membership, or that they act at all.
type Thing = (SubjectId, Option<GroupId>);

/// What a change gives back.
fn gives(change: &DirectoryChange) -> Option<Thing> {
    match change {
        DirectoryChange::EnablePerson { .. }
        | DirectoryChange::StartAgent { .. }
        | DirectoryChange::StartWorkload { .. } => Some((subject_of(change), None)),
        DirectoryChange::AddMembership { group, .. } => {
            Some((subject_of(change), Some(group.clone())))
        }
        _ => None,
    }
}

/// What a change takes that another one gives back.
fn takes(change: &DirectoryChange) -> Option<Thing> {
    match change {
        DirectoryChange::DisablePerson { .. }
        | DirectoryChange::StopAgent { .. }
        | DirectoryChange::StopWorkload { .. } => Some((subject_of(change), None)),
        DirectoryChange::RemoveMembership { group, .. } => {
            Some((subject_of(change), Some(group.clone())))
        }
        _ => None,
    }
}

/// What was given back, each with the place of the last change that did.
pub(super) struct GivenBack(BTreeMap<Thing, usize>);

impl GivenBack {
    /// By these changes, oldest first.
    pub(super) fn by(entries: &[(DirectoryChange, DirectoryEntry)]) -> Self {
        let all = entries.iter().enumerate();
        let given = all.filter_map(|(place, (change, _))| Some((gives(change)?, place)));
        Self(given.collect())
    }

    /// Whether what the change at this place takes was given back later. What a provider or a
    /// [`KeepPerson`](DirectoryChange::KeepPerson) takes no change here gives back.
    pub(super) fn has(&self, place: usize, change: &DirectoryChange) -> bool {
        let given = takes(change).and_then(|thing| self.0.get(&thing));
        given.is_some_and(|given| *given > place)
    }
}

/// The machines that are stopped.
pub(super) fn stopped(
    entries: &[(DirectoryChange, DirectoryEntry)],
    given: &GivenBack,
) -> BTreeSet<String> {
    let stops = entries.iter().enumerate().filter(|(place, (change, _))| {
        let is_stop = matches!(
            change,
            DirectoryChange::StopAgent { .. } | DirectoryChange::StopWorkload { .. }
        );
        is_stop && !given.has(*place, change)
    });
    stops
        .map(|(_, (change, _))| subject_of(change).to_string())
        .collect()
}

/// A change as it stands in this directory, and what it needs there so that whoever was disabled or
/// stopped stays so.
pub(super) fn standing(
    mut change: DirectoryChange,
    stopped: &BTreeSet<String>,
    directory: &Directory,
) -> (Option<DirectoryChange>, DirectoryChange) {
    let was_stopped = stopped.contains(&subject_of(&change).to_string());
    let needs = match &mut change {
        DirectoryChange::DisablePerson { person } => Some(&*person),
        DirectoryChange::AddAgent { owner, groups, .. }
        | DirectoryChange::AddWorkload { owner, groups, .. }
            if was_stopped =>
        {
            groups.retain(|group| directory.groups.contains(group));
            Some(&*owner)
        }
        _ => None,
    };
    let keep = |person: &PersonId| DirectoryChange::KeepPerson {
        person: person.clone(),
    };
    let unknown = |person: &&PersonId| !directory.people.contains_key(*person);
    (needs.filter(unknown).map(keep), change)
}

/// Whether a change takes a membership or somebody's standing away.
pub(super) fn takes_away(change: &DirectoryChange) -> bool {
    matches!(
        change,
        DirectoryChange::RemoveMembership { .. }
            | DirectoryChange::DisablePerson { .. }
            | DirectoryChange::KeepPerson { .. }
            | DirectoryChange::StopAgent { .. }
            | DirectoryChange::StopWorkload { .. }
    )
}

/// Whether a change is about somebody whom the files name.
pub(super) fn concerns_files(change: &DirectoryChange, files: &Directory) -> bool {
    match change {
        DirectoryChange::AddPerson { person, .. }
        | DirectoryChange::DisablePerson { person }
        | DirectoryChange::KeepPerson { person }
        | DirectoryChange::EnablePerson { person }
        | DirectoryChange::AddMembership { person, .. }
        | DirectoryChange::RemoveMembership { person, .. } => files.people.contains_key(person),
        // Files say nothing of accounts and absences, and nothing of what a provider says.
        DirectoryChange::ProvidePerson { .. }
        | DirectoryChange::UnlinkAccount { .. }
        | DirectoryChange::SetAbsence { .. }
        | DirectoryChange::EndAbsence { .. }
        | DirectoryChange::Provision { .. } => false,
        DirectoryChange::AddAgent { agent, .. }
        | DirectoryChange::StopAgent { agent }
        | DirectoryChange::StartAgent { agent } => files.agents.contains_key(agent),
        DirectoryChange::AddWorkload { workload, .. }
        | DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => files.workloads.contains_key(workload),
    }
}
