//! The directory that a backup goes to.
//!
//! In scope: copying files and directories that may go meanwhile; modes; making it durable.
//! Out of scope: what belongs into it.
//! Invariant: files and directories are their user's alone from their first byte on. Nothing is left
//! out silently: what is neither file nor directory is an error.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::Taken;
use crate::durable;

/// A directory that is being filled.
pub(crate) struct Tree {
    root: PathBuf,
    taken: Taken,
}

impl Tree {
    /// An empty directory.
    pub(crate) fn at(root: &Path) -> anyhow::Result<Self> {
        ensure!(
            fs::read_dir(root)?.next().is_none(),
            "`{}` is not empty",
            root.display()
        );
        Ok(Self {
            root: root.into(),
            taken: Taken { files: 0, bytes: 0 },
        })
    }

    /// Copies a directory with everything in it, if it is there: files with the places of streams before
    /// what they are about.
    pub(super) fn copy_all(&mut self, from: &Path, name: &str) -> anyhow::Result<()> {
        let found = match fs::metadata(from) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| unreadable(from)),
        };
        ensure!(found.is_dir(), "`{}` is no directory", from.display());
        self.directory(name)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(from).with_context(|| unreadable(from))? {
            names.push(entry?.file_name());
        }
        names.sort_by_key(|name| {
            (
                Path::new(name).extension() != Some("json".as_ref()),
                name.clone(),
            )
        });
        for entry in names {
            let path = from.join(&entry);
            let Some(entry) = entry.to_str() else {
                bail!("`{}` has a name that is not UTF-8", path.display());
            };
            let name = format!("{name}/{entry}");
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => self.copy_all(&path, &name)?,
                Ok(_) => self.copy(&path, &name)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| unreadable(&path)),
            }
        }
        Ok(())
    }

    /// Copies a file, if it is there.
    pub(crate) fn copy(&mut self, from: &Path, name: &str) -> anyhow::Result<()> {
        match fs::symlink_metadata(from) {
            Ok(found) if found.is_file() => {}
            Ok(_) => bail!(
                "`{}` is neither a file nor a directory, so it can't be in a backup",
                from.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| unreadable(from)),
        }
        match File::open(from) {
            Ok(file) => self.put(file, name),
            // Removed meanwhile: nobody needs it any more.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| unreadable(from)),
        }
    }

    /// Copies the first bytes of a file.
    pub(crate) fn copy_beginning(
        &mut self,
        from: &Path,
        length: u64,
        name: &str,
    ) -> anyhow::Result<()> {
        let file = File::open(from).with_context(|| unreadable(from))?;
        let before = self.taken.bytes;
        self.put(file.take(length), name)?;
        ensure!(
            self.taken.bytes == before + length,
            "`{}` became shorter",
            from.display()
        );
        Ok(())
    }

    /// Writes a file.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.put(bytes, name)
    }

    /// Counts a file that somebody else wrote there.
    pub(super) fn count(&mut self, path: &Path) -> anyhow::Result<()> {
        self.taken.files += 1;
        self.taken.bytes += fs::metadata(path)?.len();
        Ok(())
    }

    /// Removes everything again.
    pub(super) fn clear(self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Makes all names durable.
    pub(super) fn finish(self) -> anyhow::Result<Taken> {
        sync(&self.root)?;
        Ok(self.taken)
    }

    fn directory(&self, name: &str) -> anyhow::Result<()> {
        let path = self.root.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| unwritable(&path))
    }

    fn put(&mut self, mut from: impl Read, name: &str) -> anyhow::Result<()> {
        if let Some((directory, _)) = name.rsplit_once('/') {
            self.directory(directory)?;
        }
        let path = self.root.join(name);
        let mut to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| unwritable(&path))?;
        self.taken.bytes += io::copy(&mut from, &mut to).with_context(|| unwritable(&path))?;
        self.taken.files += 1;
        to.flush()
            .and_then(|()| to.sync_all())
            .with_context(|| unwritable(&path))
    }
}

fn sync(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    Ok(durable::sync(dir)?)
}

fn unreadable(path: &Path) -> String {
    format!("`{}` can't be read", path.display())
}

fn unwritable(path: &Path) -> String {
    format!("`{}` can't be written", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_can_not_be_copied_is_not_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("keys"), dir.path().join("to"));
        fs::create_dir_all(from.join("a")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/key"), "secret").unwrap();
        let mut tree = Tree::at(&to).unwrap();
        tree.copy_all(&from, "keys").unwrap();
        tree.copy_all(&dir.path().join("nowhere"), "nowhere")
            .unwrap();
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("keys/a"), mode("keys/a/key")), (0o700, 0o600));
        assert_eq!(tree.taken, Taken { files: 1, bytes: 6 });
        tree.clear().unwrap();

        symlink("/etc/passwd", from.join("a/linked")).unwrap();
        let mut tree = Tree::at(&to).unwrap();
        let refused = tree.copy_all(&from, "keys").unwrap_err().to_string();
        assert!(refused.contains("neither a file"), "{refused}");
    }
}
