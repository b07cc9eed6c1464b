//! Proving to somebody else that this gateway is a client of theirs.
//!
//! In scope: the two ways of RFC 6749, section 2.3.1; bearing a token; a password.
//! Out of scope: sending it.
//! Invariant: what comes out is for the one request that proves with it, and is overwritten when it is
//! dropped.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Secret, VaultError};

impl Secret {
    /// The value of an `Authorization` header: client and secret, each form-encoded, in base64.
    #[must_use]
    pub fn client_basic(&self, client: &str) -> Zeroizing<String> {
        let mut pair = Zeroizing::new(encoded(client.as_bytes()));
        pair.push(':');
        pair.push_str(&Zeroizing::new(encoded(self.expose())));
        let mut header = Zeroizing::new(String::from("Basic "));
        STANDARD.encode_string(pair.as_bytes(), &mut header);
        header
    }

    /// The value of an `Authorization` header of whoever bears it.
    ///
    /// # Errors
    /// [`VaultError::NotAHeader`] when it has anything but visible characters.
    pub fn bearer(&self) -> Result<Zeroizing<String>, VaultError> {
        let token = std::str::from_utf8(self.header()?).map_err(|_| VaultError::NotAHeader)?;
        let mut header = Zeroizing::new(String::with_capacity("Bearer ".len() + token.len()));
        header.push_str("Bearer ");
        header.push_str(token);
        Ok(header)
    }

    /// The password of whoever signs in with a name and a password.
    ///
    /// # Errors
    /// [`VaultError::NotAHeader`] when it has anything but visible characters and blanks between
    /// them.
    pub fn password(&self) -> Result<Zeroizing<String>, VaultError> {
        let password = std::str::from_utf8(self.header()?).map_err(|_| VaultError::NotAHeader)?;
        Ok(Zeroizing::new(password.to_owned()))
    }

    /// The field of a form: `client_secret=…`.
    #[must_use]
    pub fn client_form(&self) -> Zeroizing<String> {
        let value = Zeroizing::new(encoded(self.expose()));
        Zeroizing::new(format!("client_secret={}", value.as_str()))
    }
}

/// As `application/x-www-form-urlencoded` writes it.
fn encoded(bytes: &[u8]) -> String {
    // Room for all of it, so that no copy of it is left behind.
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                text.push(char::from(*byte));
            }
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_prove_themselves_as_specified() {
        let secret = Secret::new(b"7Fjf p0+/:\xc3\xa9~".to_vec()).unwrap();
        let basic = secret.client_basic("s6Bh:dRk");
        let encoded = basic.strip_prefix("Basic ").unwrap();
        let pair = STANDARD.decode(encoded).unwrap();
        assert_eq!(pair, b"s6Bh%3AdRk:7Fjf+p0%2B%2F%3A%C3%A9%7E");
        let form = secret.client_form();
        assert_eq!(form.as_str(), "client_secret=7Fjf+p0%2B%2F%3A%C3%A9%7E");
    }
}
