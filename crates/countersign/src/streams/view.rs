//! What of a record a stream may say.
//!
//! In scope: leaving out what the stream's `details` don't allow; names for references.
//! Out of scope: the shape in which it is said; each kind of stream has its own.
//! Invariant: at `refs`, nothing but the leaf leaves the machine, and of the evidence only which
//! gate and target was asked for, which are names of the configuration (P11), and, to whoever collects
//! traces, the caller's place in one. Nonces, keys
//! and numbers of our own store never leave, whatever the details: with a nonce, arguments could
//! be guessed after they were erased.

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{directory::Directory, subject::SubjectId, trace::TraceParent};
use countersign_evidence::{
    body::{Body, Fill},
    reference::{Pseudonyms, Ref},
};
use countersign_policy::Details;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::follow::Entry;

/// The most bytes of evidence in one event; receivers and collectors have limits of their own.
const MAX_EVIDENCE: usize = 256 << 10;
/// Fields of evidence that never leave.
const WITHHELD: [&str; 3] = ["attach", "nonce", "outbox"];

/// What was asked for, in names of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The gate.
    pub(super) gate: String,
    /// The target.
    pub(super) target: String,
}

/// Who is behind which reference, by the active directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    directory: Option<Arc<Directory>>,
    names: BTreeMap<Ref, String>,
}

impl Known {
    /// Brings the names up to date.
    pub(super) fn refresh(&mut self, directory: &Arc<Directory>, pseudonyms: &Pseudonyms) {
        let same = |known: &Arc<Directory>| Arc::ptr_eq(known, directory);
        if self.directory.as_ref().is_some_and(same) {
            return;
        }
        let people = directory.people.keys().cloned().map(SubjectId::Person);
        let agents = directory.agents.keys().cloned().map(SubjectId::Agent);
        let workloads = directory.workloads.keys().cloned().map(SubjectId::Workload);
        // Whoever was removed keeps the name that is known of them until the next start.
        for subject in people.chain(agents).chain(workloads) {
            self.names
                .insert(pseudonyms.of(&subject), subject.to_string());
        }
        self.directory = Some(directory.clone());
    }

    /// The name behind a reference.
    pub(super) fn name(&self, subject: &Ref) -> Option<&str> {
        self.names.get(subject).map(String::as_str)
    }
}

/// What a stream may say.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    details: Details,
    known: Known,
}

impl View {
    pub(super) fn new(details: Details) -> Self {
        Self {
            details,
            known: Known::default(),
        }
    }

    /// Brings the names up to date, where any are said.
    pub(super) fn refresh(&mut self, directory: &Arc<Directory>, pseudonyms: &Pseudonyms) {
        if self.details >= Details::Names {
            self.known.refresh(directory, pseudonyms);
        }
    }

    /// The name behind a reference, where it may be said.
    pub(super) fn name(&self, subject: &Ref) -> Option<&str> {
        self.known.name(subject)
    }

    /// The names behind the references of a record, where they may be said.
    pub(super) fn names(&self, body: &Body) -> BTreeMap<String, String> {
        let named = |subject: Ref| Some((subject.to_string(), self.name(&subject)?.to_owned()));
        refs(body).into_iter().filter_map(named).collect()
    }

    /// The evidence, where it may be said.
    pub(super) fn evidence(&self, entry: &Entry) -> Option<Value> {
        if self.details < Details::All {
            return None;
        }
        if entry.evidence.len() > MAX_EVIDENCE {
            return Some(json!({ "left_out_bytes": entry.evidence.len() }));
        }
        let mut value = entry.opened()?;
        if let Some(fields) = value.as_object_mut() {
            WITHHELD.iter().for_each(|name| drop(fields.remove(*name)));
        }
        Some(value)
    }
}

/// What a request asks for, from its first record.
pub(super) fn asked(entry: &Entry) -> Option<Asked> {
    if !matches!(entry.leaf.body, Body::ActionRequested(_)) {
        return None;
    }
    let action = entry.opened()?.get("action")?.clone();
    serde_json::from_value(action).ok()
}

/// The trace that a caller says its request belongs to, from the request's first record.
pub(super) fn trace(entry: &Entry) -> Option<TraceParent> {
    if !matches!(entry.leaf.body, Body::ActionRequested(_)) {
        return None;
    }
    let trace = entry.opened()?.get("traceparent")?.clone();
    serde_json::from_value(trace).ok()
}

/// Every reference to a subject in a record.
fn refs(body: &Body) -> Vec<Ref> {
    match body {
        Body::ActionRequested(asked) => {
            let mut all = vec![asked.requester];
            all.extend(&asked.self_refs);
            all
        }
        Body::SelfGrew(grew) => grew.refs.clone(),
        Body::ApprovalDecided(vote) => [Some(vote.voter), vote.in_place_of, vote.issuer]
            .into_iter()
            .flatten()
            .chain(vote.lineage.iter().copied())
            .collect(),
        Body::ApprovalWithdrawn(withdrawn) => vec![withdrawn.voter],
        Body::Commented(said) => vec![said.by],
        Body::Opened(opened) => vec![opened.by],
        Body::ActionPermitted(permitted) => permitted
            .fills
            .iter()
            .map(|fill: &Fill| fill.voter)
            .collect(),
        Body::RequestClosed(closed) => closed.by.into_iter().collect(),
        Body::EmergencyReviewed(reviewed) => vec![reviewed.by],
        Body::GrantEnded(ended) => vec![ended.by],
        Body::Refused(refused) => refused.by.into_iter().collect(),
        Body::CredentialIssued(issued) => [Some(issued.holder), issued.issuer]
            .into_iter()
            .flatten()
            .collect(),
        Body::DirectoryChanged(changed) => vec![changed.subject],
        Body::InstanceStarted(_)
        | Body::EpochStarted(_)
        | Body::Heartbeat(_)
        | Body::KeyRotated(_)
        | Body::PolicyDecided(_)
        | Body::ActionOutcome(_)
        | Body::RequestEscalated(_)
        | Body::GrantGiven(_)
        | Body::GrantUsed(_)
        | Body::EmergencyOverdue(_)
        | Body::PolicyActivated(_)
        | Body::CredentialRevoked(_)
        | Body::ChangeStored(_)
        | Body::Recovered(_)
        | Body::SecurityEvent(_) => Vec::new(),
        Body::EvidenceErased(erased) => erased.subject.into_iter().collect(),
    }
}
