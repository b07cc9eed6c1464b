//! The life of a held action as one pure function.
//!
//! In scope: every event that can befall a request, what it changes, what must be recorded, and
//! why it is refused.
//! Out of scope: policy evaluation (its answers arrive with the events), storage, time.
//! Invariant: see the `invariant_*` tests; in short: no permit without a satisfied quorum of
//! people who are not *self*, at most one permit a request, no vote by *self*, strictest wins.

mod claim;
mod converse;
mod emergency;
mod grant;
mod open;
mod refusal;
mod step;
mod vote;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use claim::satisfied_rules;
pub use emergency::{involved, is_of_emergency, liftable, may_review, reviewable, reviewers};
pub use grant::{NotCovered, may_end, open_under};
pub use open::{MAX_DENIALS, REPEAT_AFTER_UNKNOWN, admit, open, refused_for_denials};
pub use refusal::Refusal;
pub use step::{deadline, step};
pub use vote::{electorate_names, eligible_voters, is_eligible, progress, would_refuse};

use crate::{
    approval::{
        ApprovalRule,
        grant::{GrantTerms, Granted},
        quorum::Slot,
        vote::{Credential, PasskeySignature, Verdict, Vote},
    },
    decision::Decided,
    digest::ActionDigest,
    directory::Directory,
    id::{PermitId, PersonId, RequestId, RuleName},
    permit::Intent,
    request::{Case, Closure, Message, Outcome, Reviewed},
    subject::SubjectId,
    time::Timestamp,
};

/// The people and rules of the moment at which an event is handled.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The active directory.
    pub directory: &'a Directory,
    /// The active rules.
    pub rules: &'a BTreeMap<RuleName, ApprovalRule>,
    /// Until when the emergency uses of a rule must be reviewed that nobody has reviewed, the
    /// earliest of each rule. `None` where that is not known; then no rule can be lifted.
    pub due_reviews: Option<&'a BTreeMap<RuleName, Timestamp>>,
}

/// A verdict as it arrives from a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Who.
    pub voter: PersonId,
    /// The session.
    pub credential: Credential,
    /// For or against.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// The action the voter was shown.
    pub digest: ActionDigest,
    /// The first digits of the digest, typed by hand where one click is not enough.
    pub typed_digest: Option<String>,
    /// What an approval grants beside this one action.
    pub grant: Option<GrantTerms>,
    /// What the voter's passkey signed.
    pub signature: Option<Box<PasskeySignature>>,
}

impl Ballot {
    /// The vote that this ballot is when it counts.
    pub(crate) fn cast(self, at: Timestamp, in_place_of: Option<PersonId>) -> Vote {
        Vote {
            voter: self.voter,
            in_place_of,
            credential: self.credential,
            verdict: self.verdict,
            reason: self.reason,
            digest: self.digest,
            at,
            grant: self.grant,
            signature: self.signature,
        }
    }
}

/// A claim: the requester wants the approved action to run now.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Who claims.
    pub by: SubjectId,
    /// The name the permit will have.
    pub permit: PermitId,
    /// What current policy says with the satisfied rules as approvals.
    pub decided: Decided,
}

/// Something that befalls a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A person decides.
    Vote(Ballot),
    /// A person takes their approval back.
    Withdraw {
        /// Who.
        voter: PersonId,
    },
    /// Somebody says something.
    Say(Message),
    /// A reviewer proposes another action.
    Amend {
        /// Who.
        editor: PersonId,
        /// The new request.
        into: RequestId,
        /// What is said about it.
        message: Message,
    },
    /// The requester's side takes it back.
    Cancel {
        /// Who.
        by: SubjectId,
    },
    /// The requester wants it to run.
    Claim(Claim),
    /// The permitted action ended.
    Ended {
        /// The permit.
        permit: PermitId,
        /// How.
        outcome: Outcome,
    },
    /// Time passed.
    Tick,
    /// The gateway started again.
    Restarted,
    /// Directory or rules changed.
    WorldChanged,
    /// People proposed a change of what decides this case.
    SelfGrew {
        /// Who.
        people: BTreeSet<PersonId>,
    },
    /// A person lifts a rule in an emergency.
    BreakGlass {
        /// The rule.
        rule: RuleName,
        /// Who, with a verdict of approval.
        ballot: Ballot,
    },
    /// A person reviews an emergency.
    Review {
        /// The rule.
        rule: RuleName,
        /// Who.
        by: PersonId,
        /// The session.
        credential: Credential,
        /// What they found.
        note: String,
    },
    /// Another request runs under this one's grant.
    UseGrant {
        /// The other request.
        by: RequestId,
    },
    /// Somebody ends this request's grant.
    EndGrant {
        /// Who.
        by: SubjectId,
        /// Whether policy lets them see to everybody's, which the gateway has asked.
        oversees: bool,
    },
    /// The grant that this request would run under was ended.
    GrantEnded {
        /// By whom.
        by: SubjectId,
    },
}

/// Something that happened and must be recorded before anybody is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// A person decided.
    Voted {
        /// The verdict.
        vote: Vote,
        /// The slots it could fill.
        could_fill: BTreeSet<Slot>,
    },
    /// A person took their approval back, or is about to give it anew.
    Withdrawn {
        /// Who.
        voter: PersonId,
    },
    /// Somebody said something.
    Said {
        /// What.
        message: Message,
    },
    /// Every rule is satisfied.
    Approved {
        /// Until when it can be claimed.
        until: Timestamp,
    },
    /// It no longer is: a vote was withdrawn or its voter may no longer sign.
    Reopened,
    /// More people may sign now.
    Escalated {
        /// The rule.
        rule: RuleName,
    },
    /// More people count as *self* now.
    SelfGrew {
        /// Who.
        people: BTreeSet<PersonId>,
    },
    /// A rule was lifted in an emergency.
    GlassBroken {
        /// The rule.
        rule: RuleName,
        /// By whom, with what and why.
        vote: Vote,
        /// Until when it must be reviewed.
        review_by: Timestamp,
    },
    /// An emergency was reviewed.
    Reviewed {
        /// The rule.
        rule: RuleName,
        /// Whose emergency it was.
        lifter: PersonId,
        /// By whom, with what, and what they found.
        review: Reviewed,
    },
    /// Nobody reviewed an emergency in time.
    ReviewOverdue {
        /// The rule.
        rule: RuleName,
        /// Whose emergency it was.
        lifter: PersonId,
        /// Until when it had to be reviewed.
        review_by: Timestamp,
    },
    /// Its approvers granted its like; it is the first use.
    GrantGiven {
        /// What they agreed on.
        terms: GrantTerms,
        /// Its end.
        until: Timestamp,
    },
    /// It was asked under a grant.
    Granted {
        /// Which, with the votes it brings.
        granted: Granted,
    },
    /// Another request runs under its grant.
    GrantUsed {
        /// The other request.
        by: RequestId,
        /// How many uses that makes.
        used: u32,
    },
    /// Its own grant, or the one it would have run under, was ended.
    GrantEnded {
        /// By whom.
        by: SubjectId,
    },
    /// Policy decided again at the claim.
    Redecided {
        /// What it said.
        decided: Decided,
    },
    /// The action may run.
    Permitted {
        /// The permit.
        permit: PermitId,
        /// Its end.
        expires: Timestamp,
        /// Which vote fills which slot.
        filled: Vec<(Slot, PersonId)>,
        /// The rules given to policy as satisfied.
        approvals: BTreeSet<RuleName>,
    },
    /// The action ended.
    Ended {
        /// The permit.
        permit: PermitId,
        /// How.
        outcome: Outcome,
    },
    /// The request ended without running.
    Closed {
        /// Why.
        closure: Closure,
    },
}

/// What an event led to.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// The case afterwards.
    pub case: Case,
    /// What to record, in order.
    pub facts: Vec<Fact>,
    /// The permission to run, from a successful claim.
    pub intent: Option<Intent>,
    /// Why the event was refused although it changed the case, for example a claim that came
    /// after the approval had lapsed.
    pub refused: Option<Refusal>,
}
