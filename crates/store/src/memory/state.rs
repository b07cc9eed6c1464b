//! The tables of the memory store, and how a failed commit is undone.
//!
//! In scope: typed tables and one way to change them.
//! Out of scope: what the writes mean; see [`apply`](super::apply).
//! Invariant: tables change only through [`Batch`], so whatever a failed commit changed can be
//! put back, latest change first.

use std::{cmp::Reverse, collections::BTreeMap};

use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, PermitId, PersonId, RequestId, TargetId},
    request::Case,
    time::Timestamp,
};

use crate::{
    ActiveBundle, Card, Delivery, DirectoryEntry, StoreError, StoredCredential,
    row::{self, CaseRow},
};

/// A case with what it is found by.
pub(super) struct Kept {
    pub(super) row: CaseRow,
    pub(super) case: Case,
    pub(super) envelopes: Vec<(PersonId, Vec<u8>)>,
}

/// An answer under its idempotency key.
pub(super) struct Answer {
    pub(super) body: Hash,
    pub(super) answer: Vec<u8>,
    pub(super) at: Timestamp,
}

/// All tables.
#[derive(Default)]
pub(super) struct State {
    pub(super) cases: BTreeMap<RequestId, Kept>,
    /// The open or running case of each attach key.
    pub(super) attached: BTreeMap<AttachKey, RequestId>,
    pub(super) permits: BTreeMap<PermitId, RequestId>,
    pub(super) permitted: BTreeMap<RequestId, PermitId>,
    pub(super) outbox: BTreeMap<u64, Vec<u8>>,
    pub(super) last_record: u64,
    pub(super) bundle: BTreeMap<(), ActiveBundle>,
    pub(super) changes: BTreeMap<u64, DirectoryEntry>,
    pub(super) provisioned: BTreeMap<String, String>,
    pub(super) credentials: BTreeMap<CredentialId, StoredCredential>,
    pub(super) secrets: BTreeMap<Hash, CredentialId>,
    pub(super) unknown: BTreeMap<AttachKey, ()>,
    pub(super) cards: BTreeMap<(RequestId, String, String), Card>,
    pub(super) deliveries: BTreeMap<(String, String), Delivery>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) answers: BTreeMap<(String, String), Answer>,
}

impl State {
    /// What a person denied to a subject at a target and refuses after `now`, the longest first.
    pub(super) fn denied(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: usize,
    ) -> Vec<(Timestamp, RequestId)> {
        let theirs = |kept: &&Kept| {
            kept.row.fixed.target == target.as_str() && row::members(&kept.case).contains(member)
        };
        let refusing = |kept: &Kept| {
            let until = kept.row.denied_until().filter(|until| *until > now)?;
            Some((until, kept.row.id.clone()))
        };
        let theirs = self.cases.values().filter(theirs);
        let mut found: Vec<_> = theirs.filter_map(refusing).collect();
        found.sort_by_key(|(until, _)| Reverse(*until));
        found.truncate(limit);
        found
    }
}

/// Chooses a table.
pub(super) type Table<K, V> = fn(&mut State) -> &mut BTreeMap<K, V>;

type Undo = Box<dyn FnOnce(&mut State) + Send>;

/// A commit under way.
pub(super) struct Batch<'a> {
    pub(super) state: &'a mut State,
    undo: Vec<Undo>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(state: &'a mut State) -> Self {
        Self {
            state,
            undo: Vec::new(),
        }
    }

    /// Sets what is at `key`, or clears it.
    pub(super) fn put<K, V>(&mut self, table: Table<K, V>, key: K, value: Option<V>)
    where
        K: Ord + Clone + Send + 'static,
        V: Send + 'static,
    {
        let before = set(table(self.state), key.clone(), value);
        self.undo.push(Box::new(move |state| {
            set(table(state), key, before);
        }));
    }

    /// Sets what is at a key that must be free.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not.
    pub(super) fn insert<K, V>(
        &mut self,
        table: Table<K, V>,
        key: K,
        value: V,
    ) -> Result<(), StoreError>
    where
        K: Ord + Clone + Send + 'static,
        V: Send + 'static,
    {
        if table(self.state).contains_key(&key) {
            return Err(StoreError::Conflict);
        }
        self.put(table, key, Some(value));
        Ok(())
    }

    /// Puts everything back.
    pub(super) fn roll_back(self) {
        for undo in self.undo.into_iter().rev() {
            undo(self.state);
        }
    }
}

fn set<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => table.insert(key, value),
        None => table.remove(&key),
    }
}
