//! What keeps a subject from wearing people down.
//!
//! In scope: refusing what people denied a short while ago, in the same words or in others.
//! Out of scope: what a denial means ([`lifecycle`]).
//! Invariant: all of it is computed from stored cases, so a restart forgets nothing.

use std::collections::BTreeSet;

use countersign_core::{
    decision::DenyReason,
    lifecycle,
    request::{Case, Closure, Phase, Request},
    time::Timestamp,
};
use countersign_store::Store;

use super::EngineError;

/// The most denials of one subject at a target that are looked at; more than a few keep people from being
/// asked anything ([`often_denied`]).
const MOST: u32 = 100;

/// Why an identical call is refused after this case, if it is.
pub(super) fn recently_denied(case: &Case, now: Timestamp) -> Option<DenyReason> {
    let Phase::Closed {
        closure,
        refuse_until,
        ..
    } = &case.phase
    else {
        return None;
    };
    let reason = match closure {
        Closure::Denied { reason, .. } => reason.clone(),
        _ => None,
    };
    (*refuse_until > now).then_some(DenyReason::RecentlyDenied {
        until: *refuse_until,
        reason,
    })
}

/// Why the same action is refused to whoever was denied it a short while ago: for whomever they asked then
/// and ask now, and whoever asked for them then or asks for them now.
pub(super) async fn denied_to(
    store: &dyn Store,
    request: &Request,
    now: Timestamp,
) -> Result<Option<DenyReason>, EngineError> {
    let target = &request.action.target;
    let mut looked = BTreeSet::new();
    for member in members(request) {
        for id in store.denied(&member, target, now, MOST).await? {
            if !looked.insert(id.clone()) {
                continue;
            }
            let Some(stored) = store.case(&id).await? else {
                continue;
            };
            let repeats = &stored.case.request.repeat_key;
            let same = request.repeat_key.is_some() && *repeats == request.repeat_key;
            if same && let Some(reason) = recently_denied(&stored.case, now) {
                return Ok(Some(reason));
            }
        }
    }
    Ok(None)
}

/// Why people are not asked again although the words differ, if they are not: one of the chain was denied
/// too often, whether it asked or somebody for it.
pub(super) async fn often_denied(
    store: &dyn Store,
    request: &Request,
    now: Timestamp,
) -> Result<Option<DenyReason>, EngineError> {
    // The latest ones decide: the last of them says when it ends.
    let limit = u32::try_from(lifecycle::MAX_DENIALS).unwrap_or(u32::MAX);
    let target = &request.action.target;
    let mut last = None;
    for member in members(request) {
        let until = store.refused_until(&member, target, now, limit).await?;
        last = last.max(lifecycle::refused_for_denials(&until, now));
    }
    Ok(last.map(DenyReason::OftenDenied))
}

/// Everybody who asks: the requester, and whom it acts for. Each of them once.
fn members(request: &Request) -> BTreeSet<String> {
    let members = request.chain.members();
    members.map(|member| member.id.to_string()).collect()
}
