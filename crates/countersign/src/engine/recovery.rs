//! What a start does about what the last stop left unfinished.
//!
//! Invariant: an action that was permitted and whose outcome was not recorded becomes *unknown*,
//! and an identical one is held from then on (P7). Every step can be repeated, so a crash in here
//! does no harm.

use countersign_core::{lifecycle::Event, request::Outcome};
use countersign_store::Write;
use serde_json::json;

use super::{
    Ended, EngineError, Input, amending,
    records::outcome_record,
    turns::{Job, Turns},
};
use crate::{log::Resumed, vault::Of};

/// Brings store and log together and marks what was running as unknown.
pub(super) async fn recover(turns: &mut Turns, resumed: &Resumed) -> Result<(), EngineError> {
    turns.flush().await?;
    for id in turns.parts.store.in_phase("running").await? {
        let restarted = Job::Step(id, Box::new(Input::Event(Event::Restarted)));
        for done in turns.run(vec![restarted]).await {
            done?;
        }
    }
    for (permit, open) in &resumed.open {
        if turns.parts.store.case(&open.request).await?.is_some() {
            continue;
        }
        let at = turns.parts.clock.now();
        if let Some(key) = open.attach {
            let request = open.request.clone();
            turns.parts.unknown.insert(key);
            turns
                .parts
                .store
                .commit(vec![Write::RememberUnknown { key, request, at }])
                .await?;
        }
        let ended = Ended {
            permit: permit.clone(),
            outcome: Outcome::Unknown,
            exit: None,
            result: json!({ "why": "the gateway stopped while it ran" }),
        };
        let within = (open.request.clone(), open.next);
        turns
            .parts
            .log
            .record(outcome_record(
                within,
                open.digest,
                at,
                &ended,
                Of::Operation,
            ))
            .await?;
    }
    // Last: what was running may have been what replaces another request.
    amending::finish(turns).await
}
