//! What keeps a job from being answered for now, and when that is tried again.
//!
//! In scope: pauses.
//! Out of scope: what is tried.
//! Invariant: what fails for long is tried seldom, and never sooner than the other side wants.

use std::time::Duration;

use tokio::time::Instant;

use super::github::Failure;

/// The first pause after something failed, and the longest.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same between looks at what can wait.
const LOOKS: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));
/// What keeps a job from being answered for now.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) after: Option<Duration>,
    /// Whether somebody has to know.
    pub(super) fault: bool,
}

impl Trouble {
    pub(super) fn says(why: String) -> Self {
        let (after, fault) = (None, true);
        Self { why, after, fault }
    }

    /// What nobody has to do anything about.
    pub(super) fn passing(why: String) -> Self {
        let (after, fault) = (None, false);
        Self { why, after, fault }
    }

    /// The same, as what GitHub did not take.
    pub(super) fn into_failure(self) -> Failure {
        Failure::Later {
            why: self.why,
            after: self.after,
            maybe: false,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Later { why, after, .. } => Self {
                after,
                ..Self::says(why)
            },
            Failure::Hindered(why) | Failure::Refused { why, .. } => Self::says(why),
        }
    }
}

/// How long to wait after each failure.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(PAUSES)
    }
}

impl Backoff {
    fn between((pause, most): (Duration, Duration)) -> Self {
        Self { pause, most }
    }

    /// The next pause; at least what the other side wants.
    pub(super) fn next(&mut self, wanted: Option<Duration>) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.most);
        wanted.map_or(pause, |wanted| wanted.max(PAUSES.0))
    }
}

/// Something that is done again, less and less often.
pub(super) struct Again {
    pub(super) at: Instant,
    backoff: Backoff,
}

impl Again {
    pub(super) fn new(first: Duration) -> Self {
        Self {
            at: Instant::now() + first,
            backoff: Backoff::between(LOOKS),
        }
    }

    /// Puts it off, at least as long as the other side wants.
    pub(super) fn later(&mut self, wanted: Option<Duration>) {
        let pause = self.backoff.next(None);
        self.at = Instant::now() + wanted.map_or(pause, |wanted| wanted.max(pause));
    }
}

/// What one job's follower does again while it waits.
pub(super) struct Patience {
    /// Looking whether the run still waits.
    pub(super) look: Again,
    /// Saying that people decide; not tried yet while there is none.
    pub(super) say: Option<Again>,
}

impl Patience {
    pub(super) fn new() -> Self {
        let (look, say) = (Again::new(LOOKS.0), None);
        Self { look, say }
    }

    /// Puts off saying that people decide.
    pub(super) fn say_later(&mut self, wanted: Option<Duration>) {
        let say = self.say.get_or_insert_with(|| Again::new(LOOKS.0));
        say.later(wanted);
    }

    /// When something is to be done again.
    pub(super) fn next(&self, told: bool) -> Instant {
        let say = self.say.as_ref().filter(|_| !told);
        say.map_or(self.look.at, |say| say.at.min(self.look.at))
    }
}

#[cfg(test)]
mod tests {
    //! How often something is done again.
    //!
    //! In scope: pauses.
    //! Out of scope: what is done.
    //! Invariant: what fails for long is done seldom, and never sooner than the other side wants.

    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        let mut backoff = Backoff::between(LOOKS);
        let pauses: Vec<_> = (0..7).map(|_| backoff.next(None).as_secs()).collect();
        assert_eq!(pauses, [15, 30, 60, 120, 240, 300, 300]);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(9))).as_secs(), 9);
        assert_eq!(backoff.next(None).as_secs(), 2);
        let mut again = Again::new(Duration::ZERO);
        again.later(Some(Duration::from_secs(40)));
        assert!(again.at > Instant::now() + Duration::from_secs(39));
        again.later(Some(Duration::from_secs(1)));
        assert!(again.at > Instant::now() + Duration::from_secs(29));
    }

    #[test]
    fn saying_is_not_waited_for_once_it_was_said() {
        let mut patience = Patience::new();
        let look = patience.look.at;
        patience.say = Some(Again::new(Duration::ZERO));
        assert!(patience.next(false) < look);
        assert_eq!(patience.next(true), look);
    }
}
