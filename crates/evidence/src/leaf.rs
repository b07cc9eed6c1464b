//! The leaf: one record of the log.
//!
//! In scope: the frame of fields that every record has, its canonical bytes, strict reading.
//! Out of scope: what each kind of record says ([`body`](crate::body)) and the evidence it commits
//! to ([`evidence`](crate::evidence)).
//! Invariant: a leaf that reads is written in exactly one way, so its bytes are a function of its
//! meaning. Fields are declared in the order of their names, which makes plain serialisation equal
//! to RFC 8785; a test compares the two for every kind.
//! Specification: RFC 8785 JSON of at most 65,535 bytes; integers stay within ±(2^53 - 1).

use countersign_core::{canonical::Hash, digest::ActionDigest, id::RequestId, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{body::Body, frame::MAX_LEAF_BYTES, hex};

/// The version of the format.
pub const VERSION: u32 = 1;

/// What most leaves fit in.
const USUAL_BYTES: usize = 768;

/// Why a leaf cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeaf {
    /// Over the limit.
    #[error("the leaf has {0} bytes; at most {MAX_LEAF_BYTES} are recorded, so shorten its lists")]
    TooLong(usize),
    /// Not the JSON of a known kind of record.
    #[error("the leaf is not a record of a known kind: {0}")]
    Form(String),
    /// Readable, but not the one way to write it.
    #[error("the leaf is not in canonical form; it was changed or written by something else")]
    NotCanonical,
    /// A later format.
    #[error("the leaf has version {0}; this program reads version {VERSION}, so update it")]
    Version(u32),
}

/// The place of a record within one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InRequest {
    /// The request.
    pub id: RequestId,
    /// Gapless within the request, from 0.
    #[serde(with = "safe")]
    pub seq: u64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// When it was recorded, in milliseconds since 1970 UTC: the time by which the recorded
    /// decision was made, which deadlines are measured against.
    #[serde(with = "safe")]
    pub at: Timestamp,
    /// What happened.
    pub body: Body,
    /// The action concerned.
    #[serde(with = "hex", skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<ActionDigest>,
    /// The commitment to the evidence; `None` when there is no evidence.
    #[serde(with = "hex", skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<Hash>,
    /// The gateway process that recorded it, named anew at every start.
    pub instance: Box<str>,
    /// [`leaf_hash`](crate::merkle::leaf_hash) of the instance's leaf before this one;
    /// [`NO_PREVIOUS`] for its first.
    #[serde(with = "hex")]
    pub prev: Hash,
    /// The request concerned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<InRequest>,
    /// Gapless within the instance, from 0.
    #[serde(with = "safe")]
    pub seq: u64,
    /// The version of the format, [`VERSION`].
    pub v: u32,
}

/// What the first leaf of an instance names as the one before it.
pub const NO_PREVIOUS: Hash = Hash([0; 32]);

impl Leaf {
    /// The leaf's bytes.
    ///
    /// # Errors
    /// [`InvalidLeaf`] when it is too long or holds an integer outside ±(2^53 - 1).
    pub fn to_bytes(&self) -> Result<Vec<u8>, InvalidLeaf> {
        if self.v != VERSION {
            return Err(InvalidLeaf::Version(self.v));
        }
        // Canonical, because fields are declared in the order of their names and `safe` bounds
        // every integer; a test compares the two.
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut bytes, self).map_err(|_| InvalidLeaf::NotCanonical)?;
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(InvalidLeaf::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a leaf from exactly the bytes that [`to_bytes`](Self::to_bytes) gives.
    ///
    /// # Errors
    /// [`InvalidLeaf`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidLeaf> {
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(InvalidLeaf::TooLong(bytes.len()));
        }
        // What is text as a whole need not be looked at again string by string.
        let read = match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(bytes),
        };
        let leaf: Self = read.map_err(|error| InvalidLeaf::Form(error.to_string()))?;
        if leaf.v != VERSION {
            return Err(InvalidLeaf::Version(leaf.v));
        }
        let mut again = Vec::with_capacity(bytes.len());
        let is_written = serde_json::to_writer(&mut again, &leaf).is_ok();
        if is_written && again == bytes {
            Ok(leaf)
        } else {
            Err(InvalidLeaf::NotCanonical)
        }
    }
}

/// Integers that every JSON reader reads exactly (RFC 7493, section 2.2).
pub(crate) mod safe {
    use countersign_core::time::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    const MAX: u64 = (1 << 53) - 1;

    pub(crate) trait Safe {
        fn magnitude(&self) -> u64;
    }

    impl Safe for u64 {
        fn magnitude(&self) -> u64 {
            *self
        }
    }

    impl Safe for Timestamp {
        fn magnitude(&self) -> u64 {
            self.0.unsigned_abs()
        }
    }

    pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Safe + Serialize,
        S: Serializer,
    {
        if value.magnitude() > MAX {
            return Err(ser::Error::custom("an integer is beyond 2^53 - 1"));
        }
        value.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Safe + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let value = T::deserialize(deserializer)?;
        if value.magnitude() > MAX {
            return Err(de::Error::custom("an integer is beyond 2^53 - 1"));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{self, tests::one_of_each};

    fn leaf(body: Body) -> Leaf {
        Leaf {
            at: Timestamp(1_790_000_000_000),
            body,
            digest: Some(ActionDigest(Hash::of(b"digest"))),
            evidence: Some(Hash::of(b"evidence")),
            instance: "gw-\u{7f}\u{1}\"\\é".into(),
            prev: NO_PREVIOUS,
            request: Some(InRequest {
                id: RequestId::from_bits(7),
                seq: 3,
            }),
            seq: 9,
            v: VERSION,
        }
    }

    #[test]
    fn every_kind_reads_back_and_plain_serialisation_is_canonical() {
        for body in one_of_each() {
            let leaf = leaf(body);
            let bytes = leaf.to_bytes().unwrap();
            assert_eq!(
                String::from_utf8(bytes.clone()).unwrap(),
                serde_json::to_string(&leaf).unwrap()
            );
            assert_eq!(Leaf::parse(&bytes), Ok(leaf));
        }
    }

    #[test]
    fn a_leaf_looks_like_this() {
        let body = Body::SecurityEvent(body::SecurityEvent {
            code: "clock_jump".into(),
        });
        let leaf = Leaf {
            instance: "gw".into(),
            evidence: None,
            digest: None,
            ..leaf(body)
        };
        let zeros = "0".repeat(64);
        let expected = format!(
            r#"{{"at":1790000000000,"body":{{"security.event":{{"code":"clock_jump"}}}},"instance":"gw","prev":"{zeros}","request":{{"id":"req_00000000000000000000000007","seq":3}},"seq":9,"v":1}}"#
        );
        assert_eq!(
            String::from_utf8(leaf.to_bytes().unwrap()).unwrap(),
            expected
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = leaf(Body::Heartbeat(body::Counters::default()))
            .to_bytes()
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("{\"at\":", "{ \"at\":"),
            ("\"v\":1}", "\"v\":1} "),
            ("\"v\":1}", "\"v\":1,\"w\":1}"),
            ("\"v\":1}", "\"v\":2}"),
            ("\"seq\":9", "\"seq\":9.0"),
            ("\"seq\":9", "\"seq\":-9"),
            ("\"seq\":9", "\"seq\":9007199254740992"),
            ("\"seq\":9", "\"seq\":9,\"seq\":9"),
            ("\"seq\":9,\"v\":1", "\"v\":1,\"seq\":9"),
            ("\"digest\":", "\"digest\":null,\"x\":"),
            ("\"seen\":0", "\"seen\":0,\"shown\":0"),
            ("heartbeat", "heartbleed"),
            ("é", "\\u00e9"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(
                Leaf::parse(text.replacen(from, to, 1).as_bytes()).is_err(),
                "{to}"
            );
        }
        assert!(Leaf::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn limits_are_refused_when_writing() {
        let body = |code: String| Body::SecurityEvent(body::SecurityEvent { code });
        let long = leaf(body("x".repeat(MAX_LEAF_BYTES)));
        assert!(matches!(long.to_bytes(), Err(InvalidLeaf::TooLong(_))));
        let unsafe_integer = Leaf {
            seq: 1 << 53,
            ..leaf(body(String::new()))
        };
        assert_eq!(unsafe_integer.to_bytes(), Err(InvalidLeaf::NotCanonical));
        let version = Leaf {
            v: 2,
            ..leaf(body(String::new()))
        };
        assert_eq!(version.to_bytes(), Err(InvalidLeaf::Version(2)));
    }
}
