//! What waits for a person: questions to answer, approved requests of their own to use, and
//! signatures.
//!
//! In scope: finding it among the open cases, and in which order it is shown.
//! Invariant: every open case is looked at, however many there are, and without the store.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    approval::{quorum::Electorate, vote::Verdict},
    id::{PersonId, RequestId},
    lifecycle,
    request::{Case, Phase},
    subject::SubjectId,
};

use super::{standing, viewer::Viewer};
use crate::{
    api::{deciding::would_refuse, problem::ApiError},
    engine::EngineError,
};

/// What a request waits for, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Somebody asked something, and time goes on until it is answered.
    Answer,
    /// It is approved and lapses unless the viewer, who asked, uses the approval.
    Use,
    /// A signature.
    Signature,
    /// A signature that would be refused for what the viewer is signed in with.
    OtherMeans,
}

/// Everything that waits for the viewer: by urgency, the newest first.
///
/// # Errors
/// The store can't be read.
pub(super) async fn find(viewer: &Viewer<'_>) -> Result<Vec<(RequestId, Wanted)>, ApiError> {
    let gateway = &viewer.api.gateway;
    let open = gateway.engine.desk().open(gateway.store.as_ref()).await;
    let open = open.map_err(EngineError::from)?;
    let mut sorted = BTreeMap::new();
    for case in &open {
        if let Some(wanted) = wanted(viewer, case) {
            let newest = std::cmp::Reverse((case.request.at, case.request.id.clone()));
            sorted.insert((wanted, newest), case.request.id.clone());
        }
    }
    let found = sorted.into_iter().map(|((wanted, _), id)| (id, wanted));
    Ok(found.collect())
}

/// How many requests wait for the viewer.
///
/// # Errors
/// The store can't be read.
pub(super) async fn count(viewer: &Viewer<'_>) -> Result<usize, ApiError> {
    Ok(able(&find(viewer).await?))
}

/// How many of what waits the viewer can do something about as they are signed in.
pub(super) fn able(found: &[(RequestId, Wanted)]) -> usize {
    let able = |(_, wanted): &&(RequestId, Wanted)| *wanted != Wanted::OtherMeans;
    found.iter().filter(able).count()
}

/// What a case waits for from the viewer.
pub(super) fn wanted(viewer: &Viewer<'_>, case: &Case) -> Option<Wanted> {
    let person = &viewer.session.person;
    if standing::asks(case).is_some() && stands_behind(case, person) {
        return Some(Wanted::Answer);
    }
    let asked = case.request.chain.requester.id == SubjectId::Person(person.clone());
    match case.phase {
        Phase::Approved { .. } if asked => Some(Wanted::Use),
        Phase::Held { .. } if could_sign(viewer, case) => Some(match refusal(viewer, case) {
            None => Wanted::Signature,
            Some(_) => Wanted::OtherMeans,
        }),
        _ => None,
    }
}

/// Whether a person is asked when the requester is: it is them, or acts for them or is theirs.
fn stands_behind(case: &Case, person: &PersonId) -> bool {
    let mut members = case.request.chain.members();
    members.any(|member| member.people().any(|one| one == person))
}

/// Why the viewer's approval would be refused now, in words.
pub(super) fn refusal(viewer: &Viewer<'_>, case: &Case) -> Option<String> {
    let caller = &viewer.session.caller;
    would_refuse(&viewer.judge(), caller, case, Verdict::Approve)
}

/// Whether the rules let the viewer sign an open stage of a case now.
fn could_sign(viewer: &Viewer<'_>, case: &Case) -> bool {
    let (world, person) = (viewer.active.world(), &viewer.session.person);
    lifecycle::is_eligible(case, world, viewer.now, person)
}

/// Who may sign what of a case, by the rules as they were when it was asked.
pub(super) fn electorate<'a>(
    viewer: &'a Viewer<'_>,
    case: &'a Case,
    side: &'a BTreeSet<PersonId>,
) -> Electorate<'a> {
    Electorate {
        request: &case.request,
        directory: &viewer.active.directory,
        rules: &case.request.rules,
        myself: side,
    }
}
