//! What somebody else said, kept for a while.
//!
//! In scope: one question at a time, however many wait for its answer; not asking again at once where
//! there was none.
//! Invariant: whoever only looks waits for nobody. Many who want the same cause one question, and when
//! that fails they all fail with it.

use std::{
    future::Future,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio::sync::Mutex;

/// How long nobody is asked again who did not answer.
const PAUSE: Duration = Duration::from_secs(3);

/// A value that is fetched.
pub(crate) struct Kept<T> {
    value: RwLock<Option<(Instant, T)>>,
    /// Whoever asks holds it, with when asking failed last.
    asking: Mutex<Option<Instant>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: RwLock::default(),
            asking: Mutex::default(),
        }
    }
}

impl<T: Clone> Kept<T> {
    /// The value, unless it is older than that.
    pub(super) fn fresh(&self, age: Duration) -> Option<T> {
        let kept = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.as_ref().filter(|(since, _)| since.elapsed() < age);
        fresh.map(|(_, value)| value.clone())
    }

    /// The value if `good` finds it so, or what `fetch` gives in its place.
    ///
    /// # Errors
    /// It can't be had, or could not a moment ago.
    pub(crate) async fn get<F: Future<Output = anyhow::Result<T>> + Send>(
        &self,
        good: impl Fn(Duration, &T) -> bool + Send + Sync,
        fetch: impl FnOnce() -> F + Send,
    ) -> anyhow::Result<T> {
        if let Some(value) = self.good(&good) {
            return Ok(value);
        }
        let mut failed = self.asking.lock().await;
        if let Some(value) = self.good(&good) {
            return Ok(value);
        }
        if failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            bail!("it could not be asked a moment ago");
        }
        match fetch().await {
            Ok(value) => {
                let kept = Some((Instant::now(), value.clone()));
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = kept;
                *failed = None;
                Ok(value)
            }
            Err(error) => {
                *failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// The value if `good` finds it so.
    pub(super) fn good(&self, good: &impl Fn(Duration, &T) -> bool) -> Option<T> {
        let kept = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept
            .as_ref()
            .filter(|(since, value)| good(since.elapsed(), value));
        found.map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// Twenty who want the value at once, of a source that answers after a while.
    async fn twenty(works: bool) -> (u32, u32) {
        let (kept, asked) = (Arc::new(Kept::default()), Arc::new(AtomicU32::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (kept, asked) = (kept.clone(), asked.clone());
            all.spawn(async move {
                let fetch = async || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if works { Ok(7) } else { bail!("silent") }
                };
                kept.get(|_, _| true, fetch).await.is_ok()
            });
        }
        let got = all.join_all().await.into_iter().filter(|ok| *ok).count();
        (asked.load(Ordering::SeqCst), u32::try_from(got).unwrap())
    }

    #[tokio::test]
    async fn many_cause_one_question_and_share_its_answer() {
        assert_eq!(twenty(true).await, (1, 20));
        assert_eq!(twenty(false).await, (1, 0));
    }

    #[tokio::test]
    async fn what_is_no_good_any_more_is_fetched_anew() {
        let kept = Kept::default();
        assert_eq!(kept.fresh(Duration::from_secs(9)), None);
        for (good, expected) in [(true, 1), (true, 1), (false, 3)] {
            let found = kept.get(|_, _| good, async || Ok(expected)).await.unwrap();
            assert_eq!(found, expected);
        }
        assert_eq!(kept.fresh(Duration::from_secs(9)), Some(3));
        assert_eq!(kept.fresh(Duration::ZERO), None);
    }
}
