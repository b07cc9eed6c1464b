//! What an authenticator says of itself, of the person and of a new credential.
//!
//! In scope: `authenticatorData`.
//! Out of scope: who is believed.
//! Invariant: every byte belongs to a part that a flag announces; nothing is left over.

use ciborium::Value;

/// The longest name of a credential in bytes (section 4 of the specification).
pub const MAX_CREDENTIAL_ID_BYTES: usize = 1023;
/// The most bytes; keys of 8,192 bits and some extensions fit.
const MAX_BYTES: usize = 8192;
/// How deep extensions may nest.
const MAX_DEPTH: usize = 8;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const CREDENTIAL: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

/// Why bytes are not authenticator data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthenticatorData {
    /// They end too early, go on too long or are too many.
    #[error("the authenticator's part of the answer has the wrong length")]
    Length,
    /// The flags contradict each other.
    #[error("the authenticator's flags contradict each other")]
    Flags,
    /// A key or extensions are not CBOR maps.
    #[error("the authenticator's part of the answer can't be read")]
    Form,
}

/// `authenticatorData`, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticatorData<'a> {
    /// SHA-256 of the relying party's id.
    pub relying_party: &'a [u8],
    /// Whether a person touched it.
    pub present: bool,
    /// Whether it verified the person.
    pub verified: bool,
    /// Whether the credential can leave the device that made it.
    pub backup_eligible: bool,
    /// How often the credential has signed.
    pub counter: u32,
    /// The credential that was made.
    pub credential: Option<NewCredential<'a>>,
}

/// A credential in `authenticatorData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewCredential<'a> {
    /// The authenticator's name for it.
    pub id: &'a [u8],
    /// The public key (COSE).
    pub public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// [`InvalidAuthenticatorData`], see its variants.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidAuthenticatorData> {
        use InvalidAuthenticatorData::{Flags, Form, Length};
        if bytes.len() > MAX_BYTES {
            return Err(Length);
        }
        let (relying_party, rest) = bytes.split_at_checked(32).ok_or(Length)?;
        let (&[flags], rest) = rest.split_first_chunk().ok_or(Length)?;
        let (counter, mut rest) = rest.split_first_chunk().ok_or(Length)?;
        let has = |flag: u8| flags & flag != 0;
        if has(BACKED_UP) && !has(BACKUP_ELIGIBLE) {
            return Err(Flags);
        }
        let mut credential = None;
        if has(CREDENTIAL) {
            let (id, after) = credential_id(rest)?;
            let length = map_length(after).ok_or(Form)?;
            let (public_key, after) = after.split_at_checked(length).ok_or(Length)?;
            credential = Some(NewCredential { id, public_key });
            rest = after;
        }
        if has(EXTENSIONS) {
            let length = map_length(rest).ok_or(Form)?;
            rest = rest.get(length..).ok_or(Length)?;
        }
        if !rest.is_empty() {
            return Err(Length);
        }
        Ok(Self {
            relying_party,
            present: has(PRESENT),
            verified: has(VERIFIED),
            backup_eligible: has(BACKUP_ELIGIBLE),
            counter: u32::from_be_bytes(*counter),
            credential,
        })
    }
}

/// The name of a credential and what follows it; before it is the model of the authenticator, which
/// says nothing where no attestation is believed.
fn credential_id(bytes: &[u8]) -> Result<(&[u8], &[u8]), InvalidAuthenticatorData> {
    use InvalidAuthenticatorData::Length;
    let (_model, rest) = bytes.split_at_checked(16).ok_or(Length)?;
    let (length, rest) = rest.split_first_chunk().ok_or(Length)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > MAX_CREDENTIAL_ID_BYTES {
        return Err(Length);
    }
    rest.split_at_checked(length).ok_or(Length)
}

/// How many bytes the CBOR map at the start of `bytes` has.
fn map_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH);
    match value {
        Ok(Value::Map(_)) => bytes.len().checked_sub(rest.len()),
        _ => None,
    }
}
