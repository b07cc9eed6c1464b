//! The caller's side: files as they are now, in one archive.
//!
//! In scope: walking bound files and directories, leaving out what was not asked for, and reading
//! each file exactly once.
//! Out of scope: deciding what a command needs.
//! Invariant: the manifest is of the bytes in the archive. The same files give the same bytes,
//! whatever their times, owners and order. No link is followed below a bind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::archive::{self, Kind};
use super::error::InputError;
use super::glob::Glob;
use super::manifest::{Entry, Manifest};
use super::receive::temporary;
use super::{Limits, MAX_ENTRIES, dirfd, path};
use crate::quote::reveal;
use crate::sha256::read_through;

/// A file or directory that the command shall find under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the caller's machine. Its last component may not be a link.
    pub source: PathBuf,
    /// Its path in the command's directory; `.` puts what is in a directory right there.
    pub name: String,
}

/// Which part of bound directories to capture. A file that is bound itself is always captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Everything,
    /// Only files, links and directories that match a pattern, relative to the bind; the
    /// directories above them come along.
    Matching(Vec<Glob>),
}

/// What [`Keep`] left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Files, links and others that were seen and left out.
    pub files: usize,
    /// Whole directories that were not looked into, because nothing below could match.
    pub directories: usize,
}

/// Captured inputs, ready to send.
#[derive(Debug)]
pub struct Packed {
    /// What was captured.
    pub manifest: Manifest,
    /// What was left out on request.
    pub left_out: LeftOut,
    /// The archive, at its beginning; an unnamed temporary file.
    pub archive: File,
}

/// Captures `binds` into a deterministic archive: sorted, without times and owners, modes 0644 and
/// 0755.
///
/// # Errors
/// [`InputError`] for names that are not UTF-8 or not plain, duplicates, links that leave what is
/// captured, sockets, pipes, devices, setuid and setgid files, more than [`MAX_ENTRIES`] entries or
/// `limits.total_bytes`, and files that change while they are read. A change that leaves size,
/// inode and times as they are goes unnoticed; what is sent is still what the manifest says.
pub fn pack(binds: &[Bind], keep: &Keep, limits: &Limits) -> Result<Packed, InputError> {
    let mut walk = Walk {
        keep,
        found: BTreeMap::new(),
        left_out: LeftOut::default(),
    };
    let mut roots = Vec::new();
    for (index, bind) in binds.iter().enumerate() {
        roots.push(walk.bind(bind, index)?);
    }
    let mut to = BufWriter::new(temporary()?);
    let mut entries = BTreeMap::new();
    let mut left = limits.total_bytes;
    for (path, found) in walk.found {
        let entry = match found {
            Found::Dir => Entry::Dir,
            Found::Symlink { target } => Entry::Symlink { target },
            Found::File { bind, below, stat } => {
                let root = roots.get(bind).ok_or_else(|| InputError::changed(&path))?;
                let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
                left = left.checked_sub(size).ok_or(InputError::TooLarge {
                    limit: limits.total_bytes,
                })?;
                let file = root.open(below.as_deref(), &path)?;
                entries.insert(path.clone(), write_file(&mut to, &path, file, &stat)?);
                continue;
            }
        };
        archive::write_header(&mut to, &path, &super::receive::kind_of(&entry))
            .map_err(InputError::io("write", &path))?;
        entries.insert(path, entry);
    }
    let failed = |error: io::Error| InputError::io("write", "the archive")(error);
    archive::write_end(&mut to).map_err(failed)?;
    let mut archive = to
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    archive.rewind().map_err(failed)?;
    Ok(Packed {
        manifest: Manifest::new(entries)?,
        left_out: walk.left_out,
        archive,
    })
}

/// Copies `file`, which must be what `seen` says before and after, into the archive.
fn write_file(
    to: &mut impl io::Write,
    path: &str,
    mut file: File,
    seen: &FileStat,
) -> Result<Entry, InputError> {
    let failed = |error: io::Error| InputError::io("read", path)(error);
    let unchanged = |file: &File| match fstat(file) {
        Ok(now) if same(&now, seen) => Ok(()),
        Ok(_) => Err(InputError::changed(path)),
        Err(error) => Err(failed(error.into())),
    };
    unchanged(&file)?;
    let size = u64::try_from(seen.st_size).unwrap_or(u64::MAX);
    let executable = seen.st_mode & 0o100 != 0;
    archive::write_header(to, path, &Kind::File { size, executable }).map_err(failed)?;
    let mut whole = (&mut file).take(size);
    let (sha256, length) = read_through(&mut whole, |piece| to.write_all(piece)).map_err(failed)?;
    if length != size {
        return Err(InputError::changed(path));
    }
    unchanged(&file)?;
    archive::write_padding(to, size).map_err(failed)?;
    Ok(Entry::File {
        size,
        sha256,
        executable,
    })
}

/// Whether two looks at a file saw the same state of the same file.
fn same(one: &FileStat, other: &FileStat) -> bool {
    let state = |s: &FileStat| {
        (
            (s.st_dev, s.st_ino, s.st_mode, s.st_size),
            (s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec),
        )
    };
    state(one) == state(other)
}

/// What the walk saw; content is read afterwards, in the order of the archive.
enum Found {
    Dir,
    Symlink {
        target: String,
    },
    File {
        bind: usize,
        below: Option<String>,
        stat: FileStat,
    },
}

/// A bind, held open.
enum Root {
    Dir(OwnedFd),
    File(File),
}

impl Root {
    fn open(&self, below: Option<&str>, path: &str) -> Result<File, InputError> {
        let opened = match (self, below) {
            (Self::File(file), _) => file.try_clone(),
            (Self::Dir(root), Some(below)) => dirfd::open_parent(root, below)
                .and_then(|(parent, name)| dirfd::open_file(&parent, name)),
            (Self::Dir(_), None) => return Err(InputError::changed(path)),
        };
        // It was a file behind no link a moment ago; now something on the way is a link or gone.
        opened.map_err(
            |error| match error.raw_os_error().map(nix::errno::Errno::from_raw) {
                Some(
                    nix::errno::Errno::ELOOP
                    | nix::errno::Errno::ENOENT
                    | nix::errno::Errno::ENOTDIR,
                ) => InputError::changed(path),
                _ => InputError::io("open", path)(error),
            },
        )
    }
}

struct Walk<'k> {
    keep: &'k Keep,
    found: BTreeMap<String, Found>,
    left_out: LeftOut,
}

impl Walk<'_> {
    fn bind(&mut self, bind: &Bind, index: usize) -> Result<Root, InputError> {
        let at_root = bind.name == ".";
        if !at_root {
            path::check(&bind.name)?;
        }
        let opened = open_source(&bind.source)?;
        let shown = bind.source.to_string_lossy();
        let stat = fstat(&opened).map_err(InputError::io("read", &shown))?;
        let kind = dirfd::type_of(&stat);
        if kind == SFlag::S_IFDIR {
            if !at_root {
                self.add(&bind.name, Found::Dir)?;
            }
            let prefix = if at_root { "" } else { &bind.name };
            self.directory(&opened, index, prefix, "")?;
            return Ok(Root::Dir(opened));
        }
        if at_root {
            return Err(InputError::path(
                &shown,
                "only a directory can be bound as `.`",
            ));
        }
        check_kind(&bind.name, &stat)?;
        self.add(
            &bind.name,
            Found::File {
                bind: index,
                below: None,
                stat,
            },
        )?;
        Ok(Root::File(File::from(opened)))
    }

    /// Walks an open directory: `prefix` is its path in the archive, `below` in the bind.
    fn directory(
        &mut self,
        open: &OwnedFd,
        bind: usize,
        prefix: &str,
        below: &str,
    ) -> Result<(), InputError> {
        for name in dirfd::names(open).map_err(InputError::io("list", prefix))? {
            let name = match name {
                Ok(name) => name,
                // Nothing that a pattern of text could ask for.
                Err(_) if *self.keep != Keep::Everything => {
                    self.left_out.files += 1;
                    continue;
                }
                Err(shown) => {
                    return Err(InputError::path(
                        &path::join(prefix, &shown),
                        "the name is not UTF-8",
                    ));
                }
            };
            let (at, below) = (path::join(prefix, &name), path::join(below, &name));
            let stat = dirfd::stat(open, &name)
                .map_err(InputError::io("read", &at))?
                .ok_or_else(|| InputError::changed(&at))?;
            if dirfd::type_of(&stat) == SFlag::S_IFDIR {
                self.subdirectory(open, &name, bind, &at, &below)?;
            } else if self.kept(&below) {
                let found = self.look(open, &name, bind, &at, below, stat)?;
                self.add(&at, found)?;
            } else {
                self.left_out.files += 1;
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &str,
        bind: usize,
        at: &str,
        below: &str,
    ) -> Result<(), InputError> {
        let wanted_below = match self.keep {
            Keep::Everything => true,
            Keep::Matching(globs) => globs.iter().any(|glob| glob.could_match_below(below)),
        };
        if self.kept(below) {
            self.add(at, Found::Dir)?;
        } else if !wanted_below {
            self.left_out.directories += 1;
            return Ok(());
        }
        // Here too, because a directory that is only passed through is not added yet.
        path::check(at)?;
        let open = dirfd::open_dir(parent, name).map_err(InputError::io("open", at))?;
        self.directory(&open, bind, at, below)
    }

    fn look(
        &self,
        open: &OwnedFd,
        name: &str,
        bind: usize,
        at: &str,
        below: String,
        stat: FileStat,
    ) -> Result<Found, InputError> {
        if dirfd::type_of(&stat) != SFlag::S_IFLNK {
            check_kind(at, &stat)?;
            return Ok(Found::File {
                bind,
                below: Some(below),
                stat,
            });
        }
        let target = readlinkat(open, name).map_err(InputError::io("read the link", at))?;
        match target.into_string() {
            Ok(target) => Ok(Found::Symlink { target }),
            Err(raw) => Err(InputError::link(
                at,
                &raw.to_string_lossy(),
                "its target is not UTF-8",
            )),
        }
    }

    fn kept(&self, below: &str) -> bool {
        match self.keep {
            Keep::Everything => true,
            Keep::Matching(globs) => globs.iter().any(|glob| glob.matches(below)),
        }
    }

    /// Adds an entry and the directories above it. Directories may meet, nothing else.
    fn add(&mut self, at: &str, found: Found) -> Result<(), InputError> {
        path::check(at)?;
        let mut above = at;
        while let Some(parent) = path::parent(above) {
            match self.found.get(parent) {
                Some(Found::Dir) => break,
                Some(_) => {
                    return Err(InputError::Duplicate {
                        path: reveal(parent),
                    });
                }
                None => self.found.insert(parent.to_owned(), Found::Dir),
            };
            above = parent;
        }
        match (self.found.get(at), &found) {
            (None, _) => self.found.insert(at.to_owned(), found),
            (Some(Found::Dir), Found::Dir) => None,
            _ => return Err(InputError::Duplicate { path: reveal(at) }),
        };
        if self.found.len() > MAX_ENTRIES {
            Err(InputError::TooMany)
        } else {
            Ok(())
        }
    }
}

/// Opens what the caller named, whatever links lead to its directory, but not a link itself.
fn open_source(source: &Path) -> Result<OwnedFd, InputError> {
    let shown = source.to_string_lossy();
    // Rebuilt from components because a trailing slash would make the system follow a link.
    let exact: PathBuf = source.components().collect();
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match open(&exact, flags, Mode::empty()) {
        Ok(opened) => Ok(opened),
        Err(nix::errno::Errno::ELOOP) => Err(InputError::path(
            &shown,
            "it is a link; bind what it points to",
        )),
        // What opening a socket answers.
        Err(nix::errno::Errno::ENXIO) => Err(InputError::kind(&shown, "socket or device")),
        Err(error) => Err(InputError::io("open", &shown)(error)),
    }
}

/// Accepts plain files without special rights.
fn check_kind(path: &str, stat: &FileStat) -> Result<(), InputError> {
    let kind = match dirfd::type_of(stat) {
        kind if kind == SFlag::S_IFREG && stat.st_mode & 0o6000 == 0 => return Ok(()),
        kind if kind == SFlag::S_IFREG => "file with setuid or setgid rights",
        kind if kind == SFlag::S_IFIFO => "named pipe",
        kind if kind == SFlag::S_IFSOCK => "socket",
        _ => "device",
    };
    Err(InputError::kind(path, kind))
}
