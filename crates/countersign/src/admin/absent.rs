//! Saying that somebody is away, and who signs in their place.
//!
//! In scope: that a second person countersigns it, and that it is not the stand-in.
//! Out of scope: what a stand-in may sign (`core::approval::quorum`).
//! Invariant: nobody comes to sign in another's place because one person said so; whoever had a hand in that
//! is *self* in what waits.

use std::collections::BTreeSet;

use anyhow::bail;
use countersign_core::{id::PersonId, request::Request, subject::SubjectId};
use countersign_policy::DirectoryChange;

use super::{Proposal, vouching};

/// Whom a change would have sign in somebody's place.
fn stand_in(proposal: &Proposal) -> Option<&PersonId> {
    match proposal {
        Proposal::Directory {
            change: DirectoryChange::SetAbsence { stand_in, .. },
            ..
        } => Some(stand_in),
        _ => None,
    }
}

/// Whom a change serves, so that they don't countersign it.
pub(super) fn serves(proposal: &Proposal) -> BTreeSet<PersonId> {
    stand_in(proposal).cloned().into_iter().collect()
}

/// Refuses that somebody signs in another's place because one person said so.
pub(super) fn check(change: &DirectoryChange, countersigned: bool) -> anyhow::Result<()> {
    if let DirectoryChange::SetAbsence {
        person, stand_in, ..
    } = change
        && !countersigned
    {
        bail!(
            "a second person must countersign that {stand_in} signs in the place of {person}; hold \
             `countersign:absence-set` and `countersign:absence-own` under an approval rule"
        );
    }
    Ok(())
}

/// Everybody who had a hand in a change, those behind its claim included. Whom it serves is none of them for
/// that alone: they sign what waits. Of what a machine proposes, whoever lets it act is.
pub(super) fn hands_in(
    request: &Request,
    proposal: &Proposal,
    claimed_by: &BTreeSet<PersonId>,
) -> BTreeSet<PersonId> {
    let mut hands = vouching::hands_in(request);
    let mut members = request.chain.members();
    let by_people = members.all(|member| matches!(member.id, SubjectId::Person(_)));
    if let Some(stand_in) = stand_in(proposal).filter(|_| by_people) {
        let mut members = request.chain.members().flat_map(|member| member.people());
        if !request.issuers.contains(stand_in) && !members.any(|one| one == stand_in) {
            hands.remove(stand_in);
        }
    }
    hands.extend(claimed_by.iter().cloned());
    hands
}
