//! Where a case stands, for lines and pages alike.
//!
//! In scope: its moments and its open questions.

use countersign_core::{
    id::MessageId,
    request::{Case, MessageKind, Phase},
    time::Timestamp,
};

/// Until when an open request waits.
pub(super) fn left(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Held { expires: at } | Phase::Approved { until: at } => Some(*at),
        Phase::Running { .. } | Phase::Finished { .. } | Phase::Closed { .. } => None,
    }
}

/// When a request ended.
pub(super) fn ended(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Finished { at, .. } | Phase::Closed { at, .. } => Some(*at),
        Phase::Held { .. } | Phase::Approved { .. } | Phase::Running { .. } => None,
    }
}

/// Whether nobody has answered a question.
pub(super) fn is_unanswered(case: &Case, question: &MessageId) -> bool {
    let mut messages = case.conversation.iter();
    !messages.any(|one| matches!(&one.kind, MessageKind::Answer { to } if to == question))
}

/// Whether a question to the requester's side is open.
pub(super) fn has_open_question(case: &Case) -> bool {
    let asks = |kind: &MessageKind| *kind == MessageKind::Question;
    let mut messages = case.conversation.iter();
    case.phase.is_open() && messages.any(|one| asks(&one.kind) && is_unanswered(case, &one.id))
}
