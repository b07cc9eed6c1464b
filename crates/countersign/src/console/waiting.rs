//! What waits for a person's signature.
//!
//! In scope: finding held requests that this person could sign now.
//! Invariant: at most [`SCANNED`] held requests are looked at, the newest first; what is older
//! still reaches people through channels and links.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{myself::myself, quorum::Electorate},
    id::PersonId,
    lifecycle,
    request::Case,
};
use countersign_store::CaseFilter;

use super::viewer::Viewer;
use crate::{api::problem::ApiError, engine::EngineError};

/// How many held requests one look goes through.
pub(super) const SCANNED: u32 = 500;
/// How many are listed at once.
const LISTED: u32 = 200;

/// The held requests within `filter` that wait for the viewer, newest first.
///
/// # Errors
/// The store can't be read.
pub(super) async fn find(
    viewer: &Viewer<'_>,
    mut filter: CaseFilter,
) -> Result<Vec<Case>, ApiError> {
    let store = &viewer.api.gateway.store;
    filter.phases = vec!["held".into()];
    let (mut found, mut left) = (Vec::new(), SCANNED);
    while left > 0 {
        filter.limit = left.min(LISTED);
        let page = store.list(&filter).await.map_err(EngineError::from)?;
        for line in &page.items {
            let stored = store.case(&line.id).await.map_err(EngineError::from)?;
            found.extend(
                stored
                    .map(|stored| stored.case)
                    .filter(|case| waits_for(viewer, case)),
            );
        }
        left -= filter.limit;
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    Ok(found)
}

/// How many held requests wait for the viewer.
///
/// # Errors
/// The store can't be read.
pub(super) async fn count(viewer: &Viewer<'_>) -> Result<usize, ApiError> {
    Ok(find(viewer, CaseFilter::default()).await?.len())
}

/// Whether the viewer could sign an open stage of a case now.
pub(super) fn waits_for(viewer: &Viewer<'_>, case: &Case) -> bool {
    let person = &viewer.session.person;
    // Whoever may sign nothing is told apart cheaply; the rest takes a look at everybody.
    may_sign_any(viewer, case, person)
        && lifecycle::eligible_voters(case, viewer.active.world(), viewer.now).contains(person)
}

/// Whether a person may sign any stage of any rule of a case, open or not.
pub(super) fn may_sign_any(viewer: &Viewer<'_>, case: &Case, person: &PersonId) -> bool {
    let side = myself(case, &viewer.active.directory);
    electorate(viewer, case, &side).may_sign_any(person, viewer.now)
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
