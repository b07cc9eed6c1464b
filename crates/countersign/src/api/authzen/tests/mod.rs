//! The whole interface over a real gateway, called as a client calls it.

mod access_request;
mod claim;
mod evaluation;
mod input;

use std::fs;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use countersign_core::{
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_store::CredentialKind;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    api::{self, Api},
    gateway::{Gateway, Options},
    identity::Issue,
};

const MAIN: &str = r#"[server]
listen = "127.0.0.1:7780"
public_url = "https://gate.example.com"

[group.agents]
[group.dba]

[person."dana@example.com"]
groups = ["dba"]

[person."olga@example.com"]
groups = ["dba"]

[agent.deploy-bot]
owner = "olga@example.com"
groups = ["agents"]

[agent.other-bot]
owner = "olga@example.com"
groups = ["agents"]

[target.orders]
kind = "exec"
environment = "production"

[[target.orders.command]]
argv = ["git", "push", "origin", "{branch:word}"]
action = "git-push"
group = "execute"
resource = "branch/{branch}"

[target.sandbox]
kind = "exec"
environment = "test"
"#;

const APPROVALS: &str = r#"[approval.dba]
stages = [{ from = ["group:dba"], count = 1 }]
assurance = "session"
expires = "30m"
valid_for = "10m"

[approval.repeat-after-unknown]
stages = [{ from = ["group:dba"], count = 1 }]
assurance = "session"
"#;

const POLICIES: &str = r#"
@id("agents-read") permit (principal in Group::"agents", action in Action::"read", resource)
unless { resource in Target::"countersign" };
@id("agents-write") permit (principal in Group::"agents", action in Action::"write", resource);
@id("prod-writes") @approval("dba") @reason("Production data changes need a DBA")
forbid (principal, action in Action::"write", resource in Environment::"production");
@id("never-delete") @reason("Nobody deletes")
forbid (principal, action in Action::"delete", resource);
@id("push-dev") permit (principal in Group::"agents", action == Action::"exec:git-push", resource)
when { context.arguments has branch && context.arguments.branch == "dev" };
"#;

/// An answer.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Value,
    request_id: Option<String>,
}

impl Answer {
    fn decision(&self) -> bool {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["decision"].as_bool().unwrap()
    }

    fn context(&self) -> &Value {
        &self.body["context"]
    }

    fn text(&self, pointer: &str) -> String {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found
            .unwrap_or_else(|| panic!("no {pointer} in {}", self.body))
            .to_owned()
    }

    fn problem(&self) -> String {
        assert_eq!(self.kind, "application/problem+json", "{}", self.body);
        assert_eq!(self.body["status"], self.status.as_u16());
        self.text("/type")
    }
}

/// A gateway with callers.
struct Bench {
    api: Api,
    router: Router,
    bot: String,
    other: String,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        fs::create_dir_all(config.join("policies")).unwrap();
        fs::write(config.join("countersign.toml"), MAIN).unwrap();
        fs::write(config.join("approvals.toml"), APPROVALS).unwrap();
        fs::write(config.join("policies/main.cedar"), POLICIES).unwrap();
        let data = Some(dir.path().join("data"));
        let gateway = Gateway::open(Options {
            config,
            data,
            url: None,
            listen: None,
            recovering: false,
        })
        .await
        .unwrap();
        let api = Api::new(gateway);
        let mut bench = Self {
            router: api::routes(api.clone()),
            api,
            bot: String::new(),
            other: String::new(),
            _dir: dir,
        };
        bench.bot = bench
            .issue("agent", "deploy-bot", CredentialKind::Token)
            .await
            .0;
        bench.other = bench
            .issue("agent", "other-bot", CredentialKind::Token)
            .await
            .0;
        bench
    }

    fn gateway(&self) -> &Gateway {
        &self.api.gateway
    }

    /// A secret and, for sessions, the token that forms carry.
    async fn issue(&self, kind: &str, name: &str, credential: CredentialKind) -> (String, String) {
        let holder = json!({ "type": kind, "id": name });
        let holder: SubjectId = serde_json::from_value(holder).unwrap();
        let issue = Issue {
            kind: credential,
            holder,
            issued_by: None,
            lineage: Default::default(),
            parent: None,
            account: None,
            valid_for: Span::minutes(60),
        };
        let (secret, stored) = self.gateway().identity.issue(&issue).await.unwrap();
        let csrf = self.gateway().identity.acts().csrf(&stored.id);
        (secret.text().to_owned(), csrf)
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let text = |name: header::HeaderName| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let request_id = text(header::HeaderName::from_static("x-request-id"));
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer {
            status,
            kind,
            body,
            request_id,
        }
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_once(token, path, body, None).await
    }

    async fn post_once(&self, token: &str, path: &str, body: &Value, key: Option<&str>) -> Answer {
        let mut request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn evaluate(&self, body: &Value) -> Answer {
        self.post(&self.bot, "/access/v1/evaluation", body).await
    }

    /// Submits a denied question and gives the task's id.
    async fn submit(&self, question: &Value) -> String {
        let denied = self.evaluate(question).await;
        assert_eq!(
            denied.context()["reason"],
            "approval_required",
            "{}",
            denied.body
        );
        let mut body = question.clone();
        body["denial"] =
            json!({ "binding_token": denied.text("/context/access_request/binding_token") });
        let task = self.post(&self.bot, "/access/v1/requests", &body).await;
        assert_eq!(task.status, 201, "{}", task.body);
        task.text("/task/id")
    }

    /// Votes as a person in a session of their own, as their page does.
    async fn vote(&self, person: &str, id: &str, verdict: &str) -> Answer {
        let (session, csrf) = self.issue("person", person, CredentialKind::Session).await;
        let cookie = format!("{}={session}", api::auth::cookie_name(&self.api.gateway));
        let page = Request::get(format!("/v1/requests/{id}")).header(header::COOKIE, &cookie);
        let page = self.send(page.body(Body::empty()).unwrap()).await;
        let act = page.body["act"].as_str().unwrap_or("none");
        let vote = json!({ "verdict": verdict, "digest": page.text("/digest"), "act": act });
        let vote_it = Request::post(format!("/v1/requests/{id}/votes"))
            .header(header::COOKIE, &cookie)
            .header("x-csrf-token", csrf)
            .header(header::CONTENT_TYPE, "application/json");
        self.send(vote_it.body(Body::from(vote.to_string())).unwrap())
            .await
    }

    /// Lets people approve a question and gives it with the approval.
    async fn approved(&self, question: &Value) -> (String, Value) {
        let id = self.submit(question).await;
        let voted = self.vote("dana@example.com", &id, "approve").await;
        assert_eq!(voted.body["state"], "approved", "{}", voted.body);
        let mut again = question.clone();
        again["context"]["approval"] = json!({ "id": id, "state": "active" });
        (id, again)
    }

    fn in_hours(&self, hours: i64) -> Timestamp {
        self.gateway()
            .clock
            .now()
            .after(Span::from_millis(hours * 3_600_000))
    }
}

/// May the bot do this to this?
fn question(action: &str, resource: &str) -> Value {
    json!({
        "subject": { "type": "agent", "id": "deploy-bot" },
        "action": { "name": action },
        "resource": { "type": "Resource", "id": resource },
        "context": { "reason": "ticket 7", "rows": 3 },
    })
}

/// A question that people must lift.
fn held() -> Value {
    question("write", "orders/customers")
}

fn method(name: &str) -> Method {
    name.parse().unwrap()
}
