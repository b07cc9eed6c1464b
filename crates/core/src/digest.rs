//! The two identifiers of an action, never mixed.
//!
//! In scope: [`AttachKey`], by which an identical call finds the request it already made, or what became of
//! the same action of somebody else, and [`ActionDigest`], which approvals and permits bind.
//! Out of scope: where the keys and nonces come from; callers pass them in.
//! Invariant: the attach key is a keyed hash and is never published; the digest covers a random
//! nonce, so that it reveals nothing about arguments that can be guessed.

use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    canonical::{Hash, NotCanonical, hash_in_domain, to_canonical},
    id::RequestId,
    subject::SubjectChain,
};

/// Finds the pending or approved request of an identical call. Keep it out of every published byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttachKey(pub Hash);

/// Binds approvals and permits to one action of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionDigest(pub Hash);

impl std::fmt::Display for ActionDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// 32 random bytes that make a digest unguessable.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub Hash);

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(hidden)")
    }
}

/// The people and machines of the chain, without what it only states of itself: an agent that
/// starts a new session and repeats its call finds its request again.
#[derive(Serialize)]
struct Identities<'a> {
    members: Vec<&'a crate::subject::SubjectId>,
}

/// The key by which an identical call of the same chain attaches.
///
/// `installation_key` is secret to this installation (at least 32 bytes).
///
/// # Errors
/// [`NotCanonical`] when the arguments cannot be written as JSON.
pub fn attach_key(
    installation_key: &[u8],
    chain: &SubjectChain,
    action: &Action,
) -> Result<AttachKey, NotCanonical> {
    let identities = Identities {
        members: chain.members().map(|m| &m.id).collect(),
    };
    let bytes = to_canonical(&(identities, action))?;
    let domain: &[u8] = b"countersign/attach/v1\0";
    Ok(AttachKey(Hash::keyed(
        installation_key,
        &[domain, &bytes].concat(),
    )))
}

/// What an action has in common with the same one of anybody else: what may have happened already has
/// happened, whoever asks for it again, and what was denied to somebody was denied to them for whomever they
/// act. `installation_key` is that of [`attach_key`].
///
/// # Errors
/// [`NotCanonical`] when the arguments cannot be written as JSON.
pub fn repeat_key(installation_key: &[u8], action: &Action) -> Result<AttachKey, NotCanonical> {
    let domain: &[u8] = b"countersign/repeat/v1\0";
    let bytes = [domain, &to_canonical(action)?].concat();
    Ok(AttachKey(Hash::keyed(installation_key, &bytes)))
}

#[derive(Serialize)]
struct Digested<'a> {
    subject: &'a SubjectChain,
    action: &'a Action,
    request: &'a RequestId,
    nonce: &'a Nonce,
}

/// `SHA-256("countersign/action/v1\0" ‖ JCS({subject, action, request, nonce}))`.
///
/// # Errors
/// [`NotCanonical`] when the arguments cannot be written as JSON.
pub fn action_digest(
    chain: &SubjectChain,
    action: &Action,
    request: &RequestId,
    nonce: &Nonce,
) -> Result<ActionDigest, NotCanonical> {
    hash_in_domain(
        "action",
        &Digested {
            subject: chain,
            action,
            request,
            nonce,
        },
    )
    .map(ActionDigest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subject::{Origin, Subject, SubjectId};

    fn chain(agent: &str) -> SubjectChain {
        SubjectChain::of(Subject {
            id: SubjectId::Agent(agent.parse().unwrap()),
            owner: Some("olga@example.com".parse().unwrap()),
        })
    }

    fn action(argv: &[&str]) -> Action {
        Action {
            gate: "exec".into(),
            target: "release".parse().unwrap(),
            operation: "run".into(),
            arguments: json!({ "argv": argv }),
            session: json!(null),
            masked: Vec::new(),
        }
    }

    #[test]
    fn every_field_changes_both_and_only_identity_and_action_change_the_key() {
        let key = |c: &SubjectChain, a: &Action| attach_key(b"k", c, a).unwrap();
        let base = key(&chain("a"), &action(&["git", "push"]));
        assert_eq!(base, key(&chain("a"), &action(&["git", "push"])));
        assert_ne!(base, key(&chain("b"), &action(&["git", "push"])));
        assert_ne!(base, key(&chain("a"), &action(&["git push"])));
        assert_ne!(
            base,
            attach_key(b"other", &chain("a"), &action(&["git", "push"])).unwrap()
        );

        let mut resumed = chain("a");
        resumed.origin = Origin {
            session: Some("two".into()),
            ..Origin::default()
        };
        assert_eq!(base, key(&resumed, &action(&["git", "push"])));
    }

    #[test]
    fn the_same_action_of_anybody_has_one_repeat_key() {
        let key = |argv: &[&str]| repeat_key(b"k", &action(argv)).unwrap();
        assert_eq!(key(&["git", "push"]), key(&["git", "push"]));
        assert_ne!(key(&["git", "push"]), key(&["git push"]));
        let other = repeat_key(b"other", &action(&["git", "push"])).unwrap();
        assert_ne!(key(&["git", "push"]), other);
        let mut elsewhere = action(&["git", "push"]);
        elsewhere.target = "other".parse().unwrap();
        assert_ne!(key(&["git", "push"]), repeat_key(b"k", &elsewhere).unwrap());
    }

    #[test]
    fn the_digest_binds_request_and_nonce() {
        let digest = |request: u128, nonce: &[u8]| {
            let request = RequestId::from_bits(request);
            action_digest(
                &chain("a"),
                &action(&["x"]),
                &request,
                &Nonce(Hash::of(nonce)),
            )
            .unwrap()
        };
        assert_eq!(digest(1, b"n"), digest(1, b"n"));
        assert_ne!(digest(1, b"n"), digest(2, b"n"));
        assert_ne!(digest(1, b"n"), digest(1, b"m"));
    }
}
