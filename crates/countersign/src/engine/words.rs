//! What happened, in words for waiting callers.
//!
//! Invariant: only what a caller who may see the request may read; arguments are not repeated.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{Vote, quorum::Slot, vote::Verdict},
    lifecycle::Fact,
    request::{Case, Closure, MessageKind},
};

use crate::names::Names;

/// One fact in words, without content, for waiting callers.
pub(super) fn describe(fact: &Fact, case: &Case, names: Names) -> String {
    let person = |id| names.person(id);
    let in_place = |vote: &Vote| {
        let away = vote.in_place_of.as_ref().map(|away| names.person(away));
        away.map_or_else(String::new, |away| format!(" in the place of {away}"))
    };
    match fact {
        Fact::Voted { vote, could_fill } => match vote.verdict {
            Verdict::Approve if confirms(case, could_fill) => {
                format!("{} confirmed it", person(&vote.voter))
            }
            Verdict::Approve => {
                format!("{} countersigned{}", person(&vote.voter), in_place(vote))
            }
            Verdict::Deny => {
                format!("{} denied it{}", person(&vote.voter), in_place(vote))
            }
        },
        Fact::Withdrawn { voter } => format!("{} withdrew their approval", person(voter)),
        Fact::Said { message } => {
            let by = names.subject(&message.by);
            match &message.kind {
                // Whoever has to answer is told the question itself.
                MessageKind::Question => format!("{by} asked a question"),
                MessageKind::Answer { .. } => format!("{by} answered: {}", message.text),
                MessageKind::Comment => format!("{by} wrote: {}", message.text),
                MessageKind::Amendment { request } => {
                    format!("{by} proposes {request} instead: {}", message.text)
                }
            }
        }
        Fact::Approved { .. } => "approved".into(),
        Fact::Reopened => "the approvals no longer suffice; waiting again".into(),
        Fact::Escalated { rule } => format!("rule {rule} escalated to more people"),
        Fact::SelfGrew { .. } => "more people count as the requester's side".into(),
        Fact::GlassBroken {
            rule,
            vote,
            review_by,
        } => format!(
            "EMERGENCY: {} lifted rule {rule}; somebody else must review it by {review_by}",
            person(&vote.voter)
        ),
        Fact::Reviewed { rule, review, .. } => {
            let by = person(&review.by);
            format!("{by} reviewed the emergency use of rule {rule}")
        }
        Fact::GrantGiven { terms, .. } => format!(
            "granted: its like may run until the grant ends, {} times in all",
            terms.uses
        ),
        Fact::Granted { granted } => format!("asked under the grant of {}", granted.request),
        Fact::GrantUsed { by, used } => format!("{by} runs under its grant, use {used}"),
        Fact::GrantEnded { by } => format!("{} ended the grant", names.subject(by)),
        Fact::ReviewOverdue { rule, .. } => format!(
            "nobody has reviewed the emergency use of rule {rule} in time; it is suspended until somebody does"
        ),
        Fact::Redecided { .. } => "policy decided again".into(),
        Fact::Permitted { .. } => "permitted".into(),
        Fact::Ended { outcome, .. } => format!("ended: {outcome:?}").to_lowercase(),
        Fact::Closed { closure } => format!("closed: {}", closure_words(closure, names)),
    }
}

/// Whether an approval is a confirmation: it signs nothing that others countersign.
fn confirms(case: &Case, could_fill: &BTreeSet<Slot>) -> bool {
    let rules = &case.request.rules;
    let confirms = |slot: &Slot| {
        let named = rules.iter().filter(|rule| rule.name == slot.rule);
        named.into_iter().any(|rule| rule.confirmation)
    };
    !could_fill.is_empty() && could_fill.iter().all(confirms)
}

fn closure_words(closure: &Closure, names: Names) -> String {
    let person = |id| names.person(id);
    match closure {
        Closure::Denied { by, reason } => match reason {
            Some(reason) => format!("denied by {}: {reason}", person(by)),
            None => format!("denied by {}", person(by)),
        },
        Closure::Expired => "nobody decided in time".into(),
        Closure::Unclaimed => "the approval lapsed".into(),
        Closure::Cancelled { by } => format!("cancelled by {}", names.subject(by)),
        Closure::Amended { by, into } => format!("{} proposes {into} instead", person(by)),
        Closure::Unreachable { .. } => "nobody is left who could approve it".into(),
        Closure::PolicyChanged { detail } => format!("policy changed: {detail}"),
        Closure::RequesterStopped { who } => {
            format!("{} was stopped or disabled", names.subject(who))
        }
    }
}
