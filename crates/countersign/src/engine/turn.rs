//! One turn in the making: cases loaded and stepped, writes and records staged.
//!
//! In scope: what each job reads and what it would write.
//! Out of scope: writing; [`turns`](super::turns) commits a turn whole.
//! Invariant: staging changes nothing. A job sees what earlier jobs of its turn left.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use countersign_core::{
    approval::myself::myself,
    decision::{Decided, DenyReason},
    digest::AttachKey,
    id::{PermitId, PersonId, RequestId, RuleName},
    lifecycle::{self, Claim, Event, Fact, Refusal, Step, World},
    permit::Intent,
    request::{Case, Claimed, Outcome, Phase, Request},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_evidence::body;
use countersign_store::{CaseWrite, StoredCase, Write};
use serde_json::Value;

use super::{
    Ended, EngineError, Input, Opened, Parts, Update,
    admission::{MAY_HAVE_RUN, question},
    records::Recorder,
    seal,
    wearing::{denied_to, often_denied, recently_denied},
    words::describe,
};
use crate::{active::Active, ids, log::Record, names::Names};

/// What a job will lead to once its turn is in the log.
pub(super) enum Pending {
    Opened(Opened),
    Stepped {
        case: Box<Case>,
        intent: Option<(Intent, usize)>,
        refused: Option<Refusal>,
    },
}

/// A turn in the making.
pub(super) struct Turn {
    pub(super) recent: HashMap<RequestId, StoredCase>,
    pub(super) active: std::sync::Arc<Active>,
    pub(super) now: Timestamp,
    pub(super) cases: HashMap<RequestId, StoredCase>,
    /// How many requests were waiting when this turn first asked; nobody else opens any.
    pub(super) open_in_all: Option<u32>,
    pub(super) writes: Vec<Write>,
    pub(super) records: Vec<Record>,
    pub(super) updates: Vec<Update>,
    /// New requests whose originals have not ended for them, once this turn has looked.
    pub(super) amending: Option<BTreeSet<RequestId>>,
    /// Actions whose repetition a person approved.
    pub(super) repeated: Vec<AttachKey>,
    /// Until when emergencies must be reviewed, by rule.
    pub(super) due: BTreeMap<RuleName, Timestamp>,
}

impl Turn {
    pub(super) async fn load(
        &mut self,
        parts: &Parts,
        id: &RequestId,
    ) -> Result<StoredCase, EngineError> {
        if let Some(staged) = self.cases.get(id).or_else(|| self.recent.get(id)) {
            return Ok(staged.clone());
        }
        let stored = parts.store.case(id).await?;
        stored.ok_or_else(|| EngineError::NoSuchRequest(id.clone()))
    }

    /// Has a case read from the store again, unless this turn changed it.
    pub(super) fn forget_recent(&mut self, id: &RequestId) {
        if !self.cases.contains_key(id) {
            self.recent.remove(id);
        }
    }

    pub(super) async fn open(
        &mut self,
        parts: &Parts,
        mut request: Request,
        input: Value,
    ) -> Result<Pending, EngineError> {
        // Here, where nothing comes between this and a delegation that is made now.
        let within = (parts.store.as_ref(), self.active.directory.as_ref());
        let behind = parts.delegations.behind(&request.chain, within, self.now);
        request.behind.extend(behind.await?);
        if let Some(found) = self.attachable(parts, &request).await? {
            if let Some(reason) = recently_denied(&found, self.now) {
                return self.deny(parts, request, input, reason);
            }
            match &found.phase {
                Phase::Closed { .. } | Phase::Finished { .. } => {}
                _ => return Ok(Pending::Opened(Opened::Attached(Box::new(found)))),
            }
        }
        if let Some(reason) = denied_to(parts.store.as_ref(), &request, self.now).await? {
            return self.deny(parts, request, input, reason);
        }
        if let Some(reason) = often_denied(parts.store.as_ref(), &request, self.now).await? {
            return self.deny(parts, request, input, reason);
        }
        self.check_room(parts, &request).await?;
        if let Some((case, facts)) = self.under_grant(parts, &request).await? {
            return self.hold(parts, (case, &facts), input);
        }
        let active = self.active.clone();
        match lifecycle::open(request.clone(), active.world()) {
            Ok(case) => {
                self.begins(parts, &case).await?;
                self.hold(parts, (case, &[]), input)
            }
            Err(reason) => self.deny(parts, request, input, reason),
        }
    }

    /// The case of an identical request. Whoever asks now may have come by a credential in which others had a
    /// hand: they are *self* for it, too.
    async fn attachable(
        &mut self,
        parts: &Parts,
        request: &Request,
    ) -> Result<Option<Case>, EngineError> {
        let same = |case: &&StoredCase| {
            case.case.request.attach_key == request.attach_key && case.case.phase.is_open()
        };
        let found = match self.cases.values().find(same) {
            Some(staged) => staged.case.clone(),
            None => {
                let key = &request.attach_key;
                match parts.store.find_attachable(key, self.now).await? {
                    Some(id) => self.load(parts, &id).await?.case,
                    None => return Ok(None),
                }
            }
        };
        let editor = request.amends.iter().map(|amends| &amends.editor);
        let behind = request.issuers.iter().chain(&request.behind).chain(editor);
        let behind = behind.cloned().collect();
        let came = Input::Came { behind };
        match Box::pin(self.step(parts, &found.request.id, came)).await {
            Ok(Pending::Stepped { case, .. }) => Ok(Some(*case)),
            // Nothing is decided about one that was edited in the database, so that it needs nobody.
            Ok(Pending::Opened(_)) | Err(EngineError::ForgedRequest(_)) => Ok(Some(found)),
            Err(error) => Err(error),
        }
    }

    /// Whether one more may wait, beside those stored and those this turn opened already.
    async fn check_room(&mut self, parts: &Parts, request: &Request) -> Result<(), EngineError> {
        let in_all = match self.open_in_all {
            Some(counted) => counted,
            None => parts.store.open_in_all().await?,
        };
        self.open_in_all = Some(in_all);
        let requester = &request.chain.requester.id;
        let opened = |by: Option<&SubjectId>| {
            let opened = self.writes.iter().filter(|write| match write {
                Write::InsertCase(new) => {
                    by.is_none_or(|by| new.case.request.chain.requester.id == *by)
                }
                _ => false,
            });
            u32::try_from(opened.count()).unwrap_or(u32::MAX)
        };
        let stored = parts
            .store
            .open_of_requester(&requester.to_string())
            .await?;
        if stored.saturating_add(opened(Some(requester))) >= parts.max_held_per_subject {
            return Err(EngineError::TooManyHeld(
                requester.to_string(),
                parts.max_held_per_subject,
            ));
        }
        if in_all.saturating_add(opened(None)) >= parts.max_held {
            return Err(EngineError::TooManyHeldInAll(parts.max_held));
        }
        Ok(())
    }

    fn recorder<'a>(&self, parts: &'a Parts, case: &'a mut Case) -> Recorder<'a> {
        Recorder {
            keys: &parts.keys,
            case,
            at: self.now,
            bundle: self.active.hash,
            claim_input: Value::Null,
            ended: None,
            records: Vec::new(),
            envelopes: Vec::new(),
        }
    }

    fn hold(
        &mut self,
        parts: &Parts,
        (mut case, facts): (Case, &[Fact]),
        input: Value,
    ) -> Result<Pending, EngineError> {
        let mut recorder = self.recorder(parts, &mut case);
        recorder.opened(&self.active.directory, input);
        for fact in facts {
            recorder.fact(fact)?;
        }
        let records = recorder.records;
        self.take(records)?;
        put_seal(parts, &mut case)?;
        let write = CaseWrite {
            case: case.clone(),
            envelopes: Vec::new(),
        };
        self.writes.push(Write::InsertCase(Box::new(write)));
        match facts.first() {
            None => self.announce(&case, |_| "asked and held".into()),
            Some(fact) => self.announce(&case, |names| describe(fact, &case, names)),
        }
        let stored = StoredCase {
            case: case.clone(),
            envelopes: Vec::new(),
        };
        self.cases.insert(case.request.id.clone(), stored);
        Ok(Pending::Opened(Opened::Held(Box::new(case))))
    }

    /// Records a request that ends at once.
    fn deny(
        &mut self,
        parts: &Parts,
        request: Request,
        input: Value,
        reason: DenyReason,
    ) -> Result<Pending, EngineError> {
        let id = request.id.clone();
        let decision = countersign_core::decision::Decision::deny(reason.clone());
        let decided = Decided {
            decision,
            ..request.decided.clone()
        };
        let refs = super::admission::self_refs(&request, &self.active.directory, &parts.keys);
        let asked = super::requested_record(&request, refs, &parts.keys.pseudonyms);
        let said = super::decided_record(
            &request,
            1,
            self.now,
            body::Phase::Request,
            &decided,
            &[],
            input,
        );
        self.take(vec![asked, said])?;
        Ok(Pending::Opened(Opened::Denied {
            request: id,
            reason,
        }))
    }

    pub(super) async fn step(
        &mut self,
        parts: &Parts,
        id: &RequestId,
        input: Input,
    ) -> Result<Pending, EngineError> {
        if matches!(input, Input::Claim { .. }) {
            // A claim looks at what is stored, so that a vote edited there is noticed.
            self.forget_recent(id);
        }
        let mut stored = self.load(parts, id).await?;
        if !seal::still_holds(&parts.keys, &mut stored.case) {
            if !only_ends(&input) {
                return Err(self.forged(id, &input));
            }
            // Its end is recorded, and what somebody wrote is not vouched for by that.
            stored.case.seal = None;
        }
        let mut claim_input = Value::Null;
        let mut ended = None;
        let event = match input {
            Input::Note { body, evidence } => return self.note(parts, stored, body, evidence),
            Input::Event(event) => event,
            Input::Came { behind: mut people } => {
                let known = myself(&stored.case, &self.active.directory);
                people.retain(|person| !known.contains(person));
                if people.is_empty() {
                    return Ok(stepped(stored.case));
                }
                Event::SelfGrew { people }
            }
            Input::Ended { ended: how } => {
                let event = Event::Ended {
                    permit: how.permit.clone(),
                    outcome: how.outcome,
                };
                ended = Some(how);
                event
            }
            Input::Claim { by } => {
                let (event, input) = self.claim(parts, &stored, by).await?;
                claim_input = input;
                event
            }
        };
        let (active, was_open) = (self.active.clone(), stored.case.phase.is_open());
        let grant_ended = matches!(event, Event::GrantEnded { .. });
        let world = World {
            due_reviews: Some(&self.due),
            ..active.world()
        };
        let mut step = lifecycle::step(stored.case, event, world, self.now)?;
        if grant_ended {
            step.refused = Some(Refusal::NoLongerSatisfied);
        }
        let handed_on = match was_open && !step.case.phase.is_open() {
            true => self.handed_on(parts, &step.case).await?,
            false => None,
        };
        let staged = self.stage(parts, stored.envelopes, step, claim_input, ended.as_ref())?;
        if let Some((envelopes, step)) = handed_on {
            self.stage(parts, envelopes, step, Value::Null, None)?;
        }
        Ok(staged)
    }

    /// What a claim leads to, and what policy was asked about it.
    async fn claim(
        &mut self,
        parts: &Parts,
        stored: &StoredCase,
        by: SubjectId,
    ) -> Result<(Event, Value), EngineError> {
        if let Some(fault) = parts.clock.fault() {
            return Err(EngineError::Clock(fault));
        }
        self.check_original(parts, &stored.case).await?;
        self.check_votes(parts, stored).await?;
        check_not_repeated(parts, &stored.case)?;
        // Back to people; whoever claims is told.
        if let Some(by) = self.check_grant(parts, &stored.case).await? {
            return Ok((Event::GrantEnded { by }, Value::Null));
        }
        let (decided, input) = self.decide_again(&stored.case);
        let permit = PermitId::from_bits(ids::bits(self.now)?);
        let claim = Claim {
            by,
            permit,
            decided,
        };
        Ok((Event::Claim(claim), input))
    }

    /// Nothing is decided about what somebody wrote into the database, and nothing is sealed again.
    /// The gateway's own steps come again and again; only those of others are recorded.
    fn forged(&mut self, id: &RequestId, input: &Input) -> EngineError {
        let own = matches!(
            input,
            Input::Came { .. }
                | Input::Event(Event::Tick | Event::WorldChanged | Event::SelfGrew { .. })
        );
        if !own {
            self.records.push(seal::forged(self.now, id));
        }
        EngineError::ForgedRequest(id.clone())
    }

    fn note(
        &mut self,
        parts: &Parts,
        stored: StoredCase,
        body: body::Body,
        evidence: Value,
    ) -> Result<Pending, EngineError> {
        let StoredCase {
            mut case,
            envelopes,
        } = stored;
        let mut recorder = self.recorder(parts, &mut case);
        recorder.push(body, evidence);
        let records = recorder.records;
        self.take(records)?;
        case.version += 1;
        self.swap(parts, &mut case, envelopes, Vec::new())?;
        Ok(stepped(case))
    }

    /// Stages records that the log will take. One that it would not take ends its job before
    /// anything of it is stored; stored, it would stop every record after it.
    fn take(&mut self, records: Vec<Record>) -> Result<(), EngineError> {
        for record in &records {
            record
                .check()
                .map_err(|error| EngineError::RefusedByLog(error.to_string()))?;
        }
        self.records.extend(records);
        Ok(())
    }

    fn swap(
        &mut self,
        parts: &Parts,
        case: &mut Case,
        mut envelopes: Vec<(PersonId, Vec<u8>)>,
        new: Vec<(PersonId, Vec<u8>)>,
    ) -> Result<(), EngineError> {
        if case.seal.is_some() {
            put_seal(parts, case)?;
        }
        let write = CaseWrite {
            case: case.clone(),
            envelopes: new.clone(),
        };
        self.writes.push(Write::SwapCase(Box::new(write)));
        envelopes.extend(new);
        envelopes.retain(|(voter, _)| case.votes.iter().any(|vote| vote.voter == *voter));
        let stored = StoredCase {
            case: case.clone(),
            envelopes,
        };
        self.cases.insert(case.request.id.clone(), stored);
        Ok(())
    }

    /// Swaps a case with new votes. The store keeps one envelope a person, so a vote that replaces
    /// an earlier one of its voter takes two steps.
    fn swap_votes(
        &mut self,
        parts: &Parts,
        case: &mut Case,
        mut envelopes: Vec<(PersonId, Vec<u8>)>,
        new: Vec<(PersonId, Vec<u8>)>,
    ) -> Result<(), EngineError> {
        let known = envelopes.len();
        envelopes.retain(|(voter, _)| !new.iter().any(|(other, _)| other == voter));
        if envelopes.len() < known {
            let mut without = case.clone();
            without
                .votes
                .retain(|vote| !new.iter().any(|(other, _)| *other == vote.voter));
            self.swap(parts, &mut without, envelopes.clone(), Vec::new())?;
            case.version += 1;
        }
        self.swap(parts, case, envelopes, new)
    }

    pub(super) fn stage(
        &mut self,
        parts: &Parts,
        envelopes: Vec<(PersonId, Vec<u8>)>,
        step: Step,
        claim_input: Value,
        ended: Option<&Ended>,
    ) -> Result<Pending, EngineError> {
        let Step {
            mut case,
            facts,
            intent,
            refused,
        } = step;
        if facts.is_empty() && intent.is_none() {
            return Ok(Pending::Stepped {
                case: Box::new(case),
                intent: None,
                refused,
            });
        }
        remember(&mut case, &facts, ended, self.now);
        let mut recorder = self.recorder(parts, &mut case);
        recorder.claim_input = claim_input;
        recorder.ended = ended;
        let mut permitted_at = 0;
        for fact in &facts {
            if matches!(fact, Fact::Permitted { .. }) {
                permitted_at = recorder.records.len();
            }
            recorder.fact(fact)?;
        }
        let (records, new) = (recorder.records, recorder.envelopes);
        let offset = self.records.len() + permitted_at;
        self.take(records)?;
        if let Some(intent) = &intent {
            let (permit, request) = (intent.id().clone(), intent.request().clone());
            self.writes.push(Write::InsertPermit {
                permit,
                request,
                at: self.now,
            });
            if parts.unknown.has(&case.request) {
                for key in [case.request.repeats(), case.request.attach_key] {
                    self.writes.push(Write::ForgetUnknown { key });
                    self.repeated.push(key);
                }
            }
        }
        self.remember_unknown(parts, &case, &facts);
        self.swap_votes(parts, &mut case, envelopes, new)?;
        for fact in &facts {
            self.announce(&case, |names| describe(fact, &case, names));
        }
        let intent = intent.map(|intent| (intent, offset));
        Ok(Pending::Stepped {
            case: Box::new(case),
            intent,
            refused,
        })
    }

    fn remember_unknown(&mut self, parts: &Parts, case: &Case, facts: &[Fact]) {
        let unknown = |fact: &Fact| {
            matches!(
                fact,
                Fact::Ended {
                    outcome: Outcome::Unknown,
                    ..
                }
            )
        };
        if facts.iter().any(unknown) {
            let (key, request) = (case.request.repeats(), case.request.id.clone());
            parts.unknown.insert(key);
            self.writes.push(Write::RememberUnknown {
                key,
                request,
                at: self.now,
            });
        }
    }

    fn announce(&mut self, case: &Case, text: impl Fn(Names) -> String) {
        self.updates.push(Update {
            request: case.request.id.clone(),
            phase: case.phase.name(),
            text: text(Names::Given),
            unnamed: text(Names::Withheld),
        });
    }

    /// Asks current policy with the rules that the standing votes satisfy.
    fn decide_again(&self, case: &Case) -> (Decided, Value) {
        let approvals = lifecycle::satisfied_rules(case, self.active.world());
        let asked = question(&case.request, &approvals, self.now);
        let prepared = self.active.snapshot.prepare(&asked);
        let (decision, input) = (prepared.evaluate().decision, prepared.recorded_input());
        (
            Decided {
                decision,
                bundle: self.active.hash,
                approvals,
            },
            input,
        )
    }
}

/// Refuses what was approved before the same action of somebody else ended unknown: nobody was told that it
/// may have happened.
fn check_not_repeated(parts: &Parts, case: &Case) -> Result<(), EngineError> {
    let told = case.request.presentation.body.starts_with(MAY_HAVE_RUN);
    match parts.unknown.has(&case.request) && !told {
        true => Err(EngineError::MayHaveRun(case.request.id.clone())),
        false => Ok(()),
    }
}

/// That nothing was permitted or refused.
fn stepped(case: Case) -> Pending {
    Pending::Stepped {
        case: Box::new(case),
        intent: None,
        refused: None,
    }
}

/// Whether an input can only end what runs, which is recorded in any case.
fn only_ends(input: &Input) -> bool {
    matches!(input, Input::Ended { .. } | Input::Event(Event::Restarted))
}

fn put_seal(parts: &Parts, case: &mut Case) -> Result<(), EngineError> {
    let sealed = seal::put(&parts.keys, case);
    sealed.map_err(|error| EngineError::Internal(error.to_string()))
}

/// Keeps with the case what its page shows of the claim and the end.
fn remember(case: &mut Case, facts: &[Fact], ended: Option<&Ended>, at: Timestamp) {
    for fact in facts {
        if let Fact::Redecided { decided } = fact {
            let decided = decided.clone();
            case.claimed = Some(Claimed { at, decided });
        }
    }
    if let Some(ended) = ended {
        case.exit = ended.exit;
    }
}
