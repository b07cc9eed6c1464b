//! Whether the action in the evidence is the one that approvals and permits are bound to.
//!
//! In scope: the digest of the first record of a request, computed again from the evidence.
//! Out of scope: whether the evidence is what the leaf commits to, which is checked before.
//! Invariant: nobody, the log's key in hand, shows another action than the one that was voted on.
//! Specification: [`action_digest`](countersign_core::digest::action_digest). Details are
//! canonical JSON, so its pieces are those of the digest; a test compares the two.

use countersign_core::{canonical::Hash, digest::ActionDigest, id::RequestId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What the digest is of, as it stands in the evidence.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    action: &'a RawValue,
    #[serde(borrow)]
    chain: &'a RawValue,
    #[serde(borrow)]
    nonce: &'a RawValue,
}

/// The digest of the action that these details hold; `None` where they hold none.
pub(super) fn digest(details: &str, request: &RequestId) -> Option<ActionDigest> {
    let asked: Asked<'_> = serde_json::from_str(details).ok()?;
    let hash = Hash::of_parts(&[
        b"countersign/action/v1\0{\"action\":",
        asked.action.get().as_bytes(),
        b",\"nonce\":",
        asked.nonce.get().as_bytes(),
        b",\"request\":\"",
        request.as_str().as_bytes(),
        b"\",\"subject\":",
        asked.chain.get().as_bytes(),
        b"}",
    ]);
    Some(ActionDigest(hash))
}

#[cfg(test)]
mod tests {
    use countersign_core::{
        action::Action,
        canonical::json_to_canonical,
        digest::{Nonce, action_digest},
        subject::{Subject, SubjectChain, SubjectId},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_is_that_of_the_core() {
        let olga = "olga@example.com".parse().unwrap();
        let chain = SubjectChain::of(Subject {
            id: SubjectId::Agent("bot".parse().unwrap()),
            owner: Some(olga),
        });
        let action = Action {
            gate: "exec".into(),
            target: "release".parse().unwrap(),
            operation: "run".into(),
            arguments: json!({ "argv": ["a\u{1}\"é", "\u{1f600}"], "n": 1.50, "z": null, "b": [{}] }),
            session: json!({ "b": 1, "a": 2 }),
            masked: Vec::new(),
        };
        let (request, nonce) = (RequestId::from_bits(7), Nonce(Hash::of(b"n")));
        let evidence = json!({
            "chain": chain, "action": action, "effects": [], "reason": "why", "nonce": nonce,
        });
        let written = |value: &serde_json::Value| {
            String::from_utf8(json_to_canonical(value).unwrap()).unwrap()
        };
        let stored = written(&evidence);
        let expected = action_digest(&chain, &action, &request, &nonce).unwrap();
        assert_eq!(digest(&stored, &request), Some(expected));
        let other = RequestId::from_bits(8);
        assert_ne!(digest(&stored, &other), Some(expected));
        for without in ["chain", "action", "nonce"] {
            let mut value = evidence.clone();
            value.as_object_mut().unwrap().remove(without);
            let stored = written(&value);
            assert_eq!(digest(&stored, &request), None, "{without}");
        }
        assert_eq!(digest("{}", &request), None);
    }
}
