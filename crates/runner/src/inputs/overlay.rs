//! The target's own files over a caller's.
//!
//! In scope: copying a directory of the gateway's configuration over unpacked inputs.
//! Out of scope: capturing these files by content; they belong to the target, not to the request.
//! Invariant: nothing is written through a link in the caller's tree; a file or link in the way is
//! removed first, and named in the result so that nobody thinks it ran.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::SFlag;

use super::error::InputError;
use super::{MAX_ENTRIES, Owner, dirfd, path};
use crate::quote::reveal;

/// What an overlay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlaid {
    /// How many files were written.
    pub files: usize,
    /// Captured files and links that were replaced, by path, revealed.
    pub replaced: Vec<String>,
}

/// Copies the target's own files in `directory` over the unpacked inputs in `into`.
///
/// Captured files and links of the same name are replaced. Files keep their mode without rights for
/// group and others to write, and belong to `owner` if given. `into` must be used by nobody else.
///
/// # Errors
/// [`InputError::InTheWay`] for a file over a captured directory; [`InputError::Kind`] for
/// anything in `directory` that is neither file nor directory, links included;
/// [`InputError::Path`], [`InputError::TooMany`]; [`InputError::Io`].
pub fn overlay(
    directory: &Path,
    into: &Path,
    owner: Option<Owner>,
) -> Result<Overlaid, InputError> {
    let open = |path: &Path| {
        dirfd::open_root(path).map_err(InputError::io("open", &path.to_string_lossy()))
    };
    let mut copy = Copy {
        owner,
        done: Overlaid::default(),
        entries: 0,
    };
    copy.directory(&open(directory)?, &open(into)?, "")?;
    Ok(copy.done)
}

struct Copy {
    owner: Option<Owner>,
    done: Overlaid,
    entries: usize,
}

impl Copy {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, prefix: &str) -> Result<(), InputError> {
        let listed = dirfd::names(from).map_err(InputError::io("list", prefix))?;
        for name in listed {
            let name = name.map_err(|shown| InputError::path(&shown, "the name is not UTF-8"))?;
            let path = path::join(prefix, &name);
            path::check(&path)?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(InputError::TooMany);
            }
            let failed = |error: io::Error| InputError::io("copy", &path)(error);
            let kind = dirfd::stat(from, &name)
                .map_err(failed)?
                .map(|stat| dirfd::type_of(&stat));
            if kind == Some(SFlag::S_IFDIR) {
                let from = dirfd::open_dir(from, &name).map_err(failed)?;
                let to = self.enter(to, &name, &path)?;
                self.directory(&from, &to, &path)?;
            } else if kind == Some(SFlag::S_IFREG) {
                self.file(from, to, &name, &path)?;
            } else {
                return Err(InputError::kind(&path, "link or special file"));
            }
        }
        Ok(())
    }

    /// Opens the directory `name`, making it if there is none.
    fn enter(&mut self, to: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, InputError> {
        let failed = |error: io::Error| InputError::io("make the directory", path)(error);
        let there = dirfd::stat(to, name)
            .map_err(failed)?
            .map(|stat| dirfd::type_of(&stat));
        if there == Some(SFlag::S_IFDIR) {
            return dirfd::open_dir(to, name).map_err(failed);
        }
        if there.is_some() {
            self.replace(to, name, path)?;
        }
        dirfd::make_dir(to, name, 0o755, self.owner).map_err(failed)
    }

    fn file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &str,
        path: &str,
    ) -> Result<(), InputError> {
        let failed = |error: io::Error| InputError::io("copy", path)(error);
        let mut source = dirfd::open_file(from, name).map_err(failed)?;
        let stat = nix::sys::stat::fstat(&source).map_err(InputError::io("read", path))?;
        if dirfd::type_of(&stat) != SFlag::S_IFREG {
            return Err(InputError::changed(path));
        }
        match dirfd::stat(to, name)
            .map_err(failed)?
            .map(|stat| dirfd::type_of(&stat))
        {
            None => {}
            Some(kind) if kind == SFlag::S_IFDIR => {
                return Err(InputError::InTheWay { path: reveal(path) });
            }
            Some(_) => self.replace(to, name, path)?,
        }
        let mut made = dirfd::make_file(to, name).map_err(failed)?;
        io::copy(&mut source, &mut made).map_err(failed)?;
        dirfd::settle(&made, stat.st_mode & 0o755, self.owner).map_err(failed)?;
        self.done.files += 1;
        Ok(())
    }

    fn replace(&mut self, to: &OwnedFd, name: &str, path: &str) -> Result<(), InputError> {
        dirfd::remove(to, name).map_err(InputError::io("replace", path))?;
        self.done.replaced.push(reveal(path));
        Ok(())
    }
}
