//! The offline verifier: does the record hold, is it whole, and were the rules kept?
//!
//! In scope: one pass over the journal's frames against a signed checkpoint.
//! Out of scope: reading files; whether policy decided rightly, which any Cedar engine reproduces
//! from the evidence; forks that show different logs to different readers, which witnesses notice.
//! Invariant: changing one byte of the journal leads to a finding. An entry is read once; memory
//! grows with the number of requests, not of entries; requests with an outcome or a closing record
//! keep only a mark.
//! Specification: integrity is RFC 6962 and the commitments of [`evidence`](crate::evidence);
//! completeness and rules are listed at [`Problem`].

mod action;
mod amends;
mod emergencies;
mod examine;
mod finding;
mod grants;
mod grounds;
mod instances;
mod quorum;
mod receipt;
mod requests;
#[cfg(test)]
mod tests;
mod tiles;
mod votes;

pub use examine::{Examined, Examiner};
pub use receipt::verify_receipt;

pub use finding::{Area, Finding, MAX_FINDINGS, Problem, Report, Severity};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::canonical::Hash;

use crate::{
    body::{Body, KeyPurpose, KeyRotated},
    checkpoint::Checkpoint,
    evidence::{
        Evidence, InvalidEvidence, Opened,
        sealing::{KeyId, KeySource},
    },
    frame::{Decoder, Frame, Step},
    key::VerifyingKey,
    leaf::Leaf,
    tile::{Edge, Name},
};

use finding::Findings;
use grounds::Grounds;
use instances::Instances;
use requests::Requests;
use tiles::Tiles;

/// What the auditor trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The key that signs the log's checkpoints.
    pub log: VerifyingKey,
    /// The keys that sign votes; `None` leaves their signatures unchecked, which the report says.
    pub votes: Option<Vec<VerifyingKey>>,
}

/// A change of the log's key that the auditor relies on: they have `from`, and the log is signed
/// with `to` by now.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The checkpoint that both keys signed; the change is recorded below it.
    pub checkpoint: Checkpoint,
    /// The key before.
    pub from: VerifyingKey,
    /// The key after.
    pub to: VerifyingKey,
}

/// Verifies a journal entry by entry.
#[derive(Debug)]
pub struct Verifier {
    votes: Option<Arc<[VerifyingKey]>>,
    edge: Edge,
    /// The size of the checkpoint that opened; `None` when it did not.
    covered: Option<u64>,
    tiles: Option<Tiles>,
    /// Roots that signed checkpoints state, by size.
    stated: BTreeMap<u64, Vec<Hash>>,
    instances: Instances,
    grounds: Grounds,
    requests: Requests,
    rotations: Vec<Rotation>,
    keys: Option<Arc<dyn KeySource>>,
    /// Parts of the evidence that stayed closed, by their key.
    closed: BTreeMap<KeyId, u64>,
    /// Keys that were destroyed.
    erased: BTreeSet<KeyId>,
    findings: Findings,
}

impl Verifier {
    /// Starts with the signed note of the checkpoint to verify against and the notes of older (or
    /// newer) checkpoints that the auditor kept.
    #[must_use]
    pub fn new(trust: Trust, checkpoint: &[u8], others: &[&[u8]]) -> Self {
        let mut findings = Findings::default();
        let mut stated: BTreeMap<u64, Vec<Hash>> = BTreeMap::new();
        let mut open = |note: &[u8]| match Checkpoint::open(note, &trust.log) {
            Ok(checkpoint) => {
                stated
                    .entry(checkpoint.size)
                    .or_default()
                    .push(checkpoint.root);
                Some(checkpoint.size)
            }
            Err(error) => {
                findings.push(None, None, Problem::CheckpointRefused(error));
                None
            }
        };
        let covered = open(checkpoint);
        for other in others {
            open(other);
        }
        if trust.votes.is_none() {
            findings.push(None, None, Problem::VotesUnchecked);
        }
        let mut verifier = Self {
            votes: trust.votes.map(Into::into),
            edge: Edge::default(),
            covered,
            tiles: None,
            stated,
            instances: Instances::default(),
            grounds: Grounds::default(),
            requests: Requests::default(),
            rotations: Vec::new(),
            keys: None,
            closed: BTreeMap::new(),
            erased: BTreeSet::new(),
            findings,
        };
        verifier.compare_root();
        verifier
    }

    /// Relies on a change of the log's key: it must be recorded below its checkpoint, which the record
    /// must continue. Called before the first entry.
    #[must_use]
    pub fn after(self, rotation: Rotation) -> Self {
        let mut verifier = self.with_checkpoint(&rotation.checkpoint);
        verifier.rotations.push(rotation);
        verifier
    }

    /// Has a checkpoint compared, too, that was opened under a key which the log had before. Called
    /// before the first entry.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: &Checkpoint) -> Self {
        let stated = self.stated.entry(checkpoint.size).or_default();
        stated.push(checkpoint.root);
        self.compare_root();
        self
    }

    /// Has the published tiles and bundles compared, too, which `read` gives. Called before the first
    /// entry.
    #[must_use]
    pub fn with_tiles(self, read: impl Fn(Name) -> Option<Vec<u8>> + 'static) -> Self {
        let tiles = Some(Tiles::new(self.covered.unwrap_or(0), Box::new(read)));
        Self { tiles, ..self }
    }

    /// Has sealed evidence opened, too. Called before the first entry.
    #[must_use]
    pub fn with_keys(self, keys: Arc<dyn KeySource>) -> Self {
        let keys = Some(keys);
        Self { keys, ..self }
    }

    /// Takes it that these keys were destroyed, as a log says that began in the place of this one.
    #[must_use]
    pub fn with_erased(mut self, keys: impl IntoIterator<Item = KeyId>) -> Self {
        self.erased.extend(keys);
        self
    }

    /// Verifies the next entry.
    pub fn entry(&mut self, frame: Frame<'_>) {
        let examined = self.examiner().examine(frame);
        self.take(examined);
    }

    /// What examines entries for this verifier, in any order and in any thread.
    #[must_use]
    pub fn examiner(&self) -> Examiner {
        Examiner {
            votes: self.votes.clone(),
            for_tiles: self.tiles.is_some(),
            keys: self.keys.clone(),
        }
    }

    /// Verifies the next entry, which was examined before.
    pub fn take(&mut self, examined: Examined) {
        let Examined {
            hash,
            leaf,
            entry,
            cast,
            mut problems,
            of_vote,
            closed,
        } = examined;
        for key in closed.into_iter().flatten() {
            *self.closed.entry(key).or_default() += 1;
        }
        let index = self.edge.size();
        let completed = self.edge.push(hash);
        self.compare_root();
        if let Some(tiles) = &mut self.tiles {
            for problem in tiles.entry(&entry, completed, &self.edge) {
                self.findings.push(None, None, problem);
            }
        }
        let leaf = match leaf {
            Ok(leaf) => leaf,
            Err(error) => {
                self.findings
                    .push(Some(index), None, Problem::LeafRefused(error));
                return;
            }
        };
        self.instances.apply(&leaf, hash, index, &mut problems);
        match &leaf.body {
            Body::KeyRotated(rotated) => self.rotated(rotated, index),
            Body::EvidenceErased(erased) => self.erased.extend(&erased.keys),
            _ => {}
        }
        self.grounds.apply(&leaf, &cast, &mut problems);
        problems.extend(of_vote);
        match &leaf.request {
            Some(place) => {
                let cast = (&cast, &self.grounds);
                self.requests.apply(&leaf, place, cast, &mut problems);
            }
            None if leaf.body.needs_request() => problems.push(Problem::RequestMissing),
            None => {}
        }
        for problem in problems {
            let request = leaf.request.as_ref().map(|place| place.id.clone());
            self.findings.push(Some(index), request, problem);
        }
    }

    /// Says what bytes after the last whole frame mean, as [`Decoder::step`] found them.
    pub fn ended(&mut self, step: Step<'_>) {
        match step {
            Step::Frame(frame) => self.entry(frame),
            Step::End => {}
            Step::Incomplete { at } => {
                let newest = self.stated.keys().next_back();
                let problem = match newest.is_some_and(|size| *size > self.edge.size()) {
                    true => Problem::CutInside { at },
                    false => Problem::TornTail { at },
                };
                self.findings.push(None, None, problem);
            }
            Step::Corrupt(corrupt) => {
                self.findings
                    .push(None, None, Problem::JournalDamaged(corrupt));
            }
        }
    }

    /// The report, after the last entry.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let (entries, requests) = (self.edge.size(), self.requests.seen());
        let closed = self.closed_parts();
        for size in self.stated.into_keys().filter(|size| *size > entries) {
            let problem = Problem::ShorterThanCheckpoint { entries, size };
            self.findings.push(None, None, problem);
        }
        let covered = self.covered.unwrap_or(0);
        if entries > covered {
            let problem = Problem::NotUnderCheckpoint {
                entries: entries - covered,
            };
            self.findings.push(Some(covered), None, problem);
        }
        for problem in closed {
            self.findings.push(None, None, problem);
        }
        for (request, problem) in self.requests.unfinished() {
            self.findings.push(None, Some(request), problem);
        }
        for Rotation { from, to, .. } in self.rotations {
            let (from, to) = (from.label(), to.label());
            let problem = Problem::RotationUnrecorded { from, to };
            self.findings.push(None, None, problem);
        }
        self.findings.report(entries, requests)
    }

    /// Why parts of the evidence stayed closed.
    fn closed_parts(&self) -> Vec<Problem> {
        let (mut erased, mut sealed, mut missing) = (0, 0, Vec::new());
        for (key, parts) in &self.closed {
            match (self.erased.contains(key), &self.keys) {
                (true, _) => erased += parts,
                (false, None) => sealed += parts,
                (false, Some(_)) => missing.push(Problem::EvidenceKeyMissing {
                    key: *key,
                    parts: *parts,
                }),
            }
        }
        let erased = (erased > 0).then_some(Problem::EvidenceErased { parts: erased });
        let sealed = (sealed > 0).then_some(Problem::EvidenceClosed { parts: sealed });
        missing.into_iter().chain(erased).chain(sealed).collect()
    }

    /// A change that is relied on was recorded.
    fn rotated(&mut self, recorded: &KeyRotated, index: u64) {
        let is_it = |relied: &Rotation| {
            recorded.purpose == KeyPurpose::Log
                && index < relied.checkpoint.size
                && recorded.current == relied.to.to_string()
                && recorded.previous == Some(relied.from.to_string())
        };
        self.rotations.retain(|relied| !is_it(relied));
    }

    fn compare_root(&mut self) {
        let size = self.edge.size();
        let Some(roots) = self.stated.get(&size) else {
            return;
        };
        let root = self.edge.root();
        if roots.iter().any(|stated| *stated != root) {
            self.findings
                .push(None, None, Problem::RootMismatch { size });
        }
    }
}

/// Verifies a whole journal in memory.
#[must_use]
pub fn verify_journal(journal: &[u8], trust: Trust, checkpoint: &[u8], others: &[&[u8]]) -> Report {
    let mut verifier = Verifier::new(trust, checkpoint, others);
    let mut decoder = Decoder::new(journal, 0);
    loop {
        match decoder.step() {
            Step::Frame(frame) => verifier.entry(frame),
            end => {
                verifier.ended(end);
                return verifier.finish();
            }
        }
    }
}

/// Compares evidence with what the leaf commits to, and opens it.
fn check_evidence(
    leaf: &Leaf,
    stored: &[u8],
    keys: &dyn KeySource,
    problems: &mut Vec<Problem>,
) -> Option<Opened> {
    match leaf.evidence {
        None if stored.is_empty() => {}
        None => problems.push(Problem::EvidenceUnexpected),
        Some(_) if stored.is_empty() => problems.push(Problem::EvidenceMissing),
        Some(commitment) => match open_evidence(leaf, stored, commitment, keys) {
            Ok(opened) => {
                check_action(leaf, &opened, problems);
                return Some(opened);
            }
            Err(error) => problems.push(Problem::EvidenceRefused(error)),
        },
    }
    None
}

/// Opens evidence; its details are put together only where they are looked at.
fn open_evidence(
    leaf: &Leaf,
    stored: &[u8],
    commitment: Hash,
    keys: &dyn KeySource,
) -> Result<Opened, InvalidEvidence> {
    match &leaf.body {
        Body::ActionRequested(_) | Body::ApprovalDecided(_) => {
            Evidence::open(stored, commitment, keys)
        }
        _ => Evidence::check(stored, commitment, keys),
    }
}

/// Whether the evidence of a request's first record shows the action that its digest is of.
fn check_action(leaf: &Leaf, opened: &Opened, problems: &mut Vec<Problem>) {
    let (Body::ActionRequested(_), Some(place)) = (&leaf.body, &leaf.request) else {
        return;
    };
    // What is closed is a finding of its own, and a name that is closed is part of what was digested.
    if !opened.closed.is_empty() {
        return;
    }
    let shown = opened
        .details()
        .and_then(|details| action::digest(details, &place.id));
    if leaf.digest.is_some() && shown != leaf.digest {
        let what = "action that is shown";
        problems.push(Problem::DigestMismatch { what });
    }
}
