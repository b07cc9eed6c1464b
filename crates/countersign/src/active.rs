//! The bundle and directory that decide right now.
//!
//! In scope: one value that every decision takes whole, replaced when a change is activated.
//! Invariant: a decision never sees half of a change. What is active comes from the store, never
//! from the files on disk (P9).

use std::{collections::BTreeSet, sync::Arc};

use countersign_core::{
    canonical::Hash,
    directory::Directory,
    id::{RequestId, RuleName},
    lifecycle::World,
    time::Timestamp,
};
use countersign_policy::{Bundle, Snapshot};
use tokio::sync::watch;

/// Everything a decision depends on.
pub struct Active {
    /// Policies, rules and targets, ready to be asked.
    pub snapshot: Snapshot,
    /// The bundle they came from.
    pub bundle: Arc<Bundle>,
    /// People, groups and machines.
    pub directory: Arc<Directory>,
    /// The bundle's hash.
    pub hash: Hash,
    /// Since when.
    pub activated: Timestamp,
    /// The request that approved it.
    pub request: Option<RequestId>,
    /// Rules whose emergency use awaits an overdue review.
    pub suspended: BTreeSet<RuleName>,
}

/// The way to what is active. Cheap to clone.
pub type ActivePolicy = watch::Receiver<Arc<Active>>;

impl Active {
    /// What the core needs to judge votes.
    #[must_use]
    pub fn world(&self) -> World<'_> {
        World {
            directory: &self.directory,
            rules: self.snapshot.rules(),
            suspended_emergencies: &self.suspended,
        }
    }
}
