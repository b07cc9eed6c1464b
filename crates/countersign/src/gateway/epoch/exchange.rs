//! Putting a new log, its keys and its database in the place of the old ones.
//!
//! In scope: where they are made, the rename that decides, and the ones that follow.
//! Out of scope: what is made ([`epoch`](super)).
//! Invariant: until `epoch` is there nothing has changed. From then on every step is either done or
//! can be done again, and no gateway opens the data before the last one.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use crate::{durable, gateway::opening::lock, streams};

/// The database's file.
pub(super) const DATABASE: &str = "countersign.db";
/// Where everything new is made.
const MAKING: &str = "epoch.new";
/// Its name once it is decided.
const DECIDED: &str = "epoch";
/// Its name once it is empty.
const DONE: &str = "epoch.done";
const PLAN: &str = "plan.json";

/// What is left to do, should it be interrupted.
#[derive(Serialize, Deserialize)]
struct Decided {
    number: u32,
}

/// A new log that was decided and is not in its place yet.
pub(crate) struct Pending {
    data: PathBuf,
    _lock: Flock<File>,
}

impl Pending {
    /// One that was interrupted, if there is any.
    ///
    /// # Errors
    /// A gateway uses the data.
    pub(crate) fn at(data: &Path) -> anyhow::Result<Option<Self>> {
        let lock = lock(data)?;
        Ok(data.join(DECIDED).exists().then(|| Self {
            data: data.into(),
            _lock: lock,
        }))
    }

    /// Finishes it. Gives the number under which the old log is kept.
    ///
    /// # Errors
    /// A file can't be moved; trying again is safe.
    pub(crate) fn finish(self) -> anyhow::Result<u32> {
        finish(&self.data)
    }
}

/// Refuses data between two logs.
///
/// # Errors
/// A new log was decided and is not in its place yet.
pub(crate) fn check_finished(data: &Path) -> anyhow::Result<()> {
    if data.join(DECIDED).exists() {
        bail!(
            "a new log was begun and not finished; run `countersign log new-epoch {}` again",
            data.display()
        );
    }
    Ok(())
}

/// Refuses what could not be exchanged once that is decided, or not be read by the gateway.
///
/// # Errors
/// Something is on another disk, or the data is another user's.
pub(super) fn check_movable(data: &Path) -> anyhow::Result<()> {
    let of = |path: &Path| {
        fs::metadata(path).with_context(|| format!("`{}` can't be read", path.display()))
    };
    let whole = of(data)?;
    if whole.uid() != nix::unistd::geteuid().as_raw() {
        bail!(
            "`{}` belongs to another user; run this as the user whom the gateway runs as",
            data.display()
        );
    }
    for name in ["log", "keys", "streams", DATABASE] {
        let part = data.join(name);
        if part.exists() && of(&part)?.dev() != whole.dev() {
            bail!(
                "`{}` is on another disk than the rest and could not be exchanged with it",
                part.display()
            );
        }
    }
    Ok(())
}

/// An empty directory to make everything in.
pub(super) fn stage(data: &Path) -> anyhow::Result<PathBuf> {
    let making = data.join(MAKING);
    for old in [&making, &data.join(DONE)] {
        remove(old)?;
    }
    fs::create_dir(&making)?;
    fs::set_permissions(&making, fs::Permissions::from_mode(0o700))?;
    Ok(making)
}

/// Decides that what was made takes the place of what is there.
pub(super) fn decide(data: &Path, number: u32) -> anyhow::Result<()> {
    let making = data.join(MAKING);
    for ending in ["-wal", "-shm"] {
        let left = making.join(format!("{DATABASE}{ending}"));
        if left.exists() {
            bail!("`{}` is still in use", left.display());
        }
    }
    let mut file = File::create(making.join(PLAN))?;
    file.write_all(&serde_json::to_vec(&Decided { number })?)?;
    file.sync_all()?;
    durable::sync(&making)?;
    rename(&making, &data.join(DECIDED))
}

/// Puts everything in its place.
pub(super) fn finish(data: &Path) -> anyhow::Result<u32> {
    let decided = data.join(DECIDED);
    let plan = fs::read(decided.join(PLAN)).context("what was begun can't be read")?;
    let Decided { number } = serde_json::from_slice(&plan)?;
    let aside = data.join(format!("former.{number}"));
    if !aside.exists() {
        fs::create_dir(&aside)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o700))?;
        durable::sync_name(&aside)?;
    }
    streams::begin_anew(&data.join("streams"), &aside.join("streams"))?;
    place(
        &decided.join("log"),
        &data.join("log"),
        &data.join(format!("log.{number}")),
    )?;
    place(
        &decided.join("keys"),
        &data.join("keys"),
        &decided.join("keys.old"),
    )?;
    let staged = decided.join(DATABASE);
    if staged.exists() {
        // They belong to the old file, which is moved after them.
        for ending in ["-wal", "-shm"] {
            let name = format!("{DATABASE}{ending}");
            if data.join(&name).exists() {
                rename(&data.join(&name), &aside.join(&name))?;
            }
        }
        place(&staged, &data.join(DATABASE), &aside.join(DATABASE))?;
    }
    let done = data.join(DONE);
    remove(&done)?;
    rename(&decided, &done)?;
    remove(&done)?;
    Ok(number)
}

/// Puts `new` in the place of `old`, which goes to `aside`.
fn place(new: &Path, old: &Path, aside: &Path) -> anyhow::Result<()> {
    if !new.exists() {
        return Ok(());
    }
    if old.exists() {
        if aside.exists() {
            bail!("`{}` is there already", aside.display());
        }
        rename(old, aside)?;
    }
    rename(new, old)
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    #[cfg(test)]
    tests::interrupt()?;
    fs::rename(from, to)
        .with_context(|| format!("`{}` can't be moved to `{}`", from.display(), to.display()))?;
    durable::sync_name(to)?;
    Ok(durable::sync_name(from)?)
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("`{}` can't be removed", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The first number under which nothing is kept.
pub(super) fn free_number(data: &Path) -> anyhow::Result<u32> {
    let taken = |number: &u32| {
        let kept = ["log", "former"].map(|what| data.join(format!("{what}.{number}")));
        kept.iter().any(|path| path.exists())
    };
    (1..u32::MAX)
        .find(|number| !taken(number))
        .context("there are too many former logs")
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap};

    use super::*;

    thread_local! {
        /// How many renames there are before the next one fails.
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    pub(super) fn interrupt() -> anyhow::Result<()> {
        let left = LEFT.get();
        LEFT.set(left.saturating_sub(1));
        anyhow::ensure!(left > 0, "interrupted");
        Ok(())
    }

    const OLD: &[&str] = &[
        "log/journal",
        "keys/act.key",
        "keys/log.key.next",
        "countersign.db",
        "countersign.db-wal",
        "streams/siem/ocsf.json",
        "inputs/file",
    ];
    const NEW: &[&str] = &["log/journal", "keys/act.key", "countersign.db"];

    fn write(dir: &Path, files: &[&str], text: &str) {
        for file in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn files(dir: &Path, found: &mut BTreeMap<PathBuf, String>, below: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files(&path, found, below),
                false => {
                    let name = path.strip_prefix(below).unwrap().to_owned();
                    found.insert(name, fs::read_to_string(path).unwrap());
                }
            }
        }
    }

    #[test]
    fn wherever_it_is_interrupted_it_is_finished() {
        let mut whole = None;
        for renames in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path();
            write(data, OLD, "old");
            write(&stage(data).unwrap(), NEW, "new");
            LEFT.set(u32::MAX);
            decide(data, 1).unwrap();
            assert!(check_finished(data).is_err());
            LEFT.set(renames);
            let done = finish(data).is_ok();
            LEFT.set(u32::MAX);
            if !done {
                assert!(check_finished(data).is_err());
                assert_eq!(finish(data).unwrap(), 1);
            }
            check_finished(data).unwrap();
            let mut found = BTreeMap::new();
            files(data, &mut found, data);
            assert_eq!(&found, whole.get_or_insert_with(|| found.clone()));
            if done {
                break;
            }
        }
        let found: Vec<String> = whole
            .unwrap()
            .into_iter()
            .map(|(path, text)| format!("{} {text}", path.display()))
            .collect();
        expect_test::expect![[r#"
            countersign.db new
            former.1/countersign.db old
            former.1/countersign.db-wal old
            former.1/streams/siem/ocsf.json old
            inputs/file old
            keys/act.key new
            log/journal new
            log.1/journal old
            streams/siem/ocsf.json {"next":{"index":0,"offset":0},"before":null,"about_from":{"index":0,"offset":0}}"#]].assert_eq(&found.join("\n"));
    }

    #[test]
    fn what_was_not_decided_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), OLD, "old");
        write(&stage(dir.path()).unwrap(), NEW, "new");
        check_finished(dir.path()).unwrap();
        let again = stage(dir.path()).unwrap();
        assert_eq!(fs::read_dir(again).unwrap().count(), 0);
        for file in OLD {
            assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), "old");
        }
    }
}
