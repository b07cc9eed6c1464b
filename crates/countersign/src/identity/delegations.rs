//! Who lets which machine act for them now, whether the machine shows that or not.
//!
//! In scope: the delegations that can be exchanged, kept in memory; whom they make part of a machine.
//! Out of scope: making and exchanging them ([`exchange`](super::exchange)).
//! Invariant: a delegation is known here before it exists, and until it is over. Whoever is behind a machine
//! does not decide what it asks, and a machine does not choose who that is by what it shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use countersign_core::{
    directory::Directory,
    id::{CredentialId, PersonId},
    subject::{SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_store::{Store, StoreError, StoredCredential};

use super::{
    lineage_of,
    standing::{Delegates, delegates_of, ended},
};

/// The most delegations that one member has made to one machine and that can still be exchanged.
pub const MOST: usize = 50;

/// The delegations that can be exchanged. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Delegations(Arc<Mutex<BTreeMap<CredentialId, Known>>>);

#[derive(Debug, Clone)]
struct Known {
    gives: Delegates,
    /// Everybody who had a hand in it.
    lineage: BTreeSet<PersonId>,
    until: Timestamp,
}

impl Known {
    fn of(credential: &StoredCredential, gives: Delegates) -> Self {
        Self {
            gives,
            lineage: lineage_of(credential),
            until: credential.expires,
        }
    }

    /// The people behind it: whom it lets act for, and who answers for those.
    fn people(&self, directory: &Directory) -> impl Iterator<Item = PersonId> {
        let members = self.gives.on_behalf_of.iter();
        let named = members.filter_map(|id| match id {
            SubjectId::Person(person) => Some(person.clone()),
            machine => directory.machine(machine)?.owner.clone(),
        });
        named.chain(self.lineage.iter().cloned())
    }
}

impl Delegations {
    /// Those that are stored.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn stored(store: &dyn Store, now: Timestamp) -> Result<Self, StoreError> {
        let known = Self::default();
        for credential in store.credentials(None).await? {
            if !ended(&credential, now) {
                known.add(&credential);
            }
        }
        Ok(known)
    }

    /// Takes a credential up, if it is a delegation, before it is stored.
    pub(super) fn add(&self, credential: &StoredCredential) {
        if let Some(gives) = delegates_of(credential) {
            let known = Known::of(credential, gives);
            self.lock().insert(credential.id.clone(), known);
        }
    }

    /// Lets go of one that was not stored.
    pub(super) fn remove(&self, id: &CredentialId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<CredentialId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `by` to `to` can be exchanged. Those that were revoked count until they would have ended.
    pub(super) fn count(&self, by: &SubjectId, to: &SubjectId, now: Timestamp) -> usize {
        let mut all = self.lock();
        all.retain(|_, one| one.until > now);
        let theirs = all
            .values()
            .filter(|one| one.gives.to == *to && one.gives.on_behalf_of.first() == Some(by));
        theirs.count()
    }

    /// Everybody who lets one of a chain act for them now, themselves or through others.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn behind(
        &self,
        chain: &SubjectChain,
        (store, directory): (&dyn Store, &Directory),
        now: Timestamp,
    ) -> Result<BTreeSet<PersonId>, StoreError> {
        let mut people = BTreeSet::new();
        let mut looked: BTreeSet<SubjectId> = BTreeSet::new();
        let mut next: Vec<SubjectId> = chain.members().map(|one| one.id.clone()).collect();
        while let Some(machine) = next.pop() {
            if !looked.insert(machine.clone()) {
                continue;
            }
            for (id, one) in self.to(&machine, now) {
                // What is not stored yet will be in a moment.
                let over = store.credential(&id).await?;
                if over.is_some_and(|stored| stored.revoked.is_some()) {
                    self.remove(&id);
                    continue;
                }
                people.extend(one.people(directory));
                next.extend(one.gives.on_behalf_of);
            }
        }
        Ok(people)
    }

    fn to(&self, machine: &SubjectId, now: Timestamp) -> Vec<(CredentialId, Known)> {
        let all = self.lock();
        let theirs = all
            .iter()
            .filter(|(_, one)| one.gives.to == *machine && one.until > now);
        theirs.map(|(id, one)| (id.clone(), one.clone())).collect()
    }
}
