//! The vault: keys that evidence is sealed with, each of which can be destroyed.
//!
//! In scope: a key for each person, class of evidence and month; the secrets behind references to
//! people; what a record's evidence is divided into; destroying.
//! Out of scope: when to destroy, and recording it.
//! Invariant: a key is durable before anything is sealed with it. What is destroyed is overwritten
//! in its file, and nothing here can make it again.

mod file;
mod people;
mod seal;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use countersign_core::{canonical::Hash, id::PersonId, time::Timestamp};
use countersign_evidence::{
    evidence::{
        names::Finder,
        sealing::{Held, KeyId, KeySource, Ready, SealingKey},
    },
    reference::Pseudonyms,
};
use serde::{Deserialize, Serialize};

use self::{
    file::{KeyFile, Line},
    people::People,
};
use crate::keys;

pub use seal::{Of, Sealed};

/// How long one key is used, in milliseconds: 30 days.
const PERIOD: i64 = 30 * 24 * 3_600_000;

/// What a key is for. Each class is kept as long as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The secret behind the references to a person in leaves; it seals nothing.
    Alias,
    /// The names of a person in the evidence of others.
    Names,
    /// What a person said: reasons, comments, votes.
    Words,
    /// What was asked for in a person's name, and what came of it.
    Payload,
    /// How the installation was run: people, policies, credentials.
    Operation,
}

/// Whose key it is, for what, and of which period.
type Place = (Option<PersonId>, Class, i64);

/// The keys of one installation.
pub struct Vault {
    file: Mutex<KeyFile>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<KeyId, Kept>,
    current: HashMap<Place, KeyId>,
    people: Arc<People>,
}

/// A key as it is kept in memory: as it is, and made ready once.
struct Kept {
    key: SealingKey,
    ready: Arc<Ready>,
}

impl Kept {
    fn of(line: &Line) -> Self {
        let key = SealingKey(line.key.0);
        let ready = Arc::new(key.ready());
        Self { key, ready }
    }
}

impl Vault {
    /// Opens the file, and makes it when `fresh` says that no data exists yet.
    ///
    /// # Errors
    /// It is missing where data exists, or can't be read or written.
    pub fn open(path: &Path, fresh: bool) -> anyhow::Result<Self> {
        let file = KeyFile::open(path, fresh)?;
        let mut known = Known::default();
        for line in file.lines().filter(|line| line.class != Class::Alias) {
            known.learn(line);
        }
        known.people = Arc::new(People::new(file.people())?);
        Ok(Self {
            file: Mutex::new(file),
            known: RwLock::new(known),
        })
    }

    /// Tells the references of everybody who has an alias.
    pub fn tell(&self, pseudonyms: &Pseudonyms) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        for line in file.lines().filter(|line| line.class == Class::Alias) {
            if let Some(person) = &line.person {
                pseudonyms.meet(person.clone(), line.key.0);
            }
        }
    }

    /// Makes what is needed to refer to these people, where it is not there yet.
    ///
    /// # Errors
    /// It can't be written.
    pub fn meet<'a>(
        &self,
        people: impl IntoIterator<Item = &'a PersonId>,
        pseudonyms: &Pseudonyms,
    ) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let known = file.people();
        let strangers = people.into_iter().filter(|person| !known.contains(*person));
        let strangers: BTreeSet<_> = strangers.cloned().collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for person in &strangers {
            lines.push(Line::new(Some(person.clone()), Class::Alias, 0)?);
        }
        file.append(lines)?;
        let people = Arc::new(People::new(file.people())?);
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .people = people;
        for line in file.lines().filter(|line| line.class == Class::Alias) {
            if let Some(person) = line.person.as_ref().filter(|one| strangers.contains(*one)) {
                pseudonyms.meet(person.clone(), line.key.0);
            }
        }
        Ok(())
    }

    /// The key for this use at this time.
    fn key_for(
        &self,
        person: Option<&PersonId>,
        class: Class,
        at: Timestamp,
    ) -> anyhow::Result<(KeyId, Arc<Ready>)> {
        let place = (person.cloned(), class, at.0.div_euclid(PERIOD));
        if let Some(found) = self.known().at(&place) {
            return Ok(found);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have made it meanwhile.
        if let Some(found) = self.known().at(&place) {
            return Ok(found);
        }
        let (person, class, period) = place;
        let line = Line::new(person, class, period)?;
        file.append(vec![line.clone()])?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let ready = known.learn(&line);
        Ok((line.id, ready))
    }

    /// The names of the keys that a person's evidence is sealed with.
    #[must_use]
    pub fn keys_of(&self, person: &PersonId) -> Vec<KeyId> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = file
            .lines()
            .filter(|line| line.person.as_ref() == Some(person) && line.class != Class::Alias);
        theirs.map(|line| line.id).collect()
    }

    /// Whether a text mentions a person.
    #[must_use]
    pub fn mentions(&self, text: &str, person: &PersonId) -> bool {
        let people = self.known().people.clone();
        let mentions = people.mentions(text);
        mentions.iter().any(|(_, found)| found == person)
    }

    /// Destroys everything of a person, and gives the names of the keys that were.
    ///
    /// # Errors
    /// The file can't be written; then some may be destroyed, and doing it again does the rest.
    pub fn erase(&self, person: &PersonId, pseudonyms: &Pseudonyms) -> anyhow::Result<Vec<KeyId>> {
        let gone = self.destroy(|line| line.person.as_ref() == Some(person))?;
        pseudonyms.forget(person);
        Ok(gone)
    }

    /// The names of the keys of a class whose period ended before `before`.
    #[must_use]
    pub fn expired(&self, class: Class, before: Timestamp) -> Vec<KeyId> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let over = file.lines().filter(|line| is_over(line, class, before));
        over.map(|line| line.id).collect()
    }

    /// Destroys the keys of a class whose period ended before `before`.
    ///
    /// # Errors
    /// Like [`erase`](Self::erase).
    pub fn expire(&self, class: Class, before: Timestamp) -> anyhow::Result<Vec<KeyId>> {
        self.destroy(|line| is_over(line, class, before))
    }

    fn destroy(&self, which: impl Fn(&Line) -> bool) -> anyhow::Result<Vec<KeyId>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = file.destroy(which)?;
        let people = Arc::new(People::new(file.people())?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for id in &gone {
            known.keys.remove(id);
        }
        known.current.retain(|_, id| !gone.contains(id));
        known.people = people;
        Ok(gone)
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(line: &Line, class: Class, before: Timestamp) -> bool {
    line.class == class && line.period < before.0.div_euclid(PERIOD)
}

impl Known {
    /// Takes a key that seals.
    fn learn(&mut self, line: &Line) -> Arc<Ready> {
        let kept = Kept::of(line);
        let ready = kept.ready.clone();
        self.keys.insert(line.id, kept);
        let place = (line.person.clone(), line.class, line.period);
        self.current.insert(place, line.id);
        ready
    }

    fn at(&self, place: &Place) -> Option<(KeyId, Arc<Ready>)> {
        let id = self.current.get(place)?;
        Some((*id, self.keys.get(id)?.ready.clone()))
    }
}

impl KeySource for Vault {
    fn key(&self, id: KeyId) -> Option<SealingKey> {
        self.known().keys.get(&id).map(|kept| kept.key.clone())
    }

    fn ready(&self, id: KeyId) -> Option<Held<'_>> {
        let known = self.known();
        let kept = known.keys.get(&id)?;
        Some(Held::Shared(kept.ready.clone()))
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(hidden)")
    }
}

/// The keys in a file, for reading evidence beside a gateway, or without one; `None` where there is
/// no such file.
///
/// # Errors
/// It is there and can't be read.
pub fn reader(path: &Path) -> anyhow::Result<Option<Arc<dyn KeySource>>> {
    // First, so that what is appended meanwhile is read again.
    let length = length_of(path);
    let Some(keys) = keys_in(path)? else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Reader {
        path: path.into(),
        first: keys,
        since: Mutex::new((Keyring::new(), length)),
    })))
}

fn length_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.len())
}

/// Keys by their names.
type Keyring = HashMap<KeyId, Arc<Kept>>;

fn keys_in(path: &Path) -> anyhow::Result<Option<Keyring>> {
    let lines = file::read(path)?;
    let of = |line: Line| (line.id, Arc::new(Kept::of(&line)));
    Ok(lines.map(|lines| lines.into_iter().map(of).collect()))
}

/// Keys as they were read.
struct Reader {
    path: PathBuf,
    /// At first. Nobody waits for these.
    first: Keyring,
    /// What was read since, and how long the file was then.
    since: Mutex<(Keyring, Option<u64>)>,
}

impl Reader {
    fn since(&self, id: KeyId) -> Option<Arc<Kept>> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, length) = &mut *since;
        if let Some(known) = keys.get(&id) {
            return Some(known.clone());
        }
        // A gateway that runs beside may have made it since: then the file is longer. It is there
        // before anything that it sealed is in the log.
        let now = length_of(&self.path);
        if now > *length {
            *length = now;
            keys.extend(keys_in(&self.path).ok().flatten().unwrap_or_default());
        }
        keys.get(&id).cloned()
    }
}

impl KeySource for Reader {
    fn key(&self, id: KeyId) -> Option<SealingKey> {
        if let Some(kept) = self.first.get(&id) {
            return Some(kept.key.clone());
        }
        self.since(id).map(|kept| kept.key.clone())
    }

    fn ready(&self, id: KeyId) -> Option<Held<'_>> {
        if let Some(kept) = self.first.get(&id) {
            return Some(Held::There(&kept.ready));
        }
        self.since(id).map(|kept| Held::Shared(kept.ready.clone()))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader(hidden)")
    }
}

impl Line {
    fn new(person: Option<PersonId>, class: Class, period: i64) -> anyhow::Result<Self> {
        let [a, b, c, d, e, f, g, h, ..] = keys::random()?;
        Ok(Self {
            class,
            id: KeyId([a, b, c, d, e, f, g, h]),
            key: Hash(keys::random()?),
            period,
            person,
        })
    }
}
