//! What every chat has: its name, whom it believes, what it took already.
//!
//! In scope: doing a thing once, bounds on what one account can cause, wishes for the keeper of cards.
//! Out of scope: what a kind of chat says and takes.
//! Invariant: nothing is acted upon twice while it is remembered; what was sent before that is for the
//! chat to refuse by its age.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use countersign_core::time::{Span, Timestamp};
use governor::{DefaultKeyedRateLimiter, Quota};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Wish};
use crate::{api::Api, identity::account::ChatAccount, status::Status};

/// How long ago what a chat sends may have been sent, in seconds.
pub(super) const FRESH: i64 = 300;
/// How far the clock of a chat may be ahead, in seconds. It is also how long after a start nothing is taken
/// that was sent then: it may have been taken before the start.
pub(super) const AHEAD: i64 = 5;
/// How long what was taken is remembered; what was sent earlier is refused for its age.
const REMEMBERED: Duration = Duration::from_secs(900);
/// What is remembered before what is older is let go.
const REMEMBERED_AT_LEAST: usize = 1_000;
/// Codes that one account can try in a minute.
const CODES: u32 = 5;
/// How often one account is told in a minute what was refused.
const TOLD: u32 = 20;
/// Wishes that wait at once.
const WISHES: usize = 1_000;

/// How a kind of chat is called, and how people link an account there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Its name, like `Slack`.
    pub(super) name: &'static str,
    /// What somebody writes to link an account, with `CODE` for the code.
    pub(super) to_link: &'static str,
}

/// One workspace.
pub(super) struct Chat {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    /// The workspace or tenant.
    pub(super) team: String,
    /// How long ago, at most, somebody whom a provider signs in has to have signed in.
    pub(super) signed_in_within: Span,
    pub(super) api: Api,
    pub(super) board: Board,
    wishes: mpsc::Sender<Wish>,
    taken: Mutex<BTreeMap<String, (Instant, Option<Value>)>>,
    codes: DefaultKeyedRateLimiter<String>,
    told: DefaultKeyedRateLimiter<String>,
    /// What was taken before this is not remembered, so that what was sent before it is refused.
    since: i64,
    pub(super) status: Arc<Status>,
    pub(super) stop: CancellationToken,
}

impl Chat {
    /// A chat, and the wishes that its keeper takes.
    pub(super) fn new(
        api: &Api,
        (kind, name): (Kind, &str),
        (team, signed_in_within): (&str, Span),
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, wished) = mpsc::channel(WISHES);
        let a_minute = |times| {
            let times = NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN);
            DefaultKeyedRateLimiter::keyed(Quota::per_minute(times))
        };
        let chat = Self {
            kind,
            name: name.into(),
            team: team.into(),
            signed_in_within,
            api: api.clone(),
            board: Board::new(api.gateway.clone(), name),
            wishes,
            taken: Mutex::default(),
            codes: a_minute(CODES),
            told: a_minute(TOLD),
            since: since(api.gateway.clock.now()),
            status,
            stop,
        };
        (chat, wished)
    }

    /// Hands a wish to the keeper. What finds no room comes with the next look at everything.
    pub(super) fn wish(&self, wish: Wish) {
        if let Err(error) = self.wishes.try_send(wish) {
            let chat = self.kind.name;
            tracing::warn!(%error, "{chat} is too slow for what is asked of it");
        }
    }

    pub(super) fn may_try_code(&self, user: &str) -> bool {
        self.codes.check_key(&user.to_owned()).is_ok()
    }

    pub(super) fn may_tell(&self, user: &str) -> bool {
        self.told.check_key(&user.to_owned()).is_ok()
    }

    /// An account of the workspace.
    pub(super) fn account(&self, user: &str) -> ChatAccount {
        ChatAccount {
            channel: self.name.to_string(),
            team: self.team.clone(),
            user: user.into(),
        }
    }

    /// Refuses what was sent too long ago, in the future, or before this can know that it was taken.
    ///
    /// # Errors
    /// Which of these.
    pub(super) fn check_sent(&self, seconds: i64) -> Result<(), &'static str> {
        let now = self.api.gateway.clock.now();
        check_sent(seconds, now, self.since)
    }

    /// Notes that something is taken up, or gives what was answered when it was taken before.
    pub(super) fn begin(&self, once: &str) -> Option<Option<Value>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = taken.get(once) {
            return Some(answer.clone());
        }
        if taken.len() >= REMEMBERED_AT_LEAST {
            taken.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        taken.insert(once.to_owned(), (Instant::now(), None));
        None
    }

    /// Keeps what was answered, for whoever sends the same again.
    pub(super) fn answered(&self, once: String, answer: Option<Value>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(once, (Instant::now(), answer));
    }
}

/// Until when what was sent may have been taken before a start, in seconds.
fn since(start: Timestamp) -> i64 {
    (start.0 / 1_000).saturating_add(AHEAD)
}

fn check_sent(seconds: i64, now: Timestamp, since: i64) -> Result<(), &'static str> {
    let now = now.0 / 1_000;
    if now.saturating_sub(seconds) > FRESH {
        return Err("it is too old");
    }
    if seconds.saturating_sub(now) > AHEAD {
        return Err("it is from the future: compare this machine's clock");
    }
    match seconds <= since {
        true => Err(
            "it was sent before this gateway started or just then, and may have been taken before",
        ),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    //! What is taken by when it was sent.
    //!
    //! In scope: ages, clocks that are ahead, starts.
    //! Out of scope: what was taken since the start.
    //! Invariant: nothing that could be taken before a start can be taken after it.

    use super::*;

    #[test]
    fn nothing_taken_before_a_start_is_taken_after_it() {
        let at = |seconds: i64| Timestamp(seconds * 1_000 + 999);
        let long_ago = since(at(0));
        for sent in 0..40_000 {
            if check_sent(sent, at(20_000), long_ago).is_ok() {
                for started in [at(20_000), at(20_001), at(20_004)] {
                    for later in 0..400 {
                        let now = Timestamp(started.0 + later * 1_000);
                        let taken = check_sent(sent, now, since(started));
                        assert!(taken.is_err(), "{sent} {started:?} {later}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_was_sent_lately_is_taken() {
        let (now, since) = (Timestamp(20_000_000), since(Timestamp(1_000_000)));
        for (sent, taken) in [
            (19_699, false),
            (19_700, true),
            (20_000, true),
            (20_005, true),
            (20_006, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            assert_eq!(check_sent(sent, now, since).is_ok(), taken, "{sent}");
        }
        let started = Timestamp(20_000_000);
        let soon = Timestamp(20_006_000);
        let taken = |sent| check_sent(sent, soon, super::since(started)).is_ok();
        assert!(!taken(20_005) && taken(20_006));
    }
}
