//! Every way in which an event can be refused, each with its reason and what to do next.

use crate::{
    approval::rule::Assurance,
    id::{PersonId, RuleName},
    time::Timestamp,
};

/// Why an event was refused. The message is for people; [`Refusal::code`] is for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The voter belongs to the requester's side.
    #[error(
        "`{0}` is on the requester's side (requester, owner, delegate or editor); somebody else must decide"
    )]
    OwnRequest(PersonId),
    /// The voter's credential was issued by somebody of the requester's side.
    #[error(
        "`{0}`, who is on the requester's side, asked for the link that your session comes from, so \
         that your vote could be theirs; it takes a session in which they had no hand"
    )]
    CredentialFromRequester(PersonId),
    /// Two votes that could be one person's.
    #[error(
        "you and `{0}` share a session, or one of you or the same person issued both; two such votes count as one"
    )]
    SharedCredential(PersonId),
    /// The voter may not sign any open stage.
    #[error("`{0}` may not decide this request; its page names who can")]
    NotEligible(PersonId),
    /// Everything this voter could sign is signed or not yet open.
    #[error(
        "your signature is not needed now: the stages you may sign are complete or not yet open"
    )]
    NotNeeded,
    /// The voter has voted.
    #[error("you have already decided this request")]
    AlreadyVoted,
    /// The voter has not voted.
    #[error("you have no approval on this request to withdraw")]
    NoVote,
    /// The digest is not the request's.
    #[error("the action you were shown is not this request's; reload the page and look again")]
    OtherAction,
    /// The action is too large or not fully shown.
    #[error(
        "this action can't be shown whole; type the first 8 digits of its digest to say that you checked it"
    )]
    DigestNotTyped,
    /// Something else than the digest's first digits was typed.
    #[error(
        "what you typed are not the first 8 digits of this action's digest; type them as its page \
         shows them, and look at the action again if yours come from elsewhere"
    )]
    OtherDigestTyped,
    /// The session is too weak.
    #[error("this rule needs assurance `{needed:?}`; your session gives `{given:?}`")]
    AssuranceTooLow {
        /// What the rules ask.
        needed: Assurance,
        /// What the session has.
        given: Assurance,
    },
    /// A reason is required.
    #[error("this rule needs a reason; say why you approve")]
    ReasonRequired,
    /// A text is too long.
    #[error("the text is longer than {max} bytes", max = crate::request::MAX_TEXT_BYTES)]
    TextTooLong,
    /// The conversation is full.
    #[error("the conversation has {max} messages already", max = crate::request::MAX_MESSAGES)]
    ConversationFull,
    /// The requester's side has written its half.
    #[error(
        "the requester's side has written {max} messages, which is its half of the conversation; \
         the rest is for reviewers",
        max = crate::request::MAX_SIDE_MESSAGES
    )]
    SideSaidEnough,
    /// Votes don't count at this time.
    #[error("approvals for rule `{rule}` count only {hours}")]
    OutsideHours {
        /// The rule.
        rule: RuleName,
        /// Its hours.
        hours: String,
    },
    /// The request is over or running.
    #[error("the request is {0}; nothing more can be decided or done about it")]
    NotOpen(&'static str),
    /// The request is not approved yet.
    #[error("the request is {0}, not approved")]
    NotApproved(&'static str),
    /// The claimant is not the requester.
    #[error("only the requester can claim its action")]
    NotRequester,
    /// The approval lapsed.
    #[error("the approval lapsed at {0}; ask again")]
    Lapsed(Timestamp),
    /// The votes no longer satisfy the rules.
    #[error("the approvals no longer satisfy the rules; they must be given again")]
    NoLongerSatisfied,
    /// Current policy says otherwise.
    #[error("current policy no longer allows it: {0}")]
    PolicyChanged(String),
    /// The stored request does not match its digest.
    #[error("the stored action does not match what was approved; it was not run")]
    StoredActionChanged,
    /// Not a participant.
    #[error("only the requester's side and its reviewers can do this")]
    NotParticipant,
    /// An answer to nothing.
    #[error("there is no such question to answer")]
    NoSuchQuestion,
    /// No emergency for this.
    #[error("this rule can't be lifted in an emergency: {0}")]
    NoEmergency(&'static str),
    /// The reviewer lifted something of this request.
    #[error("`{0}` lifted a rule of this request in an emergency; somebody else must review it")]
    OwnEmergency(PersonId),
    /// Nothing to review.
    #[error("there is no emergency of that rule to review")]
    NothingToReview,
    /// What the voter wants granted can't be.
    #[error("this can't be granted: {0}")]
    NotGrantable(&'static str),
    /// There is no grant.
    #[error("there is no grant of this request that could be used or ended")]
    NoGrant,
    /// The event names another permit.
    #[error("the permit is not this request's")]
    OtherPermit,
}

impl Refusal {
    /// A short stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OwnRequest(_) => "own_request",
            Self::CredentialFromRequester(_) => "credential_from_requester",
            Self::SharedCredential(_) => "shared_credential",
            Self::NotEligible(_) => "not_eligible",
            Self::NotNeeded => "not_needed",
            Self::AlreadyVoted => "already_voted",
            Self::NoVote => "no_vote",
            Self::OtherAction => "other_action",
            Self::DigestNotTyped => "digest_not_typed",
            Self::OtherDigestTyped => "other_digest_typed",
            Self::AssuranceTooLow { .. } => "assurance_too_low",
            Self::ReasonRequired => "reason_required",
            Self::TextTooLong => "text_too_long",
            Self::ConversationFull => "conversation_full",
            Self::SideSaidEnough => "side_said_enough",
            Self::OutsideHours { .. } => "outside_hours",
            Self::NotOpen(_) => "not_open",
            Self::NotApproved(_) => "not_approved",
            Self::NotRequester => "not_requester",
            Self::Lapsed(_) => "lapsed",
            Self::NoLongerSatisfied => "no_longer_satisfied",
            Self::PolicyChanged(_) => "policy_changed",
            Self::StoredActionChanged => "stored_action_changed",
            Self::NotParticipant => "not_participant",
            Self::NoSuchQuestion => "no_such_question",
            Self::NoEmergency(_) => "no_emergency",
            Self::OwnEmergency(_) => "own_emergency",
            Self::NothingToReview => "nothing_to_review",
            Self::NotGrantable(_) => "not_grantable",
            Self::NoGrant => "no_grant",
            Self::OtherPermit => "other_permit",
        }
    }
}
