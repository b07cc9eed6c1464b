//! The order in which events are sent.
//!
//! In scope: events of one request one after another, other requests meanwhile; when a failed one
//! is tried again; when it is given up.
//! Out of scope: sending, clocks and randomness, which are arguments.
//! Invariant: of one lane at most one event is on its way, and it is the oldest that is neither
//! delivered nor given up. Nothing leaves but by [`Lanes::delivered`] or [`Lanes::given_up`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::streams::follow::Place;

/// The first pause after a failure, in milliseconds.
const FIRST: u64 = 1_000;
/// The longest pause, in milliseconds.
const LONGEST: u64 = 3_600_000;

/// An event that was taken from the log and not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Its record.
    pub(super) at: Place,
    /// Its request; empty for what belongs to none.
    pub(super) lane: String,
    /// When it was taken, in milliseconds since 1970.
    pub(super) taken: i64,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// Records of the same request that are told with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) earlier: Vec<Place>,
}

/// Every event on its way. Time is in milliseconds since the stream started.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    queues: BTreeMap<String, VecDeque<Pending>>,
    /// When the first event of which lane is due; not while it is on its way.
    due: BTreeSet<(u64, Place, String)>,
    len: usize,
}

impl Lanes {
    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every event, by lane.
    pub(super) fn all(&self) -> impl Iterator<Item = &Pending> {
        self.queues.values().flatten()
    }

    /// Adds an event, in the order of the log. One that is there already is not added.
    pub(super) fn add(&mut self, pending: Pending) {
        let queue = self.queues.entry(pending.lane.clone()).or_default();
        let place = queue.partition_point(|other| other.at < pending.at);
        if queue.get(place).is_some_and(|other| other.at == pending.at) {
            return;
        }
        let first = queue.front().map(|front| front.at);
        queue.insert(place, pending.clone());
        self.len += 1;
        match first {
            // A new lane is due at once.
            None => drop(self.due.insert((0, pending.at, pending.lane))),
            Some(first) if pending.at < first => {
                // Unless the first is on its way: it stays the first of its lane until then.
                let before = self
                    .due
                    .iter()
                    .find(|(_, at, lane)| *at == first && *lane == pending.lane);
                if let Some(before) = before.cloned() {
                    self.due.remove(&before);
                    self.due.insert((0, pending.at, pending.lane));
                }
            }
            Some(_) => {}
        }
    }

    /// The event that is due longest, which is on its way now.
    pub(super) fn take(&mut self, now: u64) -> Option<Pending> {
        let (due, ..) = self.due.first()?;
        if *due > now {
            return None;
        }
        let (_, at, lane) = self.due.pop_first()?;
        let queue = self.queues.get_mut(&lane)?;
        let pending = queue.iter_mut().find(|pending| pending.at == at)?;
        pending.attempts = pending.attempts.saturating_add(1);
        Some(pending.clone())
    }

    /// When the next event is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due, ..)| *due)
    }

    /// That an event is done with.
    pub(super) fn delivered(&mut self, pending: &Pending) {
        self.remove(pending);
    }

    /// That an event is not tried any more. Its lane goes on.
    pub(super) fn given_up(&mut self, pending: &Pending) {
        self.remove(pending);
    }

    fn remove(&mut self, pending: &Pending) {
        let Some(queue) = self.queues.get_mut(&pending.lane) else {
            return;
        };
        let before = queue.len();
        queue.retain(|other| other.at != pending.at);
        self.len -= before - queue.len();
        match queue.front() {
            None => drop(self.queues.remove(&pending.lane)),
            Some(next) => drop(self.due.insert((0, next.at, pending.lane.clone()))),
        }
    }

    /// That an event failed and is tried again after a pause.
    pub(super) fn again(&mut self, pending: &Pending, due: u64) {
        let first = self
            .queues
            .get(&pending.lane)
            .and_then(|queue| queue.front());
        if let Some(first) = first {
            self.due.insert((due, first.at, pending.lane.clone()));
        }
    }

    /// Makes everything due at once that is not on its way.
    pub(super) fn hurry(&mut self) {
        self.due = std::mem::take(&mut self.due)
            .into_iter()
            .map(|(_, at, lane)| (0, at, lane))
            .collect();
    }
}

/// How long to pause after so many attempts, in milliseconds: doubling from a second to an hour,
/// of which `jitter` takes off up to a half, so that not everything comes at once.
pub(super) fn pause(attempts: u32, jitter: u64) -> u64 {
    let doubled = 1_u64
        .checked_shl(attempts.saturating_sub(1))
        .and_then(|factor| FIRST.checked_mul(factor));
    let whole = doubled.unwrap_or(LONGEST).min(LONGEST);
    whole - jitter % (whole / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(index: u64, lane: &str) -> Pending {
        Pending {
            at: Place {
                index,
                offset: index * 100,
            },
            lane: lane.into(),
            taken: 0,
            attempts: 0,
            earlier: Vec::new(),
        }
    }

    fn lanes(events: &[(u64, &str)]) -> Lanes {
        let mut lanes = Lanes::default();
        for (index, lane) in events {
            lanes.add(event(*index, lane));
        }
        lanes
    }

    fn take(lanes: &mut Lanes, now: u64) -> Option<Pending> {
        lanes.take(now)
    }

    #[test]
    fn a_failing_request_waits_and_others_go_on() {
        let mut lanes = lanes(&[(0, "a"), (1, "a"), (2, "b"), (3, "a"), (4, "b")]);
        let a = take(&mut lanes, 0).unwrap();
        let b = take(&mut lanes, 0).unwrap();
        assert_eq!((a.at.index, b.at.index), (0, 2));
        assert!(take(&mut lanes, 0).is_none(), "both lanes are on their way");
        lanes.again(&a, 500);
        lanes.delivered(&b);
        let b = take(&mut lanes, 0).unwrap();
        assert_eq!(b.at.index, 4);
        lanes.delivered(&b);
        assert!(take(&mut lanes, 499).is_none());
        assert_eq!(lanes.next_due(), Some(500));
        let a = take(&mut lanes, 500).unwrap();
        assert_eq!((a.at.index, a.attempts), (0, 2));
        lanes.given_up(&a);
        assert_eq!(take(&mut lanes, 500).unwrap().at.index, 1);
        assert_eq!(lanes.len(), 2);
    }

    #[test]
    fn what_was_given_up_comes_back_in_order_and_once() {
        let mut lanes = lanes(&[(5, "a"), (7, "a")]);
        let on_its_way = take(&mut lanes, 0).unwrap();
        lanes.add(event(2, "a"));
        lanes.add(event(5, "a"));
        assert!(take(&mut lanes, 0).is_none(), "one at a time");
        lanes.delivered(&on_its_way);
        let order: Vec<u64> = std::iter::from_fn(|| {
            let next = take(&mut lanes, 0)?;
            lanes.delivered(&next);
            Some(next.at.index)
        })
        .collect();
        assert_eq!(order, [2, 7]);
        assert_eq!((lanes.len(), lanes.all().count()), (0, 0));
        lanes.add(event(9, "a"));
        let failed = take(&mut lanes, 0).unwrap();
        lanes.again(&failed, 1_000);
        lanes.add(event(8, "a"));
        assert_eq!(take(&mut lanes, 0).unwrap().at.index, 8);
    }

    #[test]
    fn hurrying_makes_due_what_waits() {
        let mut lanes = lanes(&[(0, "a"), (1, "b")]);
        let a = take(&mut lanes, 0).unwrap();
        lanes.again(&a, 9_000);
        let b = take(&mut lanes, 0).unwrap();
        lanes.hurry();
        assert_eq!(take(&mut lanes, 0).unwrap().at, a.at);
        assert!(take(&mut lanes, 0).is_none());
        lanes.delivered(&b);
        assert_eq!(lanes.len(), 1);
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        for (attempts, least, most) in [
            (1, 501, 1_000),
            (2, 1_001, 2_000),
            (5, 8_001, 16_000),
            (12, 1_024_001, 2_048_000),
            (13, LONGEST / 2 + 1, LONGEST),
            (64, LONGEST / 2 + 1, LONGEST),
            (u32::MAX, LONGEST / 2 + 1, LONGEST),
        ] {
            for jitter in [0, 1, 499, u64::MAX / 3, u64::MAX] {
                let pause = pause(attempts, jitter);
                assert!(
                    (least..=most).contains(&pause),
                    "{attempts} {jitter}: {pause}"
                );
            }
        }
    }
}
