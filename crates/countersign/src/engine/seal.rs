//! Seals on what the database keeps for the engine: what shows that this installation wrote it.
//!
//! In scope: requests, with their rules, text and people; records on their way to the log.
//! Out of scope: credentials, which identity seals; putting an older state of a request back, which
//! the log's verifier finds.
//! Invariant: the key is not in the database. What was edited there is neither shown nor decided,
//! claimed or recorded.

use countersign_core::{
    canonical::{Hash, NotCanonical, to_canonical},
    id::RequestId,
    request::Case,
    time::Timestamp,
};
use countersign_evidence::body::{Body, SecurityEvent};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{keys::Keys, log::Record};

/// Seals a request as it is now.
///
/// # Errors
/// It has no canonical form.
pub(super) fn put(keys: &Keys, case: &mut Case) -> Result<(), NotCanonical> {
    case.seal = None;
    case.seal = Some(Hash::keyed(&keys.act, &sealed("case", case)?));
    Ok(())
}

/// Whether a request is as it was sealed.
#[must_use]
pub fn holds(keys: &Keys, case: &Case) -> bool {
    still_holds(keys, &mut case.clone())
}

/// Like [`holds`], without a copy: the seal is taken off while it is compared, and put on again.
pub(super) fn still_holds(keys: &Keys, case: &mut Case) -> bool {
    let Some(seal) = case.seal.take() else {
        return false;
    };
    let made = sealed("case", case).map(|bytes| Hash::keyed(&keys.act, &bytes));
    case.seal = Some(seal);
    made.is_ok_and(|made| made == seal)
}

/// That the database has something else of a request than was written there.
#[must_use]
pub fn forged(at: Timestamp, request: &RequestId) -> Record {
    let event = SecurityEvent {
        code: "forged_request".into(),
    };
    Record::control(
        at,
        Body::SecurityEvent(event),
        json!({ "request": request }),
    )
}

fn sealed(kind: &str, value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    to_canonical(&(kind, value))
}

/// A record as it waits in the database.
#[derive(Serialize, Deserialize)]
struct Waiting {
    record: String,
    seal: Hash,
}

/// The form in which a record waits.
///
/// # Errors
/// It has no JSON form.
pub(crate) fn wait(keys: &Keys, record: &Record) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::to_string(record)?;
    let seal = of_record(keys, &record);
    serde_json::to_vec(&Waiting { record, seal })
}

fn of_record(keys: &Keys, record: &str) -> Hash {
    Hash::keyed(&keys.act, &[b"record\0", record.as_bytes()].concat())
}

/// The record that waited.
///
/// # Errors
/// This installation did not write it.
pub(super) fn arrived(keys: &Keys, bytes: &[u8]) -> anyhow::Result<Record> {
    let waiting: Waiting = serde_json::from_slice(bytes)?;
    anyhow::ensure!(
        of_record(keys, &waiting.record) == waiting.seal,
        "it was written into the database by somebody else"
    );
    Ok(serde_json::from_str(&waiting.record)?)
}
