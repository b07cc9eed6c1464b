//! What a caller proves itself with, as it is read and as the gateway is shown it.

use std::io::Write;

use super::*;
use crate::cli::{
    config::gateway,
    testing::{Stub, json_answer},
};

fn exchange(stub: &Stub, source: Source) -> (Exchange, reqwest::Client) {
    let base = stub.settings().url;
    let workload = Workload {
        source,
        audience: None,
        delegation: None,
    };
    (
        Exchange::new(workload, base.clone()),
        super::super::client::http(&base, None).unwrap(),
    )
}

fn given(expires_in: i64) -> String {
    let body = json!({ "access_token": "cst_x", "token_type": "Bearer", "expires_in": expires_in });
    json_answer(&body.to_string())
}

#[test]
fn variables_mean_one_thing_or_nothing() {
    for (identity, name, source) in [
        ("github-actions", None, Some(Source::GithubActions)),
        (
            "file:/run/token",
            None,
            Some(Source::File("/run/token".into())),
        ),
        (
            "key:/k.pem",
            Some("agent:bot"),
            Some(Source::Key("/k.pem".into(), "agent:bot".into())),
        ),
        ("key:/k.pem", None, None),
        ("key:/k.pem", Some("bot"), None),
        ("github", None, None),
        ("env:JOB_TOKEN", None, Some(Source::Env("JOB_TOKEN".into()))),
        ("env:", None, None),
        ("file:", None, None),
        ("", None, None),
    ] {
        let read = Workload::read(identity, name, None, None);
        assert_eq!(read.ok().map(|one| one.source), source, "{identity}");
    }
}

#[tokio::test]
async fn a_file_is_read_anew_and_a_token_kept_until_it_is_nearly_over() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let stub = Stub::start(vec![given(900), given(0), given(900)]).await;
    let (exchange, http) = exchange(&stub, Source::File(file.path().into()));
    for _ in 0..3 {
        assert_eq!(exchange.token(&http).await.unwrap().secret(), "cst_x");
    }
    fs::write(file.path(), "second").unwrap();
    exchange.renew().await;
    exchange.token(&http).await.unwrap();
    // What is over at once is not kept.
    exchange.token(&http).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].starts_with("POST /oauth/token "), "{}", seen[0]);
    assert!(seen[0].contains("subject_token=first&"), "{}", seen[0]);
    assert!(seen[1].contains("subject_token=second&"), "{}", seen[1]);
}

#[tokio::test]
async fn a_refusal_is_told_whole() {
    let body = json!({ "error": "invalid_request", "error_description": "it is over (`exp`)" });
    let text = body.to_string();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let stub = Stub::start(vec![answer]).await;
    let (exchange, http) = exchange(&stub, Source::File(file.path().into()));
    let failure = exchange.token(&http).await.unwrap_err();
    assert!(failure.title.contains("it is over (`exp`)"), "{failure:?}");
    assert_eq!((failure.exit, failure.http), (UNAVAILABLE, Some(400)));
}

#[tokio::test]
async fn github_is_asked_for_this_audience_only() {
    let stub = Stub::start(vec![json_answer("{\"value\":\"job\"}")]).await;
    let url = format!("{}token?api-version=1", stub.settings().url);
    let own = |name: &str| match name {
        "ACTIONS_ID_TOKEN_REQUEST_URL" => Some(url.clone()),
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN" => Some("secret".into()),
        _ => None,
    };
    let token = of_github("https://cs.example", own).await.unwrap();
    assert_eq!(token, "job");
    let seen = stub.seen();
    let line = "GET /token?api-version=1&audience=https%3A%2F%2Fcs.example HTTP/1.1";
    assert!(seen[0].starts_with(line), "{}", seen[0]);
    assert!(seen[0].contains("authorization: bearer secret"));
    let missing = of_github("x", |_| None).await.unwrap_err();
    assert!(missing.detail.unwrap().contains("id-token: write"));
    let clear = |name: &str| match name {
        "ACTIONS_ID_TOKEN_REQUEST_URL" => Some("http://github.example/".into()),
        _ => Some("secret".into()),
    };
    assert!(of_github("x", clear).await.is_err());
}

#[test]
fn a_new_pair_signs_and_others_do_not_read_it() {
    let (pem, jwk) = new_pair().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    let at = gateway("https://cs.example").unwrap();
    let assertion = signed(file.path(), "agent:bot", at.as_str()).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(&jwk).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["https://cs.example/"]);
    let claims = jsonwebtoken::decode::<Value>(&assertion, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!("agent:bot"), &json!("agent:bot"))
    );
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let failure = signed(file.path(), "agent:bot", "x").unwrap_err();
    assert!(
        failure.title.contains("others on this machine"),
        "{failure:?}"
    );
    assert!(private_key("no key").is_none());
}

/// The PEM of a private key.
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[test]
fn keys_of_every_kind_sign() {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::{KeyPair as Pair, KeySize},
        signature::{
            ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        },
    };
    let ed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let rsa = Pair::generate(KeySize::Rsa2048).unwrap();
    let rsa = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let (ec, _) = new_pair().unwrap();
    for (text, algorithm) in [
        (ec, "ES256"),
        (pem(ed.as_ref()), "EdDSA"),
        (pem(rsa.as_ref()), "RS256"),
    ] {
        let key = private_key(&text).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let signature = key.sign(b"message").unwrap();
        let verified = match &key {
            Key::Ec(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())
                    .verify(b"message", &signature)
            }
            Key::Ed(pair) => UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref())
                .verify(b"message", &signature),
            Key::Rsa(pair) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
                    .verify(b"message", &signature)
            }
        };
        verified.unwrap();
    }
}
