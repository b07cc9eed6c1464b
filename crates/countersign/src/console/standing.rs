//! Where a case stands, for lines and pages alike.
//!
//! In scope: its moments and its open questions.

use countersign_core::{
    id::MessageId,
    request::{Case, Phase},
    subject::SubjectId,
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
    case.open_questions().any(|open| open.id == *question)
}

/// Who waits for an answer of the requester's side, the one who has waited longest.
pub(super) fn asks(case: &Case) -> Option<&SubjectId> {
    let open = case.open_questions().next().map(|question| &question.by);
    open.filter(|_| case.phase.is_open())
}
