//! What of the changes made while running another bundle takes over.
//!
//! In scope: whoever has to be kept so that nothing that was taken away comes back.
//! Out of scope: making the bundle active ([`apply`](super::apply)).
//! Invariant: a person who was disabled, and a machine that was stopped, stays so, whoever names them by
//! then.

use std::collections::BTreeSet;

use countersign_core::{directory::Directory, id::PersonId};
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

/// The machines that were stopped.
pub(super) fn stopped(entries: &[(DirectoryChange, DirectoryEntry)]) -> BTreeSet<String> {
    let stops = entries.iter().filter(|(change, _)| {
        matches!(
            change,
            DirectoryChange::StopAgent { .. } | DirectoryChange::StopWorkload { .. }
        )
    });
    stops
        .map(|(change, _)| subject_of(change).to_string())
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
        // Files say nothing of accounts, and nothing of what a provider says.
        DirectoryChange::ProvidePerson { .. }
        | DirectoryChange::UnlinkAccount { .. }
        | DirectoryChange::Provision { .. } => false,
        DirectoryChange::AddAgent { agent, .. }
        | DirectoryChange::StopAgent { agent }
        | DirectoryChange::StartAgent { agent } => files.agents.contains_key(agent),
        DirectoryChange::AddWorkload { workload, .. }
        | DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => files.workloads.contains_key(workload),
    }
}
