//! *Self*: everybody whose countersignature would be their own.
//!
//! In scope: the union over request, vote and claim time (P3).
//! Out of scope: confirmations, which are by *self* on purpose.
//! Invariant: the set only grows while a request lives; nothing removes a person from it.

use std::collections::BTreeSet;

use crate::{directory::Directory, id::PersonId, request::Case};

/// The people whose request it is, so that they read it: requester and chain, their owners then and now,
/// who issued the credential it was asked with, and who edited it.
#[must_use]
pub fn side(case: &Case, directory: &Directory) -> BTreeSet<PersonId> {
    named(case).chain(owners_now(case, directory)).collect()
}

/// The people who are *self* for this case: those whose request it is, whoever lets somebody of its chain
/// act for them, and who has meanwhile proposed a change of what decides it.
#[must_use]
pub fn myself(case: &Case, directory: &Directory) -> BTreeSet<PersonId> {
    let mut people = kept(case);
    people.extend(owners_now(case, directory));
    people
}

/// Owners who have come since the request and whom the case does not remember yet. Once
/// remembered they stay *self*, even after they hand the agent on.
#[must_use]
pub fn new_owners(case: &Case, directory: &Directory) -> BTreeSet<PersonId> {
    let kept = kept(case);
    owners_now(case, directory)
        .filter(|owner| !kept.contains(owner))
        .collect()
}

/// Everybody whom the case itself has as *self*.
fn kept(case: &Case) -> BTreeSet<PersonId> {
    let later = case.self_grown.iter().cloned();
    let behind = case.request.behind.iter().cloned();
    named(case).chain(behind).chain(later).collect()
}

fn named(case: &Case) -> impl Iterator<Item = PersonId> + '_ {
    let members = case.request.chain.members();
    let then = members.flat_map(|member| member.people().cloned().collect::<Vec<_>>());
    let amends = case.request.amends.iter();
    let editor = amends.map(|amends| amends.editor.clone());
    then.chain(editor)
        .chain(case.request.issuers.iter().cloned())
}

fn owners_now<'a>(case: &'a Case, directory: &'a Directory) -> impl Iterator<Item = PersonId> + 'a {
    let members = case.request.chain.members();
    members.filter_map(|member| directory.machine(&member.id)?.owner.clone())
}
