//! Credentials of a target, fetched by the gateway for one run and kept out of sight.
//!
//! In scope: a secret from the gateway's environment, a file or a command; hiding it in messages;
//! masking it in output; signing with it.
//! Out of scope: writing secrets, leases and rotation; the copies that the operating system makes
//! of a process's environment.
//! Invariant: outside of this crate a [`Secret`] can only be placed in an
//! [`Environment`](crate::spawn::Environment), sign, or stand in the request that proves with it;
//! nothing prints, compares or serialises it (P11).

mod client;
mod mask;
mod sign;
mod source;

use std::fmt;

use zeroize::Zeroizing;

pub use mask::{Masker, mask};
pub use source::{Source, VaultError};

/// A credential. Its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps `value`.
    ///
    /// # Errors
    /// [`VaultError::Empty`] for nothing, [`VaultError::Nul`] for a value with a zero byte, which no
    /// environment can hold.
    pub fn new(value: Vec<u8>) -> Result<Self, VaultError> {
        let value = Zeroizing::new(value);
        if value.is_empty() {
            return Err(VaultError::Empty);
        }
        if value.contains(&0) {
            return Err(VaultError::Nul);
        }
        Ok(Self(value))
    }

    /// The credential as the value of an HTTP header, such as `Bearer …`, for the request that
    /// proves with it.
    ///
    /// # Errors
    /// [`VaultError::NotAHeader`] when it has anything but visible characters and blanks between
    /// them.
    pub fn header(&self) -> Result<&[u8], VaultError> {
        let plain = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
        let bare = self.0.trim_ascii().len() == self.0.len();
        match bare && self.0.iter().all(plain) {
            true => Ok(&self.0),
            false => Err(VaultError::NotAHeader),
        }
    }

    /// Whether [`header`](Self::header) has a value.
    ///
    /// # Errors
    /// [`VaultError::NotAHeader`] when it has none.
    pub fn check_header(&self) -> Result<(), VaultError> {
        self.header().map(|_| ())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new(b"hunter2".to_vec()).unwrap();
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[secret] [secret] Some([secret])"
        );
        for (value, good) in [
            ("Bearer a.b-c=", true),
            ("Bearer a\r\nx: y", false),
            (" a", false),
            ("a\n", false),
            ("é", false),
        ] {
            let secret = Secret::new(value.as_bytes().to_vec()).unwrap();
            assert_eq!(secret.check_header().is_ok(), good, "{value:?}");
        }
        assert!(matches!(Secret::new(Vec::new()), Err(VaultError::Empty)));
        assert!(matches!(
            Secret::new(b"a\0b".to_vec()),
            Err(VaultError::Nul)
        ));
    }
}
