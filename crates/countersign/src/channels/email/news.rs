//! What is told of a request, to whom.
//!
//! In scope: who is told what of a case as it stands; how that is called in the store.
//! Out of scope: when it is sent ([`board`](super::board)); what it says ([`letter`](super::letter)).
//! Invariant: each thing is told once to one recipient: its name is the same whenever it is looked at.

use std::{collections::BTreeSet, fmt, str::FromStr};

use countersign_core::{
    approval::myself::myself,
    id::{MessageId, PersonId},
    lifecycle,
    request::{Case, Closure, Lifted, MessageKind, Phase},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_policy::Notify;

use crate::{active::Active, channels::reminding};

/// People told of one request.
const MAX_TOLD: usize = 50;
/// How long ago something may have happened that is told of a request of which nothing was told before.
const LATELY: Span = Span::from_millis(600_000);

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Recipient {
    /// A person.
    Person(PersonId),
    /// An address that a rule names.
    Place(String),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(person) => write!(f, "person:{person}"),
            Self::Place(address) => write!(f, "to:{address}"),
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// It waits for a countersignature.
    Waits,
    /// It still does: to those who could still decide.
    StillWaits,
    /// A reviewer asks the requester's side.
    Asked(MessageId),
    /// The requester's side answers a reviewer.
    Answered(MessageId),
    /// It is approved and waits for its requester.
    Approved,
    /// It can wait for nobody any more: to those who were told that it does.
    Over,
    /// How it ended: to the requester's side.
    Ended,
    /// A rule was lifted in an emergency, as the nth of the request: to those who may review it.
    Lifted(usize),
    /// Nobody reviewed that in time.
    Overdue(usize),
}

impl News {
    /// Whether it is of an emergency, which no list hides.
    pub(super) fn is_alarm(&self) -> bool {
        matches!(self, Self::Lifted(_) | Self::Overdue(_))
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits => f.write_str("waits"),
            Self::StillWaits => f.write_str("reminder"),
            Self::Asked(message) => write!(f, "asked:{message}"),
            Self::Answered(message) => write!(f, "answered:{message}"),
            Self::Approved => f.write_str("approved"),
            Self::Over => f.write_str("over"),
            Self::Ended => f.write_str("ended"),
            Self::Lifted(nth) => write!(f, "lifted:{nth}"),
            Self::Overdue(nth) => write!(f, "overdue:{nth}"),
        }
    }
}

impl FromStr for News {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, message) = text.split_once(':').unwrap_or((text, ""));
        Ok(match name {
            "waits" => Self::Waits,
            "reminder" => Self::StillWaits,
            "approved" => Self::Approved,
            "over" => Self::Over,
            "ended" => Self::Ended,
            "asked" => Self::Asked(message.parse().map_err(|_| ())?),
            "answered" => Self::Answered(message.parse().map_err(|_| ())?),
            "lifted" => Self::Lifted(message.parse().map_err(|_| ())?),
            "overdue" => Self::Overdue(message.parse().map_err(|_| ())?),
            _ => return Err(()),
        })
    }
}

/// What is told to whom, as the place of a card.
pub(super) fn place(recipient: &Recipient, news: &News) -> String {
    // Neither names nor addresses have blanks.
    format!("{recipient} {news}")
}

/// What a place of a card stands for.
pub(super) fn read(place: &str) -> Option<(Recipient, News)> {
    let (recipient, news) = place.split_once(' ')?;
    let recipient = match recipient.split_once(':')? {
        ("person", name) => Recipient::Person(name.parse().ok()?),
        ("to", address) => Recipient::Place(address.to_owned()),
        _ => return None,
    };
    Some((recipient, news.parse().ok()?))
}

/// Everything that is to be told of a case through a channel, as it stands now. How it ended is owed to
/// the requester's side from the beginning, so that no crash forgets it; emergencies until somebody has
/// reviewed them.
pub(super) fn of(
    channel: &str,
    active: &Active,
    case: &Case,
    now: Timestamp,
) -> BTreeSet<(Recipient, News)> {
    let mut news = BTreeSet::new();
    let waits = matches!(case.phase, Phase::Held { .. });
    let mut in_private = false;
    let mut addresses = BTreeSet::new();
    for notify in notifies(channel, active, case) {
        match notify.place {
            Some(address) => drop(addresses.insert(address)),
            None => in_private = true,
        }
    }
    for address in &addresses {
        let to = || Recipient::Place(address.clone());
        news.extend(waits.then(|| (to(), News::Waits)));
        let alarms = due(case).flat_map(|(nth, lift)| alarms(nth, lift));
        news.extend(alarms.map(|alarm| (to(), alarm)));
    }
    if reminding::at(active, channel, case).is_some_and(|at| at <= now) {
        let people = reminding::people(active, case, now).into_iter();
        news.extend(people.map(|person| (Recipient::Person(person), News::StillWaits)));
    }
    if !in_private {
        return news;
    }
    for (nth, lift) in due(case) {
        let reviewers = lifecycle::reviewers(case, active.world(), &lift.rule);
        for person in reviewers.into_iter().take(MAX_TOLD) {
            let to = || Recipient::Person(person.clone());
            news.extend(alarms(nth, lift).map(|alarm| (to(), alarm)));
        }
    }
    if waits {
        let people = lifecycle::eligible_voters(case, active.world(), now);
        let here = |person: &PersonId| !active.directory.is_away(person, now);
        let people = people.into_keys().filter(here).take(MAX_TOLD);
        news.extend(people.map(|person| (Recipient::Person(person), News::Waits)));
    }
    for person in side(active, case) {
        let theirs = of_side(case, &person, now).into_iter();
        news.extend(theirs.map(|one| (Recipient::Person(person.clone()), one)));
    }
    news.extend(answers(case, now));
    news
}

/// What was lifted of a case and nobody has reviewed, with its place among all that was.
fn due(case: &Case) -> impl Iterator<Item = (usize, &Lifted)> {
    let lifted = case.lifted.iter().enumerate();
    lifted.filter(|(_, lift)| lift.reviewed.is_none())
}

/// What is told of a lift that nobody has reviewed.
fn alarms(nth: usize, lift: &Lifted) -> impl Iterator<Item = News> {
    let overdue = lift.overdue.then_some(News::Overdue(nth));
    std::iter::once(News::Lifted(nth)).chain(overdue)
}

/// What the rules of a case say of a channel today.
fn notifies(channel: &str, active: &Active, case: &Case) -> Vec<Notify> {
    let entries = case.request.rules.iter().flat_map(|rule| {
        let today = active.world().rules.get(&rule.name).unwrap_or(rule);
        today.notify.iter()
    });
    let parsed = entries.filter_map(|entry| entry.parse::<Notify>().ok());
    parsed.filter(|notify| notify.channel == channel).collect()
}

/// Whether an address is one that the rules of a case name today.
pub(super) fn is_named(channel: &str, active: &Active, case: &Case, address: &str) -> bool {
    let named = notifies(channel, active, case);
    named
        .iter()
        .any(|notify| notify.place.as_deref() == Some(address))
}

/// What the requester's side is told.
fn of_side(case: &Case, person: &PersonId, now: Timestamp) -> Vec<News> {
    let lately = |at: &Timestamp| now.0.saturating_sub(at.0) < LATELY.as_millis();
    match &case.phase {
        Phase::Held { .. } => {
            let asked = case.open_questions().map(|one| News::Asked(one.id.clone()));
            asked.chain([News::Ended]).collect()
        }
        Phase::Approved { .. } => vec![News::Approved, News::Ended],
        Phase::Running { .. } => vec![News::Ended],
        Phase::Closed {
            closure: Closure::Cancelled { by },
            ..
        } if *by == SubjectId::Person(person.clone()) => Vec::new(),
        Phase::Finished { at, .. } | Phase::Closed { at, .. } if lately(at) => vec![News::Ended],
        Phase::Finished { .. } | Phase::Closed { .. } => Vec::new(),
    }
}

/// Answers, each for whoever asked.
fn answers(case: &Case, now: Timestamp) -> Vec<(Recipient, News)> {
    let lately = |at: Timestamp| now.0.saturating_sub(at.0) < LATELY.as_millis();
    let answers = case.conversation.iter().filter_map(|answer| {
        let MessageKind::Answer { to } = &answer.kind else {
            return None;
        };
        let question = case.conversation.iter().find(|one| one.id == *to)?;
        match &question.by {
            SubjectId::Person(person) if lately(answer.at) => {
                let recipient = Recipient::Person(person.clone());
                Some((recipient, News::Answered(answer.id.clone())))
            }
            _ => None,
        }
    });
    answers.collect()
}

/// The requester's side: whoever is in its chain, or owns what is.
pub(super) fn side(active: &Active, case: &Case) -> BTreeSet<PersonId> {
    let side = myself(case, &active.directory);
    let members = case.request.chain.members();
    let people = members.flat_map(|member| member.people());
    people
        .filter(|person| side.contains(*person))
        .cloned()
        .collect()
}
