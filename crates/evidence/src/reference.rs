//! References to people and machines that a reader of the log cannot turn into names.
//!
//! In scope: keyed pseudonyms.
//! Out of scope: keeping the keys.
//! Invariant: a leaf names nobody otherwise, so personal data never enters the log (P11).
//! Specification: the first 16 bytes of
//! `HMAC-SHA-256(key, "countersign/ref/v1\0" ‖ subject)`, where `subject` is written
//! `person:dana@example.com`; as 32 hexadecimal digits. The key is the person's own, where they have
//! one, so that destroying it makes their references unlinkable; otherwise the installation's.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use countersign_core::{canonical::Hash, id::PersonId, subject::SubjectId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// A pseudonym of one subject of one installation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref([u8; 16]);

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a reference is 32 lower-case hexadecimal digits")]
pub struct InvalidRef;

impl FromStr for Ref {
    type Err = InvalidRef;
    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 32 || !text.as_bytes().iter().all(digit) {
            return Err(InvalidRef);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidRef)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        hex::encode::<16, 32, S>(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        hex::decode(from).map(Self)
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({self})")
    }
}

/// Makes references under one secret key.
pub struct Pseudonyms {
    key: [u8; 32],
    people: RwLock<HashMap<PersonId, [u8; 32]>>,
}

impl Pseudonyms {
    /// Uses `key`, 32 random bytes that never leave the installation.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            people: RwLock::default(),
        }
    }

    /// Refers to a person under a key of their own from now on.
    pub fn meet(&self, person: PersonId, key: [u8; 32]) {
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        people.insert(person, key);
    }

    /// Forgets a person's own key. Once it is nowhere else, nobody can make their reference again.
    pub fn forget(&self, person: &PersonId) {
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        people.remove(person);
    }

    /// The reference of a subject.
    #[must_use]
    pub fn of(&self, subject: &SubjectId) -> Ref {
        match subject {
            SubjectId::Person(person) => self.of_person(person),
            SubjectId::Agent(_) | SubjectId::Workload(_) => of(&self.key, &subject.to_string()),
        }
    }

    /// The reference of a person, the same as [`of`](Self::of) for `SubjectId::Person`.
    #[must_use]
    pub fn of_person(&self, person: &PersonId) -> Ref {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let key = people.get(person).unwrap_or(&self.key);
        of(key, &format!("person:{person}"))
    }
}

fn of(key: &[u8; 32], subject: &str) -> Ref {
    let message = [b"countersign/ref/v1\0", subject.as_bytes()].concat();
    let hash = Hash::keyed(key, &message);
    Ref(hash.0.first_chunk().copied().unwrap_or_default())
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_depend_on_key_kind_and_name() {
        let dana: PersonId = "dana@example.com".parse().unwrap();
        let one = Pseudonyms::new([1; 32]);
        let base = one.of_person(&dana);
        // python3 -c 'import hmac; print(hmac.digest(b"\1"*32, b"countersign/ref/v1\0person:dana@example.com", "sha256").hex()[:32])'
        assert_eq!(base.to_string(), "fa6c70db4fdd2855ab8e095f6c5dfe63");
        assert_eq!(base, one.of(&SubjectId::Person(dana.clone())));
        assert_ne!(base, Pseudonyms::new([2; 32]).of_person(&dana));
        assert_ne!(
            base,
            one.of(&SubjectId::Agent("dana@example.com".parse().unwrap()))
        );
    }

    #[test]
    fn who_has_a_key_of_their_own_can_be_forgotten() {
        let dana: PersonId = "dana@example.com".parse().unwrap();
        let names = Pseudonyms::new([1; 32]);
        let base = names.of_person(&dana);
        names.meet(dana.clone(), [2; 32]);
        let own = names.of(&SubjectId::Person(dana.clone()));
        assert_eq!(own, Pseudonyms::new([2; 32]).of_person(&dana));
        names.forget(&dana);
        assert_eq!(names.of_person(&dana), base);
    }

    #[test]
    fn references_read_back_and_refuse_the_rest() {
        let text = "00ff000000000000000000000000000a";
        assert_eq!(
            text.parse::<Ref>()
                .map(|found| found.to_string())
                .as_deref(),
            Ok(text)
        );
        let json = format!("\"{text}\"");
        let read: Ref = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        for bad in [
            "",
            "0",
            &text.to_uppercase(),
            "+0ff000000000000000000000000000a",
            &text[1..],
        ] {
            assert!(bad.parse::<Ref>().is_err(), "{bad}");
            assert!(
                serde_json::from_str::<Ref>(&format!("\"{bad}\"")).is_err(),
                "{bad}"
            );
        }
    }
}
