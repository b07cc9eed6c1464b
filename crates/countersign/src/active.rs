//! The bundle and directory that decide right now.
//!
//! In scope: one value that every decision takes whole, replaced when a change is activated.
//! Invariant: a decision never sees half of a change. What is active comes from the store, never
//! from the files on disk (P9).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    canonical::Hash, directory::Directory, id::RequestId, lifecycle::World, subject::SubjectId,
    time::Timestamp,
};
use countersign_policy::{Bundle, DirectoryChange, Snapshot};
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
    /// Who was stopped since the process started.
    pub stops: Stops,
}

/// Who was stopped while this process runs, and what of it is not recorded yet.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    by: BTreeMap<SubjectId, BTreeSet<SubjectId>>,
    unrecorded: Vec<DirectoryChange>,
}

impl Stops {
    /// Who stopped a subject; nobody when that was before this process started.
    #[must_use]
    pub fn by(&self, who: &SubjectId) -> Vec<SubjectId> {
        self.by.get(who).into_iter().flatten().cloned().collect()
    }

    /// Notes that a subject was stopped, by everybody of the chain that asked.
    pub(crate) fn note(&mut self, who: SubjectId, by: impl IntoIterator<Item = SubjectId>) {
        self.by.entry(who).or_default().extend(by);
    }

    /// Forgets about a subject that may go on.
    pub(crate) fn forget(&mut self, who: &SubjectId) {
        self.by.remove(who);
    }

    /// Changes that are in effect here and nowhere recorded.
    pub(crate) fn unrecorded(&self) -> &[DirectoryChange] {
        &self.unrecorded
    }

    /// Keeps a change that is in effect before it is recorded.
    pub(crate) fn keep(&mut self, change: &DirectoryChange) {
        if !self.unrecorded.contains(change) {
            self.unrecorded.push(change.clone());
        }
    }

    /// A change is recorded.
    pub(crate) fn recorded(&mut self, change: &DirectoryChange) {
        self.unrecorded.retain(|one| one != change);
    }
}

/// The way to what is active. Cheap to clone.
pub type ActivePolicy = watch::Receiver<Arc<Active>>;

impl Active {
    /// What the core needs to judge votes. Which emergencies await their review only the engine knows;
    /// without it nothing can be lifted.
    #[must_use]
    pub fn world(&self) -> World<'_> {
        World {
            directory: &self.directory,
            rules: self.snapshot.rules(),
            due_reviews: None,
        }
    }
}
