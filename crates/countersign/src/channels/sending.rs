//! Sending cards: one, a list in the place of many, and the conversation below a card.
//!
//! In scope: what is asked of a chat for one place, and noting what came of it.
//! Out of scope: who is told where, and when ([`board`](super::board)); how it is sent
//! ([`messenger`](super::messenger)).
//! Invariant: a card is noted before it is sent, and one whose sending broke off is looked for before
//! it is sent again.

use std::collections::BTreeSet;

use countersign_core::{
    canonical::Hash,
    id::RequestId,
    request::{Case, Message, Phase},
};
use countersign_store::{Card as Row, Write};

use super::{
    board::{ASKED, Job, Keeper, SAID},
    messenger::{Failed, Made, Messenger, Sight},
    telling,
};
use crate::active::Active;

impl<M: Messenger> Keeper<M> {
    /// Brings about one card. Whether anything was sent.
    pub(super) async fn card(
        &mut self,
        active: &Active,
        job: &Job,
        lists: &mut BTreeSet<String>,
    ) -> anyhow::Result<bool> {
        let app = self.app.clone();
        let gateway = &app.chat().api.gateway;
        let known = job.row.as_ref().and_then(|row| row.message.clone());
        if let Some(message) = &known {
            if lists.contains(message) {
                return Ok(false);
            }
            let all = gateway.store.carded(&app.chat().name, message).await?;
            if all.len() > 1 {
                lists.insert(message.clone());
                return self.list(job, message, all).await;
            }
        }
        // Whoever unlinked their account keeps what they were shown, as it was.
        let Some(conversation) = self.conversation(&job.place).await? else {
            return Ok(false);
        };
        let made = self.made(active, job, &conversation).await;
        let shown = made.shown()?;
        if job.row.as_ref().is_some_and(|row| row.shown == Some(shown)) {
            return Ok(false);
        }
        let row = |message: Option<String>, shown: Option<Hash>| Row {
            channel: app.chat().name.to_string(),
            request: job.case.request.id.clone(),
            place: job.place.clone(),
            message,
            shown,
            done: made.done && shown.is_some(),
        };
        if known.is_none() && job.row.is_some() {
            // Sending broke off. What did arrive shows what was true then.
            if let Some(message) = app.found(&conversation, &job.case).await? {
                self.put(row(Some(message), None)).await?;
                return Ok(true);
            }
        }
        let sent = match &known {
            Some(message) => {
                let updated = self.update(message, &job.case, &made).await;
                updated.map(|()| message.clone())
            }
            None => {
                self.put(row(None, None)).await?;
                self.post(&conversation, &job.case, &made).await
            }
        };
        let message = match sent {
            Ok(message) => Some(message),
            // This one alone: it is tried again when there is something else to show.
            Err(error) if error.is_of_one_message() => {
                let request = &job.case.request.id;
                tracing::warn!(%error, %request, place = job.place, "a chat refuses a card");
                known
            }
            Err(error) => return Err(error.into()),
        };
        self.put(row(message, Some(shown))).await?;
        Ok(true)
    }

    /// What a card says in its place now.
    async fn made(&self, active: &Active, job: &Job, conversation: &str) -> Made {
        let side = self.of_side(active, &job.case);
        // Somebody an agent acts for confirms where a rule says so.
        let confirms = job.case.request.rules.iter().any(|rule| rule.confirmation);
        let account = job.place.trim_end_matches(ASKED);
        let reader = self.accounts.users.get(account);
        let sight = Sight {
            active,
            case: &job.case,
            conversation,
            reader: reader.map(|(person, _)| person),
            of_side: !confirms && side.contains(account),
            accounts: &self.accounts,
        };
        self.app.card(&sight).await
    }

    /// Brings about the one message for many requests. Whether anything was sent.
    async fn list(&self, job: &Job, message: &str, all: Vec<RequestId>) -> anyhow::Result<bool> {
        let gateway = &self.app.chat().api.gateway;
        let mut lines = Vec::new();
        let mut open = 0;
        for id in &all {
            let Some(case) = gateway.sealed_case(id).await? else {
                continue;
            };
            let waits = matches!(case.phase, Phase::Held { .. });
            open += usize::from(waits);
            lines.push((!waits, telling::line(&case)));
        }
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        let made = self.app.list(&lines, open);
        let shown = Some(made.shown()?);
        let row = |request: RequestId| Row {
            channel: self.app.chat().name.to_string(),
            request,
            place: job.place.clone(),
            message: Some(message.into()),
            shown,
            done: made.done,
        };
        let rows: Vec<Row> = all.into_iter().map(row).collect();
        let first = rows.first().map(|row| row.request.clone());
        let before = match first {
            Some(first) => gateway.store.cards(&self.app.chat().name, &first).await?,
            None => Vec::new(),
        };
        if before
            .iter()
            .any(|row| row.place == job.place && row.shown == shown)
        {
            return Ok(false);
        }
        match self.update(message, &job.case, &made).await {
            Err(error) if !error.is_of_one_message() => return Err(error.into()),
            _ => {}
        }
        let writes = rows.into_iter().map(Write::PutCard).collect();
        gateway.store.commit(writes).await?;
        Ok(true)
    }

    /// One message for many requests at once.
    pub(super) async fn flood(&mut self, place: &str, jobs: &[&Job]) -> anyhow::Result<bool> {
        let Some(conversation) = self.conversation(place).await? else {
            return Ok(false);
        };
        let lines: Vec<_> = jobs.iter().map(|job| telling::line(&job.case)).collect();
        let made = self.app.list(&lines, lines.len());
        let Some(first) = jobs.first() else {
            return Ok(false);
        };
        let message = self.post(&conversation, &first.case, &made).await?;
        let shown = made.shown()?;
        let row = |job: &&Job| Row {
            channel: self.app.chat().name.to_string(),
            request: job.case.request.id.clone(),
            place: place.into(),
            message: Some(message.clone()),
            shown: Some(shown),
            done: false,
        };
        let writes = jobs.iter().map(row).map(Write::PutCard).collect();
        self.app.chat().api.gateway.store.commit(writes).await?;
        Ok(true)
    }

    pub(super) async fn put(&self, row: Row) -> anyhow::Result<()> {
        let store = &self.app.chat().api.gateway.store;
        store.commit(vec![Write::PutCard(row)]).await?;
        Ok(())
    }

    /// The conversation of a place: that of an account is opened. `None` when nobody has it any more.
    pub(super) async fn conversation(&mut self, place: &str) -> anyhow::Result<Option<String>> {
        let place = place.trim_end_matches(ASKED);
        if self.app.is_conversation(place) {
            return Ok(Some(place.to_owned()));
        }
        let Some((_, user)) = self.accounts.users.get(place) else {
            return Ok(None);
        };
        if let Some(known) = self.conversations.get(place) {
            return Ok(Some(known.clone()));
        }
        let conversation = self.app.open(user).await?;
        self.conversations
            .insert(place.into(), conversation.clone());
        Ok(Some(conversation))
    }

    /// Posts a card, or that it is on the request's page where the chat doesn't take it.
    async fn post(&self, conversation: &str, case: &Case, made: &Made) -> Result<String, Failed> {
        match self.app.post(conversation, case, made).await {
            Err(error @ Failed::Unshowable(_)) => {
                let bare = self.bare(case, &error);
                self.app.post(conversation, case, &bare).await
            }
            posted => posted,
        }
    }

    fn bare(&self, case: &Case, error: &Failed) -> Made {
        tracing::warn!(%error, request = %case.request.id, "a chat doesn't take a card");
        let active = self.app.chat().api.gateway.active();
        self.app.bare(&active, case)
    }

    /// Shows something else in a message.
    async fn update(&self, message: &str, case: &Case, made: &Made) -> Result<(), Failed> {
        let updated = match self.app.update(message, made).await {
            Err(error @ Failed::Unshowable(_)) => {
                let bare = self.bare(case, &error);
                self.app.update(message, &bare).await
            }
            updated => updated,
        };
        match updated {
            // Somebody deleted it, which they may.
            Err(Failed::Gone(_)) => Ok(()),
            updated => updated,
        }
    }

    /// Says one thing in a card's thread that was said elsewhere, where least was said so far: nobody's
    /// words keep those of others waiting. Whether there was anything.
    pub(super) async fn comment(&self, jobs: &[Job]) -> anyhow::Result<bool> {
        let store = &self.app.chat().api.gateway.store;
        let mut next: Option<(usize, &Job, &Message)> = None;
        for job in jobs {
            let rows = store
                .cards(&self.app.chat().name, &job.case.request.id)
                .await?;
            let place = |said: &Message| format!("{}{SAID}{}", job.place, said.id);
            let is_said = |said: &&Message| rows.iter().any(|row| row.place == place(said));
            let below = rows.iter().find(|row| row.place == job.place);
            if below.is_none_or(|row| row.message.is_none()) {
                continue;
            }
            let said = job.case.conversation.iter().filter(is_said).count();
            let first = job.case.conversation.iter().find(|one| !is_said(one));
            if let Some(first) = first.filter(|_| next.is_none_or(|(least, ..)| said < least)) {
                next = Some((said, job, first));
            }
        }
        match next {
            Some((_, job, said)) => self.say(job, said).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn say(&self, job: &Job, said: &Message) -> anyhow::Result<()> {
        let store = &self.app.chat().api.gateway.store;
        let id = &job.case.request.id;
        let rows = store.cards(&self.app.chat().name, id).await?;
        let card = rows.into_iter().find(|row| row.place == job.place);
        let card = card.and_then(|row| row.message).unwrap_or_default();
        // A list has no conversation of its own.
        let message = match store.carded(&self.app.chat().name, &card).await?.len() {
            0 | 1 => match self.app.reply(&card, &self.app.said(&job.case, said)).await {
                Ok(posted) => Some(posted),
                Err(error) if error.is_of_one_message() => {
                    tracing::warn!(%error, request = %id, "a chat refuses a message below a card");
                    None
                }
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        self.put(Row {
            channel: self.app.chat().name.to_string(),
            request: id.clone(),
            place: format!("{}{SAID}{}", job.place, said.id),
            message,
            shown: None,
            done: true,
        })
        .await
    }
}
