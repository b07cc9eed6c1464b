//! Where the records of open requests are.
//!
//! In scope: gathering the places of a request's records until it is over.
//! Out of scope: what they say.
//! Invariant: what is known is made of records alone, so reading again from the oldest open request
//! on knows the same. Both the requests and the records of one have a limit; what decided a request
//! is never left out.

use std::collections::HashMap;

use countersign_core::{id::RequestId, time::Timestamp};
use countersign_evidence::body::{Body, Decision};

use crate::streams::follow::{Entry, Place};

/// The most open requests that are known; later ones are not told.
const OPEN: usize = 200_000;
/// The most records of a request that are told, and the most of those that nothing hangs on.
const RECORDS: (usize, usize) = (192, 128);
/// How long policy's answer is waited for once the gateway has started again: a crash may have cut
/// it off. In milliseconds.
const UNDECIDED: i64 = 24 * 3_600_000;

/// One open request.
#[derive(Debug)]
struct Request {
    asked: Timestamp,
    /// Whether it waits or runs, so that an end will be recorded.
    settled: bool,
    places: Vec<Place>,
}

/// Every open request.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<RequestId, Request>);

impl Open {
    /// Takes a record into account. Where a request is over with it: its earlier records.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Vec<Place>> {
        if let Body::InstanceStarted(_) = entry.leaf.body {
            let fresh = |asked: Timestamp| entry.leaf.at.millis_since(asked) < UNDECIDED;
            self.0.retain(|_, one| one.settled || fresh(one.asked));
        }
        let id = &entry.leaf.request.as_ref()?.id;
        if let Body::ActionRequested(_) = entry.leaf.body {
            self.begin(id, entry);
            return None;
        }
        if entry.ends_request() {
            return self.0.remove(id).map(|one| one.places);
        }
        let one = self.0.get_mut(id)?;
        let (matters, settles) = match &entry.leaf.body {
            Body::PolicyDecided(decided) => (true, decided.decision == Decision::Hold),
            Body::ActionPermitted(_) => (true, true),
            _ => (false, false),
        };
        one.settled |= settles;
        let limit = if matters { RECORDS.0 } else { RECORDS.1 };
        if one.places.len() < limit {
            one.places.push(entry.at);
        }
        None
    }

    fn begin(&mut self, id: &RequestId, entry: &Entry) {
        if self.0.len() >= OPEN {
            let index = entry.at.index;
            tracing::warn!(
                index,
                "too many requests are open; this one becomes no trace"
            );
            return;
        }
        let request = Request {
            asked: entry.leaf.at,
            settled: false,
            places: vec![entry.at],
        };
        self.0.insert(id.clone(), request);
    }

    /// Where the oldest open request begins.
    pub(super) fn oldest(&self) -> Option<Place> {
        let begins = self.0.values().filter_map(|one| one.places.first());
        begins.min().copied()
    }
}

#[cfg(test)]
mod tests {
    use countersign_evidence::body::{
        CloseReason, Counters, InstanceStarted, OutcomeStatus, Phase,
    };
    use serde_json::json;

    use super::*;
    use crate::streams::otlp::testing::{
        asked, closed, decided, entry, outcome, permitted, request, said,
    };

    const HOUR: i64 = 3_600_000;

    fn indexes(places: Option<Vec<Place>>) -> Option<Vec<u64>> {
        Some(places?.iter().map(|at| at.index).collect())
    }

    /// Takes these records of requests, a minute apart; what was over with which.
    fn take(open: &mut Open, records: Vec<(u128, Body)>) -> Vec<(u64, Vec<u64>)> {
        let mut over = Vec::new();
        for (index, (id, body)) in (0_u64..).zip(records) {
            let at = i64::try_from(index).unwrap() * 60_000;
            let entry = entry(index, at, Some((id, 0)), body, json!({}));
            if let Some(places) = indexes(open.take(&entry)) {
                over.push((index, places));
            }
        }
        over
    }

    #[test]
    fn a_request_is_due_with_the_record_that_ends_it() {
        let hold = || decided(Decision::Hold, Phase::Request);
        let mut open = Open::default();
        let over = take(
            &mut open,
            vec![
                (1, asked()),
                (2, asked()),
                (1, hold()),
                (2, decided(Decision::Deny, Phase::Request)),
                // Of what began before the stream did, nothing is told.
                (9, permitted()),
                (9, outcome(OutcomeStatus::Succeeded, None)),
                (3, asked()),
                (1, said()),
                (3, hold()),
                (1, permitted()),
                (1, outcome(OutcomeStatus::Failed, None)),
                // Said afterwards.
                (1, said()),
            ],
        );
        assert_eq!(over, [(3, vec![1]), (10, vec![0, 2, 7, 9])]);
        assert_eq!(open.oldest().unwrap().index, 6);
        let end = entry(
            20,
            HOUR,
            Some((3, 9)),
            closed(CloseReason::Expired),
            json!({}),
        );
        assert_eq!(indexes(open.take(&end)), Some(vec![6, 8]));
        assert_eq!(open.oldest(), None);
    }

    /// However much is said, and however often policy is asked.
    #[test]
    fn records_have_a_limit_that_what_matters_is_not_under() {
        let mut bodies = vec![asked(), decided(Decision::Hold, Phase::Request)];
        bodies.extend((0..500).map(|_| said()));
        bodies.extend([permitted(), outcome(OutcomeStatus::Succeeded, None)]);
        let entries = request(1, &json!({}), bodies);
        let mut open = Open::default();
        let over = entries.iter().find_map(|entry| open.take(entry));
        let over = indexes(over).unwrap();
        assert_eq!(over.len(), RECORDS.1 + 1);
        assert_eq!((over.first(), over.last()), (Some(&0), Some(&502)));
        let mut bodies = vec![asked()];
        bodies.extend((0..500).map(|_| decided(Decision::Deny, Phase::Claim)));
        bodies.push(closed(CloseReason::PolicyChanged));
        let entries = request(1, &json!({}), bodies);
        let over = entries.iter().find_map(|entry| open.take(entry));
        assert_eq!(over.unwrap().len(), RECORDS.0);
    }

    /// A request without policy's answer would have the log read from there at every start.
    #[test]
    fn what_a_crash_cut_off_is_forgotten_and_what_waits_is_not() {
        let started = |index, at| {
            let body = Body::InstanceStarted(InstanceStarted {
                build: String::new(),
                checkpoint_size: 0,
            });
            entry(index, at, None, body, json!({}))
        };
        let mut open = Open::default();
        let hold = decided(Decision::Hold, Phase::Request);
        take(&mut open, vec![(1, asked()), (2, asked()), (2, hold)]);
        open.take(&started(5, HOUR));
        assert_eq!(open.oldest().unwrap().index, 0);
        let alive = Body::Heartbeat(Counters::default());
        open.take(&entry(6, 30 * HOUR, None, alive, json!({})));
        assert_eq!(open.oldest().unwrap().index, 0);
        open.take(&started(7, 30 * HOUR));
        assert_eq!(open.oldest().unwrap().index, 1);
    }
}
