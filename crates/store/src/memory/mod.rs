//! The store in memory, for tests.
//!
//! In scope: every method with the semantics of the SQLite store, which the conformance suite
//! compares.
//! Out of scope: durability and speed; finding may look at every case.
//! Invariant: the lock is never held while waiting, and a failed commit leaves no trace.

mod apply;
mod state;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, RequestId, TargetId},
    time::Timestamp,
};

use self::{
    apply::Touched,
    state::{Batch, Kept, State},
};
use crate::{
    ActiveBundle, Card, CaseFilter, CaseSummary, Delivery, DirectoryEntry, Forgetting, OutboxEntry,
    Page, Store, StoreError, StoredCase, StoredCredential, Write, row,
};

/// Everything in this process, gone with it.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // A panic within a commit may have left half of it.
        let poisoned = |_| StoreError::Failed("an earlier commit failed half-way".into());
        self.state.lock().map_err(poisoned)
    }
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<Option<u64>, StoreError> {
        let mut state = self.state()?;
        let touched = Touched::by(&writes);
        let records = writes.iter().any(|write| matches!(write, Write::Record(_)));
        let mut batch = Batch::new(&mut state);
        let applied = writes.into_iter().try_for_each(|write| batch.apply(write));
        let result = applied.and_then(|()| batch.check_references(&touched));
        if result.is_err() {
            batch.roll_back();
        }
        result.map(|()| records.then_some(state.last_record))
    }

    async fn forget(&self, what: Forgetting) -> Result<(), StoreError> {
        let mut state = self.state()?;
        let awaits = |case: &RequestId| {
            let kept = state.cases.get(case);
            kept.is_some_and(|kept| kept.row.awaits_review())
        };
        if what.cases.iter().any(awaits) {
            return Err(StoreError::Refused("emergency_awaits_its_review".into()));
        }
        for case in &what.cases {
            state.cases.remove(case);
            state.cards.retain(|(of, ..), _| of != case);
            if let Some(permit) = state.permitted.remove(case) {
                state.permits.remove(&permit);
            }
        }
        for credential in &what.credentials {
            if let Some(gone) = state.credentials.remove(credential) {
                state.secrets.remove(&gone.secret);
                let theirs = |place: &str| place.starts_with(gone.id.as_str());
                state.cards.retain(|_, card| !theirs(&card.place));
            }
        }
        for place in &what.places {
            let place = place.to_ascii_lowercase();
            let theirs = |of: &str| of.to_ascii_lowercase().starts_with(&place);
            state.cards.retain(|_, card| !theirs(&card.place));
        }
        for key in &what.provisioned {
            state.provisioned.remove(key);
        }
        if let Some(text) = what.answers_with {
            let text = text.to_ascii_lowercase();
            let has = |of: &str| of.to_ascii_lowercase().contains(&text);
            state.answers.retain(|(subject, _), kept| {
                !has(subject) && !has(&String::from_utf8_lossy(&kept.answer))
            });
        }
        if let Some(changes) = what.changes {
            state.changes = (0..).zip(changes).collect();
        }
        Ok(())
    }

    async fn mentioning(&self, text: &str) -> Result<Vec<RequestId>, StoreError> {
        let text = text.to_ascii_lowercase();
        let mut found = Vec::new();
        for (id, kept) in &self.state()?.cases {
            let body = serde_json::to_string(&kept.case);
            let body = body.map_err(|error| StoreError::Corrupt(error.to_string()))?;
            if body.to_ascii_lowercase().contains(&text) {
                found.push(id.clone());
            }
        }
        Ok(found)
    }

    async fn case(&self, id: &RequestId) -> Result<Option<StoredCase>, StoreError> {
        let state = self.state()?;
        Ok(state.cases.get(id).map(|kept| StoredCase {
            case: kept.case.clone(),
            envelopes: kept.envelopes.clone(),
        }))
    }

    async fn find_attachable(
        &self,
        key: &AttachKey,
        now: Timestamp,
    ) -> Result<Option<RequestId>, StoreError> {
        let state = self.state()?;
        if let Some(open) = state.attached.get(key) {
            return Ok(Some(open.clone()));
        }
        let refusing = state.cases.values().filter(|kept| {
            kept.row.fixed.attach_key == *key
                && kept.row.refuse_until.is_some_and(|until| until > now)
        });
        let last = refusing.max_by_key(|kept| (kept.row.refuse_until, kept.row.id.clone()));
        Ok(last.map(|kept| kept.row.id.clone()))
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<RequestId>, StoreError> {
        let state = self.state()?;
        let mut due: Vec<_> = state
            .cases
            .values()
            .filter_map(|kept| Some((kept.row.deadline?, kept.row.id.clone())))
            .filter(|(deadline, _)| *deadline <= now)
            .collect();
        due.sort();
        Ok(due
            .into_iter()
            .map(|(_, id)| id)
            .take(count(limit))
            .collect())
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        let state = self.state()?;
        Ok(state
            .cases
            .values()
            .filter_map(|kept| kept.row.deadline)
            .min())
    }

    async fn in_phase(&self, phase: &str) -> Result<Vec<RequestId>, StoreError> {
        let state = self.state()?;
        let mut found: Vec<_> = state
            .cases
            .values()
            .filter(|kept| kept.row.phase == phase)
            .map(|kept| (kept.row.fixed.at, kept.row.id.clone()))
            .collect();
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn awaiting_review(&self) -> Result<Vec<(RequestId, Timestamp)>, StoreError> {
        let state = self.state()?;
        let due = |(id, kept): (&RequestId, &Kept)| {
            let review_by = kept.row.emergency?.review_by?;
            Some((id.clone(), review_by))
        };
        let mut found: Vec<_> = state.cases.iter().filter_map(due).collect();
        found.sort_by_key(|(id, review_by)| (*review_by, id.clone()));
        Ok(found)
    }

    async fn open_of_requester(&self, requester: &str) -> Result<u32, StoreError> {
        let state = self.state()?;
        let open =
            |kept: &&Kept| kept.row.fixed.requester == requester && kept.row.deadline.is_some();
        let open = state.cases.values().filter(open).count();
        Ok(u32::try_from(open).unwrap_or(u32::MAX))
    }

    async fn refused_until(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let found = self.state()?.denied(member, target, now, count(limit));
        Ok(found.into_iter().map(|(until, _)| until).collect())
    }

    async fn denied(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RequestId>, StoreError> {
        let found = self.state()?.denied(member, target, now, count(limit));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn granting(
        &self,
        of: Option<(&str, &TargetId)>,
        now: Timestamp,
    ) -> Result<Vec<RequestId>, StoreError> {
        let state = self.state()?;
        let of_it = |kept: &&Kept| {
            of.is_none_or(|(requester, target)| {
                let fixed = &kept.row.fixed;
                fixed.requester == requester && fixed.target == target.as_str()
            })
        };
        let live = state.cases.values().filter(of_it).filter_map(|kept| {
            let until = kept.row.grant_until.filter(|until| *until > now)?;
            Some((until, kept.row.id.clone()))
        });
        let mut live: Vec<_> = live.collect();
        live.sort();
        Ok(live.into_iter().map(|(_, id)| id).collect())
    }

    async fn open_in_all(&self) -> Result<u32, StoreError> {
        let state = self.state()?;
        let open = |kept: &&Kept| kept.row.deadline.is_some();
        let open = state.cases.values().filter(open).count();
        Ok(u32::try_from(open).unwrap_or(u32::MAX))
    }

    async fn list(&self, filter: &CaseFilter) -> Result<Page<CaseSummary>, StoreError> {
        let state = self.state()?;
        let order = |kept: &Kept| (kept.row.fixed.at, kept.row.id.clone());
        let after = match &filter.after {
            Some(after) => {
                let last = state.cases.get(after);
                Some(last.map(order).ok_or_else(|| row::no_such_cursor(after))?)
            }
            None => None,
        };
        let mut found: Vec<_> = state
            .cases
            .values()
            .filter(|kept| kept.row.matches(filter))
            .filter(|kept| after.as_ref().is_none_or(|after| order(kept) < *after))
            .collect();
        found.sort_by_key(|kept| Reverse(order(kept)));
        let lines = found.into_iter().map(|kept| kept.row.summary());
        let one_more = count(row::page_size(filter)).saturating_add(1);
        Ok(row::page(filter, lines.take(one_more).collect()))
    }

    async fn last_record(&self) -> Result<u64, StoreError> {
        Ok(self.state()?.last_record)
    }

    async fn unknown(&self) -> Result<Vec<AttachKey>, StoreError> {
        Ok(self.state()?.unknown.keys().copied().collect())
    }

    async fn active_bundle(&self) -> Result<Option<ActiveBundle>, StoreError> {
        Ok(self.state()?.bundle.get(&()).cloned())
    }

    async fn directory_changes(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        Ok(self.state()?.changes.values().cloned().collect())
    }

    async fn provisioned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        Ok(self.state()?.provisioned.clone())
    }

    async fn credential_by_secret(
        &self,
        secret: &Hash,
    ) -> Result<Option<StoredCredential>, StoreError> {
        let state = self.state()?;
        let id = state.secrets.get(secret);
        Ok(id.and_then(|id| state.credentials.get(id)).cloned())
    }

    async fn credentials(&self, holder: Option<&str>) -> Result<Vec<StoredCredential>, StoreError> {
        let state = self.state()?;
        let mut found: Vec<_> = state
            .credentials
            .values()
            .filter(|credential| holder.is_none_or(|holder| credential.holder == holder))
            .cloned()
            .collect();
        found.sort_by_key(|credential| Reverse((credential.issued, credential.id.clone())));
        Ok(found)
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<StoredCredential>, StoreError> {
        Ok(self.state()?.credentials.get(id).cloned())
    }

    async fn cards(&self, channel: &str, request: &RequestId) -> Result<Vec<Card>, StoreError> {
        let state = self.state()?;
        let cards = state.cards.values();
        let found = cards.filter(|card| card.channel == channel && card.request == *request);
        Ok(found.cloned().collect())
    }

    async fn changing_cards(&self, channel: &str) -> Result<Vec<RequestId>, StoreError> {
        let state = self.state()?;
        let cards = state.cards.values();
        let changing = cards.filter(|card| card.channel == channel && !card.done);
        let requests: BTreeSet<_> = changing.map(|card| card.request.clone()).collect();
        Ok(requests.into_iter().collect())
    }

    async fn carded(&self, channel: &str, message: &str) -> Result<Vec<RequestId>, StoreError> {
        let state = self.state()?;
        let cards = state.cards.values();
        let shows = |card: &&Card| card.message.as_deref() == Some(message);
        let shown = cards.filter(|card| card.channel == channel).filter(shows);
        let requests: BTreeSet<_> = shown.map(|card| card.request.clone()).collect();
        Ok(requests.into_iter().collect())
    }

    async fn delivery(&self, gate: &str, key: &str) -> Result<Option<Delivery>, StoreError> {
        let key = (gate.to_owned(), key.to_owned());
        Ok(self.state()?.deliveries.get(&key).cloned())
    }

    async fn owed_deliveries(&self, gate: &str) -> Result<Vec<Delivery>, StoreError> {
        let state = self.state()?;
        let all = state.deliveries.values();
        let mut owed: Vec<_> = all
            .filter(|one| one.gate == gate && !one.done)
            .cloned()
            .collect();
        owed.sort_by_key(|one| one.at);
        Ok(owed)
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.state()?.settings.get(key).cloned())
    }

    async fn idempotent(
        &self,
        subject: &str,
        key: &str,
    ) -> Result<Option<(Hash, Vec<u8>)>, StoreError> {
        let state = self.state()?;
        let kept = state.answers.get(&(subject.to_owned(), key.to_owned()));
        Ok(kept.map(|kept| (kept.body, kept.answer.clone())))
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let state = self.state()?;
        let waiting = state.outbox.iter().take(count(limit));
        let entry = |(seq, record): (&u64, &Vec<u8>)| OutboxEntry {
            seq: *seq,
            record: record.clone(),
        };
        Ok(waiting.map(entry).collect())
    }
}
