//! What Slack sends: clicks, dialogs, commands, messages.
//!
//! In scope: reading it strictly; whom Slack says it comes from.
//! Out of scope: whether it comes from Slack (the signature, or the socket it came over).
//! Invariant: who acted is read from Slack's own fields and by ids only. Whatever comes from another
//! app, workspace or organisation than the bundle's is nobody's, and nothing of it is acted upon.
//! Specification: <https://docs.slack.dev/reference/interaction-payloads/>

use countersign_policy::Slack;
use serde_json::Value;

use super::web::text;

/// Somebody in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Their id.
    pub(super) user: String,
    /// What they are called there; anybody can call themselves anything.
    pub(super) called: String,
    /// Where they acted, so that only they are answered there.
    pub(super) channel: Option<String>,
}

/// Something to act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A button.
    Button {
        who: Who,
        /// Its verb.
        verb: String,
        /// What it carries.
        value: String,
        /// With which a dialog is opened, once and soon.
        trigger: String,
    },
    /// A dialog that was sent off.
    Dialog {
        who: Who,
        verb: String,
        value: String,
        words: String,
    },
    /// The command with what was written behind it.
    Command { who: Who, text: String },
    /// A message in a thread.
    Said {
        who: Who,
        channel: String,
        thread: String,
        message: String,
        text: String,
    },
}

/// What came, and by what the same is recognised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// To act upon; the text is Slack's own name for this one occurrence.
    Act(Box<Incoming>, String),
    /// Slack wants this word back.
    Challenge(String),
    /// Nothing to do with us, or nothing to do.
    Nothing,
    /// From elsewhere, or not in Slack's form.
    Foreign(&'static str),
}

/// Whether ids are of the workspace: each that is there has to be, and the first has to be there.
fn is_of(slack: &Slack, app: Option<&str>, teams: &[Option<&str>], org: Option<&str>) -> bool {
    let of_team = |team: &Option<&str>| team.is_none_or(|team| team == slack.team);
    let said = teams.first().is_some_and(Option::is_some);
    let of_org = match (&slack.enterprise, org) {
        (Some(ours), org) => org == Some(ours.as_str()),
        (None, org) => org.is_none(),
    };
    app == Some(slack.app.as_str()) && said && teams.iter().all(of_team) && of_org
}

/// Reads an interaction: a button or a dialog.
pub(super) fn interaction(slack: &Slack, payload: &Value) -> Read {
    let teams = [
        text(payload, &["team", "id"]),
        text(payload, &["user", "team_id"]),
    ];
    let org = text(payload, &["enterprise", "id"]);
    if !is_of(slack, text(payload, &["api_app_id"]), &teams, org) {
        return Read::Foreign("it is of another app or workspace");
    }
    let Some(user) = text(payload, &["user", "id"]) else {
        return Read::Foreign("it names nobody");
    };
    let called = text(payload, &["user", "username"]).or(text(payload, &["user", "name"]));
    let container = text(payload, &["container", "channel_id"]);
    let who = Who {
        user: user.into(),
        called: called.unwrap_or_default().into(),
        channel: text(payload, &["channel", "id"])
            .or(container)
            .map(Into::into),
    };
    match text(payload, &["type"]) {
        Some("block_actions") => button(payload, who),
        Some("view_submission") => dialog(payload, who),
        _ => Read::Nothing,
    }
}

fn button(payload: &Value, who: Who) -> Read {
    let actions = payload.get("actions").and_then(Value::as_array);
    let Some([action]) = actions.map(Vec::as_slice) else {
        return Read::Foreign("it is not one click");
    };
    let trigger = text(payload, &["trigger_id"]);
    let (Some(verb), Some(value), Some(trigger)) = (
        text(action, &["action_id"]),
        text(action, &["value"]),
        trigger,
    ) else {
        return Read::Nothing;
    };
    let once = format!("{trigger} {verb}");
    let incoming = Incoming::Button {
        who,
        verb: verb.into(),
        value: value.into(),
        trigger: trigger.into(),
    };
    Read::Act(Box::new(incoming), once)
}

fn dialog(payload: &Value, who: Who) -> Read {
    let verb = text(payload, &["view", "callback_id"]);
    let value = text(payload, &["view", "private_metadata"]);
    let trigger = text(payload, &["trigger_id"]);
    let (Some(verb), Some(value), Some(trigger)) = (verb, value, trigger) else {
        return Read::Nothing;
    };
    let words = text(
        payload,
        &["view", "state", "values", "words", "words", "value"],
    );
    let once = format!("{trigger} {verb}");
    let incoming = Incoming::Dialog {
        who,
        verb: verb.into(),
        value: value.into(),
        words: words.unwrap_or_default().into(),
    };
    Read::Act(Box::new(incoming), once)
}

/// Reads a command, as its fields.
pub(super) fn command(slack: &Slack, fields: &Value) -> Read {
    let teams = [text(fields, &["team_id"])];
    let org = text(fields, &["enterprise_id"]);
    if !is_of(slack, text(fields, &["api_app_id"]), &teams, org) {
        return Read::Foreign("it is of another app or workspace");
    }
    let (Some(user), Some(trigger)) = (text(fields, &["user_id"]), text(fields, &["trigger_id"]))
    else {
        return Read::Foreign("it names nobody");
    };
    let incoming = Incoming::Command {
        who: Who {
            user: user.into(),
            called: text(fields, &["user_name"]).unwrap_or_default().into(),
            channel: text(fields, &["channel_id"]).map(Into::into),
        },
        text: text(fields, &["text"]).unwrap_or_default().trim().into(),
    };
    Read::Act(Box::new(incoming), trigger.into())
}

/// Reads an event.
pub(super) fn event(slack: &Slack, envelope: &Value) -> Read {
    if text(envelope, &["type"]) == Some("url_verification") {
        let challenge = text(envelope, &["challenge"]).unwrap_or_default();
        return Read::Challenge(challenge.into());
    }
    let event = |key| text(envelope, &["event", key]);
    let teams = [
        text(envelope, &["team_id"]),
        event("team"),
        event("user_team"),
        event("source_team"),
    ];
    let org = text(envelope, &["enterprise_id"]);
    if !is_of(slack, text(envelope, &["api_app_id"]), &teams, org) {
        return Read::Foreign("it is of another app or workspace");
    }
    let ours = event("type") == Some("message") && event("subtype").is_none();
    if !ours || event("bot_id").is_some() {
        return Read::Nothing;
    }
    let (Some(user), Some(channel), Some(thread), Some(message), Some(words)) = (
        event("user"),
        event("channel"),
        event("thread_ts"),
        event("ts"),
        event("text"),
    ) else {
        return Read::Nothing;
    };
    let incoming = Incoming::Said {
        who: Who {
            user: user.into(),
            called: String::new(),
            channel: Some(channel.into()),
        },
        channel: channel.into(),
        thread: thread.into(),
        message: message.into(),
        text: unescaped(words),
    };
    // Slack sends a message again that it thinks was not taken; its time is its name.
    Read::Act(Box::new(incoming), format!("{channel} {message}"))
}

/// What somebody wrote, without Slack's own escapes.
fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
