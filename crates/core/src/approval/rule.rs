//! An approval rule: the stages people must sign, and the conditions under which they may.
//!
//! In scope: the rule as a value, with its defaults.
//! Out of scope: reading rules from files (the policy crate does) and evaluating them
//! ([`quorum`](super::quorum)).

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use crate::{
    id::{GroupId, PersonId, RuleName},
    time::Span,
};

/// Who may fill a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Approver {
    /// Members of a group: `group:dba`.
    Group(GroupId),
    /// One person: `user:dana@example.com`.
    User(PersonId),
    /// The owner that the catalog names for the resource: `owner-of:resource`.
    OwnerOfResource,
    /// The manager of the requester, or of the requester's owner: `manager-of:requester`.
    ManagerOfRequester,
}

/// Why a text names no approver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no approver: write `group:NAME`, `user:NAME`, `owner-of:resource` or `manager-of:requester`"
)]
pub struct InvalidApprover(String);

impl TryFrom<String> for Approver {
    type Error = InvalidApprover;
    fn try_from(text: String) -> Result<Self, InvalidApprover> {
        let invalid = || InvalidApprover(text.escape_debug().take(80).collect());
        match text.split_once(':').ok_or_else(invalid)? {
            ("group", name) => GroupId::new(name).map(Self::Group).map_err(|_| invalid()),
            ("user", name) => PersonId::new(name).map(Self::User).map_err(|_| invalid()),
            ("owner-of", "resource") => Ok(Self::OwnerOfResource),
            ("manager-of", "requester") => Ok(Self::ManagerOfRequester),
            _ => Err(invalid()),
        }
    }
}

impl From<Approver> for String {
    fn from(approver: Approver) -> String {
        approver.to_string()
    }
}

impl std::fmt::Display for Approver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(id) => write!(f, "group:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::OwnerOfResource => f.write_str("owner-of:resource"),
            Self::ManagerOfRequester => f.write_str("manager-of:requester"),
        }
    }
}

/// One step of a rule: `count` different people out of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Who may sign.
    pub from: Vec<Approver>,
    /// How many must, at least one.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// How sure the gateway must be that the voter is who they are, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// A click in a chat, by a linked identity.
    Chat,
    /// A fresh act in a signed-in browser session.
    Session,
    /// A signature by a passkey with user verification.
    Passkey,
}

/// Whether an approval needs a reason. A denial may always have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonRequirement {
    /// Approving without a reason is refused.
    Required,
    /// A reason may be given.
    #[default]
    Optional,
}

/// People added when nobody has decided for a while. Never skips a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// How long after the request.
    pub after: Span,
    /// Who may then sign every stage as well.
    pub to: Vec<Approver>,
}

/// The largest grant that approvers may give under a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantLimits {
    /// The longest time.
    pub max: Span,
    /// The most uses.
    pub uses: u32,
}

/// Who may lift the rule in an emergency, and when it must be reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    /// People who may break the glass.
    pub from: Vec<Approver>,
    /// How long until somebody else must have reviewed the use.
    pub review_within: Span,
}

/// Who must countersign before a forbid is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRule {
    /// Its name, as policies write it in `@approval("…")`.
    pub name: RuleName,
    /// The stages, in order. Empty for a confirmation.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Pending for longer means denied.
    pub expires: Span,
    /// From the last vote to the claim.
    pub valid_for: Span,
    /// The least assurance of a vote.
    pub assurance: Assurance,
    /// Whether approving needs a reason.
    #[serde(default)]
    pub reason: ReasonRequirement,
    /// People added on time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
    /// Channels to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
    /// After what time of waiting whoever could still sign is reminded in private, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind: Option<Span>,
    /// When votes count; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Whether approvers may grant a shape for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantLimits>,
    /// Whether and by whom the rule can be lifted in an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
    /// A confirmation by the person the agent acts for, not a countersignature.
    #[serde(default)]
    pub confirmation: bool,
}

/// The most signatures one rule can ask for; the matching of votes stays small.
pub const MAX_SIGNATURES: u32 = 100;

/// How long a request waits when its rule says nothing.
pub const DEFAULT_EXPIRES: Span = Span::minutes(30);
/// How long an approval can be claimed when its rule says nothing.
pub const DEFAULT_VALID_FOR: Span = Span::minutes(10);

impl ApprovalRule {
    /// A rule with one stage and every default.
    #[must_use]
    pub fn new(name: RuleName, stages: Vec<Stage>) -> Self {
        Self {
            name,
            stages,
            expires: DEFAULT_EXPIRES,
            valid_for: DEFAULT_VALID_FOR,
            assurance: Assurance::Session,
            reason: ReasonRequirement::Optional,
            escalate: Vec::new(),
            notify: Vec::new(),
            remind: None,
            hours: None,
            grants: None,
            emergency: None,
            confirmation: false,
        }
    }

    /// Whether it says something that can be satisfied: a confirmation has no stages; any other
    /// rule has some, of at most [`MAX_SIGNATURES`] signatures together.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let add = |sum: u32, stage: &Stage| sum.saturating_add(stage.count.max(1));
        let signatures = self.stages.iter().fold(0, add);
        if self.confirmation {
            signatures == 0
        } else {
            (1..=MAX_SIGNATURES).contains(&signatures)
        }
    }
}
