//! Reading everything that is neither a case nor a credential, and the decoding they all share.
//!
//! In scope: bundle, directory changes, what is provisioned, settings, answers, outbox.
//! Invariant: what does not decode is [`StoreError::Corrupt`], never skipped.

use std::{collections::BTreeMap, fmt::Display};

use countersign_core::{canonical::Hash, digest::AttachKey, time::Timestamp};
use serde_json::Value;
use sqlx::{Row, SqlitePool, query, query_as, query_scalar, sqlite::SqliteRow};

use super::error::reading;
use crate::{ActiveBundle, DirectoryEntry, OutboxEntry, StoreError};

/// An identifier, as it was written.
pub(super) fn identifier<T>(text: String) -> Result<T, StoreError>
where
    T: TryFrom<String>,
    T::Error: Display,
{
    T::try_from(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Several identifiers.
pub(super) fn identifiers<T>(texts: Vec<String>) -> Result<Vec<T>, StoreError>
where
    T: TryFrom<String>,
    T::Error: Display,
{
    texts.into_iter().map(identifier).collect()
}

/// A SHA-256 value.
pub(super) fn hash(bytes: &[u8]) -> Result<Hash, StoreError> {
    let bytes = bytes.try_into();
    bytes
        .map(Hash)
        .map_err(|_| StoreError::Corrupt("a hash is not 32 bytes long".into()))
}

/// A JSON value.
pub(super) fn json(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The outbox number of the last record ever written.
pub(super) async fn last_record(readers: &SqlitePool) -> Result<u64, StoreError> {
    let last: Option<i64> = query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    u64::try_from(last.unwrap_or(0))
        .map_err(|_| StoreError::Corrupt("an outbox number is negative".into()))
}

/// The actions that ended unknown.
pub(super) async fn unknown(readers: &SqlitePool) -> Result<Vec<AttachKey>, StoreError> {
    let keys: Vec<Vec<u8>> = query_scalar("SELECT attach_key FROM unknown_actions")
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    keys.iter().map(|key| hash(key).map(AttachKey)).collect()
}

/// The active bundle.
pub(super) async fn active_bundle(
    readers: &SqlitePool,
) -> Result<Option<ActiveBundle>, StoreError> {
    let found = query("SELECT * FROM bundles WHERE active = 1")
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    let decode = |row: SqliteRow| {
        let text = |column| row.try_get::<String, _>(column).map_err(reading);
        let bytes: Vec<u8> = row.try_get("hash").map_err(reading)?;
        let request: Option<String> = row.try_get("request").map_err(reading)?;
        Ok(ActiveBundle {
            hash: hash(&bytes)?,
            files: json(&text("files")?)?,
            directory: json(&text("directory")?)?,
            activated: Timestamp(row.try_get("activated").map_err(reading)?),
            request: request.map(identifier).transpose()?,
        })
    };
    found.map(decode).transpose()
}

/// The directory changes, oldest first.
pub(super) async fn directory_changes(
    readers: &SqlitePool,
) -> Result<Vec<DirectoryEntry>, StoreError> {
    let found: Vec<(String, i64, bool)> =
        query_as("SELECT change, at, countersigned FROM directory_changes ORDER BY seq")
            .fetch_all(readers)
            .await
            .map_err(reading)?;
    let entry = |(change, at, countersigned): (String, i64, bool)| {
        Ok(DirectoryEntry {
            change: json(&change)?,
            at: Timestamp(at),
            countersigned,
        })
    };
    found.into_iter().map(entry).collect()
}

/// What is provisioned.
pub(super) async fn provisioned(
    readers: &SqlitePool,
) -> Result<BTreeMap<String, String>, StoreError> {
    let found: Vec<(String, String)> = query_as("SELECT key, value FROM provisioned")
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    Ok(found.into_iter().collect())
}

/// A setting.
pub(super) async fn setting(readers: &SqlitePool, key: &str) -> Result<Option<String>, StoreError> {
    query_scalar("SELECT value FROM settings WHERE key = $1")
        .bind(key)
        .fetch_optional(readers)
        .await
        .map_err(reading)
}

/// The answer given before.
pub(super) async fn idempotent(
    readers: &SqlitePool,
    subject: &str,
    key: &str,
) -> Result<Option<(Hash, Vec<u8>)>, StoreError> {
    let found: Option<(Vec<u8>, Vec<u8>)> =
        query_as("SELECT body, answer FROM idempotency WHERE subject = $1 AND key = $2")
            .bind(subject)
            .bind(key)
            .fetch_optional(readers)
            .await
            .map_err(reading)?;
    found
        .map(|(body, answer)| Ok((hash(&body)?, answer)))
        .transpose()
}

/// Records waiting for the log.
pub(super) async fn outbox(
    readers: &SqlitePool,
    limit: u32,
) -> Result<Vec<OutboxEntry>, StoreError> {
    let found: Vec<(i64, Vec<u8>)> =
        query_as("SELECT seq, record FROM outbox ORDER BY seq LIMIT $1")
            .bind(limit)
            .fetch_all(readers)
            .await
            .map_err(reading)?;
    let entry = |(seq, record)| match u64::try_from(seq) {
        Ok(seq) => Ok(OutboxEntry { seq, record }),
        Err(_) => Err(StoreError::Corrupt("a record's number is negative".into())),
    };
    found.into_iter().map(entry).collect()
}
