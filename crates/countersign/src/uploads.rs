//! Captured inputs that callers uploaded: how much, for whom, and for how long.
//!
//! In scope: a quota for each subject; keeping inputs while a request needs them, and removing
//! them at its end; removing after an hour what no request used.
//! Out of scope: their content, and its digest ([`InputStore`]).
//! Invariant: nothing is kept that is neither needed by a request nor younger than an hour, and
//! nothing is removed that an open or running request needs. A restart finds both again: needs
//! from the stored cases, the rest from the index beside the files; a file that is in neither goes
//! after an hour.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use countersign_core::{
    canonical::Hash,
    count::counted,
    id::RequestId,
    request::{Case, GOING_ON},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_runner::inputs::{InputError, InputStore, Received};
use countersign_store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    clock::Clock,
    engine::{EngineError, Update},
};

/// How long inputs are kept that no request uses.
const UNUSED: Span = Span::minutes(60);
/// How often it is looked for them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What a file, directory or link takes beside its content, in bytes.
const ENTRY: u64 = 1_024;
/// The index beside the files.
const INDEX: &str = "index.json";

/// How much one subject may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// Uploads.
    pub count: u32,
}

/// Why inputs were not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The subject keeps too many.
    #[error(
        "`{0}` keeps {uploads}, which is the limit; each goes when its request ends, or after \
         an hour if no request uses it",
        uploads = counted(*.1, "upload", "uploads")
    )]
    TooMany(SubjectId, u32),
    /// The subject keeps too much.
    #[error(
        "`{0}` would keep more than {1} bytes of uploads, which is the limit; each goes when its \
         request ends, or after an hour if no request uses it"
    )]
    TooMuch(SubjectId, u64),
    /// They could not be stored.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The index could not be written.
    #[error("the list of uploads can't be written")]
    Index(#[source] io::Error),
}

/// Uploaded inputs. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    files: Arc<InputStore>,
    index: PathBuf,
    store: Arc<dyn Store>,
    all: Mutex<BTreeMap<Hash, Kept>>,
}

/// What is known of one digest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    bytes: u64,
    /// Who uploaded it, and when last.
    by: BTreeMap<String, Timestamp>,
    /// The requests that need it, and who asked.
    #[serde(skip)]
    needed: BTreeMap<RequestId, String>,
    /// Calls that are on their way to a request.
    #[serde(skip)]
    pins: u32,
}

impl Kept {
    /// Whether it is kept for this subject: sent by it, or needed by a request of it.
    fn is_for(&self, name: &str) -> bool {
        self.by.contains_key(name) || self.needed.values().any(|who| who == name)
    }

    fn is_idle(&self) -> bool {
        self.needed.is_empty() && self.pins == 0
    }
}

/// Keeps inputs while a call is on its way to a request, if there were any when it was made.
pub struct Pin {
    of: Uploads,
    digest: Option<Hash>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut all = self.of.all();
        // One that kept nothing must not undo what another one keeps.
        let Some(kept) = self.digest.and_then(|digest| all.get_mut(&digest)) else {
            return;
        };
        kept.pins = kept.pins.saturating_sub(1);
        // Its request may have ended in the meantime.
        if kept.is_idle() && kept.by.is_empty() {
            self.of.remove_unwanted(&mut all);
        }
    }
}

impl Uploads {
    /// Finds out what is kept and what open requests need.
    ///
    /// # Errors
    /// The directory or the store can't be read.
    pub async fn open(
        files: Arc<InputStore>,
        store: Arc<dyn Store>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let index = files.directory().join(INDEX);
        let mut known = read_index(&index)?;
        let mut all = BTreeMap::new();
        for (digest, bytes) in files.kept()? {
            let nobody = || Kept {
                bytes,
                by: BTreeMap::from([(String::new(), now)]),
                ..Kept::default()
            };
            all.insert(digest, known.remove(&digest).unwrap_or_else(nobody));
        }
        let uploads = Self(Arc::new(Inner {
            files,
            index,
            store,
            all: Mutex::new(all),
        }));
        uploads.find_needs().await?;
        Ok(uploads)
    }

    /// Takes the needs of open requests from the store.
    async fn find_needs(&self) -> Result<(), EngineError> {
        if self.all().is_empty() {
            return Ok(());
        }
        for phase in GOING_ON {
            for id in self.0.store.in_phase(phase).await? {
                let stored = self.0.store.case(&id).await?;
                let Some(case) = stored.map(|stored| stored.case) else {
                    continue;
                };
                if let Some(digest) = inputs_of(&case) {
                    self.refer(digest, &id, &case.request.chain.requester.id);
                }
            }
        }
        Ok(())
    }

    /// Removes inputs as requests end and hours pass, until nobody uses these uploads any more.
    pub fn attend(&self, updates: Receiver<Update>, clock: Arc<Clock>) {
        tokio::spawn(attend(Arc::downgrade(&self.0), updates, clock));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Hash, Kept>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps received inputs for a subject. Blocks on files.
    ///
    /// # Errors
    /// [`UploadError`]; then nothing is kept.
    pub fn put(
        &self,
        who: &SubjectId,
        received: Received,
        quota: Quota,
        now: Timestamp,
    ) -> Result<Hash, UploadError> {
        let manifest = received.manifest();
        let digest = manifest.digest();
        let entries = u64::try_from(manifest.entries().len()).unwrap_or(u64::MAX);
        let overhead = entries.saturating_add(1).saturating_mul(ENTRY);
        let bytes = manifest.total_bytes().saturating_add(overhead);
        // Counted before it is written, so that two uploads can't pass the limit together.
        let (_pin, before) = self.reserve(who, digest, bytes, quota, now)?;
        let written = self.0.files.put(received).map_err(UploadError::Input);
        let written = written.and_then(|_| self.write_index(&self.all()));
        if written.is_err()
            && let Some(kept) = self.all().get_mut(&digest)
        {
            match before {
                Some(at) => kept.by.insert(who.to_string(), at),
                None => kept.by.remove(&who.to_string()),
            };
        }
        written.map(|()| digest)
    }

    /// Makes room. Gives when this subject last sent the same.
    fn reserve(
        &self,
        who: &SubjectId,
        digest: Hash,
        bytes: u64,
        quota: Quota,
        now: Timestamp,
    ) -> Result<(Pin, Option<Timestamp>), UploadError> {
        let mut all = self.all();
        check(&all, who, digest, bytes, quota)?;
        let kept = all.entry(digest).or_default();
        kept.bytes = bytes;
        kept.pins += 1;
        let before = kept.by.insert(who.to_string(), now);
        let (of, digest) = (self.clone(), Some(digest));
        Ok((Pin { of, digest }, before))
    }

    /// Keeps inputs until the pin is dropped, if there are any.
    #[must_use]
    pub fn pin(&self, digest: Hash) -> Pin {
        let found = self.all().get_mut(&digest).map(|kept| kept.pins += 1);
        Pin {
            of: self.clone(),
            digest: found.map(|()| digest),
        }
    }

    /// Keeps inputs until a request of `who` ends.
    pub fn refer(&self, digest: Hash, request: &RequestId, who: &SubjectId) {
        if let Some(kept) = self.all().get_mut(&digest) {
            kept.needed.insert(request.clone(), who.to_string());
        }
    }

    /// A request has ended. What nobody else needs or has just uploaded is removed.
    pub fn release(&self, request: &RequestId) {
        let mut all = self.all();
        let mut changed = false;
        for kept in all.values_mut() {
            if let Some(who) = kept.needed.remove(request) {
                let needs_more = kept.needed.values().any(|other| *other == who);
                changed |= !needs_more && kept.by.remove(&who).is_some();
            }
        }
        if changed {
            self.remove_unwanted(&mut all);
        }
    }

    /// Removes what nobody has used for too long.
    fn sweep(&self, now: Timestamp) {
        let mut all = self.all();
        for kept in all.values_mut().filter(|kept| kept.is_idle()) {
            kept.by
                .retain(|_, at| now.millis_since(*at) < UNUSED.as_millis());
        }
        self.remove_unwanted(&mut all);
    }

    fn remove_unwanted(&self, all: &mut BTreeMap<Hash, Kept>) {
        let before = all.len();
        all.retain(|digest, kept| {
            let wanted = !kept.is_idle() || !kept.by.is_empty();
            if wanted {
                return true;
            }
            // What can't be removed is tried again by the next sweep.
            let removed = self.0.files.remove(*digest);
            if let Err(error) = &removed {
                tracing::warn!(%error, "inputs were not removed");
            }
            removed.is_err()
        });
        if all.len() < before
            && let Err(error) = self.write_index(all)
        {
            tracing::warn!(%error, "the list of uploads is behind");
        }
    }

    fn write_index(&self, all: &BTreeMap<Hash, Kept>) -> Result<(), UploadError> {
        let write = || -> io::Result<()> {
            let bytes = serde_json::to_vec(all)?;
            let next = self.0.index.with_extension("next");
            std::fs::write(&next, bytes)?;
            // A crash in between leaves the older list; what it lacks goes after an hour.
            std::fs::rename(next, &self.0.index)
        };
        write().map_err(UploadError::Index)
    }

    /// Releases what ended while news were missed.
    async fn look_again(&self) -> Result<(), EngineError> {
        let needed: Vec<_> = {
            let all = self.all();
            let ids = all.values().flat_map(|kept| kept.needed.keys().cloned());
            ids.collect()
        };
        for id in needed {
            // One without a case runs, and its caller's task releases it.
            if let Some(stored) = self.0.store.case(&id).await?
                && stored.case.phase.is_over()
            {
                self.release(&id);
            }
        }
        Ok(())
    }
}

/// The inputs that a case's action names.
fn inputs_of(case: &Case) -> Option<Hash> {
    let named = case.request.action.arguments.get("inputs")?.as_str()?;
    named.parse().ok().filter(|_| !case.phase.is_over())
}

/// Whether one more fits. The same inputs again are no more: whoever claims an approval sends them
/// again.
fn check(
    all: &BTreeMap<Hash, Kept>,
    who: &SubjectId,
    new: Hash,
    bytes: u64,
    quota: Quota,
) -> Result<(), UploadError> {
    let name = who.to_string();
    let own = all
        .iter()
        .filter(|(digest, kept)| **digest != new && kept.is_for(&name));
    let (count, kept) = own.fold((0_u32, 0_u64), |(count, sum), (_, kept)| {
        (count.saturating_add(1), sum.saturating_add(kept.bytes))
    });
    if count >= quota.count {
        return Err(UploadError::TooMany(who.clone(), quota.count));
    }
    if kept.saturating_add(bytes) > quota.bytes {
        return Err(UploadError::TooMuch(who.clone(), quota.bytes));
    }
    Ok(())
}

fn read_index(path: &Path) -> anyhow::Result<BTreeMap<Hash, Kept>> {
    match std::fs::read(path) {
        // It is only about when to remove what; an unreadable one costs an hour.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

async fn attend(uploads: Weak<Inner>, mut updates: Receiver<Update>, clock: Arc<Clock>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let news = tokio::select! {
            news = updates.recv() => Some(news),
            _ = looks.tick() => None,
        };
        let Some(uploads) = uploads.upgrade().map(Uploads) else {
            return;
        };
        let looked = match news {
            Some(Ok(update)) if !GOING_ON.contains(&update.phase) => {
                uploads.release(&update.request);
                Ok(())
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(RecvError::Closed)) => return,
            Some(Err(RecvError::Lagged(_))) => uploads.look_again().await,
            None => {
                uploads.sweep(clock.now());
                Ok(())
            }
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "it is not known which uploads are still needed");
        }
    }
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
