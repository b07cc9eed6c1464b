//! Files reached from an open directory, one component at a time, through no link.
//!
//! In scope: opening and making entries relative to a directory that is held open.
//! Out of scope: which names are allowed.
//! Invariant: no component of a relative path is ever followed when it is a link, whoever changes
//! the tree meanwhile; making a file never opens one that exists.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

use super::{Owner, path};

/// Opens the directory `path`; the last component may not be a link.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(path, directory_flags(), Mode::empty())?)
}

/// Opens the directory `name` in `directory`.
pub(super) fn open_dir(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, directory_flags(), Mode::empty())?)
}

/// Opens for reading the file `name` in `directory`. Never waits for the other end of a pipe.
pub(super) fn open_file(directory: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}

/// Opens the directory that holds `path` below `root`; returns it with the last component.
pub(super) fn open_parent<'p>(root: &OwnedFd, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
    let Some(parent) = path::parent(path) else {
        return Ok((root.try_clone()?, path));
    };
    let mut here = root.try_clone()?;
    for component in parent.split('/') {
        here = open_dir(&here, component)?;
    }
    Ok((here, path.rsplit('/').next().unwrap_or(path)))
}

/// What `name` in `directory` is; nothing if it is not there.
pub(super) fn stat(directory: impl AsFd, name: &str) -> io::Result<Option<FileStat>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The file type bits of `stat`.
pub(super) fn type_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Makes a new directory and gives it to `owner`.
pub(super) fn make_dir(
    directory: impl AsFd,
    name: &str,
    mode: u32,
    owner: Option<Owner>,
) -> io::Result<OwnedFd> {
    mkdirat(&directory, name, Mode::from_bits_truncate(0o700))?;
    let made = open_dir(&directory, name)?;
    settle(&made, mode, owner)?;
    Ok(made)
}

/// Makes a new file, open for writing; [`settle`] gives it its mode and owner.
pub(super) fn make_file(directory: impl AsFd, name: &str) -> io::Result<File> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(
        directory,
        name,
        flags,
        Mode::from_bits_truncate(0o600),
    )?))
}

/// Makes a new symbolic link and gives it to `owner`.
pub(super) fn make_link(
    directory: impl AsFd,
    name: &str,
    target: &str,
    owner: Option<Owner>,
) -> io::Result<()> {
    symlinkat(target, &directory, name)?;
    if let Some(Owner { uid, gid }) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        fchownat(
            &directory,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// Removes a file or link.
pub(super) fn remove(directory: impl AsFd, name: &str) -> io::Result<()> {
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Sets owner and then mode, in this order because a change of owner can clear mode bits.
pub(super) fn settle(file: impl AsFd, mode: u32, owner: Option<Owner>) -> io::Result<()> {
    if let Some(Owner { uid, gid }) = owner {
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(fchmod(&file, Mode::from_bits_truncate(mode))?)
}

/// The names in an open directory, sorted; an error for one that is not UTF-8.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<Result<String, String>>> {
    let mut names = Vec::new();
    for entry in nix::dir::Dir::openat(directory, ".", directory_flags(), Mode::empty())?.iter() {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(Ok(name.to_owned())),
            Err(_) => names.push(Err(entry.file_name().to_string_lossy().into_owned())),
        }
    }
    names.sort();
    Ok(names)
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        fs::write(at("real/deep/file"), "x").unwrap();
        symlink("real", at("link")).unwrap();
        symlink("file", at("real/deep/link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        let root = open_root(dir.path()).unwrap();

        assert!(open_root(&at("link")).is_err());
        assert!(open_dir(&root, "link").is_err());
        assert!(open_parent(&root, "link/deep/file").is_err());
        assert!(open_parent(&root, "link/deep").is_err());
        let (parent, name) = open_parent(&root, "real/deep/file").unwrap();
        assert!(open_file(&parent, name).is_ok());
        assert!(open_file(&parent, "link").is_err());
        for name in ["link", "dangling", "real"] {
            assert!(make_file(&root, name).is_err(), "{name}");
            assert!(make_dir(&root, name, 0o755, None).is_err(), "{name}");
            assert!(make_link(&root, name, "x", None).is_err(), "{name}");
        }
        assert!(!at("nothing").exists());
        let kind = stat(&root, "link").unwrap().map(|stat| type_of(&stat));
        assert_eq!(kind, Some(SFlag::S_IFLNK));
        assert!(stat(&root, "none").unwrap().is_none());
        remove(&root, "link").unwrap();
        assert!(at("real/deep/file").exists());
    }

    #[test]
    fn a_directory_that_becomes_a_link_is_not_passed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        fs::create_dir_all(inside.join("d")).unwrap();
        fs::create_dir(&outside).unwrap();
        let root = open_root(&inside).unwrap();
        assert!(open_parent(&root, "d/file").is_ok());
        fs::remove_dir(inside.join("d")).unwrap();
        symlink(&outside, inside.join("d")).unwrap();
        assert!(open_parent(&root, "d/file").is_err());
    }
}
