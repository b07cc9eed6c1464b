//! What happened to a request, as far as its case holds it.
//!
//! In scope: asking, deciding, votes, conversation, escalations, emergencies, grants, the end.
//! Out of scope: withdrawn votes and refused attempts; they are in the log only.

use countersign_console::{
    part::{Moment, Party},
    request::{Event, EventKind},
    shell::Link,
};
use countersign_core::{
    approval::{Vote, myself::myself, vote::Verdict},
    decision::Decision,
    id::{PersonId, PolicyId, RuleName},
    request::{Case, Closure, Message, MessageKind, Outcome, Phase},
    time::Timestamp,
};

use super::path;
use crate::{
    api::{types::SignedWith, ways::Ways},
    console::{
        standing::is_unanswered,
        viewer::{self, Viewer},
        words,
    },
};

/// Events with their moments, until they are put in order.
type Timed = (Timestamp, Event);

/// What happened, oldest first.
pub(super) fn timeline(viewer: &Viewer<'_>, case: &Case, ways: &Ways) -> Vec<Event> {
    let request = &case.request;
    let requester = viewer::party_of(&request.chain.requester.id);
    let mut events: Vec<Timed> = vec![
        event(EventKind::Requested, request.at, Some(requester)),
        decided(case),
    ];
    events.extend(escalations(case));
    let voted = |vote| voted(viewer, (case, ways), vote);
    events.extend(case.votes.iter().map(voted));
    events.extend(case.conversation.iter().map(|message| said(case, message)));
    events.extend(emergencies(case));
    events.extend(granted(case));
    events.extend(redecided(case));
    events.extend(ending(case));
    // Stable: what happened at one moment stays in the order above.
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

fn event(kind: EventKind, at: Timestamp, by: Option<Party>) -> Timed {
    (
        at,
        Event {
            kind,
            by,
            at: Moment::new(at.to_string()),
            ..Event::default()
        },
    )
}

fn with_detail((at, event): Timed, detail: impl Into<String>) -> Timed {
    (
        at,
        Event {
            detail: detail.into(),
            ..event
        },
    )
}

fn person(id: &PersonId) -> Option<Party> {
    Some(Party::person(id.to_string()))
}

fn decided(case: &Case) -> Timed {
    let said = said_by_policy(&case.request.decided.decision);
    with_detail(event(EventKind::Decided, case.request.at, None), said)
}

/// What policy said at the claim.
fn redecided(case: &Case) -> Option<Timed> {
    let claimed = case.claimed.as_ref()?;
    let approvals = &claimed.decided.approvals;
    let names: Vec<_> = approvals.iter().map(RuleName::to_string).collect();
    let given = match names.is_empty() {
        true => String::new(),
        false => format!(", given {}", words::rules(&names)),
    };
    let said = said_by_policy(&claimed.decided.decision);
    let event = event(EventKind::Redecided, claimed.at, None);
    Some(with_detail(event, format!("{said}{given}")))
}

fn said_by_policy(decision: &Decision) -> String {
    let policies: Vec<_> = decision
        .policies()
        .iter()
        .map(PolicyId::to_string)
        .collect();
    let because = match policies.is_empty() {
        true => String::new(),
        false => format!(" ({})", policies.join(", ")),
    };
    let said = match decision {
        Decision::Hold { rules, .. } => {
            let names: Vec<_> = rules.iter().map(RuleName::to_string).collect();
            format!("hold for {}", words::rules(&names))
        }
        other => other.name().into(),
    };
    format!("{said}{because}")
}

fn escalations(case: &Case) -> impl Iterator<Item = Timed> + '_ {
    case.escalated.iter().filter_map(|(name, index)| {
        let rule = case.request.rules.iter().find(|rule| rule.name == *name)?;
        let step = rule.escalate.get(usize::try_from(*index).ok()?)?;
        let to: Vec<_> = step.to.iter().map(ToString::to_string).collect();
        let at = case.request.at.after(step.after);
        let detail = format!("{} may sign rule {name} too", words::list(&to));
        Some(with_detail(event(EventKind::Escalated, at, None), detail))
    })
}

fn voted(viewer: &Viewer<'_>, (case, ways): (&Case, &Ways), vote: &Vote) -> Timed {
    let kind = match vote.verdict {
        Verdict::Deny => EventKind::Denied,
        // The requester's side signs nothing but confirmations.
        Verdict::Approve if myself(case, &viewer.active.directory).contains(&vote.voter) => {
            EventKind::Confirmed
        }
        Verdict::Approve => EventKind::Approved,
    };
    let (at, event) = event(kind, vote.at, person(&vote.voter));
    (
        at,
        Event {
            text: vote.reason.clone().unwrap_or_default(),
            detail: signed(vote, ways),
            ..event
        },
    )
}

/// In whose place and with what a vote was cast.
fn signed(vote: &Vote, ways: &Ways) -> String {
    let away = vote.in_place_of.as_ref();
    let in_place = away.map(|away| format!("in the place of {away}, who is away"));
    let with = ways.signed_with(&vote.voter).map(with);
    let parts: Vec<_> = in_place.into_iter().chain(with).collect();
    parts.join(", ")
}

/// The passkey that signed a vote, in words.
fn with(passkey: &SignedWith) -> String {
    let called = passkey.label.as_ref().map(|label| format!(" {label:?}"));
    let called = called.unwrap_or_default();
    match passkey.counts {
        true => format!("with the passkey{called}"),
        false => {
            format!("with the passkey{called}, which was removed since: it does not count any more")
        }
    }
}

fn said(case: &Case, message: &Message) -> Timed {
    let (kind, link) = match &message.kind {
        MessageKind::Comment => (EventKind::Comment, None),
        MessageKind::Question => (EventKind::Question, None),
        MessageKind::Answer { .. } => (EventKind::Answer, None),
        MessageKind::Amendment { request } => {
            let link = Link {
                href: path(request),
                text: request.to_string(),
            };
            (EventKind::Amendment, Some(link))
        }
    };
    let unanswered = kind == EventKind::Question && is_unanswered(case, &message.id);
    let (at, event) = event(kind, message.at, Some(viewer::party_of(&message.by)));
    let (text, message) = (message.text.clone(), message.id.to_string());
    (
        at,
        Event {
            text,
            link,
            message,
            unanswered,
            ..event
        },
    )
}

/// That its like was granted with it, and that somebody ended that.
fn granted(case: &Case) -> Vec<Timed> {
    let Some(grant) = &case.grant else {
        return Vec::new();
    };
    let given = Timestamp(grant.until.0.saturating_sub(grant.terms.time.as_millis()));
    let (time, uses) = (grant.terms.time, grant.terms.uses);
    let terms = format!("for {time}, at most {uses} times in all");
    let mut events = vec![with_detail(event(EventKind::Granted, given, None), terms)];
    if let Some(end) = &grant.ended {
        let by = Some(viewer::party_of(&end.by));
        events.push(event(EventKind::GrantEnded, end.at, by));
    }
    events
}

/// What was lifted, that nobody looked at it in time, and that somebody did.
fn emergencies(case: &Case) -> impl Iterator<Item = Timed> + '_ {
    case.lifted.iter().flat_map(|lift| {
        let about = |text: &str, (at, event): Timed| {
            let (detail, text) = (format!("rule {}", lift.rule), text.to_owned());
            let said = Event {
                detail,
                text,
                ..event
            };
            (at, said)
        };
        let lifted = event(EventKind::Lifted, lift.vote.at, person(lift.by()));
        let overdue = event(EventKind::Overdue, lift.review_by, None);
        let review = lift.reviewed.as_ref().map(|review| {
            let reviewed = event(EventKind::Reviewed, review.at, person(&review.by));
            about(&review.note, reviewed)
        });
        let overdue = lift.overdue.then(|| about("", overdue));
        std::iter::once(about(lift.reason(), lifted))
            .chain(overdue)
            .chain(review)
    })
}

/// How far it came after people decided.
fn ending(case: &Case) -> Option<Timed> {
    match &case.phase {
        Phase::Held { .. } => None,
        Phase::Approved { .. } => {
            let votes = case.votes.iter().map(|vote| vote.at);
            let last = votes
                .chain(case.lifted.iter().map(|lift| lift.vote.at))
                .max();
            Some(event(
                EventKind::Satisfied,
                last.unwrap_or(case.request.at),
                None,
            ))
        }
        Phase::Running { permit, since } => Some(with_detail(
            event(EventKind::Permit, *since, None),
            permit.to_string(),
        )),
        Phase::Finished {
            permit,
            outcome,
            at,
        } => {
            let kind = match outcome {
                Outcome::Succeeded => EventKind::Succeeded,
                Outcome::Failed => EventKind::Failed,
                Outcome::Unknown => EventKind::Unknown,
            };
            Some(with_detail(
                event(kind, *at, None),
                match case.exit {
                    Some(status) => format!("Exit status {status}, under {permit}."),
                    None => format!("Under {permit}."),
                },
            ))
        }
        Phase::Closed { closure, at, .. } => closed(closure, *at),
    }
}

fn closed(closure: &Closure, at: Timestamp) -> Option<Timed> {
    let detail = match closure {
        // The vote and the amendment say it already.
        Closure::Denied { .. } | Closure::Amended { .. } => return None,
        Closure::Expired => "nobody decided in time".to_owned(),
        Closure::Unclaimed => "the approval lapsed before it was claimed".into(),
        Closure::Cancelled { by } => format!("cancelled by {}", by.name()),
        Closure::Unreachable { rules } => {
            let names: Vec<_> = rules.iter().map(RuleName::to_string).collect();
            format!("too few people are left for {}", words::rules(&names))
        }
        Closure::PolicyChanged { detail } => detail.clone(),
        Closure::RequesterStopped { who } => format!("{} was stopped or disabled", who.name()),
    };
    Some(with_detail(event(EventKind::Closed, at, None), detail))
}
