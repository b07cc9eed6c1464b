//! From a record to an event of the Open Cybersecurity Schema Framework.
//!
//! In scope: API Activity (6003) for requests and refusals, Entity Management (3004) for changes of
//! policy, credentials, keys and the directory.
//! Out of scope: which records there are, and where events go.
//! Invariant: only attributes of the schema, and whatever has no place in it under `unmapped`. An
//! event succeeds or fails only where something did: asking, holding, voting and permitting are
//! *Other*, so that counting successes counts what ran.
//! Specification: <https://schema.ocsf.io/1.8.0/>; a test holds events against the schema's tables.

use std::collections::BTreeMap;

use countersign_core::id::RuleName;
use countersign_evidence::{
    body::{ApprovalDecided, Body, Decision, OutcomeStatus, Phase, Verdict},
    reference::Ref,
};
use serde_json::{Map, Value, json};

use super::about::About;
use crate::streams::{follow::Entry, view::View};

/// The version of the schema.
pub(super) const VERSION: &str = "1.8.0";
/// Stands for what is not known.
const UNKNOWN: &str = "unknown";

/// What events need beside the record.
pub(super) struct Around<'a> {
    /// The log's name.
    pub(super) origin: &'a str,
    /// What may be said.
    pub(super) view: &'a View,
    /// The shared group of every action that the configuration names.
    pub(super) groups: &'a BTreeMap<String, String>,
    /// What the record's request is about.
    pub(super) about: Option<&'a About>,
}

/// How something stands.
struct Status {
    id: u8,
    name: String,
    severity: u8,
}

impl Status {
    fn success() -> Self {
        Self::new(1, "Success", 1)
    }

    fn failure() -> Self {
        Self::new(2, "Failure", 2)
    }

    /// Something happened that is neither.
    fn other(name: &str) -> Self {
        Self::new(99, name, 1)
    }

    fn new(id: u8, name: &str, severity: u8) -> Self {
        Self {
            id,
            name: name.into(),
            severity,
        }
    }
}

/// The event of a record; nothing for records of no interest beyond the log.
pub(super) fn event(entry: &Entry, around: &Around<'_>) -> Option<Value> {
    let event = match &entry.leaf.body {
        Body::ActionRequested(_)
        | Body::PolicyDecided(_)
        | Body::ApprovalDecided(_)
        | Body::ApprovalWithdrawn(_)
        | Body::ActionPermitted(_)
        | Body::ActionOutcome(_)
        | Body::RequestClosed(_)
        | Body::EmergencyReviewed(_)
        | Body::GrantGiven(_)
        | Body::GrantUsed(_)
        | Body::GrantEnded(_)
        | Body::EmergencyOverdue(_)
        | Body::Refused(_) => api_activity(entry, around)?,
        _ => entity_management(entry, around)?,
    };
    Some(Value::Object(event))
}

/// What both classes share.
fn base(entry: &Entry, around: &Around<'_>, class: u32, activity: u32) -> Map<String, Value> {
    let (leaf, kind) = (&entry.leaf, entry.leaf.body.kind());
    let mut metadata = json!({
        "version": VERSION,
        "product": {
            "name": "Countersign",
            "vendor_name": "Countersign",
            "version": env!("CARGO_PKG_VERSION"),
            "uid": around.origin,
        },
        "uid": entry.at.index.to_string(),
        "sequence": entry.at.index,
        "log_name": around.origin,
        "log_provider": "Countersign",
        "event_code": kind,
    });
    if let (Some(within), Some(fields)) = (&leaf.request, metadata.as_object_mut()) {
        fields.insert("correlation_uid".into(), json!(within.id));
    }
    let (category, category_name, name) = match class {
        3004 => (3, "Identity & Access Management", "Entity Management"),
        _ => (6, "Application Activity", "API Activity"),
    };
    let event = json!({
        "category_uid": category,
        "category_name": category_name,
        "class_uid": class,
        "class_name": name,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "time": leaf.at.0,
        "timezone_offset": 0,
        "metadata": metadata,
        "unmapped": unmapped(entry, around),
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

/// The record's own fields, which the schema has no place for.
fn unmapped(entry: &Entry, around: &Around<'_>) -> Value {
    let leaf = &entry.leaf;
    let body = serde_json::to_value(&leaf.body).unwrap_or_default();
    let record = body.get(leaf.body.kind()).cloned().unwrap_or_default();
    let mut fields = json!({
        "leaf_hash": entry.hash.to_hex(),
        "instance": leaf.instance,
        "record": record,
    });
    if let Some(fields) = fields.as_object_mut() {
        let digest = leaf.digest.map(|digest| json!(digest.0.to_hex()));
        let seq = leaf.request.as_ref().map(|within| json!(within.seq));
        let names = around.view.names(&leaf.body);
        let names = (!names.is_empty()).then(|| json!(names));
        let more = [
            ("action_digest", digest),
            ("request_seq", seq),
            ("names", names),
            ("evidence", around.view.evidence(entry)),
        ];
        let there = more
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        fields.extend(there);
    }
    fields
}

fn user(subject: &Ref, around: &Around<'_>) -> Value {
    match around.view.name(subject) {
        None => json!({ "uid": subject.to_string(), "type_id": 0 }),
        Some(name) => {
            let kind = if name.starts_with("person:") { 1 } else { 4 };
            json!({ "uid": subject.to_string(), "name": name, "type_id": kind })
        }
    }
}

/// Somebody, or Countersign itself.
fn actor(subject: Option<&Ref>, around: &Around<'_>) -> Value {
    match subject {
        Some(subject) => json!({ "user": user(subject, around) }),
        None => json!({ "app_name": "Countersign", "app_uid": around.origin }),
    }
}

/// Who did what the record says, where that is not the requester.
fn by(body: &Body) -> Option<&Ref> {
    match body {
        Body::ActionRequested(asked) => Some(&asked.requester),
        Body::ApprovalDecided(vote) => Some(&vote.voter),
        Body::ApprovalWithdrawn(withdrawn) => Some(&withdrawn.voter),
        Body::EmergencyReviewed(reviewed) => Some(&reviewed.by),
        Body::GrantEnded(ended) => Some(&ended.by),
        Body::RequestClosed(closed) => closed.by.as_ref(),
        Body::Refused(refused) => refused.by.as_ref(),
        _ => None,
    }
}

fn api_activity(entry: &Entry, around: &Around<'_>) -> Option<Map<String, Value>> {
    let (body, about) = (&entry.leaf.body, around.about);
    let (status, code) = standing(body, about)?;
    let actions = about.map(|about| about.actions.as_slice());
    let actions = actions.unwrap_or_default();
    let (activity, activity_name) = activity(actions, around.groups);
    let operation = match actions {
        [] => UNKNOWN.to_owned(),
        actions => actions.join(", "),
    };
    let gate = about.map_or(UNKNOWN, |about| about.gate.as_str());
    let requester = about.map(|about| &about.requester);
    let mut api = json!({
        "operation": operation,
        "group": { "name": gate },
        "service": { "name": "Countersign", "uid": around.origin },
    });
    if let Some(fields) = api.as_object_mut() {
        if let Some(within) = &entry.leaf.request {
            fields.insert("request".into(), json!({ "uid": within.id }));
        }
        if let Body::ActionOutcome(outcome) = body {
            let code = outcome.exit.map_or(Value::Null, Value::from);
            let response = match code {
                Value::Null => json!({ "message": code_of(outcome.status) }),
                code => json!({ "message": code_of(outcome.status), "code": code }),
            };
            fields.insert("response".into(), response);
        }
    }
    let mut event = base(entry, around, 6003, activity);
    let target = about.and_then(|about| about.target.as_deref());
    let place = target.map_or_else(String::new, |target| format!(" at {target}"));
    let message = format!("{}: {operation}{place}: {code}", body.kind());
    event.extend([
        ("activity_name".to_owned(), json!(activity_name)),
        ("actor".into(), actor(by(body).or(requester), around)),
        ("api".into(), api),
        // The record does not hold where a caller connects from.
        ("src_endpoint".into(), json!({ "svc_name": gate })),
        ("message".into(), json!(message)),
    ]);
    if let Some(target) = target {
        let resource = json!({ "name": target, "type": "target", "role_id": 1, "role": "Target" });
        event.insert("resources".into(), json!([resource]));
    }
    put(&mut event, &status, &code);
    Some(event)
}

fn put(event: &mut Map<String, Value>, status: &Status, code: &str) {
    event.extend([
        ("severity_id".to_owned(), json!(status.severity)),
        ("status_id".into(), json!(status.id)),
        ("status".into(), json!(status.name)),
        ("status_code".into(), json!(code)),
    ]);
}

/// The activity that the shared group of the actions amounts to.
fn activity(actions: &[String], groups: &BTreeMap<String, String>) -> (u32, String) {
    let group = |action: &String| groups.get(action).unwrap_or(action).clone();
    let all: Vec<String> = actions.iter().map(group).collect();
    let (first, same) = match all.split_first() {
        Some((first, rest)) => (first.as_str(), rest.iter().all(|other| other == first)),
        None => return (0, "Unknown".into()),
    };
    match first {
        "read" if same => (2, "Read".into()),
        "write" if same => (3, "Update".into()),
        "delete" if same => (4, "Delete".into()),
        other if same => (99, other.into()),
        _ => (99, all.join(", ")),
    }
}

fn code_of(status: OutcomeStatus) -> &'static str {
    match status {
        OutcomeStatus::Succeeded => "succeeded",
        OutcomeStatus::Failed => "failed",
        OutcomeStatus::Unknown => "unknown",
    }
}

fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or(UNKNOWN).to_owned()
}

/// How a request stands after a record, and the record's own word for it.
fn standing(body: &Body, about: Option<&About>) -> Option<(Status, String)> {
    Some(match body {
        Body::ActionRequested(_) => (Status::other("Requested"), "requested".into()),
        Body::PolicyDecided(decided) => {
            let phase = match decided.phase {
                Phase::Request => "",
                Phase::Claim => " at claim",
            };
            let code = format!("{}{phase}", word(&decided.decision));
            let status = match decided.decision {
                Decision::Permit => Status::other("Permit"),
                Decision::Hold => Status::other("Hold"),
                Decision::Deny => Status::failure(),
            };
            (status, code)
        }
        Body::ApprovalDecided(vote) if vote.emergency => (
            Status::new(99, "Lifted in an emergency", 4),
            "emergency".into(),
        ),
        Body::ApprovalDecided(vote) => {
            let (name, code) = match vote.verdict {
                Verdict::Approve if confirms(vote, about) => ("Confirmed", "confirm"),
                Verdict::Approve => ("Countersigned", "approve"),
                Verdict::Deny => ("Denied", "deny"),
            };
            (Status::other(name), code.into())
        }
        Body::ApprovalWithdrawn(_) => (Status::other("Withdrawn"), "withdrawn".into()),
        Body::EmergencyReviewed(_) => (Status::other("Reviewed"), "reviewed".into()),
        Body::GrantGiven(_) => (Status::new(99, "Granted", 2), "granted".into()),
        Body::GrantUsed(_) => (Status::other("Under a grant"), "grant_used".into()),
        Body::GrantEnded(_) => (Status::other("Grant ended"), "grant_ended".into()),
        Body::EmergencyOverdue(_) => (Status::new(99, "Review overdue", 4), "overdue".into()),
        Body::ActionPermitted(_) => (Status::other("Permitted"), "permitted".into()),
        Body::ActionOutcome(outcome) => {
            let status = match outcome.status {
                OutcomeStatus::Succeeded => Status::success(),
                OutcomeStatus::Failed => Status::failure(),
                OutcomeStatus::Unknown => Status::new(0, "Unknown", 3),
            };
            (status, code_of(outcome.status).into())
        }
        Body::RequestClosed(closed) => (Status::failure(), word(&closed.why)),
        Body::Refused(refused) => (Status::failure(), refused.code.clone()),
        _ => return None,
    })
}

/// Whether an approval is a confirmation: it can fill nothing that others countersign.
fn confirms(vote: &ApprovalDecided, about: Option<&About>) -> bool {
    let confirming = |rule: &RuleName| about.is_some_and(|about| about.confirming.contains(rule));
    !vote.slots.is_empty() && vote.slots.iter().all(|slot| confirming(&slot.rule))
}

/// A change of an entity: the activity and its name, the entity, by whom, how grave, and the
/// record's own word for it.
struct Change<'a> {
    activity: (u32, String),
    entity: Value,
    by: Option<&'a Ref>,
    severity: u8,
    code: String,
}

fn entity_management(entry: &Entry, around: &Around<'_>) -> Option<Map<String, Value>> {
    let change = change(&entry.leaf.body, around)?;
    let (activity, name) = change.activity;
    let mut event = base(entry, around, 3004, activity);
    let message = format!("{}: {}", entry.leaf.body.kind(), change.code);
    event.extend([
        ("activity_name".to_owned(), json!(name)),
        ("entity".into(), change.entity),
        ("actor".into(), actor(change.by, around)),
        ("message".into(), json!(message)),
    ]);
    let status = Status {
        severity: change.severity,
        ..Status::success()
    };
    put(&mut event, &status, &change.code);
    Some(event)
}

fn change<'a>(body: &'a Body, around: &Around<'_>) -> Option<Change<'a>> {
    let itself = || json!({ "type_id": 99, "type": "Gateway", "uid": around.origin });
    let (activity, entity, by, severity, code) = match body {
        Body::PolicyActivated(activated) => {
            let uid = activated.bundle.to_hex();
            let policy = json!({ "uid": uid, "name": "bundle" });
            let entity = json!({ "type_id": 5, "type": "Policy", "uid": uid, "policy": policy });
            let code = word(&activated.by);
            ((10, "Activate"), entity, None, 1, code)
        }
        Body::CredentialIssued(issued) => {
            let holder = user(&issued.holder, around);
            let entity = json!({
                "type_id": 99, "type": "Credential", "uid": issued.credential, "user": holder,
            });
            let code = word(&issued.kind);
            ((1, "Create"), entity, issued.issuer.as_ref(), 1, code)
        }
        Body::CredentialRevoked(revoked) => {
            let uid = &revoked.credential;
            let entity = json!({ "type_id": 99, "type": "Credential", "uid": uid });
            ((4, "Delete"), entity, None, 1, "revoked".to_owned())
        }
        Body::DirectoryChanged(changed) => {
            let uid = changed.subject.to_string();
            let user = user(&changed.subject, around);
            let entity = json!({ "type_id": 2, "type": "User", "uid": uid, "user": user });
            let code = changed.what.clone();
            (directory_activity(&changed.what), entity, None, 1, code)
        }
        Body::KeyRotated(rotated) => {
            let name = word(&rotated.purpose);
            let entity = json!({ "type_id": 99, "type": "Key", "name": name });
            ((3, "Update"), entity, None, 2, "rotated".to_owned())
        }
        Body::EpochStarted(epoch) => {
            let code = epoch.found.clone();
            ((99, "Begin a new log"), itself(), None, 4, code)
        }
        Body::Recovered(recovered) => ((99, "Recover"), itself(), None, 4, recovered.what.clone()),
        Body::EvidenceErased(erased) => {
            let keys = json!({ "type_id": 99, "type": "Evidence", "name": "evidence" });
            ((4, "Delete"), keys, None, 3, word(&erased.why))
        }
        Body::SecurityEvent(event) => (
            (99, "Security event"),
            itself(),
            None,
            4,
            event.code.clone(),
        ),
        _ => return None,
    };
    Some(Change {
        activity: (activity.0, activity.1.to_owned()),
        entity,
        by,
        severity,
        code,
    })
}

fn directory_activity(what: &str) -> (u32, &'static str) {
    match what.split('_').next().unwrap_or_default() {
        "add" if what != "add_membership" => (1, "Create"),
        "disable" => (9, "Disable"),
        "enable" => (8, "Enable"),
        "stop" => (12, "Suspend"),
        "start" => (13, "Resume"),
        _ => (3, "Update"),
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
