//! The gateway's time: never before what was last recorded, and distrusted when it jumps.
//!
//! In scope: reading the system's clock, comparing it with the monotonic one.
//! Out of scope: what happens at a time; the core gets it as an argument.
//! Invariant: [`Clock::now`] never goes backwards, over restarts included. While the clock is
//! behind the record or has jumped, [`Clock::fault`] says so and no claim is granted.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Instant, SystemTime},
};

use countersign_core::time::Timestamp;

/// How far behind the last record the clock may be, in milliseconds.
const MAX_BEHIND: i64 = 5_000;
/// How far the clock may run from the monotonic clock, in milliseconds.
const MAX_JUMP: i64 = 60_000;

/// The one clock of a gateway.
pub struct Clock {
    last: AtomicI64,
    started: Instant,
    started_at: i64,
    behind: AtomicBool,
}

fn system_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    /// A clock that starts at the later of the system's time and the last recorded time.
    #[must_use]
    pub fn starting_after(last_recorded: Timestamp) -> Self {
        let started_at = system_millis();
        Self {
            last: AtomicI64::new(last_recorded.0),
            started: Instant::now(),
            started_at,
            behind: AtomicBool::new(started_at < last_recorded.0.saturating_sub(MAX_BEHIND)),
        }
    }

    /// The time now, at or after every time given before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let system = system_millis();
        let before = self.last.fetch_max(system, Ordering::AcqRel);
        self.behind.store(
            system < before.saturating_sub(MAX_BEHIND),
            Ordering::Release,
        );
        Timestamp(before.max(system))
    }

    /// Why the clock can't be trusted, in words; `None` when it can.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let now = self.now();
        if self.behind.load(Ordering::Acquire) {
            return Some(format!(
                "the system clock is more than 5 s behind the last record ({now}); set it right"
            ));
        }
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let jump = system_millis().saturating_sub(self.started_at.saturating_add(elapsed));
        (jump.abs() > MAX_JUMP).then(|| {
            format!(
                "the system clock has jumped by {} s since the gateway started; set it right or, \
                 if it is right now, restart the gateway",
                jump / 1_000
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_says_when_it_is_behind() {
        let future = Timestamp(system_millis() + 60_000);
        let clock = Clock::starting_after(future);
        assert_eq!(clock.now(), future);
        assert!(clock.fault().is_some_and(|text| text.contains("behind")));
        let clock = Clock::starting_after(Timestamp(0));
        assert!(clock.now() <= clock.now());
        assert_eq!(clock.fault(), None);
    }
}
