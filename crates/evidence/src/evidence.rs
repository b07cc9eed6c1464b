//! Evidence: what a leaf commits to and an erasure can destroy.
//!
//! In scope: its parts, their salted commitments, the stored form, opening and disclosing it.
//! Out of scope: which part is sealed with whose key; keeping and destroying keys.
//! Invariant: a commitment says nothing about a part without the part's salt, which is sealed with
//! it. What is opened is what was committed to, whoever sealed it.
//! Specification: a part's commitment is
//! `SHA-256("countersign/part/v1\0" ‖ kind ‖ "\0" ‖ salt ‖ JCS(value))` with a salt of 32 bytes; that
//! of the evidence is `SHA-256("countersign/evidence/v2\0" ‖ parts)`, where each part is its
//! commitment behind `00`, or behind `01 ‖ key` when it has a key. Stored is a JSON array of parts
//! without spaces, each in one of the forms `{"is":KIND,"key"?:HEX,"salt":HEX,"value":JCS}`,
//! `{"commitment":HEX,"is":KIND,"key":HEX,"sealed":BASE64}` and
//! `{"commitment":HEX,"is":KIND,"key"?:HEX}`. See [`sealing`] and [`names`] for what is sealed and how.

pub mod names;
pub mod sealing;
#[cfg(test)]
mod tests;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use countersign_core::canonical::{Hash, NotCanonical, json_to_canonical};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::hex;
use names::Names;
use sealing::{KeyId, KeySource, SealingKey};

const EVIDENCE_DOMAIN: &[u8] = b"countersign/evidence/v2\0";
const PART_DOMAIN: &[u8] = b"countersign/part/v1\0";

/// Why stored evidence was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvidence {
    /// The bytes are not in the stored form, or a part's value is not what its kind has.
    #[error("the evidence is not a list of parts in canonical JSON")]
    Form,
    /// The bytes are well formed and belong to another leaf.
    #[error("the evidence is not what the leaf commits to; it was changed or exchanged")]
    Commitment,
    /// A part does not open with its own key.
    #[error("a sealed part of the evidence is not what it commits to; it was changed or exchanged")]
    Sealed,
}

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What a gateway that starts again needs; it tells nothing about anybody.
    Control,
    /// What happened, people aside.
    Details,
    /// Who is meant where the details have a mark.
    Names,
}

impl Kind {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Control => b"control",
            Self::Details => b"details",
            Self::Names => b"names",
        }
    }
}

/// A part in the open.
#[derive(Clone, PartialEq, Eq)]
struct Salted {
    salt: [u8; 32],
    canonical: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Open(Salted),
    Sealed(Vec<u8>),
    Withheld,
}

/// One part of the evidence.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    kind: Kind,
    /// The key that it is sealed with, or was before it was disclosed.
    key: Option<KeyId>,
    commitment: Hash,
    form: Form,
}

impl Part {
    /// A part in the open, salted with 32 fresh random bytes.
    ///
    /// # Errors
    /// [`NotCanonical`] when the value cannot be written as JSON.
    pub fn new(kind: Kind, salt: [u8; 32], value: &Value) -> Result<Self, NotCanonical> {
        let canonical = json_to_canonical(value)?;
        let open = Salted { salt, canonical };
        Ok(Self::of(kind, None, open))
    }

    fn of(kind: Kind, key: Option<KeyId>, open: Salted) -> Self {
        let commitment =
            Hash::of_parts(&[PART_DOMAIN, kind.word(), b"\0", &open.salt, &open.canonical]);
        Self {
            kind,
            key,
            commitment,
            form: Form::Open(open),
        }
    }

    /// The same part, readable with `key` alone. What is sealed or withheld stays as it is.
    ///
    /// # Errors
    /// Encrypting failed.
    pub fn sealed(self, id: KeyId, key: &SealingKey) -> Result<Self, sealing::SealingFailed> {
        let Form::Open(open) = &self.form else {
            return Ok(self);
        };
        let plain = [&open.salt[..], &open.canonical].concat();
        let sealed = key.seal(self.commitment, plain)?;
        Ok(Self {
            key: Some(id),
            form: Form::Sealed(sealed),
            ..self
        })
    }

    /// The part in the open; `None` when it is withheld or its key is not there.
    fn opened(&self, keys: &dyn KeySource) -> Result<Option<Salted>, InvalidEvidence> {
        let sealed = match &self.form {
            Form::Open(open) => return Ok(Some(open.clone())),
            Form::Withheld => return Ok(None),
            Form::Sealed(sealed) => sealed,
        };
        let Some(key) = self.key.and_then(|id| keys.key(id)) else {
            return Ok(None);
        };
        let plain = key
            .open(self.commitment, sealed.clone())
            .ok_or(InvalidEvidence::Sealed)?;
        let (salt, canonical) = plain
            .split_first_chunk::<32>()
            .ok_or(InvalidEvidence::Sealed)?;
        let open = Salted {
            salt: *salt,
            canonical: canonical.to_vec(),
        };
        match Self::of(self.kind, self.key, open) {
            Self {
                commitment,
                form: Form::Open(open),
                ..
            } if commitment == self.commitment => Ok(Some(open)),
            _ => Err(InvalidEvidence::Sealed),
        }
    }
}

/// What a leaf commits to, part by part.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    parts: Vec<Part>,
}

/// One part as it is stored, its fields in the order of canonical JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    #[serde(with = "hex", default, skip_serializing_if = "Option::is_none")]
    commitment: Option<Hash>,
    is: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyId>,
    #[serde(with = "hex", default, skip_serializing_if = "Option::is_none")]
    salt: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
}

impl Evidence {
    /// Puts parts together: at most one of control and one of details.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Details in the open, which is how auditors and tests write evidence.
    ///
    /// # Errors
    /// [`NotCanonical`] when the value cannot be written as JSON.
    pub fn open_details(salt: [u8; 32], value: &Value) -> Result<Self, NotCanonical> {
        Ok(Self::new(vec![Part::new(Kind::Details, salt, value)?]))
    }

    /// What the leaf holds.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        let mut all = EVIDENCE_DOMAIN.to_vec();
        for part in &self.parts {
            all.push(u8::from(part.key.is_some()));
            all.extend(part.key.iter().flat_map(|key| key.0));
            all.extend(part.commitment.0);
        }
        Hash::of(&all)
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts: Vec<Stored<'_>> = self.parts.iter().map(stored).collect();
        // Nothing in it can fail to be written.
        serde_json::to_vec(&parts).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`InvalidEvidence::Form`] unless writing it again gives the same bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidEvidence> {
        let read: Vec<Stored<'_>> =
            serde_json::from_slice(bytes).map_err(|_| InvalidEvidence::Form)?;
        let parts = read.into_iter().map(part).collect::<Option<Vec<Part>>>();
        let evidence = Self {
            parts: parts.ok_or(InvalidEvidence::Form)?,
        };
        let count = |kind| {
            evidence
                .parts
                .iter()
                .filter(|part| part.kind == kind)
                .count()
        };
        let is_whole = count(Kind::Control) <= 1 && count(Kind::Details) <= 1;
        match is_whole && evidence.to_bytes() == bytes {
            true => Ok(evidence),
            false => Err(InvalidEvidence::Form),
        }
    }

    /// What a gateway that starts again needs; null where there is nothing.
    #[must_use]
    pub fn control(&self) -> Value {
        let control = self.parts.iter().find(|part| part.kind == Kind::Control);
        match control.map(|part| &part.form) {
            Some(Form::Open(open)) => serde_json::from_slice(&open.canonical).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Reads the stored form, compares it with a leaf's commitment, and opens what there are keys for.
    ///
    /// # Errors
    /// [`InvalidEvidence`] when the form is wrong or it belongs to another leaf.
    pub fn open(
        bytes: &[u8],
        commitment: Hash,
        keys: &dyn KeySource,
    ) -> Result<Opened, InvalidEvidence> {
        let evidence = Self::parse(bytes)?;
        if evidence.commitment() != commitment {
            return Err(InvalidEvidence::Commitment);
        }
        evidence.opened(keys)
    }

    /// Opens what there are keys for.
    ///
    /// # Errors
    /// [`InvalidEvidence`] when a sealed part is not what it says.
    pub fn opened(&self, keys: &dyn KeySource) -> Result<Opened, InvalidEvidence> {
        let mut opened = Opened::default();
        let (mut names, mut details) = (Names::default(), None);
        for part in &self.parts {
            let Some(open) = part.opened(keys)? else {
                opened.closed.push(part.key);
                continue;
            };
            let text = String::from_utf8(open.canonical).map_err(|_| InvalidEvidence::Form)?;
            match part.kind {
                Kind::Control => opened.control = Some(text),
                Kind::Details => details = Some(text),
                Kind::Names => names.learn(&text).ok_or(InvalidEvidence::Form)?,
            }
        }
        opened.details = details.map(|text| names.restore(text));
        Ok(opened)
    }

    /// Its commitments alone.
    #[must_use]
    pub fn withheld(&self) -> Self {
        let parts = self.parts.iter().map(|part| Part {
            form: Form::Withheld,
            ..part.clone()
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The same evidence for somebody without keys: what there are keys for in the open, the rest
    /// withheld.
    ///
    /// # Errors
    /// [`InvalidEvidence`] when a sealed part is not what it says.
    pub fn disclosed(&self, keys: &dyn KeySource) -> Result<Self, InvalidEvidence> {
        let disclose = |part: &Part| {
            Ok(Part {
                form: part.opened(keys)?.map_or(Form::Withheld, Form::Open),
                ..part.clone()
            })
        };
        let parts = self.parts.iter().map(disclose).collect::<Result<_, _>>()?;
        Ok(Self { parts })
    }
}

fn stored(part: &Part) -> Stored<'_> {
    let mut stored = Stored {
        commitment: None,
        is: part.kind,
        key: part.key,
        salt: None,
        sealed: None,
        value: None,
    };
    match &part.form {
        Form::Open(Salted { salt, canonical }) => {
            stored.salt = Some(Hash(*salt));
            stored.value = serde_json::from_slice(canonical).ok();
        }
        Form::Sealed(sealed) => {
            stored.commitment = Some(part.commitment);
            stored.sealed = Some(STANDARD_NO_PAD.encode(sealed));
        }
        Form::Withheld => stored.commitment = Some(part.commitment),
    }
    stored
}

fn part(stored: Stored<'_>) -> Option<Part> {
    let Stored { is: kind, key, .. } = stored;
    let (commitment, form) = match (stored.commitment, stored.salt, stored.sealed, stored.value) {
        (None, Some(salt), None, Some(value)) => {
            let open = Salted {
                salt: salt.0,
                canonical: value.get().as_bytes().to_vec(),
            };
            return Some(Part::of(kind, key, open));
        }
        (Some(commitment), None, Some(sealed), None) => {
            key?;
            (
                commitment,
                Form::Sealed(STANDARD_NO_PAD.decode(sealed).ok()?),
            )
        }
        (Some(commitment), None, None, None) => (commitment, Form::Withheld),
        _ => return None,
    };
    Some(Part {
        kind,
        key,
        commitment,
        form,
    })
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({})", self.commitment())
    }
}

/// Evidence as far as there were keys for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    control: Option<String>,
    details: Option<String>,
    /// The keys of parts that stayed closed; none for what was withheld without ever having one.
    pub closed: Vec<Option<KeyId>>,
}

impl Opened {
    /// What happened, as canonical JSON in which everybody whose name is known is named; `None` when
    /// it is closed, or there is none.
    #[must_use]
    pub fn details(&self) -> Option<&str> {
        self.details.as_deref()
    }

    /// All fields of what is open.
    #[must_use]
    pub fn value(&self) -> Value {
        let mut fields = Map::new();
        for text in [&self.control, &self.details].into_iter().flatten() {
            if let Ok(Value::Object(more)) = serde_json::from_str(text) {
                fields.extend(more);
            }
        }
        Value::Object(fields)
    }
}
