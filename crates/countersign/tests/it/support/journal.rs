//! The journal, read as an auditor reads it.

use std::{fs, path::Path, sync::Arc};

use countersign::vault;
use countersign_evidence::{
    evidence::{Evidence, sealing::KeySource},
    frame::{Decoder, Step},
    key::VerifyingKey,
    leaf::Leaf,
    verify::{Trust, Verifier},
};
use serde_json::Value;

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) leaf: Leaf,
    pub(crate) evidence: Value,
    /// Its kind and its fields.
    pub(crate) body: Value,
}

impl Entry {
    /// The name of its kind.
    pub(crate) fn kind(&self) -> &str {
        self.body.as_object().unwrap().keys().next().unwrap()
    }

    /// A field of its body.
    pub(crate) fn field(&self, name: &str) -> &Value {
        &self.body[self.kind()][name]
    }

    /// The request it is about.
    pub(crate) fn request(&self) -> Option<&str> {
        self.leaf.request.as_ref().map(|within| within.id.as_str())
    }
}

/// Every whole record in the log's directory.
pub(crate) fn read(log: &Path) -> Vec<Entry> {
    let journal = fs::read(log.join("journal")).unwrap();
    let keys = vault_of(log);
    let mut decoder = Decoder::new(&journal, 0);
    let mut entries = Vec::new();
    loop {
        match decoder.step() {
            Step::Frame(frame) => {
                let leaf = Leaf::parse(frame.leaf).unwrap();
                let opened = leaf.evidence.map(|commitment| {
                    let opened = Evidence::open(frame.evidence, commitment, keys.as_ref());
                    opened.unwrap().value()
                });
                let evidence = opened.unwrap_or_default();
                let body = serde_json::to_value(&leaf.body).unwrap();
                entries.push(Entry {
                    leaf,
                    evidence,
                    body,
                });
            }
            Step::End | Step::Incomplete { .. } => return entries,
            Step::Corrupt(corrupt) => panic!("{corrupt}"),
        }
    }
}

fn vault_of(log: &Path) -> Arc<dyn KeySource> {
    let path = log.parent().unwrap().join("keys/evidence.keys");
    vault::reader(&path).unwrap().unwrap()
}

fn keys(log: &Path, name: &str) -> Vec<VerifyingKey> {
    let text = fs::read_to_string(log.join(name)).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// Verifies everything; fails with what was found.
#[track_caller]
pub(crate) fn verify(log: &Path) {
    let trust = Trust {
        log: keys(log, "key.pub").remove(0),
        votes: Some(keys(log, "vote-key.pub")),
    };
    // The checkpoint first: what is appended in between is only not yet under it.
    let checkpoint = fs::read(log.join("checkpoint")).unwrap();
    let journal = fs::read(log.join("journal")).unwrap();
    let mut verifier = Verifier::new(trust, &checkpoint, &[]).with_keys(vault_of(log));
    let mut decoder = Decoder::new(&journal, 0);
    let end = loop {
        match decoder.step() {
            Step::Frame(frame) => verifier.entry(frame),
            end => break end,
        }
    };
    verifier.ended(end);
    let report = verifier.finish();
    let failures: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert!(report.passed(), "the log does not verify: {failures:#?}");
}
