//! Waking whoever waits for a request, and telling everybody else that something changed.
//!
//! Invariant: news carry no content, only what to look at; a listener that missed some reads the
//! store again. So nothing is lost when a listener is slow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_core::id::RequestId;
use tokio::sync::{Notify, broadcast};

/// That a request changed.
#[derive(Debug, Clone)]
pub struct Update {
    /// The request.
    pub request: RequestId,
    /// Its phase now.
    pub phase: &'static str,
    /// What happened, for people, without content.
    pub text: String,
    /// The same without the names of people.
    pub unnamed: String,
}

/// Listeners.
#[derive(Clone)]
pub struct Updates {
    all: broadcast::Sender<Update>,
    waiting: Arc<Mutex<HashMap<RequestId, Arc<Notify>>>>,
}

/// Somebody who waits for one request. Dropping it ends the wait.
pub struct Waiter {
    request: RequestId,
    notify: Arc<Notify>,
    waiting: Arc<Mutex<HashMap<RequestId, Arc<Notify>>>>,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            all: broadcast::channel(1_024).0,
            waiting: Arc::default(),
        }
    }
}

impl Updates {
    /// Every update from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        self.all.subscribe()
    }

    /// Waits for one request. Register first, then read the case, then wait: nothing is missed.
    #[must_use]
    pub fn waiter(&self, request: &RequestId) -> Waiter {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = waiting.entry(request.clone()).or_default().clone();
        Waiter {
            request: request.clone(),
            notify,
            waiting: self.waiting.clone(),
        }
    }

    /// Tells everybody.
    pub(super) fn send(&self, update: Update) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = waiting.get(&update.request) {
            notify.notify_waiters();
        }
        drop(waiting);
        let _nobody_listens = self.all.send(update);
    }
}

impl Waiter {
    /// Returns a future that completes at the next change. It counts from this call on, not from
    /// the first poll.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        let notified = self.notify.notified();
        let mut notified = Box::pin(notified);
        notified.as_mut().enable();
        notified
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Two are left when nobody else waits: the map's and this one's.
        if Arc::strong_count(&self.notify) <= 2 {
            waiting.remove(&self.request);
        }
    }
}
