//! `countersign log list`: what was asked, decided and done, one line a record.
//!
//! In scope: choosing records and saying each in one line; names from the evidence beside a leaf.
//! Out of scope: whether the record holds ([`verify`](super::verify)).
//! Invariant: memory does not grow with the log: it holds the lines that are printed last, and who
//! asked what in the latest requests. Only evidence that the leaf commits to is believed.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use clap::builder::PossibleValuesParser;
use countersign_core::{
    count::counted, decision::Decision, id::RequestId, subject::SubjectId, time::Timestamp,
};
use countersign_evidence::{
    body::{self, Body, PolicyDecided},
    evidence::{
        Evidence,
        sealing::{KeyId, KeySource, NoKeys},
    },
    frame::{Corrupt, Frame, Step},
    leaf::Leaf,
    reference::Ref,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{PIECE, journal, keys::evidence_keys, named, receipt, steps};
use crate::cli::{
    failure::{Failure, GENERAL},
    output::Output,
    requests::since,
    text::{Paint, shown},
};

const EXAMPLES: &str = "\
Examples:
  countersign log list data                                  # the last 50 records
  countersign log list data --kind policy.decided --since 2h
  countersign log list data --request req_01j9…
  countersign log list req_01j9….receipt                     # what a receipt says of its request
  countersign log list data --last 0 --json | jq 'select(.outcome == \"deny\")'

Each line begins with the entry's number, counted from 0, as `countersign log verify` names entries.
It reads the files and believes them; `countersign log verify` says whether they hold.
With --json the last line has no record but the numbers of those listed and left out.
Exit status: 0 all read, 1 part of the journal can't be read.";

/// The latest requests of which it is remembered who asked what.
const REMEMBERED: usize = 10_000;
/// What stands where nothing is known.
const NOTHING: &str = "-";
/// How many destroyed keys a line of text names; with `--json` it has all of them.
const NAMED_KEYS: usize = 2;

/// Arguments of `countersign log list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway's data directory, its `log` directory, the journal in it, or a receipt
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// Only records of this kind; give it again for more kinds
    #[arg(long = "kind", value_name = "KIND",
          value_parser = PossibleValuesParser::new(Body::KINDS))]
    kinds: Vec<String>,
    /// Only records about this request
    #[arg(long, value_name = "REQUEST")]
    request: Option<RequestId>,
    /// Only records since then: `2h` ago, a day like 2026-03-01, or 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only the last so many of them; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: usize,
}

/// One record in one line.
#[derive(Debug, Serialize)]
struct Line {
    /// Counted from 0, as `log verify` does.
    entry: u64,
    at: Option<Timestamp>,
    kind: &'static str,
    /// Who did it, or whose request it is about.
    who: Option<String>,
    /// The actions asked for, and the target.
    action: Option<String>,
    outcome: String,
    /// More about the outcome.
    detail: Option<String>,
    request: Option<RequestId>,
    /// The keys that were destroyed, in records of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyId>,
}

/// Prints the chosen records.
///
/// # Errors
/// When the journal can't be read or is damaged.
pub(super) fn list(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    let mut listing = Listing {
        args,
        output,
        asked: Asked::default(),
        entries: 0,
        waiting: VecDeque::new(),
        listed: 0,
        left_out: 0,
        unreadable: 0,
        keys: evidence_keys(&args.path)?.unwrap_or_else(|| Arc::new(NoKeys)),
    };
    named::record(&args.path)?;
    if let Some(receipt) = receipt::read(&args.path)? {
        for entry in &receipt.entries {
            let evidence = entry.evidence.as_deref().unwrap_or_default().as_bytes();
            listing.record(entry.index, entry.leaf.as_bytes(), evidence)?;
        }
        return listing.finish(None);
    }
    let mut damage = None;
    steps(&journal(&args.path), PIECE, |step| match step {
        Step::Frame(frame) => listing.frame(frame),
        Step::Corrupt(corrupt) => {
            damage = Some(corrupt);
            Ok(())
        }
        // The beginning of a record that is being written, or that a crash cut short.
        Step::End | Step::Incomplete { .. } => Ok(()),
    })?;
    listing.finish(damage)
}

/// A list in the making.
struct Listing<'a> {
    args: &'a Args,
    output: &'a mut Output,
    asked: Asked,
    entries: u64,
    /// The latest chosen lines, at most as many as are wanted.
    waiting: VecDeque<Line>,
    listed: u64,
    left_out: u64,
    unreadable: u64,
    keys: Arc<dyn KeySource>,
}

impl Listing<'_> {
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), Failure> {
        let entry = self.entries;
        self.entries += 1;
        self.record(entry, frame.leaf, frame.evidence)
    }

    fn record(&mut self, entry: u64, leaf: &[u8], evidence: &[u8]) -> Result<(), Failure> {
        match Leaf::parse(leaf) {
            Ok(leaf) => {
                let wanted = self.wants(&leaf);
                let asks = matches!(leaf.body, Body::ActionRequested(_));
                if !wanted && !asks {
                    return Ok(());
                }
                let evidence = opened(&leaf, evidence, self.keys.as_ref());
                self.asked.note(&leaf, &evidence);
                if wanted {
                    let line = line(entry, leaf, &evidence, &self.asked);
                    self.take(line)?;
                }
                Ok(())
            }
            Err(error) => {
                self.unreadable += 1;
                self.take(Line {
                    entry,
                    at: None,
                    kind: "unreadable",
                    who: None,
                    action: None,
                    outcome: error.to_string(),
                    detail: None,
                    request: None,
                    keys: Vec::new(),
                })
            }
        }
    }

    fn wants(&self, leaf: &Leaf) -> bool {
        let Args {
            kinds,
            request,
            since,
            ..
        } = self.args;
        let about = leaf.request.as_ref().map(|place| &place.id);
        (kinds.is_empty() || kinds.iter().any(|kind| kind == leaf.body.kind()))
            && (request.is_none() || request.as_ref() == about)
            && since.is_none_or(|since| leaf.at >= since)
    }

    fn take(&mut self, line: Line) -> Result<(), Failure> {
        if self.args.last == 0 {
            return self.print(&line);
        }
        if self.waiting.len() == self.args.last {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(line);
        Ok(())
    }

    fn print(&mut self, line: &Line) -> Result<(), Failure> {
        self.listed += 1;
        self.output.result(line, text)
    }

    fn finish(mut self, damage: Option<Corrupt>) -> Result<u8, Failure> {
        for line in std::mem::take(&mut self.waiting) {
            self.print(&line)?;
        }
        let (listed, left_out) = (self.listed, self.left_out);
        if self.output.is_json() {
            let counted = json!({ "listed": listed, "left_out": left_out });
            self.output.result(&counted, |_, _| String::new())?;
        }
        match (listed, left_out) {
            (0, _) => self.output.note("No records match."),
            (_, 0) => {}
            (_, more) => self.output.note(format!(
                "{} left out; `--last 0` lists all.",
                counted(more, "earlier record is", "earlier records are")
            )),
        }
        let verify = format!(
            "see what holds: countersign log verify {}",
            self.args.path.display()
        );
        if let Some(damage) = damage {
            let title = format!("nothing more can be read: {damage}");
            return Err(Failure::new("damaged", title).next(verify));
        }
        match self.unreadable {
            0 => Ok(0),
            count => {
                let title = format!("{} can't be read", counted(count, "record", "records"));
                Err(Failure::new("damaged", title).next(verify).exit(GENERAL))
            }
        }
    }
}

/// Who asked what, of the latest requests.
#[derive(Default)]
struct Asked {
    by_request: BTreeMap<RequestId, (String, String)>,
    order: VecDeque<RequestId>,
}

impl Asked {
    fn note(&mut self, leaf: &Leaf, evidence: &Value) {
        let (Body::ActionRequested(asked), Some(place)) = (&leaf.body, &leaf.request) else {
            return;
        };
        let who = at::<SubjectId>(evidence, "/chain/requester")
            .map_or_else(|| unresolved(&asked.requester), |who| who.to_string());
        let actions: Vec<_> = asked.actions.iter().map(ToString::to_string).collect();
        let mut action = actions.join(", ");
        if let Some(target) = at::<String>(evidence, "/action/target") {
            action = format!("{action} at {target}");
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_request.remove(&oldest);
        }
        self.order.push_back(place.id.clone());
        self.by_request.insert(place.id.clone(), (who, action));
    }

    fn of(&self, request: Option<&RequestId>) -> (Option<String>, Option<String>) {
        let known = request.and_then(|id| self.by_request.get(id)).cloned();
        known.map_or((None, None), |(who, action)| (Some(who), Some(action)))
    }
}

/// The evidence that the leaf commits to; null when it was erased, left out or exchanged.
fn opened(leaf: &Leaf, stored: &[u8], keys: &dyn KeySource) -> Value {
    let opened = leaf
        .evidence
        .and_then(|commitment| Evidence::open(stored, commitment, keys).ok());
    opened.map_or(Value::Null, |evidence| evidence.value())
}

fn at<T: DeserializeOwned>(evidence: &Value, path: &str) -> Option<T> {
    serde_json::from_value(evidence.pointer(path)?.clone()).ok()
}

fn unresolved(who: &Ref) -> String {
    format!("ref:{who}")
}

fn line(entry: u64, leaf: Leaf, evidence: &Value, asked: &Asked) -> Line {
    let request = leaf.request.map(|place| place.id);
    let (requester, action) = asked.of(request.as_ref());
    let (outcome, detail) = outcome(&leaf.body, evidence);
    let keys = match &leaf.body {
        Body::EvidenceErased(erased) => erased.keys.clone(),
        _ => Vec::new(),
    };
    Line {
        entry,
        at: Some(leaf.at),
        kind: leaf.body.kind(),
        who: who(&leaf.body, evidence).or(requester),
        action,
        outcome,
        detail,
        request,
        keys,
    }
}

/// Who did what a record says; by name where the evidence has it.
fn who(body: &Body, evidence: &Value) -> Option<String> {
    let person = |path: &str| at::<String>(evidence, path).map(|person| format!("person:{person}"));
    let subject = |path: &str| at::<SubjectId>(evidence, path).map(|who| who.to_string());
    let (named, known) = match body {
        Body::ApprovalDecided(vote) => (person("/vote/voter"), Some(&vote.voter)),
        Body::ApprovalWithdrawn(vote) => (person("/voter"), Some(&vote.voter)),
        Body::Commented(said) => (subject("/message/by"), Some(&said.by)),
        Body::Opened(opened) => (person("/person"), Some(&opened.by)),
        Body::RequestClosed(closed) => {
            let by = subject("/closure/by").or_else(|| person("/closure/by"));
            (by, closed.by.as_ref())
        }
        Body::EmergencyReviewed(reviewed) => (person("/by"), Some(&reviewed.by)),
        Body::GrantEnded(ended) => (subject("/by"), Some(&ended.by)),
        Body::Refused(refused) => (subject("/by"), refused.by.as_ref()),
        Body::CredentialIssued(issued) => (at::<String>(evidence, "/holder"), Some(&issued.holder)),
        // A pseudonym says nothing of it, so that records from before say nobody.
        Body::CredentialRevoked(_) => (at::<String>(evidence, "/holder"), None),
        Body::DirectoryChanged(changed) => {
            let named = ["person", "agent", "workload"].iter().find_map(|kind| {
                let name = at::<String>(evidence, &format!("/change/{kind}"))?;
                Some(format!("{kind}:{name}"))
            });
            let subject = at::<SubjectId>(evidence, "/change/subject");
            let named = named.or_else(|| subject.map(|subject| subject.to_string()));
            (named, Some(&changed.subject))
        }
        Body::ChangeStored(_) => (None, None),
        Body::Recovered(_) => (person("/person"), None),
        // Whose reference it was is known to nobody any more.
        Body::EvidenceErased(erased) => (None, erased.subject.as_ref()),
        _ => (None, None),
    };
    named.or_else(|| known.map(unresolved))
}

/// What came of it: a word of the record, and more about it.
fn outcome(body: &Body, evidence: &Value) -> (String, Option<String>) {
    match body {
        Body::InstanceStarted(started) => ("started".into(), Some(started.build.clone())),
        Body::EpochStarted(epoch) => (epoch.found.clone(), Some(format!("after {}", epoch.former))),
        Body::Heartbeat(counters) => ("alive".into(), Some(format!("{} seen", counters.seen))),
        Body::KeyRotated(rotated) => (word(&rotated.purpose), None),
        Body::ActionRequested(asked) => {
            let amends = asked.amends.as_ref();
            ("asked".into(), amends.map(|id| format!("instead of {id}")))
        }
        Body::PolicyDecided(decided) => (word(&decided.decision), why(decided, evidence)),
        Body::SelfGrew(grew) => (grew.why.clone(), None),
        Body::ApprovalDecided(vote) if vote.emergency => {
            let rule = vote.slots.first().map(|slot| slot.rule.to_string());
            let reason = at::<String>(evidence, "/vote/reason");
            let parts: Vec<_> = rule.into_iter().chain(reason).collect();
            ("lifted".into(), Some(parts.join(": ")))
        }
        Body::ApprovalDecided(vote) => {
            let reason = at::<String>(evidence, "/vote/reason");
            (word(&vote.verdict), reason)
        }
        Body::ApprovalWithdrawn(_) => ("withdrawn".into(), None),
        Body::Commented(said) => (word(&said.kind), None),
        Body::Opened(opened) => ("opened".into(), Some(opened.page.clone())),
        Body::ActionPermitted(permitted) => {
            ("permitted".into(), Some(permitted.permit.to_string()))
        }
        Body::ActionOutcome(ended) => {
            let exit = ended.exit.map(|status| format!("exit status {status}"));
            (word(&ended.status), exit)
        }
        Body::RequestClosed(closed) => (word(&closed.why), None),
        Body::RequestEscalated(escalated) => ("escalated".into(), Some(escalated.rule.to_string())),
        Body::EmergencyReviewed(review) => {
            let found = at::<String>(evidence, "/found");
            let parts = std::iter::once(review.rule.to_string()).chain(found);
            (
                "reviewed".into(),
                Some(parts.collect::<Vec<_>>().join(": ")),
            )
        }
        Body::EmergencyOverdue(overdue) => ("overdue".into(), Some(overdue.rule.to_string())),
        Body::GrantGiven(given) => ("granted".into(), Some(format!("{} uses", given.uses))),
        Body::GrantUsed(used) => ("granted".into(), Some(format!("with {}", used.grant))),
        Body::GrantEnded(_) => ("ended".into(), None),
        Body::Refused(refused) => (refused.code.clone(), None),
        Body::PolicyActivated(active) => (word(&active.by), Some(active.bundle.to_hex())),
        Body::CredentialIssued(issued) => (word(&issued.kind), Some(issued.credential.to_string())),
        Body::CredentialRevoked(revoked) => {
            ("revoked".into(), Some(revoked.credential.to_string()))
        }
        Body::DirectoryChanged(changed) => (changed.what.clone(), None),
        Body::ChangeStored(stored) => (stored.what.clone(), None),
        Body::Recovered(recovered) => (recovered.what.clone(), None),
        Body::SecurityEvent(event) => (event.code.clone(), None),
        Body::EvidenceErased(erased) => {
            let keys = counted(erased.keys.len(), "key", "keys");
            let named = some_of(&erased.keys);
            (
                word(&erased.why),
                Some(format!("{keys} destroyed: {named}")),
            )
        }
    }
}

/// The first of the keys, which tell one erasure from another, and how many more there are.
fn some_of(keys: &[KeyId]) -> String {
    let (first, rest) = keys.split_at(keys.len().min(NAMED_KEYS));
    let mut parts: Vec<_> = first.iter().map(ToString::to_string).collect();
    if !rest.is_empty() {
        parts.push(format!("and {} more", rest.len()));
    }
    parts.join(", ")
}

/// A word as records write it.
fn word(word: &impl Serialize) -> String {
    let written = serde_json::to_value(word).ok();
    let text = written.as_ref().and_then(Value::as_str);
    text.unwrap_or(NOTHING).to_owned()
}

/// What a hold waits for, or why policy said no; and whether that was at the claim.
fn why(decided: &PolicyDecided, evidence: &Value) -> Option<String> {
    let why = match decided.decision {
        body::Decision::Permit => None,
        body::Decision::Hold => {
            let names: Vec<_> = decided
                .rules
                .iter()
                .map(|rule| rule.name.as_str())
                .collect();
            Some(names.join(", "))
        }
        body::Decision::Deny => match at::<Decision>(evidence, "/decision") {
            Some(Decision::Deny { reason, .. }) => Some(reason.to_string()),
            _ => None,
        },
    };
    let claim = (decided.phase == body::Phase::Claim).then(|| "at the claim".to_owned());
    let parts: Vec<_> = claim.into_iter().chain(why).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

fn text(line: &Line, paint: Paint) -> String {
    let at = line.at.map_or_else(|| NOTHING.into(), |at| at.to_string());
    let or_nothing = |text: &Option<String>| shown(text.as_deref().unwrap_or(NOTHING));
    let mut outcome = shown(&line.outcome);
    if let Some(detail) = &line.detail {
        outcome = format!("{outcome} ({})", shown(detail));
    }
    let request = line.request.as_ref().map_or(NOTHING, RequestId::as_str);
    format!(
        "{:>6}  {:<24}  {:<18}  {:<24}  {:<30}  {outcome}  {}",
        line.entry,
        at,
        line.kind,
        or_nothing(&line.who),
        or_nothing(&line.action),
        paint.dim(request)
    )
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
