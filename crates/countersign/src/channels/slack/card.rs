//! What Slack shows of a request.
//!
//! In scope: the card in blocks, and the dialogs in which somebody says why.
//! Out of scope: who may do what; it is judged again when somebody clicks.
//! Invariant: nothing that others wrote is ever read as Slack's markup: it stands in `plain_text` and
//! `rich_text` only. A card that can't show the whole action says so and offers no approval. A button
//! says which action was shown, never what to do.
//! Specification: <https://docs.slack.dev/block-kit/>

use countersign_core::{
    approval::{rule::Assurance, vote::Verdict},
    lifecycle,
    request::{Case, Closure, MessageKind, Outcome, Phase},
    time::Timestamp,
};
use countersign_runner::quote::{reveal, reveal_lines};
use serde_json::{Value, json};

use crate::{
    active::Active,
    api::{
        deciding::{needed, needs_reason},
        detail::{is_advisory, unusual_in},
    },
    gateway::Gateway,
};

/// The most characters of one text of an action; Slack takes 3,000 of most texts.
const PIECE: usize = 2_800;
/// The most characters of an action on a card, as JSON. Slack refuses messages whose blocks have more
/// than about 13,000 in all, and says so nowhere.
const WHOLE: usize = 5_000;
/// The most characters of one of the longer texts around it.
const LONG: usize = 1_200;
/// The most characters of one of the shorter texts.
const SHORT: usize = 600;
/// The most characters of what stands within a line.
const BRIEF: usize = 200;
/// The most characters of a header.
const HEADER: usize = 140;
/// The latest votes that a card lists.
const VOTES: usize = 5;
/// How many digits of the digest tell what was shown.
pub(super) const DIGITS: usize = 16;

/// What a card says in one place: its blocks, and one line for notifications.
pub(super) struct Card {
    pub(super) text: String,
    pub(super) blocks: Vec<Value>,
    /// Whether nothing on it changes any more.
    pub(super) done: bool,
}

/// Text that Slack shows as it is.
pub(super) fn plain(text: &str, most: usize) -> Value {
    json!({ "type": "plain_text", "text": cut(text, most), "emoji": false })
}

/// The beginning of a text, with a sign where it was cut.
pub(in crate::channels) fn cut(text: &str, most: usize) -> String {
    let text = match text.trim().is_empty() {
        true => "–",
        false => text,
    };
    match text.chars().count() > most {
        true => text.chars().take(most).chain(" […]".chars()).collect(),
        false => text.to_owned(),
    }
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
pub(super) fn card(gateway: &Gateway, active: &Active, case: &Case, of_side: bool) -> Card {
    let request = &case.request;
    let state = state(case);
    let title = reveal_lines(&request.presentation.title).replace('\n', " ");
    let mut blocks = vec![json!({ "type": "header", "text": plain(&state, HEADER) })];
    let head = format!("{}\n\n{}", cut(&title, SHORT), cut(&who(case), LONG));
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
    blocks.push(context(&cut(&rules(active, case), SHORT)));
    if let Some(votes) = votes(case) {
        blocks.push(section(&votes));
    }
    blocks.push(json!({ "type": "context", "elements": [foot(case)] }));
    let open = open_link(gateway, active, case);
    blocks.push(match of_side {
        true => json!({ "type": "actions", "elements": [button("comment", "Comment …", &value(case)), open] }),
        false => buttons(active, case, shown, open),
    });
    let text = format!("{state}: {}", cut(&title, SHORT));
    Card {
        text: escaped(&text),
        blocks,
        done: !matches!(
            case.phase,
            Phase::Held { .. } | Phase::Approved { .. } | Phase::Running { .. }
        ),
    }
}

/// A card for what Slack doesn't take.
pub(super) fn bare(gateway: &Gateway, active: &Active, case: &Case) -> Card {
    let state = state(case);
    let open = open_link(gateway, active, case);
    let blocks = vec![
        json!({ "type": "header", "text": plain(&state, HEADER) }),
        section("Slack doesn't take what there is to show of this request. It is on its page."),
        json!({ "type": "actions", "elements": [open] }),
    ];
    Card {
        text: escaped(&state),
        blocks,
        done: false,
    }
}

/// Whether a card shows the whole action, so that a click on it can approve it.
pub(super) fn shows_whole(case: &Case) -> bool {
    let presentation = &case.request.presentation;
    let body = serde_json::to_string(&presentation.body);
    presentation.allows_one_click() && body.is_ok_and(|body| body.chars().count() <= WHOLE)
}

/// Where a case stands, in a line.
pub(in crate::channels) fn state(case: &Case) -> String {
    match &case.phase {
        Phase::Held { .. } => "Waits for a countersignature".into(),
        Phase::Approved { .. } => "Approved; it waits for its requester".into(),
        Phase::Running { .. } => "Approved; it runs".into(),
        Phase::Finished { outcome, .. } => match outcome {
            Outcome::Succeeded => "Approved; it ran and succeeded".into(),
            Outcome::Failed => "Approved; it ran and failed".into(),
            Outcome::Unknown => "Approved; whether it ran is not known".into(),
        },
        Phase::Closed { closure, .. } => match closure {
            Closure::Denied { by, .. } => format!("Denied by {by}"),
            Closure::Expired => "Denied: nobody decided in time".into(),
            Closure::Unclaimed => "Over: the approval lapsed before it was used".into(),
            Closure::Cancelled { by } => format!("Taken back by {by}"),
            Closure::Amended { by, into } => format!("Replaced by {into}, which {by} wrote"),
            Closure::Unreachable { .. } => "Denied: too few people are left who could sign".into(),
            Closure::PolicyChanged { .. } => "Denied: policy changed".into(),
            Closure::RequesterStopped { .. } => "Over: its requester was stopped".into(),
        },
    }
}

/// Who asks, for whom, of what. Nothing that others wrote begins a line, or takes the place of another.
fn who(case: &Case) -> String {
    let request = &case.request;
    let members: Vec<String> = request
        .chain
        .members()
        .map(|member| match &member.owner {
            Some(owner) => format!("{} (owner {owner})", member.id),
            None => member.id.to_string(),
        })
        .collect();
    let mut lines = vec![
        format!("Who: {}", members.join(", on behalf of ")),
        format!("Target: {}", request.action.target),
    ];
    if is_advisory(&request.action.gate) {
        lines.push("The caller runs it itself; nothing here can stop it from doing more.".into());
    }
    let origin = &request.chain.origin;
    let said = [
        ("model", &origin.model),
        ("session", &origin.session),
        ("task", &origin.task),
    ];
    let said = said.iter().filter_map(|(name, value)| {
        let value = cut(&reveal(value.as_deref()?), BRIEF);
        Some(format!("{name} {value:?}"))
    });
    let said: Vec<String> = said.collect();
    if !said.is_empty() {
        lines.push(format!("It says of itself: {}", said.join(", ")));
    }
    lines.join("\n")
}

/// What stands around the action: why, what it touches, what to beware of.
fn around(case: &Case) -> Vec<Value> {
    let request = &case.request;
    let mut blocks = Vec::new();
    let unusual = unusual_in(case);
    if !unusual.is_empty() {
        let unusual = cut(&unusual.join("; "), LONG);
        blocks.push(section(&format!("Beware: {unusual}")));
    }
    if let Some(reason) = &request.reason {
        blocks.push(context("Why, in its own words:"));
        blocks.push(quoted(&cut(&reveal_lines(reason), LONG)));
    }
    let radius = cut(&reveal_lines(&request.presentation.blast_radius), SHORT);
    blocks.push(section(&format!("Blast radius: {radius}")));
    let masked = request.action.masked.len();
    if masked > 0 {
        let secrets = countersign_core::count::counted(masked, "secret", "secrets");
        blocks.push(context(&format!("Left out of what is shown: {secrets}.")));
    }
    blocks
}

/// Policies that hold it, and how far its rules are.
pub(in crate::channels) fn rules(active: &Active, case: &Case) -> String {
    let policies = case.request.decided.decision.policies();
    let named: Vec<String> = policies
        .iter()
        .map(|id| {
            let reason = active
                .snapshot
                .statement(id)
                .and_then(|one| one.reason.clone());
            reason.map_or_else(|| id.to_string(), |reason| format!("{id} ({reason})"))
        })
        .collect();
    let tally = lifecycle::progress(case, active.world());
    let progress = case.request.rules.iter().map(|rule| {
        let needs: u32 = countersign_core::approval::quorum::stage_counts(rule)
            .iter()
            .sum();
        let has = tally
            .filled
            .iter()
            .filter(|(slot, _)| slot.rule == rule.name)
            .count();
        let what = match rule.confirmation {
            true => "confirmations",
            false => "signatures",
        };
        format!("{}: {has} of {needs} {what}", rule.name)
    });
    let progress: Vec<String> = progress.collect();
    format!("Held by {} · {}", named.join(", "), progress.join(" · "))
}

fn votes(case: &Case) -> Option<String> {
    let lines = case.votes.iter().rev().take(VOTES).map(|vote| {
        let verdict = match vote.verdict {
            Verdict::Approve => "approved",
            Verdict::Deny => "denied",
        };
        let reason = vote.reason.as_deref().map(|why| {
            let why = cut(&reveal(why), BRIEF);
            format!(": {why:?}")
        });
        format!("{} {verdict}{}", vote.voter, reason.unwrap_or_default())
    });
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Name, digest and time. The only text with Slack's markup, and nobody else wrote any of it.
fn foot(case: &Case) -> Value {
    let request = &case.request;
    let digest: String = request.digest.to_string().chars().take(DIGITS).collect();
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

/// What a button carries: which request, and which action was shown.
fn value(case: &Case) -> String {
    let digest: String = case
        .request
        .digest
        .to_string()
        .chars()
        .take(DIGITS)
        .collect();
    format!("{}:{digest}", case.request.id)
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
            let mut approve = button("approve", "Approve", &value);
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
        elements.push(button("withdraw", "Withdraw my approval", &value));
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

/// What somebody wants to do that takes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Approve,
    Deny,
    Comment,
    Ask,
}

impl Verb {
    /// The verb of a button or dialog.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "approve" => Self::Approve,
            "deny" => Self::Deny,
            "comment" => Self::Comment,
            "ask" => Self::Ask,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Comment => "comment",
            Self::Ask => "ask",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Approve => "Approve",
            Self::Deny => "Deny",
            Self::Comment => "Comment",
            Self::Ask => "Ask",
        }
    }
}

/// Whether approving takes more than a click.
pub(super) fn asks_for_words(active: &Active, case: &Case) -> bool {
    needs_reason(case, active.world())
}

/// The dialog in which somebody says why. It is bound to what the card showed.
pub(super) fn dialog(active: &Active, case: &Case, verb: Verb, value: &str) -> Value {
    let title = reveal_lines(&case.request.presentation.title).replace('\n', " ");
    let mut blocks = vec![section(&cut(&title, SHORT))];
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
pub(super) fn digest(gateway: &Gateway, lines: &[(String, String)], open: usize) -> Card {
    const LISTED: usize = 10;
    let text = match open {
        0 => "Everything of this list is decided".to_owned(),
        many => {
            let requests = countersign_core::count::counted(many, "request waits", "requests wait");
            format!("{requests} for a countersignature")
        }
    };
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
    Card {
        text: escaped(&text),
        blocks,
        done: open == 0,
    }
}

/// A line of a list: where a request stands and what it is, and what its button carries.
pub(super) fn line(case: &Case) -> (String, String) {
    let title = reveal_lines(&case.request.presentation.title).replace('\n', " ");
    let who = &case.request.chain.requester.id;
    let text = format!(
        "{}\n{who}, {}: {}",
        cut(&title, 300),
        case.request.action.target,
        state(case)
    );
    (text, value(case))
}

/// One message of a conversation, for a thread.
pub(super) fn said(message: &countersign_core::request::Message) -> Vec<Value> {
    let what = match &message.kind {
        MessageKind::Comment => "says",
        MessageKind::Question => "asks",
        MessageKind::Answer { .. } => "answers",
        MessageKind::Amendment { .. } => "wrote another action instead",
    };
    let head = context(&format!("{} {what}", message.by));
    vec![head, quoted(&cut(&reveal_lines(&message.text), LONG))]
}
