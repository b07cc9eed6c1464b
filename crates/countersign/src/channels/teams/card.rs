//! What Teams shows of a request: Adaptive Cards.
//!
//! In scope: the card that everybody sees, the view of one person, lists, what somebody says.
//! Out of scope: who may do what; it is judged again when somebody clicks.
//! Invariant: nothing that others wrote is ever read as markup: it stands in `TextRun` only, which
//! knows none, and nothing in it is taken for a date to fill in. What stands in `TextBlock` is the
//! gateway's own. A card that can't show the whole action says so and offers no approval. A button says
//! which action was shown, never what to do.
//! Specification: <https://adaptivecards.io/explorer/>

use countersign_core::{
    approval::rule::Assurance,
    id::PersonId,
    lifecycle,
    request::{Case, Message, Phase},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::super::{
    acting::LISTED,
    alarm::{self, Alarm},
    messenger::Made,
    reminding::Reminder,
    telling::{self, SHORT, Verb, cut, state, value},
};
use crate::{
    active::Active,
    api::deciding::{needed, needs_reason},
    gateway::Gateway,
};

/// What an attachment is called that is a card.
pub(super) const ADAPTIVE: &str = "application/vnd.microsoft.card.adaptive";
/// The most bytes of the lines of an action on a card, as JSON. Teams takes about 28 KB in all.
const WHOLE: usize = 8_000;
/// The most bytes of a card. Around the action there is less.
const MOST: usize = 26_000;
/// How many characters of an action are shown of one that is not shown whole.
const BEGINS: usize = 1_200;
/// The most lines of one of the texts around an action.
const LINES: usize = 20;
/// How many signs stand in a row without a place to break the line: a telephone shows about 30.
const UNBROKEN: usize = 20;
/// The most people whose own view Teams asks for.
pub(super) const MAX_VIEWS: usize = 60;

/// Text as it was written, in pieces of which none can be taken for a date to fill in.
fn runs(text: &str, style: &Value) -> Vec<Value> {
    let mut pieces = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        let filler = c == '{' && before == '{';
        if let Some(last) = pieces.last_mut().filter(|_| !filler) {
            last.push(c);
        } else {
            pieces.push(c.into());
        }
        before = c;
    }
    let run = |piece: String| {
        let mut run = json!({ "type": "TextRun", "text": piece });
        if let (Some(run), Some(style)) = (run.as_object_mut(), style.as_object()) {
            run.extend(style.clone());
        }
        run
    };
    pieces.into_iter().map(run).collect()
}

/// A line as it was written: of several blanks in a row none is left out, and what has none is broken
/// before it would reach beyond the card, where nobody sees it.
fn line(text: &str, style: &Value) -> Value {
    let mut shown = String::with_capacity(text.len());
    let mut before = ' ';
    let mut unbroken = 0;
    for c in text.chars() {
        if unbroken == UNBROKEN {
            shown.push('\u{200b}');
            unbroken = 0;
        }
        match (before, c) {
            (' ', ' ') => shown.push('\u{a0}'),
            (_, ' ') => {
                shown.push(' ');
                unbroken = 0;
            }
            (_, c) => shown.push(c),
        }
        unbroken += usize::from(c != ' ' || before == ' ');
        before = c;
    }
    let shown = match shown.trim().is_empty() {
        true => "\u{a0}".to_owned(),
        false => shown,
    };
    json!({ "type": "RichTextBlock", "spacing": "None", "inlines": runs(&shown, style) })
}

fn lines(text: &str, style: &Value) -> Vec<Value> {
    text.split('\n').map(|one| line(one, style)).collect()
}

/// Lines of a text around the action, of which there are not too many.
fn some_lines(text: &str, style: &Value) -> Vec<Value> {
    let mut shown = lines(text, style);
    if shown.len() > LINES {
        shown.truncate(LINES);
        shown.push(line("[…]", style));
    }
    shown
}

/// Lines set apart from what stands before.
fn apart(items: Vec<Value>) -> Value {
    json!({ "type": "Container", "spacing": "Small", "items": items })
}

/// What others wrote, set apart from everything that the gateway says.
fn quoted(items: Vec<Value>) -> Value {
    json!({ "type": "Container", "style": "emphasis", "spacing": "Small", "items": items })
}

fn subtle() -> Value {
    json!({ "isSubtle": true, "size": "Small" })
}

/// The lines of an action.
fn action(case: &Case) -> Vec<Value> {
    lines(
        case.request.presentation.body.trim_end_matches('\n'),
        &json!({ "fontType": "Monospace" }),
    )
}

/// Whether a card shows the whole action, so that a click on it can approve it.
pub(super) fn shows_whole(case: &Case) -> bool {
    let written = serde_json::to_vec(&action(case));
    let fits = written.is_ok_and(|written| written.len() <= WHOLE);
    case.request.presentation.allows_one_click() && fits
}

/// Who reads a card.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    /// Everybody in a conversation; these, as Teams calls them, get their own view.
    Everybody(&'a [String]),
    /// One person, who is on the requester's side or not.
    One { person: &'a PersonId, of_side: bool },
}

/// The card of a case, with what its reader is told beside it.
pub(super) fn card(
    gateway: &Gateway,
    active: &Active,
    case: &Case,
    reader: Reader<'_>,
    notice: Option<&str>,
) -> Value {
    let mut body: Vec<Value> = notice
        .iter()
        .map(|text| {
            let style = json!({ "color": "Attention", "weight": "Bolder" });
            apart(some_lines(text, &style))
        })
        .collect();
    let big = json!({ "size": "Medium", "weight": "Bolder" });
    body.push(apart(vec![line(&state(case), &big)]));
    let loud = json!({ "color": "Attention", "weight": "Bolder" });
    for banner in alarm::banners(case) {
        body.push(apart(some_lines(&banner.line, &loud)));
        body.push(quoted(some_lines(&banner.reason, &json!({}))));
        body.push(apart(some_lines(&banner.standing, &subtle())));
    }
    let title = cut(&telling::title(case), SHORT);
    body.push(apart(vec![line(&title, &json!({ "weight": "Bolder" }))]));
    let who = cut(&telling::who(case), telling::LONG);
    body.push(apart(some_lines(&who, &json!({}))));
    let shown = shows_whole(case);
    if shown {
        body.push(quoted(action(case)));
    } else {
        let begins: String = case
            .request
            .presentation
            .body
            .chars()
            .take(BEGINS)
            .collect();
        let monospace = json!({ "fontType": "Monospace" });
        body.push(quoted(some_lines(&begins, &monospace)));
        let told = "Not all of this action is shown here. It can be approved on its page only.";
        body.push(apart(vec![line(told, &json!({ "color": "Attention" }))]));
    }
    body.extend(around(active, case));
    let actions = match reader {
        Reader::Everybody(_) => for_everybody(gateway, active, case),
        Reader::One { person, of_side } => buttons(gateway, active, case, (person, of_side, shown)),
    };
    let mut card = whole(body, actions);
    if let (Reader::Everybody(views), Some(fields)) = (reader, card.as_object_mut())
        && !views.is_empty()
    {
        let action = json!({
            "type": "Action.Execute",
            "verb": "refresh",
            "data": { "request": value(case) },
        });
        fields.insert(
            "refresh".into(),
            json!({ "action": action, "userIds": views }),
        );
    }
    match serde_json::to_vec(&card).is_ok_and(|card| card.len() <= MOST) {
        true => card,
        false => bare(gateway, active, case),
    }
}

fn whole(body: Vec<Value>, actions: Vec<Value>) -> Value {
    json!({
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.5",
        "msteams": { "width": "Full" },
        "body": body,
        "actions": actions,
    })
}

/// A card for what Teams doesn't take.
pub(super) fn bare(gateway: &Gateway, active: &Active, case: &Case) -> Value {
    let told = "Teams doesn't take what there is to show of this request. It is on its page.";
    let body = vec![
        line(
            &state(case),
            &json!({ "size": "Medium", "weight": "Bolder" }),
        ),
        line(told, &json!({})),
    ];
    whole(body, vec![open(gateway, active, case)])
}

/// A message about an emergency.
pub(super) fn alarm(alarm: &Alarm) -> Value {
    let loud = json!({ "size": "Medium", "weight": "Bolder", "color": "Attention" });
    let why = "Why, in the words of whoever lifted it:";
    let body = vec![
        apart(some_lines(&alarm.text, &loud)),
        apart(vec![line(&alarm.title, &json!({ "weight": "Bolder" }))]),
        apart(vec![line(why, &subtle())]),
        quoted(some_lines(&alarm.reason, &json!({}))),
        apart(some_lines(&alarm.review, &json!({}))),
    ];
    let open = json!({
        "type": "Action.OpenUrl",
        "title": "Review it on its page",
        "url": alarm.url,
    });
    whole(body, vec![open])
}

/// A message about what still waits for somebody.
pub(super) fn reminder(reminder: &Reminder) -> Value {
    let mut body = vec![apart(vec![line(
        &reminder.text,
        &json!({ "weight": "Bolder" }),
    )])];
    let lines = reminder.lines.iter();
    body.extend(lines.map(|line| quoted(some_lines(line, &json!({})))));
    let (title, url) = &reminder.link;
    let open = json!({ "type": "Action.OpenUrl", "title": title, "url": url });
    whole(body, vec![open])
}

/// What stands around the action: why, what it touches, what holds it, who has signed.
fn around(active: &Active, case: &Case) -> Vec<Value> {
    let plain = json!({});
    let mut blocks: Vec<Value> = telling::unusual(case)
        .iter()
        .map(|text| apart(some_lines(text, &json!({ "color": "Warning" }))))
        .collect();
    if let Some(reason) = telling::reason(case) {
        blocks.push(apart(vec![line("Why, in its own words:", &subtle())]));
        blocks.push(quoted(some_lines(&reason, &plain)));
    }
    blocks.push(apart(some_lines(&telling::blast_radius(case), &plain)));
    let masked = telling::masked(case);
    blocks.extend(masked.iter().map(|text| apart(vec![line(text, &subtle())])));
    let rules = cut(&telling::rules(active, case), SHORT);
    blocks.push(apart(some_lines(&rules, &subtle())));
    let votes = telling::votes(case);
    blocks.extend(votes.iter().map(|text| apart(some_lines(text, &plain))));
    blocks.push(foot(case));
    blocks
}

/// Name, digest and time. The only text that Teams fills in, and nobody else wrote any of it.
fn foot(case: &Case) -> Value {
    let until = match &case.phase {
        Phase::Held { expires: at } => format!(" · expires {}", moment(*at)),
        Phase::Approved { until: at } => format!(" · lapses {}", moment(*at)),
        _ => String::new(),
    };
    let text = format!(
        "{} · digest {}{until}",
        case.request.id,
        telling::digits(case)
    );
    json!({
        "type": "TextBlock",
        "text": text,
        "isSubtle": true,
        "size": "Small",
        "wrap": true,
        "spacing": "Small",
    })
}

/// A time that Teams writes in the reader's zone.
fn moment(at: Timestamp) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(at.0) else {
        return at.to_string();
    };
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{{{{DATE({at},SHORT)}}}} {{{{TIME({at})}}}}")
}

/// A button. Clients that know no `Action.Execute` send the same as a message.
fn button(verb: &str, label: &str, value: &str) -> Value {
    json!({
        "type": "Action.Execute",
        "title": label,
        "verb": verb,
        "data": { "request": value },
        "fallback": {
            "type": "Action.Submit",
            "title": label,
            "data": { "request": value, "verb": verb },
        },
    })
}

/// A button that opens a place to write in.
fn with_words(verb: &str, label: &str, (asked, required): (&str, bool), value: &str) -> Value {
    json!({
        "type": "Action.ShowCard",
        "title": format!("{label} …"),
        "card": {
            "type": "AdaptiveCard",
            "body": [{
                "type": "Input.Text",
                "id": format!("{verb}_words"),
                "label": asked,
                "isMultiline": true,
                "maxLength": 3_000,
                "isRequired": required,
                "errorMessage": "Write something.",
            }],
            "actions": [button(verb, label, value)],
        },
    })
}

fn styled(mut button: Value, style: &str) -> Value {
    if let Some(fields) = button.as_object_mut() {
        fields.insert("style".into(), json!(style));
    }
    button
}

/// The way to the request's page.
fn open(gateway: &Gateway, active: &Active, case: &Case) -> Value {
    let label = match case.phase.is_open() && needed(case, active.world()) > Assurance::Chat {
        true => "Approve on its page",
        false => "Open its page",
    };
    json!({
        "type": "Action.OpenUrl",
        "title": label,
        "url": gateway.request_url(&case.request.id),
    })
}

fn for_everybody(gateway: &Gateway, active: &Active, case: &Case) -> Vec<Value> {
    let mut actions = Vec::new();
    if !telling::is_done(case) {
        actions.push(button("refresh", "Decide or discuss", &value(case)));
    }
    actions.push(open(gateway, active, case));
    actions
}

/// What one person can do.
fn buttons(
    gateway: &Gateway,
    active: &Active,
    case: &Case,
    (person, of_side, shown): (&PersonId, bool, bool),
) -> Vec<Value> {
    let value = value(case);
    let mut actions = Vec::new();
    let now = gateway.clock.now();
    let eligible = lifecycle::is_eligible(case, active.world(), now, person);
    if case.phase.is_open() && eligible && !of_side {
        if shown && needed(case, active.world()) == Assurance::Chat {
            let label = match telling::confirms(case) {
                true => "Confirm",
                false => "Approve",
            };
            let approve = match needs_reason(case, active.world()) {
                true => with_words("approve", label, ("Why", true), &value),
                false => button("approve", label, &value),
            };
            actions.push(styled(approve, "positive"));
        }
        let deny = with_words("deny", "Deny", ("Why", false), &value);
        actions.push(styled(deny, "destructive"));
        let asked = ("What you want to know", true);
        actions.push(with_words("ask", Verb::Ask.title(), asked, &value));
    }
    let said = ("What you want to say", true);
    let label = match of_side && case.open_questions().next().is_some() {
        true => "Answer",
        false => Verb::Comment.title(),
    };
    actions.push(with_words("comment", label, said, &value));
    let voted = case.votes.iter().any(|vote| vote.voter == *person);
    if case.phase.is_open() && voted {
        actions.push(button("withdraw", "Withdraw my approval", &value));
    }
    actions.push(open(gateway, active, case));
    actions
}

/// A message with a card. What stands in a notification is the gateway's own.
pub(super) fn message(summary: &str, card: &Value, done: bool) -> Made {
    Made {
        content: json!({
            "type": "message",
            "summary": summary,
            "attachments": [{ "contentType": ADAPTIVE, "content": card }],
        }),
        done,
    }
}

/// What a notification of a card says.
pub(super) fn summary(case: &Case) -> String {
    let request = &case.request;
    let who = &request.chain.requester.id;
    format!("{}: {who} on {}", state(case), request.action.target)
}

/// One message for many requests.
pub(super) fn list(
    gateway: &Gateway,
    requests: &[(String, String)],
    (waiting, more): (usize, usize),
) -> Value {
    let told = telling::list(waiting);
    let mut body = vec![line(
        &told,
        &json!({ "size": "Medium", "weight": "Bolder" }),
    )];
    for (text, value) in requests.iter().take(LISTED) {
        let texts = some_lines(&cut(text, SHORT), &json!({}));
        let show = json!({ "type": "ActionSet", "actions": [button("show", "Show me", value)] });
        body.push(json!({
            "type": "ColumnSet",
            "separator": true,
            "columns": [
                { "type": "Column", "width": "stretch", "items": texts },
                { "type": "Column", "width": "auto", "items": [show] },
            ],
        }));
    }
    if more > 0 {
        body.push(line(&format!("And {more} more."), &subtle()));
    }
    let inbox = json!({
        "type": "Action.OpenUrl",
        "title": "Open the inbox",
        "url": format!("{}/inbox", gateway.url()),
    });
    whole(body, vec![inbox])
}

/// One message of a case's conversation.
pub(super) fn said(gateway: &Gateway, active: &Active, case: &Case, message: &Message) -> Value {
    let head = cut(&telling::title(case), 300);
    let body = vec![
        line(&telling::speaker(message), &json!({ "weight": "Bolder" })),
        line(&head, &subtle()),
        quoted(some_lines(&telling::spoken(message), &json!({}))),
    ];
    whole(body, vec![open(gateway, active, case)])
}

/// A card that only tells something.
pub(super) fn told(text: &str) -> Value {
    whole(some_lines(text, &json!({})), Vec::new())
}
