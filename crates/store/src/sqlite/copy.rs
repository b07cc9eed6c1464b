//! A copy of the database as it is at one moment, while others write it.
//!
//! In scope: the copy, and what of the outbox is in it.
//! Out of scope: what belongs with it.
//! Invariant: what is copied is one state between two commits; the file itself is left as it was.
//! Specification: <https://www.sqlite.org/lang_vacuum.html#vacuuminto>.

use std::{
    fs::{File, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqlitePoolOptions};

use super::{
    SqliteStore,
    error::{reading, writing},
    open, read,
};
use crate::StoreError;

/// What a copy of a database knows of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The outbox number of the last record ever written.
    pub last_record: u64,
    /// The outbox number up to which records had arrived in the log.
    pub arrived: u64,
}

impl SqliteStore {
    /// Copies the database at `path` to `to`, which does not exist, whoever uses it meanwhile. Nothing
    /// is migrated, and nothing that was deleted is in the copy.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it is no database of ours or a newer version's;
    /// [`StoreError::Unwritable`] when the copy can't be written.
    pub async fn copy(path: &Path, to: &Path) -> Result<Copied, StoreError> {
        let mut connection = open::options(path).connect().await.map_err(reading)?;
        let written = write(&mut connection, to).await;
        connection.close().await.map_err(reading)?;
        written?;
        let failed =
            |error: std::io::Error| StoreError::Unwritable(format!("`{}`: {error}", to.display()));
        std::fs::set_permissions(to, Permissions::from_mode(0o600)).map_err(failed)?;
        File::open(to)
            .and_then(|file| file.sync_all())
            .map_err(failed)?;
        copied(to).await
    }
}

async fn write(connection: &mut SqliteConnection, to: &Path) -> Result<(), StoreError> {
    open::recognise(connection).await?;
    let Some(name) = to.to_str() else {
        let shown = to.display();
        return Err(StoreError::Unwritable(format!("`{shown}` is not UTF-8")));
    };
    sqlx::query("VACUUM INTO $1")
        .bind(name)
        .execute(connection)
        .await
        .map_err(writing)?;
    Ok(())
}

async fn copied(path: &Path) -> Result<Copied, StoreError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(open::options(path).pragma("query_only", "ON"))
        .await
        .map_err(reading)?;
    let last_record = read::last_record(&pool).await?;
    let waiting = read::outbox(&pool, 1).await?;
    pool.close().await;
    let first = waiting.first().map(|entry| entry.seq);
    Ok(Copied {
        last_record,
        arrived: first.map_or(last_record, |seq| seq.saturating_sub(1)),
    })
}
