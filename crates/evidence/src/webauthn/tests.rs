//! An authenticator made of keys, and everything that must not hold.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::{Value, cbor};
use countersign_core::canonical::Hash;
use proptest::prelude::*;

use super::*;

const CHALLENGE: &[u8] = b"thirty-two bytes of a challenge.";

pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    pub(crate) fn all() -> [Self; 3] {
        [
            Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            Self::EdDsa(Ed25519KeyPair::generate().unwrap()),
            Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        ]
    }

    pub(crate) fn cose(&self) -> Vec<u8> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let value = match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                cbor!({ 1 => 2, 3 => -7, -1 => 1, -2 => bytes(&point[1..33]), -3 => bytes(&point[33..]) })
            }
            Self::EdDsa(key) => {
                cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => bytes(key.public_key().as_ref()) })
            }
            Self::Rs256(key) => {
                // DER of a key of 2,048 bits: modulus and exponent stand at fixed places.
                let der = key.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[267..]);
                cbor!({ 1 => 3, 3 => -257, -1 => bytes(n), -2 => bytes(e) })
            }
        };
        written(&value.unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn party() -> RelyingParty {
    RelyingParty {
        id: "gate.example.com".into(),
        origin: "https://gate.example.com".into(),
    }
}

pub(crate) fn client_data(kind: &str, challenge: &[u8], origin: &str, more: &str) -> Vec<u8> {
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#)
        .into_bytes()
}

fn ordinary(kind: &str) -> Vec<u8> {
    client_data(kind, CHALLENGE, &party().origin, r#","crossOrigin":false"#)
}

/// Authenticator data with these flags and what they announce.
pub(crate) fn data(site: &str, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = digest(&SHA256, site.as_bytes()).as_ref().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

fn attested(key: &Key) -> Vec<u8> {
    [&[0; 16][..], &[0, 4], b"name", &key.cose()].concat()
}

fn registered(key: &Key) -> Credential {
    let made = data(&party().id, 0x45, &attested(key));
    register(&party(), CHALLENGE, &ordinary("webauthn.create"), &made).unwrap()
}

pub(crate) fn asserted(key: &Key, client_data: Vec<u8>, authenticator_data: Vec<u8>) -> Assertion {
    let hash = digest(&SHA256, &client_data);
    let signature = key.sign(&[&authenticator_data[..], hash.as_ref()].concat());
    Assertion {
        client_data,
        authenticator_data,
        signature,
    }
}

#[test]
fn what_was_registered_signs() {
    for key in Key::all() {
        let credential = registered(&key);
        assert_eq!(
            (&credential.id[..], credential.counter),
            (&b"name"[..], 7),
            "{credential:?}"
        );
        for (flags, rest) in [
            (0x05, Vec::new()),
            (0x85, written(&cbor!({ "credProtect" => 2 }).unwrap())),
        ] {
            let data = data(&party().id, flags, &rest);
            let assertion = asserted(&key, ordinary("webauthn.get"), data);
            let held = verify(&party(), CHALLENGE, &credential, &assertion);
            assert_eq!(held, Ok(Asserted { counter: 7 }));
        }
    }
}

#[test]
fn another_act_does_not_hold() {
    use InvalidClientData::{Challenge, CrossOrigin, Form, Origin, Type};
    let key = &Key::all()[0];
    let credential = registered(key);
    let origin = &party().origin;
    let with = |more: &str| client_data("webauthn.get", CHALLENGE, origin, more);
    for (client_data, why) in [
        (ordinary("webauthn.create"), Type),
        (client_data("webauthn.get", b"other", origin, ""), Challenge),
        (client_data("webauthn.get", b"", origin, ""), Challenge),
        (
            client_data("webauthn.get", CHALLENGE, "https://gate.example.org", ""),
            Origin,
        ),
        (
            client_data("webauthn.get", CHALLENGE, &format!("{origin}:444"), ""),
            Origin,
        ),
        (with(r#","crossOrigin":true"#), CrossOrigin),
        (with(r#","topOrigin":"https://evil.example""#), CrossOrigin),
        (with(r#","type":"webauthn.get""#), Form),
        (with(r#","origin":"https://gate.example.com""#), Form),
        (with(&format!(r#","x":"{}""#, "x".repeat(5000))), Form),
        (b"[]".to_vec(), Form),
        (Vec::new(), Form),
    ] {
        let said = String::from_utf8_lossy(&client_data).into_owned();
        let assertion = asserted(key, client_data, data(&party().id, 0x05, &[]));
        let held = verify(&party(), CHALLENGE, &credential, &assertion);
        assert_eq!(held, Err(NotHeld::ClientData(why)), "{said}");
    }
}

#[test]
fn another_state_of_the_authenticator_does_not_hold() {
    use InvalidAuthenticatorData::{Flags, Form, Length};
    let key = &Key::all()[1];
    let credential = registered(key);
    let site = &party().id;
    let cut = data(site, 0x05, &[])[..36].to_vec();
    for (data, why) in [
        (data("other.example", 0x05, &[]), NotHeld::RelyingParty),
        (data(site, 0x04, &[]), NotHeld::Absent),
        (data(site, 0x01, &[]), NotHeld::Unverified),
        (data(site, 0x0d, &[]), NotHeld::Kind),
        (data(site, 0x15, &[]), NotHeld::AuthenticatorData(Flags)),
        (data(site, 0x05, &[0]), NotHeld::AuthenticatorData(Length)),
        (data(site, 0x85, &[]), NotHeld::AuthenticatorData(Form)),
        (data(site, 0x85, &[0x01]), NotHeld::AuthenticatorData(Form)),
        (
            data(site, 0x45, &[0; 17]),
            NotHeld::AuthenticatorData(Length),
        ),
        (
            data(site, 0x45, &[0; 18]),
            NotHeld::AuthenticatorData(Length),
        ),
        (cut, NotHeld::AuthenticatorData(Length)),
        (vec![0; 9000], NotHeld::AuthenticatorData(Length)),
    ] {
        let assertion = asserted(key, ordinary("webauthn.get"), data);
        let held = verify(&party(), CHALLENGE, &credential, &assertion);
        assert_eq!(held, Err(why), "{:?}", assertion.authenticator_data);
    }
}

#[test]
fn another_signature_does_not_hold() {
    for (key, other) in Key::all().iter().zip(&Key::all()) {
        let credential = registered(key);
        let good = asserted(key, ordinary("webauthn.get"), data(&party().id, 0x05, &[]));
        let by_other = asserted(
            other,
            good.client_data.clone(),
            good.authenticator_data.clone(),
        );
        let held = verify(&party(), CHALLENGE, &credential, &by_other);
        assert_eq!(held, Err(NotHeld::Signature));
        for byte in 0..good.signature.len() {
            let mut changed = good.clone();
            changed.signature[byte] ^= 1;
            let held = verify(&party(), CHALLENGE, &credential, &changed);
            assert_eq!(held, Err(NotHeld::Signature), "byte {byte}");
        }
        let mut counted = good.clone();
        counted.authenticator_data[36] ^= 1;
        let held = verify(&party(), CHALLENGE, &credential, &counted);
        assert_eq!(held, Err(NotHeld::Signature));
        assert!(verify(&party(), CHALLENGE, &credential, &good).is_ok());
    }
}

#[test]
fn a_key_is_of_one_known_algorithm() {
    use InvalidPublicKey::{Algorithm, Form};
    let bytes = |length: usize| Value::Bytes(vec![1; length]);
    let same_twice = Value::Map(vec![
        (1.into(), 1.into()),
        (3.into(), (-8).into()),
        ((-1).into(), 6.into()),
        ((-2).into(), bytes(32)),
        ((-2).into(), bytes(32)),
    ]);
    for (value, why) in [
        (cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => bytes(31) }), Form),
        (cbor!({ 1 => 1, 3 => -8, -1 => 6 }), Form),
        (
            cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => bytes(32), -4 => bytes(32) }),
            Form,
        ),
        (
            cbor!({ 1 => 1, 3 => -8, -1 => 4, -2 => bytes(32) }),
            Algorithm,
        ),
        (
            cbor!({ 1 => 2, 3 => -8, -1 => 6, -2 => bytes(32) }),
            Algorithm,
        ),
        (
            cbor!({ 1 => 2, 3 => -7, -1 => 2, -2 => bytes(32), -3 => bytes(32) }),
            Algorithm,
        ),
        (
            cbor!({ 1 => 2, 3 => -7, -1 => 1, -2 => bytes(33), -3 => bytes(32) }),
            Form,
        ),
        (
            cbor!({ 1 => 3, 3 => -257, -1 => bytes(255), -2 => bytes(3) }),
            Form,
        ),
        (
            cbor!({ 1 => 3, 3 => -257, -1 => bytes(1025), -2 => bytes(3) }),
            Form,
        ),
        (
            cbor!({ 1 => 3, 3 => -257, -1 => bytes(256), -2 => bytes(5) }),
            Form,
        ),
        (
            cbor!({ 1 => 3, 3 => -257, -1 => bytes(256), -2 => bytes(0) }),
            Form,
        ),
        (
            cbor!({ 1 => 3, 3 => -37, -1 => bytes(256), -2 => bytes(3) }),
            Algorithm,
        ),
        (cbor!({ "1" => 1 }), Form),
        (cbor!([1]), Form),
        (Ok(same_twice), Form),
    ] {
        let value = value.unwrap();
        assert_eq!(PublicKey::parse(&written(&value)), Err(why), "{value:?}");
    }
    let mut longer = Key::all()[1].cose();
    assert!(PublicKey::parse(&longer).is_ok());
    longer.push(0);
    assert_eq!(PublicKey::parse(&longer), Err(Form));
    assert_eq!(PublicKey::parse(&[]), Err(Form));
}

/// Keys under which anybody can sign anything, and points on no curve.
#[test]
fn a_key_that_everybody_can_sign_with_is_none() {
    let little = |first: u8| {
        let mut y = [0; 32];
        y[0] = first;
        y
    };
    let near_p = |first: u8| {
        let mut y = [0xff; 32];
        y[0] = first;
        y[31] = 0x7f;
        y
    };
    let order_8 = |text: &str| text.parse::<Hash>().unwrap().0;
    let points = [
        little(0),
        little(1),
        near_p(0xec),
        near_p(0xed),
        near_p(0xee),
        order_8("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        order_8("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ];
    let key = |y: [u8; 32]| {
        let bytes = Value::Bytes(y.to_vec());
        PublicKey::parse(&written(
            &cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => bytes }).unwrap(),
        ))
    };
    for mut point in points {
        for _ in 0..2 {
            assert_eq!(key(point), Err(InvalidPublicKey::Form), "{point:?}");
            point[31] ^= 0x80;
        }
    }
    assert!(key(little(9)).is_ok());
    let off_the_curve = || Value::Bytes(vec![1; 32]);
    let ec = cbor!({ 1 => 2, 3 => -7, -1 => 1, -2 => off_the_curve(), -3 => off_the_curve() });
    assert_eq!(
        PublicKey::parse(&written(&ec.unwrap())),
        Err(InvalidPublicKey::Form)
    );
}

#[test]
fn registering_takes_a_new_credential_of_a_person_here() {
    let key = &Key::all()[0];
    let (site, client) = (&party().id, ordinary("webauthn.create"));
    let attested = attested(key);
    let nameless = [&[0; 16][..], &[0, 0], &key.cose()].concat();
    let keyless = [&[0; 16][..], &[0, 4], b"name", &[0xa0]].concat();
    for (data, refused) in [
        (data(site, 0x45, &attested), false),
        (data(site, 0x05, &[]), true),
        (data("other.example", 0x45, &attested), true),
        (data(site, 0x41, &attested), true),
        (data(site, 0x45, &nameless), true),
        (data(site, 0x45, &keyless), true),
    ] {
        let done = register(&party(), CHALLENGE, &client, &data);
        assert_eq!(done.is_err(), refused, "{done:?}");
    }
    let good = data(site, 0x45, &attested);
    assert!(register(&party(), b"other", &client, &good).is_err());
    assert!(register(&party(), CHALLENGE, &ordinary("webauthn.get"), &good).is_err());
}

proptest! {
    /// Nothing that a client sends ends the process.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _key = PublicKey::parse(&bytes);
        let _client = client_data::check(&bytes, "webauthn.get", CHALLENGE, "https://x");
        let framed = data("x", 0xc5, &[&[0; 16][..], &[0, 1, 0], &bytes].concat());
        if let Ok(read) = AuthenticatorData::parse(&framed) {
            let credential = read.credential.unwrap();
            prop_assert_eq!(credential.id, &[0][..]);
            prop_assert!(credential.public_key.len() <= bytes.len());
        }
    }
}
