//! Tokens that tie an access request to the evaluation that was denied.
//!
//! In scope: making and checking them; no state is kept.
//! Invariant: a token fits one evaluation, one subject, one question and ten minutes. The question
//! is covered by its attach key, which goes into the code and never into the token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    canonical::Hash,
    digest::{ActionDigest, AttachKey},
    id::RequestId,
    subject::SubjectId,
    time::{Span, Timestamp},
};

use crate::identity::same_secret;

/// How long after the denial it can be submitted.
pub(super) const LIFETIME: Span = Span::from_millis(10 * 60_000);

/// Separates the key of these tokens from everything else made with the installation's act key.
const DOMAIN: &[u8] = b"countersign/authzen-binding/v1";

/// Why a token does not bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbound {
    /// It was made for something else, or by somebody else.
    #[error("the binding token was not given for this question of this subject")]
    Other,
    /// Too late.
    #[error("the binding token is more than 10 minutes old")]
    Expired,
}

/// Makes and checks tokens.
pub(super) struct Bindings {
    key: Hash,
}

impl Bindings {
    /// With a key derived from the installation's act key.
    pub(super) fn new(act: &[u8; 32]) -> Self {
        Self {
            key: Hash::keyed(act, DOMAIN),
        }
    }

    /// The token of a denied evaluation, good until `expires`.
    pub(super) fn token(
        &self,
        evaluation: &RequestId,
        digest: ActionDigest,
        question: AttachKey,
        subject: &SubjectId,
        expires: Timestamp,
    ) -> String {
        let shown = format!("{evaluation}.{digest}.{}", expires.0);
        let code = self.code(&shown, question, subject);
        format!("{shown}.{code}")
    }

    fn code(&self, shown: &str, question: AttachKey, subject: &SubjectId) -> String {
        let text = format!("{shown}\0{}\0{subject}", question.0);
        URL_SAFE_NO_PAD.encode(Hash::keyed(&self.key.0, text.as_bytes()).0)
    }

    /// The evaluation that a token was given for.
    ///
    /// # Errors
    /// [`Unbound`].
    pub(super) fn check(
        &self,
        token: &str,
        question: AttachKey,
        subject: &SubjectId,
        now: Timestamp,
    ) -> Result<RequestId, Unbound> {
        let (shown, code) = token.rsplit_once('.').ok_or(Unbound::Other)?;
        if !same_secret(&self.code(shown, question, subject), code) {
            return Err(Unbound::Other);
        }
        let mut parts = shown.split('.');
        let evaluation = parts
            .next()
            .and_then(|id| id.parse().ok())
            .ok_or(Unbound::Other)?;
        let expires = parts
            .nth(1)
            .and_then(|at| at.parse().ok())
            .ok_or(Unbound::Other)?;
        if now > Timestamp(expires) {
            Err(Unbound::Expired)
        } else {
            Ok(evaluation)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_one_evaluation_subject_question_and_time() {
        let bindings = Bindings::new(&[3; 32]);
        let question = |text: &[u8]| AttachKey(Hash::of(text));
        let agent = |name: &str| SubjectId::Agent(name.parse().unwrap());
        let (id, digest) = (RequestId::from_bits(7), ActionDigest(Hash::of(b"action")));
        let end = Timestamp(600_000);
        let token = bindings.token(&id, digest, question(b"q"), &agent("a"), end);
        let check = |token: &str, q: &[u8], who: &str, now| {
            bindings.check(token, question(q), &agent(who), Timestamp(now))
        };
        assert_eq!(check(&token, b"q", "a", 600_000), Ok(id));
        assert_eq!(check(&token, b"q", "a", 600_001), Err(Unbound::Expired));
        assert_eq!(check(&token, b"r", "a", 0), Err(Unbound::Other));
        assert_eq!(check(&token, b"q", "b", 0), Err(Unbound::Other));
        let (later, elsewhere) = (
            token.replace(".600000.", ".600001."),
            token.replace("req_0", "req_1"),
        );
        for altered in [later, elsewhere, String::new(), ".".into()] {
            assert_eq!(
                check(&altered, b"q", "a", 0),
                Err(Unbound::Other),
                "{altered}"
            );
        }
        let other = Bindings::new(&[4; 32]);
        let found = other.check(&token, question(b"q"), &agent("a"), Timestamp(0));
        assert_eq!(found, Err(Unbound::Other));
    }
}
