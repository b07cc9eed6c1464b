//! Each write as statements.
//!
//! In scope: everything that is written but cases and credentials, which have their own files.
//! Out of scope: transactions.
//! Invariant: a write either does all it says or returns an error, upon which the caller rolls
//! back.

use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{PermitId, RequestId},
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, query, query::Query, sqlite::SqliteArguments};

use super::{cards, cases, credentials, deliveries, error::writing};
use crate::{ActiveBundle, DirectoryEntry, StoreError, Write, row::IDEMPOTENCY_KEPT};

/// A statement with its values.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// Applies one write within the transaction of `connection`.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    write: Write,
) -> Result<(), StoreError> {
    match write {
        Write::InsertCase(write) => cases::insert(connection, &write).await,
        Write::SwapCase(write) => cases::swap(connection, &write).await,
        Write::InsertPermit {
            permit,
            request,
            at,
        } => run(connection, insert_permit(&permit, &request, at)).await,
        Write::Record(record) => insert_records(connection, vec![record]).await.map(|_| ()),
        Write::Acknowledge(seq) => run(connection, acknowledge(seq)).await,
        Write::ActivateBundle { bundle, replaces } => activate(connection, &bundle, replaces).await,
        Write::ChangeDirectory(entry) => run(connection, change_directory(&entry)).await,
        Write::Provision { key, value } => run(connection, provision(key, value)).await,
        Write::InsertCredential(credential) => credentials::insert(connection, &credential).await,
        Write::UseCredential { id, at } => credentials::use_once(connection, &id, at).await,
        Write::RevokeCredential { id, at } => credentials::revoke(connection, &id, at).await,
        Write::RevokeHolder { holder, at } => {
            credentials::revoke_holder(connection, &holder, at).await
        }
        Write::RememberUnknown { key, request, at } => {
            run(connection, remember_unknown(key, &request, at)).await
        }
        Write::ForgetUnknown { key } => run(connection, forget_unknown(key)).await,
        Write::PutCard(card) => cards::put(connection, card).await,
        Write::PutDelivery(one) => deliveries::put(connection, one).await,
        Write::Set { key, value } => run(connection, set(key, value)).await,
        Write::Idempotent {
            subject,
            key,
            body,
            answer,
            at,
        } => {
            let forget = query("DELETE FROM idempotency WHERE at < $1");
            let oldest = at.0.saturating_sub(IDEMPOTENCY_KEPT);
            run(connection, forget.bind(oldest)).await?;
            run(connection, keep_answer(subject, key, body, answer, at)).await
        }
    }
}

/// Runs one statement.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    statement: Statement,
) -> Result<(), StoreError> {
    changed(connection, statement).await.map(|_| ())
}

/// Runs one statement and says how many rows it changed.
pub(super) async fn changed(
    connection: &mut SqliteConnection,
    statement: Statement,
) -> Result<u64, StoreError> {
    let done = statement.execute(connection).await.map_err(writing)?;
    Ok(done.rows_affected())
}

fn insert_permit(permit: &PermitId, request: &RequestId, at: Timestamp) -> Statement {
    query("INSERT INTO permits (id, request, at) VALUES ($1, $2, $3)")
        .bind(permit.as_str())
        .bind(request.as_str())
        .bind(at.0)
}

/// Adds records in this order; gives the outbox number of the last.
pub(super) async fn insert_records(
    connection: &mut SqliteConnection,
    records: Vec<Vec<u8>>,
) -> Result<u64, StoreError> {
    let places: Vec<_> = (1..=records.len()).map(|n| format!("(${n})")).collect();
    let text = format!("INSERT INTO outbox (record) VALUES {}", places.join(", "));
    let statement = query(AssertSqlSafe(text));
    let statement: Statement = records.into_iter().fold(statement, Statement::bind);
    let done = statement.execute(connection).await.map_err(writing)?;
    u64::try_from(done.last_insert_rowid())
        .map_err(|_| StoreError::Corrupt("an outbox number is negative".into()))
}

fn acknowledge(seq: u64) -> Statement {
    query("DELETE FROM outbox WHERE seq <= $1").bind(i64::try_from(seq).unwrap_or(i64::MAX))
}

async fn activate(
    connection: &mut SqliteConnection,
    bundle: &ActiveBundle,
    replaces: Option<Hash>,
) -> Result<(), StoreError> {
    if let Some(hash) = replaces {
        let retire = query("UPDATE bundles SET active = 0 WHERE active = 1 AND hash = $1")
            .bind(hash.0.to_vec());
        if changed(connection, retire).await? == 0 {
            return Err(StoreError::Conflict);
        }
    }
    run(connection, query("DELETE FROM directory_changes")).await?;
    // Where nothing was to be replaced but a bundle is active, the unique index conflicts.
    let insert = query(
        "INSERT INTO bundles (hash, activated, request, active, files, directory) \
         VALUES ($1, $2, $3, 1, $4, $5)",
    )
    .bind(bundle.hash.0.to_vec())
    .bind(bundle.activated.0)
    .bind(bundle.request.as_ref().map(RequestId::as_str))
    .bind(bundle.files.to_string())
    .bind(bundle.directory.to_string());
    run(connection, insert).await
}

fn change_directory(entry: &DirectoryEntry) -> Statement {
    query("INSERT INTO directory_changes (change, at, countersigned) VALUES ($1, $2, $3)")
        .bind(entry.change.to_string())
        .bind(entry.at.0)
        .bind(entry.countersigned)
}

fn provision(key: String, value: Option<String>) -> Statement {
    match value {
        Some(value) => query(
            "INSERT INTO provisioned (key, value) VALUES ($1, $2) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value),
        None => query("DELETE FROM provisioned WHERE key = $1").bind(key),
    }
}

fn remember_unknown(key: AttachKey, request: &RequestId, at: Timestamp) -> Statement {
    query(
        "INSERT INTO unknown_actions (attach_key, request, at) VALUES ($1, $2, $3) \
         ON CONFLICT (attach_key) DO UPDATE SET request = excluded.request, at = excluded.at",
    )
    .bind(key.0.0.to_vec())
    .bind(request.as_str())
    .bind(at.0)
}

fn forget_unknown(key: AttachKey) -> Statement {
    query("DELETE FROM unknown_actions WHERE attach_key = $1").bind(key.0.0.to_vec())
}

fn set(key: String, value: String) -> Statement {
    query(
        "INSERT INTO settings (key, value) VALUES ($1, $2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
}

fn keep_answer(
    subject: String,
    key: String,
    body: Hash,
    answer: Vec<u8>,
    at: Timestamp,
) -> Statement {
    query("INSERT INTO idempotency (subject, key, body, at, answer) VALUES ($1, $2, $3, $4, $5)")
        .bind(subject)
        .bind(key)
        .bind(body.0.to_vec())
        .bind(at.0)
        .bind(answer)
}
