//! Challenges for passkeys: each for one purpose, good for five minutes and once.
//!
//! In scope: making them so that nothing is kept for strangers who ask, and spending them.
//! Out of scope: what is signed over them.
//! Invariant: a challenge that was spent is refused until it is stale, and none outlives the
//! process that made it: its key is never written down.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{canonical::Hash, time::Timestamp};

use super::same_secret;
use crate::keys;

/// How long a challenge is good, in milliseconds.
pub const FRESH: i64 = 5 * 60_000;

/// The challenge was spent, is too old, or was made for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this was begun too long ago or finished before; begin again")]
pub struct StaleChallenge;

/// Makes and spends challenges.
pub struct Challenges {
    key: [u8; 32],
    /// Until when each would have been good.
    spent: Mutex<BTreeSet<(Timestamp, Hash)>>,
}

impl Challenges {
    /// Challenges under a key of this process.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            key: keys::random()?,
            spent: Mutex::default(),
        })
    }

    /// A new challenge as text. Only whoever names the same purpose can spend it.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn make(&self, purpose: &str, now: Timestamp) -> anyhow::Result<String> {
        let random = URL_SAFE_NO_PAD.encode(keys::random()?);
        Ok(self.text(purpose, now.0, &random))
    }

    fn text(&self, purpose: &str, at: i64, random: &str) -> String {
        let proven = format!("{purpose}\0{at}\0{random}");
        let proof = URL_SAFE_NO_PAD.encode(Hash::keyed(&self.key, proven.as_bytes()).0);
        format!("{at}.{random}.{proof}")
    }

    /// A value that only this process can make of a challenge, one for each use; nobody learns one
    /// from the others.
    #[must_use]
    pub fn derived(&self, text: &str, r#use: &str) -> String {
        let named = format!("derived\0{use}\0{text}", r#use = r#use);
        URL_SAFE_NO_PAD.encode(Hash::keyed(&self.key, named.as_bytes()).0)
    }

    /// Spends a challenge and says until when it was good.
    ///
    /// # Errors
    /// [`StaleChallenge`].
    pub fn spend(
        &self,
        text: &str,
        purpose: &str,
        now: Timestamp,
    ) -> Result<Timestamp, StaleChallenge> {
        let mut parts = text.splitn(3, '.');
        let at = parts.next().and_then(|at| at.parse::<i64>().ok());
        let (Some(at), Some(random)) = (at, parts.next()) else {
            return Err(StaleChallenge);
        };
        let until = Timestamp(at.saturating_add(FRESH));
        let genuine = same_secret(&self.text(purpose, at, random), text);
        if !genuine || now.0 < at || now > until {
            return Err(StaleChallenge);
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.split_off(&(now, Hash([0; 32])));
        match spent.insert((until, value(text))) {
            true => Ok(until),
            false => Err(StaleChallenge),
        }
    }
}

/// The 32 bytes of a challenge.
#[must_use]
pub fn value(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_good_once_for_its_purpose_and_time() {
        let challenges = Challenges::new().unwrap();
        let now = Timestamp(1_000_000);
        let text = challenges.make("vote", now).unwrap();
        assert_ne!(text, challenges.make("vote", now).unwrap());
        let spend = |text: &str, purpose, at| challenges.spend(text, purpose, Timestamp(at));
        assert_eq!(spend(&text, "sign-in", now.0), Err(StaleChallenge));
        assert_eq!(spend(&text, "vote", now.0 - 1), Err(StaleChallenge));
        assert_eq!(spend(&text, "vote", now.0 + FRESH + 1), Err(StaleChallenge));
        let moved = text.replacen("1000000", "1000001", 1);
        assert_eq!(spend(&moved, "vote", now.0 + 1), Err(StaleChallenge));
        for wrong in ["", ".", "..", "1000000..", "x.y.z"] {
            assert_eq!(spend(wrong, "vote", now.0), Err(StaleChallenge));
        }
        let until = Timestamp(now.0 + FRESH);
        assert_eq!(spend(&text, "vote", until.0), Ok(until));
        assert_eq!(spend(&text, "vote", until.0), Err(StaleChallenge));
        let others = Challenges::new().unwrap();
        let of_others = others.make("vote", now).unwrap();
        assert_eq!(spend(&of_others, "vote", now.0), Err(StaleChallenge));
    }
}
