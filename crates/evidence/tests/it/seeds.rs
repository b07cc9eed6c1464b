//! Writes the seeds of fuzz targets that need no log: `cargo nextest run -p countersign-evidence
//! --run-ignored all seeds`. Those that do are written by the unit test of the same name.

use std::{fs, path::PathBuf};

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
use countersign_evidence::{
    checkpoint::Checkpoint,
    key::SigningKey,
    merkle::{Tree, leaf_hash},
    note,
    tile::{self, Kind, Name},
};

use crate::fuzz::webauthn::{CHALLENGE, party};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let folder = folder.join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn log_key() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).unwrap()
}

/// A part with its length before it.
fn part(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

#[test]
#[ignore = "writes files"]
fn seeds_of_notes_and_tiles() {
    let key = log_key();
    write("key", "good", key.verifying().to_string().as_bytes());
    let note = note::sign("a text\n\nwith a blank line\n", &key).unwrap();
    write("note", "good", note.as_bytes());
    let stranger = SigningKey::from_seed("witness.example", &[2; 32]).unwrap();
    let more = note::sign("a text\n\nwith a blank line\n", &stranger).unwrap();
    let line = more.lines().last().unwrap();
    write("note", "witnessed", format!("{note}{line}\n").as_bytes());
    let mut tree = Tree::new();
    for size in [0_u64, 1, 70_000] {
        while tree.size() < size {
            tree.push(leaf_hash(&tree.size().to_be_bytes()));
        }
        let checkpoint = Checkpoint::of("log.example", &tree);
        let signed = checkpoint.sign(&key).unwrap();
        write("checkpoint", &format!("size-{size}"), signed.as_bytes());
        let text = checkpoint.to_text();
        write("checkpoint", &format!("text-{size}"), text.as_bytes());
    }
    let hashes: Vec<Hash> = (0..=255).map(|byte| Hash::of(&[byte])).collect();
    for (kind, index, width) in [(Kind::Hashes(0), 0, 1), (Kind::Hashes(1), 1_234_067, 5)] {
        let name = Name::of(kind, index, width).unwrap();
        let content = tile::to_bytes(&hashes[..usize::from(width)]);
        let seed = [format!("{name}\n").as_bytes(), &content].concat();
        write("tile", &format!("width-{width}"), &seed);
    }
    let full = Name::full(Kind::Hashes(0), 999);
    let content = tile::to_bytes(&hashes);
    write(
        "tile",
        "full",
        &[format!("{full}\n").as_bytes(), &content].concat(),
    );
    for width in [1_u16, 3] {
        let name = Name::of(Kind::Entries, 7, width).unwrap();
        let mut content = Vec::new();
        for entry in 0..width {
            assert!(tile::push_entry(
                &mut content,
                &vec![b'e'; usize::from(entry) * 10]
            ));
        }
        let seed = [format!("{name}\n").as_bytes(), &content].concat();
        write("bundle", &format!("width-{width}"), &seed);
    }
    for (index, size, old, count) in [
        (0_u64, 1_u64, 1_u64, 1),
        (3, 5, 4, 5),
        (69_999, 70_000, 256, 19),
    ] {
        let numbers = [index, size, old].map(u64::to_be_bytes).concat();
        let seed = [numbers, tile::to_bytes(&hashes[..count])].concat();
        write("proof", &format!("size-{size}"), &seed);
    }
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    fn cose(&self) -> Vec<u8> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let value = match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (bytes(&point[1..33]), bytes(&point[33..]));
                cbor!({ 1 => 2, 3 => -7, -1 => 1, -2 => x, -3 => y })
            }
            Self::EdDsa(key) => {
                let x = bytes(key.public_key().as_ref());
                cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => x })
            }
            Self::Rs256(key) => {
                // DER of a key of 2,048 bits: modulus and exponent stand at fixed places.
                let der = key.public_key().as_ref();
                let (n, e) = (bytes(&der[9..265]), bytes(&der[267..]));
                cbor!({ 1 => 3, 3 => -257, -1 => n, -2 => e })
            }
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
        bytes
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding = &RSA_PKCS1_SHA256;
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn client_data(kind: &str) -> Vec<u8> {
    let (challenge, origin) = (URL_SAFE_NO_PAD.encode(CHALLENGE), party().origin);
    format!(
        r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
    )
    .into_bytes()
}

/// Authenticator data with these flags and what they announce.
fn data(flags: u8, rest: &[u8]) -> Vec<u8> {
    let site = Hash::of(party().id.as_bytes()).0;
    [&site[..], &[flags, 0, 0, 0, 7], rest].concat()
}

#[test]
#[ignore = "writes files"]
fn seeds_of_passkeys() {
    let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    for (name, key) in [
        ("es256", Key::Es256(es256)),
        ("eddsa", Key::EdDsa(Ed25519KeyPair::generate().unwrap())),
        (
            "rs256",
            Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        ),
    ] {
        let made = [&[0; 16][..], &[0, 4], b"name", &key.cose()].concat();
        let seed = [part(&client_data("webauthn.create")), data(0x45, &made)].concat();
        write("registration", name, &seed);
        let (client_data, data) = (client_data("webauthn.get"), data(0x0d, &[]));
        let signature = key.sign(&[&data[..], &Hash::of(&client_data).0].concat());
        let seed = [
            part(&client_data),
            part(&data),
            part(&key.cose()),
            signature,
        ];
        write("assertion", name, &seed.concat());
    }
}
