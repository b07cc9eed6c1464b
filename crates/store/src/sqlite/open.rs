//! Opening a database file: its mode, its identity and its schema.
//!
//! In scope: creating the file, recognising ours, bringing an older schema up to date.
//! Out of scope: what the schema says; see `migrations/sqlite`.
//! Invariant: a file that is not ours, or that a newer version wrote, is left as it was found; a
//! migration happens whole or not at all.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::error::{reading, writing};
use crate::StoreError;

/// Marks the file as ours for `file` and for ourselves: `CSGN`.
pub(super) const APPLICATION_ID: i64 = 0x4353_474e;

/// One after the other; the schema's version is how many were applied.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_provisioned.sql"),
    include_str!("../../migrations/sqlite/0003_grants.sql"),
    include_str!("../../migrations/sqlite/0004_emergencies.sql"),
    include_str!("../../migrations/sqlite/0005_deliveries.sql"),
    include_str!("../../migrations/sqlite/0006_denials.sql"),
];

/// How long to wait for another process, for example a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What is left of the write-ahead log after a burst, in bytes.
const WAL_KEPT: &str = "67108864";

/// How every connection is opened. A commit is on the disk when it returns (`FULL`).
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", WAL_KEPT)
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

/// Creates the file, for its owner alone, where there is none.
pub(super) fn create_file(path: &Path) -> Result<(), StoreError> {
    let mut create = OpenOptions::new();
    create.read(true).write(true).create(true).mode(0o600);
    create.open(path).map_err(unwritable(path))?;
    Ok(())
}

/// Takes everybody else's access away. Called once the file is known to be ours.
pub(super) fn restrict(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::set_permissions(beside(path, suffix), Permissions::from_mode(0o600)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(unwritable(path))?,
        }
    }
    Ok(())
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError::Unwritable(format!("`{}`: {error}", path.display()))
}

/// Makes the names of new files durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(unwritable(directory))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Recognises the database, switches it to a write-ahead log and brings its schema up to date.
pub(super) async fn migrate(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = options.connect().await.map_err(writing)?;
    let result = migrate_with(&mut connection).await;
    connection.close().await.map_err(writing)?;
    result
}

async fn migrate_with(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let version = recognise(connection).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut *connection)
        .await
        .map_err(writing)?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "this file system allows only the journal mode `{mode}`; use a local disk"
        )));
    }
    for (number, text) in (1i64..).zip(MIGRATIONS).skip_while(|(n, _)| *n <= version) {
        apply(connection, number, text).await?;
    }
    Ok(())
}

/// The version of the schema; 0 for an empty file.
pub(super) async fn recognise(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let (application, version, tables): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), \
                (SELECT user_version FROM pragma_user_version), \
                (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(connection)
    .await
    .map_err(reading)?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(StoreError::Refused(
            "the file is another program's database; choose another path".into(),
        ));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(StoreError::Refused(format!(
            "the database has schema version {version} and this program knows up to {known}; \
             start the newer program, or restore the backup made before it was upgraded"
        )));
    }
    Ok(version)
}

/// A crash here leaves the version before; the next start applies it again.
async fn apply(
    connection: &mut SqliteConnection,
    number: i64,
    text: &'static str,
) -> Result<(), StoreError> {
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(writing)?;
    let stamp =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};");
    sqlx::raw_sql(text)
        .execute(&mut *transaction)
        .await
        .map_err(writing)?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp))
        .execute(&mut *transaction)
        .await
        .map_err(writing)?;
    transaction.commit().await.map_err(writing)
}
