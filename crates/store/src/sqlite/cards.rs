//! What channels show of requests.
//!
//! In scope: noting it, finding it.
//! Out of scope: sending it.
//! Invariant: one row for each request, channel and place.

use countersign_core::id::RequestId;
use sqlx::{Row, SqliteConnection, SqlitePool, query, query_scalar, sqlite::SqliteRow};

use super::{
    apply::run,
    error::reading,
    read::{hash, identifier},
};
use crate::{Card, StoreError};

pub(super) const OF_REQUEST: &str =
    "SELECT * FROM cards WHERE request = $1 AND channel = $2 ORDER BY place";
pub(super) const CHANGING: &str =
    "SELECT DISTINCT request FROM cards WHERE channel = $1 AND done = 0";
pub(super) const OF_MESSAGE: &str =
    "SELECT DISTINCT request FROM cards WHERE channel = $1 AND message = $2 ORDER BY request";

/// Notes a card in the place of what was noted before.
pub(super) async fn put(connection: &mut SqliteConnection, card: Card) -> Result<(), StoreError> {
    let insert = query(
        "INSERT INTO cards (channel, request, place, message, shown, done) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (request, channel, place) \
         DO UPDATE SET message = $4, shown = $5, done = $6",
    )
    .bind(card.channel)
    .bind(card.request.as_str().to_owned())
    .bind(card.place)
    .bind(card.message)
    .bind(card.shown.map(|hash| hash.0.to_vec()))
    .bind(card.done);
    run(connection, insert).await
}

/// The cards of a request in a channel.
pub(super) async fn of_request(
    readers: &SqlitePool,
    channel: &str,
    request: &RequestId,
) -> Result<Vec<Card>, StoreError> {
    let rows = query(OF_REQUEST)
        .bind(request.as_str().to_owned())
        .bind(channel.to_owned())
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    rows.iter().map(decode).collect()
}

/// Requests with cards that can change.
pub(super) async fn changing(
    readers: &SqlitePool,
    channel: &str,
) -> Result<Vec<RequestId>, StoreError> {
    let rows: Vec<String> = query_scalar(CHANGING)
        .bind(channel.to_owned())
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    rows.into_iter().map(identifier).collect()
}

/// The requests that a message shows.
pub(super) async fn of_message(
    readers: &SqlitePool,
    channel: &str,
    message: &str,
) -> Result<Vec<RequestId>, StoreError> {
    let rows: Vec<String> = query_scalar(OF_MESSAGE)
        .bind(channel.to_owned())
        .bind(message.to_owned())
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    rows.into_iter().map(identifier).collect()
}

fn decode(row: &SqliteRow) -> Result<Card, StoreError> {
    let text = |column| row.try_get::<String, _>(column).map_err(reading);
    let shown: Option<Vec<u8>> = row.try_get("shown").map_err(reading)?;
    Ok(Card {
        channel: text("channel")?,
        request: identifier(text("request")?)?,
        place: text("place")?,
        message: row.try_get("message").map_err(reading)?,
        shown: shown.as_deref().map(hash).transpose()?,
        done: row.try_get("done").map_err(reading)?,
    })
}
