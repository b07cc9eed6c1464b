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

mod finding;
mod instances;
mod passkeys;
mod quorum;
mod receipt;
mod requests;
#[cfg(test)]
mod tests;
mod votes;

pub use receipt::verify_receipt;

pub use finding::{Area, Finding, MAX_FINDINGS, Problem, Report, Severity};

use std::collections::BTreeMap;

use countersign_core::canonical::Hash;

use crate::{
    body::Body,
    checkpoint::Checkpoint,
    evidence,
    frame::{Decoder, Frame, Step},
    key::VerifyingKey,
    leaf::Leaf,
    merkle::{Tree, leaf_hash},
};

use finding::Findings;
use instances::Instances;
use passkeys::Passkeys;
use requests::Requests;

/// What the auditor trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The key that signs the log's checkpoints.
    pub log: VerifyingKey,
    /// The keys that sign votes; `None` leaves their signatures unchecked, which the report says.
    pub votes: Option<Vec<VerifyingKey>>,
}

/// Verifies a journal entry by entry.
#[derive(Debug)]
pub struct Verifier {
    votes: Option<Vec<VerifyingKey>>,
    tree: Tree,
    /// The size of the checkpoint that opened; `None` when it did not.
    covered: Option<u64>,
    /// Roots that signed checkpoints state, by size.
    stated: BTreeMap<u64, Vec<Hash>>,
    instances: Instances,
    passkeys: Passkeys,
    requests: Requests,
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
            votes: trust.votes,
            tree: Tree::new(),
            covered,
            stated,
            instances: Instances::default(),
            passkeys: Passkeys::default(),
            requests: Requests::default(),
            findings,
        };
        verifier.compare_root();
        verifier
    }

    /// Verifies the next entry.
    pub fn entry(&mut self, frame: Frame<'_>) {
        let index = self.tree.size();
        let hash = leaf_hash(frame.leaf);
        self.tree.push(hash);
        self.compare_root();
        let leaf = match Leaf::parse(frame.leaf) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.findings
                    .push(Some(index), None, Problem::LeafRefused(error));
                return;
            }
        };
        let mut problems = Vec::new();
        check_evidence(&leaf, frame.evidence, &mut problems);
        self.instances.apply(&leaf, hash, index, &mut problems);
        self.passkeys.apply(&leaf.body);
        match &leaf.request {
            Some(place) => {
                let has_reason = match &leaf.body {
                    Body::ApprovalDecided(vote) => {
                        let known = (self.votes.as_deref(), &self.passkeys);
                        votes::check(&leaf, place, vote, frame.evidence, known, &mut problems)
                    }
                    _ => false,
                };
                let cast = (has_reason, &self.passkeys);
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
                let problem = match newest.is_some_and(|size| *size > self.tree.size()) {
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
        let (entries, requests) = (self.tree.size(), self.requests.seen());
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
        for (request, problem) in self.requests.unfinished() {
            self.findings.push(None, Some(request), problem);
        }
        self.findings.report(entries, requests)
    }

    fn compare_root(&mut self) {
        let size = self.tree.size();
        let Some(roots) = self.stated.get(&size) else {
            return;
        };
        let root = self.tree.root();
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

fn check_evidence(leaf: &Leaf, stored: &[u8], problems: &mut Vec<Problem>) {
    match leaf.evidence {
        None if stored.is_empty() => {}
        None => problems.push(Problem::EvidenceUnexpected),
        Some(_) if stored.is_empty() => problems.push(Problem::EvidenceMissing),
        Some(commitment) => {
            if let Err(error) = evidence::check(stored, commitment) {
                problems.push(Problem::EvidenceRefused(error));
            }
        }
    }
}
