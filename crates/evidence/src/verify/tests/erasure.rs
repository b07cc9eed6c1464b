//! Sealed evidence: what is said of parts that can't be opened.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::build::*;
use crate::{
    body::{Body, Erasure, EvidenceErased},
    evidence::{
        Evidence, Kind, Part,
        sealing::{KeyId, KeySource, SealingKey},
    },
    frame::{Decoder, Step},
    leaf::Leaf,
    merkle::leaf_hash,
    verify::{Problem, Report, Verifier},
};

#[derive(Debug, Default)]
struct Ring(BTreeMap<KeyId, SealingKey>);

impl KeySource for Ring {
    fn key(&self, id: KeyId) -> Option<SealingKey> {
        self.0.get(&id).cloned()
    }
}

const KEY: KeyId = KeyId([7; 8]);

fn sealed(value: &Value) -> Evidence {
    let part = Part::new(Kind::Details, [9; 32], value).unwrap();
    Evidence::new(vec![part.sealed(KEY, &SealingKey([7; 32])).unwrap()])
}

/// A good log whose vote is sealed, and which says at the end that keys were destroyed.
fn frames(erased: &[KeyId]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut log = good();
    let place = log.place(HELD, 2);
    if !erased.is_empty() {
        let body = EvidenceErased {
            keys: erased.to_vec(),
            subject: Some(person(DANA)),
            why: Erasure::Person,
        };
        log.0.push(control(Body::EvidenceErased(body)));
    }
    let value = log.0[place].value.clone().unwrap();
    let mut frames = log.frames();
    frames[place].1 = sealed(&value).to_bytes();
    // What the vote's leaf commits to is another, and so is what later ones of its instance name.
    rechain(&mut frames, place, &sealed(&value));
    frames
}

fn rechain(frames: &mut [(Vec<u8>, Vec<u8>)], place: usize, evidence: &Evidence) {
    let mut last = BTreeMap::new();
    for (at, (bytes, _)) in frames.iter_mut().enumerate() {
        let mut leaf = Leaf::parse(bytes).unwrap();
        if at == place {
            leaf.evidence = Some(evidence.commitment());
        }
        if let Some(previous) = last.get(&leaf.instance) {
            leaf.prev = *previous;
        }
        *bytes = leaf.to_bytes().unwrap();
        last.insert(leaf.instance.clone(), leaf_hash(bytes));
    }
}

fn verify(frames: &[(Vec<u8>, Vec<u8>)], keys: Option<Ring>) -> Report {
    verify_after(frames, keys, &[])
}

/// With keys that a later log says were destroyed.
fn verify_after(
    frames: &[(Vec<u8>, Vec<u8>)],
    keys: Option<Ring>,
    erased_later: &[KeyId],
) -> Report {
    let checkpoint = checkpoint(frames);
    let verifier = Verifier::new(trust(), checkpoint.as_bytes(), &[]);
    let mut verifier = verifier.with_erased(erased_later.iter().copied());
    if let Some(keys) = keys {
        verifier = verifier.with_keys(Arc::new(keys));
    }
    let journal = journal(frames);
    let mut decoder = Decoder::new(&journal, 0);
    while let Step::Frame(frame) = decoder.step() {
        verifier.entry(frame);
    }
    verifier.finish()
}

fn problems(report: &Report) -> Vec<Problem> {
    let all = report.findings.iter();
    all.map(|found| found.problem.clone()).collect()
}

fn ring() -> Ring {
    Ring(BTreeMap::from([(KEY, SealingKey([7; 32]))]))
}

#[test]
fn with_its_keys_sealed_evidence_is_like_any_other() {
    assert_eq!(problems(&verify(&frames(&[]), Some(ring()))), []);
}

#[test]
fn without_keys_it_is_said_that_parts_are_sealed() {
    let report = verify(&frames(&[]), None);
    assert_eq!(problems(&report), [Problem::EvidenceClosed { parts: 1 }]);
    assert!(report.passed());
}

#[test]
fn a_destroyed_key_is_one_that_the_log_says_was() {
    let recorded = verify(&frames(&[KEY]), Some(Ring::default()));
    assert_eq!(problems(&recorded), [Problem::EvidenceErased { parts: 1 }]);
    assert!(recorded.passed());
    let later = verify_after(&frames(&[]), Some(Ring::default()), &[KEY]);
    assert_eq!(problems(&later), [Problem::EvidenceErased { parts: 1 }]);
    for erased in [vec![], vec![KeyId([8; 8])]] {
        let report = verify(&frames(&erased), Some(Ring::default()));
        let missing = Problem::EvidenceKeyMissing { key: KEY, parts: 1 };
        assert_eq!(problems(&report), [missing]);
        assert!(!report.passed());
    }
}

/// Saying that something was sealed with a key which is gone hides nothing.
#[test]
fn the_key_that_a_part_names_can_not_be_exchanged() {
    let other = KeyId([8; 8]);
    let mut frames = frames(&[other]);
    let text = |key: KeyId| format!("\"key\":\"{key}\"");
    for (_, evidence) in &mut frames {
        let stored = String::from_utf8(evidence.clone()).unwrap();
        *evidence = stored.replace(&text(KEY), &text(other)).into_bytes();
    }
    assert!(!verify(&frames, Some(ring())).passed());
}

#[test]
fn other_details_under_the_right_key_are_found() {
    let mut frames = frames(&[]);
    let (_, stored) = frames
        .iter_mut()
        .find(|(_, stored)| stored.windows(6).any(|some| some == b"sealed"))
        .unwrap();
    *stored = sealed(&json!({ "envelope": "another" })).to_bytes();
    assert!(!verify(&frames, Some(ring())).passed());
}
