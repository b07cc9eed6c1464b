//! From what happened to what is recorded.
//!
//! In scope: the leaf and the evidence for every fact, with references instead of names in the
//! leaf.
//! Invariant: names, texts and arguments are in the evidence only.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::{self, stage_counts},
        rule,
        vote::Verdict,
    },
    canonical::{Hash, NotCanonical, object},
    decision::{Decided, Decision},
    id::{PermitId, PersonId, RequestId, RuleName},
    lifecycle::Fact,
    permit::Intent,
    request::{Case, Closure, MessageKind, Outcome, Request, Reviewed},
    time::Timestamp,
};
use countersign_evidence::{
    approval,
    body::{
        ActionOutcome, ActionPermitted, ActionRequested, ApprovalWithdrawn, Assurance, Body,
        CloseReason, CommentKind, Commented, Decision as Said, EmergencyOverdue, EmergencyReviewed,
        Fill, GrantEnded, GrantGiven, GrantUsed, OutcomeStatus, Phase, PolicyDecided,
        RequestClosed, RequestEscalated, RuleShape, SelfGrew, Slot, Verdict as VerdictWord,
    },
    reference::{Pseudonyms, Ref},
    vote::VoteStatement,
};
use serde_json::{Value, json};

use super::{Ended, EngineError};
use crate::{keys::Keys, log::Record, vault::Of};

/// A record about a request; what its evidence has was asked for.
fn record(request: &Request, seq: u64, at: Timestamp, body: Body, evidence: Value) -> Record {
    let request_seq = Some((request.id.clone(), seq));
    Record {
        at,
        body,
        digest: Some(request.digest),
        request: request_seq,
        evidence,
        of: Of::asked(&request.chain),
    }
}

/// That somebody asked. The first record of a request.
#[must_use]
pub fn requested_record(request: &Request, self_refs: Vec<Ref>, names: &Pseudonyms) -> Record {
    let actions = request
        .effects
        .iter()
        .map(|effect| effect.action.clone())
        .collect();
    let body = Body::ActionRequested(ActionRequested {
        actions,
        amends: request.amends.as_ref().map(|amends| amends.request.clone()),
        gate: request.action.gate.clone(),
        requester: names.of(&request.chain.requester.id),
        self_refs,
    });
    let mut evidence = json!({
        "chain": request.chain,
        "action": request.action,
        "effects": request.effects,
        "reason": request.reason,
        "nonce": request.nonce,
    });
    if let (Some(trace), Some(fields)) = (&request.trace, evidence.as_object_mut()) {
        fields.insert("traceparent".into(), json!(trace));
    }
    record(request, 0, request.at, body, evidence)
}

/// What policy said. The second record of a request, and one of every claim.
#[must_use]
pub fn decided_record(
    request: &Request,
    seq: u64,
    at: Timestamp,
    phase: Phase,
    decided: &Decided,
    rules: &[ApprovalRule],
    input: Value,
) -> Record {
    let body = Body::PolicyDecided(PolicyDecided {
        approvals: decided.approvals.iter().cloned().collect(),
        bundle: decided.bundle,
        decision: match decided.decision {
            Decision::Permit { .. } => Said::Permit,
            Decision::Hold { .. } => Said::Hold,
            Decision::Deny { .. } => Said::Deny,
        },
        phase,
        policies: decided.decision.policies().iter().cloned().collect(),
        rules: rules.iter().map(shape).collect(),
    });
    let decision = json!(decided.decision);
    let evidence = object([("decision", decision), ("input", input)]);
    record(request, seq, at, body, evidence)
}

fn shape(rule: &ApprovalRule) -> RuleShape {
    RuleShape {
        assurance: assurance(rule.assurance),
        confirmation: rule.confirmation,
        emergency: rule.emergency.is_some(),
        expires: rule.expires,
        name: rule.name.clone(),
        reason_required: rule.reason == rule::ReasonRequirement::Required,
        review_within: rule.emergency.as_ref().map(|one| one.review_within),
        stages: stage_counts(rule),
        valid_for: rule.valid_for,
    }
}

fn assurance(level: rule::Assurance) -> Assurance {
    match level {
        rule::Assurance::Chat => Assurance::Chat,
        rule::Assurance::Session => Assurance::Session,
        rule::Assurance::Passkey => Assurance::Passkey,
    }
}

/// That a permitted action may run. What it has in common with the same action of anybody lets a restart
/// recognise a repetition.
#[must_use]
pub fn permitted_record(
    request: &Request,
    seq: u64,
    at: Timestamp,
    intent: &Intent,
    bundle: Hash,
) -> Record {
    let body = Body::ActionPermitted(ActionPermitted {
        approvals: Vec::new(),
        bundle,
        digest: intent.digest(),
        expires: intent.expires(),
        fills: Vec::new(),
        permit: intent.id().clone(),
        recovered: false,
    });
    let attach = request.repeats();
    record(request, seq, at, body, json!({ "attach": attach }))
}

/// How an execution ended.
#[must_use]
pub fn outcome_record(
    request: (RequestId, u64),
    digest: countersign_core::digest::ActionDigest,
    at: Timestamp,
    ended: &Ended,
    of: Of,
) -> Record {
    let status = match ended.outcome {
        Outcome::Succeeded => OutcomeStatus::Succeeded,
        Outcome::Failed => OutcomeStatus::Failed,
        Outcome::Unknown => OutcomeStatus::Unknown,
    };
    let body = Body::ActionOutcome(ActionOutcome {
        exit: ended.exit,
        permit: ended.permit.clone(),
        status,
    });
    let evidence = json!({ "result": ended.result });
    Record {
        at,
        body,
        digest: Some(digest),
        request: Some(request),
        evidence,
        of,
    }
}

/// Why a request ended, as the log names it.
fn closed_reason(closure: &Closure) -> CloseReason {
    match closure {
        Closure::Denied { .. } => CloseReason::Denied,
        Closure::Expired => CloseReason::Expired,
        Closure::Unclaimed => CloseReason::Unclaimed,
        Closure::Cancelled { .. } => CloseReason::Cancelled,
        Closure::Amended { .. } => CloseReason::Amended,
        Closure::Unreachable { .. } => CloseReason::Unreachable,
        Closure::PolicyChanged { .. } => CloseReason::PolicyChanged,
        Closure::RequesterStopped { .. } => CloseReason::RequesterStopped,
    }
}

/// Records one step's facts about one case, numbering them within it.
pub(super) struct Recorder<'a> {
    pub(super) keys: &'a Keys,
    pub(super) case: &'a mut Case,
    pub(super) at: Timestamp,
    pub(super) bundle: Hash,
    /// The recorded input of the claim's decision.
    pub(super) claim_input: Value,
    /// How an execution ended, when that is what happened.
    pub(super) ended: Option<&'a Ended>,
    pub(super) records: Vec<Record>,
    /// Envelopes of new votes.
    pub(super) envelopes: Vec<(PersonId, Vec<u8>)>,
}

impl Recorder<'_> {
    fn names(&self) -> &Pseudonyms {
        &self.keys.pseudonyms
    }

    /// Adds one record about the case.
    pub(super) fn push(&mut self, body: Body, evidence: Value) {
        let of = Of::asked(&self.case.request.chain);
        self.push_of(of, body, evidence);
    }

    /// Adds one record about the case, with what somebody said.
    fn push_of(&mut self, of: Of, body: Body, evidence: Value) {
        let (seq, at) = (self.case.records, self.at);
        let made = record(&self.case.request, seq, at, body, evidence);
        self.case.records += 1;
        self.records.push(Record { of, ..made });
    }

    /// Records the beginning of a held case.
    pub(super) fn opened(
        &mut self,
        directory: &countersign_core::directory::Directory,
        input: Value,
    ) {
        let selves = myself(self.case, directory);
        let refs = selves
            .iter()
            .map(|person| self.names().of_person(person))
            .collect();
        let request = &self.case.request;
        let asked = requested_record(request, refs, self.names());
        let (at, decided) = (request.at, request.decided.clone());
        let said = decided_record(
            request,
            1,
            at,
            Phase::Request,
            &decided,
            &request.rules,
            input,
        );
        self.records.extend([asked, said]);
        self.case.records = 2;
    }

    /// Records one fact. Facts that only restate votes are not recorded on their own.
    pub(super) fn fact(&mut self, fact: &Fact) -> Result<(), EngineError> {
        match fact {
            Fact::Voted { vote, could_fill } => {
                let slots: BTreeSet<_> = could_fill
                    .iter()
                    .map(|slot| Slot {
                        rule: slot.rule.clone(),
                        stage: slot.stage,
                    })
                    .collect();
                let envelope = self.vote(vote, slots.into_iter().collect(), None)?;
                self.envelopes
                    .push((vote.voter.clone(), envelope.into_bytes()));
            }
            Fact::GlassBroken {
                rule,
                vote,
                review_by,
            } => self.lift(rule, vote, *review_by)?,
            Fact::Approved { .. } | Fact::Reopened => {}
            Fact::Withdrawn { voter } => {
                let body = ApprovalWithdrawn {
                    voter: self.names().of_person(voter),
                };
                self.push(Body::ApprovalWithdrawn(body), json!({ "voter": voter }));
            }
            Fact::Said { message } => self.said(message),
            Fact::Escalated { rule } => {
                let body = RequestEscalated { rule: rule.clone() };
                self.push(Body::RequestEscalated(body), json!({}));
            }
            Fact::SelfGrew { people } => {
                let refs = people
                    .iter()
                    .map(|person| self.names().of_person(person))
                    .collect();
                let body = SelfGrew {
                    refs,
                    why: "proposed_change".into(),
                };
                self.push(Body::SelfGrew(body), json!({ "people": people }));
            }
            Fact::Reviewed {
                rule,
                lifter,
                review,
            } => self.reviewed(rule, lifter, review),
            Fact::ReviewOverdue {
                rule,
                lifter,
                review_by,
            } => self.overdue(rule, lifter, *review_by),
            Fact::GrantGiven { .. } | Fact::Granted { .. } | Fact::GrantEnded { .. } => {
                self.granted(fact);
            }
            // The record of the request that uses it says so.
            Fact::GrantUsed { .. } => {}
            Fact::Redecided { decided } => self.redecided(decided),
            Fact::Permitted {
                permit,
                expires,
                filled,
                approvals,
            } => {
                self.permitted(permit, *expires, filled, approvals);
            }
            Fact::Ended { permit, outcome } => self.ended(permit, *outcome),
            Fact::Closed { closure } => self.closed(closure),
        }
        Ok(())
    }

    fn granted(&mut self, fact: &Fact) {
        let (body, evidence) = match fact {
            Fact::GrantGiven { terms, until } => {
                let (until, uses) = (*until, terms.uses);
                let body = Body::GrantGiven(GrantGiven { until, uses });
                (body, json!({ "terms": terms }))
            }
            Fact::Granted { granted } => {
                let grant = granted.request.clone();
                let evidence = json!({ "digest": granted.digest, "until": granted.until });
                (Body::GrantUsed(GrantUsed { grant }), evidence)
            }
            Fact::GrantEnded { by } => {
                let evidence = json!({ "by": by });
                let by = self.names().of(by);
                (Body::GrantEnded(GrantEnded { by }), evidence)
            }
            _ => return,
        };
        self.push(body, evidence);
    }

    fn permitted(
        &mut self,
        permit: &PermitId,
        expires: Timestamp,
        filled: &[(quorum::Slot, PersonId)],
        approvals: &BTreeSet<RuleName>,
    ) {
        let fill = |(slot, person): &(quorum::Slot, PersonId)| Fill {
            rule: slot.rule.clone(),
            stage: slot.stage,
            voter: self.names().of_person(person),
        };
        let body = ActionPermitted {
            approvals: approvals.iter().cloned().collect(),
            bundle: self.bundle,
            digest: self.case.request.digest,
            expires,
            fills: filled.iter().map(fill).collect(),
            permit: permit.clone(),
            recovered: false,
        };
        let attach = self.case.request.repeats();
        self.push(
            Body::ActionPermitted(body),
            json!({ "attach": attach, "held": true }),
        );
    }

    fn ended(&mut self, permit: &PermitId, outcome: Outcome) {
        let permit = permit.clone();
        let unknown = Ended {
            permit,
            outcome,
            exit: None,
            result: Value::Null,
        };
        let ended = self.ended.unwrap_or(&unknown);
        let within = (self.case.request.id.clone(), self.case.records);
        let of = Of::asked(&self.case.request.chain);
        let made = outcome_record(within, self.case.request.digest, self.at, ended, of);
        self.case.records += 1;
        self.records.push(made);
    }

    fn said(&mut self, message: &countersign_core::request::Message) {
        let (kind, about) = match &message.kind {
            MessageKind::Comment => (CommentKind::Comment, None),
            MessageKind::Question => (CommentKind::Question, None),
            MessageKind::Answer { .. } => (CommentKind::Answer, None),
            MessageKind::Amendment { request } => (CommentKind::Amendment, Some(request.clone())),
        };
        let body = Commented {
            about,
            by: self.names().of(&message.by),
            kind,
        };
        let of = Of::said(&message.by, &self.case.request.chain);
        self.push_of(of, Body::Commented(body), json!({ "message": message }));
    }

    fn redecided(&mut self, decided: &Decided) {
        let input = std::mem::take(&mut self.claim_input);
        let seq = self.case.records;
        let rules = &self.case.request.rules;
        let made = decided_record(
            &self.case.request,
            seq,
            self.at,
            Phase::Claim,
            decided,
            rules,
            input,
        );
        self.case.records += 1;
        self.records.push(made);
    }

    fn closed(&mut self, closure: &Closure) {
        let by = match closure {
            Closure::Denied { by, .. } | Closure::Amended { by, .. } => {
                Some(self.names().of_person(by))
            }
            Closure::Cancelled { by } => Some(self.names().of(by)),
            _ => None,
        };
        let body = RequestClosed {
            by,
            why: closed_reason(closure),
        };
        let of = match closure {
            Closure::Denied { by, .. } => Of::Words(by.clone()),
            _ => Of::asked(&self.case.request.chain),
        };
        self.push_of(of, Body::RequestClosed(body), json!({ "closure": closure }));
    }

    /// Signs that a rule is lifted, records it, and keeps with the case what was signed.
    fn lift(
        &mut self,
        rule: &RuleName,
        vote: &countersign_core::approval::Vote,
        review_by: Timestamp,
    ) -> Result<(), EngineError> {
        let slot = Slot {
            rule: rule.clone(),
            stage: 0,
        };
        let envelope = self.vote(vote, vec![slot], Some(review_by))?;
        let mut lifted = self.case.lifted.iter_mut();
        let this = lifted.find(|lift| lift.rule == *rule && lift.vote == *vote);
        let this = this.ok_or_else(|| EngineError::Internal("the lift is not kept".into()))?;
        this.envelope = Some(envelope);
        Ok(())
    }

    fn overdue(&mut self, rule: &RuleName, lifter: &PersonId, review_by: Timestamp) {
        let body = EmergencyOverdue {
            review_by,
            rule: rule.clone(),
        };
        let evidence = json!({ "lifted_by": lifter });
        self.push(Body::EmergencyOverdue(body), evidence);
    }

    fn reviewed(&mut self, rule: &RuleName, lifter: &PersonId, review: &Reviewed) {
        let body = EmergencyReviewed {
            by: self.names().of_person(&review.by),
            credential: review.credential.id.clone(),
            rule: rule.clone(),
        };
        let evidence = json!({
            "by": review.by,
            "found": review.note,
            "lifted_by": lifter,
        });
        let of = Of::Words(review.by.clone());
        self.push_of(of, Body::EmergencyReviewed(body), evidence);
    }

    /// Signs a vote and records it. The signed statement is kept with the case and verified again
    /// at the claim. With a time it lifts a rule, and must be reviewed by then.
    fn vote(
        &mut self,
        vote: &countersign_core::approval::Vote,
        slots: Vec<Slot>,
        review_by: Option<Timestamp>,
    ) -> Result<String, EngineError> {
        let internal = |error: NotCanonical| EngineError::Internal(error.to_string());
        let emergency = review_by.is_some();
        let statement = statement(vote, &self.case.request, slots, emergency, self.names())
            .map_err(internal)?;
        check_signature(vote, &statement)?;
        let envelope = statement.sign(&self.keys.vote).map_err(internal)?;
        let evidence = match review_by {
            Some(by) => json!({ "envelope": envelope, "vote": vote, "review_by": by }),
            None => json!({ "envelope": envelope, "vote": vote }),
        };
        let of = Of::Words(vote.voter.clone());
        let body = Body::ApprovalDecided(statement.record(&envelope));
        self.push_of(of, body, evidence);
        Ok(envelope)
    }
}

/// What is signed of a vote.
pub(super) fn statement(
    vote: &countersign_core::approval::Vote,
    request: &Request,
    slots: Vec<Slot>,
    emergency: bool,
    names: &Pseudonyms,
) -> Result<VoteStatement, NotCanonical> {
    let signature = vote
        .signature
        .as_deref()
        .map(approval::hash_of)
        .transpose()?;
    Ok(VoteStatement {
        assurance: assurance(vote.credential.assurance),
        at: vote.at,
        credential: vote.credential.id.clone(),
        digest: vote.digest,
        emergency,
        grant: vote.grant.clone(),
        in_place_of: vote.in_place_of.as_ref().map(|away| names.of_person(away)),
        issuer: vote
            .credential
            .issued_by
            .as_ref()
            .map(|person| names.of_person(person)),
        lineage: vote
            .credential
            .lineage
            .iter()
            .map(|person| names.of_person(person))
            .collect(),
        reason: vote.reason.clone(),
        request: request.id.clone(),
        shown: Some(Hash::of(request.presentation.body.as_bytes())),
        signature,
        slots,
        verdict: match vote.verdict {
            Verdict::Approve => VerdictWord::Approve,
            Verdict::Deny => VerdictWord::Deny,
        },
        voter: names.of_person(&vote.voter),
    })
}

/// Checks that a vote said to be signed with a passkey is, and that this is the vote it signed.
pub(super) fn check_signature(
    vote: &countersign_core::approval::Vote,
    statement: &VoteStatement,
) -> Result<(), EngineError> {
    let by_passkey = vote.credential.assurance == rule::Assurance::Passkey;
    let Some(signature) = vote.signature.as_deref().filter(|_| by_passkey) else {
        return match (by_passkey, &vote.signature) {
            (false, None) => Ok(()),
            _ => Err(EngineError::NotSigned("its signature is missing".into())),
        };
    };
    match approval::verify(signature, statement) {
        Ok(_) => Ok(()),
        Err(why) => Err(EngineError::NotSigned(why.to_string())),
    }
}
