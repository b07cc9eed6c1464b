//! Names of things, each with its own type so that one cannot stand in for another.
//!
//! In scope: parsing with limits, display, serialisation as plain strings.
//! Out of scope: making new random identifiers; whoever holds randomness passes it in.
//! Invariant: every identifier is 1 to 200 bytes of printable ASCII or letters, never with
//! whitespace, control or bidirectional characters, so it can be shown and logged as it is.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest identifier accepted, in bytes.
pub const MAX_ID_BYTES: usize = 200;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid {kind}: use 1 to {MAX_ID_BYTES} letters, digits or any of `@._:/+-`", shown.escape_debug())]
pub struct InvalidId {
    kind: &'static str,
    shown: String,
}

/// Letters by Unicode's tables that show nothing (Hangul fillers): two names could look the same.
const INVISIBLE: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

fn check(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let acceptable = |c: char| match c {
        // First, because nearly all are.
        'a'..='z' | '0'..='9' => true,
        c if c.is_alphanumeric() => !INVISIBLE.contains(&c),
        c => "@._:/+-#*".contains(c),
    };
    if text.is_empty() || text.len() > MAX_ID_BYTES || !text.chars().all(acceptable) {
        let shown = text.chars().take(60).collect();
        return Err(InvalidId { kind, shown });
    }
    Ok(())
}

/// Reads an identifier without a second copy of its text.
struct Reading<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> de::Visitor<'_> for Reading<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is empty, too long or holds other characters.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                check($kind, text)?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Reading(PhantomData))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

identifiers! {
    /// A human being in the directory, by convention an e-mail address.
    PersonId = "person";
    /// An AI agent in the directory.
    AgentId = "agent";
    /// A pipeline or service in the directory.
    WorkloadId = "workload";
    /// A group of the directory.
    GroupId = "group";
    /// A provider who signs people in.
    ProviderId = "provider";
    /// Somebody who says who machines are.
    IssuerId = "issuer";
    /// A target behind a gate.
    TargetId = "target";
    /// An environment such as `production`.
    EnvironmentId = "environment";
    /// The name of an approval rule.
    RuleName = "approval rule";
    /// The `@id` of a policy statement.
    PolicyId = "policy";
    /// An action's name: a shared group (`write`) or a gate's own (`exec:git-push`).
    ActionName = "action";
    /// One request, `req_` and 26 characters.
    RequestId = "request id";
    /// One permit, `permit_` and 26 characters.
    PermitId = "permit id";
    /// One message of a request's conversation.
    MessageId = "message id";
    /// One session or token, never the secret itself.
    CredentialId = "credential id";
    /// A user that a provider provisions, `usr_` and 26 characters.
    UserId = "provisioned user";
    /// A group that a provider provisions, `grp_` and 26 characters.
    UserGroupId = "provisioned group";
}

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes 128 bits as 26 lower-case Crockford base-32 characters, most significant first.
///
/// Callers pass milliseconds since 1970 in the upper 48 bits and randomness below, so that
/// identifiers sort by time (the layout of ULID, <https://github.com/ulid/spec>).
#[must_use]
pub fn base32(bits: u128) -> String {
    (0..26u32)
        .rev()
        .filter_map(|place| {
            let digit = usize::try_from((bits >> (place * 5)) & 31).ok()?;
            CROCKFORD.get(digit).map(|c| char::from(*c))
        })
        .collect()
}

impl RequestId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("req_{}", base32(bits)).into())
    }
}

impl PermitId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("permit_{}", base32(bits)).into())
    }
}

impl MessageId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("msg_{}", base32(bits)).into())
    }
}

impl CredentialId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("cred_{}", base32(bits)).into())
    }
}

impl UserId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("usr_{}", base32(bits)).into())
    }
}

impl UserGroupId {
    /// Makes an identifier from a time-ordered 128-bit value.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("grp_{}", base32(bits)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_cannot_be_shown_safely() {
        for bad in [
            "",
            " ",
            "a b",
            "a\nb",
            "a\u{202e}b",
            "a\u{3164}",
            "a\u{1b}[31m",
            "a`b",
            "a\"b",
            &"x".repeat(201),
        ] {
            assert!(PersonId::new(bad).is_err(), "{bad:?}");
        }
        for good in [
            "dana@example.com",
            "exec:git-push",
            "jürgen@example.com",
            "release/2026",
        ] {
            assert_eq!(PersonId::new(good).map(String::from).as_deref(), Ok(good));
        }
    }

    #[test]
    fn identifiers_made_later_sort_later() {
        let first = RequestId::from_bits(5 << 80 | 77);
        let second = RequestId::from_bits(6 << 80);
        assert!(first < second);
        assert_eq!(first.as_str().len(), 30);
    }
}
