//! What the viewer can do with a request.
//!
//! In scope: which forms the page has and what they start with.
//! Out of scope: checking; every handler decides again from the session.
//! Invariant: an action that is not offered has no form.

use super::grant::GrantForm;
use crate::part::Moment;

/// The forms of a request's page; the default offers none.
#[derive(Debug, Clone, Default)]
pub struct Actions {
    /// Why the viewer can't decide, in words, for example
    /// `You own agent deploy-bot, which asked. Somebody else must decide.` Empty when they can or
    /// when there is nothing to decide.
    pub cannot_vote: String,
    /// Whether a passkey of their own would change that.
    pub lacks_passkey: bool,
    /// `POST /requests/ID/approve` with `reason` and, where needed, `typed_digest`.
    pub approve: Option<ApproveForm>,
    /// `POST /requests/ID/deny` with `reason`.
    pub deny: Option<DenyForm>,
    /// `POST /requests/ID/comment` with `text`.
    pub comment: bool,
    /// `POST /requests/ID/ask` with `text`.
    pub ask: bool,
    /// `POST /requests/ID/answer` with `text` and `question`, below each open question.
    pub answer: bool,
    /// `POST /requests/ID/amend` with `arguments` and `text`.
    pub amend: Option<AmendForm>,
    /// `POST /requests/ID/withdraw`.
    pub withdraw: bool,
    /// `POST /requests/ID/cancel`.
    pub cancel: bool,
    /// `POST /requests/ID/claim`.
    pub claim: Option<ClaimForm>,
    /// `POST /requests/ID/emergency` with `rule`, `reason` and, where needed, `typed_digest`; one form a
    /// rule, apart from deciding.
    pub emergency: Vec<EmergencyForm>,
    /// `POST /requests/ID/review` with `rule` and `text`, one form a rule.
    pub review: Vec<ReviewForm>,
}

impl Actions {
    /// Whether the viewer decides here and now.
    pub(crate) fn can_decide(&self) -> bool {
        self.approve.is_some() || self.deny.is_some()
    }

    pub(crate) fn can_talk(&self) -> bool {
        self.comment || self.ask
    }

    pub(crate) fn can_take_back(&self) -> bool {
        self.withdraw || self.cancel
    }

    /// Whether the decision panel has anything to show.
    pub(crate) fn any_decision(&self) -> bool {
        let own = self.claim.is_some() || self.can_take_back();
        self.can_decide() || own || !self.cannot_vote.is_empty()
    }
}

/// Approving.
#[derive(Debug, Clone, Default)]
pub struct ApproveForm {
    /// Whether a reason is required.
    pub reason_required: bool,
    /// Whether one click is enough.
    pub one_click: OneClick,
    /// How many signatures are still needed after this one.
    pub needed_after: u32,
    /// How long the approval can then be claimed, for example `10 min`.
    pub valid_for: String,
    /// Where the page's script asks what the viewer's passkey is to sign; empty where a signed-in
    /// session is enough.
    pub passkey: String,
    /// The only address at which passkeys sign.
    pub origin: String,
    /// The rule and stage it would sign, for example `rule dba, stage 1`; may be empty.
    pub signs: String,
    /// What the viewer typed before it was refused.
    pub reason: String,
    /// What it can grant beside this action.
    pub grant: Option<GrantForm>,
}

/// Whether an approval takes more than pressing a button.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OneClick {
    /// The page shows the whole action.
    #[default]
    Enough,
    /// It does not; the first digits of the digest are typed. The text says why, for example
    /// `The action has 24 310 bytes; this page shows the first 8 192.`
    NotEnough(String),
}

/// Lifting a rule in an emergency.
#[derive(Debug, Clone, Default)]
pub struct EmergencyForm {
    /// The rule.
    pub rule: String,
    /// Until when somebody else would have to review it.
    pub review_by: Moment,
    /// Some of those who could.
    pub reviewers: Vec<String>,
    /// How many more could.
    pub more: u32,
    /// Whether the whole action is shown.
    pub one_click: OneClick,
    /// Whether the viewer has no passkey that signs here.
    pub lacks_passkey: bool,
    /// Where the page's script asks what the viewer's passkey is to sign.
    pub passkey: String,
    /// The only address at which passkeys sign.
    pub origin: String,
    /// What the viewer typed before it was refused.
    pub reason: String,
}

/// Reviewing an emergency.
#[derive(Debug, Clone, Default)]
pub struct ReviewForm {
    /// The rule.
    pub rule: String,
    /// Who lifted it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// Until when it has to be reviewed.
    pub review_by: Moment,
    /// Whether that is over.
    pub overdue: bool,
    /// What the viewer typed before it was refused.
    pub note: String,
}

/// Denying.
#[derive(Debug, Clone, Default)]
pub struct DenyForm {
    /// For how long an identical call is then refused, for example `30 min`; may be empty.
    pub refuses_for: String,
    /// What the viewer typed before it was refused.
    pub reason: String,
}

/// Proposing another action.
#[derive(Debug, Clone, Default)]
pub struct AmendForm {
    /// The arguments, one to a line; an argument's own line feeds come written as `\n`.
    pub arguments: Vec<String>,
    /// How to write arguments for this gate; may be empty.
    pub hint: String,
}

impl AmendForm {
    /// The text of the field.
    pub(crate) fn lines(&self) -> String {
        self.arguments.join("\n")
    }

    /// The height of the field.
    pub(crate) fn rows(&self) -> usize {
        self.arguments.len().clamp(3, 16)
    }
}

/// Applying an approved change of Countersign itself.
#[derive(Debug, Clone, Default)]
pub struct ClaimForm {
    /// When the approval lapses, in words; may be empty.
    pub until: String,
}
