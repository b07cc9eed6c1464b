//! What Slack shows of a request.
//!
//! In scope: the card in blocks, and the dialogs in which somebody says why.
//! Out of scope: who may do what; it is judged again when somebody clicks.
//! Invariant: nothing that others wrote is ever read as Slack's markup: it stands in `plain_text` and
//! `rich_text` only. A card that can't show the whole action says so and offers no approval. A button
//! says which action was shown, never what to do.
//! Specification: <https://docs.slack.dev/block-kit/>

use countersign_core::{
    approval::rule::Assurance,
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

/// The most characters of one text of an action; Slack takes 3,000 of most texts.
const PIECE: usize = 2_800;
/// The most characters of an action on a card, as JSON. Slack refuses messages whose blocks have more
/// than about 13,000 in all, and says so nowhere.
const WHOLE: usize = 5_000;
/// The most characters of a header.
const HEADER: usize = 140;

/// A message: its blocks, and one line for notifications.
pub(super) fn made(text: &str, blocks: Vec<Value>, done: bool) -> Made {
    Made {
        content: json!({ "text": escaped(text), "blocks": blocks }),
        done,
    }
}

/// Text that Slack shows as it is.
pub(super) fn plain(text: &str, most: usize) -> Value {
    json!({ "type": "plain_text", "text": cut(text, most), "emoji": false })
}

/// Text for the one place where Slack reads markup whatever one says.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(text, PIECE) })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [plain(text, PIECE)] })
}

/// Text as it was written, in the letters of a typewriter.
fn preformatted(text: &str) -> Value {
    json!({
        "type": "rich_text",
        "elements": [{
            "type": "rich_text_preformatted",
            "elements": [{ "type": "text", "text": text }],
        }],
    })
}

/// What somebody wrote, set apart from everything that the gateway says.
fn quoted(text: &str) -> Value {
    json!({
        "type": "rich_text",
        "elements": [{
            "type": "rich_text_quote",
            "elements": [{ "type": "text", "text": text }],
        }],
    })
}

/// A text in pieces that Slack takes.
fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(PIECE)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// The card of a case. The requester's side is offered nothing that it can't do.
pub(super) fn card(gateway: &Gateway, active: &Active, case: &Case, of_side: bool) -> Made {
    let request = &case.request;
    let state = state(case);
    let title = cut(&telling::title(case), SHORT);
    let mut blocks = vec![json!({ "type": "header", "text": plain(&state, HEADER) })];
    for banner in alarm::banners(case) {
        blocks.push(section(&banner.line));
        blocks.push(quoted(&banner.reason));
        blocks.push(context(&banner.standing));
    }
    let head = format!("{title}\n\n{}", cut(&telling::who(case), telling::LONG));
    blocks.push(section(&head));
    let shown = shows_whole(case);
    let body = &request.presentation.body;
    match shown {
        true => blocks.extend(pieces(body).iter().map(|piece| preformatted(piece))),
        false => {
            let begins: String = body.chars().take(PIECE).collect();
            blocks.push(preformatted(&begins));
            blocks.push(section(
                "Not all of this action is shown here. It can be approved on its page only.",
            ));
        }
    }
    blocks.extend(around(case));
    blocks.push(context(&cut(&telling::rules(active, case), SHORT)));
    if let Some(votes) = telling::votes(case) {
        blocks.push(section(&votes));
    }
    blocks.push(json!({ "type": "context", "elements": [foot(case)] }));
    let open = open_link(gateway, active, case);
    blocks.push(match of_side {
        true => json!({ "type": "actions", "elements": [button("comment", "Comment …", &value(case)), open] }),
        false => buttons(active, case, shown, open),
    });
    made(&format!("{state}: {title}"), blocks, telling::is_done(case))
}

/// A card for what Slack doesn't take.
pub(super) fn bare(gateway: &Gateway, active: &Active, case: &Case) -> Made {
    let state = state(case);
    let open = open_link(gateway, active, case);
    let blocks = vec![
        json!({ "type": "header", "text": plain(&state, HEADER) }),
        section("Slack doesn't take what there is to show of this request. It is on its page."),
        json!({ "type": "actions", "elements": [open] }),
    ];
    made(&state, blocks, false)
}

/// Whether a card shows the whole action, so that a click on it can approve it.
pub(super) fn shows_whole(case: &Case) -> bool {
    let presentation = &case.request.presentation;
    let body = serde_json::to_string(&presentation.body);
    presentation.allows_one_click() && body.is_ok_and(|body| body.chars().count() <= WHOLE)
}

/// What stands around the action: why, what it touches, what to beware of.
fn around(case: &Case) -> Vec<Value> {
    let mut blocks: Vec<Value> = telling::unusual(case)
        .iter()
        .map(|text| section(text))
        .collect();
    if let Some(reason) = telling::reason(case) {
        blocks.push(context("Why, in its own words:"));
        blocks.push(quoted(&reason));
    }
    blocks.push(section(&telling::blast_radius(case)));
    blocks.extend(telling::masked(case).iter().map(|text| context(text)));
    blocks
}

/// Name, digest and time. The only text with Slack's markup, and nobody else wrote any of it.
fn foot(case: &Case) -> Value {
    let request = &case.request;
    let digest = telling::digits(case);
    let until = match &case.phase {
        Phase::Held { expires: at } => format!(" · expires {}", moment(*at)),
        Phase::Approved { until: at } => format!(" · lapses {}", moment(*at)),
        _ => String::new(),
    };
    json!({ "type": "mrkdwn", "text": format!("{} · digest `{digest}`{until}", request.id) })
}

/// A time that Slack writes in the reader's zone.
fn moment(at: Timestamp) -> String {
    format!(
        "<!date^{}^{{date_short_pretty}} {{time_secs}}|{at}>",
        at.0 / 1_000
    )
}

fn button(verb: &str, label: &str, value: &str) -> Value {
    json!({ "type": "button", "action_id": verb, "text": plain(label, 70), "value": value })
}

fn buttons(active: &Active, case: &Case, shown: bool, open: Value) -> Value {
    let value = value(case);
    let mut elements = Vec::new();
    if case.phase.is_open() {
        let by_click = shown && needed(case, active.world()) == Assurance::Chat;
        if by_click {
            let label = if telling::confirms(case) {
                "Confirm"
            } else {
                "Approve"
            };
            let mut approve = button("approve", label, &value);
            if let Some(fields) = approve.as_object_mut() {
                fields.insert("style".into(), json!("primary"));
            }
            elements.push(approve);
        }
        let mut deny = button("deny", "Deny …", &value);
        if let Some(fields) = deny.as_object_mut() {
            fields.insert("style".into(), json!("danger"));
        }
        elements.push(deny);
        elements.push(button("ask", "Ask …", &value));
    }
    elements.push(button("comment", "Comment …", &value));
    if case.phase.is_open() && !case.votes.is_empty() {
        let label = match telling::confirms(case) {
            true => "Withdraw my confirmation",
            false => "Withdraw my approval",
        };
        elements.push(button("withdraw", label, &value));
    }
    elements.push(open);
    json!({ "type": "actions", "elements": elements })
}

/// The way to the request's page.
fn open_link(gateway: &Gateway, active: &Active, case: &Case) -> Value {
    let label = match case.phase.is_open() && needed(case, active.world()) > Assurance::Chat {
        true => "Approve on its page",
        false => "Open its page",
    };
    let mut open = button("open", label, &value(case));
    if let Some(fields) = open.as_object_mut() {
        let url = gateway.request_url(&case.request.id);
        fields.insert("url".into(), json!(url));
    }
    open
}

/// The dialog in which somebody says why. It is bound to what the card showed.
pub(super) fn dialog(active: &Active, case: &Case, verb: Verb, value: &str) -> Value {
    let mut blocks = vec![section(&cut(&telling::title(case), SHORT))];
    let (label, optional) = match verb {
        Verb::Approve => ("Why", !needs_reason(case, active.world())),
        Verb::Deny => ("Why", true),
        Verb::Comment => ("What you want to say", false),
        Verb::Ask => ("What you want to know", false),
    };
    blocks.push(input(label, optional));
    json!({
        "type": "modal",
        "callback_id": verb.name(),
        "private_metadata": value,
        "title": plain(verb.title(), 24),
        "submit": plain(verb.title(), 24),
        "close": plain("Back", 24),
        "blocks": blocks,
    })
}

fn input(label: &str, optional: bool) -> Value {
    json!({
        "type": "input",
        "block_id": "words",
        "optional": optional,
        "label": plain(label, 100),
        "element": {
            "type": "plain_text_input",
            "action_id": "words",
            "multiline": true,
            "max_length": 3_000,
        },
    })
}

/// One message for many requests in one place.
pub(super) fn digest(gateway: &Gateway, lines: &[(String, String)], open: usize) -> Made {
    let blocks = list(gateway, lines, open);
    made(&telling::list(open), blocks, open == 0)
}

/// Requests, a line each.
pub(super) fn list(gateway: &Gateway, lines: &[(String, String)], open: usize) -> Vec<Value> {
    let text = telling::list(open);
    let mut blocks = vec![json!({ "type": "header", "text": plain(&text, HEADER) })];
    for (title, value) in lines.iter().take(LISTED) {
        let mut line = section(&cut(title, SHORT));
        if let Some(fields) = line.as_object_mut() {
            fields.insert("accessory".into(), button("show", "Show me", value));
        }
        blocks.push(line);
    }
    if lines.len() > LISTED {
        blocks.push(section(&format!("And {} more.", lines.len() - LISTED)));
    }
    let mut inbox = button("open", "Open the inbox", "inbox");
    if let Some(fields) = inbox.as_object_mut() {
        fields.insert("url".into(), json!(format!("{}/inbox", gateway.url())));
    }
    blocks.push(json!({ "type": "actions", "elements": [inbox] }));
    blocks
}

/// A message about an emergency.
pub(super) fn alarm(alarm: &Alarm) -> Made {
    let open = json!({
        "type": "button",
        "action_id": "open",
        "text": plain("Review it on its page", 70),
        "url": alarm.url,
    });
    let blocks = vec![
        json!({ "type": "header", "text": plain(&alarm.text, HEADER) }),
        section(&alarm.title),
        context("Why, in the words of whoever lifted it:"),
        quoted(&alarm.reason),
        section(&alarm.review),
        json!({ "type": "actions", "elements": [open] }),
    ];
    made(&alarm.text, blocks, true)
}

/// A message about what still waits for somebody.
pub(super) fn reminder(reminder: &Reminder) -> Made {
    let (text, url) = &reminder.link;
    let open = json!({
        "type": "button",
        "action_id": "open",
        "text": plain(text, 70),
        "url": url,
    });
    let mut blocks = vec![section(&format!("{}:", reminder.text))];
    blocks.extend(reminder.lines.iter().map(|line| quoted(line)));
    blocks.push(json!({ "type": "actions", "elements": [open] }));
    made(&reminder.text, blocks, true)
}

/// One message of a conversation, for a thread.
pub(super) fn said(message: &Message) -> Made {
    let spoken = telling::spoken(message);
    let blocks = vec![context(&telling::speaker(message)), quoted(&spoken)];
    let text = format!("{}: {}", message.by, spoken.replace('\n', " "));
    made(&text, blocks, true)
}
