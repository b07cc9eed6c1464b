//! Credentials, headers and idempotency keys that mean harm or nothing.

use countersign::identity::Issue;
use countersign_core::time::Span;
use countersign_store::CredentialKind;
use reqwest::{Method, header};
use serde_json::json;

use crate::{
    input::{BODIES, NAMED, callers, is_refusal},
    support::{Answer, Lab, client},
};

/// Whoever is nobody gets nowhere, and can't fill the log by trying.
#[tokio::test]
async fn credentials_that_are_none() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let ann = lab.session("ann").await;
    let (link, _) = lab.issue(CredentialKind::Link, "person:ann", None).await;
    let ended = Issue {
        lineage: Default::default(),
        kind: CredentialKind::Token,
        holder: countersign::identity::parse_subject("agent:bot").unwrap(),
        issued_by: None,
        parent: None,
        account: None,
        valid_for: Span::from_millis(0),
    };
    let (ended, _) = lab.gateway.identity.issue(&ended).await.unwrap();
    let long = format!("cst_{}", "x".repeat(10_000));
    let size = lab.gateway.log.size();
    let secrets = [
        "",
        "x",
        "cst_",
        "Bearer",
        &long,
        &link,
        ended.text(),
        &ann.secret,
        &"y".repeat(47),
        "cst_\u{e9}",
    ];
    let http = client();
    let mut tried = 0;
    for secret in secrets {
        for (method, route) in NAMED
            .iter()
            .cloned()
            .chain(BODIES.map(|route| (Method::POST, route)))
        {
            if route == "/v1/login" {
                continue;
            }
            let url = format!("{}{}", lab.url, route.replace("{id}", &id));
            let request = http.request(method, url).json(&json!({}));
            let value =
                header::HeaderValue::from_bytes(format!("Bearer {secret}").as_bytes()).unwrap();
            let answer = Answer::of(
                request
                    .header(header::AUTHORIZATION, value)
                    .send()
                    .await
                    .unwrap(),
            )
            .await;
            answer.refused(&format!("{secret:.50} at {route}"), 401, "unauthenticated");
            tried += 1;
        }
    }
    // A token as a cookie and a session as a token are nothing either.
    let cookie = http.get(format!("{}/v1/whoami", lab.url));
    let cookie = cookie.header(
        header::COOKIE,
        format!("countersign_session={}", bot.secret),
    );
    Answer::of(cookie.send().await.unwrap()).await.refused(
        "a token as a cookie",
        401,
        "unauthenticated",
    );
    let recorded = lab.gateway.log.size() - size;
    assert!(
        recorded >= 1 && recorded < tried / 2,
        "{recorded} of {tried}"
    );
    assert_eq!(lab.state(&id).await, "held");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn long_headers_do_no_harm() {
    let lab = Lab::new().await;
    let callers = callers(&lab).await;
    let id = lab.bot().await.held("./tally one x").await;
    let size = lab.gateway.log.size();
    let long = "x".repeat(10_000);
    for (who, caller) in &callers {
        for name in [
            "idempotency-key",
            "content-type",
            "x-csrf-token",
            "accept",
            "x-anything",
            "origin",
            "user-agent",
            "content-language",
        ] {
            let request = caller
                .http
                .post(format!("{}/v1/requests/{id}/comments", lab.url));
            let request = match &caller.csrf {
                Some(csrf) if name != "x-csrf-token" => request.header("x-csrf-token", csrf),
                _ => request,
            };
            let request = match &caller.csrf {
                Some(_) => request.header(
                    header::COOKIE,
                    format!("countersign_session={}", caller.secret),
                ),
                None => request.bearer_auth(&caller.secret),
            };
            let request = request.header(name, &long).body("{\"text\":1}");
            let answer = Answer::of(request.send().await.unwrap()).await;
            is_refusal(&answer, &format!("{name} by {who}"));
        }
        let key = caller
            .request(Method::POST, "/v1/proposals")
            .header("idempotency-key", &long);
        let key = key.json(&json!({ "operation": "agent-stop", "arguments": { "agent": "bot" } }));
        let answer = Answer::of(key.send().await.unwrap()).await;
        answer.refused("a long key", 400, "invalid_request");
    }
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    lab.nothing_ran().await;
}

/// One key, one answer; another body under it is refused.
#[tokio::test]
async fn an_idempotency_key_is_for_one_body() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let say = |text: &str| {
        let path = format!("/v1/requests/{id}/comments");
        let request = bot
            .request(Method::POST, &path)
            .header("idempotency-key", "k1");
        let request = request.json(&json!({ "text": text }));
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let first = say("hello").await.expect(200);
    assert_eq!(say("hello").await.expect(200).body, first.body);
    say("other")
        .await
        .refused("another body", 422, "key_reused");
    let many = futures_util::future::join_all((0..16).map(|_| say("hello"))).await;
    assert!(many.iter().all(|answer| answer.status == 200));
    assert_eq!(lab.stored(&id).await.conversation.len(), 1);
    lab.nothing_ran().await;
}
