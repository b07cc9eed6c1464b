//! A request as spans.
//!
//! In scope: one span from asking to the end, within it one for waiting for people and one for the
//! execution; records as events in them.
//! Out of scope: how spans are written ([`encoding`](super::encoding)).
//! Invariant: the ids are functions of the log's name, the request's id and, where there is one, the
//! caller's `traceparent`; so a request that is told again has the same ids, and without a
//! `traceparent` no two requests share a trace, whoever asked. Only what failed is an error: a denial
//! is an answer. Names and contents are those that [`View`] allows.
//! Specification: <https://opentelemetry.io/docs/specs/semconv/general/attributes/>; what has no name
//! there begins with `countersign.`.

use countersign_core::{canonical::Hash, id::RequestId, time::Timestamp};
use countersign_evidence::{
    body::{
        ActionOutcome, ActionPermitted, ActionRequested, Body, Decision, OutcomeStatus, Phase,
        PolicyDecided,
    },
    reference::Ref,
};
use serde_json::Value;

use super::encoding::{self, Kind, Span, flag, number, text, texts};
use crate::streams::{
    follow::Entry,
    view::{self, View},
};

/// The most bytes of evidence in one message; collectors have limits of their own.
const MAX_EVIDENCE: usize = 1 << 20;

/// The trace and the spans of the request that these records are of, from the first to the one that
/// ended it; nothing where they are something else.
///
/// # Errors
/// A record can't be read.
pub(super) fn of(
    records: &mut dyn Iterator<Item = anyhow::Result<Entry>>,
    origin: &str,
    view: &View,
) -> anyhow::Result<Option<(String, Vec<Value>)>> {
    let Some(first) = records.next().transpose()? else {
        return Ok(None);
    };
    let (Body::ActionRequested(asked), Some(within)) = (&first.leaf.body, &first.leaf.request)
    else {
        return Ok(None);
    };
    let mut story = Story::begin(&first, asked, &within.id, origin, view);
    for entry in records {
        let entry = entry?;
        let ours = entry
            .leaf
            .request
            .as_ref()
            .filter(|one| one.id == within.id);
        if let Some(ours) = ours {
            story.add(&entry, ours.seq);
        }
    }
    Ok(story.end())
}

/// Which trace and spans a request has.
struct Ids<'a> {
    origin: &'a str,
    request: &'a RequestId,
}

impl Ids<'_> {
    /// So many hexadecimal digits, not all of them 0.
    fn digits(&self, what: &str, digits: usize) -> String {
        let parts = [what, "\0", self.origin, "\0", self.request.as_str()];
        let hash = Hash::of_parts(&parts.map(str::as_bytes)).to_hex();
        let id: String = hash.chars().take(digits).collect();
        match id.bytes().all(|digit| digit == b'0') {
            true => format!("{:0>digits$}", 1),
            false => id,
        }
    }

    fn trace(&self) -> String {
        self.digits("countersign/trace/v1", 32)
    }

    fn span(&self, role: &str) -> String {
        self.digits(&format!("countersign/span/v1/{role}"), 16)
    }
}

/// What was read of a request so far.
struct Story<'a> {
    ids: Ids<'a>,
    view: &'a View,
    trace: String,
    request: Span,
    wait: Option<Span>,
    execution: Option<Span>,
    last: Timestamp,
    over: bool,
    told: u64,
    records: u64,
    evidence: usize,
}

impl<'a> Story<'a> {
    fn begin(
        first: &Entry,
        asked: &ActionRequested,
        id: &'a RequestId,
        origin: &'a str,
        view: &'a View,
    ) -> Self {
        let ids = Ids {
            origin,
            request: id,
        };
        let place = view::trace(first);
        let at = first.leaf.at;
        let mut attributes = vec![
            text("countersign.request.id", id.as_str()),
            text("countersign.gate", &asked.gate),
            texts("countersign.actions", &asked.actions),
            number("countersign.record.index", first.at.index),
        ];
        if let Some(asked) = view::asked(first) {
            attributes.push(text("countersign.target", &asked.target));
        }
        if let Some(digest) = first.leaf.digest {
            attributes.push(text("countersign.action.digest", &digest.0.to_hex()));
        }
        if let Some(amends) = &asked.amends {
            attributes.push(text("countersign.amends", amends.as_str()));
        }
        attributes.extend(who(view, &asked.requester));
        let request = Span {
            id: ids.span("request"),
            parent: place.map(|place| (format!("{:016x}", place.parent()), true)),
            // Few different ones, so that systems can group by it.
            name: format!("{} request", asked.gate),
            kind: Kind::Server,
            start: at,
            end: None,
            attributes,
            events: Vec::new(),
            events_left_out: 0,
            error: None,
        };
        let trace = place.map_or_else(|| ids.trace(), |place| format!("{:032x}", place.trace()));
        let mut story = Self {
            ids,
            view,
            trace,
            request,
            wait: None,
            execution: None,
            last: at,
            over: false,
            told: 1,
            records: 1,
            evidence: MAX_EVIDENCE,
        };
        let evidence = story.evidence(first);
        story.request.attributes.extend(evidence);
        story
    }

    /// Takes a record into account; `seq` is its number within the request.
    fn add(&mut self, entry: &Entry, seq: u64) {
        let at = entry.leaf.at;
        self.told += 1;
        self.records = self.records.max(seq.saturating_add(1));
        self.last = self.last.max(at);
        self.over |= entry.ends_request();
        match &entry.leaf.body {
            Body::PolicyDecided(decided) if decided.phase == Phase::Request => {
                self.decided(decided, at);
            }
            Body::ActionPermitted(permitted) => self.permitted(permitted, at),
            Body::ActionOutcome(outcome) => self.ended(outcome, at),
            Body::RequestClosed(closed) => {
                let why = text("countersign.result", &word(&closed.why));
                self.request.attributes.push(why);
            }
            _ => {}
        }
        let mut attributes = vec![number("countersign.record.index", entry.at.index)];
        attributes.extend(self.said(&entry.leaf.body));
        attributes.extend(self.evidence(entry));
        let name = format!("countersign.{}", entry.leaf.body.kind());
        let event = encoding::event(&name, at, attributes);
        let waiting = self.wait.as_mut().filter(|wait| wait.end.is_none());
        match waiting.filter(|_| by_people(&entry.leaf.body)) {
            Some(wait) => wait.events.push(event),
            None => self.request.events.push(event),
        }
    }

    fn decided(&mut self, decided: &PolicyDecided, at: Timestamp) {
        let decision = text("countersign.decision", &word(&decided.decision));
        self.request.attributes.push(decision);
        match decided.decision {
            Decision::Permit => {}
            Decision::Deny => {
                let result = text("countersign.result", "denied_by_policy");
                self.request.attributes.push(result);
            }
            Decision::Hold => {
                let names = decided.rules.iter().map(|rule| &rule.name);
                let rules = texts("countersign.rules", names);
                self.wait = Some(self.part("wait", "wait for people", at, vec![rules]));
            }
        }
    }

    fn permitted(&mut self, permitted: &ActionPermitted, at: Timestamp) {
        if let Some(wait) = &mut self.wait {
            wait.end.get_or_insert(at);
        }
        if self.execution.is_none() {
            let permit = text("countersign.permit.id", permitted.permit.as_str());
            self.execution = Some(self.part("execution", "execution", at, vec![permit]));
        }
    }

    fn ended(&mut self, outcome: &ActionOutcome, at: Timestamp) {
        let result = word(&outcome.status);
        let error = match outcome.status {
            OutcomeStatus::Succeeded => None,
            OutcomeStatus::Failed => Some("failed"),
            // Somebody has to find out.
            OutcomeStatus::Unknown => Some("unknown"),
        };
        let exit = outcome.exit.map(|exit| number("process.exit.code", exit));
        let kind = error.map(|error| text("error.type", error));
        if let Some(execution) = &mut self.execution {
            execution.end = Some(at);
            execution.error = error;
            execution
                .attributes
                .extend(exit.into_iter().chain(kind.clone()));
        }
        self.request.error = error;
        let attributes = &mut self.request.attributes;
        attributes.push(text("countersign.result", &result));
        attributes.extend(kind);
    }

    /// A span within that of the request.
    fn part(&self, role: &str, name: &str, start: Timestamp, attributes: Vec<Value>) -> Span {
        Span {
            id: self.ids.span(role),
            parent: Some((self.request.id.clone(), false)),
            name: name.into(),
            kind: Kind::Internal,
            start,
            end: None,
            attributes,
            events: Vec::new(),
            events_left_out: 0,
            error: None,
        }
    }

    /// What a record says, beyond who is behind which reference.
    fn said(&self, body: &Body) -> Vec<Value> {
        let (mut said, subject) = match body {
            Body::PolicyDecided(decided) => {
                let rules = decided.rules.iter().map(|rule| &rule.name);
                let said = vec![
                    text("countersign.decision", &word(&decided.decision)),
                    text("countersign.phase", &word(&decided.phase)),
                    text("countersign.bundle", &decided.bundle.to_hex()),
                    texts("countersign.policies", &decided.policies),
                    texts("countersign.rules", rules),
                    texts("countersign.approvals", &decided.approvals),
                ];
                (said, None)
            }
            Body::SelfGrew(grew) => (vec![text("countersign.why", &grew.why)], None),
            Body::ApprovalDecided(vote) => {
                let rules = vote.slots.iter().map(|slot| &slot.rule);
                let said = vec![
                    text("countersign.verdict", &word(&vote.verdict)),
                    text("countersign.assurance", &word(&vote.assurance)),
                    flag("countersign.emergency", vote.emergency),
                    texts("countersign.rules", rules),
                ];
                (said, Some(&vote.voter))
            }
            Body::ApprovalWithdrawn(withdrawn) => (Vec::new(), Some(&withdrawn.voter)),
            Body::Commented(said) => {
                let kind = text("countersign.comment.kind", &word(&said.kind));
                let about = said.about.as_ref();
                let about = about.map(|about| text("countersign.amended_by", about.as_str()));
                (
                    Some(kind).into_iter().chain(about).collect(),
                    Some(&said.by),
                )
            }
            Body::Opened(opened) => (
                vec![text("countersign.page", &opened.page)],
                Some(&opened.by),
            ),
            Body::ActionPermitted(permitted) => {
                let said = vec![
                    text("countersign.permit.id", permitted.permit.as_str()),
                    texts("countersign.approvals", &permitted.approvals),
                    flag("countersign.recovered", permitted.recovered),
                ];
                (said, None)
            }
            Body::ActionOutcome(outcome) => (
                vec![text("countersign.result", &word(&outcome.status))],
                None,
            ),
            Body::RequestClosed(closed) => {
                let said = vec![text("countersign.result", &word(&closed.why))];
                (said, closed.by.as_ref())
            }
            Body::RequestEscalated(grown) => {
                (vec![text("countersign.rule", grown.rule.as_str())], None)
            }
            Body::EmergencyOverdue(overdue) => {
                (vec![text("countersign.rule", overdue.rule.as_str())], None)
            }
            Body::EmergencyReviewed(reviewed) => {
                let said = vec![text("countersign.rule", reviewed.rule.as_str())];
                (said, Some(&reviewed.by))
            }
            Body::GrantUsed(used) => (vec![text("countersign.grant", used.grant.as_str())], None),
            Body::GrantEnded(ended) => (Vec::new(), Some(&ended.by)),
            _ => (Vec::new(), None),
        };
        said.extend(subject.into_iter().flat_map(|one| who(self.view, one)));
        said
    }

    /// The evidence, where it may be said and as far as there is room.
    fn evidence(&mut self, entry: &Entry) -> Option<Value> {
        let evidence = self.view.evidence(entry)?.to_string();
        let Some(left) = self.evidence.checked_sub(evidence.len()) else {
            let bytes = evidence.len();
            return Some(number("countersign.evidence.left_out_bytes", bytes));
        };
        self.evidence = left;
        Some(text("countersign.evidence", &evidence))
    }

    fn end(mut self) -> Option<(String, Vec<Value>)> {
        if !self.over {
            return None;
        }
        self.request.events_left_out = self.records.saturating_sub(self.told);
        let spans = [Some(self.request), self.wait, self.execution];
        let spans = spans.into_iter().flatten();
        let spans = spans.map(|span| span.encode(&self.trace, self.last));
        let spans = spans.collect();
        Some((self.trace, spans))
    }
}

/// Whether a record is of what happens while people are waited for.
fn by_people(body: &Body) -> bool {
    matches!(
        body,
        Body::SelfGrew(_)
            | Body::ApprovalDecided(_)
            | Body::ApprovalWithdrawn(_)
            | Body::Commented(_)
            | Body::Opened(_)
            | Body::RequestEscalated(_)
            | Body::GrantUsed(_)
            | Body::GrantEnded(_)
    )
}

/// Somebody: the log's reference, and their name where it may be said.
fn who(view: &View, subject: &Ref) -> impl Iterator<Item = Value> {
    let name = view.name(subject).map(|name| text("user.name", name));
    [Some(text("user.hash", &subject.to_string())), name]
        .into_iter()
        .flatten()
}

/// The record's own word for something.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
