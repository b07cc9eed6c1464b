//! Input that means harm or nothing, on every route: never a 500, always problem+json, and nothing
//! recorded where nothing happened.

use reqwest::{Method, header};
use serde_json::json;

use crate::support::{Answer, Caller, Lab};

/// Routes that take a JSON body, with `{id}` for a held request.
pub(crate) const BODIES: [&str; 13] = [
    "/v1/login",
    "/v1/run",
    "/v1/requests/{id}/votes",
    "/v1/requests/{id}/comments",
    "/v1/requests/{id}/questions",
    "/v1/requests/{id}/answers",
    "/v1/requests/{id}/amendments",
    "/v1/proposals",
    "/v1/policy/explain",
    "/v1/outcomes",
    "/access/v1/evaluation",
    "/access/v1/evaluations",
    "/access/v1/requests",
];

/// Routes about one thing named in the path.
pub(crate) const NAMED: [(Method, &str); 12] = [
    (Method::GET, "/v1/requests/{id}"),
    (Method::POST, "/v1/requests/{id}/votes"),
    (Method::POST, "/v1/requests/{id}/withdraw"),
    (Method::POST, "/v1/requests/{id}/comments"),
    (Method::POST, "/v1/requests/{id}/questions"),
    (Method::POST, "/v1/requests/{id}/answers"),
    (Method::POST, "/v1/requests/{id}/amendments"),
    (Method::POST, "/v1/requests/{id}/cancel"),
    (Method::POST, "/v1/requests/{id}/claim"),
    (Method::GET, "/v1/targets/{id}"),
    (Method::GET, "/access/v1/requests/{id}"),
    (Method::POST, "/access/v1/requests/{id}/cancel"),
];

/// Passes for a refusal that is the caller's fault and says so.
#[track_caller]
pub(crate) fn is_refusal(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(
        answer.content_type, "application/problem+json",
        "{what}: {answer:?}"
    );
    assert!(
        !answer.kind().is_empty() && !answer.text("title").is_empty(),
        "{what}: {answer:?}"
    );
    let said = answer.body.to_string();
    for leak in ["panicked", "src/", ".rs:", "serde", "sqlx", "SELECT "] {
        assert!(!said.contains(leak), "{what}: {answer:?}");
    }
}

/// Bodies that are wrong for whatever route, with their content type.
fn bad_bodies() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let json = "application/json";
    let nested = |open: &str, close: &str| {
        format!("{{\"text\":{}1{}}}", open.repeat(200), close.repeat(200)).into_bytes()
    };
    let mut bodies = vec![
        ("nothing", json, Vec::new()),
        ("a truncated object", json, b"{\"text\":\"abc".to_vec()),
        ("a truncated list", json, b"[1,2".to_vec()),
        ("two values", json, b"{} {}".to_vec()),
        ("a comment", json, b"{} // x".to_vec()),
        ("200 lists", json, nested("[", "]")),
        ("200 objects", json, nested("{\"a\":", "}")),
        ("100,000 brackets", json, vec![b'['; 100_000]),
        (
            "a duplicate key",
            json,
            b"{\"text\":\"a\",\"text\":\"b\"}".to_vec(),
        ),
        (
            "an escaped duplicate key",
            json,
            b"{\"text\":\"a\",\"te\\u0078t\":\"b\"}".to_vec(),
        ),
        (
            "an unknown field",
            json,
            b"{\"__proto__\":{},\"admin\":true}".to_vec(),
        ),
        (
            "bytes that are not UTF-8",
            json,
            b"{\"text\":\"\xff\xfe\"}".to_vec(),
        ),
        ("a byte order mark", json, b"\xef\xbb\xbf{}".to_vec()),
        (
            "UTF-16",
            json,
            "{}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("a lone surrogate", json, b"{\"text\":\"\\ud800\"}".to_vec()),
        ("NaN", json, b"{\"text\":NaN}".to_vec()),
        (
            "a number without end",
            json,
            format!("{{\"wait_ms\":{}}}", "9".repeat(400)).into_bytes(),
        ),
        ("1e999", json, b"{\"wait_ms\":1e999}".to_vec()),
        ("NUL bytes", json, vec![0; 100]),
        (
            "latin-1",
            "application/json; charset=latin1",
            b"{\"text\":\"\xe9\"}".to_vec(),
        ),
        (
            "UTF-16 by name",
            "application/json; charset=utf-16",
            b"{}".to_vec(),
        ),
        (
            "a form",
            "application/x-www-form-urlencoded",
            b"text=x".to_vec(),
        ),
        ("plain text", "text/plain", b"{\"text\":\"x\"}".to_vec()),
        ("no content type", "", b"{\"text\":\"x\"}".to_vec()),
        ("JSON by another name", "application/jsonp", b"{}".to_vec()),
        (
            "multipart",
            "multipart/form-data; boundary=x",
            b"--x--".to_vec(),
        ),
    ];
    for (what, text) in [
        ("null", "null"),
        ("a number", "1"),
        ("a text", "\"x\""),
        ("a list", "[]"),
        ("no fields", "{}"),
        ("true", "true"),
        (
            "numbers for texts",
            r#"{"text":1,"target":1,"argv":1,"verdict":1,"digest":1,"act":1,"operation":1,"subject":1,"link":1,"wait_ms":"x"}"#,
        ),
        (
            "lists for texts",
            r#"{"text":[],"target":[],"argv":{},"verdict":[],"digest":[],"act":[],"operation":[],"subject":[],"link":[],"wait_ms":[]}"#,
        ),
        (
            "a negative time",
            r#"{"target":"tools","argv":["./tally"],"wait_ms":-1}"#,
        ),
        (
            "numbers for words",
            r#"{"target":"tools","argv":[1,2],"wait_ms":0}"#,
        ),
    ] {
        bodies.push((what, json, text.as_bytes().to_vec()));
    }
    bodies
}

/// Who is let in.
pub(crate) async fn callers(lab: &Lab) -> Vec<(&'static str, Caller)> {
    vec![
        ("agent", lab.bot().await),
        ("session", lab.session("ann").await),
    ]
}

#[tokio::test]
async fn bodies_are_read_strictly_everywhere() {
    let lab = Lab::new().await;
    let id = lab.bot().await.held("./tally one x").await;
    let callers = callers(&lab).await;
    let size = lab.gateway.log.size();
    for (who, caller) in &callers {
        for route in BODIES {
            let path = route.replace("{id}", &id);
            for (what, kind, body) in bad_bodies() {
                let mut request = caller.request(Method::POST, &path).body(body);
                if !kind.is_empty() {
                    request = request.header(header::CONTENT_TYPE, kind);
                }
                let answer = Answer::of(request.send().await.unwrap()).await;
                is_refusal(&answer, &format!("{what} by {who} at {route}"));
            }
        }
    }
    assert_eq!(lab.state(&id).await, "held");
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn nine_megabytes_are_too_many() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let size = lab.gateway.log.size();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(9 << 20));
    for route in BODIES {
        let path = route.replace("{id}", &id);
        let request = bot
            .request(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/json");
        // The answer comes before the body was read; a client may notice that first.
        if let Ok(response) = request.body(body.clone()).send().await {
            Answer::of(response).await.refused(route, 413, "too_large");
        }
    }
    for (what, body) in [
        ("no archive", vec![7; 10_000]),
        ("nothing but zeros", vec![0; 9 << 20]),
        ("too much", tar(&[("big", 2 << 20)])),
        ("cut short", tar(&[("cut", 4_000)])[..3_000].to_vec()),
        ("another name", tar(&[("../outside", 10)])),
    ] {
        let request = bot.request(Method::POST, "/v1/inputs").body(body);
        if let Ok(response) = request.send().await {
            let answer = Answer::of(response).await;
            // An archive of nothing is one.
            if answer.status != 200 || what != "nothing but zeros" {
                answer.refused(what, 422, "inputs_refused");
            }
        }
    }
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    // What is within the limit is taken, whatever it is worth.
    let long = bot
        .run_with(json!({ "argv": ["echo", "y".repeat(7 << 20)], "wait_ms": 0 }))
        .await;
    assert!(["still_held", "refused"].contains(&long.last().unwrap()["event"].as_str().unwrap()));
    bot.held("./tally one after").await;
    lab.nothing_ran().await;
}

/// An archive as a caller could make it, with any names.
fn tar(files: &[(&str, usize)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, size) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(*size).unwrap());
        header.set_mode(0o644);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder
            .append(&header, vec![b'x'; *size].as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn names_in_addresses_name_nothing_else() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let callers = callers(&lab).await;
    let size = lab.gateway.log.size();
    let long = "a".repeat(5_000);
    let names = [
        "%ff",
        "%00",
        "%C0%80",
        "a%00b",
        "%E2%80%AEdb",
        "%F3%A0%81%81",
        "%20",
        "a%20b",
        "%0d%0aX:1",
        "..%2f..%2fetc",
        "%2e%2e",
        "%252e",
        "*",
        "%27",
        "'%20OR%201=1--",
        "%22",
        "%3Cscript%3E",
        "req_",
        "req_00000000000000000000000000",
        "REQ_00000000000000000000000000",
        "null",
        "-1",
        &long,
    ];
    for (who, caller) in &callers {
        for (method, route) in &NAMED {
            for name in names {
                let path = route.replace("{id}", name);
                // A good body, so that only the name is wrong.
                let body =
                    json!({ "text": "x", "to": "msg_00000000000000000000000000", "argv": ["x"] });
                let vote = json!({ "verdict": "approve", "digest": "0".repeat(64), "act": "x" });
                let body = match *route {
                    "/v1/requests/{id}/votes" => vote,
                    "/v1/requests/{id}/amendments" => json!({ "argv": ["x"], "text": "x" }),
                    _ => json!({ "text": body["text"], "to": body["to"] }),
                };
                let mut request = caller.request(method.clone(), &path);
                if *method == Method::POST {
                    request = request.json(&body);
                }
                let answer = Answer::of(request.send().await.unwrap()).await;
                is_refusal(&answer, &format!("{who} at {method} {path:.80}"));
            }
        }
    }
    assert_eq!(lab.state(&id).await, "held");
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    lab.nothing_ran().await;
}

/// Names in bodies: what is no name is refused, what is one of nothing comes to nothing.
#[tokio::test]
async fn names_in_bodies_are_names() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let before = lab.gateway.active().directory.clone();
    let size = lab.gateway.log.size();
    let long = "x".repeat(201);
    for name in [
        "",
        " ",
        "a b",
        "a\0b",
        "a\u{202e}b",
        "a\nb",
        "a\u{200b}",
        "\u{3164}",
        "a`b",
        "a\"b",
        long.as_str(),
    ] {
        for (operation, arguments) in [
            ("person-add", json!({ "person": name })),
            ("person-disable", json!({ "person": name })),
            ("person-link", json!({ "person": name })),
            ("membership-add", json!({ "person": "ann", "group": name })),
            (
                "membership-add",
                json!({ "person": name, "group": "reviewers" }),
            ),
            ("agent-add", json!({ "agent": name, "owner": "ann" })),
            ("agent-add", json!({ "agent": "x", "owner": name })),
            ("agent-stop", json!({ "agent": name })),
            ("agent-token", json!({ "agent": name })),
            ("credential-revoke", json!({ "credential": name })),
        ] {
            let answer = ada.propose(operation, arguments).await;
            answer.refused(&format!("{operation} {name:?}"), 422, "invalid_proposal");
        }
        let answer = ada.propose(name, json!({})).await;
        answer.refused(&format!("operation {name:?}"), 422, "invalid_proposal");
    }
    for (operation, arguments) in [
        ("agent-token", json!({ "agent": "bot", "valid_for": "-5m" })),
        ("agent-token", json!({ "agent": "bot", "valid_for": 5 })),
        (
            "agent-token",
            json!({ "agent": "bot", "valid_for": "99999999999999999999d" }),
        ),
        ("bundle-apply", json!({ "files": {} })),
        ("bundle-apply", json!({ "files": { "../x": "y" } })),
        (
            "bundle-apply",
            json!({ "files": { "countersign.toml": "[" } }),
        ),
        (
            "bundle-apply",
            json!({ "files": { "countersign.toml": "\0" } }),
        ),
        (
            "bundle-apply",
            json!({ "files": { "policies/x.cedar": "permit(" } }),
        ),
    ] {
        let answer = ada.propose(operation, arguments.clone()).await;
        is_refusal(&answer, &format!("{operation} {arguments}"));
    }
    assert_eq!(lab.gateway.active().directory, before);
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn texts_may_hold_anything_and_stay_texts() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    for text in [
        "\0",
        "a\u{202e}b",
        "\u{1b}[2J",
        "'; DROP TABLE cases; --",
        "<script>",
        "\u{10ffff}",
        "%s%n",
    ] {
        let call = json!({ "argv": ["./tally", "one", "x"], "reason": text, "wait_ms": 0, "origin": { "model": text } });
        let events = bot.run_with(call).await;
        let id = events[0]["request"]
            .as_str()
            .unwrap_or_else(|| panic!("{text:?}: {events:?}"))
            .to_owned();
        let said = ann
            .post(
                &format!("/v1/requests/{id}/comments"),
                &json!({ "text": text }),
            )
            .await;
        assert!([200, 400].contains(&said.status), "{text:?}: {said:?}");
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let found = ann
            .get(&format!("/v1/requests?text={encoded}"))
            .await
            .expect(200);
        assert!(found.body["items"].is_array(), "{text:?}");
        bot.post(&format!("/v1/requests/{id}/cancel"), &json!({}))
            .await
            .expect(200);
    }
    lab.nothing_ran().await;
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let lab = Lab::new().await;
    let callers = callers(&lab).await;
    let size = lab.gateway.log.size();
    for (who, caller) in &callers {
        for query in [
            "limit=abc",
            "limit=-1",
            "limit=99999999999",
            "since=x",
            "until=1e9",
            "after=nope%20x",
            "after=req_00000000000000000000000000",
            "after=%ff",
            "unknown=1",
            "limit=1&limit=2",
            "mine=maybe",
            "state=nonsense",
            "agent=a%00b",
            "limit=0",
            "target=%E2%80%AE",
            "after=%00",
        ] {
            let answer = caller.get(&format!("/v1/requests?{query}")).await;
            is_refusal(&answer, &format!("{query} by {who}"));
        }
        for query in ["text=%25%27", ""] {
            caller
                .get(&format!("/v1/requests?{query}"))
                .await
                .expect(200);
        }
    }
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
}

#[tokio::test]
async fn methods_and_addresses_that_are_not_there() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let size = lab.gateway.log.size();
    for route in BODIES {
        for method in [
            Method::GET,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
            Method::TRACE,
        ] {
            let path = route.replace("{id}", &id);
            let answer = Answer::of(bot.request(method.clone(), &path).send().await.unwrap()).await;
            answer.refused(&format!("{method} {route}"), 405, "method_not_allowed");
        }
    }
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/requests/",
        "//v1/run",
        "/V1/run",
        "/v1/run/",
        "/v2/run",
        "/v1/run%2f",
    ] {
        let answer = bot.post(path, &json!({})).await;
        answer.refused(path, 404, "not_found");
    }
    for (method, route) in &NAMED {
        let other = if *method == Method::GET {
            Method::POST
        } else {
            Method::GET
        };
        let path = route.replace("{id}", &id);
        let answer = Answer::of(bot.request(other, &path).send().await.unwrap()).await;
        answer.refused(route, 405, "method_not_allowed");
    }
    assert_eq!(lab.gateway.log.size(), size, "something was recorded");
    lab.nothing_ran().await;
}
