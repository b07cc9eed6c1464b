//! What waits for a person: questions to answer, approved requests of their own to use, and
//! signatures.
//!
//! In scope: finding it among the open cases, and in which order it is shown.
//! Invariant: every open case is looked at, however many there are, and without the store.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    approval::quorum::Electorate,
    id::{PersonId, RequestId},
    lifecycle,
    request::{Case, Phase},
    subject::SubjectId,
};

use super::{standing, viewer::Viewer};
use crate::{api::problem::ApiError, engine::EngineError};

/// What a request waits for, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Somebody asked something, and time goes on until it is answered.
    Answer,
    /// It is approved and lapses unless the viewer, who asked, uses the approval.
    Use,
    /// A signature.
    Signature,
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
    Ok(find(viewer).await?.len())
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
        Phase::Held { .. } if could_sign(viewer, case) => Some(Wanted::Signature),
        _ => None,
    }
}

/// Whether a person is asked when the requester is: it is them, or acts for them or is theirs.
fn stands_behind(case: &Case, person: &PersonId) -> bool {
    let mut members = case.request.chain.members();
    members.any(|member| member.people().any(|one| one == person))
}

/// Whether the viewer could sign an open stage of a case now.
pub(super) fn could_sign(viewer: &Viewer<'_>, case: &Case) -> bool {
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
