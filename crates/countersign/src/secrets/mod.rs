//! The secrets of an action, from asking to running.
//!
//! In scope: taking them out before anything is shown, decided or recorded; holding them in memory;
//! putting them back for the command alone. [`SecretFiles`] keeps those of held requests.
//! Out of scope: what a secret looks like (`policy::masking`), and what binds it (`core::masking`).
//! Invariant: outside of [`Secrets`] and its sealed files no part of the gateway has a secret of an
//! action. What runs has exactly those that were decided.

mod files;
pub(crate) mod shown;

use std::{borrow::Cow, fmt, sync::Arc};

use countersign_core::{
    action::Action,
    masking::{self, MASK_CLOSES, MASK_OPENS, Mask, NotRestored, Original, commitment},
};
use countersign_policy::{
    Masker,
    masking::{NotMasked, Taken},
};
use serde_json::Value;
use zeroize::Zeroizing;

pub use self::{
    files::{SecretFileError, SecretFiles},
    shown::{describe, like_a_mask},
};
use crate::keys;

/// Whether secrets are needed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Whoever asks has them and executes.
    Never,
    /// While the request is held, approved or runs.
    UntilItEnds,
}

/// One secret.
struct Secret {
    salt: [u8; 32],
    text: Zeroizing<String>,
}

/// The secrets of one action, in the order of its masks. Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    all: Arc<[Secret]>,
    keep: Keep,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            all: Arc::new([]),
            keep: Keep::Never,
        }
    }
}

/// Never shows them.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.all.len())
    }
}

/// Arguments whose secrets were taken out.
#[derive(Debug)]
pub struct TakenOut {
    /// What stands in their place, for the action.
    pub masks: Vec<Mask>,
    /// What they are.
    pub secrets: Secrets,
    /// Whether every mask hides a secret and nothing else.
    pub verified: bool,
}

/// A shorter secret is within other words by chance.
const REPEATED: usize = 6;
/// A shorter secret is not looked for at all.
const REPEATED_WORD: usize = 4;

/// Why secrets were not taken out; then nothing is asked.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The arguments.
    #[error(transparent)]
    NotMasked(#[from] NotMasked),
    /// The system's random generator failed.
    #[error("the secrets among the arguments can't be masked")]
    Random(#[source] anyhow::Error),
}

/// Takes the secrets out of arguments.
///
/// # Errors
/// [`MaskError`].
pub fn take_out(masker: &Masker, arguments: &mut Value, keep: Keep) -> Result<TakenOut, MaskError> {
    let taken = masker.take_out(arguments)?;
    let verified = taken.iter().all(|one| one.verified);
    let (mut masks, mut all) = (Vec::new(), Vec::new());
    for one in taken {
        let (mask, secret) = bound(one)?;
        masks.push(mask);
        all.push(secret);
    }
    let secrets = Secrets {
        all: all.into(),
        keep,
    };
    Ok(TakenOut {
        masks,
        secrets,
        verified,
    })
}

/// A secret's mask, and the secret with what binds the two.
fn bound(taken: Taken) -> Result<(Mask, Secret), MaskError> {
    let salt = keys::random().map_err(MaskError::Random)?;
    let text = Zeroizing::new(taken.secret);
    let mask = Mask {
        at: taken.at,
        start: taken.start,
        kind: taken.kind,
        length: text.chars().count(),
        verified: taken.verified,
        commitment: commitment(&salt, &text),
    };
    Ok((mask, Secret { salt, text }))
}

/// A text that somebody wrote beside an action, without its secrets.
#[must_use]
pub fn without(masker: &Masker, text: String) -> String {
    match masker.text(&text).text {
        Cow::Borrowed(_) => text,
        Cow::Owned(masked) => masked,
    }
}

/// A text whose signs of masks are written as what they are.
fn spelt_out(text: &str) -> String {
    let mut spelt = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            MASK_OPENS | MASK_CLOSES => spelt.extend(sign.escape_unicode()),
            other => spelt.push(other),
        }
    }
    spelt
}

/// A text with something else in the place of a word, where it stands alone.
fn without_word(text: &str, word: &str, instead: &str) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for (start, _) in text.match_indices(word) {
        let (before, found) = text.split_at(start);
        let behind = found.get(word.len()..).unwrap_or_default();
        let alone = !before.ends_with(is_part) && !behind.starts_with(is_part);
        if alone {
            result.push_str(before.get(done..).unwrap_or_default());
            result.push_str(instead);
            done = start + word.len();
        }
    }
    result.push_str(text.get(done..).unwrap_or_default());
    result
}

/// Masks texts that are shown beside an action.
pub struct TextMasks<'m> {
    masker: &'m Masker,
    /// Whether every mask until now hides a secret and nothing else.
    pub verified: bool,
}

impl<'m> TextMasks<'m> {
    /// With nothing masked yet.
    #[must_use]
    pub fn new(masker: &'m Masker) -> Self {
        Self {
            masker,
            verified: true,
        }
    }

    /// Masks one. The signs of masks that it has are spelt out, so that nothing in it passes for one.
    pub fn mask(&mut self, text: &mut String) {
        if text.contains([MASK_OPENS, MASK_CLOSES]) {
            self.verified = false;
            *text = spelt_out(text);
        }
        let masked = self.masker.text(text);
        self.verified &= masked.verified;
        if let Cow::Owned(masked) = masked.text {
            *text = masked;
        }
    }
}

impl Secrets {
    /// Whether they are needed when the request runs.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.keep == Keep::UntilItEnds && !self.all.is_empty()
    }

    /// A text without these secrets, which are those of `action`, however they look in it. Short ones
    /// are looked for as words of their own, unless they are letters only: where one of those were
    /// masked in a sentence, the sentence would tell it.
    #[must_use]
    pub fn mask(&self, action: &Action, mut text: String) -> String {
        for (mask, secret) in action.masked.iter().zip(self.all.iter()) {
            let secret = secret.text.as_str();
            if !text.contains(secret) {
                continue;
            }
            if secret.len() >= REPEATED {
                text = text.replace(secret, &mask.shown());
            } else if secret.len() >= REPEATED_WORD && !secret.chars().all(char::is_alphabetic) {
                text = without_word(&text, secret, &mask.shown());
            }
        }
        text
    }

    /// The action as it was asked for.
    ///
    /// # Errors
    /// These are not its secrets.
    pub fn restore(&self, action: &Action) -> Result<Action, NotRestored> {
        let originals = self.all.iter().map(|one| Original {
            salt: &one.salt,
            secret: &one.text,
        });
        masking::restore(action, originals)
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::canonical::Hash;
    use serde_json::json;

    use super::*;

    fn masked(secret: &str, text: &str) -> String {
        let action = Action {
            gate: "exec".into(),
            target: "release".parse().unwrap(),
            operation: "run".into(),
            arguments: json!({}),
            session: json!(null),
            masked: vec![Mask {
                at: "/argv/1".into(),
                start: 0,
                kind: "pin".into(),
                length: secret.chars().count(),
                verified: true,
                commitment: Hash::of(b""),
            }],
        };
        let secret = Secret {
            salt: [0; 32],
            text: Zeroizing::new(secret.into()),
        };
        let secrets = Secrets {
            all: [secret].into(),
            keep: Keep::Never,
        };
        secrets.mask(&action, text.into())
    }

    #[test]
    fn short_secrets_are_masked_where_they_are_words() {
        for (secret, text, shown) in [
            (
                "4711",
                "no pin 4711, really: 4711",
                "no pin ‹pin 4›, really: ‹pin 4›",
            ),
            (
                "4711",
                "after 47110 ms in x4711_y",
                "after 47110 ms in x4711_y",
            ),
            ("4711", "-4711", "-‹pin 4›"),
            ("a-b1", "`a-b1` is wrong", "`‹pin 4›` is wrong"),
            ("é1x", "é1xé1x é1x", "é1xé1x ‹pin 3›"),
            // Masked, its place in the sentence would tell it.
            ("file", "can't open file", "can't open file"),
            ("471", "code 471", "code 471"),
            ("471182", "x471182y", "x‹pin 6›y"),
        ] {
            assert_eq!(masked(secret, text), shown, "{secret}");
        }
    }

    #[test]
    fn what_was_sent_as_a_mask_is_spelt_out() {
        let masker = Masker::default();
        let mut texts = TextMasks::new(&masker);
        let mut text = "token = ‹github-token 40›".to_owned();
        texts.mask(&mut text);
        assert_eq!(text, "token = \\u{2039}github-token 40\\u{203a}");
        assert!(!texts.verified);
    }
}
