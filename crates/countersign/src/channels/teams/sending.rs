//! Sending messages in Teams.
//!
//! In scope: what is asked of the connector for one message.
//! Out of scope: which messages there should be ([`board`](super::super::board)).
//! Invariant: a message is in a conversation that the bundle names, or in one with the holder of an
//! account alone.

use std::{
    collections::HashMap,
    sync::PoisonError,
    time::{Duration, Instant},
};

use countersign_core::{
    lifecycle,
    request::{Case, Message},
};
use countersign_policy::channel::is_thread;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{
        alarm::Alarm,
        chat::Chat,
        messenger::{Failed, Made, Messenger, Sight},
        reminding::Reminder,
    },
    App,
    card::{self, MAX_VIEWS, Reader},
    incoming::text,
};
use crate::active::Active;

/// How long it is known what Teams calls somebody, and that it could not say so.
const KNOWN: Duration = Duration::from_secs(3_600);
const UNKNOWN: Duration = Duration::from_secs(300);
/// How long a card waits to know who gets a view of their own; the others ask for theirs.
const ASKING: Duration = Duration::from_secs(5);
/// Stands between a conversation and a message in it.
const MESSAGE: char = '|';

/// What Teams calls members of conversations, by conversation and account, and since when it is known.
pub(super) type Members = HashMap<(String, String), (Instant, Option<String>)>;

/// How a message is called: where, and which.
pub(super) fn message_name(conversation: &str, id: &str) -> String {
    format!("{conversation}{MESSAGE}{id}")
}

fn named(message: &str) -> (&str, &str) {
    message.rsplit_once(MESSAGE).unwrap_or_default()
}

/// Whether a conversation is a channel, in which messages begin conversations of their own.
pub(super) fn is_channel(conversation: &str) -> bool {
    let kind = conversation.rsplit_once("@thread.").map(|(_, kind)| kind);
    kind.is_some_and(|kind| kind == "tacv2" || kind == "skype")
}

/// A name that the connector gave something.
fn name(said: &Value, key: &str) -> Result<String, Failed> {
    let found = text(said, &[key]).map(str::to_owned);
    found.ok_or_else(|| Failed::Now(format!("Teams gave no `{key}`")))
}

impl App {
    fn bot(&self) -> Value {
        json!({ "id": format!("28:{}", self.teams.app) })
    }

    /// Sends a message into a conversation, and gives its name.
    pub(super) async fn send(&self, conversation: &str, made: &Made) -> Result<String, Failed> {
        let path = ["v3", "conversations", conversation, "activities"];
        let sent = self
            .connector
            .call(Method::POST, &path, Some(&made.content));
        let id = name(&sent.await?, "id")?;
        Ok(message_name(conversation, &id))
    }

    /// What Teams calls somebody in a conversation; `None` when they are not in it.
    async fn member(&self, conversation: &str, user: &str) -> Option<String> {
        let key = (conversation.to_owned(), user.to_owned());
        let known = {
            let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.get(&key).cloned()
        };
        if let Some((since, known)) = known
            && since.elapsed() < known.as_ref().map_or(UNKNOWN, |_| KNOWN)
        {
            return known;
        }
        let path = ["v3", "conversations", conversation, "members", user];
        let found = self.connector.call(Method::GET, &path, None).await;
        let found = found.ok().and_then(|one| name(&one, "id").ok());
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|_, (since, _)| since.elapsed() < KNOWN);
        members.insert(key, (Instant::now(), found.clone()));
        found
    }

    /// Those of a conversation who get a view of their own, because they can decide.
    async fn views(&self, sight: &Sight<'_>) -> Vec<String> {
        let now = self.chat.api.gateway.clock.now();
        let people = lifecycle::eligible_voters(sight.case, sight.active.world(), now);
        let mut views = Vec::new();
        let began = Instant::now();
        for person in people.into_keys() {
            let account = sight.accounts.of_person(&person);
            let user = account.and_then(|account| sight.accounts.users.get(&account));
            if let Some((_, user)) = user
                && let Ok(Some(member)) =
                    timeout(ASKING, self.member(sight.conversation, user)).await
            {
                views.push(member);
            }
            if views.len() == MAX_VIEWS || began.elapsed() > ASKING {
                break;
            }
        }
        views.sort();
        views
    }
}

impl Messenger for App {
    fn chat(&self) -> &Chat {
        &self.chat
    }

    async fn is_ours(&self) -> Result<(), String> {
        let token = self.connector.has_token().await;
        token.map_err(|error| format!("{error:#}"))
    }

    fn is_conversation(&self, place: &str) -> bool {
        is_thread(place)
    }

    async fn open(&self, user: &str) -> Result<String, Failed> {
        let wanted = json!({
            "bot": self.bot(),
            "isGroup": false,
            "members": [{ "id": user }],
            "tenantId": self.teams.tenant,
            "channelData": { "tenant": { "id": self.teams.tenant } },
        });
        let path = ["v3", "conversations"];
        let opened = self.connector.call(Method::POST, &path, Some(&wanted));
        name(&opened.await?, "id")
    }

    async fn card(&self, sight: &Sight<'_>) -> Made {
        let gateway = &self.chat.api.gateway;
        let views = match sight.reader {
            Some(_) => Vec::new(),
            None => self.views(sight).await,
        };
        let reader = match sight.reader {
            Some(person) => Reader::One {
                person,
                of_side: sight.of_side,
            },
            None => Reader::Everybody(&views),
        };
        let made = card::card(gateway, sight.active, sight.case, reader, None);
        let done = super::super::telling::is_done(sight.case);
        card::message(&card::summary(sight.case), &made, done)
    }

    fn bare(&self, active: &Active, case: &Case) -> Made {
        let made = card::bare(&self.chat.api.gateway, active, case);
        card::message(&card::summary(case), &made, false)
    }

    fn list(&self, lines: &[(String, String)], open: usize) -> Made {
        let more = lines.len().saturating_sub(super::super::acting::LISTED);
        let made = card::list(&self.chat.api.gateway, lines, (open, more));
        card::message("Requests", &made, open == 0)
    }

    fn said(&self, case: &Case, message: &Message) -> Made {
        let gateway = &self.chat.api.gateway;
        let made = card::said(gateway, &gateway.active(), case, message);
        card::message("Somebody said something about a request", &made, true)
    }

    fn alarm(&self, alarm: &Alarm) -> Made {
        card::message(&alarm.text, &card::alarm(alarm), true)
    }

    async fn post(&self, conversation: &str, _: &Case, made: &Made) -> Result<String, Failed> {
        self.announce(conversation, made).await
    }

    fn reminder(&self, reminder: &Reminder) -> Made {
        card::message(&reminder.text, &card::reminder(reminder), true)
    }

    async fn announce(&self, conversation: &str, made: &Made) -> Result<String, Failed> {
        if !is_channel(conversation) {
            return self.send(conversation, made).await;
        }
        let wanted = json!({
            "bot": self.bot(),
            "isGroup": true,
            "tenantId": self.teams.tenant,
            "channelData": {
                "channel": { "id": conversation },
                "tenant": { "id": self.teams.tenant },
            },
            "activity": made.content,
        });
        let path = ["v3", "conversations"];
        let opened = self
            .connector
            .call(Method::POST, &path, Some(&wanted))
            .await?;
        let (conversation, id) = (name(&opened, "id")?, name(&opened, "activityId")?);
        Ok(message_name(&conversation, &id))
    }

    async fn update(&self, message: &str, made: &Made) -> Result<(), Failed> {
        let (conversation, id) = named(message);
        let path = ["v3", "conversations", conversation, "activities", id];
        let updated = self.connector.call(Method::PUT, &path, Some(&made.content));
        updated.await.map(drop)
    }

    async fn reply(&self, message: &str, made: &Made) -> Result<String, Failed> {
        let (conversation, _) = named(message);
        self.send(conversation, made).await
    }

    async fn found(&self, _: &str, _: &Case) -> Result<Option<String>, Failed> {
        // A bot can't read what was posted: what may have arrived is sent again.
        Ok(None)
    }
}
