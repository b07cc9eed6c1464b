//! Received inputs, kept until their command has run.
//!
//! In scope: one file a digest in one directory of the gateway.
//! Out of scope: when to remove them, and how much may be kept; the gateway says.
//! Invariant: a file under a digest is trusted for nothing: it is read as strictly as from a
//! caller, and used only if its content still has that digest (P2).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use countersign_core::canonical::Hash;
use tempfile::NamedTempFile;

use super::error::InputError;
use super::manifest::Manifest;
use super::receive::{Received, receive};
use super::unpack::unpack;
use super::{Limits, Owner};

/// A directory of inputs by digest.
#[derive(Debug, Clone)]
pub struct InputStore {
    directory: PathBuf,
    limits: Limits,
}

impl InputStore {
    /// A store in `directory`, which is made if needed, for the gateway's user alone.
    ///
    /// # Errors
    /// [`InputError::Io`] when the directory can't be made.
    pub fn new(directory: impl Into<PathBuf>, limits: Limits) -> Result<Self, InputError> {
        use std::os::unix::fs::DirBuilderExt;
        let directory = directory.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(InputError::io(
                "make the directory",
                &directory.to_string_lossy(),
            ))?;
        Ok(Self { directory, limits })
    }

    /// Keeps `received` under its digest, durably. What is already there is replaced, so an altered
    /// file is repaired by receiving the same inputs again.
    ///
    /// # Errors
    /// [`InputError::Io`] when it can't be written.
    pub fn put(&self, received: Received) -> Result<Hash, InputError> {
        let digest = received.manifest().digest();
        let path = self.path(digest);
        let failed = |error: io::Error| InputError::io("store", &path.to_string_lossy())(error);
        let mut temporary = NamedTempFile::new_in(&self.directory).map_err(failed)?;
        io::copy(&mut received.into_archive(), &mut temporary).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        // A crash here leaves a temporary file that no digest names; nothing refers to it.
        temporary
            .persist(&path)
            .map_err(|error| failed(error.error))?;
        // A crash here can lose the name but not half of the content; the caller was not yet told
        // that the inputs are kept, and sends them again.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok(digest)
    }

    /// Whether something is kept under `digest`. Its content is checked only when it is used.
    #[must_use]
    pub fn has(&self, digest: Hash) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|metadata| metadata.is_file())
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every digest under which something is kept, with its size on disk; what a crash left
    /// half-written is removed.
    ///
    /// # Errors
    /// [`InputError::Io`] when the directory can't be read.
    pub fn kept(&self) -> Result<Vec<(Hash, u64)>, InputError> {
        let shown = self.directory.to_string_lossy();
        let failed = |error: io::Error| InputError::io("read", &shown)(error);
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let digest = name.strip_suffix(".tar").and_then(|hex| hex.parse().ok());
            let metadata = entry.metadata().map_err(failed)?;
            match digest {
                Some(digest) if metadata.is_file() => kept.push((digest, metadata.len())),
                _ if name.starts_with(".tmp") => fs::remove_file(entry.path()).map_err(failed)?,
                _ => {}
            }
        }
        Ok(kept)
    }

    /// Reads back and verifies what is kept under `digest`.
    ///
    /// # Errors
    /// [`InputError::NotStored`]; [`InputError::Altered`] when the content has another digest or
    /// is not an archive any more; [`InputError::Io`].
    pub fn verify(&self, digest: Hash) -> Result<Received, InputError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InputError::NotStored(digest));
            }
            Err(error) => return Err(InputError::io("open", &path.to_string_lossy())(error)),
        };
        let altered = |found: String| InputError::Altered {
            expected: digest,
            found,
        };
        let received =
            receive(io::BufReader::new(file), &self.limits).map_err(|error| match error {
                InputError::Io { .. } => error,
                other => altered(format!("not acceptable ({other})")),
            })?;
        let found = received.manifest().digest();
        if found == digest {
            Ok(received)
        } else {
            Err(altered(found.to_hex()))
        }
    }

    /// Unpacks what is kept under `digest` into the new directory `into`, whose parent must exist.
    ///
    /// The stored file is verified completely before anything is written, from a private copy that
    /// is then the source, and every file is hashed once more as it is written. Files get mode 0644 or 0755,
    /// directories 0755, `into` itself 0700; everything belongs to `owner` if given (which takes
    /// the right to change owners).
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify), and [`InputError::Io`] when `into` exists or can't be
    /// written. After an error `into` can be half full; nothing may run in it.
    pub fn materialise(
        &self,
        digest: Hash,
        into: &Path,
        owner: Option<Owner>,
    ) -> Result<Manifest, InputError> {
        let received = self.verify(digest)?;
        let manifest = received.manifest().clone();
        unpack(received.into_archive(), &manifest, into, owner)?;
        Ok(manifest)
    }

    /// Removes what is kept under `digest`; nothing happens if there is nothing.
    ///
    /// # Errors
    /// [`InputError::Io`] when it can't be removed.
    pub fn remove(&self, digest: Hash) -> Result<(), InputError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(InputError::io("remove", &path.to_string_lossy())(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, digest: Hash) -> PathBuf {
        self.directory.join(format!("{digest}.tar"))
    }
}
