//! ID tokens that are believed, and every kind that is not; names that stand for somebody.

use std::collections::BTreeMap;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use countersign_core::{
    id::{CredentialId, ProviderId},
    time::{Span, Timestamp},
};
use countersign_policy::{Provider, target::exec::CredentialSource};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode as sign, jwk::JwkSet};
use serde_json::{Map, Value, json};

use super::{
    Providers, Purpose, Return, SEPARATOR, SignInError, TO_LINK,
    claims::{self, Refused},
    discovery::Metadata,
    encode,
    id_token::{self, Expected},
    is_to_link,
};
use crate::identity::signed;

const ISSUER: &str = "https://login.example.com";
const CLIENT: &str = "countersign";
const NONCE: &str = "of-this-sign-in";

/// A provider with an EC key and an Ed25519 key.
struct Signer {
    ec: EncodingKey,
    ed: EncodingKey,
    ec_public: Vec<u8>,
    ed_public: Vec<u8>,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref()).unwrap();
        let ed_pair = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
        Self {
            ec: EncodingKey::from_ec_der(ec.as_ref()),
            ed: EncodingKey::from_ed_der(ed.as_ref()),
            ec_public: pair.public_key().as_ref().to_vec(),
            ed_public: ed_pair.public_key().as_ref().to_vec(),
        }
    }

    fn ec_key(&self, more: Value) -> Value {
        let (x, y) = self.ec_public[1..].split_at(32);
        let mut key = json!({
            "kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(x), "y": encode(y),
        });
        let more = more.as_object().unwrap().clone();
        key.as_object_mut().unwrap().extend(more);
        key
    }

    fn keys(&self) -> JwkSet {
        let ed =
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(&self.ed_public) });
        set(&[self.ec_key(json!({})), ed])
    }
}

fn set(keys: &[Value]) -> JwkSet {
    serde_json::from_value(json!({ "keys": keys })).unwrap()
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims_with(more: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "248", "nonce": NONCE,
        "iat": now(), "exp": now() + 300, "email": "ann@example.com", "email_verified": true,
    });
    let fields = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(Into::into);
    header
}

fn verify(token: &str, keys: &JwkSet) -> Result<Map<String, Value>, String> {
    let expected = Expected {
        issuer: ISSUER,
        client: CLIENT,
        nonce: NONCE,
    };
    id_token::verify(token, keys, &expected).map_err(|error| format!("{error:#}"))
}

#[test]
fn claims_that_are_not_ours_are_refused() {
    let signer = Signer::new();
    let (keys, now) = (signer.keys(), now());
    for (more, refused) in [
        (json!({}), ""),
        (json!({ "aud": [CLIENT] }), ""),
        (json!({ "aud": [CLIENT, "other"], "azp": CLIENT }), ""),
        (json!({ "azp": CLIENT }), ""),
        (json!({ "exp": now - 30 }), ""),
        (json!({ "iat": now + 30, "nbf": now + 30 }), ""),
        (
            json!({ "iss": "https://evil.example.com" }),
            "InvalidIssuer",
        ),
        (json!({ "iss": format!("{ISSUER}/") }), "InvalidIssuer"),
        (
            json!({ "iss": [ISSUER, "https://evil.example.com"] }),
            "another issuer",
        ),
        (json!({ "iss": null }), "iss"),
        (json!({ "aud": "other" }), "InvalidAudience"),
        (json!({ "aud": ["other"] }), "InvalidAudience"),
        (json!({ "aud": [] }), "InvalidAudience"),
        (json!({ "aud": null }), "aud"),
        (json!({ "aud": [CLIENT, "other"] }), "for several"),
        (
            json!({ "aud": [CLIENT, "other"], "azp": "other" }),
            "another client",
        ),
        (json!({ "azp": "other" }), "another client"),
        (json!({ "nonce": "of-another" }), "not for this sign-in"),
        (json!({ "nonce": null }), "not for this sign-in"),
        (json!({ "nonce": [NONCE] }), "not for this sign-in"),
        (json!({ "exp": now - 90 }), "ExpiredSignature"),
        (json!({ "exp": null }), "exp"),
        (json!({ "exp": "soon" }), "exp"),
        (json!({ "nbf": now + 300 }), "ImmatureSignature"),
        (json!({ "iat": now + 300 }), "in the future"),
        (json!({ "iat": null }), "when it was made"),
        (json!({ "iat": "now" }), "when it was made"),
        (json!({ "sub": null }), "sub"),
        (json!({ "sub": "" }), "names no account"),
        (json!({ "sub": 248 }), "sub"),
        (json!({ "sub": "x".repeat(256) }), "names no account"),
    ] {
        let claims = claims_with(more);
        let token = sign(&header(Algorithm::ES256, Some("ec")), &claims, &signer.ec).unwrap();
        let said = verify(&token, &keys);
        match refused {
            "" => assert_eq!(said.unwrap()["email"], "ann@example.com", "{claims}"),
            part => {
                let said = said.expect_err(&claims.to_string());
                let fits = said
                    .to_lowercase()
                    .replace(' ', "")
                    .contains(&part.to_lowercase().replace(' ', ""));
                assert!(fits, "{claims}: {said}");
                assert!(!said.contains("ann@example.com"), "{said}");
            }
        }
    }
}

#[test]
fn signatures_that_a_provider_did_not_make_are_refused() {
    let signer = Signer::new();
    let (keys, claims) = (signer.keys(), claims_with(json!({})));
    let ec = |kid| sign(&header(Algorithm::ES256, kid), &claims, &signer.ec).unwrap();
    let ed = sign(&header(Algorithm::EdDSA, Some("ed")), &claims, &signer.ed).unwrap();
    let good = ec(Some("ec"));
    for token in [&good, &ed, &ec(None)] {
        verify(token, &keys).unwrap();
    }
    let other = Signer::new();
    let forged = sign(&header(Algorithm::ES256, Some("ec")), &claims, &other.ec).unwrap();
    let crossed = sign(&header(Algorithm::EdDSA, Some("ec")), &claims, &signer.ed).unwrap();
    let public = EncodingKey::from_secret(&signer.ec_public);
    let shared = sign(&header(Algorithm::HS256, Some("ec")), &claims, &public).unwrap();
    let client = EncodingKey::from_secret(b"client secret");
    let shared_secret = sign(&header(Algorithm::HS256, None), &claims, &client).unwrap();
    let mut extended = header(Algorithm::ES256, Some("ec"));
    extended.crit = Some(vec!["b64".into()]);
    let extended = sign(&extended, &claims, &signer.ec).unwrap();
    let payload = good.split('.').nth(1).unwrap();
    let none = |algorithm: &str| {
        let head = json!({ "alg": algorithm, "kid": "ec" }).to_string();
        format!("{}.{payload}.", encode(head.as_bytes()))
    };
    let own_key = json!({ "alg": "ES256", "jwk": other.ec_key(json!({})), "jku": "https://evil.example.com" });
    let signature = forged.rsplit('.').next().unwrap();
    let embedded = format!(
        "{}.{payload}.{signature}",
        encode(own_key.to_string().as_bytes())
    );
    let (head, _) = good.split_once('.').unwrap();
    let other_claims = claims_with(json!({ "email": "olga@example.com" })).to_string();
    let changed = format!(
        "{head}.{}.{}",
        encode(other_claims.as_bytes()),
        good.rsplit('.').next().unwrap()
    );
    for (what, token) in [
        ("another key", forged),
        ("the other key's kind", crossed),
        ("the public key as a secret", shared),
        ("a shared secret", shared_secret),
        ("an extension", extended),
        ("none", none("none")),
        ("None", none("None")),
        ("no algorithm", none("")),
        ("a key of its own", embedded),
        ("changed", changed),
        ("an unknown key", ec(Some("gone"))),
        ("cut", good[..good.len() - 4].to_owned()),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{good}.x")),
        ("nothing", String::new()),
        ("too long", format!("{good}{}", "A".repeat(70_000))),
    ] {
        assert!(verify(&token, &keys).is_err(), "{what}");
    }
}

#[test]
fn a_key_is_used_for_what_it_is_for() {
    let signer = Signer::new();
    let claims = claims_with(json!({}));
    let token = sign(&header(Algorithm::ES256, Some("ec")), &claims, &signer.ec).unwrap();
    let unnamed = sign(&header(Algorithm::ES256, None), &claims, &signer.ec).unwrap();
    for (more, good) in [
        (
            json!({ "use": "sig", "alg": "ES256", "key_ops": ["verify"] }),
            true,
        ),
        (json!({ "use": "enc" }), false),
        (json!({ "alg": "ES384" }), false),
        (json!({ "alg": "ECDH-ES" }), false),
        (json!({ "key_ops": ["deriveKey"] }), false),
        (json!({ "kid": "other" }), false),
        (json!({ "crv": "P-384" }), false),
        (json!({ "x": "AAAA" }), false),
    ] {
        let keys = set(&[signer.ec_key(more.clone())]);
        assert_eq!(verify(&token, &keys).is_ok(), good, "{more}");
    }
    // Which of two is not for us to guess.
    let twice = set(&[
        signer.ec_key(json!({})),
        Signer::new().ec_key(json!({ "kid": "b" })),
    ]);
    verify(&token, &twice).unwrap();
    assert!(verify(&unnamed, &twice).is_err());
    let same_name = set(&[signer.ec_key(json!({})), Signer::new().ec_key(json!({}))]);
    assert!(verify(&token, &same_name).is_err());
    assert!(verify(&token, &set(&[])).is_err());
    assert!(signed::names_one_of(&token, &twice));
    assert!(!signed::names_one_of(&token, &set(&[])));
}

fn provider() -> Provider {
    Provider {
        title: "Corp".into(),
        issuer: ISSUER.into(),
        client_id: CLIENT.into(),
        client_secret: CredentialSource::Env("SECRET".into()),
        ca: None,
        scopes: Vec::new(),
        creates_people: true,
        person_claim: "email".into(),
        groups_claim: "groups".into(),
        groups: BTreeMap::from([
            ("admins".to_owned(), "dba".parse().unwrap()),
            ("Everybody".to_owned(), "staff".parse().unwrap()),
        ]),
        require: BTreeMap::from([("tenant".to_owned(), "t-1".to_owned())]),
        session: Span::minutes(60),
        scim: None,
        links: None,
    }
}

#[test]
fn names_stand_for_one_person() {
    let base = json!({ "sub": "248", "tenant": "t-1", "email_verified": true });
    let vouched = |more: Value, provider: &Provider| {
        let mut told = base.as_object().unwrap().clone();
        told.extend(more.as_object().unwrap().clone());
        claims::vouched(&told, provider).map(|vouched| {
            let groups: Vec<_> = vouched.groups.into_keys().map(String::from).collect();
            (vouched.person.to_string(), groups.join(" "))
        })
    };
    let provider = provider();
    let ok = |person: &str, groups: &str| Ok((person.to_owned(), groups.to_owned()));
    let ann = "ann@example.com";
    for (more, expected) in [
        (json!({ "email": "Ann@Example.COM" }), ok(ann, "")),
        (
            json!({ "email": ann, "groups": ["admins", "Everybody", "admins", 7] }),
            ok(ann, "dba staff"),
        ),
        (json!({ "email": ann, "groups": "admins" }), ok(ann, "dba")),
        (
            json!({ "email": ann, "groups": ["dba", "ADMINS", "admins "] }),
            ok(ann, ""),
        ),
        (
            json!({ "email": ann, "groups": { "admins": true } }),
            ok(ann, ""),
        ),
        (
            json!({ "email": ann, "email_verified": false }),
            Err(Refused::NotVerified("Corp".into())),
        ),
        (
            json!({ "email": ann, "email_verified": "true" }),
            Err(Refused::NotVerified("Corp".into())),
        ),
        (
            json!({ "email": "\u{430}nn@example.com" }),
            Err(Refused::NoPlainName("Corp".into())),
        ),
        (
            json!({ "email": "ann@example.com " }),
            Err(Refused::NoPlainName("Corp".into())),
        ),
        (
            json!({ "email": "" }),
            Err(Refused::NoPlainName("Corp".into())),
        ),
    ] {
        assert_eq!(vouched(more.clone(), &provider), expected, "{more}");
    }
    for more in [
        json!({}),
        json!({ "email": [ann] }),
        json!({ "email": null }),
    ] {
        let refused = vouched(more, &provider).unwrap_err();
        assert!(matches!(refused, Refused::NoName { .. }), "{refused}");
    }
    for tenant in [json!("t-2"), json!("T-1"), json!(["t-1"]), Value::Null] {
        let more = json!({ "email": ann, "tenant": tenant });
        let refused = vouched(more, &provider).unwrap_err();
        assert!(matches!(refused, Refused::NotMeant { .. }), "{refused}");
    }
    // Another claim needs no verified address.
    let other = Provider {
        person_claim: "upn".into(),
        ..provider
    };
    let more = json!({ "upn": "Ann", "email_verified": false });
    assert_eq!(vouched(more, &other), ok("ann", ""));
}

#[test]
fn user_info_adds_and_never_changes() {
    let told = || claims_with(json!({})).as_object().unwrap().clone();
    let more = |value: Value| value.as_object().unwrap().clone();
    let mut found = told();
    let beside = more(json!({ "sub": "248", "email": "olga@example.com", "groups": ["admins"] }));
    id_token::complete(&mut found, beside).unwrap();
    assert_eq!(found["email"], "ann@example.com");
    assert_eq!(found["groups"], json!(["admins"]));
    for other in [json!({ "sub": "249" }), json!({ "groups": ["admins"] })] {
        let mut found = told();
        assert!(id_token::complete(&mut found, more(other)).is_err());
        assert_eq!(found, told());
    }
    id_token::complete(&mut found, Map::new()).unwrap();
}

#[test]
fn an_address_was_verified_by_whoever_names_it() {
    let both = |token: Value, beside: Value| {
        let mut told = claims_with(json!({ "email": null, "email_verified": null }));
        let told = told.as_object_mut().unwrap();
        told.extend(token.as_object().unwrap().clone());
        let mut more = beside.as_object().unwrap().clone();
        more.insert("sub".into(), json!("248"));
        id_token::complete(told, more).unwrap();
        (told["email"].clone(), told.get("email_verified").cloned())
    };
    let (ann, eve) = ("ann@example.com", "eve@example.com");
    let yes = || Some(json!(true));
    let beside = json!({ "email": eve, "email_verified": true });
    assert_eq!(
        both(json!({ "email": ann }), beside.clone()),
        (json!(ann), None)
    );
    assert_eq!(
        both(json!({ "email": eve }), beside.clone()),
        (json!(eve), yes())
    );
    assert_eq!(both(json!({}), beside), (json!(eve), yes()));
    let unverified = json!({ "email": eve });
    assert_eq!(
        both(json!({ "email_verified": true }), unverified),
        (json!(eve), None)
    );
}

#[test]
fn a_discovery_document_is_the_issuers_own() {
    let document = |more: Value| {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example.com/auth",
            "token_endpoint": "https://login.example.com/token",
            "jwks_uri": "https://login.example.com/keys",
        });
        let more = more.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(more);
        Metadata::read(document.to_string().as_bytes(), ISSUER)
    };
    let found = document(json!({})).unwrap();
    assert!(!found.proves_in_form());
    found.check_issuer("").unwrap();
    found.check_issuer(ISSUER).unwrap();
    found.check_issuer("https://evil.example.com").unwrap_err();
    let says = json!({ "authorization_response_iss_parameter_supported": true });
    document(says).unwrap().check_issuer("").unwrap_err();
    for (ways, in_form) in [
        (json!(["client_secret_post"]), true),
        (json!(["client_secret_post", "client_secret_basic"]), false),
        (json!(["private_key_jwt"]), false),
    ] {
        let found = document(json!({ "token_endpoint_auth_methods_supported": ways })).unwrap();
        assert_eq!(found.proves_in_form(), in_form, "{ways}");
    }
    for other in [
        json!({ "issuer": "https://evil.example.com" }),
        json!({ "issuer": "https://login.example.com/" }),
        json!({ "token_endpoint": "http://login.example.com/token" }),
        json!({ "jwks_uri": "http://login.example.com/keys" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "userinfo_endpoint": "http://login.example.com/me" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "end_session_endpoint": "javascript:alert(1)" }),
        json!({ "token_endpoint": null }),
    ] {
        assert!(document(other.clone()).is_err(), "{other}");
    }
}

/// What a browser brings back that left for this.
fn answer(
    providers: &Providers,
    wants: Purpose<'_>,
    which: (&ProviderId, &Provider),
) -> [String; 2] {
    let text = wants.text(which).unwrap();
    let made = providers.challenges.make(&text, Timestamp(1_000)).unwrap();
    let state = providers.challenges.derived(&made, "state");
    [format!("{made}{SEPARATOR}{}", wants.kept()), state]
}

#[tokio::test]
async fn an_answer_is_one_to_what_was_left_for_in_the_session_that_left() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let providers = Providers::new(folder.path().into()).unwrap();
    let provider = Provider {
        // Nobody answers there, which is met after everything that is tried here.
        issuer: "http://127.0.0.1:1".into(),
        ..provider()
    };
    let (id, other) = ("partner".parse().unwrap(), "other".parse().unwrap());
    let [mine, theirs] = [1, 2].map(CredentialId::from_bits);
    let stale = async |wants, took: Purpose<'_>, from: &ProviderId| {
        let [kept, state] = answer(&providers, wants, (&id, &provider));
        let brought = Return {
            kept: &kept,
            state: &state,
            code: "c",
            ..Return::default()
        };
        let which = (from, &provider);
        let now = Timestamp(2_000);
        let result = match took {
            Purpose::SignIn(_) => {
                let plain = providers
                    .take_back(which, "b", &brought, now)
                    .await
                    .map(drop);
                let linked = providers
                    .take_linked(which, "b", &brought, now)
                    .await
                    .map(drop);
                // It is good once.
                assert!(matches!(linked, Err(SignInError::Stale(_))));
                plain
            }
            Purpose::Link(session) => {
                let back = ("b", session);
                let first = providers
                    .take_to_link(which, back, &brought, now)
                    .await
                    .map(drop);
                let again = providers.take_to_link(which, back, &brought, now).await;
                assert!(matches!(again, Err(SignInError::Stale(_))));
                first
            }
        };
        matches!(result.unwrap_err(), SignInError::Stale(_))
    };
    let (link, sign_in) = (Purpose::Link(&mine), Purpose::SignIn("/inbox"));
    assert!(!stale(link, link, &id).await && !stale(sign_in, sign_in, &id).await);
    assert!(stale(link, Purpose::Link(&theirs), &id).await);
    assert!(stale(link, sign_in, &id).await && stale(sign_in, link, &id).await);
    assert!(stale(link, link, &other).await && stale(sign_in, sign_in, &other).await);
    // What the browser keeps says nothing that is believed.
    let [kept, state] = answer(&providers, sign_in, (&id, &provider));
    let (made, _) = kept.split_once(SEPARATOR).unwrap();
    let forged = format!("{made}{SEPARATOR}{SEPARATOR}{TO_LINK}");
    assert!(is_to_link(&forged) && !is_to_link(&kept) && !is_to_link(""));
    let brought = Return {
        kept: &forged,
        state: &state,
        code: "c",
        ..Return::default()
    };
    let forged = providers.take_to_link((&id, &provider), ("b", &mine), &brought, Timestamp(2_000));
    assert!(matches!(forged.await, Err(SignInError::Stale(_))));
}

#[test]
fn a_linked_account_is_what_the_provider_identifies_and_never_its_name() {
    let provider = provider();
    let told = |more: Value| {
        let told = claims_with(more);
        claims::account(told.as_object().unwrap(), &provider)
    };
    let of = |called: &str| Ok(("248".to_owned(), called.to_owned()));
    let meant = |more: Value| {
        let mut all = json!({ "tenant": "t-1" });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        told(all)
    };
    assert_eq!(meant(json!({})), of("ann@example.com"));
    assert_eq!(
        meant(json!({ "email": "\u{430}nn@example.com", "email_verified": false })),
        of("\u{430}nn@example.com")
    );
    assert_eq!(meant(json!({ "email": null })), of(""));
    assert_eq!(
        meant(json!({ "email": "x".repeat(900) })),
        of(&"x".repeat(200))
    );
    assert!(matches!(
        told(json!({ "tenant": "t-2" })),
        Err(Refused::NotMeant { .. })
    ));
}
