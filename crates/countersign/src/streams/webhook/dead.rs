//! Events that were given up, kept until somebody has them tried again.
//!
//! In scope: a file of one line an event, appending to it, reading it, emptying it.
//! Out of scope: giving up; [`super`] does that.
//! Invariant: a line names a record and why it could not be delivered, and holds nothing of it.
//! What is read was either written whole or is the torn end of the last line.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lanes::Pending;
use crate::streams::{follow::Place, keep};

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// The record's number in the log.
    pub index: u64,
    /// Where the journal has it.
    pub offset: u64,
    /// Its request; empty for what belongs to none.
    pub request: String,
    /// When it was given up, in milliseconds since 1970.
    pub at: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last attempt met.
    pub why: String,
}

impl DeadLetter {
    pub(super) fn of(pending: &Pending, at: i64, why: &str) -> Self {
        Self {
            index: pending.at.index,
            offset: pending.at.offset,
            request: pending.lane.clone(),
            at,
            attempts: pending.attempts,
            why: why.into(),
        }
    }

    /// The same as something to try from now on.
    pub(super) fn again(self, taken: i64) -> Pending {
        Pending {
            at: Place {
                index: self.index,
                offset: self.offset,
            },
            lane: self.request,
            taken,
            attempts: 0,
        }
    }
}

/// The file.
pub(super) struct Dead(PathBuf);

impl Dead {
    /// The file in a stream's directory.
    pub(super) fn of(own: &Path) -> Self {
        Self(own.join("dead.jsonl"))
    }

    /// Adds an event. It is on the disk when this returns.
    pub(super) fn add(&self, letter: &DeadLetter) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(letter)?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.0)
            .with_context(|| format!("`{}` can't be written", self.0.display()))?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            // The end of a line that a crash cut short.
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        Ok(file.sync_data()?)
    }

    /// The events, oldest first and each once, `limit` of them at the most.
    pub(super) fn read(&self, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        let file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("`{}` can't be read", self.0.display()));
            }
        };
        let mut letters: Vec<DeadLetter> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in BufReader::new(file).lines() {
            let Ok(letter) = serde_json::from_str::<DeadLetter>(&line?) else {
                continue;
            };
            if letters.len() < limit && seen.insert(letter.index) {
                letters.push(letter);
            }
        }
        Ok(letters)
    }

    /// Forgets all of them.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        keep::replace_bytes(&self.0, b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_once_and_a_torn_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dead = Dead::of(dir.path());
        assert!(dead.read(9).unwrap().is_empty());
        let letter = |index| DeadLetter {
            index,
            offset: index * 10,
            request: "req".into(),
            at: 5,
            attempts: 3,
            why: "status 500".into(),
        };
        dead.add(&letter(1)).unwrap();
        dead.add(&letter(2)).unwrap();
        dead.add(&letter(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&dead.0).unwrap();
        file.write_all(b"{\"index\":3,").unwrap();
        dead.add(&letter(4)).unwrap();
        let found: Vec<u64> = dead.read(9).unwrap().iter().map(|one| one.index).collect();
        assert_eq!(found, [1, 2, 4]);
        assert_eq!(dead.read(1).unwrap(), [letter(1)]);
        assert_eq!(letter(4).again(7).taken, 7);
        dead.empty().unwrap();
        assert!(dead.read(9).unwrap().is_empty());
    }
}
