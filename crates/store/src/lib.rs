//! Where holds, directory, bundle, credentials and the outbox of the log live.
//!
//! In scope: one trait, [`Store`], with all reading and one atomic [`Store::commit`]; a SQLite
//! store, a memory store, and one conformance suite for both.
//! Out of scope: what the data means; every rule is the core's. The log's file is the gateway's.
//! Invariant: a commit happens whole or not at all and is durable when it returns; a case is
//! swapped only from the version it was read at; at most one permit per request and one vote per
//! person and request can be stored, whatever the caller asks.

mod memory;
mod model;
mod row;
mod sqlite;
mod write;

pub use memory::MemoryStore;
pub use model::{
    ActiveBundle, Card, CaseFilter, CaseSummary, CredentialKind, Delivery, DirectoryEntry,
    OutboxEntry, Page, ReviewFilter, StoredCredential,
};
pub use row::PHASES;
pub use sqlite::{Copied, SqliteStore};
pub use write::{CaseWrite, Forgetting, Write};

use std::collections::BTreeMap;

use async_trait::async_trait;
use countersign_core::{
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, PersonId, RequestId, TargetId},
    request::Case,
    time::Timestamp,
};

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed it first; read again and decide anew.
    #[error("the data changed in the meantime")]
    Conflict,
    /// A rule of the schema stands against it; the text names it.
    #[error("the store refuses it: {0}")]
    Refused(String),
    /// The disk is full or read-only; nothing was changed.
    #[error("the store can't be written ({0}); free space or make it writable, then try again")]
    Unwritable(String),
    /// What is stored can't be read back.
    #[error("stored data can't be read: {0}")]
    Corrupt(String),
    /// Anything else the database says.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A case with the signed envelope of each vote.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCase {
    /// The case.
    pub case: Case,
    /// Voter and envelope, as they were written.
    pub envelopes: Vec<(PersonId, Vec<u8>)>,
}

/// All persistence but the log's own file.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies all writes in one durable transaction. Returns the outbox number of the last
    /// record written; those before it have the numbers right below.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a version, a unique key or a single use stands against any of
    /// them; then nothing was written.
    async fn commit(&self, writes: Vec<Write>) -> Result<Option<u64>, StoreError>;

    /// Deletes for good: when it returns, nothing of it is in any file. Everybody who writes waits
    /// meanwhile, the longer the more there is.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] when something may still be in a file; doing it again finishes it.
    async fn forget(&self, what: Forgetting) -> Result<(), StoreError>;

    /// Cases whose stored form contains this text, whatever the case of its ASCII letters.
    async fn mentioning(&self, text: &str) -> Result<Vec<RequestId>, StoreError>;

    /// One case.
    async fn case(&self, id: &RequestId) -> Result<Option<StoredCase>, StoreError>;

    /// The request that an identical call attaches to: open or running, or closed with its
    /// `refuse_until` still to come at `now`. Open ones come first.
    async fn find_attachable(
        &self,
        key: &AttachKey,
        now: Timestamp,
    ) -> Result<Option<RequestId>, StoreError>;

    /// Requests whose deadline is at or before `now`, earliest first, at most `limit`.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<RequestId>, StoreError>;

    /// The earliest deadline of all.
    async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError>;

    /// All requests in a phase (`held`, `approved`, `running`), oldest first.
    async fn in_phase(&self, phase: &str) -> Result<Vec<RequestId>, StoreError>;

    /// Cases of which a rule was lifted in an emergency that nobody has reviewed, however they ended,
    /// with the earliest time by which somebody must; in that order. [`Store::forget`] refuses them.
    async fn awaiting_review(&self) -> Result<Vec<(RequestId, Timestamp)>, StoreError>;

    /// How many requests of a subject (`agent:deploy-bot`) are held or approved.
    async fn open_of_requester(&self, requester: &str) -> Result<u32, StoreError>;

    /// Until when identical calls are refused, for each request at a target that a person denied to a subject,
    /// whether it was the requester or acted for, and for which that is still to come at `now`; latest first,
    /// at most `limit`.
    async fn refused_until(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>, StoreError>;

    /// The requests at a target that a person denied to a subject, whether it was the requester or acted for,
    /// while identical calls are refused for it at `now`; at most `limit`, those for which that lasts longest
    /// first.
    async fn denied(
        &self,
        member: &str,
        target: &TargetId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RequestId>, StoreError>;

    /// Requests whose grants can still be used at `now`, of everybody or of a subject at a target; those
    /// that end first come first.
    async fn granting(
        &self,
        of: Option<(&str, &TargetId)>,
        now: Timestamp,
    ) -> Result<Vec<RequestId>, StoreError>;

    /// How many requests are held or approved in all.
    async fn open_in_all(&self) -> Result<u32, StoreError>;

    /// Summaries, newest first.
    async fn list(&self, filter: &CaseFilter) -> Result<Page<CaseSummary>, StoreError>;

    /// The actions that ended with an unknown outcome and that nobody has since approved to
    /// repeat, in no order.
    async fn unknown(&self) -> Result<Vec<AttachKey>, StoreError>;

    /// The active bundle; `None` before the first start.
    async fn active_bundle(&self) -> Result<Option<ActiveBundle>, StoreError>;

    /// The directory changes made since the active bundle's directory, oldest first.
    async fn directory_changes(&self) -> Result<Vec<DirectoryEntry>, StoreError>;

    /// What is provisioned, by its keys, as JSON.
    async fn provisioned(&self) -> Result<BTreeMap<String, String>, StoreError>;

    /// The credential whose secret has this hash, also when it is revoked, used or expired.
    async fn credential_by_secret(
        &self,
        secret: &Hash,
    ) -> Result<Option<StoredCredential>, StoreError>;

    /// Credentials of a holder (`person:…`, `agent:…`), or of everybody; newest first.
    async fn credentials(&self, holder: Option<&str>) -> Result<Vec<StoredCredential>, StoreError>;

    /// One credential by its name.
    async fn credential(&self, id: &CredentialId) -> Result<Option<StoredCredential>, StoreError>;

    /// What a channel shows of a request, by place.
    async fn cards(&self, channel: &str, request: &RequestId) -> Result<Vec<Card>, StoreError>;

    /// Requests of which a channel shows something that can change, in no order.
    async fn changing_cards(&self, channel: &str) -> Result<Vec<RequestId>, StoreError>;

    /// The requests that a message of a channel shows, in the order of their names.
    async fn carded(&self, channel: &str, message: &str) -> Result<Vec<RequestId>, StoreError>;

    /// What a gate was asked under this key.
    async fn delivery(&self, gate: &str, key: &str) -> Result<Option<Delivery>, StoreError>;

    /// What a gate still owes an answer for, the oldest first.
    async fn owed_deliveries(&self, gate: &str) -> Result<Vec<Delivery>, StoreError>;

    /// A stored setting, for example the instance's name.
    async fn setting(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// The answer given before under an idempotency key of a subject, with the hash of the
    /// request body it answered.
    async fn idempotent(
        &self,
        subject: &str,
        key: &str,
    ) -> Result<Option<(Hash, Vec<u8>)>, StoreError>;

    /// The outbox number of the last record ever written; 0 when there was none. It tells an old
    /// copy of the database from the one that belongs to the log.
    async fn last_record(&self) -> Result<u64, StoreError>;

    /// Records waiting to reach the log, in order.
    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError>;
}
