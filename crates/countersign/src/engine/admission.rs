//! How every action enters: policy is asked on the caller's task; only a hold reaches the loop.
//!
//! In scope: making the request with its two identifiers, asking policy, recording permitted and
//! denied actions straight in the log.
//! Invariant: a permit is returned only after its intent is durable; a denial is recorded before
//! it is answered; an action whose like ended unknown is never permitted without a person.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    action::{Action, Effect},
    approval::grant::GrantOffer,
    decision::{Decided, Decision, DenyReason},
    digest::{ActionDigest, AttachKey, Nonce, action_digest, attach_key, repeat_key},
    directory::Directory,
    id::{PermitId, PersonId, RequestId, RuleName},
    lifecycle::{self, REPEAT_AFTER_UNKNOWN},
    permit::{Intent, Permit},
    request::{Amends, Case, Outcome, Presentation, Request},
    subject::SubjectChain,
    time::Timestamp,
    trace::TraceParent,
};
use countersign_evidence::{body::Phase, reference::Ref};
use countersign_policy::{Question, Snapshot};
use countersign_store::Write;
use serde_json::Value;

use super::{
    Ended, Engine, EngineError, Opened, Parts, decided_record, outcome_record, permitted_record,
    requested_record,
};
use crate::{
    active::Active,
    ids,
    keys::{self, Keys},
    log::Record,
    secrets::Secrets,
    vault::Of,
};

/// What reviewers read before anything else where an identical action ended unknown (P7).
pub(super) const MAY_HAVE_RUN: &str = "! This may have happened already: an identical action ran before, and \
nobody knows how it ended. Look at the target first.\n\n";

/// What a gate asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who, and for whom; resolved by identity.
    pub chain: SubjectChain,
    /// What exactly.
    pub action: Action,
    /// What it does, as the gate classified it.
    pub effects: Vec<Effect>,
    /// Arguments as policy sees them.
    pub captures: BTreeMap<String, Value>,
    /// Why, as stated.
    pub reason: Option<String>,
    /// What reviewers see.
    pub presentation: Presentation,
    /// The owners of its resources.
    pub resource_owners: BTreeSet<PersonId>,
    /// Everybody who issued the caller's credential, or one that it came from.
    pub issuers: BTreeSet<PersonId>,
    /// Everybody else who is *self* for it, and does not read it for that.
    pub behind: BTreeSet<PersonId>,
    /// Whether it changes Countersign itself.
    pub administrative: bool,
    /// The places of its arguments that a grant can leave open, as JSON pointers, and their names.
    pub places: BTreeMap<String, String>,
    /// What it replaces; an amendment is always held or denied, never run at once.
    pub amends: Option<Amends>,
    /// The trace that the caller says it belongs to.
    pub trace: Option<TraceParent>,
    /// The secrets in whose place the action has masks.
    pub secrets: Secrets,
}

impl Asked {
    /// What an identical call of the same chain has in common with this one, secrets included.
    ///
    /// # Errors
    /// It has no canonical form.
    pub fn attach_key(&self, keys: &Keys) -> Result<AttachKey, EngineError> {
        let internal = |error: &dyn std::fmt::Display| EngineError::Internal(error.to_string());
        let whole = self.whole()?;
        attach_key(&keys.attach, &self.chain, &whole).map_err(|error| internal(&error))
    }

    /// What the same call of anybody has in common with this one, secrets included.
    fn repeat_key(&self, keys: &Keys) -> Result<AttachKey, EngineError> {
        let whole = self.whole()?;
        let made = repeat_key(&keys.attach, &whole);
        made.map_err(|error| EngineError::Internal(error.to_string()))
    }

    fn whole(&self) -> Result<Cow<'_, Action>, EngineError> {
        if self.action.masked.is_empty() {
            return Ok(Cow::Borrowed(&self.action));
        }
        let restored = self.secrets.restore(&self.action);
        let restored = restored.map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(Cow::Owned(restored))
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Admitted {
    /// It may run now, and has no case.
    Permitted {
        /// The request.
        request: Box<Request>,
        /// The permit.
        permit: Permit,
        /// What goes back into the action where it runs.
        secrets: Secrets,
    },
    /// It waits for people.
    Held(Box<Case>),
    /// An identical call waits, is approved or runs already.
    Attached(Box<Case>),
    /// No.
    Denied {
        /// The request.
        request: RequestId,
        /// Why.
        reason: DenyReason,
        /// The statements that said so.
        policies: BTreeSet<countersign_core::id::PolicyId>,
    },
}

/// What policy says of an action before all of it is known.
#[derive(Debug)]
pub enum Early {
    /// No; recorded.
    Denied(Admitted),
    /// It would run at once.
    Permits,
    /// People would look at it.
    Holds,
}

/// A request that policy has decided about, before anything is recorded.
pub(super) struct Considered {
    pub(super) request: Box<Request>,
    pub(super) active: Arc<Active>,
    pub(super) now: Timestamp,
    /// What a stock Cedar engine needs to reproduce the decision.
    pub(super) input: Value,
    pub(super) secrets: Secrets,
}

/// What the record of an outcome names of a permitted request without a case.
#[derive(Debug, Clone)]
pub struct Uncased {
    /// The request.
    pub request: RequestId,
    /// The action it was permitted for.
    pub digest: ActionDigest,
    /// How the same action is recognised, whoever asks for it.
    pub repeats: AttachKey,
    /// Whose evidence its records have.
    pub asked: Of,
}

/// Admits actions. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    pub(super) parts: Parts,
    pub(super) engine: Engine,
}

/// The question to policy about a request.
pub(super) fn question<'a>(
    request: &'a Request,
    approvals: &'a BTreeSet<RuleName>,
    now: Timestamp,
) -> Question<'a> {
    Question {
        chain: &request.chain,
        gate: &request.action.gate,
        operation: &request.action.operation,
        effects: &request.effects,
        arguments: &request.captures,
        reason: request.reason.as_deref(),
        approvals,
        now,
    }
}

/// What approvers of a request may grant beside it.
fn offer(
    request: &Request,
    places: BTreeMap<String, String>,
    snapshot: &Snapshot,
) -> Option<GrantOffer> {
    let alone = !request.action.masked.is_empty()
        || request.administrative
        || request.amends.is_some()
        || request
            .rules
            .iter()
            .any(|rule| rule.name.as_str() == REPEAT_AFTER_UNKNOWN)
        || !snapshot.may_be_granted(&request.effects);
    match alone {
        true => None,
        false => GrantOffer::of(&request.rules, places),
    }
}

/// References to everybody who counts as *self* when a request is made.
pub(super) fn self_refs(request: &Request, directory: &Directory, keys: &Keys) -> Vec<Ref> {
    let people = request.chain.members().flat_map(|member| {
        let owner = directory
            .machine(&member.id)
            .and_then(|machine| machine.owner.clone());
        member.people().cloned().chain(owner).collect::<Vec<_>>()
    });
    let editor = request.amends.iter().map(|amends| amends.editor.clone());
    let people: BTreeSet<_> = people
        .chain(editor)
        .chain(request.issuers.clone())
        .chain(request.behind.clone())
        .collect();
    people
        .iter()
        .map(|person| keys.pseudonyms.of_person(person))
        .collect()
}

impl Admission {
    /// Admission over the parts of an engine.
    #[must_use]
    pub fn new(parts: Parts, engine: Engine) -> Self {
        Self { parts, engine }
    }

    /// Asks for an action.
    ///
    /// # Errors
    /// [`EngineError`] when it could not be decided or recorded; then it must not run.
    pub async fn ask(&self, asked: Asked) -> Result<Admitted, EngineError> {
        let considered = self.consider(asked)?;
        match considered.request.decided.decision.clone() {
            Decision::Permit { .. } if considered.request.amends.is_none() => {
                Box::pin(self.permit(considered)).await
            }
            Decision::Hold { .. } => Ok(match Box::pin(self.open(considered)).await? {
                Opened::Held(case) => Admitted::Held(case),
                Opened::Attached(case) => Admitted::Attached(case),
                Opened::Denied { request, reason } => Admitted::Denied {
                    request,
                    reason,
                    policies: BTreeSet::new(),
                },
            }),
            Decision::Permit { .. } => self.deny(considered, amendment_unheld()).await,
            decision @ Decision::Deny { .. } => self.deny(considered, decision).await,
        }
    }

    /// What policy says of an action before all of it is known. A denial is final and recorded;
    /// nothing is recorded of anything else: then the whole action is to be asked for.
    ///
    /// # Errors
    /// [`EngineError`] when it could not be decided or recorded.
    pub async fn early(&self, asked: Asked) -> Result<Early, EngineError> {
        let considered = self.consider(asked)?;
        match considered.request.decided.decision.clone() {
            decision @ Decision::Deny { .. } => {
                Ok(Early::Denied(self.deny(considered, decision).await?))
            }
            Decision::Permit { .. } => Ok(Early::Permits),
            Decision::Hold { .. } => Ok(Early::Holds),
        }
    }

    /// Whether policy permits an action without anybody. Nothing is recorded and nothing permitted.
    ///
    /// # Errors
    /// [`EngineError`] when it could not be decided.
    pub async fn would_permit(&self, asked: Asked) -> Result<bool, EngineError> {
        let Considered { request, .. } = self.consider(asked)?;
        Ok(matches!(request.decided.decision, Decision::Permit { .. }))
    }

    /// Has people asked about what policy holds.
    pub(super) async fn open(&self, considered: Considered) -> Result<Opened, EngineError> {
        let Considered {
            request,
            input,
            secrets,
            ..
        } = considered;
        if !secrets.are_kept() {
            return self.engine.open(*request, input).await;
        }
        let (id, files) = (request.id.clone(), &self.parts.secrets);
        let kept = files.keep(&id, &secrets).await;
        kept.map_err(|error| EngineError::Internal(crate::explain(&error)))?;
        let opened = self.engine.open(*request, input).await;
        // An error may come after it was held; whatever else is left, the files' own sweep finds.
        let is_held = match &opened {
            Ok(opened) => matches!(opened, Opened::Held(_)),
            Err(_) => !matches!(self.parts.store.case(&id).await, Ok(None)),
        };
        if !is_held {
            files.destroy(&id).await;
        }
        opened
    }

    /// Makes the request and asks policy. Nothing is recorded or stored yet.
    pub(super) fn consider(&self, asked: Asked) -> Result<Considered, EngineError> {
        let now = self.parts.clock.now();
        let active = self.parts.active.borrow().clone();
        let secrets = asked.secrets.clone();
        let mut places = asked.places.clone();
        let mut request = self.request(asked, &active, now)?;
        let none = BTreeSet::new();
        let asked = question(&request, &none, now);
        let prepared = active.snapshot.prepare(&asked);
        let decision = prepared.evaluate().decision;
        let input = prepared.recorded_input();
        let unknown = self.parts.unknown.has(&request);
        let decision = lifecycle::admit(decision, unknown, active.snapshot.rules());
        if let Decision::Hold { rules, .. } = &decision {
            let named = rules
                .iter()
                .filter_map(|name| active.snapshot.rules().get(name));
            request.rules = named.cloned().collect();
            let places = std::mem::take(&mut places);
            let offered = offer(&request, places, &active.snapshot);
            request.grants = offered.filter(|_| !unknown).map(Box::new);
        }
        request.decided.decision = decision;
        if unknown {
            let body = &mut request.presentation.body;
            body.insert_str(0, MAY_HAVE_RUN);
        }
        Ok(Considered {
            request: Box::new(request),
            active,
            now,
            input,
            secrets,
        })
    }

    fn request(
        &self,
        asked: Asked,
        active: &Arc<Active>,
        now: Timestamp,
    ) -> Result<Request, EngineError> {
        let not_canonical = |error: countersign_core::canonical::NotCanonical| {
            EngineError::Internal(error.to_string())
        };
        let id = RequestId::from_bits(ids::bits(now)?);
        let nonce = keys::random().map_err(|error| EngineError::Internal(error.to_string()))?;
        let nonce = Nonce(countersign_core::canonical::Hash(nonce));
        let key = asked.attach_key(&self.parts.keys)?;
        let repeat_key = Some(asked.repeat_key(&self.parts.keys)?);
        let Asked {
            chain,
            action,
            effects,
            captures,
            reason,
            presentation,
            ..
        } = asked;
        let digest = action_digest(&chain, &action, &id, &nonce).map_err(not_canonical)?;
        Ok(Request {
            id,
            chain,
            action,
            effects,
            captures,
            reason,
            nonce,
            digest,
            attach_key: key,
            repeat_key,
            at: now,
            decided: Decided {
                decision: Decision::deny(DenyReason::NotPermitted),
                bundle: active.hash,
                approvals: BTreeSet::new(),
            },
            rules: Vec::new(),
            grants: None,
            resource_owners: asked.resource_owners,
            issuers: asked.issuers,
            behind: asked.behind,
            administrative: asked.administrative,
            amends: asked.amends,
            trace: asked.trace,
            presentation,
        })
    }

    /// That somebody asked, and what policy said.
    pub(super) fn first_records(&self, considered: Considered) -> (Box<Request>, [Record; 2]) {
        let Considered {
            request,
            active,
            now,
            input,
            ..
        } = considered;
        let names = &self.parts.keys.pseudonyms;
        let refs = self_refs(&request, &active.directory, &self.parts.keys);
        let asked = requested_record(&request, refs, names);
        let (decided, rules) = (&request.decided, &request.rules);
        let decided = decided_record(&request, 1, now, Phase::Request, decided, rules, input);
        (request, [asked, decided])
    }

    pub(super) async fn append(
        &self,
        records: Vec<Record>,
    ) -> Result<countersign_core::permit::LogIndex, EngineError> {
        let prepared: anyhow::Result<Vec<_>> = records
            .into_iter()
            .map(|record| record.prepare(None, &self.parts.keys.vault))
            .collect();
        let prepared = prepared.map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(self.parts.log.append(prepared).await?)
    }

    pub(super) async fn permit(&self, considered: Considered) -> Result<Admitted, EngineError> {
        if let Some(fault) = self.parts.clock.fault() {
            return Err(EngineError::Clock(fault));
        }
        let (now, bundle) = (considered.now, considered.active.hash);
        let secrets = considered.secrets.clone();
        let (request, [asked, decided]) = self.first_records(considered);
        let id = PermitId::from_bits(ids::bits(now)?);
        let decision = &request.decided.decision;
        let intent = Intent::of_permitted(decision, id, request.id.clone(), request.digest, now)
            .ok_or_else(|| EngineError::Internal("a permit without a permission".into()))?;
        let permitted = permitted_record(&request, 2, now, &intent, bundle);
        let first = self.append(vec![asked, decided, permitted]).await?;
        // A crash from here on is found at the next start: a permit without an outcome.
        let permit = intent.recorded(countersign_core::permit::LogIndex(first.0 + 2));
        Ok(Admitted::Permitted {
            request,
            permit,
            secrets,
        })
    }

    pub(super) async fn deny(
        &self,
        mut considered: Considered,
        decision: Decision,
    ) -> Result<Admitted, EngineError> {
        considered.request.decided.decision = decision.clone();
        let (request, records) = self.first_records(considered);
        self.append(records.into()).await?;
        let (reason, policies) = match decision {
            Decision::Deny { reason, policies } => (reason, policies),
            Decision::Permit { policies } | Decision::Hold { policies, .. } => {
                (DenyReason::NotPermitted, policies)
            }
        };
        Ok(Admitted::Denied {
            request: request.id,
            reason,
            policies,
        })
    }

    /// Records how a permitted action without a case ended.
    ///
    /// # Errors
    /// [`EngineError`] when the outcome is not durable; the caller is told so.
    pub async fn ended(&self, request: &Request, ended: &Ended) -> Result<(), EngineError> {
        let of = Uncased {
            request: request.id.clone(),
            digest: request.digest,
            repeats: request.repeats(),
            asked: Of::asked(&request.chain),
        };
        self.ended_uncased(&of, ended).await
    }

    /// Like [`ended`](Self::ended), for whoever kept only what an outcome's record names.
    ///
    /// # Errors
    /// [`EngineError`] when the outcome is not durable.
    pub async fn ended_uncased(&self, of: &Uncased, ended: &Ended) -> Result<(), EngineError> {
        let at = self.parts.clock.now();
        if ended.outcome == Outcome::Unknown {
            // First, so that a crash in between holds a repetition rather than permits it (P7).
            let (key, request) = (of.repeats, of.request.clone());
            self.parts.unknown.insert(key);
            self.parts
                .store
                .commit(vec![Write::RememberUnknown { key, request, at }])
                .await?;
        }
        let record = outcome_record(
            (of.request.clone(), 3),
            of.digest,
            at,
            ended,
            of.asked.clone(),
        );
        self.append(vec![record]).await.map(|_| ())
    }
}

/// An amendment that policy would permit outright still runs only when its requester claims it,
/// and there is no rule to claim it under.
fn amendment_unheld() -> Decision {
    Decision::deny(DenyReason::NotPermitted)
}
