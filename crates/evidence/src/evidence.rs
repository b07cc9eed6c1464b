//! Evidence: what a leaf commits to and an erasure can destroy.
//!
//! In scope: the salted commitment, the stored form, and checking one against the other.
//! Out of scope: encryption and erasure; what the value says.
//! Invariant: an [`Evidence`] holds canonical bytes only, so its commitment is the one that any
//! other implementation computes from its value.
//! Specification: commitment `SHA-256("countersign/evidence/v1\0" ‖ salt ‖ JCS(value))` with a salt
//! of 32 bytes; stored as `{"salt":"<64 hexadecimal digits>","value":<JCS(value)>}` without spaces.

use countersign_core::canonical::{Hash, NotCanonical, json_to_canonical};
use serde_json::Value;

use crate::hex;

const DOMAIN: &[u8] = b"countersign/evidence/v1\0";
const BEFORE_SALT: &[u8] = br#"{"salt":""#;
const BEFORE_VALUE: &[u8] = br#"","value":"#;
const END: &[u8] = b"}";
const SALT_DIGITS: usize = 64;

/// Why stored evidence was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvidence {
    /// The bytes are not in the stored form.
    #[error("the evidence is not a salt and a value in canonical JSON")]
    Form,
    /// The bytes are well formed and belong to another leaf.
    #[error("the evidence is not what the leaf commits to; it was changed or exchanged")]
    Commitment,
}

/// A value with the salt that hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    salt: [u8; 32],
    canonical: Vec<u8>,
}

impl Evidence {
    /// Salts `value` with 32 fresh random bytes.
    ///
    /// # Errors
    /// [`NotCanonical`] when the value cannot be written as JSON.
    pub fn new(salt: [u8; 32], value: &Value) -> Result<Self, NotCanonical> {
        Ok(Self {
            salt,
            canonical: json_to_canonical(value)?,
        })
    }

    /// What the leaf holds.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        Hash::of_parts(&[DOMAIN, &self.salt, &self.canonical])
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let salt = Hash(self.salt).to_hex();
        [
            BEFORE_SALT,
            salt.as_bytes(),
            BEFORE_VALUE,
            &self.canonical,
            END,
        ]
        .concat()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Value {
        // Canonical bytes are JSON by construction.
        serde_json::from_slice(&self.canonical).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`InvalidEvidence::Form`] unless writing the value again gives the same bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidEvidence> {
        let (salt, canonical) = split(bytes).ok_or(InvalidEvidence::Form)?;
        let value: Value = serde_json::from_slice(canonical).map_err(|_| InvalidEvidence::Form)?;
        match json_to_canonical(&value) {
            Ok(again) if again == canonical => Ok(Self {
                salt,
                canonical: again,
            }),
            _ => Err(InvalidEvidence::Form),
        }
    }

    /// Reads the stored form and compares it with a leaf's commitment.
    ///
    /// # Errors
    /// [`InvalidEvidence`] when the form is wrong or it belongs to another leaf.
    pub fn open(bytes: &[u8], commitment: Hash) -> Result<Self, InvalidEvidence> {
        let evidence = Self::parse(bytes)?;
        if evidence.commitment() != commitment {
            return Err(InvalidEvidence::Commitment);
        }
        Ok(evidence)
    }
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({})", self.commitment())
    }
}

/// Compares stored bytes with a commitment without reading the value: equal bytes are what was
/// committed to, whether or not they are canonical.
///
/// # Errors
/// [`InvalidEvidence`] when the outer form is wrong or the bytes are others.
pub fn check(bytes: &[u8], commitment: Hash) -> Result<(), InvalidEvidence> {
    let (salt, value) = split(bytes).ok_or(InvalidEvidence::Form)?;
    if Hash::of_parts(&[DOMAIN, &salt, value]) != commitment {
        return Err(InvalidEvidence::Commitment);
    }
    Ok(())
}

/// The value's bytes in stored evidence, which are JSON only where [`check`] found what was
/// committed to; `None` where the outer form is wrong.
pub(crate) fn value(bytes: &[u8]) -> Option<&[u8]> {
    split(bytes).map(|(_, value)| value)
}

fn split(bytes: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (salt, rest) = bytes
        .strip_prefix(BEFORE_SALT)?
        .split_at_checked(SALT_DIGITS)?;
    let value = rest.strip_prefix(BEFORE_VALUE)?.strip_suffix(END)?;
    Some((hex::parse(salt)?, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn evidence() -> Evidence {
        Evidence::new([1; 32], &json!({"b": "x", "a": 1.0})).unwrap()
    }

    #[test]
    fn the_commitment_is_the_one_specified() {
        // hashlib.sha256(b"countersign/evidence/v1\0" + b"\1" * 32 + b'{"a":1,"b":"x"}')
        let expected = "9b754b45ce1fa605e2552b4cdf1ac213f4da6d51f340e05d9c5d4a49545afc30";
        assert_eq!(evidence().commitment().to_hex(), expected);
        let other_salt = Evidence::new([2; 32], &evidence().value()).unwrap();
        assert_ne!(other_salt.commitment(), evidence().commitment());
    }

    #[test]
    fn only_the_stored_form_is_read() {
        let stored = evidence().to_bytes();
        let text = String::from_utf8(stored.clone()).unwrap();
        assert_eq!(Evidence::parse(&stored), Ok(evidence()));
        for bad in [
            String::new(),
            text.replace("\"a\":1,", ""),
            text.replace("\"a\":1", "\"a\": 1"),
            text.replace("\"a\":1", "\"a\":1.0"),
            text.replace("{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\",\"a\":1}"),
            text.replace("{\"a\":1,\"b\":\"x\"}", "{\"a\":1,\"a\":1,\"b\":\"x\"}"),
            text.replace("{\"a\":1,\"b\":\"x\"}", "1,\"more\":2"),
            text.replace("0101", "01"),
            format!("{text} "),
        ] {
            let commitment = evidence().commitment();
            assert!(Evidence::open(bad.as_bytes(), commitment).is_err(), "{bad}");
            assert!(check(bad.as_bytes(), commitment).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let stored = evidence().to_bytes();
        assert_eq!(check(&stored, evidence().commitment()), Ok(()));
        for bit in 0..stored.len() * 8 {
            let mut changed = stored.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                check(&changed, evidence().commitment()).is_err(),
                "bit {bit}"
            );
        }
    }

    proptest! {
        #[test]
        fn evidence_reads_back(salt: [u8; 32], text: String, number: i32) {
            let evidence = Evidence::new(salt, &json!({"t": text, "n": number})).unwrap();
            let opened = Evidence::open(&evidence.to_bytes(), evidence.commitment());
            prop_assert_eq!(opened, Ok(evidence));
        }
    }
}
