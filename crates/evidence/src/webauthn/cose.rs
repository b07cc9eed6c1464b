//! Public keys of passkeys.
//!
//! In scope: COSE keys of ES256, EdDSA and RS256, and signatures with them.
//! Out of scope: every other algorithm.
//! Invariant: a key is of exactly one algorithm, which it names; its map holds that algorithm's
//! parameters and nothing else.
//! Specification: RFC 9052 section 7, RFC 9053 sections 2 and 7, RFC 8230 section 4.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use ciborium::Value;

/// The longest modulus in bytes.
const MAX_MODULUS: usize = 1024;
/// The shortest modulus in bytes.
const MIN_MODULUS: usize = 256;

/// Why bytes are no public key of a passkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// It is not a COSE key.
    #[error("the passkey's public key can't be read")]
    Form,
    /// It is of an algorithm that is not known here.
    #[error("the passkey signs with an algorithm other than ES256, EdDSA and RS256")]
    Algorithm,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// ECDSA on P-256 with SHA-256: an uncompressed point.
    Es256([u8; 65]),
    /// Ed25519.
    EdDsa([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256: modulus and exponent, big-endian.
    Rs256(Vec<u8>, Vec<u8>),
}

/// The parameters of a key by label.
struct Parameters(Vec<(i64, Value)>);

impl PublicKey {
    /// Reads a COSE key.
    ///
    /// # Errors
    /// [`InvalidPublicKey`], see its variants.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidPublicKey> {
        use InvalidPublicKey::{Algorithm, Form};
        let mut key = Parameters::parse(bytes).ok_or(Form)?;
        let (kind, algorithm) = (key.number(1).ok_or(Form)?, key.number(3).ok_or(Form)?);
        let parsed = match (kind, algorithm) {
            // EC2 on the curve P-256.
            (2, -7) if key.number(-1) == Some(1) => {
                let (x, y) = (key.bytes(-2), key.bytes(-3));
                let (x, y) = (x.ok_or(Form)?, y.ok_or(Form)?);
                let point = point(&x, &y).ok_or(Form)?;
                // A point that is not on the curve has no signatures, or anybody's.
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| Form)?;
                Self::Es256(point)
            }
            // OKP on the curve Ed25519.
            (1, -8) if key.number(-1) == Some(6) => {
                let x: [u8; 32] = key.bytes(-2).and_then(|x| x.try_into().ok()).ok_or(Form)?;
                if is_of_small_order(&x) {
                    return Err(Form);
                }
                Self::EdDsa(x)
            }
            (3, -257) => {
                let (n, e) = (key.bytes(-1).ok_or(Form)?, key.bytes(-2).ok_or(Form)?);
                let fits = (MIN_MODULUS..=MAX_MODULUS).contains(&n.len()) && e.len() <= 4;
                if !fits || n.first() == Some(&0) || e.first().is_none_or(|first| *first == 0) {
                    return Err(Form);
                }
                Self::Rs256(n, e)
            }
            _ => return Err(Algorithm),
        };
        if key.0.is_empty() {
            Ok(parsed)
        } else {
            Err(Form)
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(message, signature)
                .is_ok(),
            Self::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
            Self::Rs256(n, e) => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

/// Whether a key of Ed25519 is one of the few points under which anybody can sign: the sign bit aside,
/// those of order 1, 2, 4 and 8, in each way that they can be written.
fn is_of_small_order(key: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *key;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    // 0 and 1; p - 1, p and p + 1.
    let [first, middle @ .., last] = &y;
    let near_zero = *first <= 1 && *last == 0 && middle.iter().all(|byte| *byte == 0);
    let near_p =
        (0xec..=0xee).contains(first) && *last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    near_zero || near_p || ORDER_8.contains(&y)
}

fn point(x: &[u8], y: &[u8]) -> Option<[u8; 65]> {
    if x.len() != 32 || y.len() != 32 {
        return None;
    }
    [&[4], x, y].concat().try_into().ok()
}

impl Parameters {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        // A map of numbers and byte strings.
        let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, 2).ok()?;
        let (Value::Map(map), true) = (value, rest.is_empty()) else {
            return None;
        };
        let mut parameters: Vec<(i64, Value)> = Vec::new();
        for (label, value) in map {
            let label = i64::try_from(label.into_integer().ok()?).ok()?;
            if parameters.iter().any(|(known, _)| *known == label) {
                return None;
            }
            parameters.push((label, value));
        }
        Some(Self(parameters))
    }

    fn take(&mut self, label: i64) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == label)?;
        Some(self.0.swap_remove(at).1)
    }

    fn number(&mut self, label: i64) -> Option<i64> {
        i64::try_from(self.take(label)?.into_integer().ok()?).ok()
    }

    fn bytes(&mut self, label: i64) -> Option<Vec<u8>> {
        self.take(label)?.into_bytes().ok()
    }
}
