//! Cards: what a chat shows of requests, brought about and kept current.
//!
//! In scope: who is told of what and where, pace, floods, beginning again after a crash.
//! Out of scope: sending ([`sending`](super::sending)); what a card says, and in which form
//! ([`messenger`](super::messenger)).
//! Invariant: the store has what is shown, so that nothing is lost or told twice with a restart.
//! Nothing waits for a chat but this.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use countersign_core::{
    approval::myself::myself,
    id::{CredentialId, MessageId, PersonId, RequestId},
    lifecycle,
    request::{Case, Phase},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_policy::Notify;
use countersign_store::{Card as Row, Write};
use tokio::{sync::mpsc, time::Instant};

use super::{
    accounts::Accounts,
    alarm::awaits_review,
    messenger::{Failed, Messenger},
};
use crate::{active::Active, gateway::Gateway};

/// The pace of messages in one place, which chats ask for.
const PACE: Duration = Duration::from_millis(1_100);
/// More new requests than this at once in one place become one message.
const FLOOD: usize = 5;
/// People told in private of one request.
const MAX_TOLD: usize = 50;
/// How long a chat is left alone after a failure, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Stands behind the credential in the place of a card that its holder asked for.
pub(super) const ASKED: char = '!';
/// Stands between a place and the message of the conversation that was said there.
pub(super) const SAID: char = '#';

/// Something somebody wants of the board.
#[derive(Debug)]
pub(super) enum Wish {
    /// A request, shown in private to the holder of an account.
    Show(RequestId, CredentialId),
    /// A look at everything: somebody new can be told.
    All,
}

/// What the board needs to know of messages, for whoever takes clicks.
#[derive(Clone)]
pub(super) struct Board {
    gateway: Gateway,
    channel: Arc<str>,
}

impl Board {
    pub(super) fn new(gateway: Gateway, channel: &str) -> Self {
        let channel = channel.into();
        Self { gateway, channel }
    }

    /// Whether a message is known of a request.
    pub(super) async fn has(&self, id: &RequestId, message: &str) -> bool {
        let rows = self.gateway.store.cards(&self.channel, id).await;
        rows.is_ok_and(|rows| {
            rows.iter()
                .any(|row| row.message.as_deref() == Some(message))
        })
    }

    /// Notes what somebody said in the message of this name below a card, so that it is not said there
    /// again.
    pub(super) async fn note_said(
        &self,
        id: &RequestId,
        said: &MessageId,
        (card, name): (&str, String),
    ) {
        let rows = self.gateway.store.cards(&self.channel, id).await;
        let rows = rows.unwrap_or_default();
        let Some(below) = rows.iter().find(|row| row.message.as_deref() == Some(card)) else {
            return;
        };
        let row = Row {
            channel: self.channel.to_string(),
            request: id.clone(),
            place: format!("{}{SAID}{said}", below.place),
            message: Some(name),
            shown: None,
            done: true,
        };
        if let Err(error) = self.gateway.store.commit(vec![Write::PutCard(row)]).await {
            tracing::warn!(%error, "a message from a chat may be repeated there");
        }
    }
}

/// What keeps cards as they should be.
pub(super) struct Keeper<M> {
    pub(super) app: Arc<M>,
    wishes: mpsc::Receiver<Wish>,
    dirty: BTreeSet<RequestId>,
    /// When people are reminded of what waits.
    pub(super) later: HashMap<RequestId, Timestamp>,
    /// Requests to show to somebody who is not told of them otherwise.
    wanted: BTreeSet<(RequestId, String)>,
    /// When the next message may go to a place.
    pub(super) free: HashMap<String, Instant>,
    /// The conversation with the holder of each account.
    pub(super) conversations: HashMap<String, String>,
    /// Who has linked an account.
    pub(super) accounts: Accounts,
    /// How long a place is left alone after its next failure.
    pauses: HashMap<String, Duration>,
}

/// One thing to do in one place.
pub(super) struct Job {
    pub(super) place: String,
    pub(super) case: Arc<Case>,
    pub(super) row: Option<Row>,
}

impl<M: Messenger> Keeper<M> {
    pub(super) fn new(app: Arc<M>, wishes: mpsc::Receiver<Wish>) -> Self {
        Self {
            app,
            wishes,
            dirty: BTreeSet::new(),
            later: HashMap::new(),
            wanted: BTreeSet::new(),
            free: HashMap::new(),
            conversations: HashMap::new(),
            accounts: Accounts::default(),
            pauses: HashMap::new(),
        }
    }

    /// Keeps cards until the channel ends.
    pub(super) async fn keep(mut self) {
        let gateway = self.app.chat().api.gateway.clone();
        let mut updates = gateway.engine.updates().subscribe();
        let mut active = gateway.watch();
        let mut all = true;
        let stop = self.app.chat().stop.clone();
        if !self.is_ours().await {
            return;
        }
        loop {
            // A card is noted before it is sent, so that this can be left at any point.
            let settled = tokio::select! {
                settled = self.settle(std::mem::take(&mut all)) => settled,
                () = stop.cancelled() => return,
            };
            let wait = match settled {
                Ok(wait) => wait,
                Err(error) => {
                    all = true;
                    Some(self.failed("", &format!("{error:#}")))
                }
            };
            let ready = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ready => {}
                update = updates.recv() => match update {
                    Ok(update) => { self.dirty.insert(update.request); }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => all = true,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                wish = self.wishes.recv() => match wish {
                    Some(Wish::All) => all = true,
                    Some(Wish::Show(id, account)) => {
                        self.dirty.insert(id.clone());
                        self.wanted.insert((id, format!("{account}{ASKED}")));
                    }
                    None => return,
                },
                changed = active.changed() => match changed {
                    Ok(()) => all = true,
                    Err(_) => return,
                },
                () = stop.cancelled() => return,
            }
            while let Ok(update) = updates.try_recv() {
                self.dirty.insert(update.request);
            }
        }
    }

    /// Waits until what it speaks with is of the workspace that is believed: nothing is told elsewhere.
    /// `false` when the channel ends before.
    async fn is_ours(&mut self) -> bool {
        loop {
            let why = match self.app.is_ours().await {
                Ok(()) => {
                    self.app.chat().status.well("");
                    return true;
                }
                Err(why) => why,
            };
            let pause = self.failed("", &why);
            let stop = self.app.chat().stop.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return false,
            }
        }
    }

    /// Notes what is wrong with a place, and says how long to leave it alone.
    fn failed(&mut self, place: &str, why: &str) -> Duration {
        self.app.chat().status.wrong(place, why);
        let pause = self.pauses.entry(place.into()).or_insert(PAUSE.0);
        let now = *pause;
        *pause = (now * 2).min(PAUSE.1);
        now
    }

    /// Does what can be done now. How long to wait before there is more to do; `None` when there is
    /// nothing.
    async fn settle(&mut self, all: bool) -> anyhow::Result<Option<Duration>> {
        let gateway = self.app.chat().api.gateway.clone();
        if all {
            let store = gateway.store.as_ref();
            let open = gateway.engine.desk().open(store).await?;
            self.dirty
                .extend(open.iter().map(|case| case.request.id.clone()));
            self.dirty
                .extend(store.changing_cards(&self.app.chat().name).await?);
            self.dirty.extend(gateway.engine.emergencies().requests());
        }
        let now = gateway.clock.now();
        let due = self.later.extract_if(|_, at| *at <= now);
        self.dirty.extend(due.map(|(id, _)| id));
        if self.dirty.is_empty() {
            return Ok(self.next_reminder(now));
        }
        let active = gateway.active();
        self.accounts = Accounts::of(&gateway, &self.app.chat().name).await?;
        let mut jobs: BTreeMap<String, Vec<Job>> = BTreeMap::new();
        for id in std::mem::take(&mut self.dirty) {
            let Some(case) = gateway.sealed_case(&id).await? else {
                continue;
            };
            let case = Arc::new(case);
            for job in self.jobs_of(&active, &case).await? {
                jobs.entry(job.place.clone()).or_default().push(job);
            }
        }
        let mut wait = self.next_reminder(now);
        for (place, jobs) in jobs {
            let next = self.in_place(&active, &place, jobs).await;
            wait = match (wait, next) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(wait)
    }

    /// How long until somebody is to be reminded of something.
    fn next_reminder(&self, now: Timestamp) -> Option<Duration> {
        let first = self.later.values().min()?;
        let left = u64::try_from(first.millis_since(now)).unwrap_or_default();
        Some(Duration::from_millis(left))
    }

    /// What is to do for one case, by place.
    async fn jobs_of(&mut self, active: &Active, case: &Arc<Case>) -> anyhow::Result<Vec<Job>> {
        let store = self.app.chat().api.gateway.store.clone();
        let rows = store.cards(&self.app.chat().name, &case.request.id).await?;
        let mut places = self.places_of(active, case);
        places.extend(self.reminded(active, case));
        let asked = self.wanted.iter().filter(|(id, _)| *id == case.request.id);
        places.extend(asked.map(|(_, place)| place.clone()));
        let cards = rows.iter().filter(|row| !row.place.contains(SAID));
        places.extend(cards.map(|row| row.place.clone()));
        let gateway = &self.app.chat().api.gateway;
        // Who may not see it any more is told nothing more of it.
        places.retain(|place| {
            let account = self.accounts.users.get(place.trim_end_matches(ASKED));
            account.is_none_or(|(person, _)| gateway.person_may_see(person, case))
        });
        let job = |place: String| Job {
            row: rows.iter().find(|row| row.place == place).cloned(),
            case: case.clone(),
            place,
        };
        Ok(places.into_iter().map(job).collect())
    }

    /// Where people are told of a case: in places while it waits, and in private.
    fn places_of(&self, active: &Active, case: &Case) -> BTreeSet<String> {
        let entries = case.request.rules.iter().flat_map(|rule| {
            // Where it is told is a matter of today's configuration.
            let now = active.world().rules.get(&rule.name).unwrap_or(rule);
            now.notify
                .iter()
                .filter_map(|entry| entry.parse::<Notify>().ok())
        });
        let mut places = BTreeSet::new();
        let mut in_private = false;
        for notify in entries.filter(|notify| *notify.channel == *self.app.chat().name) {
            match notify.place {
                Some(place) => drop(places.insert(place)),
                None => in_private = true,
            }
        }
        let waits = matches!(case.phase, Phase::Held { .. });
        // An emergency is told where its rule is, until somebody reviewed it.
        let emergency = awaits_review(case);
        if !waits && !emergency {
            places.clear();
        }
        if in_private && waits {
            let now = self.app.chat().api.gateway.clock.now();
            let people = lifecycle::eligible_voters(case, active.world(), now);
            let here = people
                .keys()
                .filter(|person| !active.directory.is_away(person, now));
            let known = here.filter_map(|person| self.accounts.of_person(person));
            places.extend(known.take(MAX_TOLD));
        }
        if in_private && emergency {
            let due = case.lifted.iter().filter(|lift| lift.reviewed.is_none());
            let people: BTreeSet<PersonId> = due
                .flat_map(|lift| lifecycle::reviewers(case, active.world(), &lift.rule))
                .collect();
            let known = people
                .iter()
                .filter_map(|person| self.accounts.of_person(person));
            places.extend(known.take(MAX_TOLD));
        }
        // Who asked is asked back, and told how it ended.
        if in_private && (!waits || case.open_questions().next().is_some()) {
            places.extend(self.of_side(active, case));
        }
        places
    }

    /// The accounts of the requester's side: whoever is in its chain, or owns what is.
    pub(super) fn of_side(&self, active: &Active, case: &Case) -> BTreeSet<String> {
        let side = myself(case, &active.directory);
        let members = case
            .request
            .chain
            .members()
            .flat_map(|member| member.people());
        let people: BTreeSet<&PersonId> = members.filter(|person| side.contains(*person)).collect();
        let known = people
            .into_iter()
            .filter_map(|person| self.accounts.of_person(person));
        known.collect()
    }

    /// Does what can be done in one place now, which is one message: chats want a pace there.
    async fn in_place(&mut self, active: &Active, place: &str, jobs: Vec<Job>) -> Option<Duration> {
        let now = Instant::now();
        let busy = self.free.get(place).filter(|free| **free > now).copied();
        let wait = match busy {
            Some(free) => Some(free.saturating_duration_since(now)),
            None => match self.turn(active, place, &jobs).await {
                Ok(sent) => {
                    self.pauses.remove(place);
                    self.app.chat().status.well(place);
                    sent.then_some(PACE)
                }
                Err(error) => Some(match error.downcast_ref::<Failed>() {
                    Some(Failed::Limited(wait)) => *wait,
                    _ => self.failed(place, &format!("{error:#}")),
                }),
            },
        };
        if let Some(wait) = wait {
            self.free.insert(place.into(), Instant::now() + wait);
            self.dirty
                .extend(jobs.iter().map(|job| job.case.request.id.clone()));
        }
        wait
    }

    /// Sends the one message that matters most: what is new, then what changed, then what was said.
    async fn turn(&mut self, active: &Active, place: &str, jobs: &[Job]) -> anyhow::Result<bool> {
        // An emergency is told before anything else is shown.
        if self
            .alarm(active, place.trim_end_matches(ASKED), jobs)
            .await?
        {
            return Ok(true);
        }
        if self.remind(active, place, jobs).await? {
            return Ok(true);
        }
        let asked = place.ends_with(ASKED);
        let mut fresh: BTreeMap<&SubjectId, Vec<&Job>> = BTreeMap::new();
        for job in jobs.iter().filter(|job| job.row.is_none() && !asked) {
            let requester = &job.case.request.chain.requester.id;
            fresh.entry(requester).or_default().push(job);
        }
        // Whoever asks for much at once has it in a list; others keep their cards.
        let flood = fresh.into_values().find(|jobs| jobs.len() > FLOOD);
        if let Some(jobs) = flood {
            return self.flood(place, &jobs).await;
        }
        let mut lists = BTreeSet::new();
        let (new, known): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.row.is_none());
        for job in new.into_iter().chain(known) {
            if self.card(active, job, &mut lists).await? {
                return Ok(true);
            }
            self.wanted
                .remove(&(job.case.request.id.clone(), job.place.clone()));
        }
        self.comment(jobs).await
    }
}
