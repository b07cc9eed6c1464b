//! How much of one kind a subject may have going on at once.
//!
//! In scope: counting by holder, whatever credential they came with.
//! Out of scope: rates, and what everybody together may take.
//! Invariant: a seat is given back when it is dropped, however that comes about.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Seats of every subject, so many for each. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    limit: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// One seat of a subject. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Seat {
    of: Seats,
    holder: String,
}

impl Seats {
    /// All of them free.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for this holder, if one is free.
    pub(super) fn take(&self, holder: &str) -> Option<Seat> {
        let mut taken = self.taken();
        let count = taken.get(holder).copied().unwrap_or_default();
        if count >= self.limit {
            return None;
        }
        taken.insert(holder.to_owned(), count + 1);
        drop(taken);
        Some(Seat {
            of: self.clone(),
            holder: holder.to_owned(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(count) = taken.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}
