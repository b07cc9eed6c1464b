//! Reading the journal from a place on.
//!
//! In scope: whole, durable records one after another; one record again; checking that a saved
//! place still is one of this log.
//! Out of scope: what is done with them, and keeping the place ([`keep`](super::keep)).
//! Invariant: nothing after the durable end is read, so what is told to others can't vanish in a
//! crash. The journal is read through a file of its own, so that no writer waits.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::canonical::Hash;
use countersign_evidence::{
    body::{Body, Decision, Phase},
    evidence::{Evidence, sealing::KeySource},
    frame::{Decoder, Frame, MAX_EVIDENCE_BYTES, MAX_LEAF_BYTES, OVERHEAD_BYTES, Step},
    leaf::Leaf,
    merkle::leaf_hash,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::Keys;

/// How much is read at once; one record can be larger.
const PIECE: u64 = 1 << 20;

/// Where a record begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its number, from 0.
    pub(super) index: u64,
    /// Where its frame starts, in bytes of the journal.
    pub(super) offset: u64,
}

/// A record that was read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) at: Place,
    /// What it says.
    pub(super) leaf: Leaf,
    /// Its hash in the log's tree, which no other record has.
    pub(super) hash: Hash,
    /// The stored evidence.
    pub(super) evidence: Vec<u8>,
    /// What it is sealed with.
    pub(super) keys: Arc<dyn KeySource>,
}

impl Entry {
    /// The evidence, as far as it is not erased; `None` where there is none.
    pub(super) fn opened(&self) -> Option<Value> {
        let opened = Evidence::open(&self.evidence, self.leaf.evidence?, self.keys.as_ref());
        opened.ok().map(|opened| opened.value())
    }

    /// Whether its request is over with it.
    pub(super) fn ends_request(&self) -> bool {
        match &self.leaf.body {
            Body::ActionOutcome(_) | Body::RequestClosed(_) => true,
            Body::PolicyDecided(decided) => {
                decided.phase == Phase::Request && decided.decision == Decision::Deny
            }
            _ => false,
        }
    }
}

/// The last record before a place, by which the place is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Where its frame starts.
    pub(super) offset: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

impl Before {
    /// What is kept of a record that others come after.
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            offset: entry.at.offset,
            hash: entry.hash,
        }
    }
}

/// The journal, open for reading.
pub(super) struct Journal {
    file: File,
    keys: Arc<dyn KeySource>,
}

impl Journal {
    /// Opens the journal of the log in `dir`.
    pub(super) fn open(dir: &Path, keys: &Keys) -> anyhow::Result<Self> {
        let path = dir.join("journal");
        let file = File::open(&path).with_context(|| format!("`{}`", path.display()))?;
        let keys = keys.vault.clone();
        Ok(Self { file, keys })
    }

    /// Records from `from` on, some MiB of them at the most, and where the next one begins.
    /// `durable` is where the durable part ends, in bytes.
    pub(super) fn read(
        &mut self,
        from: Place,
        durable: u64,
    ) -> anyhow::Result<(Vec<Entry>, Place)> {
        let mut unread = durable.saturating_sub(from.offset);
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(from.offset))?;
        while unread > 0 {
            let mut piece = Read::by_ref(&mut self.file).take(unread.min(PIECE));
            let read = u64::try_from(piece.read_to_end(&mut bytes)?)?;
            if read == 0 {
                bail!("the journal is shorter than what was written to it");
            }
            unread -= read;
            let (entries, next) = decode(&bytes, from, &self.keys)?;
            if !entries.is_empty() {
                return Ok((entries, next));
            }
        }
        if bytes.is_empty() {
            return Ok((Vec::new(), from));
        }
        bail!("the journal has no record at byte {}", from.offset)
    }

    /// The record at a place.
    pub(super) fn one(&mut self, at: Place) -> anyhow::Result<Entry> {
        // The length stands at the beginning; most records are small.
        for limit in [
            64 << 10,
            MAX_LEAF_BYTES + MAX_EVIDENCE_BYTES + OVERHEAD_BYTES,
        ] {
            let mut bytes = Vec::new();
            self.file.seek(SeekFrom::Start(at.offset))?;
            Read::by_ref(&mut self.file)
                .take(u64::try_from(limit)?)
                .read_to_end(&mut bytes)?;
            let mut decoder = Decoder::new(&bytes, at.offset);
            match decoder.step() {
                Step::Frame(frame) => return entry(at, frame, &self.keys),
                Step::Corrupt(corrupt) => return Err(corrupt.into()),
                Step::End | Step::Incomplete { .. } => {}
            }
        }
        bail!("the journal has no record at byte {}", at.offset)
    }

    /// Whether a saved place is one of this log, whose durable part ends at `durable`.
    ///
    /// # Errors
    /// It is not: the log is another one, or an older copy.
    pub(super) fn check(
        &mut self,
        place: Place,
        before: Option<&Before>,
        durable: u64,
    ) -> anyhow::Result<()> {
        let known = place.offset <= durable
            && match before {
                None => true,
                Some(before) => {
                    let index = place.index.saturating_sub(1);
                    let last = self.one(Place {
                        index,
                        offset: before.offset,
                    });
                    last.is_ok_and(|last| last.hash == before.hash)
                }
            };
        if known {
            return Ok(());
        }
        bail!(
            "record {} was delivered, and this log does not have it: an older copy was restored, \
             perhaps. Remove the stream's directory to begin anew",
            place.index.saturating_sub(1)
        )
    }
}

fn entry(at: Place, frame: Frame<'_>, keys: &Arc<dyn KeySource>) -> anyhow::Result<Entry> {
    Ok(Entry {
        at,
        hash: leaf_hash(frame.leaf),
        leaf: Leaf::parse(frame.leaf)?,
        evidence: frame.evidence.to_vec(),
        keys: keys.clone(),
    })
}

fn decode(
    bytes: &[u8],
    from: Place,
    keys: &Arc<dyn KeySource>,
) -> anyhow::Result<(Vec<Entry>, Place)> {
    let mut decoder = Decoder::new(bytes, from.offset);
    let (mut entries, mut at) = (Vec::new(), from);
    loop {
        match decoder.step() {
            Step::Frame(frame) => {
                entries.push(entry(at, frame, keys)?);
                at = Place {
                    index: at.index + 1,
                    offset: decoder.offset(),
                };
            }
            Step::End | Step::Incomplete { .. } => return Ok((entries, at)),
            Step::Corrupt(corrupt) => return Err(corrupt.into()),
        }
    }
}
