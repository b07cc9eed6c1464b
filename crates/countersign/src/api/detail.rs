//! One request as its reader may see it: the same for the console and the API.

use std::collections::BTreeMap;

use countersign_core::{
    approval::{
        myself::myself,
        quorum::{Slot, stage_counts},
        rule::Assurance,
        vote::Verdict,
    },
    id::PersonId,
    lifecycle,
    masking::Mask,
    request::{Case, Closure, MessageKind, Phase},
    subject::Subject,
};
use countersign_runner::quote::unusual;
use countersign_store::CaseSummary;

use super::types::{
    EmergencyTerms, MaskedSecret, MessageLine, OutcomeLine, PolicyLine, RequestDetail, RequestLine,
    RuleProgress, StageProgress, VoteLine,
};
use super::{
    deciding::would_refuse,
    emergencies::{liftable, lifted, reviewable},
    granting,
    ways::{Judge, Ways},
};
use crate::{
    active::Active, gates::exec, gateway::Gateway, identity::Caller, names::Names, runner::runs_as,
};

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

pub(super) fn line_of(case: &Case) -> RequestLine {
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
pub fn detail(gateway: &Gateway, caller: &Caller, case: &Case, ways: &Ways) -> RequestDetail {
    let active = gateway.active();
    let request = &case.request;
    let names = Names::to(caller);
    let now = gateway.clock.now();
    let judge = Judge::new(gateway, &active, now);
    let why_not_vote = would_refuse(&judge, caller, case, Verdict::Approve);
    let can = can(gateway, &active, caller, case, why_not_vote.is_none());
    // Whoever has a session gets the proof of having looked; whether they may decide is told them
    // when they try, with the reason.
    let can_review = reviewable(gateway, caller, case);
    let may_try = caller.assurance().is_some() && (case.phase.is_open() || !can_review.is_empty());
    let act = may_try.then(|| {
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
        runs_as: active
            .snapshot
            .target(&request.action.target)
            .and_then(|target| target.exec())
            .filter(|_| request.action.gate == exec::GATE)
            .map(runs_as),
        advisory: is_advisory(&request.action.gate),
        action: request.presentation.body.clone(),
        arguments: request.action.arguments.clone(),
        masked: request.action.masked.iter().map(masked).collect(),
        blast_radius: request.presentation.blast_radius.clone(),
        unusual: unusual_in(case),
        digest: request.digest.to_string(),
        needs_typed_digest: !request.presentation.allows_one_click(),
        rules: rules(&active, case, names),
        can_sign: match &case.phase {
            Phase::Held { .. } => Some(ways.approvers(case, names)),
            _ => None,
        },
        policies: request
            .decided
            .decision
            .policies()
            .iter()
            .map(|id| policy(&active, id, names))
            .collect(),
        votes: votes(&active, case, ways, names),
        lifted: lifted(gateway, case, names),
        can_lift: liftable(gateway, caller, case),
        can_review,
        outcome: outcome(case, names),
        offers: granting::offers(case),
        grant: granting::line(case, now, names, &active.snapshot),
        granted: granting::runs_under(case, names),
        conversation: conversation(case, names),
        amends: request.amends.as_ref().map(|amends| amends.request.clone()),
        can,
        why_not_vote,
        act,
    }
}

fn masked(mask: &Mask) -> MaskedSecret {
    MaskedSecret {
        at: mask.at.clone(),
        start: mask.start,
        kind: mask.kind.clone(),
        length: mask.length,
        verified: mask.verified,
    }
}

/// What in the texts that others supplied reads as something else than it is.
#[must_use]
pub fn unusual_in(case: &Case) -> Vec<String> {
    let request = &case.request;
    let origin = &request.chain.origin;
    let mut texts = Vec::new();
    collect(&request.action.arguments, &mut texts);
    texts.extend(
        [&origin.model, &origin.session, &origin.task]
            .into_iter()
            .flatten(),
    );
    texts.extend(&request.reason);
    texts.extend(case.conversation.iter().map(|message| &message.text));
    unusual(texts.into_iter().map(String::as_str))
}

/// Every text within a value, names included.
fn collect<'a>(value: &'a serde_json::Value, texts: &mut Vec<&'a String>) {
    match value {
        serde_json::Value::String(text) => texts.push(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            texts.push(name);
            collect(field, texts);
        }),
        _ => {}
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
            emergency: rule.emergency.as_ref().map(|emergency| EmergencyTerms {
                from: emergency
                    .from
                    .iter()
                    .map(|entry| names.entry(&entry.to_string()))
                    .collect(),
                review_within: emergency.review_within.to_string(),
            }),
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

fn votes(active: &Active, case: &Case, ways: &Ways, names: Names) -> Vec<VoteLine> {
    let filled = lifecycle::progress(case, active.world()).filled;
    let confirming = |slot: &Slot| {
        let mut rules = case.request.rules.iter();
        rules.any(|rule| rule.name == slot.rule && rule.confirmation)
    };
    let confirms = |voter: &PersonId| {
        let mut slots = filled.iter();
        slots.any(|(slot, person)| person == voter && confirming(slot))
    };
    let line = |vote: &countersign_core::approval::Vote| VoteLine {
        voter: names.person(&vote.voter),
        in_place_of: vote.in_place_of.as_ref().map(|away| names.person(away)),
        verdict: vote.verdict,
        reason: vote.reason.clone(),
        at: vote.at,
        assurance: assurance(vote.credential.assurance).into(),
        grant: vote
            .grant
            .as_ref()
            .map(|terms| granting::words(case, terms)),
        passkey: ways
            .signed_with(&vote.voter)
            .filter(|_| names == Names::Given)
            .cloned(),
        counts: ways.signed_with(&vote.voter).is_none_or(|with| with.counts),
        confirmation: confirms(&vote.voter),
    };
    case.votes.iter().map(line).collect()
}

/// How a case ended, or since when it runs.
fn outcome(case: &Case, names: Names) -> Option<OutcomeLine> {
    let ended = |at, permit: Option<String>, why| OutcomeLine {
        state: case.phase.name().into(),
        at,
        exit: case.exit,
        permit,
        why,
    };
    match &case.phase {
        Phase::Held { .. } | Phase::Approved { .. } => None,
        Phase::Running { permit, since } => Some(ended(*since, Some(permit.to_string()), None)),
        Phase::Finished { permit, at, .. } => Some(ended(*at, Some(permit.to_string()), None)),
        Phase::Closed { closure, at, .. } => Some(ended(*at, None, why_closed(closure, names))),
    }
}

fn why_closed(closure: &Closure, names: Names) -> Option<String> {
    Some(match closure {
        Closure::Denied { by, reason } => match reason {
            Some(reason) => format!("by {}: {reason}", names.person(by)),
            None => format!("by {}", names.person(by)),
        },
        Closure::Expired => "nobody decided in time".into(),
        Closure::Unclaimed => "the approval lapsed before it was claimed".into(),
        Closure::Cancelled { by } => format!("by {}", names.subject(by)),
        Closure::Amended { by, into } => format!("by {}, replaced by {into}", names.person(by)),
        Closure::Unreachable { .. } => "too few people are left who could sign".into(),
        Closure::PolicyChanged { detail } => detail.clone(),
        Closure::RequesterStopped { who } => match names {
            Names::Given => format!("{} was stopped or disabled", who.name()),
            Names::Withheld => return None,
        },
    })
}

/// The name of an assurance.
#[must_use]
pub fn assurance(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::Chat => "chat",
        Assurance::Session => "session",
        Assurance::Passkey => "passkey",
    }
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
            text: message.text.clone(),
            at: message.at,
        }
    };
    case.conversation.iter().map(line).collect()
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
            person.is_some_and(|one| lifecycle::is_eligible(case, active.world(), now, one))
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
        (
            "end-grant",
            granting::can_end(case, active, gateway.clock.now(), caller),
        ),
    ]
    .into_iter()
    .filter(|(_, allowed)| *allowed)
    .map(|(name, _)| name.to_owned())
    .collect()
}
