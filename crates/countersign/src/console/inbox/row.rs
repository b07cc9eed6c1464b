//! One line of the inbox.
//!
//! In scope: what a line says of a case.

use countersign_console::{
    inbox::{Row, Tab},
    part::Phase as Shown,
};
use countersign_core::{
    approval::{myself::myself, quorum::stage_counts, vote::Verdict},
    lifecycle,
    request::{Case, Closure, Outcome, Phase},
};

use crate::api::detail::is_advisory;
use crate::console::{
    standing,
    viewer::{self, Viewer},
    waiting::{self, Wanted},
    words,
};

/// The line of a case in a tab.
pub(super) fn row(viewer: &Viewer<'_>, case: &Case, tab: Tab) -> Row {
    let request = &case.request;
    let tally = lifecycle::progress(case, viewer.active.world());
    let target = viewer.active.snapshot.target(&request.action.target);
    let wanted = waiting::wanted(viewer, case);
    let behalf = request.chain.on_behalf_of.iter();
    Row {
        id: request.id.to_string(),
        title: request.presentation.title.clone(),
        requester: viewer::party(&request.chain.requester),
        on_behalf_of: behalf.map(|member| member.id.name().to_owned()).collect(),
        target: request.action.target.to_string(),
        environment: target
            .map(|one| one.environment.to_string())
            .unwrap_or_default(),
        why: request.reason.clone(),
        asked: viewer.moment(request.at),
        phase: Shown::from_name(case.phase.name()).unwrap_or_default(),
        left: standing::left(&case.phase).map(|at| viewer.deadline(at)),
        ended: standing::ended(&case.phase).map(|at| viewer.moment(at)),
        note: match wanted {
            Some(Wanted::Answer) => question(case),
            Some(Wanted::Use) => approved(case),
            Some(Wanted::Signature) if tab == Tab::Waiting => expected(viewer, case),
            Some(Wanted::OtherMeans) if tab == Tab::Waiting => {
                waiting::refusal(viewer, case).unwrap_or_default()
            }
            _ => decided(case),
        },
        signed: words::count(tally.filled.len()),
        needed: words::count(tally.filled.len() + tally.empty.len()),
        confirmation: request.rules.iter().all(|rule| rule.confirmation),
        lifted: !case.lifted.is_empty(),
        advisory: is_advisory(&request.action.gate),
        asks_you: wanted == Some(Wanted::Answer),
        question_open: standing::asks(case).is_some(),
    }
}

/// Who asks the viewer.
fn question(case: &Case) -> String {
    let by = standing::asks(case).map(|by| by.name()).unwrap_or_default();
    format!("{by} waits for your answer")
}

/// What the viewer does with the approval.
fn approved(case: &Case) -> String {
    match case.request.administrative {
        true => "Approved: apply it".into(),
        false => format!("Approved: countersign run --claim {}", case.request.id),
    }
}

/// Which signature of the viewer a request waits for.
fn expected(viewer: &Viewer<'_>, case: &Case) -> String {
    let side = myself(case, &viewer.active.directory);
    let electorate = waiting::electorate(viewer, case, &side);
    let signs = |rule: &&countersign_core::approval::ApprovalRule| {
        let stages = (0u32..).zip(stage_counts(rule));
        stages
            .into_iter()
            .filter_map(|(stage, _)| {
                electorate.signer_of(&viewer.session.person, rule, stage, viewer.now)
            })
            .next()
            .is_some()
    };
    let (confirmed, signed): (Vec<_>, Vec<_>) = case
        .request
        .rules
        .iter()
        .filter(signs)
        .partition(|rule| rule.confirmation);
    let names = |rules: Vec<&countersign_core::approval::ApprovalRule>| -> Vec<String> {
        rules.iter().map(|rule| rule.name.to_string()).collect()
    };
    match (signed.is_empty(), confirmed.is_empty()) {
        (false, _) => format!("Your signature: {}", words::rules(&names(signed))),
        (true, false) => format!("Your confirmation: {}", words::rules(&names(confirmed))),
        (true, true) => String::new(),
    }
}

/// Who decided, or why nobody did.
fn decided(case: &Case) -> String {
    let approvals = case
        .votes
        .iter()
        .filter(|vote| vote.verdict == Verdict::Approve);
    let names: Vec<_> = approvals.map(|vote| vote.voter.to_string()).collect();
    match &case.phase {
        Phase::Held { .. } => String::new(),
        Phase::Finished {
            outcome: Outcome::Unknown,
            ..
        } => "Check the target".into(),
        Phase::Approved { .. } | Phase::Running { .. } | Phase::Finished { .. } => {
            match names.is_empty() {
                true => String::new(),
                false => format!("{} approved", words::list(&names)),
            }
        }
        Phase::Closed { closure, .. } => match closure {
            Closure::Denied { by, .. } => format!("{by} denied"),
            Closure::Expired => "Nobody decided in time".into(),
            Closure::Unclaimed => "Approved, not claimed in time".into(),
            Closure::Cancelled { by } => format!("{} cancelled", by.name()),
            Closure::Amended { by, .. } => format!("{by} proposed another action"),
            Closure::Unreachable { .. } => "Nobody is left who could approve it".into(),
            Closure::PolicyChanged { .. } => "Current policy did not allow it".into(),
            Closure::RequesterStopped { who } => format!("{} was stopped or disabled", who.name()),
        },
    }
}
