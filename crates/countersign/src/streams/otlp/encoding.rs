//! Spans in the JSON encoding of OpenTelemetry's protocol.
//!
//! In scope: the shape of an export, of spans, events and attributes.
//! Out of scope: what they say.
//! Invariant: ids are lower-case hexadecimal digits, 64-bit numbers are texts, enumerations are
//! numbers; nothing else would be read.
//! Specification: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use countersign_core::time::Timestamp;
use serde_json::{Map, Value, json};

/// A child's parent is known not to be elsewhere; and the span is sampled, which is why it is sent.
const FLAGS: u32 = 0x101;
/// The parent is known to be elsewhere.
const REMOTE: u32 = 0x200;

/// What a span is to its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of something.
    Internal = 1,
    /// The serving of somebody else's call.
    Server = 2,
}

/// A span.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) id: String,
    /// The span it belongs to, and whether that is a caller's.
    pub(super) parent: Option<(String, bool)>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    pub(super) attributes: Vec<Value>,
    pub(super) events: Vec<Value>,
    pub(super) events_left_out: u64,
    /// What failed.
    pub(super) error: Option<&'static str>,
}

impl Span {
    /// The span as it is sent; one without an end ends at `end`.
    pub(super) fn encode(self, trace: &str, end: Timestamp) -> Value {
        let remote = matches!(self.parent, Some((_, true)));
        let mut span = Map::new();
        span.extend([
            ("traceId".to_owned(), json!(trace)),
            ("spanId".into(), json!(self.id)),
            (
                "flags".into(),
                json!(if remote { FLAGS | REMOTE } else { FLAGS }),
            ),
            ("name".into(), json!(self.name)),
            ("kind".into(), json!(self.kind as u8)),
            ("startTimeUnixNano".into(), nanos(self.start)),
            (
                "endTimeUnixNano".into(),
                nanos(self.end.unwrap_or(end).max(self.start)),
            ),
            ("attributes".into(), Value::Array(self.attributes)),
            ("events".into(), Value::Array(self.events)),
        ]);
        if let Some((parent, _)) = self.parent {
            span.insert("parentSpanId".into(), json!(parent));
        }
        if self.events_left_out > 0 {
            let count = u32::try_from(self.events_left_out).unwrap_or(u32::MAX);
            span.insert("droppedEventsCount".into(), json!(count));
        }
        // 2 is an error; what is fine says nothing.
        let status = self
            .error
            .map(|error| json!({ "code": 2, "message": error }));
        span.insert("status".into(), status.unwrap_or_else(|| json!({})));
        Value::Object(span)
    }
}

/// The body of an export. `origin` is the log's name.
pub(super) fn export(origin: &str, spans: Vec<Value>) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", "countersign"),
            text("service.version", version),
            text("service.instance.id", origin),
        ] },
        "scopeSpans": [{
            "scope": { "name": "countersign", "version": version },
            "spans": spans,
        }],
    }] })
}

/// Something that happened within a span.
pub(super) fn event(name: &str, at: Timestamp, attributes: Vec<Value>) -> Value {
    json!({ "timeUnixNano": nanos(at), "name": name, "attributes": attributes })
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// An attribute that is several texts.
pub(super) fn texts<T: ToString>(key: &str, values: impl IntoIterator<Item = T>) -> Value {
    let value = |value: T| json!({ "stringValue": value.to_string() });
    let values: Vec<Value> = values.into_iter().map(value).collect();
    json!({ "key": key, "value": { "arrayValue": { "values": values } } })
}

/// An attribute that is a number.
pub(super) fn number(key: &str, value: impl ToString) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// An attribute that is so or is not.
pub(super) fn flag(key: &str, value: bool) -> Value {
    json!({ "key": key, "value": { "boolValue": value } })
}

/// Nanoseconds since 1970, as a text.
fn nanos(at: Timestamp) -> Value {
    let nanos = u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000);
    json!(nanos.to_string())
}
