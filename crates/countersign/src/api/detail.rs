//! One request as its reader may see it: the same for the console and the API.

use std::collections::BTreeMap;

use countersign_core::{
    approval::{myself::myself, quorum::stage_counts},
    lifecycle,
    request::{Case, MessageKind, Phase},
    subject::Subject,
};
use countersign_runner::quote::reveal_lines;
use countersign_store::CaseSummary;

use super::types::{
    MessageLine, PolicyLine, RequestDetail, RequestLine, RuleProgress, StageProgress, VoteLine,
};
use crate::{active::Active, gates::exec, gateway::Gateway, identity::Caller, names::Names};

/// One line of a list.
#[must_use]
pub fn line(summary: CaseSummary) -> RequestLine {
    let CaseSummary {
        id,
        phase,
        requester,
        target,
        title,
        reason,
        at,
        deadline,
    } = summary;
    RequestLine {
        id,
        state: phase,
        requester,
        target,
        title,
        reason,
        at,
        deadline,
    }
}

fn line_of(case: &Case) -> RequestLine {
    RequestLine {
        id: case.request.id.clone(),
        state: case.phase.name().into(),
        requester: case.request.chain.requester.id.to_string(),
        target: case.request.action.target.to_string(),
        title: case.request.presentation.title.clone(),
        reason: case.request.reason.clone(),
        at: case.request.at,
        deadline: lifecycle::deadline(case),
    }
}

/// Everything this caller may see of a case.
#[must_use]
pub fn detail(gateway: &Gateway, caller: &Caller, case: &Case) -> RequestDetail {
    let active = gateway.active();
    let request = &case.request;
    let names = Names::to(caller);
    let why_not_vote = why_not_vote(gateway, &active, caller, case);
    let can = can(gateway, &active, caller, case, why_not_vote.is_none());
    // Whoever has a session gets the proof of having looked; whether they may decide is told them
    // when they try, with the reason.
    let may_try = caller.assurance().is_some() && case.phase.is_open();
    let act = may_try.then(|| {
        let now = gateway.clock.now();
        gateway
            .identity
            .acts()
            .act(&caller.credential.id, &request.id, &request.digest, now)
    });
    RequestDetail {
        line: line_of(case),
        url: gateway.request_url(&request.id),
        chain: request.chain.members().map(member).collect(),
        origin: request.chain.origin.clone(),
        gate: request.action.gate.clone(),
        advisory: is_advisory(&request.action.gate),
        action: request.presentation.body.clone(),
        arguments: request.action.arguments.clone(),
        blast_radius: request.presentation.blast_radius.clone(),
        digest: request.digest.to_string(),
        needs_typed_digest: !request.presentation.allows_one_click(),
        rules: rules(&active, case, names),
        policies: request
            .decided
            .decision
            .policies()
            .iter()
            .map(|id| policy(&active, id, names))
            .collect(),
        votes: votes(case, names),
        conversation: conversation(case, names),
        amends: request.amends.as_ref().map(|amends| amends.request.clone()),
        can,
        why_not_vote,
        act,
    }
}

/// Whether somebody else executes what this gate decides about (P1).
#[must_use]
pub fn is_advisory(gate: &str) -> bool {
    !matches!(gate, exec::GATE | "admin")
}

fn member(subject: &Subject) -> String {
    match &subject.owner {
        Some(owner) => format!("{} (owner {owner})", subject.id),
        None => subject.id.to_string(),
    }
}

fn rules(active: &Active, case: &Case, names: Names) -> Vec<RuleProgress> {
    let tally = lifecycle::progress(case, active.world());
    let signed = |rule: &countersign_core::id::RuleName, stage: u32| {
        let of_stage = tally
            .filled
            .iter()
            .filter(|(slot, _)| slot.rule == *rule && slot.stage == stage);
        of_stage.map(|(_, person)| names.person(person)).collect()
    };
    let progress = |rule: &countersign_core::approval::ApprovalRule| {
        let counts: BTreeMap<u32, u32> = (0u32..).zip(stage_counts(rule)).collect();
        let stages = counts.into_iter().map(|(stage, count)| {
            let from = usize::try_from(stage)
                .ok()
                .and_then(|index| rule.stages.get(index));
            StageProgress {
                from: match from {
                    Some(stage) => stage
                        .from
                        .iter()
                        .map(|entry| names.entry(&entry.to_string()))
                        .collect(),
                    None => vec!["the person it acts for".into()],
                },
                count,
                signed: signed(&rule.name, stage),
            }
        });
        RuleProgress {
            name: rule.name.to_string(),
            confirmation: rule.confirmation,
            stages: stages.collect(),
        }
    };
    case.request.rules.iter().map(progress).collect()
}

fn policy(active: &Active, id: &countersign_core::id::PolicyId, names: Names) -> PolicyLine {
    let statement = active.snapshot.statement(id);
    // The text may name people, and machines don't read policies.
    let text = statement.filter(|_| names == Names::Given);
    PolicyLine {
        id: id.to_string(),
        reason: statement.and_then(|one| one.reason.clone()),
        place: statement.map(|one| format!("{}:{}", one.file, one.line)),
        source: text.map(|one| one.source.to_string()),
    }
}

fn votes(case: &Case, names: Names) -> Vec<VoteLine> {
    let line = |vote: &countersign_core::approval::Vote| VoteLine {
        voter: names.person(&vote.voter),
        verdict: vote.verdict,
        reason: vote.reason.as_deref().map(reveal_lines),
        at: vote.at,
    };
    case.votes.iter().map(line).collect()
}

fn conversation(case: &Case, names: Names) -> Vec<MessageLine> {
    let line = |message: &countersign_core::request::Message| {
        let (kind, to) = match &message.kind {
            MessageKind::Comment => ("comment", None),
            MessageKind::Question => ("question", None),
            MessageKind::Answer { to } => ("answer", Some(to.clone())),
            MessageKind::Amendment { .. } => ("amendment", None),
        };
        MessageLine {
            id: message.id.clone(),
            by: names.subject(&message.by),
            kind: kind.into(),
            to,
            text: reveal_lines(&message.text),
            at: message.at,
        }
    };
    case.conversation.iter().map(line).collect()
}

/// Why this caller can't decide, in words; `None` when they can.
fn why_not_vote(
    gateway: &Gateway,
    active: &Active,
    caller: &Caller,
    case: &Case,
) -> Option<String> {
    let Some(person) = caller.person() else {
        return Some("Only people decide, never agents or workloads.".into());
    };
    if caller.assurance().is_none() {
        return Some("A token never votes. Sign in to the console and decide there.".into());
    }
    if !case.phase.is_open() {
        return Some(format!("The request is {}.", case.phase.name()));
    }
    let now = gateway.clock.now();
    if lifecycle::eligible_voters(case, active.world(), now).contains(person) {
        return None;
    }
    if case.votes.iter().any(|vote| vote.voter == *person) {
        return Some("You have decided already.".into());
    }
    if myself(case, &active.directory).contains(person) {
        let requester = &case.request.chain.requester;
        return Some(match requester.owner.as_ref() == Some(person) {
            true => format!(
                "You own {}, which asked. Somebody else must decide.",
                requester.id
            ),
            false => "You are on the requester's side. Somebody else must decide.".into(),
        });
    }
    Some("The rule does not name you for a stage that is open now.".into())
}

fn can(
    gateway: &Gateway,
    active: &Active,
    caller: &Caller,
    case: &Case,
    vote: bool,
) -> Vec<String> {
    let open = case.phase.is_open();
    let chain = case
        .request
        .chain
        .members()
        .any(|member| member.id == caller.subject.id);
    let person = caller.person();
    let side =
        chain || person.is_some_and(|person| myself(case, &active.directory).contains(person));
    let voted = person.is_some_and(|person| case.votes.iter().any(|vote| vote.voter == *person));
    let reviewer = !side
        && (vote || voted || {
            let now = gateway.clock.now();
            person.is_some_and(|one| {
                lifecycle::eligible_voters(case, active.world(), now).contains(one)
            })
        });
    let administrative = case.request.action.gate == "admin";
    let requester = case.request.chain.requester.id == caller.subject.id;
    let approved = matches!(case.phase, Phase::Approved { .. });
    [
        ("vote", vote),
        ("withdraw", open && voted && caller.assurance().is_some()),
        ("comment", side || reviewer),
        ("ask", open && reviewer),
        ("answer", open && side),
        (
            "amend",
            open && reviewer && case.request.action.gate == exec::GATE,
        ),
        ("cancel", open && side),
        ("claim", approved && requester && administrative),
    ]
    .into_iter()
    .filter(|(_, allowed)| *allowed)
    .map(|(name, _)| name.to_owned())
    .collect()
}
