//! A passkey made of a key, enrolled for somebody as if it had been countersigned.
//!
//! In scope: signing what the gateway asks to be signed.
//! Out of scope: enrolling by proposal, which the console's tests do.
//! Invariant: it signs what it is given and remembers nothing.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::identity::passkey::Enrolled;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Lab};

/// Where the console says it is.
pub(super) const ORIGIN: &str = "http://localhost:7770";

pub(super) struct Passkey {
    key: EcdsaKeyPair,
    name: String,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Passkey {
    /// A new passkey of a person.
    pub(super) async fn of(lab: &Lab, person: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let name = encode(person.as_bytes());
        let point = key.public_key().as_ref();
        let mut cose = vec![0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
        cose.extend_from_slice(&point[1..33]);
        cose.extend_from_slice(&[0x22, 0x58, 32]);
        cose.extend_from_slice(&point[33..]);
        let enrolled = Enrolled {
            passkey: name.clone(),
            public_key: encode(&cose),
            backup_eligible: false,
            counter: 0,
            site: "localhost".into(),
            label: "laptop".into(),
            countersigned: true,
        };
        let person = person.parse().unwrap();
        let identity = &lab.gateway.identity;
        let enrolled = identity.enrol(&person, &enrolled, Default::default());
        enrolled.await.unwrap();
        Self { key, name }
    }

    /// What it signs of what the gateway asks.
    pub(super) fn sign(&self, options: &Value) -> Value {
        let challenge = options["challenge"].as_str().unwrap();
        let client = format!(
            r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}","crossOrigin":false}}"#
        );
        let mut data = digest(&SHA256, b"localhost").as_ref().to_vec();
        data.extend_from_slice(&[0x05, 0, 0, 0, 0]);
        let message = [&data[..], digest(&SHA256, client.as_bytes()).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        json!({
            "challenge": options["token"],
            "passkey": self.name,
            "client_data": encode(client.as_bytes()),
            "authenticator_data": encode(&data),
            "signature": encode(signature.as_ref()),
        })
    }
}

/// What the gateway asks somebody's passkey to sign: a vote, or lifting a rule.
pub(super) async fn to_sign(
    caller: &Caller,
    id: &str,
    lifts: Option<&str>,
    reason: &str,
) -> Answer {
    let seen = caller.see(id).await;
    let body = json!({
        "verdict": "approve", "reason": reason, "lifts": lifts,
        "digest": seen["digest"], "act": seen["act"],
    });
    caller
        .post(&format!("/v1/requests/{id}/passkey"), &body)
        .await
}

/// Lifts a rule with what a passkey signed.
pub(super) async fn lift_with(
    caller: &Caller,
    id: &str,
    (rule, reason): (&str, &str),
    signed: &Value,
) -> Answer {
    let seen = caller.see(id).await;
    let body = json!({
        "rule": rule, "reason": reason, "digest": seen["digest"],
        "act": seen["act"].as_str().unwrap_or("none"), "passkey": signed,
    });
    caller
        .post(&format!("/v1/requests/{id}/emergency"), &body)
        .await
}

/// Lifts a rule as a page does.
pub(super) async fn lift(caller: &Caller, key: &Passkey, id: &str, rule: &str) -> Answer {
    let reason = "the shop is down";
    let options = to_sign(caller, id, Some(rule), reason).await;
    if options.status != 200 {
        return options;
    }
    let signed = key.sign(&options.body);
    lift_with(caller, id, (rule, reason), &signed).await
}

/// Reviews a lift as a page does.
pub(super) async fn review(caller: &Caller, id: &str, rule: &str) -> Answer {
    let seen = caller.see(id).await;
    let act = seen["act"].as_str().unwrap_or("none");
    review_with(caller, id, (rule, "as they say"), (&seen["digest"], act)).await
}

pub(super) async fn review_with(
    caller: &Caller,
    id: &str,
    (rule, note): (&str, &str),
    (digest, act): (&Value, &str),
) -> Answer {
    let body = json!({ "rule": rule, "note": note, "digest": digest, "act": act });
    caller
        .post(&format!("/v1/requests/{id}/review"), &body)
        .await
}
