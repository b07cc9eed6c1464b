//! What reviewers ask of a waiting caller.
//!
//! In scope: each open question once, also those asked before the caller came.

use std::collections::BTreeSet;

use countersign_core::{id::MessageId, request::Case, subject::SubjectId};

use crate::{api::types::RunEvent, names::Names};

/// The open questions of a case that are not in `told`, which then has them.
pub(super) fn new(case: &Case, told: &mut BTreeSet<MessageId>, names: Names) -> Vec<RunEvent> {
    let open = case.open_questions();
    let fresh = open.filter(|message| told.insert(message.id.clone()));
    let event = |message: &countersign_core::request::Message| RunEvent::Asked {
        request: case.request.id.clone(),
        question: message.id.clone(),
        by: match &message.by {
            SubjectId::Person(person) => names.person(person),
            machine => machine.name().to_owned(),
        },
        text: message.text.clone(),
    };
    fresh.map(event).collect()
}
