//! Counting what becomes durable, for whoever monitors.
//!
//! In scope: requests by gate and decision, votes, outcomes, refusals, how long people took, how
//! long the disk took.
//! Out of scope: how it is shown; what one installation did before this process.
//! Invariant: only durable records count, and nothing is decided from a count. No name of a
//! subject, request or target is kept longer than the request waits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_core::{id::RequestId, time::Timestamp};
use countersign_evidence::{
    body::{Body, Decision, OutcomeStatus, Phase, Verdict},
    leaf::Leaf,
};

/// The most waiting requests of which it is known since when they wait.
const WAITING: usize = 200_000;
/// The most codes of refusals and gates that are told apart.
const WORDS: usize = 200;
/// What the others count as.
const OTHER: &str = "other";

/// How often something took how long.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Upper bounds in seconds.
    pub bounds: &'static [f64],
    /// How many were at most as long as each bound, and longer than the one before.
    pub counts: Vec<u64>,
    /// How many there were.
    pub count: u64,
    /// How long all took together, in seconds.
    pub sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            count: 0,
            sum: 0.0,
        }
    }

    fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// Every count.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Answers of policy by gate, when it was asked, and what it said.
    pub decisions: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Votes for and against.
    pub votes: BTreeMap<&'static str, u64>,
    /// Outcomes by status.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Requests that ended without running, by reason.
    pub closed: BTreeMap<String, u64>,
    /// Refused attempts by code.
    pub refused: BTreeMap<String, u64>,
    /// Security events by code.
    pub security: BTreeMap<String, u64>,
    /// From being asked to being permitted or closed, of what was held.
    pub waited: Histogram,
    /// Writing one batch of records through to the disk.
    pub synced: Histogram,
    waiting: HashMap<RequestId, (Timestamp, String)>,
}

/// What was counted since the start.
#[derive(Debug)]
pub struct Tally(Mutex<Counts>);

impl Default for Tally {
    fn default() -> Self {
        Self(Mutex::new(Counts {
            decisions: BTreeMap::new(),
            votes: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            closed: BTreeMap::new(),
            refused: BTreeMap::new(),
            security: BTreeMap::new(),
            waited: Histogram::new(&[
                1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0,
            ]),
            synced: Histogram::new(&[
                0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
            ]),
            waiting: HashMap::new(),
        }))
    }
}

impl Tally {
    /// A copy of what was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What waits can be much, and the log's writer waits for this lock.
        let waiting = std::mem::take(&mut counts.waiting);
        let copy = counts.clone();
        counts.waiting = waiting;
        copy
    }

    /// Counts a batch that is durable now.
    pub(super) fn note<'a>(&self, leaves: impl Iterator<Item = &'a Leaf>, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.synced.note(took);
        leaves.for_each(|leaf| counts.leaf(leaf));
    }
}

fn add(counts: &mut BTreeMap<String, u64>, word: &str) {
    let known = counts.contains_key(word) || counts.len() < WORDS;
    let word = if known { word } else { OTHER };
    *counts.entry(word.to_owned()).or_default() += 1;
}

impl Counts {
    fn leaf(&mut self, leaf: &Leaf) {
        let request = leaf.request.as_ref().map(|within| &within.id);
        match &leaf.body {
            Body::ActionRequested(asked) => {
                if let Some(request) = request.filter(|_| self.waiting.len() < WAITING) {
                    let since = (leaf.at, asked.gate.clone());
                    self.waiting.insert(request.clone(), since);
                }
            }
            Body::PolicyDecided(decided) => {
                let first = decided.phase == Phase::Request;
                self.decided(request, first, decided.decision);
            }
            Body::ApprovalDecided(vote) => {
                let word = match vote.verdict {
                    Verdict::Approve if vote.emergency => "lift",
                    Verdict::Approve => "approve",
                    Verdict::Deny => "deny",
                };
                *self.votes.entry(word).or_default() += 1;
            }
            Body::ActionPermitted(_) => self.waited(request, leaf.at),
            Body::RequestClosed(closed) => {
                self.waited(request, leaf.at);
                let word = serde_json::to_value(closed.why).unwrap_or_default();
                add(&mut self.closed, word.as_str().unwrap_or(OTHER));
            }
            Body::ActionOutcome(outcome) => {
                let word = match outcome.status {
                    OutcomeStatus::Succeeded => "succeeded",
                    OutcomeStatus::Failed => "failed",
                    OutcomeStatus::Unknown => "unknown",
                };
                *self.outcomes.entry(word).or_default() += 1;
            }
            Body::Refused(refused) => add(&mut self.refused, &refused.code),
            Body::SecurityEvent(event) => add(&mut self.security, &event.code),
            _ => {}
        }
    }

    fn decided(&mut self, request: Option<&RequestId>, first: bool, decision: Decision) {
        let waiting = request.and_then(|request| self.waiting.get(request));
        // What waited when the process started came through a gate that is not known any more.
        let gate = waiting.map_or(OTHER, |(_, gate)| gate.as_str()).to_owned();
        let (word, waits) = match decision {
            Decision::Permit => ("permit", false),
            Decision::Hold => ("hold", true),
            Decision::Deny => ("deny", false),
        };
        if let Some(request) = request.filter(|_| first && !waits) {
            self.waiting.remove(request);
        }
        let phase = if first { "request" } else { "claim" };
        *self.decisions.entry((gate, phase, word)).or_default() += 1;
    }

    fn waited(&mut self, request: Option<&RequestId>, at: Timestamp) {
        let since = request.and_then(|request| self.waiting.remove(request));
        if let Some((since, _)) = since {
            let millis = u64::try_from(at.millis_since(since)).unwrap_or(0);
            self.waited.note(Duration::from_millis(millis));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_once() {
        let mut histogram = Histogram::new(&[1.0, 5.0]);
        for millis in [0, 1_000, 1_001, 5_000, 60_000] {
            histogram.note(Duration::from_millis(millis));
        }
        assert_eq!((histogram.counts, histogram.count), (vec![2, 2], 5));
        assert!((histogram.sum - 67.001).abs() < 1e-9);
    }

    #[test]
    fn words_are_bounded() {
        let mut counts = BTreeMap::new();
        (0..WORDS * 2).for_each(|n| add(&mut counts, &n.to_string()));
        assert_eq!(counts.len(), WORDS + 1);
        assert_eq!(counts.values().sum::<u64>(), WORDS as u64 * 2);
    }
}
