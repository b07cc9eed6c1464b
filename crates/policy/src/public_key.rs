//! Public keys, read so that each has one spelling.
//!
//! In scope: JSON Web Keys as text and as values; refusing those of which their numbers alone say that anybody
//! can sign: points of small order, an RSA exponent of 1 or an even one, an even modulus.
//! Out of scope: whose they are; verifying with them; how an RSA modulus was made: whether it is a product of
//! two secret primes, only its maker knows.
//! Invariant: what passes is a key of the size and on the curve that it says, which the library that verifies
//! takes, and two spellings of one key give the same identity.
//! Specification: RFC 7517, RFC 7518 section 6, RFC 8037, RFC 7638; RFC 8032 section 5.1.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::strict;

/// The points of Ed25519 of small order, without their signs: whoever likes signs for them. The last three
/// are spelt canonically or not.
const SMALL: [[u8; 32]; 6] = [
    [0; 32],
    ends(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
];

/// Bytes that are alike but for the first and the last.
const fn ends(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    let [begin, .., end] = &mut bytes;
    *begin = first;
    *end = last;
    bytes
}

/// The sizes of a modulus, in bytes.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// The longest exponent, in bytes.
const EXPONENT: usize = 8;

/// Reads a JSON Web Key from text that names each member once.
///
/// # Errors
/// What is wrong with it. Nothing of the key is in the text.
pub fn from_text(text: &str) -> Result<(Value, String), &'static str> {
    let read: Result<Value, _> = strict::from_slice(text.as_bytes());
    let jwk = read.map_err(|_| "it is no JSON, or names a member twice")?;
    let identity = public_key(&jwk)?;
    Ok((jwk, identity))
}

/// Reads a public key and gives what all spellings of it have in common.
///
/// # Errors
/// What is wrong with it, for whoever wrote it. Nothing of the key is in the text.
pub fn public_key(jwk: &Value) -> Result<String, &'static str> {
    let fields = jwk.as_object().ok_or("it is no JSON object")?;
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    if PRIVATE.iter().any(|name| fields.contains_key(*name)) {
        return Err(
            "it holds a private or shared key, which is no secret any more: make a new pair and \
             write its public half",
        );
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("kty"), text("crv")) {
        ("EC", "P-256") => on_curve(fields, ("P-256", 32), &ECDSA_P256_SHA256_FIXED),
        ("EC", "P-384") => on_curve(fields, ("P-384", 48), &ECDSA_P384_SHA384_FIXED),
        ("OKP", "Ed25519") => edwards(fields),
        ("RSA", _) => rsa(fields),
        _ => {
            Err("it is of a kind that is not believed: use EC with P-256 or P-384, Ed25519, or RSA")
        }
    }
}

/// The bytes of a member.
fn bytes(fields: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if text.is_empty() {
        return Err("a parameter of the key is missing");
    }
    // What is cut off somewhere is no whole number of bytes any more.
    URL_SAFE_NO_PAD.decode(text).map_err(|_| SIZE)
}

const SIZE: &str = "it has not the size of such a key; RSA needs at least 2048 bits";

fn on_curve(
    fields: &Map<String, Value>,
    (name, size): (&str, usize),
    algorithm: &'static dyn VerificationAlgorithm,
) -> Result<String, &'static str> {
    let (x, y) = (bytes(fields, "x")?, bytes(fields, "y")?);
    if x.len() != size || y.len() != size {
        return Err(SIZE);
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    ParsedPublicKey::new(algorithm, point).map_err(|_| "it is no point of its curve")?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    Ok(json!({ "crv": name, "kty": "EC", "x": x, "y": y }).to_string())
}

fn edwards(fields: &Map<String, Value>) -> Result<String, &'static str> {
    let x = bytes(fields, "x")?;
    let point: [u8; 32] = x.as_slice().try_into().map_err(|_| SIZE)?;
    let mut unsigned = point;
    let [.., last] = &mut unsigned;
    *last &= 0x7f;
    let [first, between @ .., last] = unsigned;
    // No smaller than the field: a second spelling of another point.
    let beyond = first >= 0xed && last == 0x7f && between.iter().all(|one| *one == 0xff);
    if beyond || SMALL.contains(&unsigned) {
        return Err("anybody can sign for it: it is a point of small order, or spelt as none is");
    }
    ParsedPublicKey::new(&ED25519, point).map_err(|_| "it is no point of its curve")?;
    let x = URL_SAFE_NO_PAD.encode(point);
    Ok(json!({ "crv": "Ed25519", "kty": "OKP", "x": x }).to_string())
}

fn rsa(fields: &Map<String, Value>) -> Result<String, &'static str> {
    let (n, e) = (bytes(fields, "n")?, bytes(fields, "e")?);
    if n.first() == Some(&0) || e.first() == Some(&0) {
        return Err("a number of the key begins with a zero; write it without");
    }
    if !MODULUS.contains(&n.len()) {
        return Err(SIZE);
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !odd(&n) || !odd(&e) || e == [1] || e.len() > EXPONENT {
        return Err("anybody can sign for it, or nobody: its modulus or exponent is none of RSA");
    }
    let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
    Ok(json!({ "e": e, "kty": "RSA", "n": n }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn edwards(point: [u8; 32]) -> Result<String, &'static str> {
        let x = URL_SAFE_NO_PAD.encode(point);
        public_key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<String, &'static str> {
        let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
        public_key(&json!({ "kty": "RSA", "n": n, "e": e }))
    }

    /// Each with either sign.
    #[test]
    fn points_that_anybody_signs_for_are_refused() {
        let beyond = (0xed..=0xff).map(|first| ends(first, 0xff, 0x7f));
        for point in SMALL.into_iter().chain(beyond) {
            for sign in [0, 0x80] {
                let mut point = point;
                point[31] |= sign;
                assert!(edwards(point).unwrap_err().contains("anybody"), "{point:?}");
            }
        }
        let good: Value = serde_json::from_str(ED).unwrap();
        public_key(&good).unwrap();
    }

    #[test]
    fn points_that_are_on_no_curve_are_refused() {
        for (name, size) in [("P-256", 32), ("P-384", 48)] {
            let part = |of: u8| URL_SAFE_NO_PAD.encode(vec![of; size]);
            let jwk = json!({ "kty": "EC", "crv": name, "x": part(1), "y": part(2) });
            assert_eq!(
                public_key(&jwk),
                Err("it is no point of its curve"),
                "{name}"
            );
            let short = json!({ "kty": "EC", "crv": name, "x": part(1), "y": "AQ" });
            assert_eq!(public_key(&short), Err(SIZE), "{name}");
        }
    }

    #[test]
    fn numbers_that_are_none_of_rsa_are_refused() {
        let modulus = [0xff; 256];
        let zero = [&[0], modulus.as_slice()].concat();
        let even = [modulus.as_slice(), &[2]].concat();
        rsa(&modulus, &[1, 0, 1]).unwrap();
        for (what, n, e) in [
            ("e = 1", modulus.as_slice(), &[1_u8][..]),
            ("even", &modulus, &[2]),
            ("long", &modulus, &[1; 9]),
            ("zeros before e", &modulus, &[0, 1, 0, 1]),
            ("zeros before n", &zero, &[1, 0, 1]),
            ("an even modulus", &even, &[1, 0, 1]),
            ("short", &[0xff; 255], &[1, 0, 1]),
        ] {
            assert!(rsa(n, e).is_err(), "{what}");
        }
    }

    /// What is written twice is read by each reader as it likes.
    #[test]
    fn one_text_is_one_key() {
        let (_, identity) = from_text(P256).unwrap();
        let spelt = P256.replace("{\"kty\"", "{ \"use\": \"sig\", \"kty\"");
        assert_eq!(from_text(&spelt).unwrap().1, identity);
        let twice = P256.replace("{\"kty\"", "{\"x\":\"AQ\",\"kty\"");
        assert!(from_text(&twice).unwrap_err().contains("twice"));
    }
}
