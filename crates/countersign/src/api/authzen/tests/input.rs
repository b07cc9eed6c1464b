//! Input of every bad kind: never a 500, always problem details.

use super::*;

const PATHS: [&str; 4] = [
    "/access/v1/evaluation",
    "/access/v1/evaluations",
    "/access/v1/requests",
    "/v1/outcomes",
];

/// A request with this body; `kind` is its content type.
fn sent(token: &str, path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, kind)
        .header("x-request-id", "r-1")
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn what_can_not_be_read_is_refused() {
    let bench = Bench::new().await;
    let whole = held().to_string();
    let nested = format!("{{\"context\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let twice = whole.replacen(
        "{",
        "{\"subject\":{\"type\":\"agent\",\"id\":\"deploy-bot\"},",
        1,
    );
    let huge = "9007199254740993";
    let json = "application/json";
    let cases: [(&str, Vec<u8>, u16); 16] = [
        (json, whole[..whole.len() / 2].into(), 400),
        (json, Vec::new(), 400),
        (json, b"null".into(), 400),
        (json, b"[]".into(), 400),
        (json, b"{}".into(), 400),
        (json, b"\"\xff\"".into(), 400),
        (json, nested.into(), 400),
        (json, twice.into(), 400),
        (json, whole.replace("\"write\"", "7").into(), 400),
        (
            json,
            whole
                .replace(r#""rows":3"#, &format!("\"rows\":{huge}"))
                .into(),
            400,
        ),
        (json, whole.replace(r#""ticket 7""#, "7").into(), 400),
        (
            json,
            format!("{{\"context\":\"{}\"}}", "x".repeat(9 << 20)).into(),
            413,
        ),
        (
            "application/json; charset=latin-1",
            whole.clone().into(),
            415,
        ),
        ("text/plain", whole.clone().into(), 415),
        ("", whole.clone().into(), 415),
        (json, format!("{whole}{whole}").into(), 400),
    ];
    for (kind, body, status) in cases {
        for path in PATHS {
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let answer = bench.send(sent(&bench.bot, path, kind, body.clone())).await;
            assert_eq!(answer.status.as_u16(), status, "{path} {kind} {start}");
            assert!(!answer.problem().is_empty());
            assert_eq!(answer.request_id.as_deref(), Some("r-1"), "{path}");
        }
    }
    let mut large = held();
    large["context"]["blob"] = json!("x".repeat(70_000));
    assert_eq!(bench.evaluate(&large).await.problem(), "too_large");
}

#[tokio::test]
async fn each_missing_member_is_named() {
    let bench = Bench::new().await;
    for name in ["subject", "action", "resource"] {
        let mut body = held();
        body.as_object_mut().unwrap().remove(name);
        let answer = bench.evaluate(&body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "invalid_request")
        );
        assert!(
            answer.text("/title").contains(&format!("`{name}`")),
            "{}",
            answer.body
        );
    }
    let mut body = held();
    body["unknown"] = json!({ "a": [1] });
    body["subject"]["unknown"] = json!(1);
    assert_eq!(bench.evaluate(&body).await.status, 200);
}

#[tokio::test]
async fn strangers_and_wrong_methods_are_refused() {
    let bench = Bench::new().await;
    for path in PATHS {
        for token in ["", "cst_x", "not a token"] {
            let request = sent(token, path, "application/json", held().to_string());
            let answer = bench.send(request).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.problem(), "unauthenticated");
        }
        for name in ["PUT", "DELETE", "PATCH", "GET"] {
            let request = Request::builder().method(method(name)).uri(path);
            let answer = bench.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.problem(), "method_not_allowed", "{name} {path}");
        }
    }
    let id = bench
        .gateway()
        .identity
        .caller(&bench.bot, CredentialKind::Token)
        .await
        .unwrap();
    bench
        .gateway()
        .identity
        .revoke(&id.credential.id)
        .await
        .unwrap();
    assert_eq!(bench.evaluate(&held()).await.problem(), "unauthenticated");
}

#[tokio::test]
async fn addresses_are_public_and_configured() {
    let bench = Bench::new().await;
    let request = |path: &str| {
        let request = Request::get(path).header("host", "evil.example.com");
        request
            .header("x-request-id", "7")
            .body(Body::empty())
            .unwrap()
    };
    let found = bench
        .send(request("/.well-known/authzen-configuration"))
        .await;
    assert_eq!(found.status, 200);
    assert_eq!(found.request_id.as_deref(), Some("7"));
    assert_eq!(
        found.body,
        json!({
            "policy_decision_point": "https://gate.example.com",
            "access_evaluation_endpoint": "https://gate.example.com/access/v1/evaluation",
            "access_evaluations_endpoint": "https://gate.example.com/access/v1/evaluations",
            "access_request_endpoint": "https://gate.example.com/access/v1/requests",
        })
    );
    let described = bench.send(request("/openapi.json")).await;
    assert_eq!(described.text("/openapi"), "3.1.0");
}
