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
    deployment::{GitHub, Repository},
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
        let proofs = proofs.flat_map(|(id, proof)| self.parts_of(id, proof));
        let apps = self.deployments().values();
        let apps = apps.flat_map(GitHub::vouched_parts);
        proofs.chain(apps).collect()
    }

    /// What one proof of a machine is made of: its key, by itself and as this machine's, or its claims, each and
    /// together, and how their issuer is believed: where it is found, and with which keys and algorithms, for
    /// whom its tokens are.
    #[must_use]
    pub fn parts_of(&self, machine: &SubjectId, proof: &Proof) -> BTreeSet<Hash> {
        let (by, claims) = match proof {
            Proof::Key(key) => {
                let moved = part(&json!(["key", machine, key.identity]));
                return BTreeSet::from([part(&json!(["key", key.identity])), moved]);
            }
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

impl GitHub {
    /// What everything is made of by which a job is believed.
    #[must_use]
    pub fn vouched_parts(&self) -> BTreeSet<Hash> {
        let asked = self.repositories.iter().flat_map(|repository| {
            let environments = repository.environments.keys();
            environments.flat_map(|name| self.parts_of(self.people.keys(), repository, name))
        });
        asked.collect()
    }

    /// What makes a job's deployment one that somebody here asked for: the App, these accounts, the
    /// repository and the environment.
    pub fn parts_of<'a>(
        &self,
        accounts: impl IntoIterator<Item = &'a u64>,
        repository: &Repository,
        environment: &str,
    ) -> BTreeSet<Hash> {
        let app = (&self.api, self.app);
        let name = &repository.name;
        let accounts = accounts.into_iter().map(|account| {
            let person = self.people.get(account);
            part(&json!(["account", app, account, person]))
        });
        let asks = (repository.id, repository.installation, &repository.workload);
        let target = repository.target(environment);
        let others = [
            part(&json!(["app-key", app, self.private_key.to_string()])),
            part(&json!(["app-hook", app, self.webhook_secret.to_string()])),
            part(&json!(["repository", app, name, asks])),
            part(&json!([
                "environment",
                app,
                name,
                environment.to_lowercase(),
                target
            ])),
        ];
        accounts.chain(others).collect()
    }
}

fn of_issuer(issuer: &Issuer) -> Vec<Hash> {
    let called = &issuer.issuer;
    let found = match &issuer.keys {
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
    };
    // One that is taken away lets nobody in.
    let algorithms = issuer.algorithms.iter();
    let algorithms = algorithms.map(|name| part(&json!(["issuer-algorithm", called, name])));
    let meant = part(&json!(["issuer-audience", called, issuer.audience]));
    found.into_iter().chain(algorithms).chain([meant]).collect()
}

fn part(of: &Value) -> Hash {
    Hash::of_parts(&[b"countersign/vouched/v1\0", of.to_string().as_bytes()])
}
