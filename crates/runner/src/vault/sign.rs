//! Signing with a credential, without handing it out.
//!
//! In scope: the signatures of Standard Webhooks; checking those of Slack and GitHub; those of
//! a private RSA key.
//! Out of scope: what is signed, and who is sent it.
//! Invariant: keys leave this module only as signatures. Several keys in one credential, with
//! blanks between them, sign alike, so that a receiver can change over to a new one.
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use aws_lc_rs::{hmac, rsa::KeyPair as RsaKeyPair, signature};
use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, PAD, STANDARD},
    },
};
use countersign_core::canonical::Hash;
use zeroize::Zeroizing;

use super::{Secret, VaultError};

/// What every key begins with.
const PREFIX: &str = "whsec_";
/// How many bytes a key has.
const KEY: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys are handed out with and without padding.
const EITHER: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The most keys that sign at once.
const MAX_KEYS: usize = 4;
/// The fewest bytes of a secret that others sign with.
const MIN_SECRET: usize = 16;

impl Secret {
    /// Whether [`sign_webhook`](Self::sign_webhook) can sign with it.
    ///
    /// # Errors
    /// [`VaultError::NotSigning`] when it can't.
    pub fn check_webhook(&self) -> Result<(), VaultError> {
        self.webhook_keys().map(|_| ())
    }

    /// The value of `webhook-signature` for a message: `v1,` and the base64 of HMAC-SHA256 over
    /// `ID.TIMESTAMP.BODY`, once for each key.
    ///
    /// # Errors
    /// [`VaultError::NotSigning`] when the credential is not made of `whsec_` keys.
    pub fn sign_webhook(
        &self,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<String, VaultError> {
        let before = format!("{id}.{timestamp}.");
        let signatures = self.webhook_keys()?.into_iter().map(|key| {
            let mut context = hmac::Context::with_key(&key);
            context.update(before.as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        Ok(signatures.collect::<Vec<_>>().join(" "))
    }

    /// Whether `signature`, in hexadecimal digits, is Slack's for a body sent at `timestamp`.
    ///
    /// Specification: <https://docs.slack.dev/authentication/verifying-requests-from-slack/>
    #[must_use]
    pub fn signed_by_slack(&self, timestamp: &str, body: &[u8], signature: &str) -> bool {
        let Ok(Hash(signature)) = signature.parse() else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        let mut signed = format!("v0:{timestamp}:").into_bytes();
        signed.extend_from_slice(body);
        hmac::verify(&key, &signed, &signature).is_ok()
    }

    /// Whether `signature`, in hexadecimal digits, is GitHub's for a body.
    ///
    /// Specification: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
    #[must_use]
    pub fn signed_by_github(&self, body: &[u8], signature: &str) -> bool {
        let Ok(Hash(signature)) = signature.parse() else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        hmac::verify(&key, body, &signature).is_ok()
    }

    /// Whether it can be the secret of webhooks: nobody guesses a long one.
    ///
    /// # Errors
    /// [`VaultError::TooShort`] when it is shorter than 16 bytes.
    pub fn check_long(&self) -> Result<(), VaultError> {
        match self.expose().len() {
            0..MIN_SECRET => Err(VaultError::TooShort),
            _ => Ok(()),
        }
    }

    /// Whether [`sign_rs256`](Self::sign_rs256) can sign with it.
    ///
    /// # Errors
    /// [`VaultError::NotAKey`] when it can't.
    pub fn check_rsa(&self) -> Result<(), VaultError> {
        self.rsa_key().map(|_| ())
    }

    /// The signature of a text with a private RSA key in PEM, by PKCS #1 v1.5 with SHA-256.
    ///
    /// # Errors
    /// [`VaultError::NotAKey`] when the credential is none.
    pub fn sign_rs256(&self, text: &[u8]) -> Result<Vec<u8>, VaultError> {
        let key = self.rsa_key()?;
        let mut signature = vec![0; key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        key.sign(&signature::RSA_PKCS1_SHA256, &random, text, &mut signature)
            .map_err(|_| VaultError::NotAKey)?;
        Ok(signature)
    }

    fn rsa_key(&self) -> Result<RsaKeyPair, VaultError> {
        let text = std::str::from_utf8(self.expose()).map_err(|_| VaultError::NotAKey)?;
        let within = |kind: &str| {
            let (_, rest) = text.split_once(&format!("-----BEGIN {kind}-----"))?;
            let (body, _) = rest.split_once(&format!("-----END {kind}-----"))?;
            let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
            STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new)
        };
        let key = match (within("RSA PRIVATE KEY"), within("PRIVATE KEY")) {
            (Some(der), _) => RsaKeyPair::from_der(&der),
            (None, Some(der)) => RsaKeyPair::from_pkcs8(&der),
            (None, None) => return Err(VaultError::NotAKey),
        };
        key.map_err(|_| VaultError::NotAKey)
    }

    fn webhook_keys(&self) -> Result<Vec<hmac::Key>, VaultError> {
        let text = std::str::from_utf8(self.expose()).map_err(|_| VaultError::NotSigning)?;
        let keys = text.split_ascii_whitespace().map(|word| {
            let encoded = word.strip_prefix(PREFIX).ok_or(VaultError::NotSigning)?;
            let key = EITHER
                .decode(encoded)
                .map(Zeroizing::new)
                .map_err(|_| VaultError::NotSigning)?;
            KEY.contains(&key.len())
                .then(|| hmac::Key::new(hmac::HMAC_SHA256, &key))
                .ok_or(VaultError::NotSigning)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            1..=MAX_KEYS => Ok(keys),
            _ => Err(VaultError::NotSigning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn deliveries_of_githubs_are_known() {
        // The example of GitHub's documentation.
        let key = secret("It's a Secret to Everybody");
        let good = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(key.signed_by_github(b"Hello, World!", good));
        assert!(!key.signed_by_github(b"Hello, World?", good));
        let body = b"Hello, World!";
        for bad in [
            "",
            "757107",
            &good.replace('7', "8"),
            &format!("{good}00"),
            "sha256=757107",
        ] {
            assert!(!key.signed_by_github(body, bad), "{bad}");
        }
        assert!(!secret("It's a Secret to Nobody").signed_by_github(body, good));
        assert!(key.check_long().is_ok() && secret("short").check_long().is_err());
    }

    #[test]
    fn a_private_key_signs_and_nothing_else_does() {
        use aws_lc_rs::{
            encoding::{AsDer, Pkcs8V1Der},
            rsa::{KeyPair, KeySize},
            signature::KeyPair as _,
        };
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        let key = secret(&pem("PRIVATE KEY"));
        let signed = key.sign_rs256(b"text").unwrap();
        let public = signature::UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            pair.public_key().as_ref(),
        );
        assert!(public.verify(b"text", &signed).is_ok());
        assert!(public.verify(b"other", &signed).is_err());
        for bad in [
            pem("PUBLIC KEY"),
            pem("RSA PRIVATE KEY"),
            body.clone(),
            "x".into(),
        ] {
            assert!(matches!(
                secret(&bad).sign_rs256(b"text"),
                Err(VaultError::NotAKey)
            ));
        }
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of the reference libraries' own tests.
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, at, body) = (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(secret(key).sign_webhook(id, at, body).unwrap(), expected);
        let other = format!("whsec_{}", STANDARD.encode([7; 24]));
        let both = secret(&format!("{other}\n{key}")).sign_webhook(id, at, body);
        let both = both.unwrap();
        assert!(both.ends_with(expected) && both.matches("v1,").count() == 2);
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        for bad in [
            "hunter2",
            "whsec_",
            "whsec_!!!!",
            " ",
            &short,
            &long,
            &format!("{good} {short}"),
            &[good.as_str(); 5].join(" "),
        ] {
            let error = secret(bad).check_webhook().unwrap_err().to_string();
            assert!(error.contains("whsec_"), "{error}");
            assert!(
                !error.contains(&good) && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(secret(&good).check_webhook().is_ok());
        assert!(secret(good.trim_end_matches('=')).check_webhook().is_ok());
    }
}
