//! An issuer that is asked for its keys: by discovery or at an address, changing, silent, slow.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Shop, Signer, now, refused, with};
use crate::support::until;

#[derive(Clone)]
struct Issuer {
    url: String,
    keys: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicU32>,
    /// How long it takes to answer, in milliseconds.
    pause: Arc<AtomicU32>,
}

impl Issuer {
    async fn new(signer: &Signer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::new(Mutex::new(Some(json!({ "keys": [signer.named()] })))),
            asked: Arc::default(),
            pause: Arc::new(AtomicU32::new(20)),
        };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) }))
}

async fn keys(State(issuer): State<Issuer>) -> Result<Json<Value>, StatusCode> {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    let pause = issuer.pause.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(pause.into())).await;
    let keys = issuer.keys.lock().unwrap().clone();
    keys.map(Json).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn table(issuer: &str, more: &str) -> String {
    format!(
        "\n[issuer.own]\nissuer = \"{issuer}\"\n{more}\n[agent.found]\nowner = \"olga\"\n\
         groups = [\"agents\"]\nproves = [{{ issuer = \"own\", claims = {{ sub = \"job\" }} }}]\n"
    )
}

fn claims(shop: &Shop, issuer: &str, more: Value) -> Value {
    let claims = json!({
        "iss": issuer, "aud": shop.lab.url, "sub": "job", "iat": now(), "exp": now() + 300,
    });
    with(claims, more)
}

/// Strangers make nobody be asked, and many make one question.
#[tokio::test]
async fn nobody_is_asked_for_strangers() {
    let signer = Signer::new("one");
    let issuer = Issuer::new(&signer).await;
    let shop = Shop::with(&table(&issuer.url, "")).await;
    let token = |more| signer.sign(&claims(&shop, &issuer.url, more));
    for more in [
        json!({ "sub": "other" }),
        json!({ "aud": "other" }),
        json!({ "exp": now() - 5 }),
        json!({ "iss": "https://evil.example" }),
    ] {
        assert_eq!(shop.exchange(&token(more)).await.status, 400);
    }
    assert_eq!(issuer.asked(), 0);
    let good = token(json!({}));
    let all = futures_util::future::join_all((0..20).map(|_| shop.exchange(&good))).await;
    assert!(all.iter().all(|one| one.status == 200), "{all:?}");
    assert_eq!(issuer.asked(), 1);
    // A key that nobody knows is looked for, and not for everybody.
    let unknown = Signer::new("unknown").sign(&claims(&shop, &issuer.url, json!({})));
    for _ in 0..20 {
        refused(
            "unknown",
            &shop.exchange(&unknown).await,
            400,
            "invalid_request",
            "none of the keys",
        );
    }
    assert!(issuer.asked() <= 2, "{}", issuer.asked());
    shop.exchange(&good).await.expect(200);
}

/// The keys of a silent issuer are nobody's; somebody else's document is not its own.
#[tokio::test]
async fn an_issuer_that_does_not_answer_vouches_for_nobody() {
    let signer = Signer::new("one");
    let issuer = Issuer::new(&signer).await;
    *issuer.keys.lock().unwrap() = None;
    let at = format!("jwks_uri = \"{}/keys\"", issuer.url);
    let shop = Shop::with(&table("https://issuer.example", &at)).await;
    let token = signer.sign(&claims(&shop, "https://issuer.example", json!({})));
    for _ in 0..5 {
        let answer = shop.exchange(&token).await;
        refused("silent", &answer, 400, "invalid_request", "can't be had");
    }
    assert_eq!(issuer.asked(), 1, "it is left alone for a moment");
    *issuer.keys.lock().unwrap() = Some(json!({ "keys": [signer.named()] }));
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    shop.exchange(&token).await.expect(200);
    let other = Issuer::new(&signer).await;
    let shop = Shop::with(&table(&format!("{}/", other.url), "")).await;
    let token = signer.sign(&claims(&shop, &format!("{}/", other.url), json!({})));
    let answer = shop.exchange(&token).await;
    refused(
        "another's document",
        &answer,
        400,
        "invalid_request",
        "another issuer",
    );
}

/// What a stop ends while an issuer is asked does not begin afterwards.
#[tokio::test]
async fn nothing_is_given_for_what_ended_while_the_issuer_was_asked() {
    let signer = Signer::new("one");
    let issuer = Issuer::new(&signer).await;
    issuer.pause.store(3_000, Ordering::SeqCst);
    let shop = Shop::with(&table(&issuer.url, "")).await;
    let token = signer.sign(&claims(&shop, &issuer.url, json!({})));
    let ada = shop.lab.session("ada").await;
    let stop = async {
        until("it is asked", || async { issuer.asked() == 1 }).await;
        let whom = json!({ "agent": "found" });
        ada.propose("agent-stop", whom).await.expect(200);
    };
    let (answer, ()) = tokio::join!(shop.exchange(&token), stop);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.text("access_token"), "");
}

/// One issuer that does not answer keeps its own machines waiting, and no others.
#[tokio::test]
async fn whoever_waits_for_a_silent_issuer_is_in_nobodys_way() {
    let signer = Signer::new("one");
    let issuer = Issuer::new(&signer).await;
    issuer.pause.store(60_000, Ordering::SeqCst);
    let shop = Shop::with(&table(&issuer.url, "")).await;
    let stranger = Signer::new("one").sign(&claims(&shop, &issuer.url, json!({})));
    let url = format!("{}/oauth/token", shop.lab.url);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (url, token) = (url.clone(), stranger.clone());
        let form = [
            ("grant_type", super::EXCHANGE.to_owned()),
            ("subject_token", token),
            ("subject_token_type", super::JWT.to_owned()),
        ];
        waiting.spawn(crate::support::client().post(url).form(&form).send());
    }
    until("it is asked", || async { issuer.asked() > 0 }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begin = std::time::Instant::now();
    let own = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    shop.assert(&own).await.expect(200);
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    waiting.abort_all();
}

/// SPIFFE's tokens need not say who signed them: the trust domain of their subject does.
#[tokio::test]
async fn a_trust_domain_vouches_for_its_own() {
    let signer = Signer::new("svid");
    let mut key = signer.named();
    key["use"] = json!("jwt-svid");
    let more = format!(
        "\n[issuer.spiffe]\nissuer = \"spiffe://example.org\"\nkeys = '{}'\n\
         [workload.billing]\nowner = \"olga\"\nproves = [{{ issuer = \"spiffe\", claims = \
         {{ sub = \"spiffe://example.org/ns/prod/billing\" }} }}]\n",
        super::set(&[key])
    );
    let shop = Shop::with(&more).await;
    let subject = |text: &str| json!({ "iss": null, "sub": text });
    let svid = |more| signer.sign(&claims(&shop, "", more));
    let good = svid(subject("spiffe://example.org/ns/prod/billing"));
    let who = shop.caller_of(&shop.exchange(&good).await);
    assert_eq!(
        who.get("/v1/whoami").await.text("subject"),
        "workload:billing"
    );
    for (text, why) in [
        ("spiffe://example.org/ns/prod/billing/x", "has the claims"),
        ("spiffe://example.org/ns/prod", "has the claims"),
        ("spiffe://example.org.evil/ns/prod/billing", "issuer"),
        ("spiffe://evil.org/ns/prod/billing", "issuer"),
        ("spiffe://example.org", "issuer"),
        ("SPIFFE://example.org/ns/prod/billing", "issuer"),
    ] {
        let answer = shop.exchange(&svid(subject(text))).await;
        refused(text, &answer, 400, "invalid_request", why);
    }
}
