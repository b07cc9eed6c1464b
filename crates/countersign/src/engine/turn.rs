//! One turn: several jobs, one commit, one write to the log, then the answers.
//!
//! In scope: loading cases, stepping them, staging writes, the order store, log, answer.
//! Invariant: nothing is answered or announced before its record is in the log. When the commit
//! conflicts, every job is done again on its own from what is stored then.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{
    decision::{Decided, DenyReason},
    digest::AttachKey,
    id::{PermitId, RequestId},
    lifecycle::{self, Claim, Event, Fact, Refusal, Step},
    permit::{Intent, LogIndex},
    request::{Case, Phase, Request},
    time::Timestamp,
};
use countersign_evidence::{body, vote::VoteStatement};
use countersign_store::{CaseWrite, StoredCase, Write};
use serde_json::{Value, json};

use super::{
    EngineError, Input, Opened, Parts, Stepped, Update, Updates,
    admission::question,
    records::{Recorder, statement},
    words::describe,
};
use crate::{
    active::Active,
    ids,
    log::{Prepared, Record},
};

/// The most outbox records moved to the log at once.
const FLUSH: u32 = 1_000;

/// One thing to do in a turn.
#[derive(Clone)]
pub(super) enum Job {
    Open(Box<Request>),
    Step(RequestId, Box<Input>),
}

/// What a job led to.
pub(super) enum Done {
    Opened(Opened),
    Stepped(Box<Stepped>),
}

/// What a job will lead to once its turn is in the log.
enum Pending {
    Opened(Opened),
    Stepped {
        case: Box<Case>,
        intent: Option<(Intent, usize)>,
        refused: Option<Refusal>,
    },
}

/// Runs turns.
pub(super) struct Turns {
    pub(super) parts: Parts,
    updates: Updates,
    /// The last outbox number that is in the log.
    flushed: u64,
    acknowledged: u64,
}

/// A turn in the making.
struct Turn {
    active: std::sync::Arc<Active>,
    now: Timestamp,
    cases: HashMap<RequestId, StoredCase>,
    writes: Vec<Write>,
    records: Vec<Record>,
    updates: Vec<Update>,
    /// Actions whose repetition a person approved.
    repeated: Vec<AttachKey>,
}

impl Turns {
    pub(super) fn new(parts: Parts, updates: Updates, flushed: u64) -> Self {
        Self {
            parts,
            updates,
            flushed,
            acknowledged: 0,
        }
    }

    /// Does all jobs and answers in their order.
    pub(super) async fn run(&mut self, jobs: Vec<Job>) -> Vec<Result<Done, EngineError>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        match self.attempt(jobs.clone()).await {
            Ok(done) => done,
            Err(error) if jobs.len() == 1 => vec![Err(error)],
            Err(_) => {
                let mut done = Vec::new();
                for job in jobs {
                    match self.attempt(vec![job]).await {
                        Ok(one) => done.extend(one),
                        Err(error) => done.push(Err(error)),
                    }
                }
                done
            }
        }
    }

    async fn attempt(
        &mut self,
        jobs: Vec<Job>,
    ) -> Result<Vec<Result<Done, EngineError>>, EngineError> {
        let mut turn = Turn {
            active: self.parts.active.borrow().clone(),
            now: self.parts.clock.now(),
            cases: HashMap::new(),
            writes: Vec::new(),
            records: Vec::new(),
            updates: Vec::new(),
            repeated: Vec::new(),
        };
        let mut pending = Vec::new();
        for job in jobs {
            pending.push(match job {
                Job::Open(request) => turn.open(&self.parts, *request).await,
                Job::Step(id, input) => turn.step(&self.parts, &id, *input).await,
            });
        }
        let last = self.write(&mut turn).await?;
        for key in &turn.repeated {
            self.parts.unknown.remove(key);
        }
        for update in turn.updates {
            self.updates.send(update);
        }
        let count = turn.records.len();
        let index = |offset: usize| {
            let behind = u64::try_from(count - 1 - offset).unwrap_or(u64::MAX);
            LogIndex(last.saturating_sub(behind))
        };
        Ok(pending
            .into_iter()
            .map(|one| one.and_then(|one| finish(one, index)))
            .collect())
    }

    /// Commits the turn and brings its records to the log. Returns the index of its last record.
    async fn write(&mut self, turn: &mut Turn) -> Result<u64, EngineError> {
        if turn.records.is_empty() && turn.writes.is_empty() {
            return Ok(0);
        }
        let mut writes = std::mem::take(&mut turn.writes);
        if self.flushed > self.acknowledged {
            writes.push(Write::Acknowledge(self.flushed));
        }
        for record in &turn.records {
            let bytes = serde_json::to_vec(record)
                .map_err(|error| EngineError::Internal(error.to_string()))?;
            writes.push(Write::Record(bytes));
        }
        let last = self.parts.store.commit(writes).await?;
        self.acknowledged = self.flushed;
        // A crash here loses nothing: the outbox has the records and the next start moves them.
        let count = turn.records.len() as u64;
        match last {
            // Nothing older waits, so the records need not be read back.
            Some(last) if last == self.flushed + count => self.append(&turn.records, last).await,
            _ => self.flush().await,
        }
    }

    /// Brings records to the log, of which the last has the outbox number `last`.
    async fn append(&mut self, records: &[Record], last: u64) -> Result<u64, EngineError> {
        let first = last + 1 - records.len() as u64;
        let prepared: anyhow::Result<Vec<Prepared>> = (first..)
            .zip(records)
            .map(|(seq, record)| record.clone().prepare(Some(seq)))
            .collect();
        let prepared = prepared.map_err(|error| EngineError::Internal(error.to_string()))?;
        let index = self.parts.log.append(prepared).await?;
        self.flushed = last;
        Ok(index.0 + records.len() as u64 - 1)
    }

    /// Moves everything in the outbox to the log. Returns the index of the last record moved.
    pub(super) async fn flush(&mut self) -> Result<u64, EngineError> {
        let mut last = 0;
        loop {
            let waiting = self.parts.store.outbox(FLUSH).await?;
            let more = waiting.len() >= usize::try_from(FLUSH).unwrap_or(usize::MAX);
            let flushed = self.flushed;
            let new: Vec<_> = waiting
                .into_iter()
                .filter(|entry| entry.seq > flushed)
                .collect();
            let Some(newest) = new.last().map(|entry| entry.seq) else {
                return Ok(last);
            };
            let count = new.len() as u64;
            let prepared: Result<Vec<Prepared>, _> = new
                .iter()
                .map(|entry| prepare(&entry.record, entry.seq))
                .collect();
            let first = self.parts.log.append(prepared?).await?;
            last = first.0 + count - 1;
            self.flushed = newest;
            if !more {
                return Ok(last);
            }
            self.parts
                .store
                .commit(vec![Write::Acknowledge(newest)])
                .await?;
            self.acknowledged = newest;
        }
    }
}

fn prepare(bytes: &[u8], seq: u64) -> Result<Prepared, EngineError> {
    let record: Record = serde_json::from_slice(bytes)
        .map_err(|error| EngineError::Internal(format!("an outbox record is damaged: {error}")))?;
    record
        .prepare(Some(seq))
        .map_err(|error| EngineError::Internal(error.to_string()))
}

fn finish(pending: Pending, index: impl Fn(usize) -> LogIndex) -> Result<Done, EngineError> {
    match pending {
        Pending::Opened(opened) => Ok(Done::Opened(opened)),
        Pending::Stepped {
            refused: Some(refusal),
            ..
        } => Err(refusal.into()),
        Pending::Stepped {
            case,
            intent,
            refused: None,
        } => {
            let permit = intent.map(|(intent, offset)| intent.recorded(index(offset)));
            Ok(Done::Stepped(Box::new(Stepped {
                case: *case,
                permit,
            })))
        }
    }
}

impl Turn {
    async fn load(&mut self, parts: &Parts, id: &RequestId) -> Result<StoredCase, EngineError> {
        if let Some(staged) = self.cases.get(id) {
            return Ok(staged.clone());
        }
        let stored = parts.store.case(id).await?;
        stored.ok_or_else(|| EngineError::NoSuchRequest(id.clone()))
    }

    async fn open(&mut self, parts: &Parts, request: Request) -> Result<Pending, EngineError> {
        let same = |case: &&StoredCase| {
            case.case.request.attach_key == request.attach_key && case.case.phase.is_open()
        };
        if let Some(staged) = self.cases.values().find(same) {
            return Ok(Pending::Opened(Opened::Attached(Box::new(
                staged.case.clone(),
            ))));
        }
        if let Some(id) = parts
            .store
            .find_attachable(&request.attach_key, self.now)
            .await?
        {
            let found = self.load(parts, &id).await?.case;
            match &found.phase {
                Phase::Closed { refuse_until, .. } if *refuse_until > self.now => {
                    return Ok(self.deny(
                        parts,
                        request,
                        DenyReason::RecentlyDenied(*refuse_until),
                    ));
                }
                Phase::Closed { .. } | Phase::Finished { .. } => {}
                _ => return Ok(Pending::Opened(Opened::Attached(Box::new(found)))),
            }
        }
        let requester = request.chain.requester.id.to_string();
        if parts.store.open_of_requester(&requester).await? >= parts.max_held_per_subject {
            return Err(EngineError::TooManyHeld(
                requester,
                parts.max_held_per_subject,
            ));
        }
        let active = self.active.clone();
        match lifecycle::open(request.clone(), active.world()) {
            Ok(case) => Ok(self.hold(parts, case)),
            Err(reason) => Ok(self.deny(parts, request, reason)),
        }
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

    fn hold(&mut self, parts: &Parts, mut case: Case) -> Pending {
        let input = self.input(&case.request, &BTreeSet::new());
        let mut recorder = self.recorder(parts, &mut case);
        recorder.opened(&self.active.directory, &input);
        let records = recorder.records;
        self.records.extend(records);
        let write = CaseWrite {
            case: case.clone(),
            envelopes: Vec::new(),
        };
        self.writes.push(Write::InsertCase(Box::new(write)));
        self.announce(&case, "asked and held");
        let stored = StoredCase {
            case: case.clone(),
            envelopes: Vec::new(),
        };
        self.cases.insert(case.request.id.clone(), stored);
        Pending::Opened(Opened::Held(Box::new(case)))
    }

    /// Records a request that ends at once.
    fn deny(&mut self, parts: &Parts, request: Request, reason: DenyReason) -> Pending {
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
            &self.input(&request, &BTreeSet::new()),
        );
        self.records.extend([asked, said]);
        Pending::Opened(Opened::Denied {
            request: id,
            reason,
        })
    }

    /// What a stock Cedar engine needs to reproduce the decision.
    fn input(
        &self,
        request: &Request,
        approvals: &BTreeSet<countersign_core::id::RuleName>,
    ) -> Value {
        self.active
            .snapshot
            .recorded_input(&question(request, approvals, self.now))
    }

    async fn step(
        &mut self,
        parts: &Parts,
        id: &RequestId,
        input: Input,
    ) -> Result<Pending, EngineError> {
        let stored = self.load(parts, id).await?;
        let mut claim_input = Value::Null;
        let mut ended = None;
        let event = match input {
            Input::Note { body, evidence } => return Ok(self.note(parts, stored, body, evidence)),
            Input::Event(event) => event,
            Input::Ended { ended: how } => {
                let event = Event::Ended {
                    permit: how.permit.clone(),
                    outcome: how.outcome,
                };
                ended = Some(how);
                event
            }
            Input::Claim { by } => {
                if let Some(fault) = parts.clock.fault() {
                    return Err(EngineError::Clock(fault));
                }
                self.check_votes(parts, &stored)?;
                let (decided, input) = self.decide_again(&stored.case);
                claim_input = input;
                let permit = PermitId::from_bits(ids::bits(self.now)?);
                Event::Claim(Claim {
                    by,
                    permit,
                    decided,
                })
            }
        };
        let active = self.active.clone();
        let step = lifecycle::step(stored.case, event, active.world(), self.now)?;
        self.stage(parts, stored.envelopes, step, claim_input, ended.as_ref())
    }

    fn note(
        &mut self,
        parts: &Parts,
        stored: StoredCase,
        body: body::Body,
        evidence: Value,
    ) -> Pending {
        let StoredCase {
            mut case,
            envelopes,
        } = stored;
        let mut recorder = self.recorder(parts, &mut case);
        recorder.push(body, evidence);
        let records = recorder.records;
        self.records.extend(records);
        case.version += 1;
        self.swap(&case, envelopes, Vec::new());
        Pending::Stepped {
            case: Box::new(case),
            intent: None,
            refused: None,
        }
    }

    fn swap(
        &mut self,
        case: &Case,
        mut envelopes: Vec<(countersign_core::id::PersonId, Vec<u8>)>,
        new: Vec<(countersign_core::id::PersonId, Vec<u8>)>,
    ) {
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
    }

    fn stage(
        &mut self,
        parts: &Parts,
        envelopes: Vec<(countersign_core::id::PersonId, Vec<u8>)>,
        step: Step,
        claim_input: Value,
        ended: Option<&super::Ended>,
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
        let mut recorder = self.recorder(parts, &mut case);
        recorder.claim_input = claim_input;
        recorder.ended = ended;
        let mut permitted_at = 0;
        for fact in &facts {
            if matches!(fact, Fact::Permitted { .. }) {
                permitted_at = recorder.records.len();
            }
            recorder
                .fact(fact)
                .map_err(|error| EngineError::Internal(error.to_string()))?;
        }
        let (records, new) = (recorder.records, recorder.envelopes);
        let offset = self.records.len() + permitted_at;
        self.records.extend(records);
        if let Some(intent) = &intent {
            let (permit, request) = (intent.id().clone(), intent.request().clone());
            self.writes.push(Write::InsertPermit {
                permit,
                request,
                at: self.now,
            });
            let key = case.request.attach_key;
            if parts.unknown.contains(&key) {
                self.writes.push(Write::ForgetUnknown { key });
                self.repeated.push(key);
            }
        }
        self.remember_unknown(parts, &case, &facts);
        self.swap(&case, envelopes, new);
        for fact in &facts {
            self.announce(&case, &describe(fact));
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
                    outcome: countersign_core::request::Outcome::Unknown,
                    ..
                }
            )
        };
        if facts.iter().any(unknown) {
            let (key, request) = (case.request.attach_key, case.request.id.clone());
            parts.unknown.insert(key);
            self.writes.push(Write::RememberUnknown {
                key,
                request,
                at: self.now,
            });
        }
    }

    fn announce(&mut self, case: &Case, text: &str) {
        self.updates.push(Update {
            request: case.request.id.clone(),
            phase: case.phase.name(),
            text: text.into(),
        });
    }

    /// Asks current policy with the rules that the standing votes satisfy.
    fn decide_again(&self, case: &Case) -> (Decided, Value) {
        let approvals = lifecycle::satisfied_rules(case, self.active.world());
        let asked = question(&case.request, &approvals, self.now);
        let decision = self.active.snapshot.evaluate(&asked).decision;
        let input = self.active.snapshot.recorded_input(&asked);
        (
            Decided {
                decision,
                bundle: self.active.hash,
                approvals,
            },
            input,
        )
    }

    /// Verifies every stored vote against its signed envelope, field by field: what the database
    /// says counts only where the vote key, which is not in the database, agrees.
    fn check_votes(&mut self, parts: &Parts, stored: &StoredCase) -> Result<(), EngineError> {
        let known = [parts.keys.vote.verifying().clone()];
        for vote in &stored.case.votes {
            let signed = stored
                .envelopes
                .iter()
                .find(|(voter, _)| *voter == vote.voter)
                .and_then(|(_, bytes)| std::str::from_utf8(bytes).ok())
                .and_then(|envelope| VoteStatement::open(envelope, Some(&known)).ok());
            let matches = signed.is_some_and(|signed| {
                let slots = signed.slots.clone();
                let request = &stored.case.request;
                signed == statement(vote, request, slots, false, &parts.keys.pseudonyms)
            });
            if !matches {
                let event = body::SecurityEvent {
                    code: "forged_vote".into(),
                };
                let evidence = json!({ "request": stored.case.request.id, "voter": vote.voter });
                let at = self.now;
                let body = body::Body::SecurityEvent(event);
                self.records.push(Record {
                    at,
                    body,
                    digest: None,
                    request: None,
                    evidence,
                });
                return Err(EngineError::ForgedVote(vote.voter.clone()));
            }
        }
        Ok(())
    }
}
