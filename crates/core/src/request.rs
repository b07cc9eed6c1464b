//! A request, and the case it becomes when it is held.
//!
//! In scope: everything that is known about one asked action, and the states of a held one.
//! Out of scope: moving between states; only [`lifecycle::step`](crate::lifecycle::step) does.
//! Invariant: a request never changes after it was asked; what changes is the case around it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    action::{Action, Effect},
    approval::{
        ApprovalRule, Vote,
        grant::{Grant, GrantOffer, Granted},
        vote::Credential,
    },
    canonical::Hash,
    decision::Decided,
    digest::{ActionDigest, AttachKey, Nonce},
    id::{MessageId, PermitId, PersonId, RequestId, RuleName},
    subject::{SubjectChain, SubjectId},
    time::Timestamp,
    trace::TraceParent,
};

/// The longest text a person or agent may add to a request, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// The most messages in one conversation.
pub const MAX_MESSAGES: usize = 200;
/// The most of them that the requester's side writes; the rest is for reviewers.
pub const MAX_SIDE_MESSAGES: usize = MAX_MESSAGES / 2;
/// What a reviewer is shown at once, in bytes; more is not approved with one click (P8).
pub const MAX_ONE_CLICK_BYTES: usize = 8_192;

/// What a reviewer sees of the action, made by the gate from the stored action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presentation {
    /// One line.
    pub title: String,
    /// The whole action with control and bidirectional characters made visible.
    pub body: String,
    /// What it would touch, or that this is not known.
    pub blast_radius: String,
    /// Whether the body shows everything; otherwise one click is not enough.
    pub complete: bool,
}

impl Presentation {
    /// Whether a reviewer can approve without typing the digest's first digits.
    #[must_use]
    pub fn allows_one_click(&self) -> bool {
        self.complete && self.body.len() <= MAX_ONE_CLICK_BYTES
    }
}

/// That a request replaces another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amends {
    /// The request it replaces.
    pub request: RequestId,
    /// Who wrote the new version; that person is *self* for it.
    pub editor: PersonId,
}

/// One asked action, complete and unchanging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Who asks, and for whom.
    pub chain: SubjectChain,
    /// What exactly.
    pub action: Action,
    /// What it does to what.
    pub effects: Vec<Effect>,
    /// Arguments as policy sees them.
    #[serde(default)]
    pub captures: BTreeMap<String, Value>,
    /// Why, as the requester states it.
    #[serde(default)]
    pub reason: Option<String>,
    /// What makes the digest unguessable.
    pub nonce: Nonce,
    /// What approvals and permits bind.
    pub digest: ActionDigest,
    /// How an identical call finds this one. Never published.
    pub attach_key: AttachKey,
    /// What it has in common with the same action of anybody else. Never published; requests of before
    /// there was one have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_key: Option<AttachKey>,
    /// When it was asked.
    pub at: Timestamp,
    /// What policy said.
    pub decided: Decided,
    /// The rules to satisfy, as they were when it was asked.
    pub rules: Vec<ApprovalRule>,
    /// What its approvers may grant beside it; `None` when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Box<GrantOffer>>,
    /// The owners of its resources by the catalog.
    #[serde(default)]
    pub resource_owners: BTreeSet<PersonId>,
    /// Everybody who issued the requester's credential, or one that it came from: they could have used
    /// it, so they are *self*. Of an amendment also the editors and the *self* of what it replaces.
    #[serde(default)]
    pub issuers: BTreeSet<PersonId>,
    /// Everybody who let somebody of its chain act for them when it was asked, and is not in it; and whom
    /// a change would have sign in somebody's place. They are *self*, and don't read it for that.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub behind: BTreeSet<PersonId>,
    /// Whether it changes Countersign itself; no emergency lifts its rules.
    #[serde(default)]
    pub administrative: bool,
    /// What it replaces.
    #[serde(default)]
    pub amends: Option<Amends>,
    /// The trace that the caller says it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// What reviewers see.
    pub presentation: Presentation,
}

impl Request {
    /// By what it is known that the same action may have happened already, whoever asked for it.
    #[must_use]
    pub fn repeats(&self) -> AttachKey {
        self.repeat_key.unwrap_or(self.attach_key)
    }
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum MessageKind {
    /// Said by anybody who sees the request.
    Comment,
    /// Asked by a reviewer.
    Question,
    /// Given by the requester's side.
    Answer {
        /// The question.
        to: MessageId,
    },
    /// A reviewer proposes another action instead.
    Amendment {
        /// The new request.
        request: RequestId,
    },
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// Who wrote it.
    pub by: SubjectId,
    /// When.
    pub at: Timestamp,
    /// What it is.
    #[serde(flatten)]
    pub kind: MessageKind,
    /// The text, at most [`MAX_TEXT_BYTES`].
    pub text: String,
}

/// How an executed action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what it should.
    Succeeded,
    /// It ran and reported failure.
    Failed,
    /// Nobody knows: the gateway stopped in between.
    Unknown,
}

/// Why a request ended without running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Closure {
    /// An eligible person said no.
    Denied {
        /// Who.
        by: PersonId,
        /// Why.
        reason: Option<String>,
    },
    /// Nobody decided in time.
    Expired,
    /// Approved, but not claimed in time.
    Unclaimed,
    /// The requester's side took it back.
    Cancelled {
        /// Who.
        by: SubjectId,
    },
    /// A reviewer proposed another action.
    Amended {
        /// Who.
        by: PersonId,
        /// The new request.
        into: RequestId,
    },
    /// The quorum can no longer be reached.
    Unreachable {
        /// The rules concerned.
        rules: BTreeSet<RuleName>,
    },
    /// At the claim, current policy said otherwise.
    PolicyChanged {
        /// What it said.
        detail: String,
    },
    /// Whoever asked, or somebody they act for, was stopped, disabled or removed.
    RequesterStopped {
        /// Who.
        who: SubjectId,
    },
}

/// Where a held request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Waiting for people.
    Held {
        /// When waiting ends in denial.
        expires: Timestamp,
    },
    /// Satisfied and waiting for its requester to claim it.
    Approved {
        /// When the approval lapses.
        until: Timestamp,
    },
    /// Claimed; a permit is out.
    Running {
        /// The permit.
        permit: PermitId,
        /// Since when.
        since: Timestamp,
    },
    /// Executed.
    Finished {
        /// The permit.
        permit: PermitId,
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// Ended without running.
    Closed {
        /// Why.
        closure: Closure,
        /// When.
        at: Timestamp,
        /// Until when an identical call is refused.
        refuse_until: Timestamp,
    },
}

impl Case {
    /// Questions that nobody has answered, the oldest first.
    pub fn open_questions(&self) -> impl Iterator<Item = &Message> {
        let is_answered = move |id: &MessageId| {
            let to = |one: &Message| matches!(&one.kind, MessageKind::Answer { to } if to == id);
            self.conversation.iter().any(to)
        };
        let open = move |one: &&Message| one.kind == MessageKind::Question && !is_answered(&one.id);
        self.conversation.iter().filter(open)
    }
}

/// The names of the phases in which a request has not ended.
pub const GOING_ON: [&str; 3] = ["held", "approved", "running"];

impl Phase {
    /// The phase's name, as the interface and the store write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Approved { .. } => "approved",
            Self::Running { .. } => "running",
            Self::Finished {
                outcome: Outcome::Succeeded,
                ..
            } => "succeeded",
            Self::Finished {
                outcome: Outcome::Failed,
                ..
            } => "failed",
            Self::Finished {
                outcome: Outcome::Unknown,
                ..
            } => "unknown",
            Self::Closed { closure, .. } => match closure {
                Closure::Denied { .. } => "denied",
                Closure::Expired => "expired",
                Closure::Unclaimed => "unclaimed",
                Closure::Cancelled { .. } => "cancelled",
                Closure::Amended { .. } => "amended",
                Closure::Unreachable { .. } => "unreachable",
                Closure::PolicyChanged { .. } => "policy_changed",
                Closure::RequesterStopped { .. } => "requester_stopped",
            },
        }
    }

    /// Whether nothing can happen to it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !GOING_ON.contains(&self.name())
    }

    /// Whether people or the requester can still do something about it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Approved { .. })
    }
}

/// That somebody lifted a rule in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// The rule.
    pub rule: RuleName,
    /// Who, with what, why and when, and what their passkey signed.
    pub vote: Vote,
    /// Until when somebody else must review it.
    pub review_by: Timestamp,
    /// What was signed of it for the record. Whoever records sets and checks it; no step reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
    /// Whether it was recorded that nobody had reviewed it in time.
    #[serde(default)]
    pub overdue: bool,
    /// Who reviewed it, and what they found.
    #[serde(default)]
    pub reviewed: Option<Reviewed>,
}

/// That somebody looked at an emergency, and what they found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Who.
    pub by: PersonId,
    /// With what.
    pub credential: Credential,
    /// What they found, in their words.
    pub note: String,
    /// When.
    pub at: Timestamp,
}

impl Lifted {
    /// Who lifted the rule.
    #[must_use]
    pub fn by(&self) -> &PersonId {
        &self.vote.voter
    }

    /// Why, in their words.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.vote.reason.as_deref().unwrap_or_default()
    }

    /// Whether nobody has reviewed it although it had to be by `now`.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.reviewed.is_none() && now > self.review_by
    }
}

/// What policy said when an approved request was claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// When.
    pub at: Timestamp,
    /// What.
    pub decided: Decided,
}

/// A held request with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The request.
    pub request: Request,
    /// Where it stands.
    pub phase: Phase,
    /// Verdicts, in the order in which they were cast; withdrawn ones are gone.
    pub votes: Vec<Vote>,
    /// What was said.
    pub conversation: Vec<Message>,
    /// People who became *self* while it waited.
    pub self_grown: BTreeSet<PersonId>,
    /// Rules lifted in an emergency.
    pub lifted: Vec<Lifted>,
    /// Escalations announced so far, by rule and position.
    pub escalated: BTreeSet<(RuleName, u32)>,
    /// What its approvers granted beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Box<Grant>>,
    /// The grant it runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Box<Granted>>,
    /// Counts steps; the store swaps only from the version it read.
    pub version: u64,
    /// What policy said at the claim, for showing; no step reads it.
    #[serde(default)]
    pub claimed: Option<Claimed>,
    /// The exit status it ended with, where it has one; no step reads it.
    #[serde(default)]
    pub exit: Option<i32>,
    /// Counts the records written about it, so that the next one gets the next number. Whoever
    /// records raises it; no step reads it.
    #[serde(default)]
    pub records: u64,
    /// What shows that the gateway wrote all of this. Whoever stores it makes and checks it; no step
    /// reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Hash>,
}
