//! Permitted actions whose outcome nobody has reported yet.
//!
//! In scope: keeping them for the time their gate gives, at most 100,000 and 25,000 of one
//! requester; recording as unknown what nobody reports.
//! Out of scope: outliving the process. A start marks every permit without an outcome as unknown
//! by itself, from the log and from the cases that run.
//! Invariant: a place is reserved before anything is permitted, so nothing permitted is ever
//! forgotten; an outcome is taken out before it is recorded, so it is recorded once (P7).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use countersign_core::{
    id::{PermitId, RequestId},
    request::Outcome,
    subject::SubjectId,
    time::{Span, Timestamp},
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    clock::Clock,
    engine::{Admission, Ended, Engine, EngineError, Input, Uncased},
    gateway::Gateway,
};

/// How long an outcome can be reported where the caller's connection says nothing about it.
pub(crate) const REPORT_WITHIN: Span = Span::from_millis(60 * 60_000);
/// The most outcomes awaited at once.
const MAX_AWAITED: usize = 100_000;
/// The most of one requester, so that nobody takes every place by reporting nothing.
const MAX_AWAITED_OF_ONE: usize = 25_000;
/// How often it is looked whether an hour has passed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long after a failed attempt to record it is tried again.
const AGAIN_AFTER: Span = Span::from_millis(30_000);

/// Too many outcomes are awaited.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyOutstanding {
    /// Of this requester.
    #[error(
        "too many of your permitted actions have no outcome yet; nothing more is permitted to you"
    )]
    OfOne,
    /// Of all requesters.
    #[error("too many permitted actions have no outcome yet; nothing more is permitted")]
    InAll,
}

/// A permitted action whose outcome is awaited.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    /// What its record names.
    pub(crate) of: Uncased,
    /// The permit.
    pub(crate) permit: PermitId,
    /// Who alone reports.
    pub(crate) requester: SubjectId,
    /// Whether it has a case.
    pub(crate) has_case: bool,
    /// Until when.
    pub(crate) until: Timestamp,
}

#[derive(Debug, Default)]
struct Places {
    /// Places of each requester, reserved and filled.
    of: BTreeMap<SubjectId, usize>,
    /// Places in all.
    taken: usize,
    awaited: BTreeMap<RequestId, Awaited>,
}

impl Places {
    fn count(&mut self, requester: &SubjectId) {
        self.taken += 1;
        *self.of.entry(requester.clone()).or_default() += 1;
    }

    fn free(&mut self, requester: &SubjectId) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(count) = self.of.get_mut(requester) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(requester);
            }
        }
    }

    fn remove(&mut self, id: &RequestId) -> Option<Awaited> {
        let awaited = self.awaited.remove(id)?;
        self.free(&awaited.requester);
        Some(awaited)
    }
}

/// Every action whose outcome is awaited. Dropping it ends its task.
#[derive(Debug)]
pub struct Outstanding {
    places: Mutex<Places>,
    limit: usize,
    limit_of_one: usize,
    _ends_the_task: DropGuard,
}

/// A reserved place. Dropping it unused frees it.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Outstanding>,
    requester: SubjectId,
}

/// What records an outcome.
#[derive(Clone)]
struct Recorders {
    admission: Admission,
    engine: Engine,
    clock: Arc<Clock>,
}

impl Recorders {
    fn of(gateway: &Gateway) -> Self {
        Self {
            admission: gateway.admission.clone(),
            engine: gateway.engine.clone(),
            clock: gateway.clock.clone(),
        }
    }
}

impl Outstanding {
    /// Begins empty and, within a runtime, looks for what nobody reported.
    #[must_use]
    pub fn start(gateway: &Gateway) -> Arc<Self> {
        let stop = CancellationToken::new();
        let started = Arc::new(Self::new(MAX_AWAITED, MAX_AWAITED_OF_ONE, stop.clone()));
        let recorders = Recorders::of(gateway);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(look(Arc::downgrade(&started), recorders, stop));
        }
        started
    }

    fn new(limit: usize, limit_of_one: usize, stop: CancellationToken) -> Self {
        Self {
            places: Mutex::default(),
            limit,
            limit_of_one,
            _ends_the_task: stop.drop_guard(),
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a place for this requester, to be filled once something is permitted.
    ///
    /// # Errors
    /// Too many outcomes are awaited, of this requester or in all.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        requester: &SubjectId,
    ) -> Result<Place, TooManyOutstanding> {
        let mut places = self.places();
        if places.of.get(requester).copied().unwrap_or_default() >= self.limit_of_one {
            return Err(TooManyOutstanding::OfOne);
        }
        if places.taken >= self.limit {
            return Err(TooManyOutstanding::InAll);
        }
        places.count(requester);
        drop(places);
        Ok(Place {
            of: self.clone(),
            requester: requester.clone(),
        })
    }

    /// Takes out what `matches` and belongs to `requester`.
    pub(crate) fn take(
        &self,
        requester: &SubjectId,
        matches: impl Fn(&Awaited) -> bool,
    ) -> Option<Awaited> {
        let mut places = self.places();
        let found = places
            .awaited
            .values()
            .find(|one| one.requester == *requester && matches(one));
        let id = found.map(|one| one.of.request.clone())?;
        places.remove(&id)
    }

    /// Puts back what could not be recorded.
    pub(crate) fn put_back(&self, awaited: Awaited) {
        let mut places = self.places();
        places.count(&awaited.requester);
        places.awaited.insert(awaited.of.request.clone(), awaited);
    }

    /// Whether this outcome was not reported yet.
    pub(crate) fn awaits(&self, awaited: &Awaited) -> bool {
        self.places().awaited.contains_key(&awaited.of.request)
    }

    /// Records an outcome that its caller can be known not to report. Nothing happens if it was
    /// reported meanwhile.
    pub(crate) async fn settle(
        &self,
        gateway: &Gateway,
        awaited: &Awaited,
        outcome: Outcome,
        result: Value,
    ) {
        let Some(mut awaited) = self.take(&awaited.requester, |one| one.permit == awaited.permit)
        else {
            return;
        };
        let ended = ended(&awaited, outcome, result);
        let recorded = record(&gateway.admission, &gateway.engine, &awaited, ended).await;
        if let Err(error) = recorded.or_else(unless_refused) {
            let request = &awaited.of.request;
            tracing::error!(%error, %request, "an outcome was not recorded");
            // The sweep tries again, with what is the least that can be said.
            awaited.until = gateway.clock.now();
            self.put_back(awaited);
        }
    }

    /// Records as unknown what nobody reported in time.
    async fn sweep(&self, recorders: &Recorders, now: Timestamp) {
        for mut awaited in self.take_overdue(now) {
            let ended = unknown(&awaited);
            let recorded = record(&recorders.admission, &recorders.engine, &awaited, ended).await;
            // Refused: something else ended the case, and there is nothing left to record.
            if let Err(error) = recorded.or_else(unless_refused) {
                let request = &awaited.of.request;
                tracing::error!(%error, %request, "an unknown outcome was not recorded");
                awaited.until = now.after(AGAIN_AFTER);
                self.put_back(awaited);
            }
        }
    }

    /// As if it were `now`.
    #[cfg(test)]
    pub(crate) async fn sweep_at(&self, gateway: &Gateway, now: Timestamp) {
        self.sweep(&Recorders::of(gateway), now).await;
    }

    fn take_overdue(&self, now: Timestamp) -> Vec<Awaited> {
        let mut places = self.places();
        let overdue: Vec<_> = places
            .awaited
            .iter()
            .filter(|(_, one)| one.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        overdue.iter().filter_map(|id| places.remove(id)).collect()
    }
}

impl Place {
    /// Fills the place.
    pub(crate) fn fill(self, awaited: Awaited) {
        self.of.put_back(awaited);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.of.places();
        places.free(&self.requester);
    }
}

async fn look(outstanding: Weak<Outstanding>, recorders: Recorders, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let Some(outstanding) = outstanding.upgrade() else {
            return;
        };
        outstanding.sweep(&recorders, recorders.clock.now()).await;
    }
}

fn unless_refused(error: EngineError) -> Result<(), EngineError> {
    match error {
        EngineError::Refused(_) => Ok(()),
        error => Err(error),
    }
}

fn unknown(awaited: &Awaited) -> Ended {
    let result = json!({ "why": "the caller reported no outcome in time" });
    ended(awaited, Outcome::Unknown, result)
}

/// How an awaited action ended.
pub(crate) fn ended(awaited: &Awaited, outcome: Outcome, result: Value) -> Ended {
    Ended {
        permit: awaited.permit.clone(),
        outcome,
        exit: None,
        result,
    }
}

/// Records an outcome, with the case or without.
///
/// # Errors
/// [`EngineError`] when it is not durable.
pub(crate) async fn record(
    admission: &Admission,
    engine: &Engine,
    awaited: &Awaited,
    ended: Ended,
) -> Result<(), EngineError> {
    if !awaited.has_case {
        return admission.ended_uncased(&awaited.of, &ended).await;
    }
    engine
        .step(awaited.of.request.clone(), Input::Ended { ended })
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use countersign_core::{
        canonical::Hash,
        digest::{ActionDigest, AttachKey},
    };

    use super::*;

    fn awaited(n: u128, who: &str, until: i64) -> Awaited {
        Awaited {
            of: Uncased {
                request: RequestId::from_bits(n),
                digest: ActionDigest(Hash::of(b"d")),
                repeats: AttachKey(Hash::of(b"k")),
                asked: crate::vault::Of::Operation,
            },
            permit: PermitId::from_bits(n),
            requester: SubjectId::Agent(who.parse().unwrap()),
            has_case: false,
            until: Timestamp(until),
        }
    }

    #[test]
    fn places_are_bounded_and_each_outcome_is_taken_once_by_its_requester() {
        let all = Arc::new(Outstanding::new(3, 2, CancellationToken::new()));
        let agent = |name: &str| SubjectId::Agent(name.parse().unwrap());
        let reserve = |name: &str| all.reserve(&agent(name));
        let refused = |name: &str| reserve(name).unwrap_err();
        let (one, two) = (reserve("a").unwrap(), reserve("a").unwrap());
        assert_eq!(
            refused("a"),
            TooManyOutstanding::OfOne,
            "one requester has two places"
        );
        let other = reserve("b").unwrap();
        assert_eq!(
            refused("b"),
            TooManyOutstanding::InAll,
            "there are three places"
        );
        drop(two);
        one.fill(awaited(1, "a", 10));
        other.fill(awaited(2, "b", 20));
        reserve("b").unwrap().fill(awaited(3, "b", 20));
        assert_eq!(
            refused("b"),
            TooManyOutstanding::OfOne,
            "filled places count"
        );
        assert_eq!(refused("c"), TooManyOutstanding::InAll);
        let of = |n| move |one: &Awaited| one.permit == PermitId::from_bits(n);
        assert!(all.take(&agent("b"), of(1)).is_none());
        assert!(all.take(&agent("a"), of(1)).is_some());
        assert!(all.take(&agent("a"), of(1)).is_none());
        assert!(all.take_overdue(Timestamp(19)).is_empty());
        assert_eq!(all.take_overdue(Timestamp(20)).len(), 2);
        assert!(all.places().of.is_empty(), "what is counted is freed");
        assert!(reserve("b").is_ok());
    }
}
