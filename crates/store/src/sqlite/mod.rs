//! The store in one SQLite file.
//!
//! In scope: one writing connection, a few reading ones, and every [`Store`] method as SQL.
//! Out of scope: several nodes on one database; another process may write the same file, and is
//! waited for, but nothing here tells of its changes.
//! Invariant: commits are durable when they return (write-ahead log, `synchronous = FULL`); reads
//! see every commit that returned; memory does not grow with the number of cases.
//! Specification: <https://www.sqlite.org/wal.html>.

mod apply;
mod cards;
mod cases;
mod copy;
mod credentials;
mod deliveries;
mod error;
mod forget;
mod list;
mod open;
#[cfg(test)]
mod plans;
mod read;
#[cfg(test)]
mod trouble;
mod writer;

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;
use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, RequestId, TargetId},
    time::Timestamp,
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

pub use self::copy::Copied;
use self::{error::reading, writer::Writer};
use crate::{
    ActiveBundle, Card, CaseFilter, CaseSummary, Delivery, DirectoryEntry, Forgetting, OutboxEntry,
    Page, Store, StoreError, StoredCase, StoredCredential, Write,
};

/// Enough for the two cores of a small machine to read while pages are fetched.
const READERS: u32 = 4;

/// Everything in one SQLite file, and its `-wal` and `-shm` files beside it.
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the database at `path`, readable by its owner alone, and brings its
    /// schema up to date. The directory must exist.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the file is another program's or a newer version's;
    /// [`StoreError::Unwritable`] when it can't be created or written; [`StoreError::Corrupt`]
    /// when it is no database.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::create_file(path)?;
        let options = open::options(path);
        open::migrate(&options).await?;
        open::restrict(path)?;
        let store = Self::connect(options).await?;
        open::sync_directory(path)?;
        Ok(store)
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let writer = Writer::connect(options.clone()).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(reading)?;
        Ok(Self { writer, readers })
    }

    /// Closes every connection, after the commits and reads under way. Dropping the store loses
    /// nothing either; this also waits.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] when the write-ahead log can't be merged; nothing is lost by it.
    pub async fn close(self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<Option<u64>, StoreError> {
        self.writer.commit(writes).await
    }

    async fn forget(&self, what: Forgetting) -> Result<(), StoreError> {
        self.writer.forget(what).await
    }

    async fn mentioning(&self, text: &str) -> Result<Vec<RequestId>, StoreError> {
        forget::mentioning(&self.readers, text).await
    }

    async fn case(&self, id: &RequestId) -> Result<Option<StoredCase>, StoreError> {
        cases::case(&self.readers, id).await
    }

    async fn find_attachable(
        &self,
        key: &AttachKey,
        now: Timestamp,
    ) -> Result<Option<RequestId>, StoreError> {
        cases::find_attachable(&self.readers, key, now).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<RequestId>, StoreError> {
        cases::due(&self.readers, now, limit).await
    }

    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        cases::next_deadline(&self.readers).await
    }

    async fn in_phase(&self, phase: &str) -> Result<Vec<RequestId>, StoreError> {
        cases::in_phase(&self.readers, phase).await
    }

    async fn awaiting_review(&self) -> Result<Vec<(RequestId, Timestamp)>, StoreError> {
        cases::awaiting_review(&self.readers).await
    }

    async fn open_of_requester(&self, requester: &str) -> Result<u32, StoreError> {
        cases::open_of_requester(&self.readers, requester).await
    }

    async fn refused_until(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>, StoreError> {
        cases::refused_until(&self.readers, member, target, now, limit).await
    }

    async fn denied(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RequestId>, StoreError> {
        cases::denied(&self.readers, member, target, now, limit).await
    }

    async fn granting(
        &self,
        of: Option<(&str, &TargetId)>,
        now: Timestamp,
    ) -> Result<Vec<RequestId>, StoreError> {
        cases::granting(&self.readers, of, now).await
    }

    async fn open_in_all(&self) -> Result<u32, StoreError> {
        cases::open_in_all(&self.readers).await
    }

    async fn list(&self, filter: &CaseFilter) -> Result<Page<CaseSummary>, StoreError> {
        list::list(&self.readers, filter).await
    }

    async fn last_record(&self) -> Result<u64, StoreError> {
        read::last_record(&self.readers).await
    }

    async fn unknown(&self) -> Result<Vec<AttachKey>, StoreError> {
        read::unknown(&self.readers).await
    }

    async fn active_bundle(&self) -> Result<Option<ActiveBundle>, StoreError> {
        read::active_bundle(&self.readers).await
    }

    async fn directory_changes(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        read::directory_changes(&self.readers).await
    }

    async fn provisioned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        read::provisioned(&self.readers).await
    }

    async fn credential_by_secret(
        &self,
        secret: &Hash,
    ) -> Result<Option<StoredCredential>, StoreError> {
        credentials::by_secret(&self.readers, secret).await
    }

    async fn credentials(&self, holder: Option<&str>) -> Result<Vec<StoredCredential>, StoreError> {
        credentials::all(&self.readers, holder).await
    }

    async fn credential(&self, id: &CredentialId) -> Result<Option<StoredCredential>, StoreError> {
        credentials::by_id(&self.readers, id).await
    }

    async fn cards(&self, channel: &str, request: &RequestId) -> Result<Vec<Card>, StoreError> {
        cards::of_request(&self.readers, channel, request).await
    }

    async fn changing_cards(&self, channel: &str) -> Result<Vec<RequestId>, StoreError> {
        cards::changing(&self.readers, channel).await
    }

    async fn carded(&self, channel: &str, message: &str) -> Result<Vec<RequestId>, StoreError> {
        cards::of_message(&self.readers, channel, message).await
    }

    async fn delivery(&self, gate: &str, key: &str) -> Result<Option<Delivery>, StoreError> {
        deliveries::one(&self.readers, gate, key).await
    }

    async fn owed_deliveries(&self, gate: &str) -> Result<Vec<Delivery>, StoreError> {
        deliveries::owed(&self.readers, gate).await
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        read::setting(&self.readers, key).await
    }

    async fn idempotent(
        &self,
        subject: &str,
        key: &str,
    ) -> Result<Option<(Hash, Vec<u8>)>, StoreError> {
        read::idempotent(&self.readers, subject, key).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        read::outbox(&self.readers, limit).await
    }
}
