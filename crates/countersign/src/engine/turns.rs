//! Turns: several jobs, one commit, one write to the log, then the answers.
//!
//! In scope: the order store, log, answer; what a failure in between leaves to be caught up.
//! Invariant: nothing is answered or announced before its record is in the log. When the commit
//! conflicts, every job is done again on its own from what is stored then. While something stored
//! is not in the log, nothing else is stored.

use std::collections::HashMap;

use countersign_core::{
    id::{PermitId, RequestId},
    permit::LogIndex,
    request::{Outcome, Request},
    time::Timestamp,
};
use countersign_evidence::body::{Body, SecurityEvent};
use countersign_store::{Forgetting, StoreError, StoredCase, Write};
use serde_json::{Value, json};

use super::{
    Desk, Ended, EngineError, Input, Opened, Parts, Stepped, Update, Updates, seal,
    turn::{Pending, Turn},
};
use crate::{
    keys::Keys,
    log::{Prepared, Record},
};

/// The most cases remembered from earlier turns.
const RECENT: usize = 1_024;
/// The most outbox records moved to the log at once.
const FLUSH: u32 = 1_000;

/// One thing to do in a turn.
#[derive(Clone)]
pub(super) enum Job {
    /// A request, and what policy was asked about it.
    Open(Box<Request>, Value),
    Step(RequestId, Box<Input>),
}

/// What a job led to.
pub(super) enum Done {
    Opened(Opened),
    Stepped(Box<Stepped>),
}

/// Runs turns.
pub(super) struct Turns {
    pub(super) parts: Parts,
    updates: Updates,
    desk: Desk,
    /// The last outbox number that is in the log.
    flushed: u64,
    acknowledged: u64,
    /// Cases as the last turns left them. Only this loop writes cases, so they are current; a
    /// conflict says otherwise and empties it.
    recent: HashMap<RequestId, StoredCase>,
    /// What is stored and not in the log.
    behind: Option<Behind>,
}

/// What turns led to whose records did not reach the log.
#[derive(Default)]
struct Behind {
    /// What nobody was told.
    updates: Vec<Update>,
    /// Permits that were stored and never given out.
    abandoned: Vec<(RequestId, PermitId)>,
}

impl Turns {
    pub(super) fn new(parts: Parts, updates: Updates, desk: Desk, flushed: u64) -> Self {
        Self {
            parts,
            updates,
            desk,
            flushed,
            acknowledged: 0,
            recent: HashMap::new(),
            behind: None,
        }
    }

    /// Does all jobs and answers in their order.
    pub(super) async fn run(&mut self, jobs: Vec<Job>) -> Vec<Result<Done, EngineError>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let count = jobs.len();
        match self.attempt(jobs.clone()).await {
            Ok(done) => done,
            Err(EngineError::Store(StoreError::Conflict)) if count > 1 => {
                let mut done = Vec::new();
                for job in jobs {
                    match self.attempt(vec![job]).await {
                        Ok(one) => done.extend(one),
                        Err(error) => done.push(Err(error)),
                    }
                }
                done
            }
            // Doing them again could do them twice: the store may have them already.
            Err(EngineError::StoredNotLogged(why)) => {
                let each = || Err(EngineError::StoredNotLogged(why.clone()));
                std::iter::repeat_with(each).take(count).collect()
            }
            Err(error) => {
                let text = crate::explain(&error);
                let others = (1..count).map(|_| Err(EngineError::Internal(text.clone())));
                std::iter::once(Err(error)).chain(others).collect()
            }
        }
    }

    /// The open cases.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    fn announce(&self, update: Update) {
        self.desk.touch(&update.request);
        self.updates.send(update);
    }

    async fn attempt(
        &mut self,
        jobs: Vec<Job>,
    ) -> Result<Vec<Result<Done, EngineError>>, EngineError> {
        self.catch_up().await?;
        let mut turn = Turn {
            active: self.parts.active.borrow().clone(),
            now: self.parts.clock.now(),
            recent: std::mem::take(&mut self.recent),
            cases: HashMap::new(),
            open_in_all: None,
            writes: Vec::new(),
            records: Vec::new(),
            updates: Vec::new(),
            repeated: Vec::new(),
            amending: None,
            due: self.parts.emergencies.due_reviews(),
        };
        let mut pending = Vec::new();
        for job in jobs {
            pending.push(match job {
                Job::Open(request, input) => turn.open(&self.parts, *request, input).await,
                Job::Step(id, input) => turn.step(&self.parts, &id, *input).await,
            });
        }
        let last = self.store(&mut turn).await?;
        for key in &turn.repeated {
            self.parts.unknown.remove(key);
        }
        for update in turn.updates {
            self.announce(update);
        }
        self.remember(turn.recent, turn.cases);
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

    /// Keeps what this turn left, so that the next one need not read it.
    fn remember(
        &mut self,
        recent: HashMap<RequestId, StoredCase>,
        cases: HashMap<RequestId, StoredCase>,
    ) {
        self.recent = recent;
        if self.recent.len() + cases.len() > RECENT {
            self.recent.clear();
        }
        self.recent.extend(cases);
    }

    /// Writes the turn, and knows of its emergencies before the store does.
    async fn store(&mut self, turn: &mut Turn) -> Result<u64, EngineError> {
        let emergencies = self.parts.emergencies.clone();
        emergencies.grow(&turn.cases);
        let written = self.write(turn).await;
        let keys = &self.parts.keys;
        match &written {
            Ok(_) => emergencies.stored(keys, &turn.cases),
            Err(_) => {
                let store = self.parts.store.as_ref();
                emergencies.look_again(store, keys, &turn.cases).await;
            }
        }
        written
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
            let bytes = seal::wait(&self.parts.keys, record)
                .map_err(|error| EngineError::Internal(error.to_string()))?;
            writes.push(Write::Record(bytes));
        }
        let permits: Vec<_> = writes.iter().filter_map(permit_of).collect();
        let last = self.parts.store.commit(writes).await?;
        self.acknowledged = self.flushed;
        // A crash here loses nothing: the outbox has the records and the next start moves them.
        let count = turn.records.len() as u64;
        let moved = match last {
            // Nothing older waits, so the records need not be read back.
            Some(last) if last == self.flushed + count => self.append(&turn.records, last).await,
            _ => self.flush().await,
        };
        moved.map_err(|error| {
            let behind = self.behind.get_or_insert_default();
            behind.updates.append(&mut turn.updates);
            behind.abandoned.extend(permits);
            EngineError::StoredNotLogged(crate::explain(&error))
        })
    }

    /// Moves what an earlier failure left in the outbox, tells what nobody was told then, and ends
    /// what was permitted and never run, because its record had not reached the log.
    pub(super) async fn catch_up(&mut self) -> Result<(), EngineError> {
        if self.behind.is_none() {
            return Ok(());
        }
        self.flush().await?;
        let Behind { updates, abandoned } = self.behind.take().unwrap_or_default();
        for update in updates {
            self.announce(update);
        }
        if abandoned.is_empty() {
            return Ok(());
        }
        let end = |(request, permit): &(RequestId, PermitId)| {
            let ended = Ended {
                permit: permit.clone(),
                outcome: Outcome::Failed,
                exit: None,
                result: json!({ "not_run": true, "why": "the log could not be written" }),
            };
            Job::Step(request.clone(), Box::new(Input::Ended { ended }))
        };
        match Box::pin(self.attempt(abandoned.iter().map(end).collect())).await {
            Ok(_nobody_waits_for_it) => Ok(()),
            // Stored is ended; anything else is tried again.
            Err(error @ EngineError::StoredNotLogged(_)) => Err(error),
            Err(error) => {
                self.behind
                    .get_or_insert_default()
                    .abandoned
                    .extend(abandoned);
                Err(error)
            }
        }
    }

    /// Deletes for good, also from the outbox what is in the log.
    pub(super) async fn forget(&mut self, what: Forgetting) -> Result<(), EngineError> {
        self.flush().await?;
        let store = &self.parts.store;
        store.commit(vec![Write::Acknowledge(self.flushed)]).await?;
        self.acknowledged = self.flushed;
        self.recent.clear();
        Ok(store.forget(what).await?)
    }

    /// Brings records to the log, of which the last has the outbox number `last`.
    async fn append(&mut self, records: &[Record], last: u64) -> Result<u64, EngineError> {
        let first = last + 1 - records.len() as u64;
        let prepared: anyhow::Result<Vec<Prepared>> = (first..)
            .zip(records)
            .map(|(seq, record)| record.clone().prepare(Some(seq), &self.parts.keys.vault))
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
                .map(|entry| prepare(&self.parts.keys, &entry.record, entry.seq))
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

fn permit_of(write: &Write) -> Option<(RequestId, PermitId)> {
    match write {
        Write::InsertPermit {
            permit, request, ..
        } => Some((request.clone(), permit.clone())),
        _ => None,
    }
}

/// Prepares an outbox record. One that the log can't take, or that somebody else put there, is
/// replaced by a security event, so that nothing behind it waits for ever; the verifier reports the
/// gap it leaves.
fn prepare(keys: &Keys, bytes: &[u8], seq: u64) -> Result<Prepared, EngineError> {
    let internal = |error: anyhow::Error| EngineError::Internal(error.to_string());
    match seal::arrived(keys, bytes).and_then(|record| record.prepare(Some(seq), &keys.vault)) {
        Ok(prepared) => Ok(prepared),
        Err(error) => {
            tracing::error!(%error, seq, "an outbox record can't be recorded");
            let event = SecurityEvent {
                code: "unrecordable".into(),
            };
            let record = Record::control(
                Timestamp(0),
                Body::SecurityEvent(event),
                json!({ "why": error.to_string() }),
            );
            record.prepare(Some(seq), &keys.vault).map_err(internal)
        }
    }
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
