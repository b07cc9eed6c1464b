//! Tokens that are bound to a key, and proofs of it.

use serde_json::{Value, json};

use super::{EXCHANGE, JWT, Shop, Signer, encode, now, refused, with};
use crate::support::{Answer, Caller, client};

/// What a proof says.
fn proof_of(method: &str, address: &str, token: Option<&str>, more: Value) -> Value {
    let jti = format!("{:?}", std::time::Instant::now());
    let ath = token.map(|token| encode(&countersign_core::canonical::Hash::of(token.as_bytes()).0));
    let claims = json!({
        "htm": method, "htu": address, "iat": now(), "jti": encode(jti.as_bytes()), "ath": ath,
    });
    with(with(claims, json!({ "ath": ath })), more)
}

/// A key for proofs, and the nonce that a gateway which has just started wants in them.
struct Key {
    signer: Signer,
    nonce: Option<String>,
}

impl Key {
    /// One that knows what the gateway wants.
    async fn of(shop: &Shop) -> Self {
        let mut key = Self {
            signer: Signer::new("dpop"),
            nonce: None,
        };
        let here = format!("{}/oauth/token", shop.lab.url);
        let proof = prove(&key, &proof_of("POST", &here, None, json!({})), json!({}));
        let (answer, nonce) = shop.exchange_for_nonce(&proof).await;
        refused(
            "no nonce",
            &answer,
            400,
            "use_dpop_nonce",
            "has just started",
        );
        key.nonce = nonce;
        key
    }

    /// Another key with the same nonce.
    fn other(&self) -> Self {
        Self {
            signer: Signer::new("dpop"),
            nonce: self.nonce.clone(),
        }
    }
}

fn prove(key: &Key, claims: &Value, more: Value) -> String {
    let head = with(
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.signer.jwk() }),
        more,
    );
    let claims = with(json!({ "nonce": key.nonce }), claims.clone());
    key.signer.sign_text(&head.to_string(), &claims.to_string())
}

impl Shop {
    /// An answer, and the nonce that it asks for.
    async fn exchange_for_nonce(&self, proof: &str) -> (Answer, Option<String>) {
        let token = self.job_token();
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", JWT),
        ];
        let request = client()
            .post(format!("{}/oauth/token", self.lab.url))
            .form(&form)
            .header("dpop", proof);
        let response = request.send().await.unwrap();
        let nonce = response.headers().get("dpop-nonce");
        let nonce = nonce.map(|nonce| nonce.to_str().unwrap().to_owned());
        (Answer::of(response).await, nonce)
    }

    async fn exchange_bound(&self, key: &Key) -> Answer {
        let here = format!("{}/oauth/token", self.lab.url);
        let proof = prove(key, &proof_of("POST", &here, None, json!({})), json!({}));
        self.exchange_with(&[("dpop", &proof)]).await
    }

    async fn exchange_with(&self, headers: &[(&str, &str)]) -> Answer {
        let token = self.job_token();
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", JWT),
        ];
        self.ask_with(&form, headers).await
    }
}

async fn get(caller: &Caller, path: &str, scheme: &str, proofs: &[&str]) -> Answer {
    let mut request = client().get(format!("{}{path}", caller.url));
    request = request.header("authorization", format!("{scheme} {}", caller.secret));
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    let response = request.send().await.unwrap();
    if response.status() == 401 {
        let all: Vec<_> = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .collect();
        assert!(
            all.iter()
                .any(|one| one.to_str().unwrap().starts_with("DPoP ")),
            "{all:?}"
        );
    }
    Answer::of(response).await
}

#[tokio::test]
async fn a_bound_token_counts_with_a_proof_only() {
    let shop = Shop::new().await;
    let key = Key::of(&shop).await;
    let given = shop.exchange_bound(&key).await.expect(200);
    assert_eq!(given.text("token_type"), "DPoP");
    let bot = shop.caller_of(&given);
    let path = "/v1/whoami";
    let address = format!("{}{path}", bot.url);
    let good = |more| proof_of("GET", &address, Some(&bot.secret), more);
    let sign = |more| prove(&key, &good(more), json!({}));
    let first = sign(json!({}));
    let who = get(&bot, path, "DPoP", &[&first]).await.expect(200);
    assert_eq!(who.text("subject"), "agent:shop");
    let said = |answer: &Answer| (answer.status, answer.kind());
    let no = (401, "invalid_dpop_proof".to_owned());
    assert_eq!(
        said(&get(&bot, path, "DPoP", &[&first]).await),
        no,
        "a replay"
    );
    assert_eq!(said(&get(&bot, path, "Bearer", &[]).await), no, "a bearer");
    assert_eq!(
        said(&get(&bot, path, "Bearer", &[&sign(json!({}))]).await),
        no,
        "a bearer with a proof"
    );
    assert_eq!(said(&get(&bot, path, "DPoP", &[]).await), no, "no proof");
    let two = (sign(json!({})), sign(json!({})));
    assert_eq!(
        said(&get(&bot, path, "DPoP", &[&two.0, &two.1]).await),
        no,
        "two proofs"
    );
    for (what, more) in [
        ("a query", json!({ "htu": format!("{address}?x=1#y") })),
        (
            "a host in capitals",
            json!({ "htu": address.replacen("http", "HTTP", 1) }),
        ),
        ("a moment ago", json!({ "iat": now() - 50 })),
        ("a clock that is ahead", json!({ "iat": now() + 3 })),
    ] {
        let answer = get(&bot, path, "DPoP", &[&sign(more)]).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }
    for (what, more) in [
        ("another method", json!({ "htm": "POST" })),
        ("a method in small letters", json!({ "htm": "get" })),
        ("no method", json!({ "htm": null })),
        (
            "another address",
            json!({ "htu": format!("{}/v1/requests", bot.url) }),
        ),
        (
            "another host",
            json!({ "htu": format!("https://evil.example{path}") }),
        ),
        (
            "TLS",
            json!({ "htu": address.replacen("http:", "https:", 1) }),
        ),
        (
            "a user",
            json!({ "htu": address.replacen("//", "//x@", 1) }),
        ),
        ("no address", json!({ "htu": null })),
        ("old", json!({ "iat": now() - 61 })),
        ("in the future", json!({ "iat": now() + 60 })),
        ("far in the future", json!({ "iat": 1e18 })),
        ("no time", json!({ "iat": null })),
        ("no token", json!({ "ath": null })),
        ("another token", json!({ "ath": encode(&[7; 32]) })),
        ("no name", json!({ "jti": null })),
        ("an endless name", json!({ "jti": "x".repeat(300) })),
    ] {
        assert_eq!(
            said(&get(&bot, path, "DPoP", &[&sign(more)]).await),
            no,
            "{what}"
        );
    }
    for (what, more) in [
        ("an empty nonce", json!({ "nonce": "" })),
        ("another nonce", json!({ "nonce": encode(&[7; 16]) })),
        ("no text", json!({ "nonce": 7 })),
        (
            "a clock that is ahead",
            json!({ "nonce": "", "iat": now() + 3 }),
        ),
    ] {
        let answer = get(&bot, path, "DPoP", &[&sign(more)]).await;
        assert_eq!(said(&answer), (401, "use_dpop_nonce".to_owned()), "{what}");
    }
    let other = key.other();
    let claims = || good(json!({}));
    let with_private = with(key.signer.jwk(), json!({ "d": encode(&[1; 32]) }));
    let hmac = {
        let head =
            json!({ "typ": "dpop+jwt", "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } });
        key.signer
            .sign_text(&head.to_string(), &claims().to_string())
    };
    for (what, proof) in [
        ("another key", prove(&other, &claims(), json!({}))),
        (
            "another's key, our signature",
            prove(&key, &claims(), json!({ "jwk": other.signer.jwk() })),
        ),
        (
            "our key, another's signature",
            prove(&other, &claims(), json!({ "jwk": key.signer.jwk() })),
        ),
        (
            "a private key",
            prove(&key, &claims(), json!({ "jwk": with_private })),
        ),
        ("no key", prove(&key, &claims(), json!({ "jwk": null }))),
        (
            "another type",
            prove(&key, &claims(), json!({ "typ": "JWT" })),
        ),
        ("no type", prove(&key, &claims(), json!({ "typ": null }))),
        (
            "an extension",
            prove(&key, &claims(), json!({ "crit": ["x"] })),
        ),
        (
            "another algorithm",
            prove(&key, &claims(), json!({ "alg": "ES384" })),
        ),
        ("a shared secret", hmac),
        (
            "none",
            format!(
                "{}.{}.",
                encode(b"{\"alg\":\"none\",\"typ\":\"dpop+jwt\"}"),
                encode(b"{}")
            ),
        ),
        ("nothing", String::new()),
        ("the job's token", shop.job_token()),
    ] {
        assert_eq!(
            said(&get(&bot, path, "DPoP", &[&proof]).await),
            no,
            "{what}"
        );
    }
    // A proof for one request is none for another, and ways that change need one as well.
    let body = json!({ "to": "agent:signer" });
    let changed = bot.post("/v1/delegations", &body).await;
    assert_eq!(said(&changed), no);
    // What is bound to nothing takes no proof.
    let plain = shop.bot().await;
    let proof = proof_of("GET", &address, Some(&plain.secret), json!({}));
    let proof = prove(&key, &proof, json!({}));
    assert_eq!(said(&get(&plain, path, "DPoP", &[&proof]).await), no);
}

#[tokio::test]
async fn a_machine_can_be_made_to_bind_its_tokens() {
    let shop = Shop::new().await;
    let (key, plain) = (Key::of(&shop).await, shop.bot().await);
    let bound = shop.caller_of(&shop.exchange_bound(&key).await);
    let here = format!("{}/oauth/token", shop.lab.url);
    for (what, proof) in [
        ("nothing", String::new()),
        (
            "for another address",
            prove(
                &key,
                &proof_of("POST", &shop.lab.url, None, json!({})),
                json!({}),
            ),
        ),
        (
            "for a token",
            prove(
                &key,
                &proof_of("POST", &here, Some("x"), json!({})),
                json!({}),
            ),
        ),
        (
            "an assertion",
            shop.own.sign(&shop.assertion("agent:signer", json!({}))),
        ),
    ] {
        let answer = shop.exchange_with(&[("dpop", &proof)]).await;
        refused(what, &answer, 400, "invalid_dpop_proof", "");
    }
    let once = prove(&key, &proof_of("POST", &here, None, json!({})), json!({}));
    shop.exchange_with(&[("dpop", &once)]).await.expect(200);
    let again = shop.exchange_with(&[("dpop", &once)]).await;
    refused("again", &again, 400, "invalid_dpop_proof", "used before");
    shop.lab
        .apply(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            *config = config.replacen("[agent.shop]\n", "[agent.shop]\nrequire_dpop = true\n", 1);
        })
        .await;
    // What is bound goes on, what is not is over.
    assert_eq!(plain.get("/v1/whoami").await.status, 401);
    let address = format!("{}/v1/whoami", bound.url);
    let proof = proof_of("GET", &address, Some(&bound.secret), json!({}));
    let proof = prove(&key, &proof, json!({}));
    get(&bound, "/v1/whoami", "DPoP", &[&proof])
        .await
        .expect(200);
    let answer = shop.exchange_with(&[]).await;
    refused(
        "without a key",
        &answer,
        400,
        "invalid_dpop_proof",
        "bound to a key",
    );
    shop.exchange_bound(&key).await.expect(200);
    let ada = shop.lab.session("ada").await;
    let issued = ada.propose("agent-token", json!({ "agent": "shop" })).await;
    issued.refused("a token of its own", 422, "invalid_proposal");
}

/// A gateway that has just started can't know what was used before.
#[tokio::test]
async fn a_used_proof_does_not_count_after_a_restart() {
    let shop = Shop::new().await;
    let key = Key::of(&shop).await;
    // Of a clock that is ahead, so that it says it was made after the restart.
    let made = json!({ "iat": now() + 4, "jti": "once" });
    let proof = |shop: &Shop| {
        let here = format!("{}/oauth/token", shop.lab.url);
        let claims = proof_of("POST", &here, None, made.clone());
        prove(&key, &claims, json!({}))
    };
    let given = shop.exchange_with(&[("dpop", &proof(&shop))]).await;
    given.expect(200);
    // The address is another one then, and the proof is the same but for that.
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    let (again, nonce) = shop.exchange_for_nonce(&proof(&shop)).await;
    refused("again", &again, 400, "use_dpop_nonce", "has just started");
    assert_ne!(nonce, key.nonce, "each start has its own");
    let key = Key { nonce, ..key };
    shop.exchange_bound(&key).await.expect(200);
}

/// After the first seconds, what was made since can't be of before.
#[tokio::test]
async fn nonces_are_not_asked_for_later() {
    let shop = Shop::new().await;
    let mut key = Key::of(&shop).await;
    tokio::time::sleep(std::time::Duration::from_millis(6_100)).await;
    for nonce in [None, Some("of before".into())] {
        key.nonce = nonce;
        shop.exchange_bound(&key).await.expect(200);
    }
}
