//! Forgetting: rows that go for good, also from what the file still has of them.
//!
//! In scope: finding what mentions a text, deleting, compacting.
//! Out of scope: who may be forgotten, and whether what goes is finished.
//! Invariant: rows go all or not at all, and the schema's guards stand again with the same commit. When
//! it returns, nothing of what was deleted is in the file or in its write-ahead log.

use countersign_core::id::RequestId;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{
    error::{reading, writing},
    writer::execute,
};
use crate::{Forgetting, StoreError, Write};

/// What keeps rows from being deleted otherwise.
const GUARDS: [&str; 3] = ["cases_stay", "permits_stay", "credentials_stay"];

/// Cases whose stored form contains this text, whatever the case of its letters.
pub(super) async fn mentioning(
    readers: &SqlitePool,
    text: &str,
) -> Result<Vec<RequestId>, StoreError> {
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM cases WHERE instr(lower(CAST(body AS TEXT)), lower($1)) > 0 ORDER BY id",
    )
    .bind(text)
    .fetch_all(readers)
    .await
    .map_err(reading)?;
    let parse = |id: String| {
        id.parse()
            .map_err(|_| StoreError::Corrupt(format!("`{id}` is no request")))
    };
    rows.into_iter().map(parse).collect()
}

/// Deletes, then makes the file anew without what was deleted.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    what: &Forgetting,
) -> Result<(), StoreError> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    let guards = take_guards(connection).await?;
    for case in &what.cases {
        for statement in [
            "DELETE FROM votes WHERE request = $1",
            "DELETE FROM case_people WHERE request = $1",
            "DELETE FROM permits WHERE request = $1",
            "DELETE FROM cards WHERE request = $1",
            "DELETE FROM emergencies WHERE request = $1",
            "DELETE FROM denials WHERE request = $1",
            "DELETE FROM cases WHERE id = $1",
        ] {
            run(connection, statement, case.as_str()).await?;
        }
    }
    for credential in &what.credentials {
        for statement in [
            "DELETE FROM cards WHERE substr(place, 1, length($1)) = $1",
            "DELETE FROM credentials WHERE id = $1",
        ] {
            run(connection, statement, credential.as_str()).await?;
        }
    }
    for place in &what.places {
        let statement = "DELETE FROM cards WHERE lower(substr(place, 1, length($1))) = lower($1)";
        run(connection, statement, place).await?;
    }
    for key in &what.provisioned {
        let statement = "DELETE FROM provisioned WHERE key = $1";
        run(connection, statement, key).await?;
    }
    if let Some(text) = &what.answers_with {
        let statement = "DELETE FROM idempotency WHERE \
             instr(lower(subject || ' ' || CAST(answer AS TEXT)), lower($1)) > 0";
        run(connection, statement, text).await?;
    }
    if let Some(changes) = &what.changes {
        execute(connection, "DELETE FROM bundles WHERE active = 0").await?;
        execute(connection, "DELETE FROM directory_changes").await?;
        for change in changes {
            let again = Write::ChangeDirectory(change.clone());
            super::apply::apply(connection, again).await?;
        }
    }
    for guard in guards {
        sqlx::raw_sql(sqlx::AssertSqlSafe(guard))
            .execute(&mut *connection)
            .await
            .map_err(writing)?;
    }
    execute(connection, "COMMIT").await?;
    // What was deleted still stands in pages that are free now, and in the write-ahead log.
    execute(connection, "VACUUM").await?;
    let busy: i64 = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(writing)?;
    match busy {
        0 => Ok(()),
        _ => Err(StoreError::Unwritable(
            "another program reads the database, so that what was deleted is still in its \
             write-ahead log"
                .into(),
        )),
    }
}

/// Takes the guards away for this transaction, and gives the statements that put them back.
async fn take_guards(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let mut statements = Vec::with_capacity(GUARDS.len());
    for guard in GUARDS {
        let sql = sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE name = $1")
            .bind(guard)
            .fetch_one(&mut *connection)
            .await;
        statements.push(sql.map_err(reading)?);
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TRIGGER {guard}")))
            .execute(&mut *connection)
            .await
            .map_err(writing)?;
    }
    Ok(statements)
}

async fn run(
    connection: &mut SqliteConnection,
    statement: &'static str,
    value: &str,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(value)
        .execute(connection)
        .await
        .map_err(writing)?;
    Ok(())
}
