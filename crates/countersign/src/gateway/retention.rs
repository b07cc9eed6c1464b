//! Retention: what is kept no longer than the bundle says.
//!
//! In scope: destroying the keys of old evidence, and deleting old requests from the database; tokens
//! that machines exchanged, once they are over.
//! Out of scope: what leaves of the log say, which names nobody and stays.
//! Invariant: that keys are destroyed is recorded before they are. A request that is open stays, and so
//! does one with an emergency that nobody has reviewed.

use std::time::Duration;

use countersign_core::{id::RequestId, request::GOING_ON, time::Timestamp};
use countersign_evidence::body::{Body, Erasure, EvidenceErased};
use countersign_store::{CaseFilter, Forgetting, PHASES, StoredCredential};
use serde_json::json;

use super::Gateway;
use crate::{
    identity::{delegates_of, grounds_of},
    log::Record,
    vault::Class,
};

/// How often is looked; keys are for 30 days each.
const EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The first look, after what a start has to do.
const FIRST: Duration = Duration::from_secs(60);
/// The most keys in one record.
const KEYS: usize = 1_000;
/// How long tokens that were exchanged are kept once they ended, in milliseconds.
const EXCHANGED: i64 = 24 * 3_600_000;
/// How many requests one page has.
const PAGE: u32 = 200;

/// Keeps to the bundle's times for ever.
pub(crate) async fn keep_to(gateway: Gateway) {
    tokio::time::sleep(FIRST).await;
    loop {
        if let Err(error) = apply(&gateway, gateway.clock.now()).await {
            tracing::error!(
                error = format!("{error:#}"),
                "retention was not applied; it is tried again"
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Destroys and deletes what is older than it should be at `now`.
///
/// # Errors
/// Something can't be recorded or written; doing it again does the rest.
pub async fn apply(gateway: &Gateway, now: Timestamp) -> anyhow::Result<()> {
    let _one_after_the_other = gateway.changing.write().await;
    forget_exchanged(gateway, now).await?;
    let retention = gateway.active().bundle.retention();
    for (class, kept) in [
        (Class::Payload, retention.payload),
        (Class::Words, retention.words),
        (Class::Names, retention.names),
    ] {
        let Some(kept) = kept else { continue };
        let before = Timestamp(now.0.saturating_sub(kept.as_millis()));
        let keys = gateway.keys.vault.expired(class, before);
        for keys in keys.chunks(KEYS) {
            let erased = Body::EvidenceErased(EvidenceErased {
                keys: keys.to_vec(),
                subject: None,
                why: Erasure::Retention,
            });
            gateway
                .log
                .record(Record::control(gateway.clock.now(), erased, json!({})))
                .await?;
        }
        if !keys.is_empty() {
            gateway.keys.vault.expire(class, before)?;
        }
    }
    if let Some(kept) = retention.shortest() {
        let before = Timestamp(now.0.saturating_sub(kept.as_millis()));
        forget_older(gateway, before).await?;
    }
    Ok(())
}

/// Deletes tokens that machines exchanged, and delegations, a day after they ended: there are many, and
/// the log has them.
async fn forget_exchanged(gateway: &Gateway, now: Timestamp) -> anyhow::Result<()> {
    let before = Timestamp(now.0.saturating_sub(EXCHANGED));
    let over = |one: &StoredCredential| {
        let short = grounds_of(one).is_some() || delegates_of(one).is_some();
        // What came of one ended before it did.
        short && one.expires < before
    };
    let all = gateway.store.credentials(None).await?;
    let credentials = all.into_iter().filter(over).map(|one| one.id);
    let what = Forgetting {
        credentials: credentials.collect(),
        ..Forgetting::default()
    };
    match what.credentials.is_empty() {
        true => Ok(()),
        false => Ok(gateway.engine.forget(what).await?),
    }
}

async fn forget_older(gateway: &Gateway, before: Timestamp) -> anyhow::Result<()> {
    let ended = PHASES.iter().filter(|phase| !GOING_ON.contains(phase));
    let mut filter = CaseFilter {
        phases: ended.map(ToString::to_string).collect(),
        until: Some(before),
        limit: PAGE,
        ..CaseFilter::default()
    };
    let mut cases: Vec<RequestId> = Vec::new();
    loop {
        let page = gateway.store.list(&filter).await?;
        let kept = gateway.engine.emergencies();
        let ids = page.items.into_iter().map(|line| line.id);
        cases.extend(ids.filter(|id| !kept.awaits(id)));
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    if cases.is_empty() {
        return Ok(());
    }
    let what = Forgetting {
        cases,
        ..Forgetting::default()
    };
    Ok(gateway.engine.forget(what).await?)
}
