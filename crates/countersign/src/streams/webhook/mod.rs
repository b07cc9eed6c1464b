//! CloudEvents posted to somebody, signed as Standard Webhooks.
//!
//! In scope: taking events from the log, having them sent, noting what became of them.
//! Out of scope: their order ([`lanes`]), their form ([`event`]), posting one ([`post`]).
//! Invariant: what was taken from the log is delivered, given up visibly, or noted as waiting with
//! its record; so a crash repeats events and loses none. No content is kept: what waits is read
//! from the journal again.

mod dead;
mod event;
mod lanes;
mod post;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_policy::stream::Webhook;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

pub use self::dead::DeadLetter;
use self::{
    dead::Dead,
    lanes::{Lanes, Pending},
    post::{Answer, Receiver},
};
use super::{
    Own, Parts, blocking,
    follow::{Before, Journal, Place},
    keep, lock,
    view::View,
};
use crate::{keys, log::End};

/// Events on their way at once.
const AT_ONCE: usize = 8;
/// The most events that are taken from the log and not delivered; more stay in the log.
const WAITING: usize = 10_000;
/// The most events that are given up; more stay in the log until somebody looks.
const DEAD: u64 = 100_000;
/// How often what became of events is noted.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// How long events on their way have when the stream is ended.
const GRACE: Duration = Duration::from_secs(3);
/// So many failures one after another mean that the receiver does not work.
const BROKEN: u32 = 3;

/// What is kept of the stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The next record to take.
    next: Place,
    /// The one before it.
    before: Option<Before>,
    /// Records that were taken and not delivered.
    pending: Vec<Pending>,
}

/// What sending one event takes.
struct Sending {
    journal: Mutex<Journal>,
    view: Mutex<View>,
    receiver: Receiver,
    parts: Parts,
}

/// The stream at work.
struct Sender {
    sending: Arc<Sending>,
    lanes: Lanes,
    next: Place,
    before: Option<Before>,
    dead: u64,
    own: PathBuf,
    retry_for: i64,
    flying: JoinSet<(Pending, anyhow::Result<Answer>)>,
    started: Instant,
    /// Nothing is sent before.
    not_before: u64,
    /// The receiver wants nothing more.
    gone: bool,
    /// Failures since the last success.
    failures: u32,
    /// When what became of events must be noted.
    note_at: Option<Instant>,
}

/// Events that the stream `name` gave up.
pub(super) fn dead_letters(
    data: &Path,
    name: &str,
    limit: usize,
) -> anyhow::Result<Vec<DeadLetter>> {
    Dead::of(&data.join("streams").join(name)).read(limit)
}

/// Follows the record until told to stop.
///
/// # Errors
/// Journal, files, secret or receiver can't be used; trying again is safe.
pub(super) async fn follow(parts: &Parts, own: &mut Own, webhook: &Webhook) -> anyhow::Result<()> {
    let mut ends = parts.log.end();
    let mut sender = {
        let (parts, webhook) = (parts.clone(), webhook.clone());
        let (name, stream) = (own.name.clone(), own.stream.clone());
        let end = *ends.borrow();
        blocking(move || Sender::open(parts, &name, &stream, &webhook, end)).await?
    };
    if std::mem::take(&mut own.asked) {
        sender.retry().await?;
    }
    let ended = sender.run(own, &mut ends).await;
    // What was delivered meanwhile need not be sent again.
    let until = Instant::now() + GRACE;
    while let Ok(Some(done)) = tokio::time::timeout_at(until, sender.flying.join_next()).await {
        sender.done(own, done?).await?;
    }
    sender.note().await?;
    ended
}

impl Sender {
    fn open(
        parts: Parts,
        name: &str,
        stream: &countersign_policy::Stream,
        webhook: &Webhook,
        end: End,
    ) -> anyhow::Result<Self> {
        let own = keep::directory(&parts.data, name)?;
        let receiver = Receiver::new(webhook, &parts.config)?;
        let mut journal = Journal::open(&parts.log_dir, &parts.keys)?;
        let path = own.join("webhook.json");
        let state = match keep::read::<State>(&path)? {
            Some(state) => state,
            None => {
                let state = State {
                    next: super::beginning(stream.start, end),
                    before: None,
                    pending: Vec::new(),
                };
                keep::replace(&path, &state)?;
                state
            }
        };
        journal.check(state.next, state.before.as_ref(), end.bytes)?;
        let mut lanes = Lanes::default();
        state.pending.into_iter().for_each(|one| lanes.add(one));
        let dead = Dead::of(&own).read(usize::MAX)?.len();
        let sending = Sending {
            journal: Mutex::new(journal),
            view: Mutex::new(View::new(stream.details)),
            receiver,
            parts,
        };
        Ok(Self {
            sending: Arc::new(sending),
            lanes,
            next: state.next,
            before: state.before,
            dead: u64::try_from(dead)?,
            own,
            retry_for: webhook.retry_for.as_millis(),
            flying: JoinSet::new(),
            started: Instant::now(),
            not_before: 0,
            gone: false,
            failures: 0,
            note_at: None,
        })
    }

    /// Time as the lanes know it.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn run(
        &mut self,
        own: &mut Own,
        ends: &mut tokio::sync::watch::Receiver<End>,
    ) -> anyhow::Result<()> {
        loop {
            let end = *ends.borrow_and_update();
            let more = self.fill(end).await?;
            self.show(own);
            self.send().await?;
            if self.note_at.is_some_and(|at| at <= Instant::now()) {
                self.note().await?;
            }
            if more && self.has_room() {
                continue;
            }
            let wake = self.wake();
            tokio::select! {
                () = own.stop.cancelled() => return Ok(()),
                Some(done) = self.flying.join_next() => self.done(own, done?).await?,
                changed = ends.changed(), if self.has_room() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                _ = own.again.recv() => self.retry().await?,
                () = sleep_until(wake) => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.gone && self.lanes.len() < WAITING && self.dead < DEAD
    }

    /// When there is something to do even if nothing happens.
    fn wake(&self) -> Option<Instant> {
        let sendable = !self.gone && self.flying.len() < AT_ONCE;
        let due = self.lanes.next_due().filter(|_| sendable);
        let due = due.map(|due| self.started + Duration::from_millis(due.max(self.not_before)));
        due.into_iter().chain(self.note_at).min()
    }

    /// Takes more from the log. Whether there was any.
    async fn fill(&mut self, end: End) -> anyhow::Result<bool> {
        if !self.has_room() || self.next.offset >= end.bytes {
            return Ok(false);
        }
        let (sending, from) = (self.sending.clone(), self.next);
        let (entries, next) =
            blocking(move || lock(&sending.journal).read(from, end.bytes)).await?;
        let taken = self.sending.parts.clock.now().0;
        for entry in entries.iter().filter(|one| event::is_told(&one.leaf.body)) {
            let within = entry.leaf.request.as_ref();
            self.lanes.add(Pending {
                at: entry.at,
                lane: within.map_or_else(String::new, |within| within.id.to_string()),
                taken,
                attempts: 0,
            });
        }
        if let Some(last) = entries.last() {
            self.before = Some(Before::of(last));
            self.next = next;
            self.changed();
        }
        Ok(!entries.is_empty())
    }

    /// Has what is due sent, a few at once.
    async fn send(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        if self.gone || now < self.not_before {
            return Ok(());
        }
        while self.flying.len() < AT_ONCE && self.lanes.next_due().is_some_and(|due| due <= now) {
            // Without a secret nothing is tried, so that no event is given up for it.
            let secret = self.sending.receiver.secret().await?;
            let Some(pending) = self.lanes.take(now) else {
                return Ok(());
            };
            let sending = self.sending.clone();
            self.flying.spawn(async move {
                let answer = sending.post(&pending, &secret).await;
                (pending, answer)
            });
        }
        Ok(())
    }

    /// Notes what became of an attempt.
    async fn done(
        &mut self,
        own: &Own,
        (pending, answer): (Pending, anyhow::Result<Answer>),
    ) -> anyhow::Result<()> {
        self.changed();
        match answer? {
            Answer::Delivered => {
                self.lanes.delivered(&pending);
                self.failures = 0;
                let now = self.sending.parts.clock.now();
                own.status.delivered(self.next.index, 1, now);
            }
            Answer::Gone => {
                self.gone = true;
                self.lanes.again(&pending, self.now());
                own.status.update(|state| state.failed += 1);
                own.status.wrong(format!(
                    "the receiver answered 410: it wants nothing more. Remove the stream, or go on \
                     with `countersign stream retry {}`",
                    own.name
                ));
            }
            Answer::Failed { why, after, all } => {
                own.status.update(|state| state.failed += 1);
                self.failures = self.failures.saturating_add(1);
                if self.failures >= BROKEN {
                    own.status
                        .wrong(format!("the receiver does not take events: {why}"));
                }
                self.failed(own, &pending, &why, after, all).await?;
            }
        }
        self.show(own);
        Ok(())
    }

    async fn failed(
        &mut self,
        own: &Own,
        pending: &Pending,
        why: &str,
        after: Option<Duration>,
        all: bool,
    ) -> anyhow::Result<()> {
        let now = self.sending.parts.clock.now();
        if now.0.saturating_sub(pending.taken) >= self.retry_for {
            let letter = DeadLetter::of(pending, now.0, why);
            let path = self.own.clone();
            // A crash after this line has the event tried again, and listed as given up.
            blocking(move || Dead::of(&path).add(&letter)).await?;
            self.lanes.given_up(pending);
            self.dead += 1;
            let index = pending.at.index;
            tracing::warn!(stream = own.name, index, why, "an event was given up");
            return Ok(());
        }
        let random = keys::random()?;
        let jitter = random.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let asked = after.map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(0));
        let due = self.now() + lanes::pause(pending.attempts, jitter).max(asked);
        self.lanes.again(pending, due);
        if all {
            self.not_before = self.not_before.max(self.now() + asked);
        }
        Ok(())
    }

    /// Has everything tried at once, what was given up included.
    async fn retry(&mut self) -> anyhow::Result<()> {
        let path = self.own.clone();
        let letters = blocking(move || Dead::of(&path).read(usize::MAX)).await?;
        let now = self.sending.parts.clock.now().0;
        for letter in letters {
            self.lanes.add(letter.again(now));
        }
        (self.gone, self.not_before, self.failures) = (false, 0, 0);
        self.lanes.hurry();
        // A crash between the two has them tried again, and listed as given up.
        self.note().await?;
        let path = self.own.clone();
        blocking(move || Dead::of(&path).empty()).await?;
        self.dead = 0;
        Ok(())
    }

    fn changed(&mut self) {
        self.note_at
            .get_or_insert_with(|| Instant::now() + NOTE_EVERY);
    }

    /// Notes how far it got and what waits.
    async fn note(&mut self) -> anyhow::Result<()> {
        let state = State {
            next: self.next,
            before: self.before,
            pending: self.lanes.all().cloned().collect(),
        };
        let path = self.own.join("webhook.json");
        blocking(move || keep::replace(&path, &state)).await?;
        self.note_at = None;
        Ok(())
    }

    fn show(&self, own: &Own) {
        own.status.update(|state| {
            state.next = self.next.index;
            state.waiting = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX);
            state.dead = self.dead;
        });
        if self.dead >= DEAD {
            own.status.wrong(format!(
                "{DEAD} events were given up; `countersign stream retry {}` tries them again",
                own.name
            ));
        }
    }
}

impl Sending {
    async fn post(
        self: &Arc<Self>,
        pending: &Pending,
        secret: &countersign_runner::vault::Secret,
    ) -> anyhow::Result<Answer> {
        let (sending, at) = (self.clone(), pending.at);
        let (id, body) = blocking(move || {
            let entry = lock(&sending.journal).one(at)?;
            let parts = &sending.parts;
            let mut view = lock(&sending.view);
            let directory = parts.active.borrow().directory.clone();
            view.refresh(&directory, &parts.keys.pseudonyms);
            let origin = parts.keys.log.verifying().name();
            let event = event::event(&entry, origin, &view);
            Ok((event::id(&entry), serde_json::to_vec(&event)?))
        })
        .await?;
        let now = self.parts.clock.now().0.div_euclid(1_000);
        Ok(self.receiver.post(secret, &id, body, now).await)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
