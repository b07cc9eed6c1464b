//! The emergencies that nobody has reviewed, in memory, for every turn and whoever asks.
//!
//! In scope: keeping them as the store has them, over all cases, however those ended.
//! Out of scope: what an overdue review suspends ([core](countersign_core::lifecycle)); keeping their
//! cases from being forgotten, which the store does.
//! Invariant: it holds at least what the store holds: it grows before the store does and shrinks
//! after it. Time alone makes a review overdue; nothing has to happen for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use countersign_core::{
    id::{RequestId, RuleName},
    request::{Case, Lifted},
    time::Timestamp,
};
use countersign_store::{Store, StoreError, StoredCase};

use super::seal;
use crate::keys::Keys;

/// One emergency that nobody has reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    rule: RuleName,
    review_by: Timestamp,
    /// Whether it was recorded that it is overdue.
    told: bool,
}

impl Due {
    fn of(lift: &Lifted) -> Self {
        Self {
            rule: lift.rule.clone(),
            review_by: lift.review_by,
            told: lift.overdue,
        }
    }
}

/// Emergencies without a review, by their requests. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Emergencies(Arc<RwLock<BTreeMap<RequestId, Vec<Due>>>>);

/// How many emergencies nobody has reviewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreviewed {
    /// In time still.
    pub due: usize,
    /// Not any more.
    pub overdue: usize,
}

impl Emergencies {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<RequestId, Vec<Due>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<RequestId, Vec<Due>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the store has.
    pub(super) async fn load(&self, store: &dyn Store, keys: &Keys) -> Result<(), StoreError> {
        let awaiting = store.awaiting_review().await?;
        let ids: BTreeSet<_> = awaiting.into_iter().map(|(id, _)| id).collect();
        self.reload(store, keys, ids).await
    }

    /// Takes what the store has of some requests.
    async fn reload(
        &self,
        store: &dyn Store,
        keys: &Keys,
        ids: impl IntoIterator<Item = RequestId>,
    ) -> Result<(), StoreError> {
        for id in ids {
            match store.case(&id).await? {
                Some(stored) => self.settle(keys, &stored.case),
                None => drop(self.write().remove(&id)),
            }
        }
        Ok(())
    }

    /// Notes what a turn is about to store of lifts.
    pub(super) fn grow(&self, cases: &HashMap<RequestId, StoredCase>) {
        for stored in cases.values() {
            let case = &stored.case;
            let due = case.lifted.iter().filter(|lift| lift.reviewed.is_none());
            let due: Vec<_> = due.map(Due::of).collect();
            if due.is_empty() {
                continue;
            }
            let mut all = self.write();
            let known = all.entry(case.request.id.clone()).or_default();
            known.extend(due);
        }
    }

    /// Takes what a turn stored.
    pub(super) fn stored(&self, keys: &Keys, cases: &HashMap<RequestId, StoredCase>) {
        let lifted = |stored: &&StoredCase| !stored.case.lifted.is_empty();
        for stored in cases.values().filter(lifted) {
            self.settle(keys, &stored.case);
        }
    }

    /// Looks again after a turn that may not have been stored.
    pub(super) async fn look_again(
        &self,
        store: &dyn Store,
        keys: &Keys,
        cases: &HashMap<RequestId, StoredCase>,
    ) {
        let lifted = |stored: &&StoredCase| !stored.case.lifted.is_empty();
        let ids = cases.values().filter(lifted);
        let ids: Vec<_> = ids.map(|one| one.case.request.id.clone()).collect();
        if let Err(error) = self.reload(store, keys, ids).await {
            // What was noted stays: too much is suspended rather than too little.
            tracing::error!(%error, "emergencies can't be read");
        }
    }

    fn settle(&self, keys: &Keys, case: &Case) {
        // Of a case that somebody edited in the database no review is believed.
        let sealed = seal::holds(keys, case);
        let lifted = case.lifted.iter();
        let due = lifted.filter(|lift| !sealed || lift.reviewed.is_none());
        let due: Vec<_> = due.map(Due::of).collect();
        let id = case.request.id.clone();
        match due.is_empty() {
            true => drop(self.write().remove(&id)),
            false => drop(self.write().insert(id, due)),
        }
    }

    /// Until when each rule's uses must be reviewed that nobody has reviewed, the earliest of each.
    #[must_use]
    pub fn due_reviews(&self) -> BTreeMap<RuleName, Timestamp> {
        let mut earliest: BTreeMap<RuleName, Timestamp> = BTreeMap::new();
        for one in self.read().values().flatten() {
            let known = earliest.entry(one.rule.clone()).or_insert(one.review_by);
            *known = one.review_by.min(*known);
        }
        earliest
    }

    /// Requests of which it is to be recorded that a review is overdue.
    pub(super) fn untold(&self, now: Timestamp) -> Vec<RequestId> {
        let late = |one: &Due| now > one.review_by && !one.told;
        let all = self.read();
        let found = all.iter().filter(|(_, due)| due.iter().any(late));
        found.map(|(id, _)| id.clone()).collect()
    }

    /// Whether something of a request was lifted that nobody has reviewed.
    #[must_use]
    pub fn awaits(&self, request: &RequestId) -> bool {
        self.read().contains_key(request)
    }

    /// How many nobody has reviewed.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> Unreviewed {
        let all = self.read();
        let overdue = all.values().flatten().filter(|one| now > one.review_by);
        let overdue = overdue.count();
        Unreviewed {
            due: all.values().flatten().count() - overdue,
            overdue,
        }
    }

    /// The requests of which something awaits its review.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestId> {
        self.read().keys().cloned().collect()
    }
}
