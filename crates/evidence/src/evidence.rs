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
mod stored;
#[cfg(test)]
mod tests;

use countersign_core::canonical::{Hash, NotCanonical, append_canonical};
use serde_json::{Map, Value};

use names::Names;
use sealing::{KeyId, KeySource, Ready, SealingKey};

const EVIDENCE_DOMAIN: &[u8] = b"countersign/evidence/v2\0";
const PART_DOMAIN: &[u8] = b"countersign/part/v1\0";
/// How long a salt is, in bytes.
const SALT: usize = 32;
/// What is made room for before a value is written: most are longer, and few much longer.
const ROOM: usize = 512;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A part in the open: its salt, and behind it its value in canonical JSON.
#[derive(Clone, PartialEq, Eq)]
struct Salted(Vec<u8>);

impl Salted {
    fn new(salt: [u8; 32], canonical: &[u8]) -> Self {
        Self([&salt[..], canonical].concat())
    }

    /// What was sealed; `None` when it is too short to have a salt.
    fn of(plain: Vec<u8>) -> Option<Self> {
        (plain.len() >= SALT).then_some(Self(plain))
    }

    fn salt(&self) -> &[u8] {
        self.0.get(..SALT).unwrap_or_default()
    }

    fn canonical(&self) -> &[u8] {
        self.0.get(SALT..).unwrap_or_default()
    }

    /// Its value as text; `None` when it is none.
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.canonical()).ok()
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Open(Salted),
    Sealed(Vec<u8>),
    Withheld,
}

impl Form {
    fn length(&self) -> usize {
        match self {
            Self::Open(Salted(bytes)) | Self::Sealed(bytes) => bytes.len(),
            Self::Withheld => 0,
        }
    }
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
        let mut open = Vec::with_capacity(ROOM);
        open.extend_from_slice(&salt);
        append_canonical(value, &mut open)?;
        Ok(Self::of(kind, None, Salted(open)))
    }

    fn of(kind: Kind, key: Option<KeyId>, open: Salted) -> Self {
        Self {
            kind,
            key,
            commitment: commitment_to(kind, &open),
            form: Form::Open(open),
        }
    }

    /// The same part, readable with `key` alone. What is sealed or withheld stays as it is.
    ///
    /// # Errors
    /// Encrypting failed.
    pub fn sealed(self, id: KeyId, key: &SealingKey) -> Result<Self, sealing::SealingFailed> {
        self.sealed_with(id, &key.ready())
    }

    /// Like [`sealed`](Self::sealed), with a key that was made ready.
    ///
    /// # Errors
    /// Encrypting failed.
    pub fn sealed_with(self, id: KeyId, key: &Ready) -> Result<Self, sealing::SealingFailed> {
        let Form::Open(Salted(plain)) = self.form else {
            return Ok(self);
        };
        let sealed = key.seal(self.commitment, plain)?;
        Ok(Self {
            key: Some(id),
            form: Form::Sealed(sealed),
            ..self
        })
    }

    /// The part in the open; `None` when it is withheld or its key is not there.
    fn opened(self, keys: &dyn KeySource) -> Result<Option<Salted>, InvalidEvidence> {
        let sealed = match self.form {
            Form::Open(open) => return Ok(Some(open)),
            Form::Withheld => return Ok(None),
            Form::Sealed(sealed) => sealed,
        };
        let Some(key) = self.key.and_then(|id| keys.ready(id)) else {
            return Ok(None);
        };
        let plain = key.open(self.commitment, sealed);
        let open = plain.and_then(Salted::of).ok_or(InvalidEvidence::Sealed)?;
        match commitment_to(self.kind, &open) == self.commitment {
            true => Ok(Some(open)),
            false => Err(InvalidEvidence::Sealed),
        }
    }
}

fn commitment_to(kind: Kind, open: &Salted) -> Hash {
    Hash::of_parts(&[PART_DOMAIN, kind.word(), b"\0", &open.0])
}

/// What a leaf commits to, part by part.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    parts: Vec<Part>,
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
        let mut all = Vec::with_capacity(EVIDENCE_DOMAIN.len() + self.parts.len() * (1 + 8 + 32));
        all.extend_from_slice(EVIDENCE_DOMAIN);
        for part in &self.parts {
            all.push(u8::from(part.key.is_some()));
            if let Some(key) = &part.key {
                all.extend_from_slice(&key.0);
            }
            all.extend_from_slice(&part.commitment.0);
        }
        Hash::of(&all)
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        stored::write(&self.parts)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`InvalidEvidence::Form`] unless writing it again gives the same bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidEvidence> {
        let parts = stored::read(bytes).ok_or(InvalidEvidence::Form)?;
        let count = |kind| parts.iter().filter(|part| part.kind == kind).count();
        let is_whole = count(Kind::Control) <= 1 && count(Kind::Details) <= 1;
        match is_whole {
            true => Ok(Self { parts }),
            false => Err(InvalidEvidence::Form),
        }
    }

    /// What a gateway that starts again needs; null where there is nothing.
    #[must_use]
    pub fn control(&self) -> Value {
        let control = self.parts.iter().find(|part| part.kind == Kind::Control);
        match control.map(|part| &part.form) {
            Some(Form::Open(open)) => serde_json::from_slice(open.canonical()).unwrap_or_default(),
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
        Self::committed(bytes, commitment)?.into_opened(keys, true)
    }

    /// Like [`open`](Self::open), for whoever does not look at the details: they are opened and
    /// checked, and left out of what is given.
    pub(crate) fn check(
        bytes: &[u8],
        commitment: Hash,
        keys: &dyn KeySource,
    ) -> Result<Opened, InvalidEvidence> {
        Self::committed(bytes, commitment)?.into_opened(keys, false)
    }

    fn committed(bytes: &[u8], commitment: Hash) -> Result<Self, InvalidEvidence> {
        let evidence = Self::parse(bytes)?;
        match evidence.commitment() == commitment {
            true => Ok(evidence),
            false => Err(InvalidEvidence::Commitment),
        }
    }

    /// Opens what there are keys for.
    ///
    /// # Errors
    /// [`InvalidEvidence`] when a sealed part is not what it says.
    pub fn opened(&self, keys: &dyn KeySource) -> Result<Opened, InvalidEvidence> {
        self.clone().into_opened(keys, true)
    }

    fn into_opened(
        self,
        keys: &dyn KeySource,
        with_details: bool,
    ) -> Result<Opened, InvalidEvidence> {
        let mut opened = Opened::default();
        let (mut names, mut details) = (Names::default(), None);
        for part in self.parts {
            let (kind, key) = (part.kind, part.key);
            let Some(open) = part.opened(keys)? else {
                opened.closed.push(key);
                continue;
            };
            let text = open.text().ok_or(InvalidEvidence::Form)?;
            match kind {
                Kind::Control => opened.control = Some(text.to_owned()),
                Kind::Details => details = with_details.then(|| text.to_owned()),
                Kind::Names => names.learn(text).ok_or(InvalidEvidence::Form)?,
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
                form: part
                    .clone()
                    .opened(keys)?
                    .map_or(Form::Withheld, Form::Open),
                ..part.clone()
            })
        };
        let parts = self.parts.iter().map(disclose).collect::<Result<_, _>>()?;
        Ok(Self { parts })
    }
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
