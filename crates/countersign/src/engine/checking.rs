//! Checking at the claim that votes and lifts are what people signed.
//!
//! In scope: each stored vote and lift against its signed envelope and what a passkey signed of it.
//! Out of scope: whether they suffice; the core counts them.
//! Invariant: what the database says counts only where the vote key agrees, which is not in the
//! database. A passkey that is not its voter's any more carries no claim.

use countersign_core::{
    approval::{Vote, rule::Assurance},
    request::Lifted,
};
use countersign_evidence::{
    body::{self, Slot},
    vote::VoteStatement,
};
use countersign_store::StoredCase;
use serde_json::json;

use super::{
    EngineError, Parts,
    records::{check_signature, statement},
    turn::Turn,
};
use crate::{identity::passkey, log::Record};

impl Turn {
    /// Verifies every stored vote and lift, field by field.
    pub(super) async fn check_votes(
        &mut self,
        parts: &Parts,
        stored: &StoredCase,
    ) -> Result<(), EngineError> {
        let envelope = |vote: &Vote| {
            let mut all = stored.envelopes.iter();
            let found = all.find(|(voter, _)| *voter == vote.voter)?;
            std::str::from_utf8(&found.1).ok()
        };
        for vote in &stored.case.votes {
            if !is_signed(parts, stored, vote, (envelope(vote), None)) {
                return Err(self.forged_vote(stored, vote));
            }
            self.check_passkey(parts, vote).await?;
        }
        for lift in &stored.case.lifted {
            let Lifted {
                vote,
                envelope,
                rule,
                ..
            } = lift;
            // Nothing is lifted without a passkey, whatever the database says.
            let strong = vote.credential.assurance == Assurance::Passkey;
            let lifts = Some(Slot {
                rule: rule.clone(),
                stage: 0,
            });
            if !strong || !is_signed(parts, stored, vote, (envelope.as_deref(), lifts)) {
                return Err(self.forged_vote(stored, vote));
            }
            self.check_passkey(parts, vote).await?;
        }
        Ok(())
    }

    fn forged_vote(&mut self, stored: &StoredCase, vote: &Vote) -> EngineError {
        let event = body::SecurityEvent {
            code: "forged_vote".into(),
        };
        let evidence = json!({ "request": stored.case.request.id, "voter": vote.voter });
        let body = body::Body::SecurityEvent(event);
        self.records.push(Record::control(self.now, body, evidence));
        EngineError::ForgedVote(vote.voter.clone())
    }

    /// What a passkey signed must hold again, by a passkey that is still its voter's.
    async fn check_passkey(&self, parts: &Parts, vote: &Vote) -> Result<(), EngineError> {
        if vote.credential.assurance != Assurance::Passkey {
            return Ok(());
        }
        let (store, now) = (parts.store.as_ref(), self.now);
        match passkey::still_signs(store, &parts.keys, vote, now).await? {
            true => Ok(()),
            false => Err(EngineError::RevokedPasskey(vote.voter.clone())),
        }
    }
}

/// Whether an envelope is that of a vote; with a slot, of a lift of that rule and nothing else.
fn is_signed(
    parts: &Parts,
    stored: &StoredCase,
    vote: &Vote,
    (envelope, lifts): (Option<&str>, Option<Slot>),
) -> bool {
    let known = parts.keys.of_votes();
    let signed = envelope.and_then(|text| VoteStatement::open(text, Some(&known)).ok());
    signed.is_some_and(|signed| {
        let emergency = lifts.is_some();
        let slots = lifts.map_or_else(|| signed.slots.clone(), |slot| vec![slot]);
        let request = &stored.case.request;
        let same = statement(vote, request, slots, emergency, &parts.keys.pseudonyms);
        same.is_ok_and(|same| signed == same && check_signature(vote, &same).is_ok())
    })
}
