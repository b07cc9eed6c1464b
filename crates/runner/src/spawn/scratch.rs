//! The directory of one run.
//!
//! In scope: an empty home and temporary directory, and a place for the inputs.
//! Out of scope: filling it.
//! Invariant: only the user that the command runs as, and root, can enter it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::inputs::Owner;

/// A directory that exists for one run and is removed afterwards.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes a new directory in `parent` with `home` and `tmp` in it, all for `owner` if given
    /// (which takes the right to change owners). `parent` must let that owner pass.
    ///
    /// # Errors
    /// What the system answers.
    pub fn new(parent: &Path, owner: Option<Owner>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
        let scratch = Self(directory);
        for path in [scratch.home(), scratch.temporary()] {
            fs::create_dir(&path)?;
        }
        for path in [
            scratch.home(),
            scratch.temporary(),
            scratch.0.path().to_owned(),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
            if let Some(Owner { uid, gid }) = owner {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(scratch)
    }

    /// Where to unpack inputs; it does not exist yet.
    #[must_use]
    pub fn inputs(&self) -> PathBuf {
        self.0.path().join("inputs")
    }

    /// An empty directory for `HOME`.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// An empty directory for `TMPDIR`.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// Removes everything, never through a link. Dropping does the same without telling of errors.
    ///
    /// # Errors
    /// What the system answers; something is then left.
    pub fn remove(self) -> io::Result<()> {
        self.0.close()
    }
}
