//! Keeping people told.
//!
//! In scope: what is owed, in which order and pace it is sent, what is tried again, and when.
//! Out of scope: what is told to whom ([`news`](super::news)), and in which words.
//! Invariant: what is owed is noted before anything is sent, and as sent only when the server took it.
//! What may have been taken is sent again under the same name. Nothing waits for mails but this.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use countersign_core::{
    canonical::Hash,
    id::RequestId,
    request::{Case, Closure, Phase},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_store::{Card as Row, Write};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    addresses, letter,
    news::{self, News, Recipient, place},
    pace::{Room, Sent},
    post::Post,
    smtp::SmtpError,
};
use crate::{active::Active, channels::reminding, gateway::Gateway, status::Status};

/// How long the server is left alone after a failure, at first and at most.
const SERVER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// How long an address is, which the server does not take mails for now.
const ADDRESS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// How long an approval waits for its requester before anybody is told so: most are used at once.
const UNUSED: Duration = Duration::from_secs(15);

/// What keeps people told.
pub(super) struct Keeper {
    gateway: Gateway,
    post: Post,
    status: Arc<Status>,
    stop: CancellationToken,
    dirty: BTreeSet<RequestId>,
    /// When people are reminded of what waits.
    later: HashMap<RequestId, Timestamp>,
    /// Until when whom is left alone, and for how long after the next failure. The server is nobody.
    resting: HashMap<String, (Instant, Duration)>,
    /// Who is told nothing, because nobody knows where.
    nowhere: BTreeSet<String>,
    /// What went to whom lately, of whose requests.
    sent: HashMap<(Recipient, SubjectId), Sent>,
}

/// Something that one recipient is owed.
struct Owed {
    case: Arc<Case>,
    news: News,
    row: Row,
}

/// What becomes of something that is noted.
enum Fate {
    /// It is to be sent.
    Send,
    /// It may have to be, later.
    Keep,
    /// It will in a while.
    Wait(Duration),
    /// It is not needed any more.
    Moot,
}

/// The server is to be left alone.
struct Pause(Duration);

impl Keeper {
    pub(super) fn new(
        gateway: Gateway,
        post: Post,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            gateway,
            post,
            status,
            stop,
            dirty: BTreeSet::new(),
            later: HashMap::new(),
            resting: HashMap::new(),
            nowhere: BTreeSet::new(),
            sent: HashMap::new(),
        }
    }

    /// Keeps people told until the channel ends.
    pub(super) async fn keep(mut self) {
        let mut updates = self.gateway.engine.updates().subscribe();
        let mut active = self.gateway.watch();
        let mut all = true;
        let stop = self.stop.clone();
        loop {
            // What is sent is noted before, so that this can be left at any point.
            let settled = tokio::select! {
                settled = self.settle(std::mem::take(&mut all)) => settled,
                () = stop.cancelled() => return,
            };
            let wait = match settled {
                Ok(wait) => wait,
                Err(error) => {
                    all = true;
                    Some(self.rest("", &format!("{error:#}"), SERVER))
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
                    Err(RecvError::Lagged(_)) => all = true,
                    Err(RecvError::Closed) => return,
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

    /// Notes what is wrong, and says how long to leave whoever it is alone.
    fn rest(&mut self, whom: &str, why: &str, (first, most): (Duration, Duration)) -> Duration {
        self.status.wrong(whom, why);
        let pause = self.resting.get(whom).map_or(first, |(_, next)| *next);
        let next = (pause * 2).min(most);
        let until = Instant::now() + pause;
        self.resting.insert(whom.into(), (until, next));
        pause
    }

    /// How long somebody is still left alone.
    fn rests(&self, whom: &str) -> Option<Duration> {
        let (until, _) = self.resting.get(whom)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Sends what can be sent now. How long to wait before there is more to do; `None` when there is
    /// nothing.
    async fn settle(&mut self, all: bool) -> anyhow::Result<Option<Duration>> {
        if all {
            let store = self.gateway.store.as_ref();
            let open = self.gateway.engine.desk().open(store).await?;
            self.dirty
                .extend(open.iter().map(|case| case.request.id.clone()));
            self.dirty
                .extend(store.changing_cards(&self.post.channel).await?);
            // However their requests ended.
            let due = store.awaiting_review().await?;
            self.dirty.extend(due.into_iter().map(|(id, _)| id));
            for whom in std::mem::take(&mut self.nowhere) {
                self.status.well(&whom);
            }
        }
        let now = self.gateway.clock.now();
        let due = self.later.extract_if(|_, at| *at <= now);
        self.dirty.extend(due.map(|(id, _)| id));
        if self.dirty.is_empty() {
            return Ok(self.next_reminder(now));
        }
        if let Some(left) = self.rests("") {
            return Ok(Some(left));
        }
        let active = self.gateway.active();
        let looked_at = std::mem::take(&mut self.dirty);
        let mut owed: BTreeMap<Recipient, Vec<Owed>> = BTreeMap::new();
        let mut wait = None;
        for id in &looked_at {
            self.later.remove(id);
            let Some(case) = self.gateway.sealed_case(id).await? else {
                continue;
            };
            let reminds = reminding::at(&active, &self.post.channel, &case);
            if let Some(at) = reminds.filter(|at| *at > now) {
                self.later.insert(id.clone(), at);
            }
            let later = self.look(&active, &Arc::new(case), &mut owed).await?;
            if let Some(later) = later {
                self.dirty.insert(id.clone());
                wait = sooner(wait, Some(later));
            }
        }
        wait = sooner(wait, self.next_reminder(now));
        for (recipient, owed) in owed {
            match self.tell(&active, &recipient, owed).await? {
                Ok(later) => wait = sooner(wait, later),
                Err(Pause(pause)) => {
                    self.dirty.extend(looked_at);
                    return Ok(Some(pause));
                }
            }
        }
        Ok(wait)
    }

    /// How long until somebody is to be reminded of something.
    fn next_reminder(&self, now: Timestamp) -> Option<Duration> {
        let first = self.later.values().min()?;
        let left = u64::try_from(first.millis_since(now)).unwrap_or_default();
        Some(Duration::from_millis(left))
    }

    /// Notes what is owed because of a case, and collects what can be sent. How long to wait before it
    /// is looked at again.
    async fn look(
        &self,
        active: &Active,
        case: &Arc<Case>,
        owed: &mut BTreeMap<Recipient, Vec<Owed>>,
    ) -> anyhow::Result<Option<Duration>> {
        let store = &self.gateway.store;
        let now = self.gateway.clock.now();
        let id = &case.request.id;
        let rows = store.cards(&self.post.channel, id).await?;
        let mut wanted = news::of(&self.post.channel, active, case, now);
        wanted.extend(follow_ups(active, case, &rows));
        let mut known: BTreeMap<(Recipient, News), Row> = rows
            .into_iter()
            .filter_map(|row| Some((news::read(&row.place)?, row)))
            .collect();
        let mut notes = Vec::new();
        for told in &wanted {
            if !known.contains_key(told) && self.may_be_told(active, &told.0, case) {
                let row = self.row(id, told);
                notes.push(Write::PutCard(row.clone()));
                known.insert(told.clone(), row);
            }
        }
        let mut wait = None;
        for ((recipient, news), row) in known.into_iter().filter(|(_, row)| !row.done) {
            let told = (recipient, news);
            let fate = match self.may_be_told(active, &told.0, case) {
                true => fate(case, &told, &row, wanted.contains(&told), now),
                false => Fate::Moot,
            };
            match fate {
                Fate::Send => {
                    let (recipient, news) = told;
                    owed.entry(recipient).or_default().push(Owed {
                        case: case.clone(),
                        news,
                        row,
                    });
                }
                Fate::Keep => {}
                Fate::Wait(left) => wait = sooner(wait, Some(left)),
                Fate::Moot => notes.push(Write::PutCard(Row { done: true, ..row })),
            }
        }
        if !notes.is_empty() {
            store.commit(notes).await?;
        }
        Ok(wait)
    }

    /// The note that something is owed.
    fn row(&self, id: &RequestId, (recipient, news): &(Recipient, News)) -> Row {
        Row {
            channel: self.post.channel.clone(),
            request: id.clone(),
            place: place(recipient, news),
            message: None,
            shown: None,
            done: false,
        }
    }

    /// Who may not see it any more, or is not named any more, is told nothing more of it.
    fn may_be_told(&self, active: &Active, recipient: &Recipient, case: &Case) -> bool {
        match recipient {
            Recipient::Person(person) => self.gateway.person_may_see(person, case),
            Recipient::Place(address) => news::is_named(&self.post.channel, active, case, address),
        }
    }

    /// Tells one recipient what can be told now.
    async fn tell(
        &mut self,
        active: &Active,
        recipient: &Recipient,
        owed: Vec<Owed>,
    ) -> anyhow::Result<Result<Option<Duration>, Pause>> {
        let whom = recipient.to_string();
        let ids: Vec<RequestId> = owed.iter().map(|one| one.case.request.id.clone()).collect();
        let Some(address) = address(active, recipient) else {
            let why = format!("no address of {whom} is known: write one as `email` in their table");
            self.status.wrong(&whom, &why);
            self.nowhere.insert(whom);
            // What could still be told is told once there is an address.
            let (over, _) = owed
                .into_iter()
                .partition::<Vec<_>, _>(|one| one.case.phase.is_over());
            self.note(&over, None, None, true).await?;
            return Ok(Ok(None));
        };
        if let Some(left) = self.rests(&whom) {
            self.dirty.extend(ids);
            return Ok(Ok(Some(left)));
        }
        let mut wait = None;
        for mail in self.mails(recipient, owed, &mut wait) {
            match self.send(active, (recipient, &address), &mail).await? {
                Ok(()) => {
                    self.count(recipient, &mail);
                    self.resting.remove(&whom);
                    self.resting.remove("");
                    self.status.well(&whom);
                    self.status.well("");
                }
                Err(error @ SmtpError::Refused(_)) => {
                    self.status.wrong(&whom, &format!("{address}: {error}"));
                }
                Err(error @ SmtpError::Later(_)) => {
                    let why = format!("{address}: {error}");
                    wait = Some(self.rest(&whom, &why, ADDRESS));
                    break;
                }
                Err(error) => {
                    return Ok(Err(Pause(self.rest("", &error.to_string(), SERVER))));
                }
            }
        }
        if wait.is_some() {
            self.dirty.extend(ids);
        }
        Ok(Ok(wait))
    }

    /// What of it makes which mail: each its own, until somebody asks for much at once. What was begun
    /// goes as it was begun.
    fn mails(
        &self,
        recipient: &Recipient,
        owed: Vec<Owed>,
        wait: &mut Option<Duration>,
    ) -> Vec<Vec<Owed>> {
        let mut mails = Vec::new();
        let mut lists: BTreeMap<String, Vec<Owed>> = BTreeMap::new();
        let mut fresh: BTreeMap<SubjectId, Vec<Owed>> = BTreeMap::new();
        for one in owed {
            match &one.row.message {
                Some(name) if Post::is_list(name) => {
                    lists.entry(name.clone()).or_default().push(one);
                }
                Some(_) => mails.push(vec![one]),
                // Whoever asks for much hides no emergency.
                None if one.news.is_alarm() => mails.insert(0, vec![one]),
                None => {
                    let requester = one.case.request.chain.requester.id.clone();
                    fresh.entry(requester).or_default().push(one);
                }
            }
        }
        mails.extend(lists.into_values());
        let now = Instant::now();
        let none = Sent::default();
        for (requester, owed) in fresh {
            let sent = self.sent.get(&(recipient.clone(), requester));
            match sent.unwrap_or(&none).room(owed.len(), now) {
                Room::Single => mails.extend(owed.into_iter().map(|one| vec![one])),
                Room::List => mails.push(owed),
                Room::Later(left) => *wait = sooner(*wait, Some(left)),
            }
        }
        mails
    }

    /// Counts a mail that was taken.
    fn count(&mut self, recipient: &Recipient, mail: &[Owed]) {
        let now = Instant::now();
        self.sent.retain(|_, sent| sent.is_recent(now));
        if let Some(one) = mail.first() {
            let requester = one.case.request.chain.requester.id.clone();
            let sent = self.sent.entry((recipient.clone(), requester)).or_default();
            sent.count(mail.len(), now);
        }
    }

    /// Sends one mail, which is noted before and after.
    async fn send(
        &self,
        active: &Active,
        (recipient, address): (&Recipient, &str),
        mail: &[Owed],
    ) -> anyhow::Result<Result<(), SmtpError>> {
        let content = self.post.content;
        let told = || mail.iter().map(|one| (&*one.case, &one.news));
        let (name, of, letter) = match mail {
            [one] if !one.row.message.as_deref().is_some_and(Post::is_list) => (
                self.post.name(recipient, &one.case.request.id, &one.news),
                Some((recipient, &one.case.request.id)),
                letter::of(&self.gateway, active, content, (&one.case, &one.news)),
            ),
            [one, ..] if one.row.message.is_some() => (
                one.row.message.clone().unwrap_or_default(),
                None,
                letter::list(&self.gateway, content, &told().collect::<Vec<_>>()),
            ),
            _ => (
                self.post.list_name(
                    recipient,
                    told().map(|(case, news)| (&case.request.id, news)),
                ),
                None,
                letter::list(&self.gateway, content, &told().collect::<Vec<_>>()),
            ),
        };
        self.note(mail, Some(&name), None, false).await?;
        let now = self.gateway.clock.now();
        let sent = self.post.send((address, &name), of, &letter, now).await;
        match &sent {
            Ok(()) => {
                let shown = Hash::of(letter.mail.text().as_bytes());
                // The end is told to those who were told of one request, not of a list.
                let goes_on = of.is_some() && mail.iter().any(|one| one.news == News::Waits);
                self.note(mail, Some(&name), Some(shown), !goes_on).await?;
            }
            Err(SmtpError::Refused(_)) => self.note(mail, Some(&name), None, true).await?,
            Err(SmtpError::Server(_) | SmtpError::Later(_)) => {
                self.note(mail, None, None, false).await?;
            }
            // The next attempt has the same name.
            Err(SmtpError::Unknown(_)) => {}
        }
        Ok(sent)
    }

    async fn note(
        &self,
        mail: &[Owed],
        name: Option<&str>,
        shown: Option<Hash>,
        done: bool,
    ) -> anyhow::Result<()> {
        let writes = mail.iter().map(|one| {
            Write::PutCard(Row {
                message: name.map(str::to_owned),
                shown,
                done,
                ..one.row.clone()
            })
        });
        let writes: Vec<_> = writes.collect();
        if !writes.is_empty() {
            self.gateway.store.commit(writes).await?;
        }
        Ok(())
    }
}

/// What becomes of something that is noted, for somebody who may be told.
fn fate(
    case: &Case,
    (recipient, news): &(Recipient, News),
    row: &Row,
    wanted: bool,
    now: Timestamp,
) -> Fate {
    match news {
        // An approval that is withdrawn makes it wait again.
        News::Waits if !case.phase.is_open() => Fate::Moot,
        News::Waits if wanted && row.shown.is_none() => Fate::Send,
        News::Waits => Fate::Keep,
        News::StillWaits if !wanted => Fate::Moot,
        News::Ended if took_back(case, recipient) => Fate::Moot,
        News::Ended if case.phase.is_over() => Fate::Send,
        News::Ended => Fate::Keep,
        News::Approved if !matches!(case.phase, Phase::Approved { .. }) => Fate::Moot,
        News::Approved => match unused(case, now) {
            Some(left) => Fate::Wait(left),
            None => Fate::Send,
        },
        // What ends soon is told when it has.
        News::Over if !case.phase.is_over() => match unused(case, now) {
            Some(left) => Fate::Wait(left),
            None => Fate::Send,
        },
        News::Asked(_) | News::Lifted(_) | News::Overdue(_) if !wanted => Fate::Moot,
        News::StillWaits
        | News::Asked(_)
        | News::Answered(_)
        | News::Over
        | News::Lifted(_)
        | News::Overdue(_) => Fate::Send,
    }
}

/// Those who were told that it waits are told when it can't any more, unless they know: because they
/// decided, or because they are told how it ended.
fn follow_ups(active: &Active, case: &Case, rows: &[Row]) -> Vec<(Recipient, News)> {
    if case.phase.is_open() {
        return Vec::new();
    }
    let side = news::side(active, case);
    let told = rows.iter().filter(|row| !row.done).filter_map(|row| {
        let message = row.message.as_deref()?;
        let (recipient, news) = news::read(&row.place)?;
        let knows = match &recipient {
            Recipient::Person(person) => {
                side.contains(person) || case.votes.iter().any(|vote| vote.voter == *person)
            }
            Recipient::Place(_) => false,
        };
        let was_told = news == News::Waits && !Post::is_list(message) && !knows;
        was_told.then_some((recipient, News::Over))
    });
    told.collect()
}

/// Whether somebody ended it themselves.
fn took_back(case: &Case, recipient: &Recipient) -> bool {
    match (&case.phase, recipient) {
        (Phase::Closed { closure, .. }, Recipient::Person(person)) => {
            let by = SubjectId::Person(person.clone());
            matches!(closure, Closure::Cancelled { by: who } if *who == by)
        }
        _ => false,
    }
}

/// How long an approval has to wait for its requester until that is worth a mail.
fn unused(case: &Case, now: Timestamp) -> Option<Duration> {
    let since = case.votes.iter().map(|vote| vote.at.0).max()?;
    let waited = u64::try_from(now.0.saturating_sub(since)).unwrap_or_default();
    let left = UNUSED.saturating_sub(Duration::from_millis(waited));
    (!left.is_zero()).then_some(left)
}

fn address(active: &Active, recipient: &Recipient) -> Option<String> {
    match recipient {
        Recipient::Person(person) => addresses::of(active, person),
        Recipient::Place(address) => Some(address.clone()),
    }
}

fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
