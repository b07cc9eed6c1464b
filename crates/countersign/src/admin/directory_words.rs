//! A change of the directory, in words for reviewers.
//!
//! In scope: its title, who and what it is about, what follows from it.
//! Out of scope: whether it can be made.
//! Invariant: nothing of a change is left out.

use std::collections::BTreeSet;

use countersign_core::id::{GroupId, PersonId};
use countersign_policy::DirectoryChange;

use crate::days::{end_in_words, first_in_words};

/// A change of the directory in one line.
pub(super) fn title_of(change: &DirectoryChange) -> String {
    match change {
        DirectoryChange::AddPerson { person, groups, .. } => {
            format!("Add the person {person}{}", within(groups))
        }
        DirectoryChange::DisablePerson { person } => format!("Disable the person {person}"),
        DirectoryChange::KeepPerson { person } => format!("Keep the person {person}"),
        DirectoryChange::EnablePerson { person } => format!("Enable the person {person} again"),
        DirectoryChange::AddMembership { person, group } => {
            format!("Add {person} to the group {group}")
        }
        DirectoryChange::RemoveMembership { person, group } => {
            format!("Remove {person} from the group {group}")
        }
        DirectoryChange::ProvidePerson {
            person, provider, ..
        } => format!("Take over what {provider} says of {person}"),
        DirectoryChange::UnlinkAccount { person, provider } => {
            format!("Unlink the account of {person} with {provider}")
        }
        DirectoryChange::SetAbsence {
            person, stand_in, ..
        } => format!("Have {stand_in} sign in the place of {person}, who is away"),
        DirectoryChange::EndAbsence { person } => {
            format!("End the absence of {person}")
        }
        DirectoryChange::Provision { provider, .. } => {
            format!("Take over what {provider} provisions")
        }
        DirectoryChange::AddAgent {
            agent,
            owner,
            groups,
        } => format!("Add the agent {agent} of {owner}{}", within(groups)),
        DirectoryChange::StopAgent { agent } => format!("Stop the agent {agent}"),
        DirectoryChange::StartAgent { agent } => format!("Start the agent {agent} again"),
        DirectoryChange::AddWorkload {
            workload,
            owner,
            groups,
        } => format!("Add the workload {workload} of {owner}{}", within(groups)),
        DirectoryChange::StopWorkload { workload } => format!("Stop the workload {workload}"),
        DirectoryChange::StartWorkload { workload } => {
            format!("Start the workload {workload} again")
        }
    }
}

/// A change of the directory whole: who and what, and what follows from it.
pub(super) fn body_of(change: &DirectoryChange) -> String {
    let pairs = pairs_of(change);
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"));
    let lines: String = lines.collect();
    format!("{lines}\n{}\n", follows_from(change))
}

fn pairs_of(change: &DirectoryChange) -> Vec<(&'static str, String)> {
    match change {
        DirectoryChange::AddPerson {
            person,
            groups,
            manager,
        } => vec![
            ("person", person.to_string()),
            ("groups", named(groups)),
            (
                "manager",
                manager.as_ref().map_or_else(nobody, ToString::to_string),
            ),
        ],
        DirectoryChange::DisablePerson { person }
        | DirectoryChange::KeepPerson { person }
        | DirectoryChange::EndAbsence { person }
        | DirectoryChange::EnablePerson { person } => {
            vec![("person", person.to_string())]
        }
        DirectoryChange::SetAbsence {
            person,
            stand_in,
            from,
            until,
        } => vec![
            ("person", person.to_string()),
            ("stand-in", stand_in.to_string()),
            (
                "away",
                format!("from {} {}", first_in_words(*from), end_in_words(*until)),
            ),
        ],
        DirectoryChange::AddMembership { person, group }
        | DirectoryChange::RemoveMembership { person, group } => {
            vec![("person", person.to_string()), ("group", group.to_string())]
        }
        DirectoryChange::ProvidePerson {
            person, provider, ..
        }
        | DirectoryChange::UnlinkAccount { person, provider } => {
            vec![
                ("person", person.to_string()),
                ("provider", provider.to_string()),
            ]
        }
        DirectoryChange::Provision { provider, .. } => {
            vec![("provider", provider.to_string())]
        }
        DirectoryChange::AddAgent {
            agent,
            owner,
            groups,
        } => of_machine("agent", agent.as_str(), owner, groups),
        DirectoryChange::AddWorkload {
            workload,
            owner,
            groups,
        } => of_machine("workload", workload.as_str(), owner, groups),
        DirectoryChange::StopAgent { agent } | DirectoryChange::StartAgent { agent } => {
            vec![("agent", agent.to_string())]
        }
        DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => {
            vec![("workload", workload.to_string())]
        }
    }
}

fn follows_from(change: &DirectoryChange) -> &'static str {
    match change {
        DirectoryChange::AddPerson { .. } => {
            "They can sign in once somebody has asked for a link for them."
        }
        DirectoryChange::DisablePerson { .. } => {
            "Ends their sessions, tokens and links, what waits for them, and what runs for them."
        }
        DirectoryChange::KeepPerson { .. } => "They can do nothing.",
        DirectoryChange::EnablePerson { .. } => {
            "They can act again. What they were signed in with stays void."
        }
        DirectoryChange::AddMembership { .. } => {
            "They can then do, and countersign, what the group can."
        }
        DirectoryChange::RemoveMembership { .. } => {
            "They can no longer do, or countersign, what only the group can."
        }
        DirectoryChange::ProvidePerson { .. } => "They have the groups that it says they have.",
        DirectoryChange::UnlinkAccount { .. } => {
            "Ends what they signed in with through it. The next account of their name there that \
             signs in is theirs: ask whoever runs the provider first whose that is."
        }
        DirectoryChange::SetAbsence { .. } => {
            "In that time the stand-in can countersign what the person can, and one of the two \
             signs a request, never both. What the person can't sign because it is their own, the \
             stand-in can't sign for them. Replaces what was said of an absence before."
        }
        DirectoryChange::EndAbsence { .. } => {
            "The stand-in can no longer sign for them, and what they signed so for requests that \
             are not over does not count any more."
        }
        DirectoryChange::Provision { .. } => "People are, and have, what it says.",
        DirectoryChange::AddAgent { .. } => {
            "Its owner answers for it and can't countersign what it asks. It acts with a token, \
             which is a request of its own."
        }
        DirectoryChange::AddWorkload { .. } => {
            "Its owner answers for it and can't countersign what it asks."
        }
        DirectoryChange::StopAgent { .. } | DirectoryChange::StopWorkload { .. } => {
            "Ends its tokens and requests, and the commands that run for it."
        }
        DirectoryChange::StartAgent { .. } | DirectoryChange::StartWorkload { .. } => {
            "It can act again, with a new token."
        }
    }
}

fn nobody() -> String {
    "none".into()
}

fn named(groups: &BTreeSet<GroupId>) -> String {
    match groups.is_empty() {
        true => nobody(),
        false => listed(groups),
    }
}

fn of_machine(
    kind: &'static str,
    name: &str,
    owner: &PersonId,
    groups: &BTreeSet<GroupId>,
) -> Vec<(&'static str, String)> {
    vec![
        (kind, name.into()),
        ("owner", owner.to_string()),
        ("groups", named(groups)),
    ]
}

fn within(groups: &BTreeSet<GroupId>) -> String {
    match groups.len() {
        0 => String::new(),
        1 => format!(" to the group {}", listed(groups)),
        _ => format!(" to the groups {}", listed(groups)),
    }
}

fn listed(groups: &BTreeSet<GroupId>) -> String {
    let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
    names.join(", ")
}
