//! The open cases in memory, for whoever asks what waits for a person.
//!
//! In scope: held and approved cases without their content, kept current as the engine announces
//! changes.
//! Out of scope: whom they wait for; that depends on directory, rules and time, and is judged when
//! somebody looks.
//! Invariant: a look sees every change that was announced before it. Nothing is decided from what is
//! kept here; deciding reads the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use countersign_core::{
    id::RequestId,
    request::{Case, Phase},
};
use countersign_store::{Store, StoreError};
use serde_json::Value;

/// What has changed since the last look.
#[derive(Debug)]
enum Stale {
    /// Nobody has looked yet.
    All,
    Some(BTreeSet<RequestId>),
}

/// The open cases. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    stale: Arc<Mutex<Stale>>,
    cases: Arc<tokio::sync::Mutex<BTreeMap<RequestId, Arc<Case>>>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            stale: Arc::new(Mutex::new(Stale::All)),
            cases: Arc::default(),
        }
    }
}

impl Desk {
    /// Notes that a case changed.
    pub(super) fn touch(&self, request: &RequestId) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stale::Some(requests) = &mut *stale {
            requests.insert(request.clone());
        }
    }

    fn take_stale(&self) -> Stale {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *stale, Stale::Some(BTreeSet::new()))
    }

    fn put_back(&self, taken: Stale) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *stale, taken) {
            (Stale::Some(now), Stale::Some(before)) => now.extend(before),
            (now, Stale::All) => *now = Stale::All,
            (Stale::All, _) => {}
        }
    }

    /// Every held or approved case without its content, in the order of their names.
    ///
    /// # Errors
    /// The store can't be read; the next look tries again.
    pub async fn open(&self, store: &dyn Store) -> Result<Vec<Arc<Case>>, StoreError> {
        let mut cases = self.cases.lock().await;
        // What changes from here on is noted anew, so nothing is lost while this reads.
        let stale = self.take_stale();
        if let Err(error) = refresh(&mut cases, &stale, store).await {
            self.put_back(stale);
            return Err(error);
        }
        Ok(cases.values().cloned().collect())
    }
}

async fn refresh(
    cases: &mut BTreeMap<RequestId, Arc<Case>>,
    stale: &Stale,
    store: &dyn Store,
) -> Result<(), StoreError> {
    let changed = match stale {
        Stale::Some(requests) => requests.iter().cloned().collect(),
        Stale::All => {
            cases.clear();
            let mut all = store.in_phase("held").await?;
            all.extend(store.in_phase("approved").await?);
            all
        }
    };
    for id in changed {
        match store.case(&id).await?.map(|stored| stored.case) {
            Some(case) if is_open(&case) => cases.insert(id, Arc::new(without_content(case))),
            _ => cases.remove(&id),
        };
    }
    Ok(())
}

fn is_open(case: &Case) -> bool {
    matches!(case.phase, Phase::Held { .. } | Phase::Approved { .. })
}

/// What counting needs: nobody is shown an action from here.
fn without_content(mut case: Case) -> Case {
    case.request.presentation.body = String::new();
    case.request.action.arguments = Value::Null;
    case.request.action.session = Value::Null;
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_during_a_look_is_read_at_the_next() {
        let desk = Desk::default();
        let id = |bits| RequestId::from_bits(bits);
        desk.touch(&id(1));
        assert!(matches!(desk.take_stale(), Stale::All));
        desk.touch(&id(2));
        let Stale::Some(taken) = desk.take_stale() else {
            panic!("everything was read")
        };
        assert_eq!(taken, BTreeSet::from([id(2)]));
        desk.touch(&id(3));
        desk.put_back(Stale::Some(taken));
        let Stale::Some(both) = desk.take_stale() else {
            panic!("everything was read")
        };
        assert_eq!(both, BTreeSet::from([id(2), id(3)]));
        desk.put_back(Stale::All);
        desk.touch(&id(4));
        assert!(matches!(desk.take_stale(), Stale::All));
    }
}
