//! Passkeys: enrolling, signing in and signing votes with an authenticator made of keys, and every
//! way around them.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{id::RequestId, request::Phase, subject::SubjectId};
use countersign_evidence::body::{Body, CredentialKind};
use serde_json::{Value, json};

use super::{Answer, OLGA, POLICIES, SAM, Site, UMA, form};
use crate::{api::types::RunEvent, engine::Input, identity::passkey::Signed};

pub(super) const KIM: &str = "kim@example.com";
const ORIGIN: &str = "https://gate.example.com";

pub(super) const APPROVALS: &str = r#"
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
assurance = "passkey"

[approval.admin]
stages = [{ from = ["group:admins"], count = 1 }]
"#;

pub(super) const ADDING: &str = r#"
@id("people-add-passkeys")
permit (principal is Person, action == Action::"countersign:passkey-add", resource);

@id("passkeys-are-signed") @approval("admin")
forbid (principal, action == Action::"countersign:passkey-add", resource);
"#;

/// An authenticator with one passkey.
pub(super) struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 16],
    flags: u8,
    counter: u32,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    pub(super) fn new(id: u8) -> Self {
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            id: [id; 16],
            flags: 0x05,
            counter: 0,
        }
    }

    fn client_data(kind: &str, options: &Value, origin: &str) -> Vec<u8> {
        let challenge = options["challenge"].as_str().unwrap();
        format!(
            r#"{{"type":"webauthn.{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        )
        .into_bytes()
    }

    fn data(&self, site: &str, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, site.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend_from_slice(&self.counter.to_be_bytes());
        data
    }

    /// The fields of the form that adds this passkey.
    fn make(&self, options: &Value) -> Vec<(&'static str, String)> {
        let site = options["site"].as_str().unwrap();
        let mut data = self.data(site, self.flags | 0x40);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&16_u16.to_be_bytes());
        data.extend_from_slice(&self.id);
        let point = self.key.public_key().as_ref();
        data.extend_from_slice(&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]);
        data.extend_from_slice(&point[1..33]);
        data.extend_from_slice(&[0x22, 0x58, 32]);
        data.extend_from_slice(&point[33..]);
        let client = Self::client_data("create", options, ORIGIN);
        let token = options["token"].as_str().unwrap().to_owned();
        vec![
            ("passkey_challenge", token),
            ("passkey_client_data", encode(&client)),
            ("passkey_authenticator_data", encode(&data)),
        ]
    }

    pub(super) fn sign(&mut self, options: &Value) -> Signed {
        self.sign_at(options, ORIGIN)
    }

    fn sign_at(&mut self, options: &Value, origin: &str) -> Signed {
        if self.counter > 0 {
            self.counter += 1;
        }
        let client = Self::client_data("get", options, origin);
        let data = self.data(options["site"].as_str().unwrap(), self.flags);
        let message = [&data[..], digest(&SHA256, &client).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        Signed {
            challenge: options["token"].as_str().unwrap().into(),
            passkey: encode(&self.id),
            client_data: encode(&client),
            authenticator_data: encode(&data),
            signature: encode(signature.as_ref()),
        }
    }
}

pub(super) fn fields(signed: &Signed) -> [(&'static str, &str); 5] {
    [
        ("passkey_challenge", &signed.challenge),
        ("passkey", &signed.passkey),
        ("passkey_client_data", &signed.client_data),
        ("passkey_authenticator_data", &signed.authenticator_data),
        ("passkey_signature", &signed.signature),
    ]
}

fn pairs<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let pair = |(name, value): &'a (&'static str, String)| (*name, value.as_str());
    fields.iter().map(pair).collect()
}

pub(super) async fn site() -> Site {
    Site::open_with(APPROVALS, &format!("{POLICIES}{ADDING}")).await
}

async fn options(site: &Site, session: &str) -> (Value, String) {
    let page = site.get("/passkeys", session).await;
    let csrf = page.is(200).field("csrf");
    let made = site.json("/passkeys/options", (session, &csrf), "").await;
    (serde_json::from_str(&made.is(200).text).unwrap(), csrf)
}

/// Proposes to enrol a passkey; gives the answer.
pub(super) async fn propose(site: &Site, session: &str, key: &Authenticator) -> Answer {
    let (options, csrf) = options(site, session).await;
    let made = key.make(&options);
    let mut fields = vec![("csrf", csrf.as_str()), ("label", "laptop")];
    fields.extend(pairs(&made));
    site.post("/passkeys/add", session, form(&fields)).await
}

pub(super) fn proposed(answer: &Answer) -> RequestId {
    answer.is(303);
    let path = answer.header("location").split('?').next().unwrap();
    path.strip_prefix("/requests/").unwrap().parse().unwrap()
}

/// Enrols a passkey of the session's person, countersigned by `second`.
pub(super) async fn enrol(site: &Site, session: &str, second: &str, key: &Authenticator) {
    let id = proposed(&propose(site, session, key).await);
    let path = format!("/requests/{id}");
    let page = site.get(&path, second).await;
    page.is(200).says("fingerprint");
    site.post(&format!("{path}/approve"), second, page.form(&[]))
        .await
        .is(303);
    let page = site.get(&path, session).await;
    site.post(&format!("{path}/claim"), session, page.form(&[]))
        .await
        .is(303);
}

/// What the passkey is asked to sign for an approval, and the page it is asked on.
async fn to_sign(site: &Site, session: &str, id: &RequestId, reason: &str) -> (Value, Answer) {
    let page = site.get(&format!("/requests/{id}"), session).await;
    let body = json!({
        "verdict": "approve", "reason": reason,
        "digest": page.field("digest"), "act": page.field("act"),
    });
    let csrf = page.field("csrf");
    let path = format!("/v1/requests/{id}/passkey");
    let made = site.json(&path, (session, &csrf), &body.to_string()).await;
    (serde_json::from_str(&made.is(200).text).unwrap(), page)
}

async fn approve(
    site: &Site,
    session: &str,
    id: &RequestId,
    page: &Answer,
    (reason, signed): (&str, &Signed),
) -> Answer {
    let mut more = vec![("reason", reason)];
    more.extend(fields(signed));
    site.post(
        &format!("/requests/{id}/approve"),
        session,
        page.form(&more),
    )
    .await
}

async fn claim(site: &Site, id: &RequestId) -> Result<(), String> {
    let by = SubjectId::Agent("bot".parse().unwrap());
    let claimed = site
        .gateway
        .engine
        .step(id.clone(), Input::Claim { by })
        .await;
    claimed.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_vote_is_signed_with_a_passkey_that_somebody_else_countersigned() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let id = site.held(&["true"], "now").await;
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    page.says("It takes a passkey, and you have none here yet")
        .says("<a href=\"/passkeys#add\">")
        .says("needs a passkey; sam@example.com has none that signs here");
    // Nothing says that Sam could sign as he is; the request is still among what he should see.
    for said in ["You can sign this", "id=\"waiting\""] {
        assert!(!page.text.contains(said), "{said}: {}", page.text);
    }
    let inbox = site.get("/inbox", &sam).await;
    inbox.says("It takes a passkey, and you have none here yet");
    // A session alone is not enough, whatever form is sent.
    let tried = site
        .post(&format!("{path}/approve"), &sam, page.form(&[]))
        .await;
    assert_eq!(tried.status.as_u16(), 403, "{}", tried.text);

    let mut key = Authenticator::new(1);
    enrol(&site, &sam, &olga, &key).await;
    site.get("/passkeys", &sam).await.says("laptop");
    site.get(&path, &sam)
        .await
        .says("with your passkey")
        .says("You can sign this")
        .says("id=\"waiting\"")
        .says("data-origin=\"https://gate.example.com\"");
    let (options, page) = to_sign(&site, &sam, &id, "looked").await;
    let statement: Value = serde_json::from_str(options["statement"].as_str().unwrap()).unwrap();
    assert_eq!(statement["digest"], page.field("digest"));
    let signed = key.sign(&options);
    approve(&site, &sam, &id, &page, ("looked", &signed))
        .await
        .is(303);
    let case = site.case(&id).await;
    assert!(
        matches!(case.phase, Phase::Approved { .. }),
        "{:?}",
        case.phase
    );
    let vote = &case.votes[0];
    let signature = vote.signature.as_ref().unwrap();
    assert_eq!(signature.origin, ORIGIN);
    assert_eq!(claim(&site, &id).await, Ok(()));
}

#[tokio::test]
async fn what_was_signed_is_that_vote_once_and_no_other() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let mut key = Authenticator::new(1);
    enrol(&site, &sam, &olga, &key).await;
    let (one, other) = (
        site.held(&["true"], "a").await,
        site.held(&["id"], "b").await,
    );
    let open = |id: RequestId| {
        let site = &site;
        async move { matches!(site.case(&id).await.phase, Phase::Held { .. }) }
    };
    let (options, page) = to_sign(&site, &sam, &one, "looked").await;
    let signed = key.sign(&options);
    // Another reason, another request, another origin, another key, a flag of a person missing.
    let refused = approve(&site, &sam, &one, &page, ("else", &signed)).await;
    refused.is(409);
    let (_, others) = to_sign(&site, &sam, &other, "looked").await;
    let (options, page) = to_sign(&site, &sam, &one, "looked").await;
    let signed = key.sign(&options);
    approve(&site, &sam, &other, &others, ("looked", &signed))
        .await
        .is(409);
    let (options, page_of) = to_sign(&site, &sam, &one, "looked").await;
    let signed = key.sign_at(&options, "https://gate.example.org");
    approve(&site, &sam, &one, &page_of, ("looked", &signed))
        .await
        .is(409);
    let (options, _) = to_sign(&site, &sam, &one, "looked").await;
    let mut stranger = Authenticator::new(1);
    let signed = stranger.sign(&options);
    approve(&site, &sam, &one, &page, ("looked", &signed))
        .await
        .is(409);
    let mut unknown = Authenticator::new(9);
    let (options, _) = to_sign(&site, &sam, &one, "looked").await;
    let signed = unknown.sign(&options);
    approve(&site, &sam, &one, &page, ("looked", &signed))
        .await
        .is(403);
    key.flags = 0x01;
    let (options, _) = to_sign(&site, &sam, &one, "looked").await;
    let signed = key.sign(&options);
    approve(&site, &sam, &one, &page, ("looked", &signed))
        .await
        .is(409);
    key.flags = 0x05;
    assert!(open(one.clone()).await && open(other.clone()).await);
    // It counts once: after it was taken back, the same signature is nothing.
    let (options, _) = to_sign(&site, &sam, &one, "looked").await;
    let signed = key.sign(&options);
    approve(&site, &sam, &one, &page, ("looked", &signed))
        .await
        .is(303);
    let withdraw = format!("/requests/{one}/withdraw");
    site.post(&withdraw, &sam, page.form(&[])).await.is(303);
    approve(&site, &sam, &one, &page, ("looked", &signed))
        .await
        .is(409);
    assert!(open(one).await);
}

#[tokio::test]
async fn whoever_can_countersign_needs_a_second_person_for_a_passkey() {
    // Policy permits it outright: the gateway does not.
    let alone = format!(
        "{POLICIES}{}",
        r#"@id("add") permit (principal is Person, action == Action::"countersign:passkey-add", resource);"#
    );
    let site = Site::open_with(APPROVALS, &alone).await;
    let sam = site.sign_in(SAM).await;
    let refused = propose(&site, &sam, &Authenticator::new(1)).await;
    refused.says("second person must countersign");
    site.get("/passkeys", &sam).await.says("You have none yet");
    // Somebody whom no rule names adds one alone, and may then sign in with it.
    let uma = site.sign_in(UMA).await;
    propose(&site, &uma, &Authenticator::new(2)).await.is(303);
    site.get("/passkeys", &uma).await.says("laptop");
}

#[tokio::test]
async fn a_passkey_signs_in_and_ends_with_what_it_began() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let mut key = Authenticator::new(1);
    key.counter = 1;
    enrol(&site, &sam, &olga, &key).await;
    site.get("/inbox", "").await.says("Sign in with a passkey");
    let ask = || async {
        let made = site.json("/sign-in/options", ("", ""), "").await;
        serde_json::from_str::<Value>(&made.is(200).text).unwrap()
    };
    let send = |signed: Signed| {
        let site = &site;
        async move {
            let mut more = fields(&signed).to_vec();
            more.push(("next", "//people"));
            site.post("/sign-in", "", form(&more)).await
        }
    };
    let signed = key.sign(&ask().await);
    let answer = send(signed.clone()).await;
    answer.is(303);
    assert_eq!(answer.header("location"), "/inbox");
    let cookie = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    site.get("/passkeys", &cookie).await.is(200).says(SAM);
    // The same answer again, one over another session's challenge, and a copy of the key.
    send(signed).await.is(409);
    let (adding, _) = options(&site, &sam).await;
    send(key.sign(&adding)).await.is(409);
    key.counter = 1;
    send(key.sign(&ask().await)).await.is(409);
    let mut stranger = Authenticator::new(7);
    send(stranger.sign(&ask().await)).await.is(403);

    let page = site.get("/passkeys", &sam).await;
    let (csrf, credential) = (page.field("csrf"), page.field("credential"));
    let gone = [("csrf", csrf.as_str()), ("credential", credential.as_str())];
    // Others can't remove it.
    let csrf_of_olga = site.get("/passkeys", &olga).await.field("csrf");
    let foreign = [("csrf", csrf_of_olga.as_str()), gone[1]];
    site.post("/passkeys/remove", &olga, form(&foreign))
        .await
        .is(403);
    site.get("/passkeys", &cookie).await.is(200);
    site.post("/passkeys/remove", &sam, form(&gone))
        .await
        .is(303);
    site.get("/passkeys", &cookie).await.is(401);
    key.counter = 9;
    send(key.sign(&ask().await)).await.is(403);
    site.get("/passkeys", &sam).await.says("You have none yet");
}

#[tokio::test]
async fn a_revoked_passkey_no_longer_stands_behind_its_vote() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let mut key = Authenticator::new(1);
    enrol(&site, &sam, &olga, &key).await;
    let id = site.held(&["true"], "now").await;
    let (options, page) = to_sign(&site, &sam, &id, "").await;
    let signed = key.sign(&options);
    approve(&site, &sam, &id, &page, ("", &signed))
        .await
        .is(303);
    let page = site.get("/passkeys", &sam).await;
    let (csrf, credential) = (page.field("csrf"), page.field("credential"));
    let gone = [("csrf", csrf.as_str()), ("credential", credential.as_str())];
    site.post("/passkeys/remove", &sam, form(&gone))
        .await
        .is(303);
    // The page says which passkey it was, and that it does not count any more.
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    page.says("with the passkey &#34;laptop&#34;, which was removed since")
        .says("does not count any more");
    let refused = claim(&site, &id).await.unwrap_err();
    assert!(refused.contains("was revoked"), "{refused}");
    // Refused to the agent itself, it is recorded as every refused attempt.
    let mut events = super::asking::claim(&site, &id).await;
    let Some(RunEvent::Refused { code, .. }) = events.recv().await else {
        panic!("not refused")
    };
    assert_eq!(code, "revoked_passkey");
    let refused = |body: &Body| matches!(body, Body::Refused(one) if one.code == "revoked_passkey");
    assert!(recorded(&site).iter().any(refused));
}

#[tokio::test]
async fn a_passkey_written_into_the_database_is_none() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let key = Authenticator::new(1);
    enrol(&site, &sam, &olga, &key).await;
    let store = &site.gateway.store;
    let stored = store
        .credentials(Some(&format!("person:{SAM}")))
        .await
        .unwrap();
    let real = stored
        .iter()
        .find(|one| one.kind == countersign_store::CredentialKind::Passkey)
        .unwrap();
    // Another key under another name, with everything else as it was; and the same for somebody else.
    let mut forged = real.clone();
    forged.id = countersign_core::id::CredentialId::from_bits(77);
    let mut mallory = Authenticator::new(3);
    let point = mallory.key.public_key().as_ref().to_vec();
    let cose = [
        &[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..],
        &point[1..33],
        &[0x22, 0x58, 32],
        &point[33..],
    ]
    .concat();
    forged.secret = countersign_core::canonical::Hash::of(encode(&mallory.id).as_bytes());
    forged.extra["enrolled"]["passkey"] = json!(encode(&mallory.id));
    forged.extra["enrolled"]["public_key"] = json!(encode(&cose));
    let write = countersign_store::Write::InsertCredential(Box::new(forged));
    store.commit(vec![write]).await.unwrap();
    // A session that somebody gave themselves is none either.
    let sessions = |one: &&countersign_store::StoredCredential| {
        one.kind == countersign_store::CredentialKind::Session
    };
    let mut session = stored.iter().find(sessions).unwrap().clone();
    let secret = format!("css_{}", "A".repeat(43));
    session.id = countersign_core::id::CredentialId::from_bits(78);
    session.secret = countersign_core::canonical::Hash::of(secret.as_bytes());
    let write = countersign_store::Write::InsertCredential(Box::new(session));
    store.commit(vec![write]).await.unwrap();
    let cookie = format!("__Host-countersign_session={secret}");
    site.get("/inbox", &cookie).await.is(401);
    let page = site.get("/passkeys", &sam).await;
    assert_eq!(page.text.matches("fingerprint <code>").count(), 1);
    let made = site.json("/sign-in/options", ("", ""), "").await;
    let options: Value = serde_json::from_str(&made.text).unwrap();
    let signed = mallory.sign(&options);
    site.post("/sign-in", "", form(&fields(&signed)))
        .await
        .is(403);
}

#[tokio::test]
async fn a_hand_in_the_session_is_a_hand_in_its_passkey() {
    let site = site().await;
    // Olga owns the agent. She made the link of the session in which Kim's passkey was made.
    let kim = site.sign_in_by(KIM, Some(OLGA)).await;
    let sam = site.sign_in(SAM).await;
    let mut key = Authenticator::new(1);
    enrol(&site, &kim, &sam, &key).await;
    let made = site.json("/sign-in/options", ("", ""), "").await;
    let options: Value = serde_json::from_str(&made.text).unwrap();
    let signed = key.sign(&options);
    let answer = site.post("/sign-in", "", form(&fields(&signed))).await;
    let session = answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let id = site.held(&["true"], "now").await;
    site.get(&format!("/requests/{id}"), &session)
        .await
        .says("had a hand in the link you signed in with");
    // Not even from a session of her own making does it sign what Olga's agent asks.
    let clean = site.sign_in(KIM).await;
    let (options, page) = to_sign(&site, &clean, &id, "").await;
    let signed = key.sign(&options);
    let refused = approve(&site, &clean, &id, &page, ("", &signed)).await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.text);
}

#[tokio::test]
async fn what_makes_a_passkey_is_made_for_one_session() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let key = Authenticator::new(1);
    let (of_olga, _) = options(&site, &olga).await;
    let (_, csrf) = options(&site, &sam).await;
    let made = key.make(&of_olga);
    let mut fields = vec![("csrf", csrf.as_str()), ("label", "laptop")];
    fields.extend(pairs(&made));
    site.post("/passkeys/add", &sam, form(&fields))
        .await
        .is(409);
    // Neither without the session's own token, nor by a proposal of a token.
    site.json("/passkeys/options", (&sam, "x"), "")
        .await
        .is(403);
    let (mine, csrf) = options(&site, &sam).await;
    let body = json!({ "operation": "passkey-add", "arguments": mine });
    let tried = site
        .json("/v1/proposals", (&sam, &csrf), &body.to_string())
        .await;
    tried.says("in the console under Passkeys");
}

/// The bodies of everything recorded so far.
fn recorded(site: &Site) -> Vec<Body> {
    let journal = std::fs::read(site.gateway.data.join("log/journal")).unwrap();
    let mut decoder = countersign_evidence::frame::Decoder::new(&journal, 0);
    let mut bodies = Vec::new();
    while let countersign_evidence::frame::Step::Frame(frame) = decoder.step() {
        bodies.push(
            countersign_evidence::leaf::Leaf::parse(frame.leaf)
                .unwrap()
                .body,
        );
    }
    bodies
}

#[tokio::test]
async fn an_enrolment_is_in_the_log() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    enrol(&site, &sam, &olga, &Authenticator::new(1)).await;
    let mut found = 0;
    for body in recorded(&site) {
        if let Body::CredentialIssued(issued) = body
            && issued.kind == CredentialKind::Passkey
        {
            assert_eq!(issued.passkey.unwrap().site, "gate.example.com");
            found += 1;
        }
    }
    assert_eq!(found, 1);
}
