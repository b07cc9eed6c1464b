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

use countersign_core::time::Span;
use governor::{DefaultKeyedRateLimiter, Quota};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Wish},
    status::Status,
};
use crate::{api::Api, identity::account::ChatAccount};

/// How far from now what a chat sends may have been sent, in seconds.
pub(super) const FRESH: i64 = 300;
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
            since: api.gateway.clock.now().0 / 1_000,
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
        let now = self.api.gateway.clock.now().0 / 1_000;
        if now.saturating_sub(seconds).saturating_abs() > FRESH {
            return Err("it is too old, or from the future");
        }
        match seconds <= self.since {
            true => Err("it was sent before this gateway started, and may have been taken then"),
            false => Ok(()),
        }
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
