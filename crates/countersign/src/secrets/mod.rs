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
    shown::describe,
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

/// A shorter secret is in other texts by chance.
const REPEATED: usize = 6;

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

    /// Masks one.
    pub fn mask(&mut self, text: &mut String) {
        let masked = self.masker.text(text);
        // What only looks like a mask is not told from one here.
        self.verified &= masked.verified && !text.contains([MASK_OPENS, MASK_CLOSES]);
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

    /// A text without these secrets, which are those of `action`, however they look in it.
    #[must_use]
    pub fn mask(&self, action: &Action, mut text: String) -> String {
        for (mask, secret) in action.masked.iter().zip(self.all.iter()) {
            if secret.text.len() >= REPEATED && text.contains(secret.text.as_str()) {
                text = text.replace(secret.text.as_str(), &mask.shown());
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
