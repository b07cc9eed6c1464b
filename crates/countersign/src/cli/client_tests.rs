//! Requests as the gateway sees them, and its answers.

use super::*;
use crate::{
    api::types::Health,
    cli::{
        config::gateway,
        testing::{Stub, json_answer, problem},
    },
};

fn client(stub: &Stub) -> Client {
    Client::new(&stub.settings()).unwrap()
}

#[tokio::test]
async fn requests_carry_token_key_and_escaped_paths() {
    let stub = Stub::start(vec![json_answer("null"), json_answer("null")]).await;
    let client = client(&stub);
    let at = At::new(&["targets", "a/b #1"])
        .with("text", Some("x&y z"))
        .with("no", None::<u8>);
    let _: () = client.get(at).await.unwrap();
    client
        .tell(At::new(&["requests", "req_1", "cancel"]), &())
        .await
        .unwrap();
    let seen = stub.seen();
    assert!(
        seen[0].starts_with("GET /v1/targets/a%2Fb%20%231?text=x%26y+z HTTP/1.1"),
        "{}",
        seen[0]
    );
    assert!(seen[0].contains("authorization: Bearer secret\r\n"));
    assert!(!seen[0].contains("idempotency-key"));
    assert!(seen[1].starts_with("POST /v1/requests/req_1/cancel "));
    assert!(seen[1].contains("idempotency-key: "));
}

#[tokio::test]
async fn refusals_are_told_and_redirects_are_not_followed() {
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n";
    for (answer, kind, exit) in [
        (
            problem(401, "bad_token", "the token is not valid"),
            "bad_token",
            69,
        ),
        (problem(403, "not_yours", "not yours"), "not_yours", 77),
        (elsewhere.to_owned(), "redirect", 69),
        (
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno".to_owned(),
            "http",
            69,
        ),
        (json_answer("{}"), "unexpected_answer", 69),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned(),
            "broken",
            69,
        ),
    ] {
        let stub = Stub::start(vec![answer]).await;
        let failure = client(&stub)
            .get::<Health>(At::new(&["health"]))
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind.as_str(), failure.exit),
            (kind, exit),
            "{failure:?}"
        );
        assert_eq!(stub.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_write_that_got_no_answer_is_sent_again_with_its_key() {
    let stub = Stub::start(vec![String::new(), json_answer("null")]).await;
    client(&stub)
        .tell(At::new(&["requests", "r", "claim"]), &())
        .await
        .unwrap();
    let keys: Vec<String> = stub
        .seen()
        .iter()
        .flat_map(|request| {
            request
                .lines()
                .filter(|line| line.starts_with("idempotency-key"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn an_authority_that_is_none_is_not_replaced_by_the_systems() {
    let folder = tempfile::tempdir().unwrap();
    let url = gateway("https://gate.example.com").unwrap();
    for (name, text) in [
        ("missing", None),
        ("empty", Some("")),
        ("other", Some("hello")),
        (
            "key",
            Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ),
        (
            "broken",
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
    ] {
        let file = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let failure = Client::anonymous(&url, Some(&file)).unwrap_err();
        assert_eq!(failure.exit, 69, "{name}: {failure:?}");
        assert!(
            ["ca", "tls"].contains(&failure.kind.as_str()),
            "{name}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn without_token_or_gateway_the_status_is_69() {
    let stub = Stub::start(vec![]).await;
    let failure = Client::new(&Settings {
        token: None,
        ..stub.settings()
    })
    .unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.exit), ("no_token", 69));
    let nobody = Client::anonymous(&gateway("http://127.0.0.1:1").unwrap(), None).unwrap();
    let failure = nobody
        .get::<Health>(At::new(&["health"]))
        .await
        .unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.exit), ("unreachable", 69));
}
