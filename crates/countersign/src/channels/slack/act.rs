//! Doing what somebody clicked or wrote.
//!
//! In scope: from Slack's account to a caller, from a verb to what the interface does, and what
//! whoever acted is told.
//! Out of scope: whether it counts; the same functions decide that as for everybody else.
//! Invariant: an account that is linked to nobody does nothing. What is refused is told to whoever
//! tried, and to nobody else.

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{
    approval::vote::Verdict,
    id::RequestId,
    lifecycle,
    request::{Case, MessageKind},
    subject::SubjectId,
};
use serde_json::{Value, json};

use super::{
    App,
    board::Wish,
    card::{self, Verb},
    incoming::{Incoming, Who},
};
use crate::{
    admin,
    api::{
        problem::ApiError,
        requests::{Clicked, click, say, take_back},
    },
    engine::EngineError,
    identity::{
        Caller, IdentityError,
        account::{ChatAccount, Linked, NoAccount},
    },
};

/// The most requests that the inbox lists.
const LISTED: usize = 10;

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
            let place = (channel.as_str(), thread.as_str(), message.as_str());
            match said(app, &who, place, text).await {
                Ok(()) => {}
                Err(why) => app.tell(who, why),
            }
            None
        }
    }
}

/// Whoever has the account.
async fn caller(app: &App, who: &Who) -> Result<Caller, String> {
    let account = app.account(&who.user);
    let gateway = &app.api.gateway;
    let found = gateway
        .identity
        .who_clicks(&account, app.slack.signed_in_within);
    let caller = found.await.map_err(|error| match error {
        NoAccount::Unlinked => format!(
            "Your Slack account is not linked to anybody in Countersign. {}",
            how_to_link(app)
        ),
        NoAccount::SignInAgain(span) => format!(
            "You have not signed in to Countersign for more than {span}. Do so at {}/sign-in, and \
             your Slack account decides again.",
            gateway.url()
        ),
        NoAccount::Identity(IdentityError::Disabled(id)) => {
            format!("`{id}` is stopped or disabled.")
        }
        NoAccount::Identity(error) => {
            tracing::error!(%error, "an account in Slack could not be looked up");
            "It could not be looked up who you are; try again, or decide in the console.".into()
        }
    })?;
    app.api
        .check_rate(&caller)
        .map_err(|error| in_words(&error))?;
    Ok(caller)
}

fn how_to_link(app: &App) -> String {
    format!(
        "Sign in at {}/accounts, read the code there, and write `{} link CODE` here.",
        app.api.gateway.url(),
        super::COMMAND
    )
}

/// The request and the digits of what was shown, as buttons carry them.
fn carried(value: &str) -> Result<(RequestId, &str), String> {
    let read = value
        .split_once(':')
        .and_then(|(id, digest)| Some((id.parse().ok()?, digest)));
    read.ok_or_else(|| "That can't be read; open the request's page instead.".into())
}

/// What a refusal says to people.
fn in_words(error: &ApiError) -> String {
    let problem = error.problem();
    match &problem.detail {
        Some(detail) => format!("{}. {detail}", problem.title),
        None => format!("{}.", problem.title),
    }
}

async fn case_of(app: &App, caller: &Caller, id: &RequestId) -> Result<Case, String> {
    let case = app.api.gateway.case_of(caller, id).await;
    case.map_err(|error| in_words(&error.into()))
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
    let caller = caller(app, who).await?;
    let (id, shown) = carried(value)?;
    if verb == "show" {
        case_of(app, &caller, &id).await?;
        app.wish(Wish::Show(id, caller.credential.id.clone()));
        return Ok(());
    }
    if verb == "withdraw" {
        let done = take_back(&app.api, &caller, &id).await;
        return done.map(|_| ()).map_err(|error| in_words(&error));
    }
    let verb = Verb::of(verb).ok_or("There is no such button.")?;
    let case = case_of(app, &caller, &id).await?;
    let active = app.api.gateway.active();
    if verb == Verb::Approve && !card::asks_for_words(&active, &case) {
        return vote(app, &caller, &case, (Verdict::Approve, shown), None).await;
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

async fn vote(
    app: &App,
    caller: &Caller,
    case: &Case,
    (verdict, shown): (Verdict, &str),
    reason: Option<String>,
) -> Result<(), String> {
    let id = &case.request.id;
    if verdict == Verdict::Approve && !card::shows_whole(case) {
        let url = app.api.gateway.request_url(id);
        return Err(format!(
            "Slack can't show this action whole; approve it on its page: {url}"
        ));
    }
    let clicked = Clicked {
        verdict,
        reason,
        shown,
    };
    let done = click(&app.api, caller, id, clicked).await;
    done.map(|_| ()).map_err(|error| in_words(&error))
}

async fn dialog(
    app: &Arc<App>,
    who: &Who,
    (verb, value): (&str, &str),
    words: String,
) -> Result<(), String> {
    let caller = caller(app, who).await?;
    let (id, shown) = carried(value)?;
    let case = case_of(app, &caller, &id).await?;
    let reason = (!words.trim().is_empty()).then(|| words.clone());
    let done = match Verb::of(verb).ok_or("There is no such dialog.")? {
        Verb::Approve => {
            let verdict = (Verdict::Approve, shown);
            return vote(app, &caller, &case, verdict, reason).await;
        }
        Verb::Deny => {
            let verdict = (Verdict::Deny, shown);
            return vote(app, &caller, &case, verdict, reason).await;
        }
        Verb::Comment => say(&app.api, &caller, &id, MessageKind::Comment, words).await,
        Verb::Ask => say(&app.api, &caller, &id, MessageKind::Question, words).await,
    };
    done.map(|_| ()).map_err(|error| in_words(&error))
}

/// Takes a message of a card's thread into the conversation. What somebody writes who is linked to
/// nobody stays in Slack.
async fn said(
    app: &Arc<App>,
    who: &Who,
    (channel, thread, message): (&str, &str, &str),
    text: String,
) -> Result<(), String> {
    let store = &app.api.gateway.store;
    let name = super::board::message_name(channel, thread);
    let found = store.carded(&app.name, &name).await;
    let found = found.map_err(|error| in_words(&EngineError::from(error).into()))?;
    let [id] = found.as_slice() else {
        return Ok(());
    };
    let id = id.clone();
    let Ok(caller) = caller(app, who).await else {
        return Err(format!("Your message stays in Slack. {}", how_to_link(app)));
    };
    let case = case_of(app, &caller, &id).await?;
    let known = super::board::message_name(channel, message);
    if app.board.has(&id, &known).await {
        return Ok(());
    }
    let kind = kind_of(app, &caller, &case);
    let done = say(&app.api, &caller, &id, kind, text).await;
    let seen = done.map_err(|error| in_words(&error))?;
    let by = caller.subject.id.to_string();
    let mine = seen.conversation.iter().rev().find(|one| one.by == by);
    if let Some(mine) = mine {
        let place = (channel, thread, message);
        app.board.note_said(&id, &mine.id, place).await;
    }
    Ok(())
}

/// A message of the requester's side answers what was asked last; any other is a comment.
fn kind_of(app: &App, caller: &Caller, case: &Case) -> MessageKind {
    let active = app.api.gateway.active();
    let side = countersign_core::approval::myself::myself(case, &active.directory);
    let of_side = caller.person().is_some_and(|person| side.contains(person));
    match case.open_questions().next().filter(|_| of_side) {
        Some(question) => MessageKind::Answer {
            to: question.id.clone(),
        },
        None => MessageKind::Comment,
    }
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
        (Some("link"), Some(code), None) => link(app, who, code).await,
        (Some("help"), None, _) => Err(help()),
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
    let caller = caller(app, who).await?;
    let gateway = &app.api.gateway;
    let SubjectId::Person(person) = &caller.subject.id else {
        return Err("Only people have an inbox.".into());
    };
    let open = gateway.engine.desk().open(gateway.store.as_ref()).await;
    let open = open.map_err(|error| in_words(&EngineError::from(error).into()))?;
    let active = gateway.active();
    let now = gateway.clock.now();
    let waits = |case: &&Arc<Case>| {
        lifecycle::is_eligible(case, active.world(), now, person) && case.phase.name() == "held"
    };
    let found: Vec<_> = open.iter().rev().filter(waits).collect();
    // Whoever asks for much does not hide the others.
    let mut many: BTreeMap<&SubjectId, usize> = BTreeMap::new();
    let mut ranked = Vec::new();
    for case in &found {
        let before = many.entry(&case.request.chain.requester.id).or_default();
        ranked.push((*before, &case.request.id));
        *before += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut lines = Vec::new();
    for (_, id) in ranked.into_iter().take(LISTED) {
        if let Ok(case) = gateway.case_of(&caller, id).await {
            lines.push(card::line(&case));
        }
    }
    let mut list = card::digest(gateway, &lines, found.len());
    if found.is_empty() {
        return Ok(only_to_them("Nothing waits for you.", Vec::new()));
    }
    if found.len() > LISTED {
        let more = format!("And {} more on the inbox's page.", found.len() - LISTED);
        let place = list.blocks.len().saturating_sub(1);
        list.blocks.insert(
            place,
            json!({ "type": "section", "text": card::plain(&more, 200) }),
        );
    }
    Ok(only_to_them(&list.text, list.blocks))
}

/// Proposes to link the account to whoever made the code.
async fn link(app: &Arc<App>, who: &Who, code: &str) -> Result<Value, String> {
    if !app.may_try_code(&who.user) {
        return Err("Too many codes; wait a minute and make a new one.".into());
    }
    let gateway = &app.api.gateway;
    let Some(caller) = gateway.identity.use_code(code).await else {
        let url = gateway.url();
        return Err(format!(
            "There is no such code, or it is more than ten minutes old. Make a new one at \
             {url}/accounts."
        ));
    };
    let linked = Linked {
        account: app.account(&who.user),
        called: who.called.chars().take(80).collect(),
        countersigned: false,
    };
    let answer = admin::propose_account(gateway, &caller, linked).await;
    let answer = answer.map_err(|error| in_words(&error.into()))?;
    let text = match answer.state.as_str() {
        "succeeded" => {
            app.wish(Wish::All);
            format!(
                "Your Slack account is linked to {}.",
                caller.credential.holder
            )
        }
        "denied" => format!("It was denied: {}", answer.message),
        _ => format!(
            "It would be linked to {}. Somebody else has to countersign it; then apply it on its page: {}",
            caller.credential.holder,
            gateway.request_url(&answer.request)
        ),
    };
    Ok(only_to_them(&text, Vec::new()))
}

impl App {
    /// An account of the workspace.
    pub(super) fn account(&self, user: &str) -> ChatAccount {
        ChatAccount {
            channel: self.name.to_string(),
            team: self.slack.team.clone(),
            user: user.into(),
        }
    }

    /// Tells somebody something that nobody else sees.
    pub(super) fn tell(self: &Arc<Self>, who: Who, text: String) {
        let (Some(channel), true) = (who.channel, self.may_tell(&who.user)) else {
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
