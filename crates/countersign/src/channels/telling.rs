//! What every chat is told of a request, as plain text.
//!
//! In scope: the lines of a card, cut to lengths that chats take; what a button carries.
//! Out of scope: the form in which a chat shows them; who may do what.
//! Invariant: nothing that others wrote begins a line, or takes the place of another. What is cut says
//! so. A button says which action was shown, never what to do.

use countersign_core::{
    approval::vote::Verdict,
    id::RequestId,
    lifecycle,
    request::{Case, Closure, Message, MessageKind, Outcome, Phase},
};
use countersign_runner::quote::{reveal, reveal_lines};

use super::alarm::awaits_review;
use crate::{
    active::Active,
    api::{
        deciding::needs_reason,
        detail::{is_advisory, unusual_in},
    },
};

/// The most characters of one of the longer texts around an action.
pub(super) const LONG: usize = 1_200;
/// The most characters of one of the shorter texts.
pub(super) const SHORT: usize = 600;
/// The most characters of what stands within a line.
const BRIEF: usize = 200;
/// The latest votes that a card lists.
const VOTES: usize = 5;
/// How many digits of the digest tell what was shown.
pub(super) const DIGITS: usize = 16;

/// The beginning of a text, with a sign where it was cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = match text.trim().is_empty() {
        true => "–",
        false => text,
    };
    match text.chars().count() > most {
        true => text.chars().take(most).chain(" […]".chars()).collect(),
        false => text.to_owned(),
    }
}

/// What is to be done, on one line.
pub(super) fn title(case: &Case) -> String {
    reveal_lines(&case.request.presentation.title).replace('\n', " ")
}

/// Whether everything a case needs is a confirmation, which is no countersignature.
pub(super) fn confirms(case: &Case) -> bool {
    let rules = &case.request.rules;
    !rules.is_empty() && rules.iter().all(|rule| rule.confirmation)
}

/// What a case needs, and by what it goes on once it has that.
fn standing(case: &Case) -> (&'static str, &'static str) {
    match (confirms(case), case.lifted.is_empty()) {
        (_, false) => ("countersignature", "EMERGENCY, a rule was lifted"),
        (true, true) => ("confirmation", "Confirmed"),
        (false, true) => ("countersignature", "Approved"),
    }
}

/// Where a case stands, in a line.
pub(super) fn state(case: &Case) -> String {
    let (needs, by) = standing(case);
    match &case.phase {
        Phase::Held { .. } => format!("Waits for a {needs}"),
        Phase::Approved { .. } => format!("{by}; it waits for its requester"),
        Phase::Running { .. } => format!("{by}; it runs"),
        Phase::Finished { outcome, .. } => match outcome {
            Outcome::Succeeded => format!("{by}; it ran and succeeded"),
            Outcome::Failed => format!("{by}; it ran and failed"),
            Outcome::Unknown => format!("{by}; whether it ran is not known"),
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

/// Who asks, for whom, of what: a line each.
pub(super) fn who(case: &Case) -> String {
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

/// What to beware of.
pub(super) fn unusual(case: &Case) -> Option<String> {
    let unusual = unusual_in(case);
    let line = || format!("Beware: {}", cut(&unusual.join("; "), LONG));
    (!unusual.is_empty()).then(line)
}

/// Why, as whoever asks says it.
pub(super) fn reason(case: &Case) -> Option<String> {
    let reason = case.request.reason.as_deref()?;
    Some(cut(&reveal_lines(reason), LONG))
}

/// What it touches.
pub(super) fn blast_radius(case: &Case) -> String {
    let radius = reveal_lines(&case.request.presentation.blast_radius);
    format!("Blast radius: {}", cut(&radius, SHORT))
}

/// How many secrets are left out.
pub(super) fn masked(case: &Case) -> Option<String> {
    let masked = case.request.action.masked.len();
    let secrets = countersign_core::count::counted(masked, "secret", "secrets");
    (masked > 0).then(|| format!("Left out of what is shown: {secrets}."))
}

/// Policies that hold it, and how far its rules are.
pub(super) fn rules(active: &Active, case: &Case) -> String {
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
        let slots = tally.filled.keys().chain(&tally.empty);
        let lifted = slots.filter(|slot| slot.rule == rule.name).count() == 0;
        match (lifted, rule.confirmation) {
            (true, _) => format!("{}: LIFTED in an emergency", rule.name),
            (false, true) if has == 0 => format!("{}: not confirmed yet", rule.name),
            (false, true) => format!("{}: confirmed", rule.name),
            (false, false) => format!("{}: {has} of {needs} signatures", rule.name),
        }
    });
    let progress: Vec<String> = progress.collect();
    format!("Held by {} · {}", named.join(", "), progress.join(" · "))
}

/// The latest votes.
pub(super) fn votes(case: &Case) -> Option<String> {
    let lines = case.votes.iter().rev().take(VOTES).map(|vote| {
        let verdict = match vote.verdict {
            Verdict::Approve if confirms(case) => "confirmed",
            Verdict::Approve => "approved",
            Verdict::Deny => "denied",
        };
        let reason = vote.reason.as_deref().map(|why| {
            let why = cut(&reveal(why), BRIEF);
            format!(": {why:?}")
        });
        let in_place = vote.in_place_of.as_ref();
        let in_place = in_place.map(|away| format!(" in the place of {away}"));
        let (in_place, reason) = (in_place.unwrap_or_default(), reason.unwrap_or_default());
        format!("{} {verdict}{in_place}{reason}", vote.voter)
    });
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The first digits of the digest of what is shown.
pub(super) fn digits(case: &Case) -> String {
    let digest = case.request.digest.to_string();
    digest.chars().take(DIGITS).collect()
}

/// What a button carries: which request, and which action was shown.
pub(super) fn value(case: &Case) -> String {
    format!("{}:{}", case.request.id, digits(case))
}

/// The request and the digits of what was shown, as a button carried them.
///
/// # Errors
/// No button of ours carried it.
pub(super) fn carried(value: &str) -> Result<(RequestId, &str), &'static str> {
    let read = value
        .split_once(':')
        .and_then(|(id, digest)| Some((id.parse().ok()?, digest)));
    read.ok_or("That can't be read; open the request's page instead.")
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

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Comment => "comment",
            Self::Ask => "ask",
        }
    }

    pub(super) fn title(self) -> &'static str {
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

/// A line of a list: where a request stands and what it is, and what its button carries.
pub(super) fn line(case: &Case) -> (String, String) {
    let title = title(case);
    let who = &case.request.chain.requester.id;
    let text = format!(
        "{}\n{who}, {}: {}",
        cut(&title, 300),
        case.request.action.target,
        state(case)
    );
    (text, value(case))
}

/// Who says a message of a conversation.
pub(super) fn speaker(message: &Message) -> String {
    let what = match &message.kind {
        MessageKind::Comment => "says",
        MessageKind::Question => "asks",
        MessageKind::Answer { .. } => "answers",
        MessageKind::Amendment { .. } => "wrote another action instead",
    };
    format!("{} {what}", message.by)
}

/// A message of a conversation.
pub(super) fn spoken(message: &Message) -> String {
    cut(&reveal_lines(&message.text), LONG)
}

/// What a list of requests is about.
pub(super) fn list(open: usize) -> String {
    match open {
        0 => "Everything of this list is decided".to_owned(),
        many => {
            let requests = countersign_core::count::counted(many, "request waits", "requests wait");
            format!("{requests} for a countersignature")
        }
    }
}

/// Whether nothing of a case changes any more.
pub(super) fn is_done(case: &Case) -> bool {
    // How the review of an emergency stands still changes.
    case.phase.is_over() && !awaits_review(case)
}
