//! What the proofs of machines are made of, so that it is known who brought which part in.
//!
//! In scope: naming each part of a bundle's proofs, however it is spelt and wherever it stands.
//! Out of scope: who proposed it, which is kept beside the directory.
//! Invariant: whoever could make a proof because of what they proposed is behind one of its parts, also after
//! somebody else wrote it anew, moved it, or added to it.

use std::collections::BTreeSet;

use countersign_core::{canonical::Hash, subject::SubjectId};
use serde_json::{Value, json};

use crate::{
    Bundle,
    machine::{Issuer, IssuerKeys, Proof},
    public_key::public_key,
};

impl Bundle {
    /// What everything is made of by which a machine is believed.
    #[must_use]
    pub fn vouched_parts(&self) -> BTreeSet<Hash> {
        let machines = self.machines().iter();
        let proofs = machines.flat_map(|(id, settings)| {
            let proofs = settings.proofs.iter();
            proofs.map(move |proof| (id, proof))
        });
        proofs
            .flat_map(|(id, proof)| self.parts_of(id, proof))
            .collect()
    }

    /// What one proof of a machine is made of: its key, or its claims, each and together, and where and with
    /// which keys their issuer is found.
    #[must_use]
    pub fn parts_of(&self, machine: &SubjectId, proof: &Proof) -> BTreeSet<Hash> {
        let (by, claims) = match proof {
            Proof::Key(key) => return BTreeSet::from([part(&json!(["key", key.identity]))]),
            Proof::Token { issuer, claims, .. } => (issuer, claims),
        };
        let Some(issuer) = self.issuers().get(by) else {
            return BTreeSet::new();
        };
        let called = &issuer.issuer;
        let each = claims.iter();
        let each = each.map(|(name, text)| part(&json!(["claim", machine, called, name, text])));
        let together = part(&json!(["claims", called, claims]));
        each.chain([together]).chain(of_issuer(issuer)).collect()
    }
}

fn of_issuer(issuer: &Issuer) -> Vec<Hash> {
    let called = &issuer.issuer;
    match &issuer.keys {
        IssuerKeys::Discovered => vec![part(&json!(["issuer", called, null, issuer.ca]))],
        IssuerKeys::At(address) => vec![part(&json!(["issuer", called, address, issuer.ca]))],
        IssuerKeys::Given(keys) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let keys = keys.get("keys").and_then(Value::as_array);
            let named = keys.into_iter().flatten().map(|key| match public_key(key) {
                Ok(identity) => part(&json!(["issuer-key", called, identity])),
                Err(_) => part(&json!(["issuer-key", called, key])),
            });
            named.collect()
        }
    }
}

fn part(of: &Value) -> Hash {
    Hash::of_parts(&[b"countersign/vouched/v1\0", of.to_string().as_bytes()])
}
