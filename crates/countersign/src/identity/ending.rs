//! What another configuration ends for good.
//!
//! In scope: which credentials stand on nothing any more, and the writes that revoke them.
//! Out of scope: whether one stands ([`standing`](super::standing)); committing, which whoever changes the
//! configuration does.
//! Invariant: what was ended by a change does not come back with the next: it is revoked in the commit
//! that makes the change, and recorded with it.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{id::CredentialId, time::Timestamp};
use countersign_evidence::body::{Body, CredentialRevoked};
use countersign_store::{CredentialKind, StoredCredential, Write};
use serde_json::json;

use super::{
    Identity, IdentityError, parse_subject,
    standing::{self, ended, resolved},
};
use crate::{
    active::Active,
    engine::{EngineError, seal},
    log::Record,
};

/// The credentials that there are, by their names.
type All = HashMap<CredentialId, StoredCredential>;

impl Identity {
    /// The writes with which every credential is over that does not stand as this is active.
    ///
    /// # Errors
    /// The store can't be read.
    pub(crate) async fn ending_under(
        &self,
        active: &Active,
        at: Timestamp,
    ) -> Result<Vec<Write>, IdentityError> {
        let all = self.store.credentials(None).await?;
        let all: All = all.into_iter().map(|one| (one.id.clone(), one)).collect();
        let over = all
            .values()
            .filter(|one| !ended(one, at) && !stands(active, one, &all, at));
        self.ending(active, over, at)
    }

    fn ending<'a>(
        &self,
        active: &Active,
        over: impl Iterator<Item = &'a StoredCredential>,
        at: Timestamp,
    ) -> Result<Vec<Write>, IdentityError> {
        let (mut holders, mut single, mut records) = (BTreeSet::new(), Vec::new(), Vec::new());
        for one in over {
            let id = parse_subject(&one.holder);
            match id.is_some_and(|id| resolved(active, &id).is_ok()) {
                true => single.push(Write::RevokeCredential {
                    id: one.id.clone(),
                    at,
                }),
                // Whoever has it is told that they were removed, and no stranger is.
                false => {
                    holders.insert(one.holder.clone());
                }
            }
            let revoked = CredentialRevoked {
                credential: one.id.clone(),
            };
            let evidence = json!({ "holder": one.holder });
            let record = Record::control(at, Body::CredentialRevoked(revoked), evidence);
            let record = seal::wait(&self.keys, &record);
            let record = record.map_err(|error| EngineError::Internal(error.to_string()))?;
            records.push(Write::Record(record));
        }
        let holders = holders
            .into_iter()
            .map(|holder| Write::RevokeHolder { holder, at });
        Ok(holders.chain(single).chain(records).collect())
    }
}

/// Whether a credential stands as this is active.
fn stands(active: &Active, one: &StoredCredential, all: &All, at: Timestamp) -> bool {
    // A passkey came from no account, and ends with its holder only.
    if one.kind == CredentialKind::Passkey {
        return parse_subject(&one.holder).is_some_and(|id| resolved(active, &id).is_ok());
    }
    let before = standing::ancestors_in(one, |id| all.get(id).cloned());
    before.is_ok_and(|before| standing::judged(active, one, &before, at).is_ok())
}
