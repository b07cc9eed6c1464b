//! Somebody with a credential, over HTTP.

use countersign_core::id::CredentialId;
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::argv;

/// A session (with a CSRF token) or a token (without).
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) csrf: Option<String>,
    pub(crate) id: CredentialId,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let content_type = kind
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            status,
            content_type,
            body,
        }
    }

    /// A field as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_default().to_owned()
    }

    /// A problem's stable name.
    pub(crate) fn kind(&self) -> String {
        self.text("type")
    }

    /// Passes with this status only.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Passes as this very refusal only.
    #[track_caller]
    pub(crate) fn refused(&self, what: &str, status: u16, kind: &str) {
        assert_eq!(
            (self.status, self.kind().as_str()),
            (status, kind),
            "{what}: {self:?}"
        );
        assert_eq!(self.content_type, "application/problem+json", "{what}");
        assert!(!self.text("title").is_empty(), "{what}");
    }
}

impl Caller {
    /// A request with this caller's credential.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.csrf {
            Some(csrf) => request
                .header(
                    header::COOKIE,
                    format!("countersign_session={}", self.secret),
                )
                .header("x-csrf-token", csrf),
            None => request.bearer_auth(&self.secret),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// A request as this caller sees it.
    pub(crate) async fn see(&self, id: &str) -> Value {
        self.get(&format!("/v1/requests/{id}")).await.body
    }

    pub(crate) async fn propose(&self, operation: &str, arguments: Value) -> Answer {
        self.post(
            "/v1/proposals",
            &json!({ "operation": operation, "arguments": arguments }),
        )
        .await
    }

    /// Opens a request and votes on what it shows.
    pub(crate) async fn vote(&self, id: &str, verdict: &str) -> Answer {
        let seen = self.see(id).await;
        self.vote_seen(id, verdict, &seen).await
    }

    /// Votes on what was seen before.
    pub(crate) async fn vote_seen(&self, id: &str, verdict: &str, seen: &Value) -> Answer {
        let act = seen["act"].as_str().unwrap_or("none");
        let body = json!({ "verdict": verdict, "digest": seen["digest"], "act": act });
        self.post(&format!("/v1/requests/{id}/votes"), &body).await
    }

    pub(crate) async fn approve(&self, id: &str) {
        self.vote(id, "approve").await.expect(200);
    }

    /// Asks for a command and follows it to the end of the stream.
    pub(crate) async fn run(&self, command: &str, wait_ms: u64) -> Vec<Value> {
        self.run_with(json!({ "argv": argv(command), "wait_ms": wait_ms }))
            .await
    }

    /// Asks with any fields; `target` is added.
    pub(crate) async fn run_with(&self, mut call: Value) -> Vec<Value> {
        let target = call.get("target").cloned().unwrap_or(json!("tools"));
        call["target"] = target;
        let response = self
            .request(Method::POST, "/v1/run")
            .json(&call)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        events(&text)
    }

    /// Asks in the background.
    pub(crate) fn start(&self, command: &str, wait_ms: u64) -> JoinHandle<Vec<Value>> {
        let (caller, command) = (self.clone(), command.to_owned());
        tokio::spawn(async move { caller.run(&command, wait_ms).await })
    }

    /// Asks for a command that is held, without waiting; gives the request.
    pub(crate) async fn held(&self, command: &str) -> String {
        let events = self.run(command, 0).await;
        let held = event(&events, "held").unwrap_or_else(|| panic!("not held: {events:?}"));
        held["request"].as_str().unwrap().to_owned()
    }

    /// Claims a request without asking anew; gives the last event.
    pub(crate) async fn claim(&self, id: &str, command: &str) -> Value {
        let call = json!({ "argv": argv(command), "wait_ms": 0, "claim": id });
        self.run_with(call).await.pop().unwrap()
    }
}

/// The lines of a stream.
pub(crate) fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The first event of a kind.
pub(crate) fn event<'a>(events: &'a [Value], kind: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["event"] == kind)
}
