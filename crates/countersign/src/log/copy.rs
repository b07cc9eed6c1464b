//! A copy of a log that is being written, as it was at one moment.
//!
//! In scope: where a copy ends so that it fits a copy of the database; writing it; what may not happen
//! while it is made.
//! Out of scope: the rest of the data (see [`backup`](crate::backup)).
//! Invariant: nothing of the log is changed. A copy has the checkpoint it was begun with and whole
//! records only: all that the database knows to be in the log, none that it does not have.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use countersign_evidence::{
    body::Body,
    checkpoint::Checkpoint,
    frame::{Decoder, Frame, Step},
    leaf::Leaf,
    tile::{self, Kind, Name},
};
use countersign_store::Copied;

use super::journal::{Noted, Place, control, place_of, state_file};
use crate::backup::Tree;

/// How much of the journal is read at once.
const CHUNK: u64 = 1 << 20;
/// How often the newest checkpoint is looked for, which is replaced while that is done.
const LOOKS: u32 = 100;
/// How long after another look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A log as it was found when a copy was begun.
pub(crate) struct Seen {
    dir: PathBuf,
    /// Which file the journal is: another one would be another log.
    journal: (u64, u64),
    /// How long it was.
    length: u64,
    published: Option<Published>,
    from: Place,
}

/// The newest checkpoint, and what goes with it.
struct Published {
    checkpoint: Vec<u8>,
    size: u64,
    /// All checkpoints up to it.
    history: Option<Vec<u8>>,
    state: Option<Vec<u8>>,
}

/// Where a copy of the journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    offset: u64,
    /// The last outbox number in it.
    outbox: u64,
}

impl Seen {
    /// Looks at the log in `dir`, which others may write.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub(crate) fn now(dir: &Path) -> anyhow::Result<Self> {
        let published = published(dir)?;
        let path = dir.join("journal");
        let found = fs::metadata(&path).with_context(|| unreadable(&path))?;
        let from = published
            .as_ref()
            .and_then(|newest| place_of(newest.state.as_deref()?, newest.size));
        Ok(Self {
            dir: dir.into(),
            journal: (found.dev(), found.ino()),
            length: found.len(),
            published,
            from: from.unwrap_or_default(),
        })
    }

    /// Where the copy ends that goes with a copy of the database made after this was seen. Nothing
    /// where people, policies or credentials changed meanwhile: they are in the one and may not be in
    /// the other.
    ///
    /// # Errors
    /// The log can't be read, or does not fit the database.
    pub(crate) fn cut(&self, database: Copied) -> anyhow::Result<Option<Cut>> {
        let mut cut = Cut {
            offset: self.from.offset,
            outbox: self.from.outbox,
        };
        let mut changed = false;
        self.read_from(self.from.offset, |frame, end| {
            let noted = Noted::of(&control(frame.evidence)?);
            if end <= self.length || cut.outbox < database.arrived {
                cut.offset = end;
                cut.outbox = cut.outbox.max(noted.outbox.unwrap_or(0));
            }
            changed |= end > self.length && is_stored(&Leaf::parse(frame.leaf)?.body);
            Ok(())
        })?;
        if changed {
            return Ok(None);
        }
        ensure!(
            (database.arrived..=database.last_record).contains(&cut.outbox),
            "the database and the log in `{}` are of different times, so a copy of them is none to \
             start from; `countersign up` says more",
            self.dir.display()
        );
        Ok(Some(cut))
    }

    /// Whether something happened since the cut that the keys, which are copied last, must not be ahead
    /// of: a start, with which keys change, or an erasure.
    ///
    /// # Errors
    /// The log can't be read.
    pub(crate) fn is_outdated(&self, cut: Cut) -> anyhow::Result<bool> {
        let mut outdated = false;
        self.read_from(cut.offset, |frame, _| {
            outdated |= changes_keys(&Leaf::parse(frame.leaf)?.body);
            Ok(())
        })?;
        Ok(outdated)
    }

    /// Writes the copy.
    ///
    /// # Errors
    /// Something can't be read or written.
    pub(crate) fn copy(&self, cut: Cut, to: &mut Tree) -> anyhow::Result<()> {
        to.copy_beginning(&self.dir.join("journal"), cut.offset, "log/journal")?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("rotation.") || name == "key.pub" || name == "vote-key.pub" {
                to.copy(&entry.path(), &format!("log/{name}"))?;
            }
        }
        let Some(newest) = &self.published else {
            return Ok(());
        };
        // Later tiles are of records that the copy may not have; a missing one is made again.
        for name in tile::all_of(newest.size) {
            let place = format!("log/{name}");
            if name.is_full() {
                to.copy(&self.dir.join(name.to_string()), &place)?;
            } else if let Some(bytes) = self.partial(name)? {
                to.write(&place, &bytes)?;
            }
        }
        if let Some(state) = &newest.state {
            to.write(&format!("log/state.{}", newest.size), state)?;
        }
        if let Some(history) = &newest.history {
            to.write("log/checkpoints", history)?;
        }
        to.write("log/checkpoint", &newest.checkpoint)
    }

    /// A partial tile, which goes as soon as the full one is there that begins like it.
    fn partial(&self, name: Name) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(bytes) = optional(&self.dir.join(name.to_string()))? {
            return Ok(Some(bytes));
        }
        let full = Name::full(name.kind(), name.index());
        let bytes = optional(&self.dir.join(full.to_string()))?;
        Ok(bytes.and_then(|bytes| beginning(name, full, &bytes)))
    }

    /// Shows every whole record from a place on, with where it ends, up to the end as it is now.
    fn read_from(
        &self,
        offset: u64,
        mut show: impl FnMut(Frame<'_>, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.dir.join("journal");
        let mut file = File::open(&path).with_context(|| unreadable(&path))?;
        let found = file.metadata()?;
        ensure!(
            (found.dev(), found.ino()) == self.journal && found.len() >= self.length,
            "`{}` was replaced meanwhile; try again",
            path.display()
        );
        file.seek(SeekFrom::Start(offset))?;
        let mut rest = file.take(found.len().saturating_sub(offset));
        let (mut bytes, mut offset) = (Vec::new(), offset);
        loop {
            let read = Read::by_ref(&mut rest)
                .take(CHUNK)
                .read_to_end(&mut bytes)?;
            let mut decoder = Decoder::new(&bytes, offset);
            loop {
                match decoder.step() {
                    Step::Frame(frame) => show(frame, decoder.offset())?,
                    Step::End | Step::Incomplete { .. } => break,
                    Step::Corrupt(corrupt) => bail!(
                        "the log in `{}` is damaged: {corrupt}; see `countersign log verify`",
                        self.dir.display()
                    ),
                }
            }
            let used = usize::try_from(decoder.offset() - offset)?;
            offset = decoder.offset();
            bytes.drain(..used);
            if read == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether the database has what such a record says, beside requests.
fn is_stored(body: &Body) -> bool {
    changes_keys(body)
        || matches!(
            body,
            Body::PolicyActivated(_)
                | Body::DirectoryChanged(_)
                | Body::ChangeStored(_)
                | Body::CredentialIssued(_)
                | Body::CredentialRevoked(_)
                | Body::Recovered(_)
        )
}

/// Whether keys may be others after such a record.
fn changes_keys(body: &Body) -> bool {
    matches!(
        body,
        Body::InstanceStarted(_)
            | Body::EpochStarted(_)
            | Body::KeyRotated(_)
            | Body::EvidenceErased(_)
    )
}

/// The newest checkpoint with what goes with it, all of which a gateway replaces about every second.
fn published(dir: &Path) -> anyhow::Result<Option<Published>> {
    for _ in 0..LOOKS {
        // What is read first is older: no checkpoint of the history is newer than the newest.
        let history = optional(&dir.join("checkpoints"))?;
        let Some(checkpoint) = optional(&dir.join("checkpoint"))? else {
            return Ok(None);
        };
        let size = Checkpoint::peek(&checkpoint)?.size;
        let state = optional(&state_file(dir, size))?;
        let end = checkpoint.trim_ascii_end();
        let is_whole = |history: &Vec<u8>| history.trim_ascii_end().ends_with(end);
        if state.is_some() && history.as_ref().is_none_or(is_whole) {
            return Ok(Some(Published {
                checkpoint,
                size,
                history,
                state,
            }));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    // A crash may have kept one of them from being written; both are made again.
    let checkpoint = fs::read(dir.join("checkpoint"))?;
    Ok(Some(Published {
        size: Checkpoint::peek(&checkpoint)?.size,
        checkpoint,
        history: None,
        state: None,
    }))
}

/// A partial tile out of the full one.
fn beginning(name: Name, full: Name, bytes: &[u8]) -> Option<Vec<u8>> {
    let width = usize::from(name.width());
    match name.kind() {
        Kind::Hashes(_) => bytes.get(..32 * width).map(<[u8]>::to_vec),
        Kind::Entries => {
            let mut bundle = Vec::new();
            for entry in tile::entries(full, bytes).ok()?.into_iter().take(width) {
                let _no_longer_than_it_was = tile::push_entry(&mut bundle, entry);
            }
            Some(bundle)
        }
    }
}

fn optional(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| unreadable(path)),
    }
}

fn unreadable(path: &Path) -> String {
    format!("`{}` can't be read", path.display())
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
