//! The actions whose like must not run again without a person (P7).
//!
//! Invariant: the set holds at least what the store holds: it grows before the store does and
//! shrinks after it.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use countersign_core::{digest::AttachKey, request::Request};

/// Actions that ended unknown. Cheap to clone; all clones are one set.
#[derive(Clone, Default)]
pub struct Unknown(Arc<RwLock<HashSet<AttachKey>>>);

impl Unknown {
    /// The set as the store has it.
    #[must_use]
    pub fn of(keys: Vec<AttachKey>) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }

    /// Whether the same action ended unknown, whoever asked for it.
    #[must_use]
    pub fn has(&self, request: &Request) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // What ended so before is known by the chain that asked.
        all.contains(&request.repeats()) || all.contains(&request.attach_key)
    }

    pub(super) fn insert(&self, key: AttachKey) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
    }

    pub(super) fn remove(&self, key: &AttachKey) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}
