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
    waiting, words,
};

/// The line of a case in a tab.
pub(super) fn row(viewer: &Viewer<'_>, case: &Case, tab: Tab) -> Row {
    let request = &case.request;
    let tally = lifecycle::progress(case, viewer.active.world());
    let target = viewer.active.snapshot.target(&request.action.target);
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
        note: if tab == Tab::Waiting {
            expected(viewer, case)
        } else {
            decided(case)
        },
        signed: words::count(tally.filled.len()),
        needed: words::count(tally.filled.len() + tally.empty.len()),
        advisory: is_advisory(&request.action.gate),
        question_open: standing::has_open_question(case),
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
            .any(|(stage, _)| electorate.may_sign(&viewer.session.person, rule, stage, viewer.now))
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
        },
    }
}
