//! How far each rule of a request is.
//!
//! In scope: rules, their stages, their slots, and who fills or may fill each.
//! Out of scope: matching votes to slots; the core does.

use crate::{emergencies::Review, part::Moment};

/// One rule to satisfy.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whether it is a confirmation by the person the agent acts for, not a countersignature.
    pub confirmation: bool,
    /// The least assurance of a vote: `session`, `passkey`, …
    pub assurance: String,
    /// Whether approving needs a reason.
    pub reason_required: bool,
    /// When votes count; empty means always.
    pub hours: String,
    /// Whether votes count at this moment; matters where `hours` is set.
    pub outside_hours: bool,
    /// How long a request waits, for example `30m`.
    pub expires: String,
    /// How long an approval can be claimed, for example `10m`.
    pub valid_for: String,
    /// Why it can't be satisfied as things are; empty otherwise.
    pub unreachable: String,
    /// Its stages in order.
    pub stages: Vec<Stage>,
    /// Whether it was lifted in an emergency, so that nobody has to sign it.
    pub lifted: bool,
    /// Who can lift it in an emergency and by when that is reviewed, in words; empty for nobody.
    pub emergency: String,
}

impl Rule {
    /// Whether every stage is complete.
    pub(crate) fn is_satisfied(&self) -> bool {
        let complete = |stage: &Stage| stage.state == StageState::Complete;
        !self.stages.is_empty() && self.stages.iter().all(complete)
    }
}

/// Whether a stage takes votes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StageState {
    /// Every slot is filled.
    Complete,
    /// It takes votes now.
    #[default]
    Open,
    /// An earlier stage is not complete.
    NotYet,
}

/// One stage of a rule.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// Whether it takes votes.
    pub state: StageState,
    /// Its slots, filled ones first.
    pub slots: Vec<Slot>,
}

impl Stage {
    pub(crate) fn is_complete(&self) -> bool {
        self.state == StageState::Complete
    }

    pub(crate) fn is_later(&self) -> bool {
        self.state == StageState::NotYet
    }
}

/// One signature that a stage needs.
#[derive(Debug, Clone)]
pub enum Slot {
    /// Given.
    Filled(Signature),
    /// Still needed.
    Empty {
        /// What the rule names: `group:dba`, `user:dana@example.com`, …
        from: Vec<String>,
        /// People who could sign it now, the viewer included. May be cut; see `more`.
        people: Vec<String>,
        /// How many more people there are than `people` lists.
        more: u32,
        /// Whether the viewer could sign it now.
        mine: bool,
        /// The person who is away, where the viewer could sign in their place; empty otherwise.
        in_place_of: String,
    },
}

impl Slot {
    pub(crate) fn is_filled(&self) -> bool {
        matches!(self, Self::Filled(_))
    }
}

/// A person's approval in a slot.
#[derive(Debug, Clone, Default)]
pub struct Signature {
    /// Who.
    pub by: String,
    /// The person who was away, where they signed in their place; empty otherwise.
    pub in_place_of: String,
    /// When.
    pub at: Moment,
    /// How strongly they identified: `session`, `passkey`, …
    pub assurance: String,
    /// Whether it is the viewer's own.
    pub mine: bool,
    /// What its holder called the passkey that signed it; empty where none did.
    pub passkey: String,
    /// Whether that passkey was removed since, so that it does not count any more.
    pub void: bool,
}

/// A rule lifted in an emergency.
#[derive(Debug, Clone, Default)]
pub struct Lifted {
    /// The rule.
    pub rule: String,
    /// Who lifted it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: Moment,
    /// Until when somebody else must have reviewed it.
    pub review_by: Moment,
    /// Whether that is over and nobody has.
    pub overdue: bool,
    /// Who reviewed it, and what they found.
    pub reviewed: Option<Review>,
}
