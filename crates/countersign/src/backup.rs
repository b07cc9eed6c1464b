//! A backup of the data directory, taken while the gateway runs.
//!
//! In scope: what is copied in which order, and that all of it is of one moment; the directory that it
//! goes to.
//! Out of scope: how a log that is written is copied ([`Seen`]); restoring, which is copying back.
//! Invariant: nothing of the data is changed. The directory has its name once all of it is on the disk,
//! and never before; only its user can read it. A gateway can start with it.

mod tree;

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use countersign_store::SqliteStore;

pub(crate) use self::tree::Tree;
use crate::{durable, gateway::epoch, log::Seen};

/// How often the database is copied anew because something changed meanwhile.
const TRIES: u32 = 10;
const DATABASE: &str = "countersign.db";

/// What a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Takes a backup of `data` to `dest`, which does not exist.
///
/// # Errors
/// There is something at `dest`, `data` is no data directory, something can't be read or written, or
/// there was no moment without a change of people, credentials or keys. Then `dest` is not there.
pub(crate) async fn take(data: &Path, dest: &Path) -> anyhow::Result<Taken> {
    let partial = partial(dest)?;
    check(data, dest, &partial)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&partial)
        .with_context(|| format!("`{}` can't be made", partial.display()))?;
    let taken = fill(data, &partial).await;
    let named = taken.and_then(|taken| {
        // Another one of that name would be replaced only if it is empty.
        fs::rename(&partial, dest)
            .with_context(|| format!("`{}` can't be given its name", dest.display()))?;
        durable::sync_name(dest)?;
        Ok(taken)
    });
    if named.is_err() {
        // Whatever can't be removed still is no backup by its name.
        let _stays = fs::remove_dir_all(&partial);
    }
    named
}

/// Where it is made.
fn partial(dest: &Path) -> anyhow::Result<PathBuf> {
    let name = dest
        .file_name()
        .with_context(|| format!("`{}` names no new directory", dest.display()))?;
    let mut partial = OsString::from(name);
    partial.push(".partial");
    Ok(dest.with_file_name(partial))
}

fn check(data: &Path, dest: &Path, partial: &Path) -> anyhow::Result<()> {
    if is_there(dest)? {
        bail!(
            "`{}` is there already, and nothing is overwritten; choose another name",
            dest.display()
        );
    }
    if is_there(partial)? {
        bail!(
            "`{}` is there: another backup is under way, or one was interrupted; remove it if none is",
            partial.display()
        );
    }
    epoch::check_finished(data)?;
    ensure!(
        data.join(DATABASE).is_file() && data.join("log/journal").is_file(),
        "`{}` is no data directory of a gateway; name it with `--data`, or the configuration with \
         `--config`",
        data.display()
    );
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent
        .canonicalize()
        .with_context(|| format!("`{}` is no directory", parent.display()))?;
    ensure!(
        !parent.starts_with(data.canonicalize()?),
        "`{}` is in the data directory itself; choose another place",
        dest.display()
    );
    Ok(())
}

fn is_there(path: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("`{}` can't be read", path.display())),
    }
}

/// Copies everything. Streams come before the log, so that none is ahead of it, and keys come last: all
/// that is sealed in the copy can be opened with them.
async fn fill(data: &Path, to: &Path) -> anyhow::Result<Taken> {
    for _ in 0..TRIES {
        let mut tree = Tree::at(to)?;
        tree.copy_all(&data.join("streams"), "streams")?;
        let seen = Seen::now(&data.join("log"))?;
        let copy = to.join(DATABASE);
        let database = SqliteStore::copy(&data.join(DATABASE), &copy)
            .await
            .context("the database can't be copied")?;
        tree.count(&copy)?;
        if let Some(cut) = seen.cut(database)? {
            for name in ["secrets", "inputs"] {
                tree.copy_all(&data.join(name), name)?;
            }
            seen.copy(cut, &mut tree)?;
            for name in formers(data)? {
                tree.copy_all(&data.join(&name), &name)?;
            }
            tree.copy_all(&data.join("keys"), "keys")?;
            if !seen.is_outdated(cut)? {
                return tree.finish();
            }
        }
        // People, credentials or keys changed while it was made.
        tree.clear()?;
    }
    bail!(
        "people, credentials or keys changed each of {TRIES} times while a copy was made; try again \
         at a quieter time"
    )
}

/// Logs that a new one took the place of, with their databases.
fn formers(data: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("log.")
            .or_else(|| name.strip_prefix("former."));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            found.push(name);
        }
    }
    Ok(found)
}
