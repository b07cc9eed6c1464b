//! One way to turn a value into bytes for hashing.
//!
//! In scope: RFC 8785 (JSON Canonicalization Scheme) and SHA-256 over it with a domain tag.
//! Out of scope: reading JSON from callers; gates refuse duplicate keys and unsafe numbers first.
//! Invariant: two values give the same bytes exactly when they are equal as JSON.
//! Specification: <https://www.rfc-editor.org/rfc/rfc8785>.

mod writer;

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Number, Value};

use crate::hex;

/// Up to where parts are copied together before they are hashed.
const SHORT_BYTES: usize = 1_024;

/// A SHA-256 value, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct InvalidHash;

/// Why a value has no canonical form: it holds an integer beyond 2^53 - 1 or a map key that is
/// not text. (JSON has no number that is not finite; `serde_json` makes `null` of it.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value has no canonical JSON form")]
pub struct NotCanonical;

impl Hash {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_slice(digest::digest(&digest::SHA256, bytes).as_ref())
    }

    /// SHA-256 of several pieces one after another.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        // For what is short, such as the nodes of a tree, a copy costs less than a context.
        let (mut short, mut used) = ([0; SHORT_BYTES], 0);
        for part in parts {
            let Some(place) = short.get_mut(used..used + part.len()) else {
                return Self::of_long(parts);
            };
            place.copy_from_slice(part);
            used += part.len();
        }
        Self::of(short.get(..used).unwrap_or_default())
    }

    fn of_long(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        Self::from_slice(context.finish().as_ref())
    }

    /// HMAC-SHA-256 of `bytes` under `key`.
    #[must_use]
    pub fn keyed(key: &[u8], bytes: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self::from_slice(hmac::sign(&key, bytes).as_ref())
    }

    fn from_slice(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(hash)
    }

    /// The 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.digits(str::to_owned)
    }

    fn digits<T>(self, take: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; 64];
        hex::write(&self.0, &mut text);
        // Digits are ASCII.
        take(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl std::str::FromStr for Hash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        hex::parse(text.as_bytes()).map(Self).ok_or(InvalidHash)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.digits(|text| to.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Digits)
    }
}

/// Reads a hash without a copy of its text.
struct Digits;

impl de::Visitor<'_> for Digits {
    type Value = Hash;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
        text.parse().map_err(E::custom)
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digits(|text| f.write_str(text))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// A JSON object of values that are moved in; `json!` would copy them, which is felt where every
/// action passes.
#[must_use]
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.into_iter().collect())
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`NotCanonical`] when the value cannot be written as JSON.
pub fn to_canonical(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(256);
    value.serialize(writer::Writer(&mut out))?;
    Ok(out)
}

/// The canonical bytes of a JSON value.
///
/// Every record passes here, so that it is written directly; tests hold it against another
/// implementation.
///
/// # Errors
/// [`NotCanonical`] when it holds an integer beyond 2^53 - 1.
pub fn json_to_canonical(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(256);
    append_canonical(value, &mut out)?;
    Ok(out)
}

/// Appends the canonical bytes of a JSON value.
///
/// # Errors
/// [`NotCanonical`] when it holds an integer beyond 2^53 - 1; then what is appended means nothing.
pub fn append_canonical(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    write_value(value, out)
}

/// RFC 8785 writes numbers as doubles, so that larger integers would share their bytes.
const MAX_EXACT: u64 = (1 << 53) - 1;

fn write_value(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(item, out)?;
            }
            out.push(b']');
            Ok(())
        }
        Value::Object(fields) => write_object(fields, out),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Null => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Value::Bool(value) => {
            out.extend_from_slice(if *value { b"true" } else { b"false" });
            Ok(())
        }
    }
}

fn write_object(fields: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    out.push(b'{');
    if fields.keys().is_sorted_by(|a, b| order(a, b).is_le()) {
        write_fields(fields.iter(), out)?;
    } else {
        let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| order(a, b));
        write_fields(sorted.into_iter(), out)?;
    }
    out.push(b'}');
    Ok(())
}

/// RFC 8785 orders by UTF-16 code units, which differs from the order of bytes beyond U+FFFF.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

fn write_fields<'a>(
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
    out: &mut Vec<u8>,
) -> Result<(), NotCanonical> {
    for (at, (name, value)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out)?;
        out.push(b':');
        write_value(value, out)?;
    }
    Ok(())
}

fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let magnitude = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
    match magnitude {
        Some(size) if size <= MAX_EXACT => {
            serde_json::to_writer(out, number).map_err(|_| NotCanonical)
        }
        Some(_) => Err(NotCanonical),
        // The library knows how ECMAScript writes doubles.
        None => serde_json_canonicalizer::to_writer(number, out).map_err(|_| NotCanonical),
    }
}

/// JSON's escapes in `serde_json` are those of RFC 8785: the short ones, lower-case hexadecimal
/// digits for other control characters, and nothing else.
fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let is_escaped = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    // Looks at every byte, because that is done many at once.
    if text
        .as_bytes()
        .iter()
        .fold(false, |any, byte| any | is_escaped(byte))
    {
        return serde_json::to_writer(out, text).map_err(|_| NotCanonical);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// `SHA-256("countersign/<domain>/v1\0" ‖ JCS(value))`.
///
/// # Errors
/// [`NotCanonical`] when the value cannot be written as JSON.
pub fn hash_in_domain(domain: &str, value: &impl Serialize) -> Result<Hash, NotCanonical> {
    let bytes = to_canonical(value)?;
    Ok(Hash::of_parts(&[
        b"countersign/",
        domain.as_bytes(),
        b"/v1\0",
        &bytes,
    ]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_hash_like_the_whole_at_every_length() {
        let whole: Vec<u8> = (0..=255).cycle().take(SHORT_BYTES + 3).collect();
        for length in [
            0,
            1,
            SHORT_BYTES - 1,
            SHORT_BYTES,
            SHORT_BYTES + 1,
            SHORT_BYTES + 3,
        ] {
            let whole = &whole[..length];
            for cut in [0, 1, length / 2, length] {
                let (head, tail) = whole.split_at(cut.min(length));
                let parts = Hash::of_parts(&[head, b"", tail]);
                assert_eq!(parts, Hash::of(whole), "{length} {cut}");
            }
        }
    }

    #[test]
    fn order_of_keys_does_not_matter_but_values_do() {
        let one = hash_in_domain("test", &json!({"a": 1, "b": [2.0, "x"]}));
        let same = hash_in_domain("test", &json!({"b": [2, "x"], "a": 1}));
        let other = hash_in_domain("test", &json!({"b": [2, "X"], "a": 1}));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_ne!(
            one,
            hash_in_domain("other", &json!({"a": 1, "b": [2.0, "x"]}))
        );
    }

    #[test]
    fn integers_that_would_share_their_bytes_are_refused() {
        for (value, expected) in [
            (json!([9_007_199_254_740_991_i64]), true),
            (json!([-9_007_199_254_740_991_i64]), true),
            (json!([9_007_199_254_740_992_i64]), false),
            (json!({"a": {"b": -9_007_199_254_740_993_i64}}), false),
            (json!(u64::MAX), false),
            (json!(1e300), true),
        ] {
            assert_eq!(to_canonical(&value).is_ok(), expected, "{value}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-400..400).prop_map(|n| Value::from(f64::from(n) / 8.0)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x7f]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let key = prop_oneof![any::<String>(), "[a-c\u{e000}\u{fffd}\u{10000}é]{0,3}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map(key, inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_implementation_writes_the_same_bytes(value in json()) {
            let other = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(json_to_canonical(&value), Ok(other.clone()));
            prop_assert_eq!(to_canonical(&value), Ok(other));
        }
    }

    #[test]
    fn keys_are_ordered_by_utf_16() {
        // The example of RFC 8785, section 3.2.3.
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5,
            "\u{80}": 6, "\u{f6}": 7});
        let text = String::from_utf8(json_to_canonical(&value).unwrap()).unwrap();
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\
                        \"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(text, expected);
    }

    #[test]
    fn hex_reads_back_and_refuses_the_rest() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        assert!(hash.to_hex().to_uppercase().parse::<Hash>().is_err());
        assert!("00".parse::<Hash>().is_err());
    }
}
