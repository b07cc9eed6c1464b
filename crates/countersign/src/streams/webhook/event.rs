//! From a record to a CloudEvent.
//!
//! In scope: the body of a webhook, structured JSON.
//! Out of scope: signing and sending.
//! Invariant: the same record makes the same id, whenever and however often it is sent, so that a
//! receiver can tell repetitions. `source` and `id` together name one record of one log.
//! Specification: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use countersign_evidence::body::Body;
use serde_json::{Map, Value, json};

use crate::streams::{
    follow::Entry,
    view::{self, View},
};

/// What a body is.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Whether receivers are told of such a record. Signs of life are the log's own.
pub(super) fn is_told(body: &Body) -> bool {
    !matches!(body, Body::Heartbeat(_))
}

/// The id of a record's event, which is that of its message, too.
pub(super) fn id(entry: &Entry) -> String {
    let hash: String = entry.hash.to_hex().chars().take(32).collect();
    format!("evt_{hash}")
}

/// The event. `origin` is the log's name.
pub(super) fn event(entry: &Entry, origin: &str, view: &View) -> Value {
    let leaf = &entry.leaf;
    let mut event = Map::new();
    event.extend([
        ("specversion".to_owned(), json!("1.0")),
        ("id".into(), json!(id(entry))),
        ("source".into(), json!(origin)),
        (
            "type".into(),
            json!(format!("countersign.{}", leaf.body.kind())),
        ),
        ("time".into(), json!(leaf.at.to_string())),
        ("datacontenttype".into(), json!("application/json")),
        ("data".into(), data(entry, view)),
    ]);
    if let Some(within) = &leaf.request {
        event.insert("subject".into(), json!(within.id));
    }
    Value::Object(event)
}

fn data(entry: &Entry, view: &View) -> Value {
    let leaf = &entry.leaf;
    let body = serde_json::to_value(&leaf.body).unwrap_or_default();
    let record = body.get(leaf.body.kind()).cloned().unwrap_or_default();
    let mut data = json!({
        "kind": leaf.body.kind(),
        "index": entry.at.index,
        "leaf_hash": entry.hash.to_hex(),
        "instance": leaf.instance,
        "record": record,
    });
    let names = view.names(&leaf.body);
    let more = [
        (
            "action_digest",
            leaf.digest.map(|digest| json!(digest.0.to_hex())),
        ),
        ("request", leaf.request.as_ref().map(|within| json!(within))),
        ("asked", view::asked(entry).map(|asked| json!(asked))),
        ("names", (!names.is_empty()).then(|| json!(names))),
        ("evidence", view.evidence(entry)),
    ];
    if let Some(fields) = data.as_object_mut() {
        let there = more
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        fields.extend(there);
    }
    data
}
