//! Messages about records, sent to somebody.
//!
//! In scope: taking messages from the log, having them sent, noting what became of them.
//! Out of scope: their order ([`lanes`]), posting ([`client`]); which records make a message and what
//! it says, which each kind of stream knows ([`Telling`]).
//! Invariant: what was taken from the log is delivered, given up visibly, or noted as waiting with
//! its records; so a crash repeats messages and loses none. No content is kept: what waits is read
//! from the journal again.

pub(super) mod client;
mod dead;
mod lanes;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_core::time::Span;
use countersign_runner::vault::Secret;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

pub use self::dead::DeadLetter;
use self::{
    client::Answer,
    dead::{Dead, Line},
    lanes::{Lanes, Pending},
};
use super::{
    Own, Parts, blocking,
    follow::{Before, Entry, Journal, Place},
    keep, lock,
    view::View,
};
use crate::{keys, log::End};

/// Messages on their way at once.
const AT_ONCE: usize = 8;
/// How often what became of messages is noted.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// How long messages on their way have when the stream is ended.
const GRACE: Duration = Duration::from_secs(3);
/// So many failures one after another mean that the receiver does not work.
const BROKEN: u32 = 3;

/// What is told of which records, and to whom.
pub(super) trait Telling: Send + Sync + 'static {
    /// The file that keeps how far it got.
    const FILE: &'static str;
    /// The most messages that are taken from the log and not delivered; more stay in the log.
    const WAITING: usize;
    /// The most messages that are given up; more stay in the log until somebody looks.
    const DEAD: u64;

    /// Takes a record into account, in the order of the log. Where a message is due with it: the
    /// earlier records that the message is about, too.
    fn take(&self, entry: &Entry) -> Option<Vec<Place>>;

    /// The first of the records that later messages may be about.
    fn since(&self) -> Option<Place>;

    /// What proves to the receiver who tells, where that is configured.
    ///
    /// # Errors
    /// It can't be had. Nothing of it is in the message.
    fn secret(&self) -> impl Future<Output = anyhow::Result<Option<Secret>>> + Send;

    /// The message about these records; nothing where there is none to tell.
    ///
    /// # Errors
    /// A record can't be read.
    fn message(
        &self,
        about: &mut dyn Iterator<Item = anyhow::Result<Entry>>,
        origin: &str,
        view: &View,
    ) -> anyhow::Result<Option<Message>>;

    /// Posts a message at `now`, in seconds since 1970.
    fn post(
        &self,
        secret: Option<&Secret>,
        message: Message,
        now: i64,
    ) -> impl Future<Output = Answer> + Send;
}

/// What is posted.
pub(super) struct Message {
    /// What it is called, however often it is sent.
    pub(super) id: String,
    /// What it says.
    pub(super) body: Vec<u8>,
}

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
    /// The first record before `next` that later messages may be about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Place>,
}

/// What sending one message takes.
struct Sending<T> {
    journal: Mutex<Journal>,
    view: Mutex<View>,
    telling: T,
    parts: Parts,
}

/// The stream at work.
struct Sender<T> {
    sending: Arc<Sending<T>>,
    lanes: Lanes,
    /// The next record to read.
    next: Place,
    /// What is before was taken by an earlier run, and is only read again.
    resumed: Place,
    /// The record before the next one to take.
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

/// Messages that the stream `name` gave up.
pub(super) fn dead_letters(
    data: &Path,
    name: &str,
    limit: usize,
) -> anyhow::Result<Vec<DeadLetter>> {
    let dead = Dead::of(&data.join("streams").join(name)).read(limit)?;
    Ok(dead.into_iter().map(Line::letter).collect())
}

/// Follows the record until told to stop. `telling` is made of the directory that relative paths
/// start at; a message is tried for `retry_for`.
///
/// # Errors
/// Journal, files, secret or receiver can't be used; trying again is safe.
pub(super) async fn follow<T: Telling>(
    parts: &Parts,
    own: &mut Own,
    retry_for: Span,
    telling: impl FnOnce(&Path) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<()> {
    let mut ends = parts.log.end();
    let mut sender = {
        let parts = parts.clone();
        let (name, stream) = (own.name.clone(), own.stream.clone());
        let end = *ends.borrow();
        blocking(move || {
            let telling = telling(&parts.config)?;
            Sender::open(parts, &name, &stream, telling, retry_for, end)
        })
        .await?
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

impl<T: Telling> Sender<T> {
    fn open(
        parts: Parts,
        name: &str,
        stream: &countersign_policy::Stream,
        telling: T,
        retry_for: Span,
        end: End,
    ) -> anyhow::Result<Self> {
        let own = keep::directory(&parts.data, name)?;
        let mut journal = Journal::open(&parts.log_dir, &parts.keys)?;
        let path = own.join(T::FILE);
        let state = match keep::read::<State>(&path)? {
            Some(state) => state,
            None => {
                let state = State {
                    next: super::beginning(stream.start, end),
                    before: None,
                    pending: Vec::new(),
                    since: None,
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
            telling,
            parts,
        };
        Ok(Self {
            sending: Arc::new(sending),
            lanes,
            next: state.since.unwrap_or(state.next).min(state.next),
            resumed: state.next,
            before: state.before,
            dead: u64::try_from(dead)?,
            own,
            retry_for: retry_for.as_millis(),
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
        !self.gone && self.lanes.len() < T::WAITING && self.dead < T::DEAD
    }

    /// When there is something to do even if nothing happens.
    fn wake(&self) -> Option<Instant> {
        let sendable = !self.gone && self.flying.len() < self.at_once();
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
        for entry in &entries {
            let due = self.sending.telling.take(entry);
            let Some(earlier) = due.filter(|_| entry.at >= self.resumed) else {
                continue;
            };
            let within = entry.leaf.request.as_ref();
            self.lanes.add(Pending {
                at: entry.at,
                lane: within.map_or_else(String::new, |within| within.id.to_string()),
                taken,
                attempts: 0,
                earlier,
            });
        }
        if let Some(last) = entries.last() {
            self.next = next;
            if last.at >= self.resumed {
                self.before = Some(Before::of(last));
                self.changed();
            }
        }
        Ok(!entries.is_empty())
    }

    /// Has what is due sent, a few at once.
    async fn send(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        if self.gone || now < self.not_before {
            return Ok(());
        }
        while self.flying.len() < self.at_once()
            && self.lanes.next_due().is_some_and(|due| due <= now)
        {
            // Without a secret nothing is tried, so that nothing is given up for it.
            let secret = self.sending.telling.secret().await?;
            let Some(pending) = self.lanes.take(now) else {
                return Ok(());
            };
            let sending = self.sending.clone();
            self.flying.spawn(async move {
                let answer = sending.post(&pending, secret.as_ref()).await;
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
                own.status.delivered(self.taken().index, 1, now);
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
            Answer::Refused { why } => {
                own.status.update(|state| state.failed += 1);
                self.failures = self.failures.saturating_add(1);
                if self.failures >= BROKEN {
                    own.status
                        .wrong(format!("the receiver does not take events: {why}"));
                }
                self.give_up(own, &pending, &why).await?;
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
            return self.give_up(own, pending, why).await;
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

    async fn give_up(&mut self, own: &Own, pending: &Pending, why: &str) -> anyhow::Result<()> {
        let now = self.sending.parts.clock.now();
        let line = Line::of(pending, now.0, why);
        let path = self.own.clone();
        // A crash after this line has the message tried again, and listed as given up.
        blocking(move || Dead::of(&path).add(&line)).await?;
        self.lanes.given_up(pending);
        self.dead += 1;
        let index = pending.at.index;
        tracing::warn!(stream = own.name, index, why, "an event was given up");
        Ok(())
    }

    /// Has everything tried at once, what was given up included.
    async fn retry(&mut self) -> anyhow::Result<()> {
        let path = self.own.clone();
        let dead = blocking(move || Dead::of(&path).read(usize::MAX)).await?;
        let now = self.sending.parts.clock.now().0;
        for line in dead {
            self.lanes.add(line.again(now));
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

    /// How many attempts are made side by side: one, while the receiver takes nothing.
    fn at_once(&self) -> usize {
        match self.failures >= BROKEN {
            true => 1,
            false => AT_ONCE,
        }
    }

    fn changed(&mut self) {
        self.note_at
            .get_or_insert_with(|| Instant::now() + NOTE_EVERY);
    }

    /// Notes how far it got and what waits.
    async fn note(&mut self) -> anyhow::Result<()> {
        let unread = Some(self.next).filter(|next| *next < self.resumed);
        let since = self.sending.telling.since();
        let state = State {
            next: self.taken(),
            before: self.before,
            pending: self.lanes.all().cloned().collect(),
            since: since.into_iter().chain(unread).min(),
        };
        let path = self.own.join(T::FILE);
        blocking(move || keep::replace(&path, &state)).await?;
        self.note_at = None;
        Ok(())
    }

    /// The next record to take.
    fn taken(&self) -> Place {
        self.next.max(self.resumed)
    }

    fn show(&self, own: &Own) {
        own.status.update(|state| {
            state.next = self.taken().index;
            state.waiting = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX);
            state.dead = self.dead;
        });
        if self.dead >= T::DEAD {
            own.status.wrong(format!(
                "{} events were given up; `countersign stream retry {}` tries them again",
                T::DEAD,
                own.name
            ));
        }
    }
}

impl<T: Telling> Sending<T> {
    async fn post(
        self: &Arc<Self>,
        pending: &Pending,
        secret: Option<&Secret>,
    ) -> anyhow::Result<Answer> {
        let (sending, mut places) = (self.clone(), pending.earlier.clone());
        places.push(pending.at);
        let message = blocking(move || sending.message(&places)).await?;
        let Some(message) = message else {
            return Ok(Answer::Delivered);
        };
        let now = self.parts.clock.now().0.div_euclid(1_000);
        Ok(self.telling.post(secret, message, now).await)
    }

    fn message(&self, places: &[Place]) -> anyhow::Result<Option<Message>> {
        let parts = &self.parts;
        let mut view = lock(&self.view);
        let directory = parts.active.borrow().directory.clone();
        view.refresh(&directory, &parts.keys.pseudonyms);
        // One after another, because a record can be large.
        let mut about = places.iter().map(|at| lock(&self.journal).one(*at));
        let origin = parts.keys.log.verifying().name();
        self.telling.message(&mut about, origin, &view)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
