//! The secrets of held requests: one sealed file each, until the request ends.
//!
//! In scope: writing one before its request is held, reading it at the claim, destroying it when the
//! request ends, and at the next start where a crash came in between.
//! Out of scope: whether a request may run.
//! Invariant: a held request whose secrets are not on disk can't run; a file whose request has ended is
//! overwritten and removed. The key is derived from one that is not in this directory.
//! Specification: AES-256-GCM with the key `HMAC-SHA-256(act key, "countersign/secrets/v1\0" ‖ id)`, a
//! random nonce before the ciphertext, the id as further data.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use countersign_core::{
    canonical::Hash,
    id::RequestId,
    request::{GOING_ON, Phase, Request},
};
use countersign_store::Store;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use zeroize::Zeroizing;

use super::{Keep, Secret, Secrets};
use crate::{durable, engine::Update};

/// Separates these keys from everything else made with the installation's act key.
const DOMAIN: &[u8] = b"countersign/secrets/v1\0";

/// How often it is looked for what nobody needs.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How old a file is that was kept for a request which was never held.
const UNHELD: Duration = Duration::from_secs(300);

/// Why secrets can't be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file system.
    #[error("the secrets of `{0}` can't be written")]
    Write(RequestId, #[source] io::Error),
    /// They are not there.
    #[error(
        "the secrets of `{0}` are gone, so it can't run; run `countersign requests cancel {0}`, then ask \
         again"
    )]
    Gone(RequestId),
    /// Somebody changed them.
    #[error(
        "the secrets of `{0}` are not what was sealed, so it can't run; run `countersign requests \
         cancel {0}`, then ask again"
    )]
    Changed(RequestId),
}

/// The directory. Cheap to clone.
#[derive(Clone)]
pub struct SecretFiles(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    act: [u8; 32],
    store: Arc<dyn Store>,
}

impl SecretFiles {
    /// Opens the directory.
    ///
    /// # Errors
    /// It can't be made.
    pub fn open(dir: PathBuf, act: [u8; 32], store: Arc<dyn Store>) -> io::Result<Self> {
        if !dir.exists() {
            fs::DirBuilder::new().mode(0o700).create(&dir)?;
            durable::sync_name(&dir)?;
        }
        Ok(Self(Arc::new(Inner { dir, act, store })))
    }

    /// Destroys what is left of requests that have ended, and from now on secrets as their requests
    /// end, until nobody uses these files any more. Nothing is asked yet.
    ///
    /// # Errors
    /// The directory or the store can't be read.
    pub async fn attend(&self, updates: Receiver<Update>) -> anyhow::Result<()> {
        // What has no request was never held: the file comes first.
        self.sweep(|phase, _| phase.is_none_or(Phase::is_over))
            .await?;
        tokio::spawn(attend(Arc::downgrade(&self.0), updates));
        Ok(())
    }

    /// Keeps the secrets of a request that is about to be held.
    ///
    /// # Errors
    /// [`SecretFileError::Write`]; then it must not be held.
    pub async fn keep(&self, id: &RequestId, secrets: &Secrets) -> Result<(), SecretFileError> {
        let (files, id, secrets) = (self.clone(), id.clone(), secrets.clone());
        let failed = |error| SecretFileError::Write(id.clone(), error);
        let for_writing = id.clone();
        let written =
            tokio::task::spawn_blocking(move || files.write(&for_writing, &secrets)).await;
        written
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)
    }

    /// The secrets of a held request; none where it has no masks.
    ///
    /// # Errors
    /// They are gone or changed.
    pub async fn of(&self, request: &Request) -> Result<Secrets, SecretFileError> {
        if request.action.masked.is_empty() {
            return Ok(Secrets::default());
        }
        let (files, id) = (self.clone(), request.id.clone());
        let read = tokio::task::spawn_blocking(move || files.read(&id)).await;
        read.unwrap_or_else(|_| Err(SecretFileError::Gone(request.id.clone())))
    }

    /// Destroys the secrets of a request, if there are any.
    pub async fn destroy(&self, id: &RequestId) {
        let path = self.path(id);
        let done = tokio::task::spawn_blocking(move || overwrite_and_remove(&path)).await;
        // The next start tries again.
        match done.map_err(io::Error::other) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                tracing::error!(%error, request = %id, "the secrets of a request were not destroyed");
            }
        }
    }

    fn path(&self, id: &RequestId) -> PathBuf {
        self.0.dir.join(id.as_str())
    }

    fn key(&self, id: &RequestId) -> Option<RandomizedNonceKey> {
        let bytes = [DOMAIN, id.as_str().as_bytes()].concat();
        let key = Zeroizing::new(Hash::keyed(&self.0.act, &bytes).0);
        RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).ok()
    }

    fn write(&self, id: &RequestId, secrets: &Secrets) -> io::Result<()> {
        let pairs = secrets
            .all
            .iter()
            .map(|one| (Hash(one.salt), one.text.as_str()));
        let mut sealed = serde_json::to_vec(&pairs.collect::<Vec<_>>())?;
        let key = self.key(id).ok_or_else(|| io::Error::other("no key"))?;
        let aad = Aad::from(id.as_str().as_bytes());
        let nonce = key
            .seal_in_place_append_tag(aad, &mut sealed)
            .map_err(|_| io::Error::other("it can't be encrypted"))?;
        let path = self.path(id);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(nonce.as_ref())?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        durable::sync_name(&path)
    }

    fn read(&self, id: &RequestId) -> Result<Secrets, SecretFileError> {
        let changed = || SecretFileError::Changed(id.clone());
        let bytes = fs::read(self.path(id)).map_err(|_| SecretFileError::Gone(id.clone()))?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let key = self.key(id).ok_or_else(changed)?;
        let aad = Aad::from(id.as_str().as_bytes());
        let plain = key
            .open_in_place(nonce, aad, &mut sealed)
            .map_err(|_| changed())?;
        let pairs: Vec<(Hash, String)> = serde_json::from_slice(plain).map_err(|_| changed())?;
        let all = pairs.into_iter().map(|(salt, text)| Secret {
            salt: salt.0,
            text: Zeroizing::new(text),
        });
        Ok(Secrets {
            all: all.collect(),
            keep: Keep::UntilItEnds,
        })
    }

    /// Destroys the files of requests that are in such a phase, `None` where there is no request, and
    /// of such an age.
    async fn sweep(&self, over: impl Fn(Option<&Phase>, Duration) -> bool) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0.dir)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                files.push((id, age));
            }
        }
        for (id, age) in files {
            let stored = self.0.store.case(&id).await?;
            if over(stored.as_ref().map(|stored| &stored.case.phase), age) {
                self.destroy(&id).await;
            }
        }
        Ok(())
    }
}

fn overwrite_and_remove(path: &Path) -> io::Result<()> {
    // Never what a link leads to.
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    blank(&mut file)?;
    fs::remove_file(path)?;
    durable::sync_name(path)
}

fn blank(file: &mut File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

async fn attend(files: Weak<Inner>, mut updates: Receiver<Update>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let news = tokio::select! {
            news = updates.recv() => Some(news),
            _ = looks.tick() => None,
        };
        let Some(files) = files.upgrade().map(SecretFiles) else {
            return;
        };
        match news {
            Some(Ok(update)) if !GOING_ON.contains(&update.phase) => {
                files.destroy(&update.request).await;
            }
            Some(Ok(_)) => {}
            Some(Err(RecvError::Closed)) => return,
            Some(Err(RecvError::Lagged(_))) | None => {
                // A new one without a request may be about to be held.
                let over = |phase: Option<&Phase>, age| phase.map_or(age > UNHELD, Phase::is_over);
                if let Err(error) = files.sweep(over).await {
                    tracing::error!(%error, "secrets of requests that ended may not be destroyed");
                }
            }
        }
    }
}
