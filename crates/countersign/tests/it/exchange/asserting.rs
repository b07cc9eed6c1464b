//! Machines that sign with a key of their own.

use serde_json::json;

use super::{EXCHANGE, JWT, Shop, Signer, encode, now, refused, with};

#[tokio::test]
async fn an_assertion_gives_one_token() {
    let shop = Shop::new().await;
    let assertion = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    let given = shop.assert(&assertion).await.expect(200);
    assert_eq!(given.body["expires_in"], 900);
    let signer = shop.caller_of(&given);
    assert_eq!(
        signer.get("/v1/whoami").await.text("subject"),
        "agent:signer"
    );
    let again = shop.assert(&assertion).await;
    refused("again", &again, 401, "invalid_client", "used before");
    // Of many at once, one is first.
    let claims = shop.assertion("agent:signer", json!({}));
    let assertion = shop.own.sign(&claims);
    let all = (0..12).map(|_| shop.assert(&assertion));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|one| one.status == 200).count(), 1);
    // Another signature over the same name is the same.
    let again = shop
        .assert(&shop.own.sign(&with(claims, json!({ "exp": now() + 90 }))))
        .await;
    refused(
        "the same name",
        &again,
        401,
        "invalid_client",
        "used before",
    );
    shop.lab.verify().await;
}

/// What was used before a restart is used after it.
#[tokio::test]
async fn an_assertion_gives_no_second_token_after_a_restart() {
    let mut shop = Shop::new().await;
    // The address is another one then, so that it is fixed for this test.
    let audience = json!({ "aud": shop.lab.url });
    let claims = shop.assertion("agent:signer", audience);
    shop.assert(&shop.own.sign(&claims)).await.expect(200);
    shop.lab = shop.lab.restart().await;
    let claims = with(claims, json!({ "aud": shop.lab.url }));
    let again = shop.assert(&shop.own.sign(&claims)).await;
    refused(
        "after a restart",
        &again,
        401,
        "invalid_client",
        "used before",
    );
}

#[tokio::test]
async fn assertions_that_are_not_a_machines_own_are_refused() {
    let shop = Shop::new().await;
    let url = shop.lab.url.clone();
    for (more, why) in [
        (json!({ "aud": url }), ""),
        (json!({ "aud": [format!("{url}/oauth/token")] }), ""),
        (json!({ "iat": null }), ""),
        (
            json!({ "aud": "https://other.example/oauth/token" }),
            "`aud`",
        ),
        (json!({ "aud": [url, "https://other.example"] }), "`aud`"),
        (json!({ "aud": null }), "`aud`"),
        (json!({ "iss": "agent:shop" }), "`iss` and `sub`"),
        (json!({ "sub": "agent:shop" }), "`iss` and `sub`"),
        (json!({ "iss": null, "sub": null }), "`iss` and `sub`"),
        (
            json!({ "iss": "agent:shop", "sub": "agent:shop" }),
            "no key of that machine",
        ),
        (
            json!({ "iss": "agent:bot", "sub": "agent:bot" }),
            "no key of that machine",
        ),
        (
            json!({ "iss": "agent:nobody", "sub": "agent:nobody" }),
            "no key of that machine",
        ),
        (
            json!({ "iss": "workload:signer", "sub": "workload:signer" }),
            "no key of that machine",
        ),
        (
            json!({ "iss": "signer", "sub": "signer" }),
            "no agent and no workload",
        ),
        (
            json!({ "iss": "person:ada", "sub": "person:ada" }),
            "no agent and no workload",
        ),
        (json!({ "exp": now() - 1 }), "is over"),
        (json!({ "exp": now() + 3600 }), "more than 10 minutes"),
        (json!({ "exp": null }), "when it ends"),
        (json!({ "nbf": now() + 300 }), "in the future"),
        (json!({ "iat": now() + 300 }), "in the future"),
        (json!({ "jti": null }), "`jti`"),
        (json!({ "jti": "" }), "`jti`"),
        (json!({ "jti": 7 }), "`jti`"),
        (json!({ "jti": "x".repeat(201) }), "`jti`"),
    ] {
        let assertion = shop.own.sign(&shop.assertion("agent:signer", more.clone()));
        let answer = shop.assert(&assertion).await;
        match why {
            "" => drop(answer.expect(200)),
            why => refused(&more.to_string(), &answer, 401, "invalid_client", why),
        }
    }
    let claims = shop.assertion("agent:signer", json!({})).to_string();
    let typed = |kind: &str| {
        let head = json!({ "alg": "ES256", "typ": kind }).to_string();
        shop.own.sign_text(&head, &claims)
    };
    for (what, assertion, why) in [
        (
            "of another",
            Signer::new("own-1").sign(&shop.assertion("agent:signer", json!({}))),
            "no key of that",
        ),
        ("a proof of a key", typed("dpop+jwt"), "something else"),
        ("for access", typed("at+jwt"), "something else"),
        (
            "unsigned",
            format!(
                "{}.{}.",
                encode(b"{\"alg\":\"none\"}"),
                encode(claims.as_bytes())
            ),
            "not believed",
        ),
    ] {
        let answer = shop.assert(&assertion).await;
        refused(what, &answer, 401, "invalid_client", why);
    }
    // A token of an issuer is no assertion, and an assertion no token of an issuer.
    let answer = shop.assert(&shop.job_token()).await;
    refused(
        "a job's token",
        &answer,
        401,
        "invalid_client",
        "`iss` and `sub`",
    );
    let assertion = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    let answer = shop.exchange(&assertion).await;
    refused("an assertion", &answer, 400, "invalid_request", "issuer");
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", JWT),
        ("client_assertion", assertion.as_str()),
        ("client_assertion_type", super::ASSERTION),
    ];
    let answer = shop.ask(&form).await;
    refused("both", &answer, 400, "invalid_request", "by itself");
    let other = [
        ("grant_type", "client_credentials"),
        ("client_id", "agent:shop"),
        ("client_assertion_type", super::ASSERTION),
        (
            "client_assertion",
            &shop.own.sign(&shop.assertion("agent:signer", json!({}))),
        ),
    ];
    refused(
        "another name",
        &shop.ask(&other).await,
        401,
        "invalid_client",
        "client_id",
    );
    // Not one of the refused ones was used up.
    shop.assert(&assertion).await.expect(200);
}

/// What is not answered takes no room, and can be shown again.
#[tokio::test]
async fn an_assertion_that_is_not_answered_is_not_used_up() {
    let shop = Shop::new().await;
    let all: Vec<String> = (0..260)
        .map(|nth| {
            let claims = json!({ "jti": format!("n-{nth}"), "exp": now() + 300 });
            shop.own.sign(&shop.assertion("agent:signer", claims))
        })
        .collect();
    let answers = futures_util::future::join_all(all.iter().map(|one| shop.assert(one))).await;
    let of = |status: u16| {
        let all = all.iter().zip(&answers);
        all.filter(move |(_, answer)| answer.status == status)
    };
    let (waits, _) = of(429).next().expect("not all are answered");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    shop.assert(waits).await.expect(200);
    let (used, _) = of(200).next().unwrap();
    refused("used", &shop.assert(used).await, 401, "invalid_client", "");
}

/// A key for which anybody signs is nobody's.
#[tokio::test]
async fn keys_that_anybody_signs_for_do_not_load() {
    let shop = Shop::new().await;
    let ada = shop.lab.session("ada").await;
    let mut point = [0; 32];
    point[0] = 1;
    let small = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(&point) });
    let off = json!({ "kty": "EC", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[2; 32]) });
    for (key, why) in [(small, "anybody"), (off, "no point")] {
        let mut files = shop.lab.gateway.active().bundle.files().clone();
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str(&format!(
            "\n[agent.low]\nowner = \"olga\"\nkeys = ['{key}']\n"
        ));
        let answer = ada.propose("bundle-apply", json!({ "files": files })).await;
        answer.refused(why, 422, "bundle_refused");
        assert!(answer.text("title").contains(why), "{answer:?}");
    }
}
