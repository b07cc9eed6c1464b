//! Somebody who is told, and who fails in every way there is.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::net::TcpListener;

/// What signs in these tests.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One attempt.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) event: Value,
    pub(crate) text: String,
    pub(crate) answered: u16,
}

impl Seen {
    pub(crate) fn kind(&self) -> &str {
        self.event["data"]["kind"].as_str().unwrap()
    }

    pub(crate) fn index(&self) -> u64 {
        self.event["data"]["index"].as_u64().unwrap()
    }

    /// The request it is about; empty where there is none.
    pub(crate) fn subject(&self) -> &str {
        self.event["subject"].as_str().unwrap_or_default()
    }
}

/// How an attempt is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// A status with `Retry-After` in seconds.
    Later(u16, u64),
    /// Leads somewhere else.
    Redirect,
    /// Takes all but so many spans.
    Partial(u32),
    /// Never answers.
    Hang,
}

type Script = Box<dyn Fn(&Seen, usize) -> Reply + Send + Sync>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    attempts: Mutex<BTreeMap<String, usize>>,
    script: Mutex<Script>,
}

/// A receiver on this machine.
#[derive(Clone)]
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
}

impl Receiver {
    /// Listens, answering as `script` says of an event and how often it came before.
    pub(crate) async fn start(
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
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

    /// A receiver that takes everything.
    pub(crate) async fn good() -> Self {
        Self::start(|_, _| Reply::Status(204)).await
    }

    pub(crate) fn answer(&self, script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Every attempt so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Every attempt that was answered with success.
    pub(crate) fn taken(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|one| (200..300).contains(&one.answered));
        seen
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = text("webhook-id");
    check_signature(
        &id,
        &text("webhook-timestamp"),
        &text("webhook-signature"),
        &body,
    );
    assert_eq!(
        text("content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], id.as_str());
    let mut seen = Seen {
        id: id.clone(),
        event,
        text: String::from_utf8(body.to_vec()).unwrap(),
        answered: 0,
    };
    let before = {
        let mut attempts = shared.attempts.lock().unwrap();
        let count = attempts.entry(id).or_default();
        *count += 1;
        *count - 1
    };
    let reply = (shared.script.lock().unwrap())(&seen, before);
    seen.answered = match reply {
        Reply::Status(status) | Reply::Later(status, _) => status,
        Reply::Redirect => 307,
        Reply::Partial(_) => 200,
        Reply::Hang => 0,
    };
    let status = StatusCode::from_u16(seen.answered);
    shared.seen.lock().unwrap().push(seen);
    match reply {
        Reply::Status(_) | Reply::Partial(_) => status.unwrap().into_response(),
        Reply::Later(_, seconds) => (
            status.unwrap(),
            [(header::RETRY_AFTER, seconds.to_string())],
        )
            .into_response(),
        Reply::Redirect => (status.unwrap(), [(header::LOCATION, "/elsewhere")]).into_response(),
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            StatusCode::OK.into_response()
        }
    }
}

fn check_signature(id: &str, at: &str, signature: &str, body: &[u8]) {
    let key = STANDARD
        .decode(SECRET.trim_start_matches("whsec_"))
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
    let given = STANDARD
        .decode(signature.strip_prefix("v1,").unwrap())
        .unwrap();
    hmac::verify(&key, &signed, &given).expect("the signature is good");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now.abs_diff(at.parse().unwrap()) < 300, "{at}");
}
