//! Hexadecimal digits in leaves, without allocating: a verifier reads millions of them.
//!
//! In scope: fixed numbers of bytes as lower-case digits, as serde fields.
//! Out of scope: other forms; upper-case digits are refused.
//! Invariant: gives and takes the same text as the plain serialisation of
//! [`Hash`](countersign_core::canonical::Hash), which a test compares.

use std::fmt;

pub(crate) use countersign_core::hex::parse;
use countersign_core::{canonical::Hash, digest::ActionDigest, hex::write};
use serde::{Deserializer, Serializer, de};

/// A field that is written as the digits of 32 bytes.
pub(crate) trait Field: Sized {
    fn get(&self) -> Option<Hash>;
    fn of(hash: Hash) -> Self;
}

impl Field for Hash {
    fn get(&self) -> Option<Hash> {
        Some(*self)
    }
    fn of(hash: Hash) -> Self {
        hash
    }
}

impl Field for ActionDigest {
    fn get(&self) -> Option<Hash> {
        Some(self.0)
    }
    fn of(hash: Hash) -> Self {
        Self(hash)
    }
}

impl<T: Field> Field for Option<T> {
    fn get(&self) -> Option<Hash> {
        self.as_ref().and_then(Field::get)
    }
    fn of(hash: Hash) -> Self {
        Some(T::of(hash))
    }
}

pub(crate) fn serialize<T: Field, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    match value.get() {
        Some(hash) => encode::<32, 64, S>(&hash.0, to),
        None => to.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, T: Field, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    decode(from).map(|bytes| T::of(Hash(bytes)))
}

/// Writes `N` bytes as `M`, which is twice `N`, digits.
pub(crate) fn encode<const N: usize, const M: usize, S: Serializer>(
    bytes: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut text = [0; M];
    write(bytes, &mut text);
    // Digits are ASCII.
    to.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// Reads twice `N` digits.
pub(crate) fn decode<'de, const N: usize, D: Deserializer<'de>>(
    from: D,
) -> Result<[u8; N], D::Error> {
    from.deserialize_str(Digits::<N>)
}

struct Digits<const N: usize>;

impl<const N: usize> de::Visitor<'_> for Digits<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lower-case hexadecimal digits", 2 * N)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; N], E> {
        parse(text.as_bytes()).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Appends two digits for each byte.
pub(crate) fn push(bytes: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + 2 * bytes.len(), 0);
    write(bytes, out.get_mut(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Fast(#[serde(with = "super")] Hash);

    #[test]
    fn texts_are_those_of_the_plain_form() {
        for hash in (0..=255u8).map(|byte| Hash::of(&[byte])) {
            let plain = serde_json::to_string(&hash).unwrap();
            assert_eq!(serde_json::to_string(&Fast(hash)).unwrap(), plain);
            assert_eq!(serde_json::from_str::<Fast>(&plain).unwrap(), Fast(hash));
        }
        let good = Hash::of(b"x").to_hex();
        for place in [0, 1, 62, 63] {
            for byte in (0..=255u8).map(char::from) {
                let mut text: Vec<char> = good.chars().collect();
                text[place] = byte;
                let text = serde_json::to_string(&text.iter().collect::<String>()).unwrap();
                let plain = serde_json::from_str::<Hash>(&text).ok();
                assert_eq!(
                    serde_json::from_str::<Fast>(&text).ok().map(|fast| fast.0),
                    plain
                );
            }
        }
        for bad in [
            &good[1..],
            &good[2..],
            &format!("{good}0"),
            &format!("{good}00"),
            "",
        ] {
            assert!(
                serde_json::from_str::<Fast>(&format!("\"{bad}\"")).is_err(),
                "{bad}"
            );
        }
    }
}
