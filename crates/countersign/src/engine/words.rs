//! What happened, in words for waiting callers.
//!
//! Invariant: only what a caller who may see the request may read; arguments are not repeated.

use countersign_core::{
    approval::vote::Verdict,
    lifecycle::Fact,
    request::{Closure, MessageKind},
};

/// One fact in words, without content, for waiting callers.
pub(super) fn describe(fact: &Fact) -> String {
    match fact {
        Fact::Voted { vote, .. } => match vote.verdict {
            Verdict::Approve => {
                format!("{} countersigned", vote.voter)
            }
            Verdict::Deny => format!("{} denied it", vote.voter),
        },
        Fact::Withdrawn { voter } => format!("{voter} withdrew their approval"),
        Fact::Said { message } => match &message.kind {
            // Whoever has to answer is told the question itself.
            MessageKind::Question => format!("{} asked a question", message.by),
            MessageKind::Answer { .. } => format!("{} answered: {}", message.by, message.text),
            MessageKind::Comment => format!("{} wrote: {}", message.by, message.text),
            MessageKind::Amendment { request } => {
                format!(
                    "{} proposes {request} instead: {}",
                    message.by, message.text
                )
            }
        },
        Fact::Approved { .. } => "approved".into(),
        Fact::Reopened => "the approvals no longer suffice; waiting again".into(),
        Fact::Escalated { rule } => format!("rule {rule} escalated to more people"),
        Fact::SelfGrew { .. } => "more people count as the requester's side".into(),
        Fact::GlassBroken { rule, vote, .. } => {
            format!("{} lifted rule {rule} in an emergency", vote.voter)
        }
        Fact::Reviewed { rule, by } => format!("{by} reviewed the emergency use of rule {rule}"),
        Fact::Redecided { .. } => "policy decided again".into(),
        Fact::Permitted { .. } => "permitted".into(),
        Fact::Ended { outcome, .. } => format!("ended: {outcome:?}").to_lowercase(),
        Fact::Closed { closure } => format!("closed: {}", closure_words(closure)),
    }
}

fn closure_words(closure: &Closure) -> String {
    match closure {
        Closure::Denied { by, reason } => match reason {
            Some(reason) => format!("denied by {by}: {reason}"),
            None => format!("denied by {by}"),
        },
        Closure::Expired => "nobody decided in time".into(),
        Closure::Unclaimed => "the approval lapsed".into(),
        Closure::Cancelled { by } => format!("cancelled by {by}"),
        Closure::Amended { by, into } => format!("{by} proposes {into} instead"),
        Closure::Unreachable { .. } => "nobody is left who could approve it".into(),
        Closure::PolicyChanged { detail } => format!("policy changed: {detail}"),
    }
}
