//! Signing with a credential, without handing it out.
//!
//! In scope: the signatures of Standard Webhooks; checking those of Slack.
//! Out of scope: what is signed, and who is sent it.
//! Invariant: keys leave this module only as signatures. Several keys in one credential, with
//! blanks between them, sign alike, so that a receiver can change over to a new one.
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use aws_lc_rs::hmac;
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
