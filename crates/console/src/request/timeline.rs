//! What happened to a request, one event after the other.
//!
//! In scope: events as they are shown.
//! Out of scope: the record itself; the caller reads it and picks what this viewer may see.

use crate::{
    part::{Moment, Party},
    shell::Link,
};

/// One event.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Who did it; nobody for what the gateway did itself.
    pub by: Option<Party>,
    /// When.
    pub at: Moment,
    /// More in the gateway's words, after the verb: `rules dba, security`, the refusal's reason, …
    pub detail: String,
    /// What somebody wrote.
    pub text: String,
    /// What else to look at: the amended request, the receipt, …
    pub link: Option<Link>,
    /// The message's id, for questions that can be answered.
    pub message: String,
    /// Whether it is a question without an answer. With [`answer`](super::Actions::answer) an
    /// answer form stands below it.
    pub unanswered: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventKind {
    /// Asked.
    #[default]
    Requested,
    /// Policy decided.
    Decided,
    /// A person approved.
    Approved,
    /// The person the agent acts for confirmed.
    Confirmed,
    /// A person denied.
    Denied,
    /// A person took their approval back.
    Withdrawn,
    /// A remark.
    Comment,
    /// A reviewer's question.
    Question,
    /// An answer from the requester's side.
    Answer,
    /// A reviewer proposed another action.
    Amendment,
    /// More people may sign.
    Escalated,
    /// More people count as the requester's side.
    SelfGrew,
    /// A rule was lifted in an emergency.
    Lifted,
    /// An emergency was reviewed.
    Reviewed,
    /// Nobody reviewed an emergency in time.
    Overdue,
    /// Its like was granted with it.
    Granted,
    /// Somebody ended that before its time.
    GrantEnded,
    /// Every rule is satisfied.
    Satisfied,
    /// The rules are no longer satisfied.
    Reopened,
    /// Policy decided again at the claim.
    Redecided,
    /// A permit was minted.
    Permit,
    /// It ran and succeeded.
    Succeeded,
    /// It ran and failed.
    Failed,
    /// Nobody knows whether it ran.
    Unknown,
    /// It ended without running; `detail` says why.
    Closed,
    /// Somebody tried something that was refused; `detail` says why.
    Refused,
}

impl EventKind {
    /// The words after the name of who did it, or alone.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Requested => "asked",
            Self::Decided => "Policy decided:",
            Self::Approved => "approved",
            Self::Confirmed => "confirmed",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrew the approval",
            Self::Comment => "commented",
            Self::Question => "asked a question",
            Self::Answer => "answered",
            Self::Amendment => "proposed another action",
            Self::Escalated => "Escalated:",
            Self::SelfGrew => "More people count as the requester's side:",
            Self::Lifted => "lifted a rule in an emergency:",
            Self::Reviewed => "reviewed the emergency:",
            Self::Overdue => "Nobody had reviewed the emergency in time:",
            Self::Granted => "Its like was granted:",
            Self::GrantEnded => "ended the grant",
            Self::Satisfied => "Every rule is satisfied.",
            Self::Reopened => "The rules are no longer satisfied.",
            Self::Redecided => "At the claim, policy decided again:",
            Self::Permit => "Permit minted:",
            Self::Succeeded => "Outcome: succeeded.",
            Self::Failed => "Outcome: failed.",
            Self::Unknown => "Outcome: unknown.",
            Self::Closed => "Closed:",
            Self::Refused => "tried and was refused:",
        }
    }

    /// The class in the style sheet.
    pub(crate) fn tone(self) -> &'static str {
        match self {
            Self::Approved | Self::Confirmed | Self::Satisfied | Self::Permit | Self::Succeeded => {
                "good"
            }
            Self::Denied
            | Self::Lifted
            | Self::Overdue
            | Self::Failed
            | Self::Unknown
            | Self::Closed
            | Self::Refused => "bad",
            Self::Decided | Self::Escalated | Self::Reopened | Self::Redecided | Self::Granted => {
                "hold"
            }
            Self::Comment | Self::Question | Self::Answer | Self::Amendment => "said",
            Self::Requested
            | Self::Withdrawn
            | Self::SelfGrew
            | Self::Reviewed
            | Self::GrantEnded => "quiet",
        }
    }
}

impl Event {
    /// Whether a machine wrote the text.
    pub(crate) fn is_by_machine(&self) -> bool {
        self.by.as_ref().is_some_and(Party::is_machine)
    }

    /// Whether an answer is still due.
    pub(crate) fn is_open_question(&self) -> bool {
        self.kind == EventKind::Question && self.unanswered
    }
}
