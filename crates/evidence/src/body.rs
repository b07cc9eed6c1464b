//! What a record says: one struct for every kind.
//!
//! In scope: the kinds, their fields, and which of them belong to a request.
//! Out of scope: the fields every record has ([`leaf`](crate::leaf)); names of people, which never
//! enter a leaf ([`reference`](crate::reference)).
//! Invariant: unknown kinds and unknown fields are refused. Fields are declared in the order of
//! their names, as canonical JSON needs them. Texts such as codes and pages hold no personal data;
//! the caller keeps that.
//! Specification: `{"<kind>":{…}}`, for example `{"approval.withdrawn":{"voter":"…"}}`.

mod words;

pub use words::{
    ActivatedBy, Assurance, CloseReason, CommentKind, CredentialKind, Decision, Erasure,
    KeyPurpose, OutcomeStatus, Phase, Verdict,
};

use countersign_core::{
    canonical::Hash,
    digest::ActionDigest,
    id::{ActionName, CredentialId, PermitId, PolicyId, RequestId, RuleName},
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};

use crate::{evidence::sealing::KeyId, hex, leaf::safe, reference::Ref};

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident {$(
        $(#[$field_doc:meta])* $field:ident: $type:ty,
    )*})*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {$(
            $(#[$field_doc])*
            pub $field: $type,
        )*}
    )*};
}

macro_rules! kinds {
    ($($name:literal => $kind:ident($record:ident),)*) => {
        /// The kinds of records.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "every variant is documented at its struct")]
        pub enum Body {$(
            #[serde(rename = $name)]
            $kind($record),
        )*}

        impl Body {
            /// The names of all kinds.
            pub const KINDS: &'static [&'static str] = &[$($name),*];

            /// The name of this kind.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {$(Self::$kind(_) => $name,)*}
            }
        }
    };
}

kinds! {
    "instance.started" => InstanceStarted(InstanceStarted),
    "epoch.started" => EpochStarted(EpochStarted),
    "heartbeat" => Heartbeat(Counters),
    "key.rotated" => KeyRotated(KeyRotated),
    "action.requested" => ActionRequested(ActionRequested),
    "policy.decided" => PolicyDecided(PolicyDecided),
    "self.grew" => SelfGrew(SelfGrew),
    "approval.decided" => ApprovalDecided(ApprovalDecided),
    "approval.withdrawn" => ApprovalWithdrawn(ApprovalWithdrawn),
    "commented" => Commented(Commented),
    "opened" => Opened(Opened),
    "action.permitted" => ActionPermitted(ActionPermitted),
    "action.outcome" => ActionOutcome(ActionOutcome),
    "grant.given" => GrantGiven(GrantGiven),
    "grant.used" => GrantUsed(GrantUsed),
    "grant.ended" => GrantEnded(GrantEnded),
    "request.closed" => RequestClosed(RequestClosed),
    "request.escalated" => RequestEscalated(RequestEscalated),
    "emergency.reviewed" => EmergencyReviewed(EmergencyReviewed),
    "emergency.overdue" => EmergencyOverdue(EmergencyOverdue),
    "refused" => Refused(Refused),
    "policy.activated" => PolicyActivated(PolicyActivated),
    "credential.issued" => CredentialIssued(CredentialIssued),
    "credential.revoked" => CredentialRevoked(CredentialRevoked),
    "directory.changed" => DirectoryChanged(DirectoryChanged),
    "change.stored" => ChangeStored(ChangeStored),
    "recovered" => Recovered(Recovered),
    "security.event" => SecurityEvent(SecurityEvent),
    "evidence.erased" => EvidenceErased(EvidenceErased),
}

impl Body {
    /// Whether the kind only makes sense for a request.
    #[must_use]
    pub fn needs_request(&self) -> bool {
        match self {
            Self::ActionRequested(_)
            | Self::PolicyDecided(_)
            | Self::SelfGrew(_)
            | Self::ApprovalDecided(_)
            | Self::ApprovalWithdrawn(_)
            | Self::Commented(_)
            | Self::Opened(_)
            | Self::ActionPermitted(_)
            | Self::ActionOutcome(_)
            | Self::GrantGiven(_)
            | Self::GrantUsed(_)
            | Self::GrantEnded(_)
            | Self::RequestClosed(_)
            | Self::RequestEscalated(_)
            | Self::EmergencyReviewed(_)
            | Self::EmergencyOverdue(_) => true,
            Self::InstanceStarted(_)
            | Self::EpochStarted(_)
            | Self::Heartbeat(_)
            | Self::KeyRotated(_)
            | Self::Refused(_)
            | Self::PolicyActivated(_)
            | Self::CredentialIssued(_)
            | Self::CredentialRevoked(_)
            | Self::DirectoryChanged(_)
            | Self::ChangeStored(_)
            | Self::Recovered(_)
            | Self::SecurityEvent(_)
            | Self::EvidenceErased(_) => false,
        }
    }
}

/// What one instance has recorded so far. Gateway and verifier count with the same
/// [`count`](Self::count), so that a heartbeat means the same to both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Requests that policy denied when they were asked.
    #[serde(with = "safe")]
    pub denied: u64,
    /// Outcomes of actions, of any status.
    #[serde(with = "safe")]
    pub executed: u64,
    /// Requests that policy held when they were asked.
    #[serde(with = "safe")]
    pub held: u64,
    /// Requests that policy permitted when they were asked.
    #[serde(with = "safe")]
    pub permitted: u64,
    /// Requests.
    #[serde(with = "safe")]
    pub seen: u64,
}

impl Counters {
    /// Counts one record of the instance.
    pub fn count(&mut self, body: &Body) {
        let counter = match body {
            Body::ActionRequested(_) => &mut self.seen,
            Body::ActionOutcome(_) => &mut self.executed,
            Body::PolicyDecided(decided) if decided.phase == Phase::Request => {
                match decided.decision {
                    Decision::Permit => &mut self.permitted,
                    Decision::Hold => &mut self.held,
                    Decision::Deny => &mut self.denied,
                }
            }
            _ => return,
        };
        *counter = counter.saturating_add(1);
    }

    /// Every counter with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("denied", self.denied),
            ("executed", self.executed),
            ("held", self.held),
            ("permitted", self.permitted),
            ("seen", self.seen),
        ]
    }
}

/// One slot of a rule that a vote can fill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The rule.
    pub rule: RuleName,
    /// The stage within it, from 0.
    pub stage: u32,
}

records! {
    /// A gateway process started. The first record of its instance.
    InstanceStarted {
        /// The build, such as a version and a commit.
        build: String,
        /// The size of the latest checkpoint it found.
        #[serde(with = "safe")]
        checkpoint_size: u64,
    }

    /// A log begins in the place of one that can't be continued. Its first record, and that of the
    /// instance that began it.
    EpochStarted {
        /// The newest signed checkpoint of the log before that is known.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        checkpoint: Option<Head>,
        /// Requests that were open and ended with it.
        #[serde(with = "safe")]
        dropped: u64,
        /// The name of the log before.
        former: String,
        /// How it was found, as a short code.
        found: String,
        /// What is there of it, whole.
        kept: Head,
        /// How many of its records are missing at least.
        #[serde(with = "safe")]
        missing: u64,
        /// Actions of which nobody knows whether they ran.
        #[serde(with = "safe")]
        unknown: u64,
        /// Records that waited for the log and were dropped.
        #[serde(with = "safe")]
        unrecorded: u64,
    }

    /// A log at one size.
    Head {
        /// Its root.
        #[serde(with = "hex")]
        root: Hash,
        /// Its records.
        #[serde(with = "safe")]
        size: u64,
    }

    /// A signing key was replaced.
    KeyRotated {
        /// The new verifier key as text.
        current: String,
        /// The replaced verifier key as text; `None` for the first.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        previous: Option<String>,
        /// What it signs.
        purpose: KeyPurpose,
    }

    /// Somebody asked for an action. The first record of its request; the leaf's digest is the
    /// action's.
    ActionRequested {
        /// The names of its actions, such as `write` or `exec:git-push`.
        actions: Vec<ActionName>,
        /// The request it replaces.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        amends: Option<RequestId>,
        /// The gate that saw it.
        gate: String,
        /// Who asks.
        requester: Ref,
        /// Everybody who counts as *self* now.
        self_refs: Vec<Ref>,
    }

    /// Policy was asked.
    PolicyDecided {
        /// The rules given to policy as satisfied; empty at the request.
        approvals: Vec<RuleName>,
        /// The hash of the bundle that decided.
        #[serde(with = "hex")]
        bundle: Hash,
        /// The answer.
        decision: Decision,
        /// When it was asked.
        phase: Phase,
        /// The statements that decided.
        policies: Vec<PolicyId>,
        /// The rules to satisfy, as they are now.
        rules: Vec<RuleShape>,
    }

    /// What a rule demands.
    RuleShape {
        /// The least assurance of a vote.
        assurance: Assurance,
        /// Whether it asks for a confirmation by *self* instead of a countersignature.
        confirmation: bool,
        /// Whether it can be lifted in an emergency.
        emergency: bool,
        /// From the request to the last moment of voting.
        expires: Span,
        /// Its name.
        name: RuleName,
        /// Whether an approval needs a reason.
        reason_required: bool,
        /// Within what time somebody else must review an emergency use.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        review_within: Option<Span>,
        /// How many different voters every stage needs. Empty means one for a confirmation and is
        /// a finding otherwise.
        stages: Vec<u32>,
        /// From the last vote to the claim.
        valid_for: Span,
    }

    /// More people count as *self*.
    SelfGrew {
        /// Who.
        refs: Vec<Ref>,
        /// Why, as a short code.
        why: String,
    }

    /// A person decided. Made by [`VoteStatement::record`](crate::vote::VoteStatement::record).
    ApprovalDecided {
        /// How strongly the voter was identified.
        assurance: Assurance,
        /// The session or passkey, by name.
        credential: CredentialId,
        /// The action voted on.
        #[serde(with = "hex")]
        digest: ActionDigest,
        /// Whether it lifts a rule in an emergency.
        emergency: bool,
        /// SHA-256 of the signed envelope, which the evidence holds under `envelope`.
        #[serde(with = "hex")]
        envelope: Hash,
        /// The person who is away, where somebody votes in their place.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        in_place_of: Option<Ref>,
        /// Who issued the credential, when a person did.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        issuer: Option<Ref>,
        /// Everybody else who had a hand in the credential.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        lineage: Vec<Ref>,
        /// The slots it can fill, or the rule it lifts.
        slots: Vec<Slot>,
        /// For or against.
        verdict: Verdict,
        /// Who.
        voter: Ref,
    }

    /// A person took their vote back.
    ApprovalWithdrawn {
        /// Who.
        voter: Ref,
    }

    /// Somebody said something; the text is in the evidence.
    Commented {
        /// The request an amendment leads to.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        about: Option<RequestId>,
        /// Who.
        by: Ref,
        /// What it is.
        kind: CommentKind,
    }

    /// Somebody read a page about the request.
    Opened {
        /// Who.
        by: Ref,
        /// The page, without personal data.
        page: String,
    }

    /// The intent: the action may run once.
    ActionPermitted {
        /// The rules given to policy as satisfied.
        approvals: Vec<RuleName>,
        /// The hash of the bundle that permitted it.
        #[serde(with = "hex")]
        bundle: Hash,
        /// The action.
        #[serde(with = "hex")]
        digest: ActionDigest,
        /// When the permit can no longer be used.
        #[serde(with = "safe")]
        expires: Timestamp,
        /// Which vote fills which slot.
        fills: Vec<Fill>,
        /// The permit.
        permit: PermitId,
        /// Whether it was recorded again after a crash; its time is then not the claim's.
        recovered: bool,
    }

    /// One slot and the vote that fills it.
    Fill {
        /// The rule.
        rule: RuleName,
        /// The stage within it, from 0.
        stage: u32,
        /// Who voted.
        voter: Ref,
    }

    /// A permitted action ended.
    ActionOutcome {
        /// Its exit status, when it has one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exit: Option<i32>,
        /// The permit it ran under.
        permit: PermitId,
        /// How.
        status: OutcomeStatus,
    }

    /// The approvers of a permitted request granted its like; the permit is the first use. What exactly is
    /// in their signed votes.
    GrantGiven {
        /// Its end.
        #[serde(with = "safe")]
        until: Timestamp,
        /// How many uses, the first included.
        uses: u32,
    }

    /// The request was asked under a grant, whose votes count for it.
    GrantUsed {
        /// The request whose approvers gave it.
        grant: RequestId,
    }

    /// The grant of this request was ended, or the one it would have run under.
    GrantEnded {
        /// Who ended it.
        by: Ref,
    }

    /// A request ended without running.
    RequestClosed {
        /// Who ended it, when a person or machine did.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        by: Option<Ref>,
        /// Why.
        why: CloseReason,
    }

    /// More people may decide.
    RequestEscalated {
        /// The rule.
        rule: RuleName,
    }

    /// Somebody reviewed the emergency use of a rule; what they found is in the evidence.
    EmergencyReviewed {
        /// Who.
        by: Ref,
        /// Their session, by name.
        credential: CredentialId,
        /// The rule.
        rule: RuleName,
    }

    /// Nobody reviewed the emergency use of a rule in time.
    EmergencyOverdue {
        /// Until when somebody had to.
        #[serde(with = "safe")]
        review_by: Timestamp,
        /// The rule.
        rule: RuleName,
    }

    /// An attempt was refused.
    Refused {
        /// Whose.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        by: Option<Ref>,
        /// Why, as a short code.
        code: String,
    }

    /// A bundle of policies, rules and memberships became active.
    PolicyActivated {
        /// Its hash.
        #[serde(with = "hex")]
        bundle: Hash,
        /// How.
        by: ActivatedBy,
        /// The hash of the one before it; `None` for the first.
        #[serde(with = "hex", skip_serializing_if = "Option::is_none", default)]
        previous: Option<Hash>,
    }

    /// A credential was issued.
    CredentialIssued {
        /// Its name.
        credential: CredentialId,
        /// Whose it is.
        holder: Ref,
        /// Who issued it, when a person did.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        issuer: Option<Ref>,
        /// What it is.
        kind: CredentialKind,
        /// Which key, when it is a passkey.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        passkey: Option<EnrolledKey>,
    }

    /// The key of a passkey.
    EnrolledKey {
        /// SHA-256 of the public key (COSE).
        #[serde(with = "hex")]
        key: Hash,
        /// The host name it is for.
        site: String,
        /// Whether somebody else vouched for it; only then it signs votes.
        #[serde(default)]
        countersigned: bool,
    }

    /// A credential was revoked.
    CredentialRevoked {
        /// Its name.
        credential: CredentialId,
    }

    /// A person, agent or group changed.
    DirectoryChanged {
        /// Who.
        subject: Ref,
        /// What, as a short code.
        what: String,
    }

    /// A change that was recorded before is stored now: a restart finds it, and nothing older.
    ChangeStored {
        /// Of what, as a short code.
        what: String,
    }

    /// Somebody used local recovery.
    Recovered {
        /// What, as a short code.
        what: String,
    }

    /// Something that an operator should look at.
    SecurityEvent {
        /// What, as a short code.
        code: String,
    }

    /// Keys were destroyed, so that what they sealed can't be read any more.
    EvidenceErased {
        /// The keys.
        keys: Vec<KeyId>,
        /// Whose, when it was about one person. Nobody can make this reference again.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        subject: Option<Ref>,
        /// What for.
        why: Erasure,
    }
}

#[cfg(test)]
pub(crate) mod tests;
