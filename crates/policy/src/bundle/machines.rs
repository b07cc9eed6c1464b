//! Changes of agents and workloads.
//!
//! In scope: adding, stopping and starting one.
//! Out of scope: the machines that the files name ([`people`](super::people)).
//! Invariant: a machine that is added has an owner who is known, and groups that are.

use std::collections::BTreeSet;

use countersign_core::{
    directory::{Directory, Machine},
    id::{GroupId, PersonId},
};

use super::people::{DirectoryChange, RefusedChange, add, find, known_groups};

/// Makes a change of an agent or a workload; none that is of people.
///
/// # Errors
/// [`RefusedChange`] when a name is taken or unknown.
pub(super) fn apply(
    change: &DirectoryChange,
    directory: &mut Directory,
) -> Result<(), RefusedChange> {
    match change {
        DirectoryChange::AddAgent {
            agent,
            owner,
            groups,
        } => {
            let new = machine(directory, owner, groups)?;
            add(&mut directory.agents, agent, new, "agent")
        }
        DirectoryChange::StopAgent { agent } => {
            find(&mut directory.agents, agent, "agent").map(|found| found.disabled = true)
        }
        DirectoryChange::StartAgent { agent } => {
            find(&mut directory.agents, agent, "agent").map(|found| found.disabled = false)
        }
        DirectoryChange::AddWorkload {
            workload,
            owner,
            groups,
        } => {
            let new = machine(directory, owner, groups)?;
            add(&mut directory.workloads, workload, new, "workload")
        }
        DirectoryChange::StopWorkload { workload } => {
            find(&mut directory.workloads, workload, "workload").map(|found| found.disabled = true)
        }
        DirectoryChange::StartWorkload { workload } => {
            find(&mut directory.workloads, workload, "workload").map(|found| found.disabled = false)
        }
        DirectoryChange::AddPerson { .. }
        | DirectoryChange::DisablePerson { .. }
        | DirectoryChange::KeepPerson { .. }
        | DirectoryChange::EnablePerson { .. }
        | DirectoryChange::AddMembership { .. }
        | DirectoryChange::RemoveMembership { .. }
        | DirectoryChange::SetAbsence { .. }
        | DirectoryChange::EndAbsence { .. }
        | DirectoryChange::ProvidePerson { .. }
        | DirectoryChange::Provision { .. }
        | DirectoryChange::UnlinkAccount { .. } => Ok(()),
    }
}

fn machine(
    directory: &mut Directory,
    owner: &PersonId,
    groups: &BTreeSet<GroupId>,
) -> Result<Machine, RefusedChange> {
    known_groups(directory, groups)?;
    find(&mut directory.people, owner, "person")?;
    Ok(Machine {
        owner: Some(owner.clone()),
        groups: groups.clone(),
        disabled: false,
    })
}
