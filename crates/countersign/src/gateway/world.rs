//! Whether the people and policies in the database are those that were recorded.
//!
//! In scope: one hash of all of them, written beside every record that changes them, compared at the
//! start.
//! Out of scope: changes while a gateway runs, which decides by what it has in memory.
//! Invariant: whoever writes into the database changes nothing that a start would believe. A crash
//! between a record and its commit leaves the state before it, which is believed, too, until it is
//! recorded that the change was stored.

use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use countersign_core::{
    canonical::{Hash, hash_in_domain},
    directory::Directory,
    time::Timestamp,
};
use countersign_evidence::body::{Body, ChangeStored};
use countersign_policy::{Bundle, DirectoryChange};
use countersign_store::Store;
use serde_json::{Value, json};

use super::opening::StoredParts;
use crate::{
    log::{Log, Record},
    way_out::{Stuck, WayOut},
};

/// People and policies before and after a change, as the database has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct World {
    /// After it.
    pub(crate) now: Hash,
    /// Before it; `None` before anything was trusted.
    pub(crate) was: Option<Hash>,
}

/// A change of the directory, as it is about to be stored.
pub(crate) struct Changing<'a> {
    /// The change.
    pub(crate) change: &'a DirectoryChange,
    /// When it is made.
    pub(crate) at: Timestamp,
    /// Whether it was countersigned.
    pub(crate) countersigned: bool,
    /// Whether it is kept by itself.
    pub(crate) is_kept: bool,
    /// What will be active, whose provisioning is stored.
    pub(crate) becomes: &'a Directory,
}

/// The hash of what the database must have, since this process started or changed it last.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Option<Hash>>);

impl Known {
    /// Takes what the database has now.
    pub(crate) fn set(&self, world: Hash) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(world);
    }

    /// Refuses to build a change on what somebody else wrote there: its record would vouch for it.
    ///
    /// # Errors
    /// The database has something else.
    pub(crate) fn check(&self, found: Hash) -> anyhow::Result<()> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some_and(|known| known != found) {
            bail!(
                "the people or policies in the database are not those that are active: somebody \
                 changed the database. Nothing was changed; restore the database"
            );
        }
        Ok(())
    }
}

/// The hash of people and policies.
///
/// # Errors
/// They have no canonical form.
pub(crate) fn hash_of(bundle: &Bundle, directory: &Directory) -> anyhow::Result<Hash> {
    let files = bundle.files_hash()?;
    Ok(hash_in_domain("world", &(files, directory))?)
}

/// The hash of what the database has; `None` when it has nothing.
///
/// # Errors
/// It can't be read, or does not fit together.
pub(crate) async fn stored(store: &dyn Store) -> anyhow::Result<Option<Hash>> {
    let Some(bundle) = store.active_bundle().await? else {
        return Ok(None);
    };
    let parts = StoredParts::read(store, bundle).await?;
    hash_of(&parts.bundle, &parts.directory()?).map(Some)
}

impl World {
    /// What a change of the directory will make of what the database has. What would be stored has to
    /// make the same when it is read back: otherwise no start would come through.
    ///
    /// # Errors
    /// The database can't be read, or the change does not fit, now or when it is read back.
    pub(crate) async fn changed_by(
        store: &dyn Store,
        known: &Known,
        Changing {
            change,
            at,
            countersigned,
            is_kept,
            becomes,
        }: Changing<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(bundle) = store.active_bundle().await? else {
            return Ok(None);
        };
        let parts = StoredParts::read(store, bundle).await?;
        let mut directory = parts.directory()?;
        let was = hash_of(&parts.bundle, &directory)?;
        known.check(was)?;
        change.apply(&mut directory, at, countersigned)?;
        let now = hash_of(&parts.bundle, &directory)?;
        let kept = is_kept.then(|| (change.clone(), at, countersigned));
        let stored = becomes.provisioning.as_deref().cloned();
        if parts.becoming(stored, kept)? != directory {
            bail!(
                "read back, the change would make other people than it makes now. Nothing was \
                 changed; that is a defect, please report it"
            );
        }
        Ok(Some(Self {
            now,
            was: Some(was),
        }))
    }

    /// The evidence of the record of the change.
    pub(crate) fn beside(self, mut evidence: Value) -> Value {
        if let Some(fields) = evidence.as_object_mut() {
            fields.insert("world".into(), json!(self.now));
            if let Some(was) = self.was {
                fields.insert("world_before".into(), json!(was));
            }
        }
        evidence
    }
}

/// Records that the database has what the last change made. Without that record the state before the
/// change is believed, too, until the next start records it.
pub(crate) async fn stored_as(log: &Log, at: Timestamp, world: Hash) {
    let body = ChangeStored {
        what: "people_and_policies".into(),
    };
    let record = Record::control(at, Body::ChangeStored(body), json!({ "world": world }));
    if let Err(error) = log.record(record).await {
        tracing::warn!(%error, "it was not recorded that a change is stored");
    }
}

/// Refuses people and policies that no record stands behind. Gives what is to be recorded as stored,
/// where that was left open.
///
/// # Errors
/// They are others than those recorded last, and than those before the last record.
pub(super) fn check(
    bundle: &Bundle,
    directory: &Directory,
    recorded: Option<World>,
) -> anyhow::Result<Option<Hash>> {
    let Some(recorded) = recorded else {
        return Ok(None);
    };
    let found = hash_of(bundle, directory)?;
    if found != recorded.now && Some(found) != recorded.was {
        return Err(Stuck::err(
            WayOut::TrustFiles,
            "the people or policies in the database are not those that the log has: somebody \
             changed the database, or it is of another time; restore the newest copy of both"
                .into(),
        ));
    }
    Ok(recorded.was.map(|_| found))
}
