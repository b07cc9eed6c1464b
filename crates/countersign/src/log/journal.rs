//! The journal's file: append, sync, resume.
//!
//! In scope: `journal` (frames) and `state.SIZE` (where to resume after a checkpoint).
//! Out of scope: threads and waiting; the [`sequencer`](super::sequencer) has those. What is
//! published; see [`publisher`](super::publisher).
//! Invariant: a frame counts once `sync` returned. A state only saves time: what it says is
//! checked against the signed checkpoint, and everything after it is read again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::bail;
use countersign_core::{
    canonical::Hash,
    count::counted,
    digest::{ActionDigest, AttachKey},
    id::{PermitId, RequestId},
    time::Timestamp,
};
use countersign_evidence::{
    body::Body,
    checkpoint::Checkpoint,
    evidence::Evidence,
    frame::{self, Decoder, Frame, Step},
    key::VerifyingKey,
    leaf::Leaf,
    merkle::{Tree, leaf_hash},
};
use serde::{Deserialize, Serialize};

use crate::{
    durable,
    way_out::{Stuck, WayOut},
};

/// How much of the journal is read at once when resuming.
const CHUNK: usize = 1 << 20;

/// A permit that was recorded and whose outcome was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPermit {
    /// The request.
    pub request: RequestId,
    /// The number of the request's next record.
    pub next: u64,
    /// The action.
    pub digest: ActionDigest,
    /// How an identical call would be found, when the record says.
    pub attach: Option<AttachKey>,
}

/// What the journal's end looks like.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Bytes of whole, durable frames.
    pub(super) offset: u64,
    /// The time of the last record.
    pub(super) at: i64,
    /// The last outbox number that arrived.
    pub(super) outbox: u64,
    /// Permits without an outcome.
    pub(super) open: BTreeMap<PermitId, OpenPermit>,
    /// People and policies after the last change of them, and before it.
    #[serde(default)]
    pub(super) world: Option<(Hash, Option<Hash>)>,
}

#[derive(Serialize, Deserialize)]
struct State {
    position: Position,
    tree: String,
}

/// The journal, open for appending.
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    pub(super) position: Position,
    pub(super) tree: Tree,
    /// The checkpoint in place when the journal was opened.
    pub(super) found: Option<Checkpoint>,
    /// Where the entries of `found` end, where that is known.
    pub(super) found_end: Option<u64>,
    /// The size last given out to be published.
    pub(super) offered: u64,
    damaged: bool,
}

impl Journal {
    /// Opens the journal in `dir` and reads what came after the last checkpoint.
    pub(super) fn open(dir: &Path, keys: &[&VerifyingKey]) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("journal");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        durable::sync(dir)?;
        durable::sync_name(dir)?;
        let signed = read_checkpoint(dir, keys)?;
        // Of a journal that was cut off before that place nothing is taken on trust, and nothing is
        // appended to it.
        let length = file.metadata()?.len();
        let saved = read_state(dir, signed.as_ref()).filter(|(at, _)| at.offset <= length);
        let found_end = saved.as_ref().map(|(position, _)| position.offset);
        let (position, tree) = saved.unwrap_or_default();
        let mut journal = Self {
            dir: dir.into(),
            file,
            position,
            tree,
            offered: signed.as_ref().map_or(0, |checkpoint| checkpoint.size),
            found: None,
            found_end,
            damaged: false,
        };
        journal.replay(signed.as_ref())?;
        journal.found = signed;
        Ok(journal)
    }

    /// Reads frames from the position to the end and cuts a torn tail off.
    fn replay(&mut self, signed: Option<&Checkpoint>) -> anyhow::Result<()> {
        self.file.seek(SeekFrom::Start(self.position.offset))?;
        let mut pending = Vec::new();
        loop {
            let before = pending.len();
            let read = Read::by_ref(&mut self.file)
                .take(CHUNK as u64)
                .read_to_end(&mut pending)?;
            let consumed = self.take_frames(&pending, signed)?;
            pending.drain(..consumed);
            if read == 0 && (consumed == 0 || before == consumed) {
                break;
            }
        }
        if let Some(signed) = signed.filter(|signed| self.tree.size() < signed.size) {
            let why = format!(
                "the log in `{}` has {}, but a checkpoint over {} was signed: data is \
                 missing, perhaps because an old copy was restored; restore the newest copy",
                self.dir.display(),
                counted(self.tree.size(), "record", "records"),
                signed.size
            );
            return Err(Stuck::err(WayOut::NewLog, why));
        }
        if !pending.is_empty() {
            self.file.set_len(self.position.offset)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn take_frames(&mut self, bytes: &[u8], signed: Option<&Checkpoint>) -> anyhow::Result<usize> {
        let mut decoder = Decoder::new(bytes, self.position.offset);
        let start = self.position.offset;
        loop {
            match decoder.step() {
                Step::Frame(found) => {
                    let leaf = Leaf::parse(found.leaf)?;
                    self.tree.push(leaf_hash(found.leaf));
                    let control = control(found.evidence)?;
                    self.position.note(&leaf, Noted::of(&control));
                    self.position.offset = decoder.offset();
                    self.check_root(signed)?;
                }
                Step::End | Step::Incomplete { .. } => {
                    return Ok(usize::try_from(self.position.offset - start)?);
                }
                Step::Corrupt(corrupt) => {
                    let why = format!("{corrupt}; restore the newest copy");
                    return Err(Stuck::err(WayOut::NewLog, why));
                }
            }
        }
    }

    fn check_root(&self, signed: Option<&Checkpoint>) -> anyhow::Result<()> {
        match signed {
            Some(signed) if signed.size == self.tree.size() && signed.root != self.tree.root() => {
                let why = format!(
                    "the log in `{}` is not what its signed checkpoint says; it was changed. \
                     `countersign log verify` says more; restore the newest copy",
                    self.dir.display()
                );
                Err(Stuck::err(WayOut::NewLog, why))
            }
            _ => Ok(()),
        }
    }

    /// Writes encoded frames and makes them durable. On failure the file ends where it did.
    pub(super) fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.damaged {
            return Err(std::io::Error::other(
                "the log failed before; restart the gateway",
            ));
        }
        let written = self.file.write_all(bytes);
        if let Err(error) = written {
            // A short write may be on disk: without it gone, the next frame would follow garbage.
            self.damaged = self.file.set_len(self.position.offset).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the kernel may have dropped the pages: nothing is known.
            self.damaged = true;
            return Err(error);
        }
        self.position.offset += bytes.len() as u64;
        Ok(())
    }

    /// What is durable and not published yet; nothing where that is nothing, or not known.
    pub(super) fn unpublished(&self, origin: &str) -> Option<Durable> {
        (!self.damaged && self.tree.size() > self.offered).then(|| Durable {
            checkpoint: Checkpoint::of(origin, &self.tree),
            position: self.position.clone(),
            tree: self.tree.clone(),
        })
    }
}

/// The log up to one size, durable in the journal.
pub(super) struct Durable {
    /// What is to be signed.
    pub(super) checkpoint: Checkpoint,
    /// Where it ends.
    pub(super) position: Position,
    tree: Tree,
}

impl Durable {
    /// Saves where to resume, beside the states of other sizes: only that of the checkpoint in
    /// place will count.
    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let state = State {
            position: self.position.clone(),
            tree: hex(&self.tree.to_bytes()),
        };
        let mut file = File::create(state_file(dir, self.checkpoint.size))?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        Ok(file.sync_data()?)
    }

    /// Removes the states of other sizes.
    pub(super) fn forget_others(&self, dir: &Path) -> std::io::Result<()> {
        let own = state_file(dir, self.checkpoint.size);
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if path != own && name.is_some_and(|name| name.starts_with("state.")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A place between two records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Where it is in the journal.
    pub(super) offset: u64,
    /// The last outbox number before it.
    pub(super) outbox: u64,
}

/// The place after `size` records that a saved state names.
pub(super) fn place_of(state: &[u8], size: u64) -> Option<Place> {
    let State { position, tree } = serde_json::from_slice(state).ok()?;
    let tree = Tree::from_bytes(&unhex(&tree)?).ok()?;
    (tree.size() == size).then_some(Place {
        offset: position.offset,
        outbox: position.outbox,
    })
}

pub(super) fn state_file(dir: &Path, size: u64) -> PathBuf {
    dir.join(format!("state.{size}"))
}

/// What a record's evidence says about resuming.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    pub(super) outbox: Option<u64>,
    pub(super) attach: Option<AttachKey>,
    pub(super) world: Option<(Hash, Option<Hash>)>,
}

impl Noted {
    /// Reads it from the part of the evidence that is for this.
    pub(super) fn of(evidence: &serde_json::Value) -> Self {
        let attach = evidence.get("attach").cloned();
        let hash = |name| evidence.get(name)?.as_str()?.parse().ok();
        Self {
            outbox: evidence.get("outbox").and_then(serde_json::Value::as_u64),
            attach: attach.and_then(|text| serde_json::from_value(text).ok()),
            // What changes people and policies does not wait in the database.
            world: match evidence.get("outbox") {
                None => hash("world").map(|now| (now, hash("world_before"))),
                Some(_) => None,
            },
        }
    }
}

/// The part of stored evidence that a gateway which starts again reads.
pub(super) fn control(stored: &[u8]) -> anyhow::Result<serde_json::Value> {
    match stored {
        [] => Ok(serde_json::Value::Null),
        stored => Ok(Evidence::parse(stored)?.control()),
    }
}

impl Position {
    /// Takes a record into account.
    pub(super) fn note(&mut self, leaf: &Leaf, noted: Noted) {
        self.at = self.at.max(leaf.at.0);
        self.outbox = self.outbox.max(noted.outbox.unwrap_or(0));
        let changes = matches!(
            leaf.body,
            Body::PolicyActivated(_) | Body::DirectoryChanged(_) | Body::ChangeStored(_)
        );
        if changes && noted.world.is_some() {
            self.world = noted.world;
        }
        match (&leaf.body, &leaf.request, leaf.digest) {
            (Body::ActionPermitted(permitted), Some(within), Some(digest)) => {
                let open = OpenPermit {
                    request: within.id.clone(),
                    next: within.seq + 1,
                    digest,
                    attach: noted.attach,
                };
                self.open.insert(permitted.permit.clone(), open);
            }
            (Body::ActionOutcome(outcome), _, _) => {
                self.open.remove(&outcome.permit);
            }
            _ => {}
        }
    }

    /// The time of the last record.
    pub(super) fn last(&self) -> Timestamp {
        Timestamp(self.at)
    }
}

/// The checkpoint in place, signed by one of these keys.
fn read_checkpoint(dir: &Path, keys: &[&VerifyingKey]) -> anyhow::Result<Option<Checkpoint>> {
    let path = dir.join("checkpoint");
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path)?;
    let mut refused = None;
    for key in keys {
        match Checkpoint::open(&bytes, key) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map_or_else(String::new, |error| error.to_string());
    bail!(
        "`{}` is not a checkpoint of this log: {why}",
        path.display()
    )
}

/// The saved position, when the signed checkpoint vouches for it.
fn read_state(dir: &Path, signed: Option<&Checkpoint>) -> Option<(Position, Tree)> {
    let signed = signed?;
    let state: State =
        serde_json::from_slice(&fs::read(state_file(dir, signed.size)).ok()?).ok()?;
    let tree = Tree::from_bytes(&unhex(&state.tree)?).ok()?;
    let vouched = signed.size == tree.size() && signed.root == tree.root();
    vouched.then_some((state.position, tree))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Encodes one leaf with its evidence at the end of `out`.
pub(super) fn encode(leaf: &[u8], evidence: &[u8], out: &mut Vec<u8>) -> anyhow::Result<Hash> {
    frame::encode(Frame { leaf, evidence }, out)?;
    Ok(leaf_hash(leaf))
}
