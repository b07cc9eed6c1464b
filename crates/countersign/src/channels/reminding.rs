//! Reminders: one message in private to whoever could still sign what has waited for a while.
//!
//! In scope: when who is reminded of a case; what a chat says then, once in each place.
//! Out of scope: the form in which a chat shows it; mails, which have their own board.
//! Invariant: nobody is reminded of one request twice, but where a crash came between sending and noting it;
//! whoever has decided or is away is not, and nothing is said where others read.

use std::collections::BTreeSet;

use countersign_core::{
    count::counted,
    id::PersonId,
    lifecycle,
    request::{Case, Phase},
    time::Timestamp,
};
use countersign_policy::Notify;
use countersign_store::Card as Row;

use super::{
    board::{ASKED, Job, Keeper, SAID},
    messenger::Messenger,
    telling::{self, SHORT, cut},
};
use crate::active::Active;

/// The name of a reminder among the rows of its place.
const NAME: &str = "reminder";
/// People reminded of one request.
const MAX_REMINDED: usize = 50;
/// Requests named in one message.
const LISTED: usize = 10;

/// One message about what still waits for somebody.
pub(super) struct Reminder {
    /// How much, in a line.
    pub(super) text: String,
    /// The requests, a line each.
    pub(super) lines: Vec<String>,
    /// What the link is called, and where it leads.
    pub(super) link: (&'static str, String),
}

/// When whoever could still sign a case is reminded of it through a channel; `None` when nobody is.
pub(super) fn at(active: &Active, channel: &str, case: &Case) -> Option<Timestamp> {
    if !matches!(case.phase, Phase::Held { .. }) {
        return None;
    }
    let rules = case.request.rules.iter();
    // As with what is told where, today's configuration counts.
    let rules = rules.map(|rule| active.world().rules.get(&rule.name).unwrap_or(rule));
    let here = rules.filter(|rule| {
        let mut entries = rule.notify.iter();
        entries.any(|entry| {
            let notify = entry.parse::<Notify>();
            notify.is_ok_and(|notify| *notify.channel == *channel)
        })
    });
    let after = here.filter_map(|rule| rule.remind).min()?;
    Some(case.request.at.after(after))
}

/// Who is reminded of a case.
pub(super) fn people(active: &Active, case: &Case, now: Timestamp) -> BTreeSet<PersonId> {
    let people = lifecycle::eligible_voters(case, active.world(), now).into_keys();
    let here = people.filter(|person| !active.directory.is_away(person, now));
    here.take(MAX_REMINDED).collect()
}

impl<M: Messenger> Keeper<M> {
    /// The accounts that are reminded of a case now; when they will be is kept for later.
    pub(super) fn reminded(&mut self, active: &Active, case: &Case) -> BTreeSet<String> {
        let id = &case.request.id;
        self.later.remove(id);
        let now = self.app.chat().api.gateway.clock.now();
        match at(active, &self.app.chat().name, case) {
            None => BTreeSet::new(),
            Some(at) if at > now => {
                self.later.insert(id.clone(), at);
                BTreeSet::new()
            }
            Some(_) => people(active, case, now)
                .iter()
                .filter_map(|person| self.accounts.of_person(person))
                .collect(),
        }
    }

    /// Sends one message about everything that somebody is to be reminded of. Whether anything was sent.
    pub(super) async fn remind(
        &mut self,
        active: &Active,
        place: &str,
        jobs: &[Job],
    ) -> anyhow::Result<bool> {
        let app = self.app.clone();
        let (gateway, channel) = (&app.chat().api.gateway, app.chat().name.to_string());
        if place.ends_with(ASKED) || !self.accounts.users.contains_key(place) {
            return Ok(false);
        }
        let row_of = |job: &Job, message: Option<String>| Row {
            channel: channel.clone(),
            request: job.case.request.id.clone(),
            place: format!("{place}{SAID}{NAME}"),
            done: message.is_some(),
            message,
            shown: None,
        };
        let mut due = Vec::new();
        for job in jobs {
            if !self.reminded(active, &job.case).contains(place) {
                continue;
            }
            let rows = gateway.store.cards(&channel, &job.case.request.id).await?;
            let row = row_of(job, None);
            let known = rows.iter().find(|known| known.place == row.place);
            match (known, &job.row) {
                (Some(known), _) if known.done => {}
                (_, Some(_)) => due.push(job),
                // What is shown to them now for the first time reminds them.
                (_, None) => self.put(Row { done: true, ..row }).await?,
            }
        }
        if due.is_empty() {
            return Ok(false);
        }
        let Some(conversation) = self.conversation(place).await? else {
            return Ok(false);
        };
        // Where nothing can be noted, nothing is said again and again.
        for job in &due {
            self.put(row_of(job, None)).await?;
        }
        let made = app.reminder(&reminder(gateway, &due));
        let message = match app.announce(&conversation, &made).await {
            Ok(message) => Some(message),
            Err(error) if error.is_of_one_message() => {
                tracing::warn!(%error, place, "a chat refuses a reminder");
                Some(String::new())
            }
            Err(error) => return Err(error.into()),
        };
        for job in &due {
            self.put(row_of(job, message.clone())).await?;
        }
        Ok(true)
    }
}

fn reminder(gateway: &crate::gateway::Gateway, due: &[&Job]) -> Reminder {
    let title = |job: &&Job| {
        let requester = &job.case.request.chain.requester.id;
        cut(
            &format!("{requester}: {}", telling::title(&job.case)),
            SHORT,
        )
    };
    let link = match due {
        [job] => ("Open it", gateway.request_url(&job.case.request.id)),
        _ => ("Open the inbox", format!("{}/inbox", gateway.url())),
    };
    let waits = match due {
        [_] => "A request still waits for you".to_owned(),
        _ => format!(
            "{} still wait for you",
            counted(due.len(), "request", "requests")
        ),
    };
    let mut lines: Vec<_> = due.iter().take(LISTED).map(title).collect();
    if due.len() > LISTED {
        lines.push(format!("And {} more.", due.len() - LISTED));
    }
    Reminder {
        text: waits,
        lines,
        link,
    }
}
