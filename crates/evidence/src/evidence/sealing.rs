//! Sealing parts of the evidence, so that destroying a key destroys what it sealed.
//!
//! In scope: names of keys, and what is done with one.
//! Out of scope: making, keeping and destroying keys.
//! Invariant: two parts are never sealed with the same bytes: each part's key is its own.
//! Specification: AES-256-GCM with the key
//! `HMAC-SHA-256(key, "countersign/seal/v1\0" ‖ commitment)`, a nonce of zeros, no further data. The
//! plaintext is the part's salt and its value; a commitment comes again only for the same plaintext.

use std::{fmt, str::FromStr, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use countersign_core::canonical::Hash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// The name of a key, which says nothing about whose it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        hex::encode::<8, 16, S>(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        hex::decode(from).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a text is no name of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key is 16 lower-case hexadecimal digits")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;
    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        hex::parse(text.as_bytes()).map(Self).ok_or(InvalidKeyId)
    }
}

/// A part could not be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the evidence could not be encrypted")]
pub struct SealingFailed;

/// 32 secret bytes that parts are sealed with.
#[derive(Clone)]
pub struct SealingKey(pub [u8; 32]);

impl SealingKey {
    /// This key made ready for use.
    #[must_use]
    pub fn ready(&self) -> Ready {
        Ready(hmac::Key::new(hmac::HMAC_SHA256, &self.0))
    }
}

/// A key made ready, so that what is the same for every part is done once. It is wiped when it is
/// dropped.
pub struct Ready(hmac::Key);

impl Ready {
    /// Encrypts the part of this commitment.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn seal(
        &self,
        commitment: Hash,
        mut plain: Vec<u8>,
    ) -> Result<Vec<u8>, SealingFailed> {
        let key = self.of_part(commitment).ok_or(SealingFailed)?;
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut plain)
            .map_err(|_| SealingFailed)?;
        Ok(plain)
    }

    /// The salt and value of the part; `None` when this is not its key, or it was changed.
    pub(super) fn open(&self, commitment: Hash, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.of_part(commitment)?;
        let length = key
            .open_in_place(nonce(), Aad::empty(), &mut sealed)
            .ok()?
            .len();
        sealed.truncate(length);
        Some(sealed)
    }

    fn of_part(&self, commitment: Hash) -> Option<LessSafeKey> {
        let mut message = *b"countersign/seal/v1\0................................";
        let place = message.last_chunk_mut::<32>()?;
        *place = commitment.0;
        let derived = hmac::sign(&self.0, &message);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok()?;
        Some(LessSafeKey::new(key))
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready(hidden)")
    }
}

/// Each key encrypts one text, so that its nonce need not differ.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(hidden)")
    }
}

/// Who has keys.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The key of this name; `None` when it was destroyed, or was never here.
    fn key(&self, id: KeyId) -> Option<SealingKey>;

    /// The same key made ready; kept so by whoever is asked often.
    fn ready(&self, id: KeyId) -> Option<Held<'_>> {
        self.key(id).map(|key| Held::Shared(Arc::new(key.ready())))
    }
}

/// A key that somebody has made ready.
#[derive(Debug)]
pub enum Held<'a> {
    /// It stays with them, so that several threads don't even count who uses it.
    There(&'a Ready),
    /// It may be destroyed while it is used.
    Shared(Arc<Ready>),
}

impl std::ops::Deref for Held<'_> {
    type Target = Ready;
    fn deref(&self) -> &Ready {
        match self {
            Self::There(ready) => ready,
            Self::Shared(ready) => ready,
        }
    }
}

/// Somebody without any key, such as whoever verifies a receipt.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKeys;

impl KeySource for NoKeys {
    fn key(&self, _: KeyId) -> Option<SealingKey> {
        None
    }
}
