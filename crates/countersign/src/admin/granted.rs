//! Grants that end with the credential they were given with.
//!
//! In scope: what follows for grants from revoking a session, passkey or account.
//! Out of scope: signing out, which gives nothing back; givers who can't act any more, which the engine
//! sees to.
//! Invariant: what somebody else could have signed does not go on once that is found out.

use countersign_core::{approval::Vote, id::CredentialId, lifecycle::Event, subject::SubjectId};

use crate::{
    engine::{EngineError, Input},
    gateway::Gateway,
};

/// Ends every grant that was given with a credential, or with what came of it, in the name of `by`.
///
/// # Errors
/// The store can't be read, or an end could not be recorded.
pub(super) async fn end_given_with(
    gateway: &Gateway,
    credential: &CredentialId,
    by: &SubjectId,
) -> Result<(), EngineError> {
    for id in gateway.store.granting(None, gateway.clock.now()).await? {
        let Some(case) = gateway.sealed_case(&id).await? else {
            continue;
        };
        let mut given = false;
        for vote in &case.votes {
            given |= comes_of(gateway, vote, credential).await?;
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

/// Whether a vote was cast with a credential, or with one that came of it.
async fn comes_of(
    gateway: &Gateway,
    vote: &Vote,
    credential: &CredentialId,
) -> Result<bool, EngineError> {
    let mut next = Some(vote.credential.id.clone());
    while let Some(id) = next {
        if id == *credential {
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
