//! What Slack is told of emergencies: that a rule was lifted, and that nobody reviewed it in time.
//!
//! In scope: which messages there are of a case, what they say, sending each once in each place.
//! Out of scope: who is told where ([`board`](super::board)); lifting and reviewing, which no click does.
//! Invariant: a message of its own, so that it is seen; a card that changes is not. What others wrote
//! is never read as Slack's markup.

use countersign_core::{
    lifecycle,
    request::{Case, Lifted},
};
use countersign_runner::quote::reveal_lines;
use countersign_store::Card as Row;
use serde_json::{Value, json};

use super::{
    board::{Job, Keeper, SAID},
    card::{self, LONG, SHORT, context, cut, escaped, plain, quoted, section},
    sending::named,
};
use crate::{active::Active, gateway::Gateway};

/// The most names in a message.
const NAMED: usize = 10;

/// A message about one lift: its name among the rows of its place, a line, and its blocks.
struct Alarm {
    name: String,
    text: String,
    blocks: Vec<Value>,
}

/// Whether something of a case was lifted that nobody has reviewed.
pub(super) fn awaits_review(case: &Case) -> bool {
    case.lifted.iter().any(|lift| lift.reviewed.is_none())
}

/// In front of everything a card says: what was lifted, by whom, and how its review stands.
pub(super) fn banner(case: &Case) -> Vec<Value> {
    let mut blocks = Vec::new();
    for lift in &case.lifted {
        let line = format!(
            "EMERGENCY: {} lifted rule {}. Nobody countersigned for it.",
            lift.by(),
            lift.rule
        );
        blocks.push(section(&line));
        blocks.push(quoted(&cut(&reveal_lines(lift.reason()), SHORT)));
        let standing = match &lift.reviewed {
            Some(review) => {
                let note = cut(&reveal_lines(&review.note), SHORT);
                format!("Reviewed by {}: {note:?}", review.by)
            }
            None if lift.overdue => "The review is overdue. The rule can't be lifted again.".into(),
            None => format!("Somebody else must review it by {}.", lift.review_by),
        };
        blocks.push(context(&standing));
    }
    blocks
}

/// What is to be told of a case, the oldest first.
fn alarms(gateway: &Gateway, active: &Active, case: &Case) -> Vec<Alarm> {
    let due = case.lifted.iter().enumerate();
    let due = due.filter(|(_, lift)| lift.reviewed.is_none());
    due.flat_map(|(nth, lift)| {
        let broken = format!(
            "EMERGENCY: {} lifted rule {} of {}",
            lift.by(),
            lift.rule,
            case.request.id
        );
        let overdue = format!(
            "Overdue: nobody has reviewed that {} lifted rule {} of {}",
            lift.by(),
            lift.rule,
            case.request.id
        );
        let made = |kind: &str, text: String| Alarm {
            name: format!("{kind}:{nth}"),
            blocks: blocks(gateway, active, (case, lift), &text),
            text,
        };
        let overdue = lift.overdue.then(|| made("overdue", overdue));
        std::iter::once(made("lifted", broken)).chain(overdue)
    })
    .collect()
}

fn blocks(
    gateway: &Gateway,
    active: &Active,
    (case, lift): (&Case, &Lifted),
    text: &str,
) -> Vec<Value> {
    let title = reveal_lines(&case.request.presentation.title).replace('\n', " ");
    let reviewers = lifecycle::reviewers(case, active.world(), &lift.rule);
    let names: Vec<_> = reviewers
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let who = match (names.is_empty(), reviewers.len().saturating_sub(NAMED)) {
        (true, _) => "nobody who could is left; add somebody to the rule".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{}, or {more} more", names.join(", ")),
    };
    let after = match lift.overdue {
        true => "Until somebody does, nobody can lift this rule again.",
        false => "It was lifted on one person's word, with their passkey.",
    };
    let review = format!("To be reviewed by {}: {who}. {after}", lift.review_by);
    let url = format!("{}#review", gateway.request_url(&case.request.id));
    let open = json!({
        "type": "button",
        "action_id": "open",
        "text": plain("Review it on its page", 70),
        "url": url,
    });
    vec![
        json!({ "type": "header", "text": plain(text, card::HEADER) }),
        section(&cut(&title, SHORT)),
        context("Why, in the words of whoever lifted it:"),
        quoted(&cut(&reveal_lines(lift.reason()), LONG)),
        section(&review),
        json!({ "type": "actions", "elements": [open] }),
    ]
}

impl Keeper {
    /// Sends one message about an emergency that was not told in this place. Whether there was one.
    pub(super) async fn alarm(
        &mut self,
        active: &Active,
        place: &str,
        jobs: &[Job],
    ) -> anyhow::Result<bool> {
        let app = self.app.clone();
        let store = &app.api.gateway.store;
        for job in jobs.iter().filter(|job| awaits_review(&job.case)) {
            let id = &job.case.request.id;
            let rows = store.cards(&app.name, id).await?;
            let alarms = alarms(&app.api.gateway, active, &job.case);
            let row_of = |alarm: &Alarm| format!("{place}{SAID}{}", alarm.name);
            let known = |alarm: &Alarm| rows.iter().any(|row| row.place == row_of(alarm));
            let Some(alarm) = alarms.into_iter().find(|alarm| !known(alarm)) else {
                continue;
            };
            let Some(conversation) = self.conversation(place).await? else {
                return Ok(false);
            };
            let arguments = json!({
                "channel": conversation,
                "text": escaped(&alarm.text),
                "blocks": alarm.blocks,
                "unfurl_links": false,
                "unfurl_media": false,
            });
            let message = match app.web.call("chat.postMessage", &arguments).await {
                Ok(posted) => Some(named(&posted, &conversation)?),
                Err(error) if error.is_of_one_message() => {
                    tracing::error!(%error, request = %id, "Slack refuses the message of an emergency");
                    None
                }
                Err(error) => return Err(error.into()),
            };
            self.put(Row {
                channel: app.name.to_string(),
                request: id.clone(),
                place: row_of(&alarm),
                message,
                shown: None,
                done: true,
            })
            .await?;
            return Ok(true);
        }
        Ok(false)
    }
}
