//! Breaking the glass and reviewing that somebody did: the forms of a request's page.
//!
//! In scope: what the forms say before they are sent.
//! Out of scope: judging; what is offered here is judged again when it is sent.
//! Invariant: the form to lift a rule stands apart from deciding, and says who will look at it.

use countersign_console::{
    part::Moment,
    request::{EmergencyForm, ReviewForm},
};
use countersign_core::{id::RuleName, lifecycle, request::Case};

use super::{
    actions::{Typed, one_click},
    path,
};
use crate::{
    api::types::{LiftLine, Liftable, RequestDetail},
    console::{viewer::Viewer, words},
    identity::passkey,
};

/// How many names a form lists.
const NAMED: usize = 10;

/// One form for each rule that the viewer can lift.
pub(super) fn forms(
    viewer: &Viewer<'_>,
    case: &Case,
    detail: &RequestDetail,
    typed: &Typed,
) -> Vec<EmergencyForm> {
    let each = detail.can_lift.iter();
    each.map(|rule| form(viewer, case, rule, typed)).collect()
}

fn form(viewer: &Viewer<'_>, case: &Case, liftable: &Liftable, typed: &Typed) -> EmergencyForm {
    let site = passkey::site(viewer.api.gateway.url()).ok();
    let signs = |known: passkey::Enrolled| {
        known.countersigned && site.as_ref().is_some_and(|site| site.id == known.site)
    };
    let mut passkeys = viewer.session.caller.passkeys.iter();
    let has_passkey = passkeys.any(|one| passkey::enrolled(one).is_some_and(signs));
    let name = liftable.rule.parse::<RuleName>();
    let reviewers = name.map(|name| lifecycle::reviewers(case, viewer.active.world(), &name));
    let mut reviewers = reviewers.unwrap_or_default();
    // Whoever lifts it does not review it.
    reviewers.remove(&viewer.session.person);
    let typed = typed.emergency.as_ref();
    let typed = typed.filter(|(rule, _)| *rule == liftable.rule);
    EmergencyForm {
        rule: liftable.rule.clone(),
        review_by: Moment::new(liftable.review_by.to_string()),
        more: words::count(reviewers.len().saturating_sub(NAMED)),
        reviewers: reviewers
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect(),
        one_click: one_click(case),
        lacks_passkey: !has_passkey,
        passkey: format!("/v1{}/passkey", path(&case.request.id)),
        origin: site.map(|site| site.origin).unwrap_or_default(),
        reason: typed.map(|(_, reason)| reason.clone()).unwrap_or_default(),
    }
}

/// One form for each rule whose emergency use the viewer may review.
pub(super) fn reviews(detail: &RequestDetail, typed: &Typed) -> Vec<ReviewForm> {
    let form = |rule: &String| {
        let due = |lift: &&LiftLine| lift.rule == *rule && lift.reviewed.is_none();
        let lift = detail.lifted.iter().find(due)?;
        let typed = typed.review.as_ref().filter(|(of, _)| of == rule);
        Some(ReviewForm {
            rule: rule.clone(),
            by: lift.by.clone(),
            reason: lift.reason.clone(),
            review_by: Moment::new(lift.review_by.to_string()),
            overdue: lift.review == "overdue",
            note: typed.map(|(_, note)| note.clone()).unwrap_or_default(),
        })
    };
    detail.can_review.iter().filter_map(form).collect()
}
