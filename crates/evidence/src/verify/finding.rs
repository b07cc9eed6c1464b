//! What the verifier says.
//!
//! In scope: every problem it knows, how grave it is and what it touches, the report.
//! Out of scope: finding them.
//! Invariant: a report passes only if no finding is a failure; findings beyond
//! [`MAX_FINDINGS`] are counted, never forgotten.

use std::fmt;

use countersign_core::{
    canonical::Hash,
    count::counted,
    id::{CredentialId, PermitId, RequestId, RuleName},
    time::Timestamp,
};

use crate::{
    approval::InvalidApproval,
    checkpoint::InvalidCheckpoint,
    evidence::{InvalidEvidence, sealing::KeyId},
    frame::Corrupt,
    leaf::InvalidLeaf,
    merkle::proof::InvalidProof,
    reference::Ref,
    tile::Name,
    vote::InvalidVote,
};

/// The most findings a report lists.
pub const MAX_FINDINGS: usize = 10_000;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing; the record holds nevertheless.
    Note,
    /// The record does not hold.
    Failure,
}

/// What a finding touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Whether the entries are those that were signed.
    Integrity,
    /// Whether entries are missing.
    Completeness,
    /// Whether the recorded actions kept the rules.
    Rules,
}

macro_rules! problems {
    ($($area:ident { $($(#[doc = $doc:literal])* #[error($($format:tt)*)]
        $name:ident $(($inner:ty))? $({$($field:ident: $type:ty),*})?,)* })*) => {
        /// Exactly what is wrong.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[expect(missing_docs, reason = "the fields are named after what they hold")]
        pub enum Problem {$($(
            $(#[doc = $doc])*
            #[error($($format)*)]
            $name $(($inner))? $({$($field: $type),*})?,
        )*)*}

        impl Problem {
            /// What it touches.
            #[must_use]
            pub fn area(&self) -> Area {
                match self {$($(Self::$name {..})|* => Area::$area,)*}
            }
        }
    };
}

problems! {
    Integrity {
        /// A checkpoint's note, signature, text or origin is wrong.
        #[error("the checkpoint was refused: {0}")]
        CheckpointRefused(InvalidCheckpoint),
        /// A frame does not fit its checks.
        #[error("{0}")]
        JournalDamaged(Corrupt),
        /// The journal ends inside a frame that no checkpoint covers.
        #[error("the journal ends with the beginning of a record, at byte {at}: a write that a crash cut short, or one under way; that is no damage, nobody was told of that record, and the gateway's next start removes it")]
        TornTail { at: u64 },
        /// The journal ends inside a frame that was whole when a checkpoint was signed.
        #[error("the journal ends inside the record at byte {at}, which a signed checkpoint covers whole")]
        CutInside { at: u64 },
        /// A leaf cannot be read or is not canonical.
        #[error("the leaf was refused: {0}")]
        LeafRefused(InvalidLeaf),
        /// The evidence is not what the leaf commits to.
        #[error("the evidence was refused: {0}")]
        EvidenceRefused(InvalidEvidence),
        /// The leaf commits to evidence that is not there.
        #[error("the evidence is missing or erased")]
        EvidenceMissing,
        /// There is evidence that the leaf does not commit to.
        #[error("there is evidence that the leaf does not commit to")]
        EvidenceUnexpected,
        /// An entry of a receipt is not proven to be in the log.
        #[error("the entry is not proven to be in the log: {0}")]
        NotIncluded(InvalidProof),
        /// The entries of a receipt are not in the order of the log.
        #[error("the entry is listed before one that is earlier in the log")]
        OutOfOrder,
        /// An entry of a receipt belongs to something else.
        #[error("the entry is not about the request of the receipt")]
        OtherRequest,
        /// A receipt was made without evidence.
        #[error("the evidence was left out of the receipt; names and texts can't be checked")]
        EvidenceLeftOut,
        /// Parts of the evidence were erased.
        #[error(
            "{} erased, as the log says, and can't be checked any more",
            counted(*.parts, "part of the evidence was", "parts of the evidence were")
        )]
        EvidenceErased { parts: u64 },
        /// Parts of the evidence are sealed, and no keys were given.
        #[error(
            "{} sealed, without a key here, and can't be checked",
            counted(*.parts, "part of the evidence is", "parts of the evidence are")
        )]
        EvidenceClosed { parts: u64 },
        /// A key is missing that no record says was destroyed.
        #[error(
            "the key `{key}` of {} of the evidence is missing, and no record says that it was destroyed",
            counted(*.parts, "part", "parts")
        )]
        EvidenceKeyMissing { key: KeyId, parts: u64 },
        /// The journal has fewer entries than a signed checkpoint.
        #[error("the journal has {}, and a signed checkpoint has {size}: entries were cut off", counted(*.entries, "entry", "entries"))]
        ShorterThanCheckpoint { entries: u64, size: u64 },
        /// The tree is not the one a checkpoint was signed over.
        #[error("the first {size} entries are not those the checkpoint of that size was signed over")]
        RootMismatch { size: u64 },
        /// A published tile or bundle is another than the journal makes.
        #[error("`{name}` is not what the journal makes of it")]
        TileDiffers { name: Name },
        /// A tile or bundle that the checkpoint needs is not published.
        #[error("`{name}` is missing, although the checkpoint needs it")]
        TileMissing { name: Name },
        /// A change of key that the log does not have.
        #[error("the log's key changed from `{from}` to `{to}`, and no record says so")]
        RotationUnrecorded { from: String, to: String },
        /// Entries that no given checkpoint covers yet.
        #[error("{} from here on not yet under a checkpoint", counted(*.entries, "entry is", "entries are"))]
        NotUnderCheckpoint { entries: u64 },
    }
    Completeness {
        /// The log begins in the place of another one.
        #[error("this log begins in the place of `{former}`, of which {kept} records were there and at least {missing} are missing; what came before stands only there")]
        EpochBegan { former: String, kept: u64, missing: u64 },
        /// A log is said to begin where it does not.
        #[error("the record says that a log begins, and is not its first")]
        EpochInside,
        /// An instance's records are not gapless.
        #[error("instance `{instance}` goes on with record {found} where {expected} is due")]
        SequenceGap { instance: Box<str>, expected: u64, found: u64 },
        /// A record does not name the one before it.
        #[error("instance `{instance}` does not name its record before this one")]
        PreviousMismatch { instance: Box<str> },
        /// An instance does not begin with its start.
        #[error("instance `{instance}` has records before its start")]
        StartMissing { instance: Box<str> },
        /// An instance starts twice.
        #[error("instance `{instance}` starts a second time")]
        StartedTwice { instance: Box<str> },
        /// An instance found a checkpoint beyond the log.
        #[error("the instance found a checkpoint of {size} entries, more than stand before it")]
        StartBeyondLog { size: u64 },
        /// A heartbeat's counter is smaller than before.
        #[error("the heartbeat's counter `{counter}` went back to {now} from {before}")]
        CounterWentBack { counter: &'static str, before: u64, now: u64 },
        /// A heartbeat counted more than is in the log.
        #[error("the heartbeat counted {claimed} `{counter}`, and the log has {found}: records are missing")]
        CounterExceedsLog { counter: &'static str, claimed: u64, found: u64 },
        /// A request's records are not gapless.
        #[error("the request goes on with record {found} where {expected} is due")]
        RequestGap { expected: u64, found: u64 },
    }
    Rules {
        /// A record of a kind that belongs to a request names none.
        #[error("the record names no request")]
        RequestMissing,
        /// A request does not begin with the question.
        #[error("the request was never asked")]
        NotRequested,
        /// A request is asked again.
        #[error("the request is asked a second time")]
        RequestedTwice,
        /// A request has no digest.
        #[error("the request has no action digest")]
        DigestMissing,
        /// A record is about another action than the request.
        #[error("the digest of the {what} is not the request's")]
        DigestMismatch { what: &'static str },
        /// An amended request is not in the log.
        #[error("the request replaces `{original}`, which was never asked")]
        AmendsUnknown { original: RequestId },
        /// A request was closed for one that does not replace it.
        #[error("the request was closed for `{into}`, which does not say that it replaces it")]
        AmendedIntoOther { into: RequestId },
        /// An amended request runs, and its original did not end for it.
        #[error("the action was permitted, and `{original}`, which it replaces, was not closed for it: who edited it is not recorded")]
        OriginalNotClosed { original: RequestId },
        /// Somebody who was *self* of the original is not *self* of what replaces it.
        #[error("the request's records leave out `{who}`, who is on the requester's side of `{original}`, which it replaces")]
        SelfLeftOut { original: RequestId, who: Ref },
        /// A receipt of an amended request.
        #[error("the request replaces `{original}`, which is not in this receipt: whether everybody who edited it counts for the requester's side, the whole log tells")]
        OriginalUnchecked { original: RequestId },
        /// Time went back within the request.
        #[error("the record is older than the request's record before it")]
        TimeWentBack,
        /// Policy is asked at the request a second time.
        #[error("policy decided the request a second time")]
        DecidedTwice,
        /// A claim comes before the request's decision.
        #[error("a claim was decided before the request was")]
        ClaimBeforeDecision,
        /// A hold names no rule, or a rule that needs nobody.
        #[error("the request is held for `{rule}`, which needs nobody")]
        EmptyRule { rule: String },
        /// A vote on a request that is not held.
        #[error("a vote was taken on a request that was not held")]
        VoteWithoutHold,
        /// A vote after the permit.
        #[error("a vote was taken or withdrawn after the permit")]
        VoteAfterPermit,
        /// A vote after the rules' `expires`.
        #[error("`{voter}` approved after the request had expired")]
        VoteAfterExpiry { voter: Ref },
        /// A second vote of one person.
        #[error("`{voter}` voted a second time")]
        VotedTwice { voter: Ref },
        /// A withdrawal of nothing.
        #[error("`{voter}` withdrew a vote that was not there")]
        NothingToWithdraw { voter: Ref },
        /// No envelope in the evidence.
        #[error("the evidence holds no signed vote")]
        EnvelopeMissing,
        /// Another envelope than the leaf names.
        #[error("the signed vote is not the one the leaf names")]
        EnvelopeMismatch,
        /// The signature or the payload is wrong.
        #[error("the signed vote was refused: {0}")]
        VoteRefused(InvalidVote),
        /// The record says something else than was signed.
        #[error("the record's `{field}` is not what was signed")]
        VoteDiffers { field: &'static str },
        /// A vote by a credential that no record issued.
        #[error("the credential `{credential}` of the vote was never issued: no record says so")]
        CredentialUnknown { credential: CredentialId },
        /// A vote by a token or a link.
        #[error("the credential `{credential}` of the vote is neither a session nor a passkey nor an account in a chat, and nothing else votes")]
        CredentialNeverVotes { credential: CredentialId },
        /// A vote that claims to be surer of its voter than its credential can be.
        #[error("the vote claims to be surer of its voter than the credential `{credential}` can be")]
        CredentialTooWeak { credential: CredentialId },
        /// A vote by somebody else's credential.
        #[error("the credential `{credential}` of the vote was issued to somebody else")]
        CredentialOfOther { credential: CredentialId },
        /// A vote that names another issuer of its credential.
        #[error("the credential `{credential}` of the vote was issued by somebody else than it says")]
        CredentialIssuerDiffers { credential: CredentialId },
        /// A vote after its credential's end.
        #[error("the credential `{credential}` was revoked before it voted")]
        CredentialRevoked { credential: CredentialId },
        /// A decision by a bundle that was not active then.
        #[error("policy decided by the bundle `{bundle}`, which was not active: no record activated it, or another one had decided since")]
        BundleNotActive { bundle: Hash },
        /// Votes' signatures were not checked.
        #[error("no vote keys were given, so the signatures of votes were not checked")]
        VotesUnchecked,
        /// A permit before policy decided.
        #[error("the action was permitted before policy decided")]
        PermittedBeforeDecision,
        /// A permit although policy denied.
        #[error("the action was permitted although policy denied it")]
        PermittedDespitePolicy,
        /// A permit although a person denied.
        #[error("the action was permitted although `{voter}` denied it")]
        PermittedDespiteDenial { voter: Ref },
        /// A second permit.
        #[error("the action was permitted a second time")]
        PermittedTwice,
        /// A held action permitted without a permitting decision at the claim.
        #[error("the held action was permitted although policy did not permit the claim")]
        ClaimMissing,
        /// The claim was decided before the votes it counts.
        #[error("the claim was decided before the last vote it counts")]
        ClaimBeforeVotes,
        /// The claim came after `valid_for`.
        #[error("the action was claimed after its approval had lapsed")]
        ClaimTooLate,
        /// The permit names another bundle than the decision.
        #[error("the permit names another policy bundle than the decision it rests on")]
        BundleMismatch,
        /// The permit counts other approvals than policy was given.
        #[error("the permit counts other approvals than policy was given")]
        ApprovalsMismatch,
        /// A rule of the hold is not among the approvals.
        #[error("the rule `{rule}` of the hold is not among the permit's approvals")]
        RuleNotApproved { rule: RuleName },
        /// An approval names a rule that the hold does not.
        #[error("the permit counts the rule `{rule}`, which the hold does not name")]
        RuleUnknown { rule: RuleName },
        /// A stage has too few voters.
        #[error("stage {stage} of `{rule}` has {found} of {needed} voters")]
        StageNotFilled { rule: RuleName, stage: u32, needed: u32, found: u32 },
        /// A fill names a stage that the rule does not have.
        #[error("the permit fills stage {stage} of `{rule}`, which the hold does not have")]
        FillOutsideRule { rule: RuleName, stage: u32 },
        /// A fill without a standing vote for it.
        #[error("no standing approval of `{voter}` is for stage {stage} of `{rule}`")]
        FillWithoutVote { rule: RuleName, stage: u32, voter: Ref },
        /// One voter in two slots.
        #[error("`{voter}` is counted in more than one slot")]
        VoterCountedTwice { voter: Ref },
        /// The right of one person in two slots: theirs, and their stand-in's.
        #[error("the right of `{holder}` is counted in more than one slot")]
        RightUsedTwice { holder: Ref },
        /// A countersignature in the place of *self*.
        #[error("`{voter}` signed in the place of `{away}`, who is on the requester's side")]
        InPlaceOfSelf { voter: Ref, away: Ref },
        /// A countersignature by *self*.
        #[error("`{voter}` is on the requester's side and cannot countersign")]
        SelfApproval { voter: Ref },
        /// A countersignature with a credential from *self*.
        #[error("the credential of `{voter}` was issued by the requester's side")]
        SelfIssuedCredential { voter: Ref },
        /// Two votes that can be one person's.
        #[error("the credentials of `{voter}` and another counted voter were issued by one person")]
        SharedCredential { voter: Ref },
        /// A confirmation by somebody else.
        #[error("`{voter}` is not on the requester's side and cannot confirm")]
        ConfirmedByOther { voter: Ref },
        /// Too weak a vote.
        #[error("the vote of `{voter}` has a lower assurance than `{rule}` demands")]
        AssuranceTooLow { rule: RuleName, voter: Ref },
        /// A vote by passkey whose signature is not there.
        #[error("the vote of `{voter}` is said to be signed with a passkey, and no such signature is there")]
        SignatureMissing { voter: Ref },
        /// A vote's passkey signature does not hold.
        #[error("what the passkey of `{voter}` signed does not hold: {why}")]
        SignatureRefused { voter: Ref, why: InvalidApproval },
        /// A signature that was used before.
        #[error("the passkey of `{voter}` signed this once, and it is used a second time")]
        SignatureUsedTwice { voter: Ref },
        /// Signed with another key than the log has for the vote's passkey.
        #[error("the vote of `{voter}` is signed with a key that the log has not enrolled as its passkey")]
        PasskeyNotEnrolled { voter: Ref },
        /// A permit counts a vote whose passkey was revoked before.
        #[error("the vote of `{voter}` counts although its passkey was revoked before")]
        PasskeyRevoked { voter: Ref },
        /// No reason where one is demanded.
        #[error("`{voter}` gave no reason, which `{rule}` demands")]
        ReasonMissing { rule: RuleName, voter: Ref },
        /// An emergency lifted a rule.
        #[error("`{voter}` lifted `{rule}` in an emergency")]
        EmergencyUsed { rule: RuleName, voter: Ref },
        /// A grant that nobody signed, or not everybody who was counted.
        #[error("a grant is recorded that not everybody signed whose vote was counted")]
        GrantNotAgreed,
        /// A grant is recorded otherwise than it was signed.
        #[error("the grant is recorded with another end or number of uses than was signed")]
        GrantDiffers,
        /// A request under a grant that no record gave.
        #[error("the request runs under a grant of `{grant}`, which no record gave")]
        GrantUnknown { grant: RequestId },
        /// A request under a grant after its end.
        #[error("the request runs under the grant of `{grant}`, which was over, used up or ended")]
        GrantOver { grant: RequestId },
        /// A request under a grant of something else.
        #[error("the request runs under the grant of `{grant}`, which was given for something else")]
        GrantOfOther { grant: RequestId },
        /// A receipt of a request under a grant.
        #[error("the request runs under the grant of `{grant}`, whose votes are in the receipt of that request")]
        GrantUnchecked { grant: RequestId },
        /// A rule was lifted although an earlier use of it was overdue.
        #[error("`{voter}` lifted `{rule}` in an emergency although the review of an earlier use was overdue")]
        LiftedWhileSuspended { rule: RuleName, voter: Ref },
        /// An emergency was reviewed by somebody whose own it was.
        #[error("`{by}` reviewed the emergency use of `{rule}`, and lifted a rule of that request or is on the requester's side")]
        OwnReview { rule: RuleName, by: Ref },
        /// A review without an emergency.
        #[error("the review is of an emergency use of `{rule}` that was not there, or was reviewed before")]
        ReviewOfNothing { rule: RuleName },
        /// A review with something that is not a session of whoever reviewed.
        #[error("the credential `{credential}` of the review is no session that its reviewer had then")]
        ReviewCredential { credential: CredentialId },
        /// An emergency that nobody has reviewed.
        #[error("nobody has reviewed yet that `{voter}` lifted `{rule}` in an emergency")]
        ReviewMissing { rule: RuleName, voter: Ref },
        /// An emergency that nobody reviewed in time.
        #[error("nobody has reviewed that `{voter}` lifted `{rule}` in an emergency, which was due by {by}")]
        ReviewOverdue { rule: RuleName, voter: Ref, by: Timestamp },
        /// An outcome without permit.
        #[error("the outcome has no permit before it")]
        OutcomeWithoutPermit,
        /// The outcome names another permit.
        #[error("the outcome is of the permit `{found}`, which is not the request's")]
        OutcomeOfOtherPermit { found: PermitId },
        /// A second outcome.
        #[error("the action has a second outcome")]
        OutcomeTwice,
        /// A permitted action whose outcome is not recorded.
        #[error("the permitted action has no outcome yet")]
        OutcomeMissing,
        /// The request is closed although it was permitted.
        #[error("the request was closed after its permit")]
        ClosedAfterPermit,
        /// Something after the end of the request.
        #[error("the request goes on after it ended")]
        AfterEnd,
    }
}

impl Problem {
    /// How grave it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            // Bytes beyond every checkpoint are a write in progress.
            Self::TornTail { .. }
            | Self::EpochBegan { .. }
            | Self::NotUnderCheckpoint { .. }
            | Self::EvidenceLeftOut
            | Self::EvidenceErased { .. }
            | Self::EvidenceClosed { .. }
            | Self::VotesUnchecked
            | Self::OriginalUnchecked { .. }
            | Self::GrantUnchecked { .. }
            | Self::EmergencyUsed { .. }
            | Self::ReviewMissing { .. }
            | Self::ReviewOverdue { .. }
            | Self::OutcomeMissing => Severity::Note,
            _ => Severity::Failure,
        }
    }
}

/// One thing the verifier found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The entry, counted from 0; `None` when it concerns the whole log.
    pub entry: Option<u64>,
    /// The request concerned.
    pub request: Option<RequestId>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        if let Some(request) = &self.request {
            write!(f, "{request}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// What one verification gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries read.
    pub entries: u64,
    /// Requests seen.
    pub requests: u64,
    /// What was found, in the order of the entries, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Failures found beyond those listed.
    pub unlisted_failures: u64,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.unlisted_failures == 0 && self.failures().next().is_none()
    }

    /// Whether nothing of one area failed.
    #[must_use]
    pub fn holds(&self, area: Area) -> bool {
        self.unlisted_failures == 0 && !self.failures().any(|found| found.problem.area() == area)
    }

    /// The listed findings that are failures.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|found| found.problem.severity() == Severity::Failure)
    }
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    unlisted_failures: u64,
}

impl Findings {
    pub(super) fn push(
        &mut self,
        entry: Option<u64>,
        request: Option<RequestId>,
        problem: Problem,
    ) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(Finding {
                entry,
                request,
                problem,
            });
        } else if problem.severity() == Severity::Failure {
            self.unlisted_failures = self.unlisted_failures.saturating_add(1);
        }
    }

    pub(super) fn report(self, entries: u64, requests: u64) -> Report {
        let Self {
            list: findings,
            unlisted_failures,
        } = self;
        Report {
            entries,
            requests,
            findings,
            unlisted_failures,
        }
    }
}
