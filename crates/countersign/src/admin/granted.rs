//! Grants that end with the credential they were given with.
//!
//! In scope: what follows for grants from revoking a session, passkey or account, or from a configuration
//! under which it stands no more.
//! Out of scope: signing out, which gives nothing back; givers who can't act any more, which the engine
//! sees to.
//! Invariant: what somebody else could have signed does not go on once that is found out.

use std::collections::BTreeSet;

use countersign_core::{approval::Vote, id::CredentialId, lifecycle::Event, subject::SubjectId};
use countersign_store::Write;

use crate::{
    engine::{EngineError, Input},
    gateway::Gateway,
};

/// Ends every grant that was given with one of these credentials, or with what came of it, in the name of
/// `by`.
///
/// # Errors
/// The store can't be read, or an end could not be recorded.
pub(super) async fn end_given_with(
    gateway: &Gateway,
    credentials: &BTreeSet<CredentialId>,
    by: &SubjectId,
) -> Result<(), EngineError> {
    if credentials.is_empty() {
        return Ok(());
    }
    for id in gateway.store.granting(None, gateway.clock.now()).await? {
        let Some(case) = gateway.sealed_case(&id).await? else {
            continue;
        };
        let mut given = false;
        for vote in &case.votes {
            given |= comes_of(gateway, vote, credentials).await?;
        }
        if given {
            let (by, oversees) = (by.clone(), true);
            let end = Input::Event(Event::EndGrant { by, oversees });
            match gateway.engine.step(id, end).await {
                // It may have ended by itself just now.
                Ok(_) | Err(EngineError::Refused(_) | EngineError::ForgedRequest(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Which credentials are revoked by these writes alone, and not with everything their holder has.
pub(super) fn revoked_in(writes: &[Write]) -> BTreeSet<CredentialId> {
    let revoked = writes.iter().filter_map(|write| match write {
        Write::RevokeCredential { id, .. } => Some(id.clone()),
        _ => None,
    });
    revoked.collect()
}

/// Whether a vote was cast with one of these credentials, or with one that came of it.
async fn comes_of(
    gateway: &Gateway,
    vote: &Vote,
    credentials: &BTreeSet<CredentialId>,
) -> Result<bool, EngineError> {
    let mut next = Some(vote.credential.id.clone());
    while let Some(id) = next {
        if credentials.contains(&id) {
            return Ok(true);
        }
        next = gateway
            .store
            .credential(&id)
            .await?
            .and_then(|one| one.parent);
    }
    Ok(false)
}
