//! How streams stand, for whoever looks after them.
//!
//! In scope: how far each got, what waits, what was given up, what is wrong.
//! Out of scope: how that is shown.
//! Invariant: what is wrong is said when it begins and when it ends, and stays to be seen in
//! between. Texts name the stream and what failed, never what is in a record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_core::time::Timestamp;

/// How one stream stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The next record it takes from the log.
    pub next: u64,
    /// Records it took that were not delivered yet.
    pub waiting: u64,
    /// Records it gave up.
    pub dead: u64,
    /// Events delivered since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// When something was delivered last.
    pub last: Option<Timestamp>,
    /// What is wrong now.
    pub fault: Option<String>,
}

/// The same, shared with the stream.
#[derive(Debug)]
pub(super) struct Status {
    name: String,
    state: Mutex<StreamState>,
}

impl Status {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> StreamState {
        self.state().clone()
    }

    /// That it went well up to a record.
    pub(super) fn delivered(&self, next: u64, events: u64, at: Timestamp) {
        let mut state = self.state();
        state.next = next;
        state.delivered += events;
        if events > 0 {
            state.last = Some(at);
        }
        drop(state);
        self.well();
    }

    /// That nothing is wrong any more.
    pub(super) fn well(&self) {
        if self.state().fault.take().is_some() {
            tracing::info!(stream = self.name, "the stream goes on");
        }
    }

    /// That something is wrong.
    pub(super) fn wrong(&self, fault: String) {
        let mut state = self.state();
        if state.fault.as_ref() != Some(&fault) {
            tracing::warn!(stream = self.name, fault, "the stream does not go on");
            state.fault = Some(fault);
        }
    }

    /// Changes numbers.
    pub(super) fn update(&self, change: impl FnOnce(&mut StreamState)) {
        change(&mut self.state());
    }
}
