//! What the log says about one request, and whether the whole log holds.

use std::path::Path;

use anyhow::{Context, bail};
use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_evidence::{
    checkpoint::Checkpoint,
    frame::{Decoder, Step},
    key::VerifyingKey,
    leaf::Leaf,
    merkle::{
        leaf_hash,
        proof::{inclusion, subtrees_of, verify_inclusion},
    },
    verify::{Report, Trust, verify_journal},
};

/// One record of a request, proven to be in the log.
pub(super) struct Line {
    /// Its place.
    pub(super) index: u64,
    /// What it is.
    pub(super) kind: String,
    /// When.
    pub(super) at: Timestamp,
    /// How many hashes prove it.
    pub(super) proof: usize,
}

struct Files {
    journal: Vec<u8>,
    checkpoint: Vec<u8>,
    log: VerifyingKey,
    votes: VerifyingKey,
}

fn read(dir: &Path) -> anyhow::Result<Files> {
    let file = |name: &str| {
        std::fs::read(dir.join(name)).with_context(|| format!("the log has no `{name}`"))
    };
    let key = |name: &str| -> anyhow::Result<VerifyingKey> {
        Ok(std::str::from_utf8(&file(name)?)?.trim().parse()?)
    };
    Ok(Files {
        journal: file("journal")?,
        checkpoint: file("checkpoint")?,
        log: key("key.pub")?,
        votes: key("vote-key.pub")?,
    })
}

/// The records of a request, each with its proof verified against the signed checkpoint.
pub(super) fn receipt(dir: &Path, request: &str) -> anyhow::Result<Vec<Line>> {
    let files = read(dir)?;
    let checkpoint = Checkpoint::open(&files.checkpoint, &files.log)?;
    let leaves = leaves(&files.journal)?;
    let covered = usize::try_from(checkpoint.size)?;
    let hashes: Vec<Hash> = leaves
        .iter()
        .take(covered)
        .map(|bytes| leaf_hash(bytes))
        .collect();
    let subtrees = subtrees_of(&hashes);
    let mut lines = Vec::new();
    for ((index, bytes), hash) in (0u64..).zip(&leaves).zip(&hashes) {
        let leaf = Leaf::parse(bytes)?;
        if leaf
            .request
            .as_ref()
            .is_none_or(|within| within.id.as_str() != request)
        {
            continue;
        }
        let path = inclusion(index, checkpoint.size, &subtrees)?;
        verify_inclusion(*hash, index, checkpoint.size, &path, checkpoint.root)?;
        lines.push(Line {
            index,
            kind: kind(&leaf),
            at: leaf.at,
            proof: path.len(),
        });
    }
    Ok(lines)
}

fn leaves(journal: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let mut decoder = Decoder::new(journal, 0);
    let mut leaves = Vec::new();
    loop {
        match decoder.step() {
            Step::Frame(frame) => leaves.push(frame.leaf),
            Step::End => return Ok(leaves),
            Step::Incomplete { at } => bail!("the journal ends inside a record at byte {at}"),
            Step::Corrupt(corrupt) => return Err(corrupt.into()),
        }
    }
}

/// The kind of a record as the log names it.
fn kind(leaf: &Leaf) -> String {
    let body = serde_json::to_value(&leaf.body).unwrap_or_default();
    let name = body
        .as_object()
        .and_then(|fields| fields.keys().next().cloned());
    name.unwrap_or_else(|| "record".into())
}

/// Verifies the whole log offline.
pub(super) fn verify(dir: &Path) -> anyhow::Result<Report> {
    let files = read(dir)?;
    let trust = Trust {
        log: files.log,
        votes: Some(vec![files.votes]),
    };
    Ok(verify_journal(
        &files.journal,
        trust,
        &files.checkpoint,
        &[],
    ))
}
