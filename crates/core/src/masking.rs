//! Secrets that were taken out of an action, and how they get back in.
//!
//! In scope: what stands where a secret was, what binds an action to it, putting it back.
//! Out of scope: finding secrets (`policy`), keeping them until the action runs (`countersign`).
//! Invariant: an action with masks has the digest of exactly one action without them. The mask tells
//! kind and length and nothing else: what binds it is a commitment under a random salt, which is
//! destroyed with the secret.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{action::Action, canonical::Hash};

/// Begins what stands where a secret was.
pub const MASK_OPENS: char = '‹';
/// Ends it.
pub const MASK_CLOSES: char = '›';

/// One secret that was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// The text that it was in, as an RFC 6901 pointer into the action's arguments.
    pub at: String,
    /// Where its mask begins in that text, in bytes.
    pub start: usize,
    /// What it is, for example `github-token`.
    pub kind: String,
    /// How long it is, in characters.
    pub length: usize,
    /// Whether its form leaves no room for anything but a secret.
    pub verified: bool,
    /// Binds it without telling it.
    pub commitment: Hash,
}

impl Mask {
    /// What stands in its place: `‹github-token 40›`.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.kind, self.length)
    }
}

/// What stands in the place of a secret of this kind and length, in characters.
#[must_use]
pub fn shown(kind: &str, length: usize) -> String {
    format!("{MASK_OPENS}{kind} {length}{MASK_CLOSES}")
}

/// What binds an action to a secret.
#[must_use]
pub fn commitment(salt: &[u8; 32], secret: &str) -> Hash {
    let domain: &[u8] = b"countersign/mask/v1\0";
    Hash::keyed(salt, &[domain, secret.as_bytes()].concat())
}

/// A secret and what its commitment was made with.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
    /// The secret.
    pub secret: &'a str,
}

/// Why an action can't be made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    /// Not as many secrets as masks.
    #[error("a secret of the action is gone; ask again")]
    Missing,
    /// Not the secret that was decided.
    #[error("a secret of the action is not the one that was decided; ask again")]
    Other,
    /// A mask that stands nowhere in the arguments.
    #[error("a masked secret has no place in the action")]
    NoPlace,
}

/// The action as it was asked for. `originals` are the secrets in the order of its masks.
///
/// # Errors
/// [`NotRestored`]; nothing of it may run.
pub fn restore<'a>(
    action: &Action,
    originals: impl ExactSizeIterator<Item = Original<'a>> + DoubleEndedIterator,
) -> Result<Action, NotRestored> {
    if originals.len() != action.masked.len() {
        return Err(NotRestored::Missing);
    }
    let mut whole = action.clone();
    let masks = std::mem::take(&mut whole.masked);
    // From the last to the first: where a mask begins counts the masks before it.
    for (mask, original) in masks.iter().zip(originals).rev() {
        if commitment(original.salt, original.secret) != mask.commitment {
            return Err(NotRestored::Other);
        }
        let text = whole.arguments.pointer_mut(&mask.at);
        let Some(Value::String(text)) = text else {
            return Err(NotRestored::NoPlace);
        };
        let shown = mask.shown();
        let end = mask.start.saturating_add(shown.len());
        if text.get(mask.start..end) != Some(shown.as_str()) {
            return Err(NotRestored::NoPlace);
        }
        text.replace_range(mask.start..end, original.secret);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SALTS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
    const SECRETS: [&str; 2] = ["ghp_1", "pässword"];

    fn masked() -> Action {
        let mask = |index: usize, start, kind: &str| Mask {
            at: "/argv/1".into(),
            start,
            kind: kind.into(),
            length: SECRETS[index].chars().count(),
            verified: true,
            commitment: commitment(&SALTS[index], SECRETS[index]),
        };
        Action {
            gate: "exec".into(),
            target: "release".parse().unwrap(),
            operation: "run".into(),
            arguments: json!({ "argv": ["push", "a=‹token 5›,b=‹password 8›."] }),
            session: json!(null),
            masked: vec![mask(0, 2, "token"), mask(1, 18, "password")],
        }
    }

    fn originals(secrets: [&'static str; 2]) -> std::vec::IntoIter<Original<'static>> {
        let pairs = SALTS.iter().zip(secrets);
        let all: Vec<_> = pairs
            .map(|(salt, secret)| Original { salt, secret })
            .collect();
        all.into_iter()
    }

    #[test]
    fn every_secret_goes_back_to_its_place() {
        let whole = restore(&masked(), originals(SECRETS)).unwrap();
        assert_eq!(
            whole.arguments,
            json!({ "argv": ["push", "a=ghp_1,b=pässword."] })
        );
        assert!(whole.masked.is_empty());
    }

    #[test]
    fn what_is_not_the_secret_or_has_no_place_is_refused() {
        let refused = |action: &Action, secrets| restore(action, originals(secrets)).unwrap_err();
        let action = masked();
        assert_eq!(refused(&action, ["ghp_2", SECRETS[1]]), NotRestored::Other);
        assert_eq!(
            refused(&action, [SECRETS[1], SECRETS[0]]),
            NotRestored::Other
        );
        let none = std::iter::empty::<Original<'_>>().collect::<Vec<_>>();
        assert_eq!(
            restore(&action, none.into_iter()),
            Err(NotRestored::Missing)
        );
        for (at, start) in [("/argv/0", 2), ("/argv/1", 3), ("/argv/9", 2), ("", 0)] {
            let mut moved = action.clone();
            moved.masked[0].at = at.into();
            moved.masked[0].start = start;
            assert_eq!(
                refused(&moved, SECRETS),
                NotRestored::NoPlace,
                "{at} {start}"
            );
        }
    }

    #[test]
    fn a_commitment_needs_its_salt() {
        assert_ne!(commitment(&SALTS[0], "a"), commitment(&SALTS[1], "a"));
        assert_ne!(commitment(&SALTS[0], "a"), commitment(&SALTS[0], "b"));
    }
}
