//! Sending messages in Slack.
//!
//! In scope: what is asked of Slack for one message.
//! Out of scope: which messages there should be ([`board`](super::super::board)).
//! Invariant: a card is marked with its request, so that one whose sending broke off is found again.

use countersign_core::request::{Case, Message};
use countersign_policy::channel::is_id;
use serde_json::{Value, json};

use super::{
    super::{
        alarm::Alarm,
        chat::Chat,
        messenger::{Failed, Made, Messenger, Sight},
        reminding::Reminder,
    },
    App, card,
    web::{WebError, text},
};
use crate::active::Active;

/// How many messages are looked through for one whose sending broke off.
const LOOKED_THROUGH: &str = "200";
/// What marks a message as the card of a request.
const MARK: &str = "countersign_request";

/// How a message is called: where and when.
pub(super) fn message_name(conversation: &str, at: &str) -> String {
    format!("{conversation}:{at}")
}

/// Arguments of a method, with what a message shows.
fn showing(mut arguments: Value, made: &Made) -> Value {
    let content = made.content.as_object();
    if let (Some(arguments), Some(content)) = (arguments.as_object_mut(), content) {
        arguments.extend(content.clone());
    }
    arguments
}

impl Messenger for App {
    fn chat(&self) -> &Chat {
        &self.chat
    }

    async fn is_ours(&self) -> Result<(), String> {
        let ours = &self.slack.team;
        match self.web.call("auth.test", &json!({})).await {
            Ok(who) if text(&who, &["team_id"]) == Some(ours) => Ok(()),
            Ok(who) => {
                let theirs = text(&who, &["team_id"]).unwrap_or("nobody's");
                Err(format!(
                    "`bot_token` is of the workspace {theirs}, and `team` is {ours}"
                ))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn is_conversation(&self, place: &str) -> bool {
        is_id(place, &["C", "G"])
    }

    async fn open(&self, user: &str) -> Result<String, Failed> {
        let arguments = json!({ "users": user });
        let opened = self.web.call("conversations.open", &arguments).await?;
        let conversation = text(&opened, &["channel", "id"]).map(str::to_owned);
        conversation.ok_or_else(|| Failed::Now("Slack named no conversation".into()))
    }

    async fn card(&self, sight: &Sight<'_>) -> Made {
        let gateway = &self.chat.api.gateway;
        card::card(gateway, sight.active, sight.case, sight.of_side)
    }

    fn bare(&self, active: &Active, case: &Case) -> Made {
        card::bare(&self.chat.api.gateway, active, case)
    }

    fn list(&self, lines: &[(String, String)], open: usize) -> Made {
        card::digest(&self.chat.api.gateway, lines, open)
    }

    fn said(&self, _: &Case, message: &Message) -> Made {
        card::said(message)
    }

    fn alarm(&self, alarm: &Alarm) -> Made {
        card::alarm(alarm)
    }

    fn reminder(&self, reminder: &Reminder) -> Made {
        card::reminder(reminder)
    }

    async fn announce(&self, conversation: &str, made: &Made) -> Result<String, Failed> {
        let arguments = json!({
            "channel": conversation,
            "unfurl_links": false,
            "unfurl_media": false,
        });
        let arguments = showing(arguments, made);
        let posted = self.web.call("chat.postMessage", &arguments).await?;
        Ok(named(&posted, conversation)?)
    }

    async fn post(&self, conversation: &str, case: &Case, made: &Made) -> Result<String, Failed> {
        let arguments = json!({
            "channel": conversation,
            "unfurl_links": false,
            "unfurl_media": false,
            "metadata": {
                "event_type": MARK,
                "event_payload": { "request": case.request.id },
            },
        });
        let arguments = showing(arguments, made);
        let posted = self.web.call("chat.postMessage", &arguments).await?;
        Ok(named(&posted, conversation)?)
    }

    async fn update(&self, message: &str, made: &Made) -> Result<(), Failed> {
        let (conversation, at) = message.split_once(':').unwrap_or_default();
        let arguments = showing(json!({ "channel": conversation, "ts": at }), made);
        self.web.call("chat.update", &arguments).await?;
        Ok(())
    }

    async fn reply(&self, message: &str, made: &Made) -> Result<String, Failed> {
        let (conversation, at) = message.split_once(':').unwrap_or_default();
        let arguments = json!({
            "channel": conversation,
            "thread_ts": at,
            "unfurl_links": false,
            "unfurl_media": false,
        });
        let arguments = showing(arguments, made);
        let posted = self.web.call("chat.postMessage", &arguments).await?;
        Ok(named(&posted, conversation)?)
    }

    async fn found(&self, conversation: &str, case: &Case) -> Result<Option<String>, Failed> {
        let since = case.request.at.0 / 1_000 - 60;
        let since = since.to_string();
        let arguments = [
            ("channel", conversation),
            ("limit", LOOKED_THROUGH),
            ("oldest", &since),
            ("include_all_metadata", "true"),
        ];
        let history = self.web.read("conversations.history", &arguments).await?;
        let messages = history.get("messages").and_then(Value::as_array);
        let ours = |message: &&Value| {
            let request = text(message, &["metadata", "event_payload", "request"]);
            text(message, &["app_id"]) == Some(self.slack.app.as_str())
                && text(message, &["metadata", "event_type"]) == Some(MARK)
                && request == Some(case.request.id.as_str())
        };
        let found = messages.into_iter().flatten().find(ours);
        Ok(found.and_then(|one| Some(message_name(conversation, text(one, &["ts"])?))))
    }
}

impl From<WebError> for Failed {
    fn from(error: WebError) -> Self {
        let said = error.to_string();
        match error {
            WebError::Limited(wait) => Self::Limited(wait),
            error if error.is_gone() => Self::Gone(said),
            error if error.is_unshowable() => Self::Unshowable(said),
            error if error.is_of_one_message() => Self::Refused(said),
            _ => Self::Now(said),
        }
    }
}

/// The name of a message that Slack took.
fn named(posted: &Value, conversation: &str) -> Result<String, WebError> {
    let at = text(posted, &["ts"]).ok_or_else(|| WebError::Unanswered {
        method: "chat.postMessage",
        why: "Slack gave a message no name".into(),
    })?;
    let conversation = text(posted, &["channel"]).unwrap_or(conversation);
    Ok(message_name(conversation, at))
}
