//! Proofs that a vote is a fresh act in the voter's own session.
//!
//! In scope: CSRF tokens for every form, and act tokens for votes.
//! Invariant: an act token fits one session, one request and one digest, and is good for 15
//! minutes after the page with that very action was shown. A page that shows another action
//! yields another token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    canonical::Hash,
    digest::ActionDigest,
    id::{CredentialId, RequestId},
    time::Timestamp,
};

use super::same_secret;

/// How long after the page was shown its buttons work, in milliseconds.
const FRESH: i64 = 15 * 60_000;

/// The page was shown too long ago, in another session, or for another action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the page was opened too long ago or shows another action; reload it, look, and decide again"
)]
pub struct StaleAct;

/// Makes and checks proofs.
pub struct Acts<'a> {
    key: &'a [u8; 32],
}

impl<'a> Acts<'a> {
    pub(super) fn new(key: &'a [u8; 32]) -> Self {
        Self { key }
    }

    /// The token that forms of a session carry.
    #[must_use]
    pub fn csrf(&self, session: &CredentialId) -> String {
        encode(Hash::keyed(self.key, format!("csrf\0{session}").as_bytes()))
    }

    /// Whether a form came from a page of this session.
    #[must_use]
    pub fn is_csrf(&self, session: &CredentialId, token: &str) -> bool {
        same_secret(&self.csrf(session), token)
    }

    /// The proof that this session was shown this action at `now`.
    #[must_use]
    pub fn act(
        &self,
        session: &CredentialId,
        request: &RequestId,
        digest: &ActionDigest,
        now: Timestamp,
    ) -> String {
        let text = format!("act\0{session}\0{request}\0{digest}\0{}", now.0);
        format!(
            "{}.{}",
            now.0,
            encode(Hash::keyed(self.key, text.as_bytes()))
        )
    }

    /// Checks such a proof.
    ///
    /// # Errors
    /// [`StaleAct`].
    pub fn check(
        &self,
        token: &str,
        session: &CredentialId,
        request: &RequestId,
        digest: &ActionDigest,
        now: Timestamp,
    ) -> Result<(), StaleAct> {
        let shown: i64 = token
            .split_once('.')
            .and_then(|(at, _)| at.parse().ok())
            .ok_or(StaleAct)?;
        let age = now.0.saturating_sub(shown);
        let genuine = same_secret(&self.act(session, request, digest, Timestamp(shown)), token);
        if genuine && (0..=FRESH).contains(&age) {
            Ok(())
        } else {
            Err(StaleAct)
        }
    }
}

fn encode(hash: Hash) -> String {
    URL_SAFE_NO_PAD.encode(hash.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_fits_one_session_request_action_and_time() {
        let acts = Acts::new(&[7; 32]);
        let session = |n| CredentialId::from_bits(n);
        let request = |n| RequestId::from_bits(n);
        let digest = |text: &[u8]| ActionDigest(Hash::of(text));
        let now = Timestamp(1_000_000);
        let token = acts.act(&session(1), &request(1), &digest(b"a"), now);
        let check = |s, r, d: &[u8], t| acts.check(&token, &session(s), &request(r), &digest(d), t);
        assert_eq!(check(1, 1, b"a", now), Ok(()));
        assert_eq!(check(2, 1, b"a", now), Err(StaleAct));
        assert_eq!(check(1, 2, b"a", now), Err(StaleAct));
        assert_eq!(check(1, 1, b"b", now), Err(StaleAct));
        assert_eq!(
            check(1, 1, b"a", Timestamp(now.0 + FRESH + 1)),
            Err(StaleAct)
        );
        assert_eq!(check(1, 1, b"a", Timestamp(now.0 - 1)), Err(StaleAct));
        let later = token.replacen("1000000", "1000001", 1);
        let moved = acts.check(&later, &session(1), &request(1), &digest(b"a"), now);
        assert_eq!(moved, Err(StaleAct));
    }
}
