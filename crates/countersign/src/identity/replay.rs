//! What was shown once and counts no second time.
//!
//! In scope: remembering it for as long as it could count.
//! Out of scope: what it is, and for how long; whoever asks says so.
//! Invariant: of two who come with the same, at once or not, one is refused. When nothing more can be
//! remembered, nothing more is let in: nobody makes room by coming often.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use countersign_core::{canonical::Hash, time::Timestamp};

/// The most that is remembered at once; each takes about 60 bytes.
const MOST: usize = 200_000;

/// What was shown.
#[derive(Debug)]
pub(super) struct Shown {
    until: Mutex<HashMap<Hash, Timestamp>>,
    most: usize,
}

/// Why something does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Again {
    /// It was there before.
    #[error("it was used before")]
    Used,
    /// Too much is remembered.
    #[error("too many were used in a short time; try again in a minute")]
    Full,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            until: Mutex::default(),
            most: MOST,
        }
    }
}

impl Shown {
    /// Whether something was taken that still counts.
    pub(super) fn has(&self, what: &Hash, now: Timestamp) -> bool {
        let shown = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(what).is_some_and(|until| *until >= now)
    }

    /// Takes something that counts until then, once.
    ///
    /// # Errors
    /// It was taken before.
    pub(super) fn once(&self, what: Hash, until: Timestamp, now: Timestamp) -> Result<(), Again> {
        let mut shown = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.get(&what).is_some_and(|until| *until >= now) {
            return Err(Again::Used);
        }
        if shown.len() >= self.most {
            shown.retain(|_, until| *until >= now);
        }
        if shown.len() >= self.most {
            return Err(Again::Full);
        }
        shown.insert(what, until);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once_and_none_pushes_another_out() {
        let shown = Shown {
            most: 2,
            ..Shown::default()
        };
        let once =
            |what: &[u8], until, now| shown.once(Hash::of(what), Timestamp(until), Timestamp(now));
        assert_eq!(once(b"a", 10, 0), Ok(()));
        assert_eq!(once(b"a", 10, 10), Err(Again::Used));
        assert_eq!(once(b"b", 20, 0), Ok(()));
        for _ in 0..100 {
            assert_eq!(once(b"c", 20, 10), Err(Again::Full));
        }
        assert_eq!(once(b"a", 20, 10), Err(Again::Used));
        // What is over makes room.
        assert_eq!(once(b"c", 20, 11), Ok(()));
        assert_eq!(once(b"b", 20, 11), Err(Again::Used));
    }

    #[test]
    fn of_many_at_once_one_is_first() {
        let shown = Shown::default();
        let won = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| shown.once(Hash::of(b"x"), Timestamp(9), Timestamp(0))))
                .collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .filter(Result::is_ok)
                .count()
        });
        assert_eq!(won, 1);
    }
}
