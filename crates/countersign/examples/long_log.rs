//! Writes a log of many entries through the gateway's own sequencer, for other programs to check.
//!
//! `long_log DIR ENTRIES`. Checkpoints of several sizes on the way are kept as `kept.SIZE`. Entry 300
//! is as long as an entry can be.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::Context;
use countersign::{
    keys::Keys,
    log::{Log, Record},
};
use countersign_core::time::Timestamp;
use countersign_evidence::{
    body::{Body, SecurityEvent},
    frame::MAX_LEAF_BYTES,
};
use serde_json::json;

/// Records written at once.
const BATCH: u64 = 500;
/// The longest entry, and the bytes of its code: what a leaf has beside it, here, is 246 bytes.
const LONGEST: (u64, usize) = (300, MAX_LEAF_BYTES - 246);

fn record(number: u64) -> Record {
    let event = SecurityEvent {
        code: match number == LONGEST.0 {
            true => "x".repeat(LONGEST.1),
            false => format!("test-{number}"),
        },
    };
    Record::control(
        Timestamp(1_700_000_000_000),
        Body::SecurityEvent(event),
        // With evidence, whose salt makes every log another.
        json!({ "number": number }),
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: long_log DIR ENTRIES";
    let dir = PathBuf::from(arguments.next().context(usage)?);
    let entries: u64 = arguments.next().context(usage)?.parse()?;
    let keys = Arc::new(Keys::open(&dir.join("keys"), true)?);
    let (log, _) = Log::open(&dir, keys.clone(), "i-test", Timestamp(1_700_000_000_000))?;
    fs::write(dir.join("key.pub"), keys.log.verifying().to_string())?;
    // Up to the last but one: closing adds a heartbeat.
    let mut kept = 0;
    while log.size() < entries - 1 {
        let count = BATCH.min(entries - 1 - log.size());
        let prepared = (0..count).map(|n| record(log.size() + n).prepare(None, log.vault()));
        log.append(prepared.collect::<anyhow::Result<_>>()?).await?;
        if log.size() > kept * 10_000 {
            kept += 1;
            log.checkpoint().await;
            fs::copy(
                dir.join("checkpoint"),
                dir.join(format!("kept.{}", log.size())),
            )?;
        }
    }
    log.close().await;
    Ok(())
}
