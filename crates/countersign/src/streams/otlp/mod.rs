//! Requests as traces, posted to a collector of OpenTelemetry.
//!
//! In scope: which records make a trace, posting it, what a collector's answer means.
//! Out of scope: the spans ([`spans`]); order, retries and what is kept
//! ([`delivery`](super::delivery)).
//! Invariant: a request is told once it is over, whole and in one message, so that a collector never
//! has half of one, and everything is read from the log again: nothing of an open request is kept
//! but where its records are. Of a collector's answer only its status, `Retry-After` and the number
//! of spans it rejected are used.
//! Specification: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

mod encoding;
mod open;
mod spans;
#[cfg(test)]
mod testing;

use std::{path::Path, sync::Mutex};

use anyhow::Context;
use countersign_core::count::counted;
use countersign_policy::stream::Collector;
use countersign_runner::vault::Secret;
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use self::open::Open;
use super::{
    Own, Parts,
    delivery::{
        self, Message, Telling,
        client::{self, Answer, Answered, Client},
    },
    follow::{Entry, Place},
    lock,
    view::View,
};

/// What a body is.
const CONTENT_TYPE: &str = "application/json";

/// Follows the record until told to stop.
///
/// # Errors
/// Journal, files, secret or collector can't be used; trying again is safe.
pub(super) async fn follow(
    parts: &Parts,
    own: &mut Own,
    collector: &Collector,
) -> anyhow::Result<()> {
    let settings = collector.clone();
    let traces = move |config: &Path| Traces::new(&settings, config);
    delivery::follow(parts, own, collector.retry_for, traces).await
}

/// Traces, and who collects them.
struct Traces {
    client: Client,
    headers: HeaderMap,
    secret_header: HeaderName,
    open: Mutex<Open>,
}

impl Traces {
    fn new(settings: &Collector, config: &Path) -> anyhow::Result<Self> {
        let Collector {
            url,
            secret,
            secret_header,
            headers: written,
            ca,
            ..
        } = settings;
        let mut headers = HeaderMap::new();
        for (name, value) in written {
            let name: HeaderName = name.parse().context("a header can't be sent")?;
            headers.insert(name, value.parse().context("a header can't be sent")?);
        }
        Ok(Self {
            client: Client::new(url, secret.as_ref(), ca.as_deref(), config)?,
            headers,
            secret_header: secret_header.parse().context("a header can't be sent")?,
            open: Mutex::default(),
        })
    }
}

impl Telling for Traces {
    const FILE: &'static str = "otlp.json";
    // Each has the places of all its records.
    const WAITING: usize = 2_000;
    const DEAD: u64 = 20_000;

    fn take(&self, entry: &Entry) -> Option<Vec<Place>> {
        lock(&self.open).take(entry)
    }

    fn since(&self) -> Option<Place> {
        lock(&self.open).oldest()
    }

    async fn secret(&self) -> anyhow::Result<Option<Secret>> {
        self.client.secret(Secret::check_header).await
    }

    fn message(
        &self,
        about: &mut dyn Iterator<Item = anyhow::Result<Entry>>,
        origin: &str,
        view: &View,
    ) -> anyhow::Result<Option<Message>> {
        let Some((id, spans)) = spans::of(about, origin, view)? else {
            return Ok(None);
        };
        let body = serde_json::to_vec(&encoding::export(origin, spans))?;
        Ok(Some(Message { id, body }))
    }

    async fn post(&self, secret: Option<&Secret>, message: Message, _now: i64) -> Answer {
        let mut headers = self.headers.clone();
        if let Some(secret) = secret {
            let value = secret.header().ok();
            let Some(mut value) = value.and_then(|value| HeaderValue::from_bytes(value).ok())
            else {
                return failed("the secret can't stand in a header");
            };
            value.set_sensitive(true);
            headers.insert(self.secret_header.clone(), value);
        }
        let post = self.client.post(CONTENT_TYPE, message.body);
        let answered = client::send(post.headers(headers)).await;
        answered.map_or_else(|failed| failed, |answered| answer(&answered))
    }
}

fn failed(why: &str) -> Answer {
    Answer::Failed {
        why: why.into(),
        after: None,
        all: false,
    }
}

/// Only the statuses that the specification names are tried again.
fn answer(answered: &Answered) -> Answer {
    let status = answered.status;
    let why = format!("status {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Failed {
            why,
            after: answered.after,
            all: true,
        },
        status if status.is_success() => match rejected(&answered.body) {
            0 => Answer::Delivered,
            rejected => Answer::Refused {
                why: format!("{why}, and {} rejected", counted(rejected, "span", "spans")),
            },
        },
        _ => Answer::Refused { why },
    }
}

/// How many spans a collector says it rejected. Some answer success with something else than their
/// specification asks for.
fn rejected(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = answer.pointer("/partialSuccess/rejectedSpans");
    match rejected {
        Some(Value::String(digits)) => digits.parse().unwrap_or(0),
        Some(number) => number.as_u64().unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_the_specification_names_is_tried_again() {
        let partial = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"hunter2"}}"#;
        for (status, body, expected) in [
            (200, "{}", "Delivered"),
            (200, "", "Delivered"),
            (202, "not json", "Delivered"),
            (200, r#"{"partialSuccess":{}}"#, "Delivered"),
            (
                200,
                r#"{"partialSuccess":{"rejectedSpans":"0"}}"#,
                "Delivered",
            ),
            (
                200,
                partial,
                "Refused { why: \"status 200, and 2 spans rejected\" }",
            ),
            (
                200,
                r#"{"partialSuccess":{"rejectedSpans":3}}"#,
                "Refused { why: \"status 200, and 3 spans rejected\" }",
            ),
            (307, "", "Refused { why: \"status 307\" }"),
            (400, "hunter2", "Refused { why: \"status 400\" }"),
            (401, "", "Refused { why: \"status 401\" }"),
            (410, "", "Refused { why: \"status 410\" }"),
            (413, "", "Refused { why: \"status 413\" }"),
            (500, "", "Refused { why: \"status 500\" }"),
            (429, "", "after: Some(7s), all: true"),
            (502, "", "after: Some(7s), all: true"),
            (503, "", "after: Some(7s), all: true"),
            (504, "", "after: Some(7s), all: true"),
        ] {
            let answered = Answered {
                status: StatusCode::from_u16(status).unwrap(),
                after: Some(Duration::from_secs(7)),
                body: body.into(),
            };
            let answer = format!("{:?}", answer(&answered));
            assert!(answer.contains(expected), "{status} {body}: {answer}");
            assert!(!answer.contains("hunter2"));
        }
    }
}
