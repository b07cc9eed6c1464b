//! Ed25519 keys with a name, as signed notes know them.
//!
//! In scope: signing keys made from a seed, verifying keys and their text form, key ids.
//! Out of scope: making seeds, and keeping or loading keys; the gateway does both.
//! Invariant: a key's name is never empty and holds no space, `+` or control character, so every
//! text form reads back as the same key.
//! Specification: <https://c2sp.org/signed-note>, signature type 0x01.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::canonical::Hash;

/// The signature type of Ed25519 in a key id and in a verifier key.
const ED25519_TYPE: u8 = 0x01;

/// The length of an Ed25519 signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The name cannot stand in a signature line.
    #[error("`{}` is not a key name: use 1 to 200 characters without spaces, `+` or control characters", .0.escape_debug())]
    Name(String),
    /// The text is not `name+hexkeyid+base64`.
    #[error(
        "a verifier key is written `name+keyid+base64`; copy it whole from the installation's key page"
    )]
    Form,
    /// The key id does not belong to the name and the public key.
    #[error(
        "the key id `{0}` does not belong to this name and public key; copy the verifier key again"
    )]
    Id(String),
    /// The signature type is not Ed25519.
    #[error(
        "the verifier key has a signature type other than Ed25519; only Ed25519 keys are known"
    )]
    Type,
    /// The seed or public key was refused by the cryptographic library.
    #[error("the key is not an Ed25519 key; a seed and a public key have 32 bytes each")]
    Material,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to this key and these bytes")]
pub struct BadSignature;

/// The first four bytes of `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)`, written as 8 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn of(name: &str, public: &[u8; 32]) -> Self {
        let Hash([a, b, c, d, ..]) =
            Hash::of_parts(&[name.as_bytes(), b"\n", &[ED25519_TYPE], public]);
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Whether a name may stand in a signature line. A line of a key that is not known must be ignored,
/// so nothing more than the specification is asked of its name.
pub(crate) fn is_signer_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// Whether a name may be given to a key here.
fn is_name(name: &str) -> bool {
    is_signer_name(name) && name.len() <= 200 && !name.contains(char::is_control)
}

/// A public key with its name.
///
/// Its text form is `name+keyid+base64(0x01 ‖ public key)`, the verifier key of Go's
/// `golang.org/x/mod/sumdb/note`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    name: Box<str>,
    id: KeyId,
    public: [u8; 32],
}

impl VerifyingKey {
    /// Names a public key of 32 bytes.
    ///
    /// # Errors
    /// [`InvalidKey::Name`] when the name cannot stand in a signature line.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, InvalidKey> {
        if !is_name(name) {
            return Err(InvalidKey::Name(name.chars().take(60).collect()));
        }
        Ok(Self {
            name: name.into(),
            id: KeyId::of(name, &public),
            public,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The public key's 32 bytes.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// `name+keyid`, which names the key in an envelope.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}+{}", self.name, self.id)
    }

    /// Checks a signature of 64 bytes over `message`.
    ///
    /// # Errors
    /// [`BadSignature`] when it is of another key, of other bytes or of another length.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }
}

impl FromStr for VerifyingKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidKey::Form);
        };
        let bytes = STANDARD.decode(key).map_err(|_| InvalidKey::Form)?;
        let (kind, public) = bytes.split_first().ok_or(InvalidKey::Form)?;
        if *kind != ED25519_TYPE {
            return Err(InvalidKey::Type);
        }
        let public = public.try_into().map_err(|_| InvalidKey::Material)?;
        let key = Self::new(name, public)?;
        if key.id.to_string() != id {
            return Err(InvalidKey::Id(id.chars().take(60).collect()));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

/// A private key with its name. Its debug form shows only the public part.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifying: VerifyingKey,
}

impl SigningKey {
    /// The key of a 32-byte seed, the private key of RFC 8032.
    ///
    /// # Errors
    /// [`InvalidKey::Name`] for an unusable name, [`InvalidKey::Material`] for an unusable seed.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidKey::Material)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| InvalidKey::Material)?;
        Ok(Self {
            pair,
            verifying: VerifyingKey::new(name, public)?,
        })
    }

    /// The public part.
    #[must_use]
    pub fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The signature of `message`, 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of `golang.org/x/mod/sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn verifier_keys_read_back_as_written() {
        assert_eq!(PETER.parse::<VerifyingKey>().unwrap().to_string(), PETER);
        let own = SigningKey::from_seed("log.example/1", &[7; 32]).unwrap();
        assert_eq!(
            own.verifying().to_string().parse().as_ref(),
            Ok(own.verifying())
        );
        assert!(!format!("{own:?}").contains("BwcH"));
    }

    #[test]
    fn damaged_verifier_keys_are_refused() {
        for bad in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10Q=",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(bad.parse::<VerifyingKey>().is_err(), "{bad}");
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{2028}b"] {
            assert!(SigningKey::from_seed(name, &[7; 32]).is_err(), "{name:?}");
        }
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let Hash(seed) = seed.parse().unwrap();
        let key = SigningKey::from_seed("test", &seed).unwrap();
        let signature = key.sign(&[0x72]);
        assert_eq!(signature[..4], [0x92, 0xa0, 0x09, 0xa9]);
        assert_eq!(key.verifying().verify(&[0x72], &signature), Ok(()));
        assert_eq!(
            key.verifying().verify(&[0x73], &signature),
            Err(BadSignature)
        );
        assert_eq!(
            key.verifying().verify(&[0x72], &signature[..63]),
            Err(BadSignature)
        );
    }
}
