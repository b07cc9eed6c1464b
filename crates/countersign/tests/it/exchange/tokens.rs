//! Tokens of issuers: the good ones, and every kind that is not.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode as sign};
use serde_json::{Value, json};

use super::{EXCHANGE, GITHUB, JWT, Shop, Signer, encode, now, refused, with};

/// A job and a pod get tokens that are theirs, last as long as they should, and never vote.
#[tokio::test]
async fn a_job_and_a_pod_get_tokens_of_their_own() {
    let shop = Shop::new().await;
    let given = shop.exchange(&shop.job_token()).await.expect(200);
    assert_eq!(given.text("token_type"), "Bearer");
    assert_eq!(
        given.text("issued_token_type"),
        "urn:ietf:params:oauth:token-type:access_token"
    );
    // Not longer than what was shown.
    let left = given.body["expires_in"].as_i64().unwrap();
    assert!((295..=300).contains(&left), "{left}");
    let bot = shop.caller_of(&given);
    assert_eq!(bot.get("/v1/whoami").await.text("subject"), "agent:shop");
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let given = shop.exchange(&pod).await;
    let left = given.body["expires_in"].as_i64().unwrap();
    assert_eq!(left, 1800, "what is configured");
    let pod = shop.caller_of(&given);
    assert_eq!(
        pod.get("/v1/whoami").await.text("subject"),
        "workload:migrator"
    );
    // It asks like everybody else, and decides nothing.
    let id = bot.held("./tally one x").await;
    let vote = pod.vote(&id, "approve").await;
    assert_ne!(vote.status, 200, "{vote:?}");
    let ann = shop.lab.session("ann").await;
    ann.approve(&id).await;
    let end = bot.claim(&id, "./tally one x").await;
    assert_eq!(end["event"], "exited", "{end}");
    assert_eq!(shop.lab.place.ran_with("x"), 1);
    // What the token said is in the evidence, and not in the leaf.
    shop.lab.verify().await;
    let records = shop.lab.records();
    let issued = records
        .iter()
        .find(|one| one.evidence.to_string().contains("acme/shop"))
        .expect("the exchange is recorded");
    assert!(!issued.body.to_string().contains("acme"), "{issued:?}");
}

/// Claims that are not those of a machine, or not now.
#[tokio::test]
async fn tokens_that_say_something_else_are_refused() {
    let shop = Shop::new().await;
    let url = shop.lab.url.clone();
    for (more, why) in [
        (json!({}), ""),
        (json!({ "aud": [url] }), ""),
        (json!({ "azp": "whoever" }), ""),
        (json!({ "iat": now() + 30, "nbf": now() + 30 }), ""),
        (json!({ "nbf": null }), ""),
        (json!({ "iss": "https://evil.example" }), "issuer"),
        (json!({ "iss": format!("{GITHUB}/") }), "issuer"),
        (json!({ "iss": format!("{GITHUB}/acme") }), "issuer"),
        (json!({ "iss": [GITHUB] }), "issuer"),
        (json!({ "iss": null }), "issuer"),
        (
            json!({ "aud": "https://github.com/acme" }),
            "not for this gateway alone",
        ),
        (
            json!({ "aud": format!("{url}/") }),
            "not for this gateway alone",
        ),
        (
            json!({ "aud": [url, "https://vault.example"] }),
            "not for this gateway alone",
        ),
        (json!({ "aud": [] }), "not for this gateway alone"),
        (json!({ "aud": { "0": url } }), "not for this gateway alone"),
        (json!({ "aud": null }), "not for this gateway alone"),
        (json!({ "exp": now() - 1 }), "is over"),
        (json!({ "exp": now() - 90 }), "is over"),
        (json!({ "exp": 0 }), "is over"),
        (json!({ "exp": -1 }), "is over"),
        (json!({ "exp": null }), "does not say when it ends"),
        (json!({ "exp": "soon" }), "no number"),
        (json!({ "exp": format!("{}", now() + 300) }), "no number"),
        (json!({ "exp": true }), "no number"),
        (json!({ "nbf": now() + 120 }), "begins in the future"),
        (json!({ "iat": now() + 120 }), "begins in the future"),
        (json!({ "iat": null }), "when it was made"),
        (json!({ "nonce": "n" }), "signs somebody in"),
        // Whose it is.
        (json!({ "repository": "acme/other" }), "has the claims"),
        (json!({ "repository": "evil/shop" }), "has the claims"),
        (json!({ "repository": "ACME/shop" }), "has the claims"),
        (json!({ "repository": "acme/shop " }), "has the claims"),
        (json!({ "repository": ["acme/shop"] }), "has the claims"),
        (
            json!({ "repository": { "name": "acme/shop" } }),
            "has the claims",
        ),
        (json!({ "repository": null }), "has the claims"),
        (
            json!({ "environment": ["production", "staging"] }),
            "has the claims",
        ),
        (json!({ "environment": "production2" }), "has the claims"),
        (json!({ "environment": "" }), "has the claims"),
        // A pull request, of a fork or not, runs in no environment.
        (
            json!({ "environment": null, "event_name": "pull_request", "ref": "refs/pull/7/merge",
                    "sub": "repo:acme/shop:pull_request", "head_repository": "evil/shop" }),
            "has the claims",
        ),
    ] {
        let claims = shop.job(more.clone());
        let answer = shop.exchange(&shop.github.sign(&claims)).await;
        match why {
            "" => drop(answer.expect(200)),
            why => {
                refused(&more.to_string(), &answer, 400, "invalid_request", why);
                assert_eq!(answer.body["access_token"], Value::Null);
            }
        }
    }
    let staging = shop
        .github
        .sign(&shop.job(json!({ "environment": "staging" })));
    let other = shop.caller_of(&shop.exchange(&staging).await);
    assert_eq!(
        other.get("/v1/whoami").await.text("subject"),
        "agent:staging"
    );
    let account = |name: &str| shop.cluster.sign(&shop.pod(json!({ "sub": name })));
    for name in [
        "system:serviceaccount:prod:other",
        "system:serviceaccount:prod:migrator:x",
        "system:serviceaccount:prod",
    ] {
        let answer = shop.exchange(&account(name)).await;
        refused(name, &answer, 400, "invalid_request", "has the claims");
    }
}

/// Signatures that the issuer did not make, or not like this.
#[tokio::test]
async fn tokens_that_somebody_else_signed_are_refused() {
    let shop = Shop::new().await;
    let claims = shop.job(json!({}));
    let good = shop.github.sign(&claims);
    shop.exchange(&good).await.expect(200);
    let parts: Vec<&str> = good.split('.').collect();
    let (payload, signature) = (parts[1], parts[2]);
    let other = Signer::new("gh-1");
    let unsigned = |head: Value| format!("{}.{payload}.", encode(head.to_string().as_bytes()));
    let shared = |secret: &[u8], algorithm| {
        let mut header = Header::new(algorithm);
        header.kid = Some("gh-1".into());
        sign(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let mut wrong_kid = shop.github.header();
    wrong_kid.kid = Some("gh-2".into());
    let wrong_kid = sign(&wrong_kid, &claims, &shop.github.key).unwrap();
    let head = |more: Value| with(json!({ "alg": "ES256", "kid": "gh-1", "typ": "JWT" }), more);
    let text = claims.to_string();
    let mine = |more: Value| shop.github.sign_text(&head(more).to_string(), &text);
    let theirs = |more: Value| other.sign_text(&head(more).to_string(), &text);
    let jwk = other.jwk();
    let twice = text.replacen('{', "{\"repository\":\"evil/shop\",", 1);
    let twice_audience = text.replacen('{', "{\"aud\":\"https://evil.example\",", 1);
    let twice_deep = text.replacen('{', "{\"x\":{\"a\":1,\"a\":2},", 1);
    let twice_in_head = "{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"gh-1\"}";
    let plain = head(json!({})).to_string();
    // What is in a header and means nothing here is passed over.
    for ignored in [
        json!({ "jku": "https://evil.example/keys" }),
        json!({ "x5u": "https://evil.example/cert" }),
        json!({ "jwk": jwk }),
        json!({ "typ": null }),
        json!({ "typ": "JOSE" }),
        json!({ "kid": null }),
    ] {
        shop.exchange(&mine(ignored)).await.expect(200);
    }
    for (what, token, why) in [
        (
            "another key",
            other.sign(&claims),
            "signature does not hold",
        ),
        (
            "a key of its own",
            theirs(json!({ "jwk": jwk })),
            "signature does not hold",
        ),
        (
            "keys elsewhere",
            theirs(json!({ "jku": "https://evil.example/k" })),
            "does not hold",
        ),
        (
            "no algorithm",
            unsigned(json!({ "alg": "none", "kid": "gh-1" })),
            "not believed",
        ),
        ("None", unsigned(json!({ "alg": "None" })), "not believed"),
        (
            "an empty one",
            unsigned(json!({ "alg": "" })),
            "not believed",
        ),
        (
            "the public key as secret",
            shared(shop.github.public(), Algorithm::HS256),
            "not believed",
        ),
        (
            "the key's text",
            shared(shop.github.named().to_string().as_bytes(), Algorithm::HS512),
            "not believed",
        ),
        ("an unknown key", wrong_kid, "none of the keys"),
        (
            "an extension",
            mine(json!({ "crit": ["b64"], "b64": false })),
            "extension",
        ),
        (
            "an empty extension",
            mine(json!({ "crit": [] })),
            "extension",
        ),
        (
            "made for DPoP",
            mine(json!({ "typ": "dpop+jwt" })),
            "something else",
        ),
        (
            "made for access",
            mine(json!({ "typ": "at+jwt" })),
            "something else",
        ),
        (
            "made for signing out",
            mine(json!({ "typ": "logout+jwt" })),
            "something else",
        ),
        (
            "a claim twice",
            shop.github.sign_text(&plain, &twice),
            "one way only",
        ),
        (
            "an audience twice",
            shop.github.sign_text(&plain, &twice_audience),
            "one way only",
        ),
        (
            "a thing twice",
            shop.github.sign_text(&plain, &twice_deep),
            "one way only",
        ),
        (
            "a header twice",
            shop.github.sign_text(twice_in_head, &text),
            "one way only",
        ),
        (
            "the cluster's key",
            shop.cluster.sign(&claims),
            "none of the keys",
        ),
        ("cut", good[..good.len() - 4].to_owned(), "does not hold"),
        (
            "two parts",
            format!("{}.{payload}", parts[0]),
            "no JSON Web Token",
        ),
        ("five parts", format!("{good}.a.b"), "no JSON Web Token"),
        (
            "no list",
            shop.github.sign_text(&plain, "[]"),
            "one way only",
        ),
        ("no text", "x".into(), "no JSON Web Token"),
        (
            "oversized",
            format!("{good}{}", "A".repeat(17_000)),
            "longer than",
        ),
        (
            "padded",
            format!("{}=.{payload}.{signature}", parts[0]),
            "no JSON Web Token",
        ),
    ] {
        let answer = shop.exchange(&token).await;
        refused(what, &answer, 400, "invalid_request", why);
        let as_access = shop.caller(&token.chars().take(4000).collect::<String>());
        assert_eq!(as_access.get("/v1/whoami").await.status, 401, "{what}");
    }
    // An algorithm that the issuer's table does not have.
    let answer = shop.exchange(&"x".repeat(70_000)).await;
    refused(
        "too large a form",
        &answer,
        400,
        "invalid_request",
        "within 64 KiB",
    );
}

/// The protocol's own errors.
#[tokio::test]
async fn forms_that_are_not_understood_are_refused_in_its_words() {
    let shop = Shop::new().await;
    let token = shop.job_token();
    let base = [
        ("grant_type", EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", JWT),
    ];
    let url = shop.lab.url.clone();
    for (more, error) in [
        (vec![("audience", url.as_str())], ""),
        (vec![("resource", url.as_str())], ""),
        (vec![("unknown", "x"), ("scope", "")], ""),
        (
            vec![("audience", "https://other.example")],
            "invalid_target",
        ),
        (
            vec![("resource", "https://other.example")],
            "invalid_target",
        ),
        (vec![("scope", "admin")], "invalid_scope"),
        (vec![("subject_token", "again")], "invalid_request"),
        (
            vec![("grant_type", "client_credentials")],
            "invalid_request",
        ),
        (vec![("requested_token_type", JWT)], "invalid_request"),
        (vec![("actor_token", token.as_str())], "invalid_request"),
        (
            vec![("actor_token", token.as_str()), ("actor_token_type", JWT)],
            "invalid_request",
        ),
        (vec![("client_assertion", "x")], "invalid_request"),
    ] {
        let form: Vec<_> = base.iter().copied().chain(more.clone()).collect();
        let answer = shop.ask(&form).await;
        match error {
            "" => drop(answer.expect(200)),
            error => refused(&format!("{more:?}"), &answer, 400, error, ""),
        }
    }
    for (form, status, error) in [
        (vec![], 400, "invalid_request"),
        (
            vec![("grant_type", "password")],
            400,
            "unsupported_grant_type",
        ),
        (
            vec![("grant_type", "authorization_code")],
            400,
            "unsupported_grant_type",
        ),
        (
            vec![("grant_type", "client_credentials")],
            401,
            "invalid_client",
        ),
        (vec![("grant_type", EXCHANGE)], 400, "invalid_request"),
        (vec![base[0], base[1]], 400, "invalid_request"),
        (
            vec![
                base[0],
                base[1],
                (
                    "subject_token_type",
                    "urn:ietf:params:oauth:token-type:saml2",
                ),
            ],
            400,
            "invalid_request",
        ),
    ] {
        let answer = shop.ask(&form).await;
        refused(&format!("{form:?}"), &answer, status, error, "");
    }
    let with_header = shop
        .ask_with(&base, &[("authorization", "Basic YWdlbnQ6eA==")])
        .await;
    refused(
        "a header",
        &with_header,
        400,
        "invalid_request",
        "Authorization",
    );
    let found = shop.caller("x").http;
    let at = format!("{}/.well-known/oauth-authorization-server", shop.lab.url);
    let metadata: Value = found.get(at).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], json!(shop.lab.url));
    assert_eq!(
        metadata["token_endpoint"],
        json!(format!("{}/oauth/token", shop.lab.url))
    );
}
