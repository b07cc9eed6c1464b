//! Doing what somebody clicked or wrote in Teams.
//!
//! In scope: what each thing that comes in asks for, and the form in which Teams is answered.
//! Out of scope: doing it, which is the same in every chat ([`acting`](super::super::acting)).
//! Invariant: whoever clicked is shown the request as it is then, and only what they may see; what is
//! refused is told to whoever tried, and to nobody else.
//! Specification: <https://learn.microsoft.com/adaptive-cards/authoring-cards/universal-action-model>

use std::sync::Arc;

use countersign_core::{
    approval::{myself::myself, vote::Verdict},
    request::{Case, MessageKind},
};
use serde_json::{Value, json};

use super::{
    super::{
        acting::LISTED,
        board::Wish,
        messenger::Messenger,
        telling::{self, Verb},
    },
    App,
    card::{self, ADAPTIVE, Reader},
    incoming::{Click, Incoming, Place, Who},
    sending::{is_channel, message_name},
};
use crate::identity::Caller;

/// What an answer to a click is called that is a line of text.
const MESSAGE: &str = "application/vnd.microsoft.activity.message";

/// Does it. What is returned is the answer, where somebody waits for one.
pub(super) async fn act(app: &Arc<App>, incoming: Incoming) -> Option<Value> {
    match incoming {
        Incoming::Click { who, click } => Some(match clicked(app, &who, &click).await {
            Ok(Shown::Card(card)) => answer(ADAPTIVE, card),
            Ok(Shown::Line(why)) | Err(why) => line(&why),
        }),
        Incoming::Submit { who, click } => {
            match clicked(app, &who, &click).await {
                Ok(Shown::Card(card)) => app.show(who, card),
                Ok(Shown::Line(why)) | Err(why) => app.tell(who, &why),
            }
            None
        }
        Incoming::Said { who, place, text } => {
            said(app, who, place, &text).await;
            None
        }
        Incoming::Joined => {
            app.chat.wish(Wish::All);
            None
        }
    }
}

/// An answer to a click that is a line of text, which nobody else wrote any of.
pub(super) fn line(text: &str) -> Value {
    answer(MESSAGE, text.into())
}

fn answer(kind: &str, value: Value) -> Value {
    json!({ "statusCode": 200, "type": kind, "value": value })
}

/// What somebody who clicked is shown.
enum Shown {
    Card(Value),
    Line(String),
}

async fn clicked(app: &Arc<App>, who: &Who, click: &Click) -> Result<Shown, String> {
    let chat = &app.chat;
    let caller = chat.caller(&who.user).await?;
    let (id, digits) = telling::carried(&click.value)?;
    let case = chat.case_of(&caller, &id).await?;
    if click.verb == "show" {
        chat.wish(Wish::Show(id, caller.credential.id.clone()));
        return Ok(Shown::Line("It comes to you in private.".into()));
    }
    let done = match click.verb.as_str() {
        "refresh" => Ok(()),
        "withdraw" => chat.withdraw(&caller, &id).await,
        _ => decide(app, &caller, (&case, digits), click).await,
    };
    let case = chat.case_of(&caller, &id).await?;
    Ok(Shown::Card(view(app, &caller, &case, done.err())))
}

async fn decide(
    app: &Arc<App>,
    caller: &Caller,
    (case, digits): (&Case, &str),
    click: &Click,
) -> Result<(), String> {
    let chat = &app.chat;
    let words = click.words.clone();
    let verb = Verb::of(&click.verb).ok_or("There is no such button.")?;
    let kind = match verb {
        Verb::Comment => chat.kind_of(caller, case),
        Verb::Ask => MessageKind::Question,
        Verb::Approve | Verb::Deny => {
            let verdict = match verb {
                Verb::Approve => Verdict::Approve,
                _ => Verdict::Deny,
            };
            let reason = (!words.trim().is_empty()).then_some(words);
            let whole = card::shows_whole(case);
            return chat
                .vote(caller, (case, whole), (verdict, digits), reason)
                .await;
        }
    };
    let id = &case.request.id;
    chat.speak(caller, id, (kind, words)).await.map(drop)
}

/// What the caller sees of a case, who has just been found to be allowed to.
fn view(app: &App, caller: &Caller, case: &Case, refused: Option<String>) -> Value {
    let gateway = &app.chat.api.gateway;
    let active = gateway.active();
    let confirms = case.request.rules.iter().any(|rule| rule.confirmation);
    let side = myself(case, &active.directory);
    let reader = match caller.person() {
        Some(person) => Reader::One {
            person,
            of_side: !confirms && side.contains(person),
        },
        None => Reader::Everybody(&[]),
    };
    card::card(gateway, &active, case, reader, refused.as_deref())
}

/// What somebody wrote to the bot: a command, or a message below a card.
async fn said(app: &Arc<App>, who: Who, place: Place, text: &str) {
    let mut words = text.split_whitespace();
    let command = words.next().map(str::to_ascii_lowercase);
    let rest = (words.next(), words.next());
    match (command.as_deref(), rest) {
        (None | Some("inbox"), (None, _)) => match inbox(app, &who).await {
            Ok(card) => app.show(who, card),
            Err(why) => app.tell(who, &why),
        },
        (Some("link"), (Some(code), None)) => {
            let told = link(app, &who, &place, code).await;
            app.tell(who, &told);
        }
        (Some("help"), (None, _)) => help(app, who, &place),
        _ => below(app, who, &place, text).await,
    }
}

/// Links an account. A code that others can read is used up, so that it links none of theirs.
async fn link(app: &App, who: &Who, place: &Place, code: &str) -> String {
    if !place.personal {
        let identity = &app.chat.api.gateway.identity;
        if app.chat.may_try_code(&who.user) {
            identity.use_code(code).await;
        }
        return "Others read what you write there, so that code is used up. Make a new one, and write \
                it to me here."
            .into();
    }
    let told = app.chat.link((&who.user, &who.called), code).await;
    told.unwrap_or_else(|why| why)
}

/// A message in the conversation that a card began is a comment or an answer; elsewhere it is nothing
/// that the bot understands.
async fn below(app: &Arc<App>, who: Who, place: &Place, text: &str) {
    let card = place
        .conversation
        .split_once(";messageid=")
        .map(|(_, first)| message_name(&place.conversation, first));
    let Some(card) = card else {
        return help(app, who, place);
    };
    let message = message_name(&place.conversation, &place.message);
    let done = app.chat.said(&who.user, (&card, message), text.into());
    if let Err(why) = done.await {
        app.tell(who, &why);
    }
}

fn help(app: &Arc<App>, who: Who, place: &Place) {
    let mut told = String::from(
        "inbox: what waits for you\nlink CODE: links this account to you\n\
         In a conversation that a request began, what you write to me is a comment or an answer.",
    );
    let conversation = place.conversation.split(';').next().unwrap_or_default();
    if !place.personal {
        let kind = match is_channel(conversation) {
            true => "channel",
            false => "chat",
        };
        let name = &app.chat.name;
        told.push_str(&format!(
            "\nFor rules that tell this {kind}: notify = [\"{name}:{conversation}\"]"
        ));
    }
    app.tell(who, &told);
}

async fn inbox(app: &Arc<App>, who: &Who) -> Result<Value, String> {
    let inbox = app.chat.inbox(&who.user).await?;
    if inbox.found == 0 {
        return Err("Nothing waits for you.".into());
    }
    let more = inbox.found.saturating_sub(LISTED);
    let gateway = &app.chat.api.gateway;
    Ok(card::list(gateway, &inbox.lines, (inbox.found, more)))
}

impl App {
    /// Tells somebody something that nobody else sees.
    pub(super) fn tell(self: &Arc<Self>, who: Who, text: &str) {
        self.show(who, card::told(text));
    }

    /// Shows somebody a card that nobody else sees.
    fn show(self: &Arc<Self>, who: Who, card: Value) {
        if !self.chat.may_tell(&who.user) {
            return;
        }
        let app = self.clone();
        tokio::spawn(async move {
            let made = card::message("Countersign", &card, true);
            let sent = match app.open(&who.user).await {
                Ok(conversation) => app.send(&conversation, &made).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "somebody in Teams was not told what they asked for");
            }
        });
    }
}
