//! DSSE envelopes: bytes with a type, signed by one key.
//!
//! In scope: the pre-authentication encoding, the JSON form, signing and opening.
//! Out of scope: what the payload says ([`vote`](crate::vote)); envelopes with several signatures.
//! Invariant: [`open`] returns bytes only when exactly one signature is there and it holds for the
//! type that the caller expected.
//! Specification: <https://github.com/secure-systems-lab/dsse/blob/master/envelope.md> and
//! `protocol.md` beside it, version 1. The key id is the key's label, `name+keyid`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::key::{SigningKey, VerifyingKey};

/// The largest envelope read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 1 << 20;

/// The payload type of a vote, a [`VoteStatement`](crate::vote::VoteStatement).
pub const VOTE_TYPE: &str = "application/vnd.countersign.vote+json";

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnvelope {
    /// Too long to be read.
    #[error("the envelope has {0} bytes; at most {MAX_ENVELOPE_BYTES} are read")]
    TooLong(usize),
    /// Not the JSON form of an envelope with one signature.
    #[error("the envelope is not a DSSE envelope with exactly one signature and no other field")]
    Form,
    /// The payload or the signature is not base64.
    #[error("the envelope's {0} is not base64 with padding")]
    Base64(&'static str),
    /// It carries something else than expected.
    #[error("the envelope carries `{}`, not `{expected}`", found.escape_debug())]
    Type {
        /// The type it names.
        found: String,
        /// The type asked for.
        expected: String,
    },
    /// None of the known keys has the named id.
    #[error("the envelope is signed by the unknown key `{}`; add the key if it is trusted", .0.escape_debug())]
    UnknownKey(String),
    /// The signature does not hold.
    #[error("the envelope's signature does not hold under `{0}`; it was changed or forged")]
    BadSignature(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    payload: String,
    payload_type: String,
    signatures: [WireSignature; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// `"DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload`, the bytes that are signed.
#[must_use]
pub fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// Signs `payload` and gives the envelope as JSON text.
#[must_use]
pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> String {
    let signature = key.sign(&pre_authentication(payload_type, payload));
    let wire = Wire {
        payload: STANDARD.encode(payload),
        payload_type: payload_type.to_owned(),
        signatures: [WireSignature {
            keyid: key.verifying().label(),
            sig: STANDARD.encode(signature),
        }],
    };
    // Plain texts always have a JSON form; an empty text would be refused by `open`.
    serde_json::to_string(&wire).unwrap_or_default()
}

/// Checks an envelope under the known key that it names and returns its payload.
///
/// # Errors
/// [`InvalidEnvelope`] when the form, the type, the key or the signature is wrong.
pub fn open(
    bytes: &[u8],
    expected_type: &str,
    known: &[VerifyingKey],
) -> Result<Vec<u8>, InvalidEnvelope> {
    let (wire, payload) = read(bytes, expected_type)?;
    let [signature] = wire.signatures;
    let key = known.iter().find(|key| key.label() == signature.keyid);
    let key = key.ok_or(InvalidEnvelope::UnknownKey(signature.keyid))?;
    let signature = STANDARD
        .decode(signature.sig)
        .map_err(|_| InvalidEnvelope::Base64("sig"))?;
    key.verify(&pre_authentication(expected_type, &payload), &signature)
        .map_err(|_| InvalidEnvelope::BadSignature(key.label()))?;
    Ok(payload)
}

/// The payload of an envelope whose signature is **not** checked, for verifiers that were given no
/// key and say so.
///
/// # Errors
/// [`InvalidEnvelope`] when the form or the type is wrong.
pub fn peek(bytes: &[u8], expected_type: &str) -> Result<Vec<u8>, InvalidEnvelope> {
    read(bytes, expected_type).map(|(_, payload)| payload)
}

fn read(bytes: &[u8], expected_type: &str) -> Result<(Wire, Vec<u8>), InvalidEnvelope> {
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(InvalidEnvelope::TooLong(bytes.len()));
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(|_| InvalidEnvelope::Form)?;
    if wire.payload_type != expected_type {
        let (found, expected) = (wire.payload_type, expected_type.to_owned());
        return Err(InvalidEnvelope::Type { found, expected });
    }
    let payload = STANDARD
        .decode(&wire.payload)
        .map_err(|_| InvalidEnvelope::Base64("payload"))?;
    Ok((wire, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed("votes.example", &[9; 32]).unwrap()
    }

    /// From `protocol.md` of the specification.
    #[test]
    fn the_signed_bytes_are_those_of_the_specification() {
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_opens_for_its_type_and_key_only() {
        let key = key();
        let known = [key.verifying().clone()];
        let envelope = sign(VOTE_TYPE, b"{}", &key);
        let head = r#"{"payload":"e30=","payloadType":"application/vnd.countersign.vote+json","signatures":[{"keyid":"votes.example+"#;
        assert!(envelope.starts_with(head), "{envelope}");
        assert_eq!(
            open(envelope.as_bytes(), VOTE_TYPE, &known),
            Ok(b"{}".to_vec())
        );
        assert_eq!(peek(envelope.as_bytes(), VOTE_TYPE), Ok(b"{}".to_vec()));
        let other = SigningKey::from_seed("votes.example", &[8; 32]).unwrap();
        let other = [other.verifying().clone()];
        let found = |result| match result {
            Err(InvalidEnvelope::UnknownKey(_)) => "unknown key",
            Err(InvalidEnvelope::BadSignature(_)) => "bad signature",
            Err(InvalidEnvelope::Base64(what)) => what,
            Err(InvalidEnvelope::Type { .. }) => "type",
            Err(_) => "form",
            Ok(_) => "ok",
        };
        let change = |from: &str, to: &str| envelope.replace(from, to);
        let signature = envelope.split("\"sig\":\"").nth(1).unwrap();
        let two = change(
            "}]}",
            &format!("}},{{\"keyid\":\"x\",\"sig\":\"{}", &signature[..90]),
        );
        for (bytes, expected) in [
            (change("e30=", "e30"), "payload"),
            (change("e30=", "W10="), "bad signature"),
            (change("vote+json", "votes+json"), "type"),
            (change("}]}", "}],\"more\":1}"), "form"),
            (change("}]}", ",\"cert\":\"\"}]}"), "form"),
            (
                change("\"payload\":", "\"payload\":\"\",\"payload\":"),
                "form",
            ),
            (change("votes.example+", "votes.example2+"), "unknown key"),
            (two, "form"),
            (String::new(), "form"),
            ("{}".to_owned(), "form"),
            ("x".repeat(MAX_ENVELOPE_BYTES + 1), "form"),
        ] {
            assert_eq!(
                found(open(bytes.as_bytes(), VOTE_TYPE, &known)),
                expected,
                "{bytes:.300}"
            );
        }
        assert_eq!(
            found(open(envelope.as_bytes(), VOTE_TYPE, &other)),
            "unknown key"
        );
        assert_eq!(
            found(open(envelope.as_bytes(), VOTE_TYPE, &[])),
            "unknown key"
        );
        assert_eq!(
            found(open(envelope.as_bytes(), "text/plain", &known)),
            "type"
        );
    }
}
