//! What Teams sends: clicks on cards, messages, that the bot was installed.
//!
//! In scope: reading it strictly; whom Teams says it comes from.
//! Out of scope: whether it comes from Teams ([`token`](super::token)).
//! Invariant: who acted is read from Teams' own fields and by ids only. Whatever comes from another
//! tenant is nobody's, and nothing of it is acted upon. Something without a name of its own, or without
//! a time, could come twice and is not acted upon.
//! Specification: <https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-activities>

use countersign_policy::{Teams, channel::is_guid};
use serde_json::Value;

/// The longest name of something that comes in.
const MAX_ID: usize = 512;
/// What a click on a card is called.
const CLICK: &str = "adaptiveCard/action";

/// Somebody in the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Their object id in Entra ID.
    pub(super) user: String,
    /// What they are called there; anybody can call themselves anything.
    pub(super) called: String,
}

/// A click on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Click {
    /// Its verb.
    pub(super) verb: String,
    /// The request and what was shown, as the button carries them.
    pub(super) value: String,
    /// What was written beside the button.
    pub(super) words: String,
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The conversation; in a channel it has the name of the message that began it.
    pub(super) conversation: String,
    /// Whether nobody else reads it.
    pub(super) personal: bool,
    /// The message's own name.
    pub(super) message: String,
}

/// Something to act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A click whose answer is shown to whoever clicked.
    Click { who: Who, click: Click },
    /// The same from a client that can't show an answer.
    Submit { who: Who, click: Click },
    /// A message to the bot.
    Said {
        who: Who,
        place: Place,
        text: String,
    },
    /// Somebody installed the bot, or it came into a conversation.
    Joined,
}

/// What came, by what the same is recognised, and when it was sent, in seconds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// To act upon.
    Act(Box<Incoming>, String, i64),
    /// Nothing to do with us, or nothing to do.
    Nothing,
    /// From elsewhere, or not in Teams' form.
    Foreign(&'static str),
}

/// A text within an activity; nothing where there is none, or an empty one.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    found.as_str().filter(|text| !text.is_empty())
}

/// Reads an activity whose token was good.
pub(super) fn read(teams: &Teams, activity: &Value) -> Read {
    let tenants = [
        text(activity, &["channelData", "tenant", "id"]),
        text(activity, &["conversation", "tenantId"]),
        text(activity, &["from", "tenantId"]),
    ];
    let ours = |tenant: &Option<&str>| {
        tenant.is_none_or(|tenant| tenant.eq_ignore_ascii_case(&teams.tenant))
    };
    let said = tenants.iter().take(2).any(Option::is_some);
    if !said || !tenants.iter().all(ours) {
        return Read::Foreign("it is of another tenant");
    }
    let kind = text(activity, &["type"]).unwrap_or_default();
    if ![
        "message",
        "invoke",
        "installationUpdate",
        "conversationUpdate",
    ]
    .contains(&kind)
    {
        return Read::Nothing;
    }
    let (Some(conversation), Some(id), Some(seconds)) = (
        text(activity, &["conversation", "id"]),
        text(activity, &["id"]),
        sent(activity),
    ) else {
        return Read::Foreign("it has no name, place or time");
    };
    if conversation.len() > MAX_ID || id.len() > MAX_ID {
        return Read::Foreign("its name is too long");
    }
    let incoming = match kind {
        "invoke" | "message" => acted(activity, kind, (conversation, id)),
        _ => Ok(Some(Incoming::Joined)),
    };
    match incoming {
        Ok(Some(incoming)) => {
            Read::Act(Box::new(incoming), format!("{conversation} {id}"), seconds)
        }
        Ok(None) => Read::Nothing,
        Err(why) => Read::Foreign(why),
    }
}

/// When an activity was sent.
fn sent(activity: &Value) -> Option<i64> {
    let at: jiff::Timestamp = text(activity, &["timestamp"])?.parse().ok()?;
    Some(at.as_second())
}

/// Reads what somebody did.
fn acted(
    activity: &Value,
    kind: &str,
    (conversation, id): (&str, &str),
) -> Result<Option<Incoming>, &'static str> {
    let user = text(activity, &["from", "aadObjectId"]).map(str::to_ascii_lowercase);
    let user = user.filter(|user| is_guid(user)).ok_or("it names nobody")?;
    let who = Who {
        user,
        called: text(activity, &["from", "name"]).unwrap_or_default().into(),
    };
    if kind == "invoke" {
        if text(activity, &["name"]) != Some(CLICK) {
            return Ok(None);
        }
        let action = activity.get("value").and_then(|value| value.get("action"));
        let action = action.unwrap_or(&Value::Null);
        let verb = text(action, &["verb"]);
        let click = verb.and_then(|verb| click(verb, action.get("data")?));
        return Ok(click.map(|click| Incoming::Click { who, click }));
    }
    if let Some(value) = activity.get("value").filter(|value| value.is_object()) {
        let click = text(value, &["verb"]).and_then(|verb| click(verb, value));
        return Ok(click.map(|click| Incoming::Submit { who, click }));
    }
    let place = Place {
        conversation: conversation.into(),
        personal: text(activity, &["conversation", "conversationType"]) == Some("personal"),
        message: id.into(),
    };
    let text = without_mentions(activity);
    Ok(Some(Incoming::Said { who, place, text }))
}

fn click(verb: &str, data: &Value) -> Option<Click> {
    let words = format!("{verb}_words");
    Some(Click {
        verb: verb.into(),
        value: text(data, &["request"])?.into(),
        words: text(data, &[&words]).unwrap_or_default().into(),
    })
}

/// What somebody wrote, without the names of whom they wrote it to.
fn without_mentions(activity: &Value) -> String {
    let mut said = text(activity, &["text"]).unwrap_or_default().to_owned();
    let bot = text(activity, &["recipient", "id"]);
    let entities = activity.get("entities").and_then(Value::as_array);
    let mentions = entities.into_iter().flatten().filter(|one| {
        text(one, &["type"]) == Some("mention") && text(one, &["mentioned", "id"]) == bot
    });
    for mention in mentions {
        if let Some(name) = text(mention, &["text"]) {
            said = said.replace(name, " ");
        }
    }
    said.replace("&nbsp;", " ").trim().to_owned()
}
