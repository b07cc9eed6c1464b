//! What the viewer can do with a request, and what the forms start with.
//!
//! In scope: which forms are offered.
//! Out of scope: deciding; whoever sends a form is judged again, so what is offered here is never
//! relied on.

use countersign_console::{
    part::span,
    request::{Actions, AmendForm, ApproveForm, ClaimForm, DenyForm, OneClick},
};
use countersign_core::{
    approval::{
        ApprovalRule, myself::myself, quorum::shortest, rule::ReasonRequirement, vote::Verdict,
    },
    count::counted,
    lifecycle,
    request::{Case, MAX_ONE_CLICK_BYTES, Phase},
    time::{Span, Timestamp},
};

use super::{arguments, glass, grant};
use crate::{
    api::{
        deciding::{lacks_passkey, needs_passkey, would_refuse},
        types::RequestDetail,
    },
    console::{viewer::Viewer, waiting, words},
    identity::passkey,
};

/// What the viewer typed before it was refused.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) approve: String,
    pub(super) deny: String,
    pub(super) arguments: Option<Vec<String>>,
    /// The rule and the reason for lifting it.
    pub(super) emergency: Option<(String, String)>,
    /// The rule and what was found of its emergency.
    pub(super) review: Option<(String, String)>,
}

/// The forms of a case's page.
pub(super) fn actions(
    viewer: &Viewer<'_>,
    case: &Case,
    detail: &RequestDetail,
    typed: &Typed,
) -> Actions {
    let can = |name: &str| detail.can.iter().any(|one| one == name);
    let open = case.phase.is_open();
    let side = myself(case, &viewer.active.directory);
    let person = &viewer.session.person;
    let reviewer = !side.contains(person)
        && waiting::electorate(viewer, case, &side).may_sign_any(person, viewer.now);
    let (judge, caller) = (viewer.judge(), &viewer.session.caller);
    let no_denial = would_refuse(&judge, caller, case, Verdict::Deny);
    let claims = can("claim");
    // Whoever applies their own approved change has something to do, and nothing to be told.
    let cannot_vote = detail.why_not_vote.clone().filter(|_| open && !claims);
    Actions {
        lacks_passkey: cannot_vote.is_some() && lacks_passkey(&judge, caller, case),
        cannot_vote: cannot_vote.unwrap_or_default(),
        approve: can("vote").then(|| approve(viewer, case, typed)),
        deny: no_denial.is_none().then(|| DenyForm {
            refuses_for: time(shortest(&case.request.rules, |rule| rule.expires)),
            reason: typed.deny.clone(),
        }),
        comment: can("comment") || reviewer,
        ask: can("ask") || (open && reviewer),
        answer: can("answer"),
        amend: can("amend").then(|| amend(case, typed)),
        withdraw: can("withdraw"),
        cancel: can("cancel"),
        claim: claims.then(|| ClaimForm { until: until(case) }),
        emergency: glass::forms(viewer, case, detail, typed),
        review: glass::reviews(detail, typed),
    }
}

fn approve(viewer: &Viewer<'_>, case: &Case, typed: &Typed) -> ApproveForm {
    let rules = &case.request.rules;
    let side = myself(case, &viewer.active.directory);
    let before = lifecycle::progress(case, viewer.active.world());
    let mut after = before.clone();
    let electorate = waiting::electorate(viewer, case, &side);
    let signer = electorate.count_any(&mut after, &viewer.session.person, viewer.now);
    let away = signer.and_then(|signer| signer.in_place_of);
    let slot = after
        .filled
        .keys()
        .find(|slot| !before.filled.contains_key(slot));
    let signs = slot.map(|slot| {
        let rule = rules.iter().find(|rule| rule.name == slot.rule);
        let stage = match rule {
            Some(rule) if rule.stages.len() > 1 => format!(", stage {}", slot.stage + 1),
            _ => String::new(),
        };
        let in_place = away.map(|away| format!(" in the place of {away}"));
        format!("rule {}{stage}{}", slot.rule, in_place.unwrap_or_default())
    });
    let required = |rule: &ApprovalRule| rule.reason == ReasonRequirement::Required;
    ApproveForm {
        reason_required: rules.iter().any(required),
        one_click: one_click(case),
        needed_after: words::count(after.empty.len()),
        valid_for: time(shortest(rules, |rule| rule.valid_for)),
        passkey: match needs_passkey(case, viewer.active.world()) {
            true => format!("/v1{}/passkey", super::path(&case.request.id)),
            false => String::new(),
        },
        origin: passkey::site(viewer.api.gateway.url())
            .map(|site| site.origin)
            .unwrap_or_default(),
        signs: signs.unwrap_or_default(),
        reason: typed.approve.clone(),
        grant: grant::form(case),
    }
}

pub(super) fn one_click(case: &Case) -> OneClick {
    let shown = &case.request.presentation;
    if shown.allows_one_click() {
        return OneClick::Enough;
    }
    OneClick::NotEnough(match shown.complete {
        true => {
            format!(
                "The action has {} bytes, more than {MAX_ONE_CLICK_BYTES}. Read all of it.",
                shown.body.len()
            )
        }
        false => doubts(case).unwrap_or_else(|| {
            "This page does not show the whole action. Check it where you can see all of it.".into()
        }),
    })
}

/// Masks that could hide anything, in words.
fn doubts(case: &Case) -> Option<String> {
    let masks = case.request.action.masked.iter();
    let doubtful: Vec<_> = masks
        .filter(|mask| !mask.verified)
        .map(|mask| {
            let length = counted(mask.length, "character", "characters");
            format!("{}, {length}", mask.kind)
        })
        .collect();
    (!doubtful.is_empty()).then(|| {
        format!(
            "It has masked text that nobody can judge ({}). Go on only if you expect it there.",
            doubtful.join("; ")
        )
    })
}

fn amend(case: &Case, typed: &Typed) -> AmendForm {
    let argv = case
        .request
        .action
        .arguments
        .get("argv")
        .cloned()
        .unwrap_or_default();
    let argv: Vec<String> = serde_json::from_value(argv).unwrap_or_default();
    AmendForm {
        arguments: typed
            .arguments
            .clone()
            .unwrap_or_else(|| arguments::lines(&argv)),
        hint: arguments::HINT.into(),
    }
}

fn until(case: &Case) -> String {
    match case.phase {
        Phase::Approved { until } => clock(until),
        _ => String::new(),
    }
}

/// `14:14:00 UTC`, after the day.
fn clock(at: Timestamp) -> String {
    countersign_console::part::Moment::new(at.to_string()).utc()
}

fn time(length: Span) -> String {
    span(length.as_millis() / 1_000)
}
