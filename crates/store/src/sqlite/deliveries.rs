//! What is answered later.
//!
//! In scope: noting how far it is, finding what is owed.
//! Out of scope: what is answered.
//! Invariant: one row for each gate and key; what was answered stays answered.

use countersign_core::time::Timestamp;
use sqlx::{Row, SqliteConnection, SqlitePool, query, sqlite::SqliteRow};

use super::{apply::run, error::reading};
use crate::{Delivery, StoreError, row::DELIVERIES_KEPT};

pub(super) const ONE: &str = "SELECT * FROM deliveries WHERE gate = $1 AND key = $2";
pub(super) const OWED: &str =
    "SELECT * FROM deliveries WHERE gate = $1 AND done = 0 ORDER BY at, key";

/// Notes one, and deletes what was answered long ago.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    delivery: Delivery,
) -> Result<(), StoreError> {
    let forget = query("DELETE FROM deliveries WHERE done = 1 AND at < $1");
    let oldest = delivery.at.0.saturating_sub(DELIVERIES_KEPT);
    run(connection, forget.bind(oldest)).await?;
    let insert = query(
        "INSERT INTO deliveries (gate, key, at, state, done) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (gate, key) DO UPDATE SET state = $4, done = $5",
    )
    .bind(delivery.gate)
    .bind(delivery.key)
    .bind(delivery.at.0)
    .bind(delivery.state)
    .bind(delivery.done);
    run(connection, insert).await
}

/// One, by its key.
pub(super) async fn one(
    readers: &SqlitePool,
    gate: &str,
    key: &str,
) -> Result<Option<Delivery>, StoreError> {
    let row = query(ONE)
        .bind(gate.to_owned())
        .bind(key.to_owned())
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    row.as_ref().map(decode).transpose()
}

/// What is owed.
pub(super) async fn owed(readers: &SqlitePool, gate: &str) -> Result<Vec<Delivery>, StoreError> {
    let rows = query(OWED)
        .bind(gate.to_owned())
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    rows.iter().map(decode).collect()
}

fn decode(row: &SqliteRow) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        gate: row.try_get("gate").map_err(reading)?,
        key: row.try_get("key").map_err(reading)?,
        at: Timestamp(row.try_get("at").map_err(reading)?),
        state: row.try_get("state").map_err(reading)?,
        done: row.try_get("done").map_err(reading)?,
    })
}
