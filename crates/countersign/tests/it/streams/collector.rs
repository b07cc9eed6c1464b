//! Somebody who collects traces, strictly, and who fails in every way there is.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::receiver::Reply;

/// One attempt.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) text: String,
    pub(crate) headers: HeaderMap,
    pub(crate) spans: Vec<Value>,
    pub(crate) answered: u16,
}

impl Export {
    /// The span of the request itself.
    pub(crate) fn root(&self) -> &Value {
        &self.spans[0]
    }

    /// The request.
    pub(crate) fn request(&self) -> String {
        attribute(self.root(), "countersign.request.id")
    }

    /// The ids of the trace and its spans.
    pub(crate) fn ids(&self) -> Vec<String> {
        let id = |span: &Value| format!("{} {}", span["traceId"], span["spanId"]);
        self.spans.iter().map(id).collect()
    }

    /// The span of this name.
    pub(crate) fn span(&self, name: &str) -> &Value {
        let found = self.spans.iter().find(|span| span["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }
}

/// What an attribute says; empty where there is none.
pub(crate) fn attribute(of: &Value, key: &str) -> String {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key);
    let value = found.and_then(|one| one["value"].as_object()?.values().next());
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

type Script = Box<dyn Fn(&Export, usize) -> Reply + Send + Sync>;

struct Shared {
    seen: Mutex<Vec<Export>>,
    attempts: Mutex<BTreeMap<String, usize>>,
    script: Mutex<Script>,
}

/// A collector on this machine.
#[derive(Clone)]
pub(crate) struct Collector {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Collector {
    /// Listens, answering as `script` says of a request and how often it came before.
    pub(crate) async fn start(
        script: impl Fn(&Export, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            attempts: Mutex::default(),
            script: Mutex::new(Box::new(script)),
        });
        let app = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { shared, address }
    }

    /// A collector that takes everything.
    pub(crate) async fn good() -> Self {
        Self::start(|_, _| Reply::Status(200)).await
    }

    pub(crate) fn answer(&self, script: impl Fn(&Export, usize) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Every attempt so far.
    pub(crate) fn seen(&self) -> Vec<Export> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Every attempt that was answered with success.
    pub(crate) fn taken(&self) -> Vec<Export> {
        let mut seen = self.seen();
        seen.retain(|one| (200..300).contains(&one.answered));
        seen
    }

    /// What was taken of a request.
    pub(crate) fn of(&self, request: &str) -> Option<Export> {
        let taken = self.taken();
        taken.into_iter().find(|one| one.request() == request)
    }

    /// The table of a stream to it, with more keys.
    pub(crate) fn table(&self, more: &str) -> String {
        format!(
            "\n[stream.traces]\nkind = \"otlp\"\nstart = \"beginning\"\n\
             url = \"http://{}/v1/traces\"\n{more}\n",
            self.address
        )
    }
}

/// That something is written as the protocol's JSON has it.
fn check(span: &Value) {
    let hex = |id: &Value, digits: usize| {
        let id = id.as_str().unwrap();
        let good = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        assert!(id.len() == digits && id.bytes().all(good), "{id}");
        assert!(id.bytes().any(|c| c != b'0'), "{id}");
    };
    let time = |at: &Value| at.as_str().unwrap().parse::<u64>().unwrap();
    hex(&span["traceId"], 32);
    hex(&span["spanId"], 16);
    if let Some(parent) = span.get("parentSpanId") {
        hex(parent, 16);
    }
    let (start, end) = (
        time(&span["startTimeUnixNano"]),
        time(&span["endTimeUnixNano"]),
    );
    assert!(start <= end, "{span}");
    for event in span["events"].as_array().unwrap() {
        assert!(
            (start..=end).contains(&time(&event["timeUnixNano"])),
            "{span}"
        );
    }
    let known = [
        "startTimeUnixNano",
        "endTimeUnixNano",
        "droppedEventsCount",
        "status",
        "name",
    ];
    let more = [
        "traceId",
        "spanId",
        "parentSpanId",
        "flags",
        "kind",
        "attributes",
        "events",
    ];
    for key in span.as_object().unwrap().keys() {
        assert!(
            known.contains(&key.as_str()) || more.contains(&key.as_str()),
            "{key}"
        );
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(uri.path(), "/v1/traces");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let export: Value = serde_json::from_slice(&body).unwrap();
    let spans = &export["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let spans = spans.as_array().unwrap().clone();
    spans.iter().for_each(check);
    let mut seen = Export {
        text: String::from_utf8(body.to_vec()).unwrap(),
        headers,
        spans,
        answered: 0,
    };
    let before = {
        let mut attempts = shared.attempts.lock().unwrap();
        let count = attempts.entry(seen.request()).or_default();
        *count += 1;
        *count - 1
    };
    let reply = (shared.script.lock().unwrap())(&seen, before);
    seen.answered = match reply {
        Reply::Status(status) | Reply::Later(status, _) => status,
        Reply::Redirect => 307,
        Reply::Partial(_) => 299,
        Reply::Hang => 0,
    };
    let status = StatusCode::from_u16(seen.answered);
    shared.seen.lock().unwrap().push(seen);
    let json = [(header::CONTENT_TYPE, "application/json")];
    match reply {
        Reply::Status(_) => (status.unwrap(), json, "{}").into_response(),
        Reply::Later(_, seconds) => {
            let after = [(header::RETRY_AFTER, seconds.to_string())];
            (status.unwrap(), after).into_response()
        }
        Reply::Redirect => (status.unwrap(), [(header::LOCATION, "/elsewhere")]).into_response(),
        Reply::Partial(rejected) => {
            let body = format!(
                "{{\"partialSuccess\":{{\"rejectedSpans\":\"{rejected}\",\"errorMessage\":\"hunter2\"}}}}"
            );
            (StatusCode::OK, json, body).into_response()
        }
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            StatusCode::OK.into_response()
        }
    }
}
