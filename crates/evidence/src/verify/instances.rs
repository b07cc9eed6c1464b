//! Completeness: whether every gateway process's records are all there.
//!
//! In scope: sequence and chain of each instance, heartbeats, that a log begins in another's place
//! only with its first record.
//! Out of scope: the last records of an instance that never recorded anything again; the next
//! instance's start and the checkpoints bound what can be missing there.
//! Invariant: after a gap is reported, checking goes on from the record that was found.

use std::collections::HashMap;

use countersign_core::canonical::Hash;

use super::Problem;
use crate::{
    body::{Body, Counters},
    leaf::{Leaf, NO_PREVIOUS},
};

#[derive(Debug)]
struct Instance {
    next: u64,
    previous: Hash,
    counted: Counters,
    heartbeat: Counters,
}

/// Every instance seen so far.
#[derive(Debug, Default)]
pub(super) struct Instances {
    known: HashMap<Box<str>, Instance>,
}

impl Instances {
    pub(super) fn apply(
        &mut self,
        leaf: &Leaf,
        hash: Hash,
        index: u64,
        problems: &mut Vec<Problem>,
    ) {
        let name = || leaf.instance.clone();
        let is_start = matches!(leaf.body, Body::InstanceStarted(_) | Body::EpochStarted(_));
        if !self.known.contains_key(&leaf.instance) {
            if !is_start {
                problems.push(Problem::StartMissing { instance: name() });
            }
            let first = Instance {
                next: 0,
                previous: NO_PREVIOUS,
                counted: Counters::default(),
                heartbeat: Counters::default(),
            };
            self.known.insert(name(), first);
        } else if is_start {
            problems.push(Problem::StartedTwice { instance: name() });
        }
        let Some(instance) = self.known.get_mut(&leaf.instance) else {
            return;
        };
        if leaf.seq != instance.next {
            let (expected, found) = (instance.next, leaf.seq);
            problems.push(Problem::SequenceGap {
                instance: name(),
                expected,
                found,
            });
        }
        if leaf.prev != instance.previous {
            problems.push(Problem::PreviousMismatch { instance: name() });
        }
        instance.next = leaf.seq.saturating_add(1);
        instance.previous = hash;
        instance.counted.count(&leaf.body);
        match &leaf.body {
            Body::InstanceStarted(start) if start.checkpoint_size > index => {
                problems.push(Problem::StartBeyondLog {
                    size: start.checkpoint_size,
                });
            }
            Body::EpochStarted(epoch) => problems.push(match index {
                0 => Problem::EpochBegan {
                    former: epoch.former.clone(),
                    kept: epoch.kept.size,
                    missing: epoch.missing,
                },
                _ => Problem::EpochInside,
            }),
            Body::Heartbeat(heartbeat) => instance.compare(*heartbeat, problems),
            _ => {}
        }
    }
}

impl Instance {
    fn compare(&mut self, heartbeat: Counters, problems: &mut Vec<Problem>) {
        let before = self.heartbeat.named();
        let found = self.counted.named();
        for (((counter, now), (_, before)), (_, found)) in
            heartbeat.named().into_iter().zip(before).zip(found)
        {
            if now < before {
                problems.push(Problem::CounterWentBack {
                    counter,
                    before,
                    now,
                });
            }
            if now > found {
                problems.push(Problem::CounterExceedsLog {
                    counter,
                    claimed: now,
                    found,
                });
            }
        }
        self.heartbeat = heartbeat;
    }
}
