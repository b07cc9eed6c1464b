//! A log that is not continued: what is there of it, and what it had once.
//!
//! In scope: reading a log as far as it is whole, without changing or believing it; which actions it
//! leaves unknown.
//! Out of scope: why it is not continued, and what comes in its place (`gateway::epoch`); whether it
//! keeps the rules, which its verifier says.
//! Invariant: nothing here writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
};

use anyhow::Context;
use countersign_core::{canonical::Hash, digest::AttachKey, time::Timestamp};
use countersign_evidence::{
    body::{Body, OutcomeStatus},
    checkpoint::Checkpoint,
    frame::{Decoder, Step},
    key::VerifyingKey,
    leaf::Leaf,
    merkle::{Tree, leaf_hash},
};

use super::journal::{Noted, Position, control};
use crate::gateway::world::World;

/// How much of the journal is read at once.
const CHUNK: u64 = 1 << 20;

/// What was found of a log.
#[derive(Debug)]
pub(crate) struct Former {
    /// How many whole records are there, and their root.
    pub(crate) kept: (u64, Hash),
    /// The newest signed checkpoint that is known.
    pub(crate) signed: Option<Checkpoint>,
    /// The first signed checkpoint that the records contradict.
    pub(crate) contradicted: Option<u64>,
    /// What can't be read, where the whole records end.
    pub(crate) damage: Option<String>,
    /// The time of the last record.
    pub(crate) last: Timestamp,
    /// The last outbox number that arrived.
    pub(crate) outbox: u64,
    /// Actions that ended unknown, or whose end is not recorded.
    pub(crate) unknown: BTreeSet<AttachKey>,
    /// Actions that were permitted and whose end is not recorded.
    pub(crate) without_outcome: usize,
    /// People and policies after the last change of them.
    pub(crate) world: Option<World>,
}

/// The log while it is read.
struct Reading {
    tree: Tree,
    position: Position,
    unknown: BTreeSet<AttachKey>,
    /// Roots that were signed, by size.
    stated: BTreeMap<u64, Hash>,
    contradicted: Option<u64>,
}

impl Former {
    /// Reads the log in `dir`. `keys` signed its checkpoints; `elsewhere` has some that were kept.
    ///
    /// # Errors
    /// A file can't be read.
    pub(crate) fn read(
        dir: &Path,
        keys: &[VerifyingKey],
        elsewhere: &[Checkpoint],
    ) -> anyhow::Result<Self> {
        let mut signed = checkpoints(dir, keys)?;
        signed.extend(elsewhere.iter().cloned());
        signed.sort_by_key(|one| one.size);
        let mut reading = Reading {
            tree: Tree::new(),
            position: Position::default(),
            unknown: BTreeSet::new(),
            stated: signed.iter().map(|one| (one.size, one.root)).collect(),
            contradicted: None,
        };
        let damage = reading.journal(&dir.join("journal"))?;
        let Reading {
            tree,
            position,
            mut unknown,
            contradicted,
            ..
        } = reading;
        let without_outcome = position.open.len();
        unknown.extend(position.open.values().filter_map(|open| open.attach));
        Ok(Self {
            kept: (tree.size(), tree.root()),
            signed: signed.pop(),
            contradicted,
            damage,
            last: position.last(),
            outbox: position.outbox,
            unknown,
            without_outcome,
            world: position.world.map(|(now, was)| World { now, was }),
        })
    }

    /// How many records a signed checkpoint has beyond those that are there.
    pub(crate) fn missing(&self) -> u64 {
        let signed = self.signed.as_ref().map_or(0, |signed| signed.size);
        signed.saturating_sub(self.kept.0)
    }
}

impl Reading {
    /// Reads the journal up to its end or its first damage, which it gives.
    fn journal(&mut self, path: &Path) -> anyhow::Result<Option<String>> {
        let failed = || format!("`{}` can't be read", path.display());
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(failed),
        };
        let (mut bytes, mut offset) = (Vec::new(), 0);
        loop {
            let mut piece = Read::by_ref(&mut file).take(CHUNK);
            let read = piece.read_to_end(&mut bytes).with_context(failed)?;
            let mut decoder = Decoder::new(&bytes, offset);
            let end = loop {
                match decoder.step() {
                    Step::Frame(frame) => {
                        if let Err(damage) = self.take(frame.leaf, frame.evidence) {
                            return Ok(Some(damage));
                        }
                    }
                    end => break end,
                }
            };
            if let Step::Corrupt(corrupt) = end {
                return Ok(Some(corrupt.to_string()));
            }
            if read == 0 {
                return Ok(None);
            }
            let used = usize::try_from(decoder.offset() - offset)?;
            offset = decoder.offset();
            bytes.drain(..used);
        }
    }

    fn take(&mut self, leaf: &[u8], evidence: &[u8]) -> Result<(), String> {
        let hash = leaf_hash(leaf);
        let leaf = Leaf::parse(leaf).map_err(|error| error.to_string())?;
        let noted = Noted::of(&control(evidence).map_err(|error| error.to_string())?);
        match (&leaf.body, noted.attach) {
            // A person has approved the repetition since, or nothing was unknown about it.
            (Body::ActionPermitted(_), Some(attach)) => {
                self.unknown.remove(&attach);
            }
            (Body::ActionOutcome(ended), _) if ended.status == OutcomeStatus::Unknown => {
                let open = self.position.open.get(&ended.permit);
                self.unknown.extend(open.and_then(|open| open.attach));
            }
            _ => {}
        }
        self.tree.push(hash);
        self.position.note(&leaf, noted);
        let stated = self.stated.get(&self.tree.size());
        if self.contradicted.is_none() && stated.is_some_and(|root| *root != self.tree.root()) {
            self.contradicted = Some(self.tree.size());
        }
        Ok(())
    }
}

/// Every checkpoint beside the journal that one of these keys signed.
fn checkpoints(dir: &Path, keys: &[VerifyingKey]) -> anyhow::Result<Vec<Checkpoint>> {
    let mut found = Vec::new();
    let open = |note: &[u8]| keys.iter().find_map(|key| Checkpoint::open(note, key).ok());
    for name in ["checkpoint", "checkpoints"] {
        let path = dir.join(name);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("`{}` can't be read", path.display()));
            }
        };
        found.extend(notes(&text).filter_map(|note| open(note.as_bytes())));
    }
    Ok(found)
}

/// Notes one after another, each but the last with an empty line behind it.
fn notes(text: &str) -> impl Iterator<Item = String> {
    let parts: Vec<&str> = text.split("\n\n").collect();
    let pairs: Vec<String> = parts
        .chunks(2)
        .filter_map(|pair| match pair {
            [text, signatures] => {
                let signatures = signatures.trim_end_matches('\n');
                Some(format!("{}\n\n{signatures}\n", text.trim_start()))
            }
            _ => None,
        })
        .collect();
    pairs.into_iter()
}
