//! Secrets that are shown once.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::canonical::Hash;

use crate::keys;

/// What a secret is for; its prefix says so, so that scanners and people recognise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sign-in link.
    Link,
    /// A browser session.
    Session,
    /// A token.
    Token,
    /// A delegation: it counts only together with who its bearer is.
    Delegation,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Link => "csl_",
            Self::Session => "css_",
            Self::Token => "cst_",
            Self::Delegation => "csd_",
        }
    }
}

/// A secret with 256 random bits. Its text is never logged.
pub struct Secret(String);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn new(kind: Kind) -> anyhow::Result<Self> {
        Ok(Self(format!(
            "{}{}",
            kind.prefix(),
            URL_SAFE_NO_PAD.encode(keys::random()?)
        )))
    }

    /// The text, to show once.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }

    /// The hash of a secret that somebody sent; `None` when it can't be one.
    #[must_use]
    pub fn hash_of(text: &str) -> Option<Hash> {
        (text.len() == 47 && text.is_ascii()).then(|| Hash::of(text.as_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_the_length_that_is_accepted() {
        let secret = Secret::new(Kind::Token).unwrap();
        assert_eq!(Secret::hash_of(secret.text()), Some(secret.hash()));
        assert_eq!(Secret::hash_of("cst_short"), None);
    }
}
