//! Comments, questions, answers, amendments and cancellation.
//!
//! Invariant: only the requester's side and people who may decide take part; asking and amending
//! are for people who may decide, answering is for the requester's side.

use super::{Fact, Refusal, step::Progress, vote::rule_sets};
use crate::{
    approval::{myself::myself, quorum::Electorate},
    id::{PersonId, RequestId},
    request::{Closure, MAX_MESSAGES, MAX_SIDE_MESSAGES, MAX_TEXT_BYTES, Message, MessageKind},
    subject::SubjectId,
};

impl Progress<'_> {
    /// Whether the subject belongs to the requester's side.
    fn is_requester_side(&self, by: &SubjectId) -> bool {
        let member = self
            .case
            .request
            .chain
            .members()
            .any(|member| member.id == *by);
        let person = match by {
            SubjectId::Person(id) => myself(&self.case, self.world.directory).contains(id),
            SubjectId::Agent(_) | SubjectId::Workload(_) => false,
        };
        member || person
    }

    /// Whether the person may sign any stage of any rule and is not *self*.
    fn is_reviewer(&self, person: &PersonId) -> bool {
        let myself = myself(&self.case, self.world.directory);
        !myself.contains(person)
            && rule_sets(&self.case, self.world).iter().any(|rules| {
                let electorate = Electorate {
                    request: &self.case.request,
                    directory: self.world.directory,
                    rules,
                    myself: &myself,
                };
                electorate.may_sign_any(person, self.now)
            })
    }

    /// Whether one more message of this subject fits. The requester's side has half of the
    /// conversation, so that it can't keep reviewers from speaking.
    fn check_room(&self, by: &SubjectId) -> Result<(), Refusal> {
        let said = &self.case.conversation;
        if said.len() >= MAX_MESSAGES {
            return Err(Refusal::ConversationFull);
        }
        let of_side = || {
            said.iter()
                .filter(|one| self.is_requester_side(&one.by))
                .count()
        };
        if self.is_requester_side(by) && of_side() >= MAX_SIDE_MESSAGES {
            return Err(Refusal::SideSaidEnough);
        }
        Ok(())
    }

    fn is_reviewing(&self, by: &SubjectId) -> bool {
        matches!(by, SubjectId::Person(person) if self.is_reviewer(person))
    }
}

pub(super) fn say(progress: &mut Progress<'_>, message: Message) -> Result<(), Refusal> {
    check_text(&message.text)?;
    progress.check_room(&message.by)?;
    let (side, reviewing) = (
        progress.is_requester_side(&message.by),
        progress.is_reviewing(&message.by),
    );
    let allowed = match &message.kind {
        MessageKind::Comment => side || reviewing,
        MessageKind::Question => reviewing,
        MessageKind::Answer { .. } => side,
        MessageKind::Amendment { .. } => false,
    };
    if !allowed {
        return Err(Refusal::NotParticipant);
    }
    if let MessageKind::Answer { to } = &message.kind {
        let asked = |one: &Message| one.id == *to && one.kind == MessageKind::Question;
        if !progress.case.conversation.iter().any(asked) {
            return Err(Refusal::NoSuchQuestion);
        }
    }
    if message.kind != MessageKind::Comment && !progress.case.phase.is_open() {
        return Err(Refusal::NotOpen(progress.case.phase.name()));
    }
    progress.case.conversation.push(message.clone());
    progress.facts.push(Fact::Said { message });
    Ok(())
}

fn check_text(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Refusal::TextTooLong);
    }
    Ok(())
}

pub(super) fn amend(
    progress: &mut Progress<'_>,
    editor: PersonId,
    into: RequestId,
    message: Message,
) -> Result<(), Refusal> {
    check_text(&message.text)?;
    if !progress.case.phase.is_open() {
        return Err(Refusal::NotOpen(progress.case.phase.name()));
    }
    let kind = MessageKind::Amendment {
        request: into.clone(),
    };
    let is_theirs = message.by == SubjectId::Person(editor.clone()) && message.kind == kind;
    if !is_theirs || !progress.is_reviewer(&editor) {
        return Err(Refusal::NotParticipant);
    }
    progress.case.conversation.push(message.clone());
    progress.facts.push(Fact::Said { message });
    progress.close(Closure::Amended { by: editor, into });
    Ok(())
}

pub(super) fn cancel(progress: &mut Progress<'_>, by: SubjectId) -> Result<(), Refusal> {
    if !progress.case.phase.is_open() {
        return Err(Refusal::NotOpen(progress.case.phase.name()));
    }
    if !progress.is_requester_side(&by) {
        return Err(Refusal::NotParticipant);
    }
    progress.close(Closure::Cancelled { by });
    Ok(())
}
