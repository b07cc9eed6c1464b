//! Files of a stream's own directory.
//!
//! In scope: making the directory, replacing a file whole, reading it back.
//! Out of scope: what the files say.
//! Invariant: a file is the old one or the new one, never half of either, and what `replace` wrote
//! is on the disk when it returns. Nobody but the gateway's user can read it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};

/// The directory of the stream `name`, made where it is missing.
pub(super) fn directory(data: &Path, name: &str) -> anyhow::Result<PathBuf> {
    // Data that was removed is not brought back without the rest of it.
    anyhow::ensure!(data.is_dir(), "`{}` is gone", data.display());
    let path = data.join("streams").join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)?;
    for made in [path.parent(), Some(data)].into_iter().flatten() {
        File::open(made)?.sync_all()?;
    }
    Ok(path)
}

/// A new file, or an empty one of that name.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Puts a file in the place of the one of that name.
pub(super) fn replace(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    replace_bytes(path, &serde_json::to_vec(value)?)
}

/// Puts a file of these bytes in the place of the one of that name.
pub(super) fn replace_bytes(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("`{}` can't be written", path.display());
    let new = path.with_extension("new");
    let mut file = create(&new).with_context(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .and_then(|()| fs::rename(&new, path))
        .with_context(failed)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Reads a file that `replace` wrote; nothing where there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("`{}` can't be read", path.display()));
        }
    };
    let value = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is damaged; remove it to begin anew", path.display()))?;
    Ok(Some(value))
}
