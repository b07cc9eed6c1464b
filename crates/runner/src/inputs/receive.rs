//! An archive from a caller, read as if the caller meant harm.
//!
//! In scope: names, kinds, limits, duplicates; content hashed and set aside.
//! Out of scope: keeping the result (see [`InputStore`](super::InputStore)).
//! Invariant: nothing the caller sent survives except names, content, targets and the executable
//! bit. The archive that goes on is written by us from the manifest, so it has one meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use super::archive::{self, Kind, Member, Reader};
use super::error::InputError;
use super::manifest::{Entry, Manifest};
use super::{Limits, MAX_ENTRIES, path};
use crate::quote::reveal;
use crate::sha256::read_through;

/// Inputs that were read, checked and rewritten.
#[derive(Debug)]
pub struct Received {
    manifest: Manifest,
    archive: File,
}

impl Received {
    /// What was received.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The archive in our one form, at its beginning; an unnamed temporary file.
    #[must_use]
    pub fn into_archive(self) -> File {
        self.archive
    }
}

/// Reads an archive from somebody who is not trusted.
///
/// Accepts ustar, GNU and PAX archives of plain files, directories and symbolic links. Directories
/// that are not listed but needed are added. Holds the content in unnamed temporary files, at most
/// twice `limits.total_bytes`.
///
/// # Errors
/// [`InputError`] for hard links, devices, pipes, sparse files, setuid files, names that are not
/// exact, duplicates, links that could leave the tree, more than the limits allow, extended headers
/// that are not understood, and an archive that ends early or goes on after its end.
pub fn receive(reader: impl Read, limits: &Limits) -> Result<Received, InputError> {
    let mut reader = Reader::new(reader);
    let mut spool = Spool::new(limits.total_bytes)?;
    let mut entries = BTreeMap::new();
    let mut offsets = BTreeMap::new();
    while let Some(Member { path, kind }) = reader.next()? {
        // `tar -C DIR .` lists the root itself.
        if kind == Kind::Dir && matches!(path.as_str(), "" | ".") {
            continue;
        }
        path::check(&path)?;
        if entries.len() >= MAX_ENTRIES {
            return Err(InputError::TooMany);
        }
        let entry = match kind {
            Kind::Dir => Entry::Dir,
            Kind::Symlink { target } => Entry::Symlink { target },
            Kind::File { size, executable } => {
                offsets.insert(path.clone(), spool.written);
                let sha256 = spool.take(&mut reader.content(), size, &path)?;
                Entry::File {
                    size,
                    sha256,
                    executable,
                }
            }
        };
        if entries.insert(path.clone(), entry).is_some() {
            return Err(InputError::Duplicate {
                path: reveal(&path),
            });
        }
    }
    add_parents(&mut entries)?;
    let manifest = Manifest::new(entries)?;
    let archive = spool.rewrite(&manifest, &offsets)?;
    Ok(Received { manifest, archive })
}

/// Adds the directories that lie above the entries and are not listed themselves.
fn add_parents(entries: &mut BTreeMap<String, Entry>) -> Result<(), InputError> {
    let mut missing = BTreeSet::new();
    for name in entries.keys() {
        let mut name = name.as_str();
        while let Some(parent) = path::parent(name) {
            if entries.contains_key(parent) || !missing.insert(parent.to_owned()) {
                break;
            }
            if entries.len() + missing.len() > MAX_ENTRIES {
                return Err(InputError::TooMany);
            }
            name = parent;
        }
    }
    entries.extend(missing.into_iter().map(|name| (name, Entry::Dir)));
    Ok(())
}

/// All content so far, one file after another.
struct Spool {
    file: File,
    written: u64,
    limit: u64,
}

impl Spool {
    fn new(limit: u64) -> Result<Self, InputError> {
        Ok(Self {
            file: temporary()?,
            written: 0,
            limit,
        })
    }

    fn take(
        &mut self,
        content: &mut impl Read,
        size: u64,
        path: &str,
    ) -> Result<countersign_core::canonical::Hash, InputError> {
        // Before reading: the size that is claimed is enough to refuse.
        if size > self.limit.saturating_sub(self.written) {
            return Err(InputError::TooLarge { limit: self.limit });
        }
        let (sha256, read) = read_through(content, |piece| self.file.write_all(piece)).map_err(
            |error| match error.kind() {
                io::ErrorKind::UnexpectedEof => InputError::archive("it ends in the middle"),
                _ => InputError::io("receive", path)(error),
            },
        )?;
        self.written = self.written.saturating_add(read);
        Ok(sha256)
    }

    /// Writes the archive of `manifest` with the content at `offsets`.
    fn rewrite(
        mut self,
        manifest: &Manifest,
        offsets: &BTreeMap<String, u64>,
    ) -> Result<File, InputError> {
        let mut to = BufWriter::new(temporary()?);
        for (path, entry) in manifest.entries() {
            let failed = |error: io::Error| InputError::io("write", path)(error);
            archive::write_header(&mut to, path, &kind_of(entry)).map_err(failed)?;
            if let (Entry::File { size, .. }, Some(offset)) = (entry, offsets.get(path)) {
                self.file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                io::copy(&mut (&mut self.file).take(*size), &mut to).map_err(failed)?;
                archive::write_padding(&mut to, *size).map_err(failed)?;
            }
        }
        let failed = |error: io::Error| InputError::io("write", "the archive")(error);
        archive::write_end(&mut to).map_err(failed)?;
        let mut file = to
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }
}

/// The archive's view of `entry`.
pub(super) fn kind_of(entry: &Entry) -> Kind {
    match entry {
        Entry::File {
            size, executable, ..
        } => Kind::File {
            size: *size,
            executable: *executable,
        },
        Entry::Dir => Kind::Dir,
        Entry::Symlink { target } => Kind::Symlink {
            target: target.clone(),
        },
    }
}

/// An unnamed temporary file that nobody else can open.
pub(super) fn temporary() -> Result<File, InputError> {
    tempfile::tempfile().map_err(InputError::io(
        "create a temporary file in",
        &std::env::temp_dir().to_string_lossy(),
    ))
}
