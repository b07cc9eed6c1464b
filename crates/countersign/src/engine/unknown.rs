//! The actions whose like must not run again without a person (P7).
//!
//! Invariant: the set holds at least what the store holds: it grows before the store does and
//! shrinks after it.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use countersign_core::digest::AttachKey;

/// Actions that ended unknown. Cheap to clone; all clones are one set.
#[derive(Clone, Default)]
pub struct Unknown(Arc<RwLock<HashSet<AttachKey>>>);

impl Unknown {
    /// The set as the store has it.
    #[must_use]
    pub fn of(keys: Vec<AttachKey>) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }

    /// Whether an identical action ended unknown.
    #[must_use]
    pub fn contains(&self, key: &AttachKey) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
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
