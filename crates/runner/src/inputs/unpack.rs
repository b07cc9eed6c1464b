//! A verified archive back as files.
//!
//! In scope: making the files of a manifest in a new directory.
//! Out of scope: verifying the archive as a whole (see [`InputStore`](super::InputStore)).
//! Invariant: links are made after everything else, so no name on the way can be one.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::archive::{Kind, Reader};
use super::error::InputError;
use super::manifest::{Entry, Manifest};
use super::receive::kind_of;
use super::{Owner, dirfd};
use crate::sha256::read_through;

/// Unpacks `archive`, which must be exactly `manifest`, into the new directory `into`.
pub(super) fn unpack(
    archive: File,
    manifest: &Manifest,
    into: &Path,
    owner: Option<Owner>,
) -> Result<(), InputError> {
    use std::os::unix::fs::DirBuilderExt;
    let shown = into.to_string_lossy();
    let failed = |error: io::Error| InputError::io("unpack into", &shown)(error);
    // Fails if anything is there, a link included: what a run finds is only what we put there.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(into)
        .map_err(failed)?;
    let root = dirfd::open_root(into).map_err(failed)?;
    let mut reader = Reader::new(BufReader::new(archive));
    for (path, entry) in manifest.entries() {
        let member = reader
            .next()?
            .filter(|member| member.path == *path && member.kind == kind_of(entry));
        if member.is_none() {
            return Err(InputError::changed(path));
        }
        match entry {
            Entry::Dir => make_dir(&root, path, owner)?,
            Entry::File { .. } => make_file(&root, path, entry, &mut reader.content(), owner)?,
            Entry::Symlink { .. } => {}
        }
    }
    for (path, entry) in manifest.entries() {
        if let Kind::Symlink { target } = kind_of(entry) {
            let failed = |error: io::Error| InputError::io("make the link", path)(error);
            let (parent, name) = dirfd::open_parent(&root, path).map_err(failed)?;
            dirfd::make_link(&parent, name, &target, owner).map_err(failed)?;
        }
    }
    // Last: until now nobody but us can enter, so nobody can touch a file before all are there.
    dirfd::settle(&root, 0o700, owner).map_err(failed)
}

fn make_dir(root: &OwnedFd, path: &str, owner: Option<Owner>) -> Result<(), InputError> {
    let failed = |error: io::Error| InputError::io("make the directory", path)(error);
    let (parent, name) = dirfd::open_parent(root, path).map_err(failed)?;
    dirfd::make_dir(&parent, name, 0o755, owner).map_err(failed)?;
    Ok(())
}

fn make_file(
    root: &OwnedFd,
    path: &str,
    entry: &Entry,
    content: &mut impl io::Read,
    owner: Option<Owner>,
) -> Result<(), InputError> {
    let failed = |error: io::Error| InputError::io("write", path)(error);
    let Entry::File {
        size,
        sha256,
        executable,
    } = entry
    else {
        return Err(InputError::changed(path));
    };
    let (parent, name) = dirfd::open_parent(root, path).map_err(failed)?;
    let mut file = dirfd::make_file(&parent, name).map_err(failed)?;
    let (found, length) =
        read_through(content, |piece| io::Write::write_all(&mut file, piece)).map_err(failed)?;
    if (found, length) != (*sha256, *size) {
        return Err(InputError::changed(path));
    }
    dirfd::settle(&file, if *executable { 0o755 } else { 0o644 }, owner).map_err(failed)
}
