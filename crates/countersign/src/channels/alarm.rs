//! What people are told of emergencies in chats: that a rule was lifted, and that nobody reviewed it in time.
//!
//! In scope: which messages there are of a case, what they say, sending each once in each place.
//! Out of scope: who is told where ([`board`](super::board)); the form in which a chat shows them; lifting
//! and reviewing, which no click does.
//! Invariant: a message of its own, so that it is seen; a card that changes is not.

use countersign_core::{
    lifecycle,
    request::{Case, Lifted},
};
use countersign_runner::quote::reveal_lines;
use countersign_store::Card as Row;

use super::{
    board::{Job, Keeper, SAID},
    messenger::Messenger,
    telling::{self, LONG, SHORT, cut},
};
use crate::{active::Active, gateway::Gateway};

/// The most names in a message.
const NAMED: usize = 10;

/// A message about one lift.
pub(super) struct Alarm {
    /// Its name among the rows of its place.
    name: String,
    /// What happened, in a line.
    pub(super) text: String,
    /// The action, in a line.
    pub(super) title: String,
    /// Why, in the words of whoever lifted it.
    pub(super) reason: String,
    /// Who is to review it until when, and what follows.
    pub(super) review: String,
    /// Where it is reviewed.
    pub(super) url: String,
}

/// What a card says of one lift, before everything else.
pub(super) struct Banner {
    /// What was lifted, by whom.
    pub(super) line: String,
    /// Why, in their words.
    pub(super) reason: String,
    /// How its review stands, with words of whoever reviewed it.
    pub(super) standing: String,
}

/// Whether something of a case was lifted that nobody has reviewed.
pub(super) fn awaits_review(case: &Case) -> bool {
    case.lifted.iter().any(|lift| lift.reviewed.is_none())
}

/// In front of everything a card says.
pub(super) fn banners(case: &Case) -> Vec<Banner> {
    let banner = |lift: &Lifted| Banner {
        line: format!(
            "EMERGENCY: {} lifted rule {}. Nobody countersigned for it.",
            lift.by(),
            lift.rule
        ),
        reason: cut(&reveal_lines(lift.reason()), SHORT),
        standing: match &lift.reviewed {
            Some(review) => {
                let note = cut(&reveal_lines(&review.note), SHORT);
                format!("Reviewed by {}: {note:?}", review.by)
            }
            None if lift.overdue => "The review is overdue. The rule can't be lifted again.".into(),
            None => format!("Somebody else must review it by {}.", lift.review_by),
        },
    };
    case.lifted.iter().map(banner).collect()
}

/// What is to be told of a case, the oldest first.
fn alarms(gateway: &Gateway, active: &Active, case: &Case) -> Vec<Alarm> {
    let due = case.lifted.iter().enumerate();
    let due = due.filter(|(_, lift)| lift.reviewed.is_none());
    due.flat_map(|(nth, lift)| {
        let (by, rule, id) = (lift.by(), &lift.rule, &case.request.id);
        let broken = format!("EMERGENCY: {by} lifted rule {rule} of {id}");
        let overdue = format!("Overdue: nobody has reviewed that {by} lifted rule {rule} of {id}");
        let made = |kind: &str, text: String| Alarm {
            name: format!("{kind}:{nth}"),
            text,
            title: cut(&telling::title(case), SHORT),
            reason: cut(&reveal_lines(lift.reason()), LONG),
            review: review(active, case, lift),
            url: format!("{}#review", gateway.request_url(id)),
        };
        let overdue = lift.overdue.then(|| made("overdue", overdue));
        std::iter::once(made("lifted", broken)).chain(overdue)
    })
    .collect()
}

/// Who is to review a lift until when, and what follows.
pub(super) fn review(active: &Active, case: &Case, lift: &Lifted) -> String {
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
    format!("To be reviewed by {}: {who}. {after}", lift.review_by)
}

impl<M: Messenger> Keeper<M> {
    /// Sends one message about an emergency that was not told in this place. Whether there was one.
    pub(super) async fn alarm(
        &mut self,
        active: &Active,
        place: &str,
        jobs: &[Job],
    ) -> anyhow::Result<bool> {
        let app = self.app.clone();
        let (gateway, channel) = (&app.chat().api.gateway, app.chat().name.to_string());
        for job in jobs.iter().filter(|job| awaits_review(&job.case)) {
            let id = &job.case.request.id;
            let rows = gateway.store.cards(&channel, id).await?;
            let row_of = |alarm: &Alarm| format!("{place}{SAID}{}", alarm.name);
            let known = |alarm: &Alarm| rows.iter().any(|row| row.place == row_of(alarm));
            let mut alarms = alarms(gateway, active, &job.case).into_iter();
            let Some(alarm) = alarms.find(|alarm| !known(alarm)) else {
                continue;
            };
            let Some(conversation) = self.conversation(place).await? else {
                return Ok(false);
            };
            let made = app.alarm(&alarm);
            let message = match app.announce(&conversation, &made).await {
                Ok(posted) => Some(posted),
                Err(error) if error.is_of_one_message() => {
                    tracing::error!(%error, request = %id, "a chat refuses the message of an emergency");
                    None
                }
                Err(error) => return Err(error.into()),
            };
            self.put(Row {
                channel: channel.clone(),
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
