//! The one connection that writes.
//!
//! In scope: transactions, and getting out of failed ones.
//! Out of scope: the statements of each write; see [`apply`](super::apply).
//! Invariant: when a commit returns an error nothing of it is stored, and the next commit starts
//! from a connection that is in no transaction. So it does when a caller stops waiting half-way.

use std::{iter::Peekable, vec::IntoIter};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use super::{
    apply::{apply, insert_records},
    error::{is_no_transaction, writing},
    forget::forget,
};
use crate::{Forgetting, StoreError, Write};

/// The most records of one statement; each number up to it is prepared and cached once.
const MAX_RECORDS: usize = 16;

pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// Absent while it is in use and after it could not be brought back into order.
    connection: Mutex<Option<SqliteConnection>>,
}

impl Writer {
    pub(super) async fn connect(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let connection = options.connect().await.map_err(writing)?;
        Ok(Self {
            options,
            connection: Mutex::new(Some(connection)),
        })
    }

    /// Applies all writes; gives the outbox number of the last record.
    pub(super) async fn commit(&self, writes: Vec<Write>) -> Result<Option<u64>, StoreError> {
        self.carry_out(Job::Commit(writes)).await
    }

    /// Deletes for good. Everybody who writes waits meanwhile.
    pub(super) async fn forget(&self, what: Forgetting) -> Result<(), StoreError> {
        self.carry_out(Job::Forget(what)).await.map(drop)
    }

    async fn carry_out(&self, job: Job) -> Result<Option<u64>, StoreError> {
        let mut place = self.connection.lock().await;
        // Taken out, so that a caller who goes away leaves nothing behind: dropping a connection
        // rolls back what it had not committed.
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(writing)?,
        };
        let result = match job {
            Job::Commit(writes) => transact(&mut connection, writes).await,
            Job::Forget(what) => forget(&mut connection, &what).await.map(|()| None),
        };
        if result.is_ok() || roll_back(&mut connection).await {
            *place = Some(connection);
        }
        result
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await.map_err(writing),
            None => Ok(()),
        }
    }
}

enum Job {
    Commit(Vec<Write>),
    Forget(Forgetting),
}

async fn transact(
    connection: &mut SqliteConnection,
    writes: Vec<Write>,
) -> Result<Option<u64>, StoreError> {
    // sqlx's own transaction counts its depth and loses count when SQLite rolls back by itself,
    // which it does when the disk is full.
    execute(connection, "BEGIN IMMEDIATE").await?;
    let mut writes = writes.into_iter().peekable();
    let mut last = None;
    while let Some(write) = writes.next() {
        match write {
            Write::Record(record) => {
                let records = following_records(record, &mut writes);
                last = Some(insert_records(connection, records).await?);
            }
            other => apply(connection, other).await?,
        }
    }
    // A crash before this returns leaves either the old state or the new one, never a mixture.
    execute(connection, "COMMIT").await?;
    Ok(last)
}

/// A record with those right behind it, as many as one statement takes.
fn following_records(first: Vec<u8>, writes: &mut Peekable<IntoIter<Write>>) -> Vec<Vec<u8>> {
    let mut records = vec![first];
    while records.len() < MAX_RECORDS
        && let Some(Write::Record(record)) =
            writes.next_if(|write| matches!(write, Write::Record(_)))
    {
        records.push(record);
    }
    records
}

/// Whether the connection is in no transaction any more.
async fn roll_back(connection: &mut SqliteConnection) -> bool {
    match sqlx::query("ROLLBACK").execute(connection).await {
        Ok(_) => true,
        Err(error) => is_no_transaction(&error),
    }
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), StoreError> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(|_| ()).map_err(writing)
}
