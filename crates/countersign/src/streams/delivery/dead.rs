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

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    letter: DeadLetter,
    /// Records of the same request that are told with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Place>,
}

impl Line {
    pub(super) fn of(pending: &Pending, at: i64, why: &str) -> Self {
        let letter = DeadLetter {
            index: pending.at.index,
            offset: pending.at.offset,
            request: pending.lane.clone(),
            at,
            attempts: pending.attempts,
            why: why.into(),
        };
        Self {
            letter,
            earlier: pending.earlier.clone(),
        }
    }

    /// What is shown of it.
    pub(super) fn letter(self) -> DeadLetter {
        self.letter
    }

    /// The same as something to try from now on.
    pub(super) fn again(self, taken: i64) -> Pending {
        Pending {
            at: Place {
                index: self.letter.index,
                offset: self.letter.offset,
            },
            lane: self.letter.request,
            taken,
            attempts: 0,
            earlier: self.earlier,
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
    pub(super) fn add(&self, given_up: &Line) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(given_up)?;
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
    pub(super) fn read(&self, limit: usize) -> anyhow::Result<Vec<Line>> {
        let file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("`{}` can't be read", self.0.display()));
            }
        };
        let mut all: Vec<Line> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in BufReader::new(file).lines() {
            let Ok(line) = serde_json::from_str::<Line>(&line?) else {
                continue;
            };
            if all.len() < limit && seen.insert(line.letter.index) {
                all.push(line);
            }
        }
        Ok(all)
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
        let letter = |index| Line {
            letter: DeadLetter {
                index,
                offset: index * 10,
                request: "req".into(),
                at: 5,
                attempts: 3,
                why: "status 500".into(),
            },
            earlier: vec![Place::default(); usize::try_from(index % 3).unwrap()],
        };
        dead.add(&letter(1)).unwrap();
        dead.add(&letter(2)).unwrap();
        dead.add(&letter(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&dead.0).unwrap();
        file.write_all(b"{\"index\":3,").unwrap();
        dead.add(&letter(4)).unwrap();
        let found: Vec<u64> = dead
            .read(9)
            .unwrap()
            .iter()
            .map(|one| one.letter.index)
            .collect();
        assert_eq!(found, [1, 2, 4]);
        assert_eq!(dead.read(1).unwrap(), [letter(1)]);
        let again = letter(4).again(7);
        assert_eq!((again.taken, again.earlier.len()), (7, 1));
        dead.empty().unwrap();
        assert!(dead.read(9).unwrap().is_empty());
    }
}
