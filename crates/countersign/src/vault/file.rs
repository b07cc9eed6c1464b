//! The file of keys: one line of JSON a key, blanks where one was destroyed.
//!
//! In scope: reading, appending durably, overwriting in place.
//! Invariant: a line counts once it is synced. A destroyed key's bytes are overwritten where they
//! were before anybody is told; what a file system or a disk keeps elsewhere is out of its reach.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use countersign_core::{canonical::Hash, id::PersonId};
use countersign_evidence::evidence::sealing::KeyId;
use serde::{Deserialize, Serialize};

use super::Class;

/// One key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) class: Class,
    pub(super) id: KeyId,
    pub(super) key: Hash,
    pub(super) period: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) person: Option<PersonId>,
}

/// The file, open for writing.
pub(super) struct KeyFile {
    path: PathBuf,
    file: File,
    lines: Vec<Placed>,
    end: u64,
}

/// Where a line begins, how long it is, and what it says.
type Placed = (u64, usize, Line);

impl KeyFile {
    pub(super) fn open(path: &Path, fresh: bool) -> anyhow::Result<Self> {
        let is_new = !path.exists();
        if is_new && !fresh {
            bail!(
                "the keys `{}` are missing although this installation has data; restore them from a \
                 copy, because evidence can't be read without them, and nobody would be referred to \
                 as before",
                path.display()
            );
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if is_new && let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        check_mode(path)?;
        let text = fs::read_to_string(path)?;
        let (lines, end) = parse(&text).with_context(|| damaged(path))?;
        // A line that a crash cut short sealed nothing.
        if usize::try_from(end)? < text.len() {
            file.set_len(end)?;
            file.sync_all()?;
        }
        Ok(Self {
            path: path.into(),
            file,
            lines,
            end,
        })
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().map(|(_, _, line)| line)
    }

    /// Everybody who can be referred to.
    pub(super) fn people(&self) -> BTreeSet<PersonId> {
        let aliases = self.lines().filter(|line| line.class == Class::Alias);
        aliases.filter_map(|line| line.person.clone()).collect()
    }

    pub(super) fn append(&mut self, new: Vec<Line>) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let mut placed = Vec::with_capacity(new.len());
        for line in new {
            let begin = bytes.len();
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.write_all(b"\n")?;
            placed.push((self.end + begin as u64, bytes.len() - begin - 1, line));
        }
        let written = self.file.write_all_at(&bytes, self.end);
        written
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("`{}` can't be written", self.path.display()))?;
        self.end += bytes.len() as u64;
        self.lines.append(&mut placed);
        Ok(())
    }

    /// Overwrites lines and gives the names of their keys.
    pub(super) fn destroy(&mut self, which: impl Fn(&Line) -> bool) -> anyhow::Result<Vec<KeyId>> {
        let failed = || format!("`{}` can't be written", self.path.display());
        for (at, length, _) in self.lines.iter().filter(|(_, _, line)| which(line)) {
            let blanks = vec![b' '; *length];
            self.file.write_all_at(&blanks, *at).with_context(failed)?;
        }
        self.file.sync_all().with_context(failed)?;
        let (gone, kept) = std::mem::take(&mut self.lines)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, _, line)| which(line));
        self.lines = kept;
        let sealing = gone
            .into_iter()
            .filter(|(_, _, line)| line.class != Class::Alias);
        Ok(sealing.map(|(_, _, line)| line.id).collect())
    }
}

/// The lines of a file that somebody else may be writing; `None` where there is none.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Vec<Line>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (lines, _) = parse(&text).with_context(|| damaged(path))?;
    Ok(Some(lines.into_iter().map(|(_, _, line)| line).collect()))
}

fn damaged(path: &Path) -> String {
    format!(
        "`{}` is damaged; restore it from a copy, because evidence can't be read without it",
        path.display()
    )
}

/// Whole lines, and where they end.
fn parse(text: &str) -> anyhow::Result<(Vec<Placed>, u64)> {
    let (mut lines, mut at) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let Some(content) = line.strip_suffix('\n') else {
            break;
        };
        if !content.trim().is_empty() {
            lines.push((at, content.len(), serde_json::from_str(content)?));
        }
        at += line.len() as u64;
    }
    Ok((lines, at))
}

fn check_mode(path: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "the keys in `{0}` can be read by others; run `chmod 600 {0}`",
            path.display()
        );
    }
    Ok(())
}
