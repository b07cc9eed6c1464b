//! How something that the gateway talks to stands: a channel, a GitHub App.
//!
//! In scope: what is wrong now, by where; saying so once.
//! Out of scope: trying again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is wrong with one of them, by where.
pub(crate) struct Status {
    name: String,
    faults: Mutex<BTreeMap<String, String>>,
}

impl Status {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            faults: Mutex::default(),
        }
    }

    fn faults(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is wrong somewhere, and says it once.
    pub(crate) fn wrong(&self, place: &str, why: &str) {
        let before = self.faults().insert(place.into(), why.into());
        if before.as_deref() != Some(why) {
            tracing::error!(name = self.name, place, "{why}");
        }
    }

    /// Notes that all is well there.
    pub(crate) fn well(&self, place: &str) {
        if self.faults().remove(place).is_some() {
            tracing::info!(name = self.name, place, "it goes on");
        }
    }

    /// What is wrong.
    pub(crate) fn fault(&self) -> Option<String> {
        let faults = self.faults();
        let lines: Vec<String> = faults.values().cloned().collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}
