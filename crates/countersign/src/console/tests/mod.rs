//! The console over a real gateway: every test sends requests to the routes.

mod asking;
mod deciding;
mod pages;
mod passkeys;
mod passkeys_shown;
mod proposing;
mod signing_in;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use countersign_core::{
    id::{PersonId, RequestId},
    request::{Case, Outcome},
    subject::{SubjectChain, SubjectId},
};
use countersign_store::CredentialKind;
use tower::ServiceExt as _;

use crate::{
    api::{self, Api},
    engine::{Admitted, Ended, Input},
    gates::exec,
    gateway::{Gateway, Options},
    identity::{Issue, LINK},
    runner::Call,
};

const MAIN: &str = r#"
[server]
listen = "127.0.0.1:7780"
public_url = "https://gate.example.com/"

[group.agents]
[group.ops]
[group.admins]
[group.auditors]

[person."olga@example.com"]
groups = ["ops", "admins"]
[person."sam@example.com"]
groups = ["ops", "admins"]
[person."kim@example.com"]
groups = ["ops"]
[person."uma@example.com"]
[person."ada@example.com"]
groups = ["auditors"]

[agent.bot]
owner = "olga@example.com"
groups = ["agents"]

[target.tools]
kind = "exec"
environment = "production"
"#;

const APPROVALS: &str = r#"
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]

[approval.admin]
stages = [{ from = ["group:admins"], count = 1 }]
"#;

pub(crate) const POLICIES: &str = r#"
@id("agents-run")
permit (principal in Group::"agents", action in Action::"execute", resource);

@id("ops-sign") @approval("ops") @reason("Production needs a second pair of eyes")
forbid (principal is Agent, action in Action::"execute", resource);

@id("admins-propose")
permit (principal in Group::"admins", action in Action::"admin", resource);

@id("admins-sign") @approval("admin")
forbid (principal, action in [Action::"countersign:person-add", Action::"countersign:membership-add", Action::"countersign:agent-token"], resource);

@id("auditors-read")
permit (principal in Group::"auditors", action == Action::"countersign:audit-read", resource);
"#;

pub(crate) const OLGA: &str = "olga@example.com";
pub(crate) const SAM: &str = "sam@example.com";
pub(crate) const UMA: &str = "uma@example.com";
pub(crate) const ADA: &str = "ada@example.com";

/// A gateway with its routes.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    routes: Router,
    _dir: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The value of a hidden field; the first of that name.
    pub(crate) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .text
            .split_once(&start)
            .unwrap_or_else(|| panic!("no {name}: {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }

    /// The fields that every form of a request's page carries, and more.
    pub(crate) fn form(&self, more: &[(&str, &str)]) -> String {
        let seal = ["csrf", "act", "digest"].map(|name| (name, self.field(name)));
        let seal = seal.iter().map(|(name, value)| (*name, value.as_str()));
        form(&seal.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(
            self.text.contains(text),
            "no `{text}` in {} {}",
            self.status,
            self.text
        );
        self
    }

    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

/// A form's body.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    pairs.join("&")
}

impl Site {
    pub(crate) async fn open() -> Self {
        Self::open_with(APPROVALS, POLICIES).await
    }

    /// A gateway with other rules.
    pub(crate) async fn open_with(approvals: &str, policies: &str) -> Self {
        Self::open_files("", approvals, policies).await
    }

    /// A gateway with more in its main file.
    pub(crate) async fn open_with_more(main: &str) -> Self {
        Self::open_files(main, APPROVALS, POLICIES).await
    }

    pub(crate) async fn open_files(more: &str, approvals: &str, policies: &str) -> Self {
        let main = format!("{MAIN}{more}");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("policies")).unwrap();
        for (name, text) in [
            ("countersign.toml", main.as_str()),
            ("approvals.toml", approvals),
            ("policies/all.cedar", policies),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let options = Options {
            config: dir.path().into(),
            data: None,
            url: None,
            listen: None,
            recovering: false,
        };
        let gateway = Gateway::open(options).await.unwrap();
        let api = Api::new(gateway.clone());
        // As the server does: both side by side.
        let routes = api::routes(api.clone()).merge(super::routes(api));
        Self {
            gateway,
            routes,
            _dir: dir,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub(crate) async fn get(&self, path: &str, session: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, session);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, session: &str, form: String) -> Answer {
        let request = Request::post(path)
            .header(header::COOKIE, session)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        self.send(request.body(form.into()).unwrap()).await
    }

    /// Sends JSON as a page's script does.
    pub(crate) async fn json(
        &self,
        path: &str,
        (session, csrf): (&str, &str),
        body: &str,
    ) -> Answer {
        let request = Request::post(path)
            .header(header::COOKIE, session)
            .header(header::CONTENT_TYPE, "application/json")
            .header("sec-fetch-site", "same-origin")
            .header("x-csrf-token", csrf);
        self.send(request.body(body.to_owned().into()).unwrap())
            .await
    }

    /// The path of a new sign-in link.
    pub(crate) async fn link(&self, person: &str) -> String {
        self.link_by(person, None).await
    }

    async fn link_by(&self, person: &str, issuer: Option<&str>) -> String {
        let person: PersonId = person.parse().unwrap();
        let issued_by: Option<PersonId> = issuer.map(|issuer| issuer.parse().unwrap());
        let issue = Issue {
            kind: CredentialKind::Link,
            holder: SubjectId::Person(person),
            lineage: issued_by.iter().cloned().collect(),
            issued_by,
            parent: None,
            account: None,
            valid_for: LINK,
        };
        let (secret, _) = self.gateway.identity.issue(&issue).await.unwrap();
        format!("/sign-in/{}", secret.text())
    }

    /// Signs somebody in; the cookie to send.
    pub(crate) async fn sign_in(&self, person: &str) -> String {
        self.sign_in_by(person, None).await
    }

    /// Signs somebody in with a link that somebody had made.
    pub(crate) async fn sign_in_by(&self, person: &str, issuer: Option<&str>) -> String {
        let link = self.link_by(person, issuer).await;
        let answer = self.post(&link, "", String::new()).await;
        answer.is(303);
        answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    }

    /// A request of `agent:bot` that waits for `ops`.
    pub(crate) async fn held(&self, argv: &[&str], reason: &str) -> RequestId {
        let bot = SubjectId::Agent("bot".parse().unwrap());
        let bot = self.gateway.active().directory.resolve(&bot).unwrap();
        let call = Call {
            target: "tools".parse().unwrap(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            inputs: None,
        };
        let asking = exec::Asking {
            chain: SubjectChain::of(bot),
            issuers: BTreeSet::new(),
            reason: Some(reason.into()),
            amends: None,
            trace: None,
        };
        let considered = exec::consider(&self.gateway, call, asking).await.unwrap();
        let exec::Considered::Exact(asked) = considered else {
            panic!("denied")
        };
        match self.gateway.admission.ask(*asked).await.unwrap() {
            Admitted::Held(case) => case.request.id,
            other => panic!("not held: {other:?}"),
        }
    }

    /// Claims an approved request of `agent:bot` and ends it with an exit status.
    pub(crate) async fn claim(&self, id: &RequestId, exit: i32) {
        let by = SubjectId::Agent("bot".parse().unwrap());
        let engine = &self.gateway.engine;
        let claimed = engine.step(id.clone(), Input::Claim { by }).await.unwrap();
        let ended = Ended {
            permit: claimed.permit.unwrap().id().clone(),
            outcome: Outcome::Failed,
            exit: Some(exit),
            result: serde_json::Value::Null,
        };
        let ended = Input::Ended { ended };
        engine.step(id.clone(), ended).await.unwrap();
    }

    pub(crate) async fn case(&self, id: &RequestId) -> Case {
        self.gateway.store.case(id).await.unwrap().unwrap().case
    }
}

/// A stream that goes on.
pub(crate) struct Stream(axum::body::BodyDataStream);

impl Stream {
    pub(crate) async fn next(&mut self) -> String {
        let chunk = futures_util::StreamExt::next(&mut self.0)
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(chunk.to_vec()).unwrap()
    }
}

impl Site {
    pub(crate) async fn stream(&self, request: Request<Body>) -> Stream {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Stream(response.into_body().into_data_stream())
    }
}
