//! Doing what somebody clicked or wrote in Slack.
//!
//! In scope: what each thing that comes in asks for, and the form in which Slack is answered.
//! Out of scope: doing it, which is the same in every chat ([`acting`](super::super::acting)).
//! Invariant: what is refused is told to whoever tried, and to nobody else.

use std::sync::Arc;

use countersign_core::{approval::vote::Verdict, request::MessageKind};
use serde_json::{Value, json};

use super::{
    super::{
        acting::LISTED,
        board::Wish,
        telling::{self, Verb},
    },
    App, card,
    incoming::{Incoming, Who},
    sending::message_name,
};

/// Does it. What is returned is Slack's answer, where it waits for one.
pub(super) async fn act(app: &Arc<App>, incoming: Incoming) -> Option<Value> {
    match incoming {
        Incoming::Button {
            who,
            verb,
            value,
            trigger,
        } => {
            if let Err(why) = button(app, &who, (&verb, &value, trigger)).await {
                app.tell(who, why);
            }
            None
        }
        Incoming::Dialog {
            who,
            verb,
            value,
            words,
        } => match dialog(app, &who, (&verb, &value), words).await {
            Ok(()) => None,
            Err(why) => Some(json!({
                "response_action": "errors",
                "errors": { "words": why },
            })),
        },
        Incoming::Command { who, text } => Some(command(app, &who, &text).await),
        Incoming::Said {
            who,
            channel,
            thread,
            message,
            text,
        } => {
            let card = message_name(&channel, &thread);
            let message = message_name(&channel, &message);
            match app.chat.said(&who.user, (&card, message), text).await {
                Ok(()) => {}
                Err(why) => app.tell(who, why),
            }
            None
        }
    }
}

async fn button(
    app: &Arc<App>,
    who: &Who,
    (verb, value, trigger): (&str, &str, String),
) -> Result<(), String> {
    // A link that Slack opens by itself.
    if verb == "open" {
        return Ok(());
    }
    let chat = &app.chat;
    let caller = chat.caller(&who.user).await?;
    let (id, shown) = telling::carried(value)?;
    if verb == "show" {
        chat.case_of(&caller, &id).await?;
        chat.wish(Wish::Show(id, caller.credential.id.clone()));
        return Ok(());
    }
    if verb == "withdraw" {
        return chat.withdraw(&caller, &id).await;
    }
    let verb = Verb::of(verb).ok_or("There is no such button.")?;
    let case = chat.case_of(&caller, &id).await?;
    let active = chat.api.gateway.active();
    if verb == Verb::Approve && !telling::asks_for_words(&active, &case) {
        let whole = card::shows_whole(&case);
        let verdict = (Verdict::Approve, shown);
        return chat.vote(&caller, (&case, whole), verdict, None).await;
    }
    let view = card::dialog(&active, &case, verb, value);
    let (app, who) = (app.clone(), who.clone());
    // Slack waits for an answer to the click, and not for long.
    tokio::spawn(async move {
        let arguments = json!({ "trigger_id": trigger, "view": view });
        if let Err(error) = app.web.call("views.open", &arguments).await {
            tracing::warn!(%error, "a dialog was not opened in Slack");
            let why = "Slack did not open the dialog; try again, or use the request's page.";
            app.tell(who, why.into());
        }
    });
    Ok(())
}

async fn dialog(
    app: &Arc<App>,
    who: &Who,
    (verb, value): (&str, &str),
    words: String,
) -> Result<(), String> {
    let chat = &app.chat;
    let caller = chat.caller(&who.user).await?;
    let (id, shown) = telling::carried(value)?;
    let case = chat.case_of(&caller, &id).await?;
    let kind = match Verb::of(verb).ok_or("There is no such dialog.")? {
        Verb::Comment => MessageKind::Comment,
        Verb::Ask => MessageKind::Question,
        Verb::Approve | Verb::Deny => {
            let verdict = match Verb::of(verb) {
                Some(Verb::Approve) => Verdict::Approve,
                _ => Verdict::Deny,
            };
            let reason = (!words.trim().is_empty()).then_some(words);
            let case = (&case, card::shows_whole(&case));
            return chat.vote(&caller, case, (verdict, shown), reason).await;
        }
    };
    chat.speak(&caller, &id, (kind, words)).await.map(drop)
}

fn only_to_them(text: &str, blocks: Vec<Value>) -> Value {
    let mut answer = json!({ "response_type": "ephemeral", "text": card::escaped(text) });
    if let Some(fields) = answer.as_object_mut().filter(|_| !blocks.is_empty()) {
        fields.insert("blocks".into(), json!(blocks));
    }
    answer
}

async fn command(app: &Arc<App>, who: &Who, text: &str) -> Value {
    let mut words = text.split_whitespace();
    let answered = match (words.next(), words.next(), words.next()) {
        (None, ..) | (Some("inbox"), None, _) => inbox(app, who).await,
        (Some("link"), Some(code), None) => {
            let linked = app.chat.link((&who.user, &who.called), code).await;
            linked.map(|told| only_to_them(&told, Vec::new()))
        }
        _ => Err(help()),
    };
    match answered {
        Ok(answer) => answer,
        Err(why) => only_to_them(&why, Vec::new()),
    }
}

fn help() -> String {
    let command = super::COMMAND;
    format!("{command} shows what waits for you; {command} link CODE links this account to you.")
}

async fn inbox(app: &Arc<App>, who: &Who) -> Result<Value, String> {
    let inbox = app.chat.inbox(&who.user).await?;
    if inbox.found == 0 {
        return Ok(only_to_them("Nothing waits for you.", Vec::new()));
    }
    let gateway = &app.chat.api.gateway;
    let mut blocks = card::list(gateway, &inbox.lines, inbox.found);
    if inbox.found > LISTED {
        let more = format!("And {} more on the inbox's page.", inbox.found - LISTED);
        let place = blocks.len().saturating_sub(1);
        blocks.insert(
            place,
            json!({ "type": "section", "text": card::plain(&more, 200) }),
        );
    }
    Ok(only_to_them(&telling::list(inbox.found), blocks))
}

impl App {
    /// Tells somebody something that nobody else sees.
    pub(super) fn tell(self: &Arc<Self>, who: Who, text: String) {
        let (Some(channel), true) = (who.channel, self.chat.may_tell(&who.user)) else {
            return;
        };
        let arguments = json!({
            "channel": channel,
            "user": who.user,
            "text": card::escaped(&text),
        });
        let app = self.clone();
        tokio::spawn(async move {
            if let Err(error) = app.web.call("chat.postEphemeral", &arguments).await {
                tracing::warn!(%error, "somebody in Slack was not told why they were refused");
            }
        });
    }
}
