//! The stored form of evidence, byte by byte.
//!
//! In scope: writing and reading it. There is one way to write it, so that reading is comparing with
//! what would have been written, and needs no second look.
//! Out of scope: what parts mean and commit to.
//! Invariant: what reads is written again with the same bytes; a test reads everything that is read
//! here, and nothing else, with a general JSON reader.

use base64::Engine;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use countersign_core::canonical::Hash;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Form, Kind, Part, Salted, sealing::KeyId};
use crate::hex;

/// The standard alphabet without padding, with what instructions the processor has for it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64: std::sync::LazyLock<base64::engine::Simd> = std::sync::LazyLock::new(|| {
    base64::engine::Simd::standard(base64::engine::general_purpose::NO_PAD)
});

/// What a part has beside its values, at most: names, punctuation, key, commitment.
const AROUND: usize = 160;

/// As many parts as evidence has, mostly.
const USUAL: usize = 4;

/// The stored form of all parts.
pub(super) fn write(parts: &[Part]) -> Vec<u8> {
    let long = parts.iter().map(|part| AROUND + part.form.length() / 3 * 4);
    let mut out = Vec::with_capacity(2 + long.sum::<usize>());
    let mut separator = b'[';
    for part in parts {
        out.push(separator);
        write_part(part, &mut out);
        separator = b',';
    }
    if parts.is_empty() {
        out.push(separator);
    }
    out.push(b']');
    out
}

fn write_part(part: &Part, out: &mut Vec<u8>) {
    let commitment = !matches!(part.form, Form::Open(_));
    if commitment {
        out.extend_from_slice(b"{\"commitment\":\"");
        hex::push(&part.commitment.0, out);
        out.extend_from_slice(b"\",\"is\":\"");
    } else {
        out.extend_from_slice(b"{\"is\":\"");
    }
    out.extend_from_slice(part.kind.word());
    if let Some(key) = &part.key {
        out.extend_from_slice(b"\",\"key\":\"");
        hex::push(&key.0, out);
    }
    match &part.form {
        Form::Open(open) => {
            out.extend_from_slice(b"\",\"salt\":\"");
            hex::push(open.salt(), out);
            out.push(b'"');
            // What was sealed by somebody else may be no JSON.
            if let Ok(value) = serde_json::from_slice::<&RawValue>(open.canonical()) {
                out.extend_from_slice(b",\"value\":");
                out.extend_from_slice(value.get().as_bytes());
            }
        }
        Form::Sealed(sealed) => {
            out.extend_from_slice(b"\",\"sealed\":\"");
            push_base64(sealed, out);
            out.push(b'"');
        }
        Form::Withheld => out.push(b'"'),
    }
    out.push(b'}');
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let length = base64::encoded_len(bytes.len(), false).unwrap_or_default();
    out.resize(begin + length, 0);
    let place = out.get_mut(begin..).unwrap_or_default();
    // It has the length that this needs.
    let _fits = BASE64.encode_slice(bytes, place);
}

/// Reads the stored form; `None` for any other bytes.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Part>> {
    let mut rest = Rest(bytes);
    rest.skip(b"[")?;
    let mut parts = Vec::with_capacity(USUAL);
    if !rest.has(b"]") {
        loop {
            parts.push(rest.part()?);
            if !rest.has(b",") {
                break;
            }
        }
        rest.skip(b"]")?;
    }
    rest.0.is_empty().then_some(parts)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Passes over these bytes if they come next.
    fn has(&mut self, expected: &[u8]) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.has(expected).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn hex<const N: usize>(&mut self) -> Option<[u8; N]> {
        hex::parse(self.take(2 * N)?)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kinds = [Kind::Control, Kind::Details, Kind::Names];
        kinds.into_iter().find(|kind| self.has(kind.word()))
    }

    fn part(&mut self) -> Option<Part> {
        self.skip(b"{\"")?;
        let commitment = match self.has(b"commitment\":\"") {
            true => {
                let commitment = Hash(self.hex()?);
                self.skip(b"\",\"")?;
                Some(commitment)
            }
            false => None,
        };
        self.skip(b"is\":\"")?;
        let kind = self.kind()?;
        let key = match self.has(b"\",\"key\":\"") {
            true => Some(KeyId(self.hex()?)),
            false => None,
        };
        let part = match commitment {
            None => Part::of(kind, key, self.open()?),
            Some(commitment) => {
                let form = self.closed(key)?;
                Part {
                    kind,
                    key,
                    commitment,
                    form,
                }
            }
        };
        self.skip(b"}")?;
        Some(part)
    }

    fn open(&mut self) -> Option<Salted> {
        self.skip(b"\",\"salt\":\"")?;
        let salt: [u8; 32] = self.hex()?;
        self.skip(b"\",\"value\":")?;
        // Spaces around it would not be written again.
        let is_close = |first: &u8| !first.is_ascii_whitespace();
        self.0.first().filter(|first| is_close(first))?;
        let mut reader = serde_json::Deserializer::from_slice(self.0);
        // Null is how nothing is written, and a part has something.
        let value = Option::<&RawValue>::deserialize(&mut reader).ok()??;
        let value = self.take(value.get().len())?;
        Some(Salted::new(salt, value))
    }

    /// What is sealed, or that it is withheld; nothing is sealed without a key.
    fn closed(&mut self, key: Option<KeyId>) -> Option<Form> {
        if !self.has(b"\",\"sealed\":\"") {
            return self.skip(b"\"").map(|()| Form::Withheld);
        }
        key?;
        let text = self.take(place_of_quote(self.0)?)?;
        self.skip(b"\"")?;
        // It refuses padding and bits left over, so that no two texts are the same bytes.
        let sealed = BASE64.decode(text).ok()?;
        Some(Form::Sealed(sealed))
    }
}

/// Where the next quote is. In blocks, because what is sealed is long.
fn place_of_quote(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let has_none = |block: &&[u8; 32]| {
        !block
            .iter()
            .fold(false, |found, byte| found | (*byte == b'"'))
    };
    let before = 32 * blocks.iter().take_while(has_none).count();
    let behind = bytes.get(before..)?.iter().position(|byte| *byte == b'"')?;
    Some(before + behind)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::evidence::sealing::SealingKey;

    /// A part as a general reader of JSON takes it.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stored<'a> {
        #[serde(with = "hex", default, skip_serializing_if = "Option::is_none")]
        commitment: Option<Hash>,
        is: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeyId>,
        #[serde(with = "hex", default, skip_serializing_if = "Option::is_none")]
        salt: Option<Hash>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed: Option<String>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        value: Option<&'a RawValue>,
    }

    fn part(stored: Stored<'_>) -> Option<Part> {
        let kinds = [Kind::Control, Kind::Details, Kind::Names];
        let mut kinds = kinds.into_iter();
        let kind = kinds.find(|kind| kind.word() == stored.is.as_bytes())?;
        let key = stored.key;
        let form = match (stored.commitment, stored.salt, stored.sealed, stored.value) {
            (None, Some(salt), None, Some(value)) => {
                let open = Salted::new(salt.0, value.get().as_bytes());
                return Some(Part::of(kind, key, open));
            }
            (Some(_), None, Some(sealed), None) => {
                key?;
                Form::Sealed(STANDARD_NO_PAD.decode(sealed).ok()?)
            }
            (Some(_), None, None, None) => Form::Withheld,
            _ => return None,
        };
        Some(Part {
            kind,
            key,
            commitment: stored.commitment?,
            form,
        })
    }

    /// What is read and written again with the same bytes.
    fn by_a_general_reader(bytes: &[u8]) -> Option<Vec<Part>> {
        let stored: Vec<Stored<'_>> = serde_json::from_slice(bytes).ok()?;
        let again = serde_json::to_vec(&stored).unwrap();
        let again_sealed = stored.iter().all(|part| {
            let sealed = part.sealed.as_ref();
            sealed.is_none_or(|text| {
                let bytes = STANDARD_NO_PAD.decode(text);
                bytes.is_ok_and(|bytes| STANDARD_NO_PAD.encode(bytes) == *text)
            })
        });
        let parts: Option<Vec<Part>> = stored.into_iter().map(part).collect();
        parts.filter(|_| again == bytes && again_sealed)
    }

    fn parts() -> Vec<Part> {
        let key = |number: u8| (KeyId([number; 8]), SealingKey([number; 32]));
        let sealed = |kind, number, value: serde_json::Value| {
            let (id, key) = key(number);
            let part = Part::new(kind, [number; 32], &value).unwrap();
            part.sealed(id, &key).unwrap()
        };
        let long = json!({ "text": "x".repeat(150) });
        let withheld = |mut part: Part| {
            part.form = Form::Withheld;
            part
        };
        let control = json!({ "a": [1, {}], "outbox": 7 });
        let mut named = Part::new(Kind::Details, [4; 32], &json!({ "b": "\u{e000}" })).unwrap();
        named.key = Some(KeyId([4; 8]));
        vec![
            Part::new(Kind::Control, [0; 32], &control).unwrap(),
            sealed(Kind::Details, 1, long),
            sealed(Kind::Names, 2, json!({ "0": "dana" })),
            withheld(sealed(Kind::Names, 3, json!({ "1": "eli" }))),
            withheld(Part::new(Kind::Names, [5; 32], &json!({})).unwrap()),
            named,
        ]
    }

    fn is_read_alike(bytes: &[u8]) {
        let same = read(bytes) == by_a_general_reader(bytes);
        assert!(same, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for count in 0..=parts().len() {
            let some = &parts()[..count];
            let stored = write(some);
            assert!(read(&stored).as_deref() == Some(some), "{count}");
            is_read_alike(&stored);
        }
        // What was sealed by somebody else may be no JSON, and is not shown as some.
        for (canonical, shown) in [("1},{", None), (" 1 ", Some(",\"value\":1}")), ("", None)] {
            let part = Part::of(
                Kind::Names,
                None,
                Salted::new([0; 32], canonical.as_bytes()),
            );
            let stored = String::from_utf8(write(&[part])).unwrap();
            match shown {
                Some(shown) => assert!(stored.contains(shown), "{stored}"),
                None => assert!(!stored.contains("value"), "{stored}"),
            }
        }
    }

    #[test]
    fn whatever_is_changed_is_read_like_a_general_reader_reads_it() {
        let whole = write(&parts());
        for at in 0..whole.len() {
            is_read_alike(&whole[..at]);
            is_read_alike(&[&whole[..at], &whole[at + 1..]].concat());
            for byte in *b" \"\\,}0aA=\0\xc3" {
                let mut changed = whole.clone();
                changed[at] = byte;
                is_read_alike(&changed);
                changed[at] = whole[at];
                changed.insert(at, byte);
                is_read_alike(&changed);
            }
        }
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in [
            (
                "\"is\":\"control\"",
                "\"is\":\"control\",\"is\":\"control\"",
            ),
            ("\"outbox\":7", "\"outbox\": 7"),
            ("\"outbox\":7}", "\"outbox\":7} "),
            ("{\"a\":[1,{}],\"outbox\":7}", " null"),
            ("{\"a\":[1,{}],\"outbox\":7}", "null"),
            ("{\"a\":[1,{}],\"outbox\":7}", "-0.0e+1"),
            ("{\"a\":[1,{}],\"outbox\":7}", "1 2"),
            ("\"sealed\":\"", "\"sealed\":\"AAAA"),
            ("\"is\":\"names\"", "\"is\":\"n\\u0061mes\""),
            (",\"key\":\"0303030303030303\"", ",\"key\":null"),
        ] {
            assert!(text.contains(from), "{from}");
            is_read_alike(text.replacen(from, to, 1).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_base64_are_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            change in (any::<prop::sample::Index>(), any::<u8>()),
        ) {
            let text = STANDARD_NO_PAD.encode(&bytes);
            let mut written = Vec::new();
            push_base64(&bytes, &mut written);
            prop_assert_eq!(&written, text.as_bytes());
            let mut changed = written;
            if !changed.is_empty() {
                let at = change.0.index(changed.len());
                changed[at] = change.1;
            }
            prop_assert_eq!(BASE64.decode(&changed).ok(), STANDARD_NO_PAD.decode(&changed).ok());
            prop_assert_eq!(BASE64.decode(&text).ok(), Some(bytes));
        }
    }
}
