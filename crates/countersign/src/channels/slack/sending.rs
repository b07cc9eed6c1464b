//! Sending cards: one, a list in the place of many, and the thread below a card.
//!
//! In scope: what is asked of Slack for one place, and noting what came of it.
//! Out of scope: who is told where, and when ([`board`](super::board)).
//! Invariant: a card is noted before it is sent, and one whose sending broke off is looked for before
//! it is sent again.

use std::collections::BTreeSet;

use anyhow::Context;
use countersign_core::{
    canonical::Hash,
    id::RequestId,
    request::{Case, Message, Phase},
};
use countersign_policy::channel::is_id;
use countersign_runner::quote::reveal;
use countersign_store::{Card as Row, Write};
use serde_json::{Value, json};

use super::{
    board::{ASKED, Job, Keeper, SAID, message_name},
    card,
    web::{WebError, text},
};
use crate::active::Active;

/// How many messages are looked through for one whose sending broke off.
const LOOKED_THROUGH: &str = "200";
/// What marks a message as the card of a request.
const MARK: &str = "countersign_request";

impl Keeper {
    /// Brings about one card. Whether anything was sent.
    pub(super) async fn card(
        &mut self,
        active: &Active,
        job: &Job,
        lists: &mut BTreeSet<String>,
    ) -> anyhow::Result<bool> {
        let app = self.app.clone();
        let gateway = &app.api.gateway;
        let known = job.row.as_ref().and_then(|row| row.message.clone());
        if let Some(message) = &known {
            if lists.contains(message) {
                return Ok(false);
            }
            let all = gateway.store.carded(&app.name, message).await?;
            if all.len() > 1 {
                lists.insert(message.clone());
                return self.list(job, message, all).await;
            }
        }
        // Whoever unlinked their account keeps what they were shown, as it was.
        let Some(conversation) = self.conversation(&job.place).await? else {
            return Ok(false);
        };
        let side = self.of_side(active, &job.case);
        // Somebody an agent acts for confirms where a rule says so.
        let confirms = job.case.request.rules.iter().any(|rule| rule.confirmation);
        let of_side = !confirms && side.contains(job.place.trim_end_matches(ASKED));
        let made = card::card(gateway, active, &job.case, of_side);
        let shown = Hash::of(&serde_json::to_vec(&made.blocks)?);
        if job.row.as_ref().is_some_and(|row| row.shown == Some(shown)) {
            return Ok(false);
        }
        let row = |message: Option<String>, shown: Option<Hash>| Row {
            channel: app.name.to_string(),
            request: job.case.request.id.clone(),
            place: job.place.clone(),
            message,
            shown,
            done: made.done && shown.is_some(),
        };
        if known.is_none() && job.row.is_some() {
            // Sending broke off. What did arrive shows what was true then.
            if let Some(message) = self.found(&conversation, &job.case).await? {
                self.put(row(Some(message), None)).await?;
                return Ok(true);
            }
        }
        let sent = match &known {
            Some(message) => self.update(message, &job.case, &made).await,
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
                tracing::warn!(%error, %request, place = job.place, "Slack refuses a card");
                known
            }
            Err(error) => return Err(error.into()),
        };
        self.put(row(message, Some(shown))).await?;
        Ok(true)
    }

    /// Brings about the one message for many requests. Whether anything was sent.
    async fn list(&self, job: &Job, message: &str, all: Vec<RequestId>) -> anyhow::Result<bool> {
        let gateway = &self.app.api.gateway;
        let mut lines = Vec::new();
        let mut open = 0;
        for id in &all {
            let Some(case) = gateway.sealed_case(id).await? else {
                continue;
            };
            let waits = matches!(case.phase, Phase::Held { .. });
            open += usize::from(waits);
            lines.push((!waits, card::line(&case)));
        }
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        let made = card::digest(gateway, &lines, open);
        let shown = Some(Hash::of(&serde_json::to_vec(&made.blocks)?));
        let row = |request: RequestId| Row {
            channel: self.app.name.to_string(),
            request,
            place: job.place.clone(),
            message: Some(message.into()),
            shown,
            done: made.done,
        };
        let rows: Vec<Row> = all.into_iter().map(row).collect();
        let first = rows.first().map(|row| row.request.clone());
        let before = match first {
            Some(first) => gateway.store.cards(&self.app.name, &first).await?,
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
        let lines: Vec<_> = jobs.iter().map(|job| card::line(&job.case)).collect();
        let made = card::digest(&self.app.api.gateway, &lines, lines.len());
        let Some(first) = jobs.first() else {
            return Ok(false);
        };
        let message = self.post(&conversation, &first.case, &made).await?;
        let shown = Hash::of(&serde_json::to_vec(&made.blocks)?);
        let row = |job: &&Job| Row {
            channel: self.app.name.to_string(),
            request: job.case.request.id.clone(),
            place: place.into(),
            message: Some(message.clone()),
            shown: Some(shown),
            done: false,
        };
        let writes = jobs.iter().map(row).map(Write::PutCard).collect();
        self.app.api.gateway.store.commit(writes).await?;
        Ok(true)
    }

    pub(super) async fn put(&self, row: Row) -> anyhow::Result<()> {
        let store = &self.app.api.gateway.store;
        store.commit(vec![Write::PutCard(row)]).await?;
        Ok(())
    }

    /// The conversation of a place: that of an account is opened. `None` when nobody has it any more.
    pub(super) async fn conversation(&mut self, place: &str) -> anyhow::Result<Option<String>> {
        let place = place.trim_end_matches(ASKED);
        if is_id(place, &["C", "G"]) {
            return Ok(Some(place.to_owned()));
        }
        let Some((_, user)) = self.accounts.users.get(place) else {
            return Ok(None);
        };
        if let Some(known) = self.conversations.get(place) {
            return Ok(Some(known.clone()));
        }
        let arguments = json!({ "users": user });
        let opened = self.app.web.call("conversations.open", &arguments).await?;
        let conversation = text(&opened, &["channel", "id"]);
        let conversation = conversation
            .context("Slack named no conversation")?
            .to_owned();
        self.conversations
            .insert(place.into(), conversation.clone());
        Ok(Some(conversation))
    }

    async fn post(
        &self,
        conversation: &str,
        case: &Case,
        made: &card::Card,
    ) -> Result<String, WebError> {
        let arguments = json!({
            "channel": conversation,
            "text": made.text,
            "blocks": made.blocks,
            "unfurl_links": false,
            "unfurl_media": false,
            "metadata": {
                "event_type": MARK,
                "event_payload": { "request": case.request.id },
            },
        });
        let posted = self.show("chat.postMessage", arguments, case).await?;
        named(&posted, conversation)
    }

    /// Shows something, or that it is on the request's page where Slack doesn't take it.
    async fn show(
        &self,
        method: &'static str,
        mut arguments: Value,
        case: &Case,
    ) -> Result<Value, WebError> {
        let shown = self.app.web.call(method, &arguments).await;
        match shown {
            Err(error) if error.is_unshowable() => {
                tracing::warn!(%error, request = %case.request.id, "Slack doesn't take a card");
                let gateway = &self.app.api.gateway;
                let bare = card::bare(gateway, &gateway.active(), case);
                if let Some(fields) = arguments.as_object_mut() {
                    fields.insert("text".into(), json!(bare.text));
                    fields.insert("blocks".into(), json!(bare.blocks));
                }
                self.app.web.call(method, &arguments).await
            }
            shown => shown,
        }
    }

    /// Shows something else in a message, and gives its name back.
    async fn update(
        &self,
        message: &str,
        case: &Case,
        made: &card::Card,
    ) -> Result<String, WebError> {
        let (conversation, at) = message.split_once(':').unwrap_or_default();
        let arguments = json!({
            "channel": conversation,
            "ts": at,
            "text": made.text,
            "blocks": made.blocks,
        });
        match self.show("chat.update", arguments, case).await {
            // Somebody deleted it, which they may.
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(message.to_owned()),
        }
    }

    /// The card of a request whose sending broke off, where it arrived.
    async fn found(&self, conversation: &str, case: &Case) -> anyhow::Result<Option<String>> {
        let since = case.request.at.0 / 1_000 - 60;
        let since = since.to_string();
        let arguments = [
            ("channel", conversation),
            ("limit", LOOKED_THROUGH),
            ("oldest", &since),
            ("include_all_metadata", "true"),
        ];
        let history = self
            .app
            .web
            .read("conversations.history", &arguments)
            .await?;
        let messages = history.get("messages").and_then(Value::as_array);
        let ours = |message: &&Value| {
            let request = text(message, &["metadata", "event_payload", "request"]);
            text(message, &["app_id"]) == Some(self.app.slack.app.as_str())
                && text(message, &["metadata", "event_type"]) == Some(MARK)
                && request == Some(case.request.id.as_str())
        };
        let found = messages.into_iter().flatten().find(ours);
        Ok(found.and_then(|one| Some(message_name(conversation, text(one, &["ts"])?))))
    }

    /// Says one thing in a card's thread that was said elsewhere, where least was said so far: nobody's
    /// words keep those of others waiting. Whether there was anything.
    pub(super) async fn comment(&self, jobs: &[Job]) -> anyhow::Result<bool> {
        let store = &self.app.api.gateway.store;
        let mut next: Option<(usize, &Job, &Message)> = None;
        for job in jobs {
            let rows = store.cards(&self.app.name, &job.case.request.id).await?;
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
        let store = &self.app.api.gateway.store;
        let id = &job.case.request.id;
        let rows = store.cards(&self.app.name, id).await?;
        let card = rows.into_iter().find(|row| row.place == job.place);
        let card = card.and_then(|row| row.message).unwrap_or_default();
        let (conversation, at) = card.split_once(':').unwrap_or_default();
        let arguments = json!({
            "channel": conversation,
            "thread_ts": at,
            "text": card::escaped(&format!("{}: {}", said.by, reveal(&said.text))),
            "blocks": card::said(said),
            "unfurl_links": false,
            "unfurl_media": false,
        });
        // A list has no conversation of its own.
        let message = match store.carded(&self.app.name, &card).await?.len() {
            0 | 1 => match self.app.web.call("chat.postMessage", &arguments).await {
                Ok(posted) => Some(named(&posted, conversation)?),
                Err(error) if error.is_of_one_message() => {
                    tracing::warn!(%error, request = %id, "Slack refuses a message of a thread");
                    None
                }
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        self.put(Row {
            channel: self.app.name.to_string(),
            request: id.clone(),
            place: format!("{}{SAID}{}", job.place, said.id),
            message,
            shown: None,
            done: true,
        })
        .await
    }
}

/// The name of a message that Slack took.
pub(super) fn named(posted: &Value, conversation: &str) -> Result<String, WebError> {
    let at = text(posted, &["ts"]).ok_or_else(|| WebError::Unanswered {
        method: "chat.postMessage",
        why: "Slack gave a message no name".into(),
    })?;
    let conversation = text(posted, &["channel"]).unwrap_or(conversation);
    Ok(message_name(conversation, at))
}
