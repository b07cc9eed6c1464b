//! Grants: a request that one covers begins approved, and counts as a use of it.
//!
//! In scope: finding the grant, counting the use in the commit that begins the request, looking at the
//! grant again when the request is claimed.
//! Out of scope: what a grant covers (core); giving it, which is part of a claim.
//! Invariant: a use is stored before anything runs under it, so that no crash gives one back. Votes count
//! only as the granting request has them, signed and sealed, at the use and again at the claim.

use countersign_core::{
    lifecycle::{self, Event, Fact},
    request::{Case, Request},
    subject::SubjectId,
};
use countersign_store::StoredCase;
use serde_json::Value;

use super::{EngineError, Parts, seal, turn::Turn};

/// The most grants that one request is compared with.
const MAX_TRIED: usize = 100;

impl Turn {
    /// Begins a request with the votes of the first grant that covers it, and counts that as a use.
    /// `None` when people have to be asked.
    pub(super) async fn under_grant(
        &mut self,
        parts: &Parts,
        request: &Request,
    ) -> Result<Option<(Case, Vec<Fact>)>, EngineError> {
        // An action whose like ended unknown is looked at by people (P7).
        if request.grants.is_none() || parts.unknown.has(request) {
            return Ok(None);
        }
        let requester = request.chain.requester.id.to_string();
        let of = Some((requester.as_str(), &request.action.target));
        let granting = parts.store.granting(of, self.now).await?;
        for id in granting.iter().take(MAX_TRIED) {
            let StoredCase { case, envelopes } = match self.granting(parts, id).await {
                Ok(stored) => stored,
                Err(error @ (EngineError::Store(_) | EngineError::Internal(_))) => {
                    return Err(error);
                }
                // What was tampered with grants nothing; people are asked.
                Err(_) => continue,
            };
            let active = self.active.clone();
            let world = active.world();
            let Ok(begun) = lifecycle::open_under(&case, request.clone(), world, self.now) else {
                continue;
            };
            let by = request.id.clone();
            let used = lifecycle::step(case, Event::UseGrant { by }, world, self.now)?;
            self.stage(parts, envelopes, used, Value::Null, None)?;
            return Ok(Some(begun));
        }
        Ok(None)
    }

    /// A granting request as it is stored, sealed and with its votes as they were signed.
    async fn granting(
        &mut self,
        parts: &Parts,
        id: &countersign_core::id::RequestId,
    ) -> Result<StoredCase, EngineError> {
        // As at a claim: what is remembered can't tell that something was edited.
        self.forget_recent(id);
        let mut stored = self.load(parts, id).await?;
        if !seal::still_holds(&parts.keys, &mut stored.case) {
            return Err(EngineError::ForgedRequest(id.clone()));
        }
        self.check_votes(parts, &stored).await?;
        Ok(stored)
    }

    /// Looks, at the claim, at the grant that a request runs under. Gives who ended it, if somebody did.
    pub(super) async fn check_grant(
        &mut self,
        parts: &Parts,
        case: &Case,
    ) -> Result<Option<SubjectId>, EngineError> {
        let Some(granted) = &case.granted else {
            return Ok(None);
        };
        let granting = self.granting(parts, &granted.request).await?.case;
        let known = |vote| granting.votes.contains(vote);
        if granting.request.digest != granted.digest || !granted.votes.iter().all(known) {
            return Err(EngineError::ForgedRequest(granted.request.clone()));
        }
        let ended = granting.grant.and_then(|grant| grant.ended);
        Ok(ended.map(|end| end.by))
    }
}
