//! A log whose key changed, in the eyes of somebody who has the first one.

use super::build::*;
use crate::{
    body::*,
    checkpoint::Checkpoint,
    frame::{Decoder, Step},
    key::SigningKey,
    merkle::{Tree, leaf_hash},
    verify::{Problem, Report, Rotation, Trust, Verifier},
};

fn second_key() -> SigningKey {
    SigningKey::from_seed("log.example", &[42; 32]).unwrap()
}

fn rotated(from: &SigningKey, to: &SigningKey) -> Draft {
    control(Body::KeyRotated(KeyRotated {
        current: to.verifying().to_string(),
        previous: Some(from.verifying().to_string()),
        purpose: KeyPurpose::Log,
    }))
}

/// The log as it is verified by who has the first key, with the checkpoint of both at `size`.
fn verify(log: &Log, size: usize, covered: &[(Vec<u8>, Vec<u8>)]) -> Report {
    let frames = log.frames();
    let checkpoint = |count: usize, frames: &[(Vec<u8>, Vec<u8>)]| {
        let mut tree = Tree::new();
        for (leaf, _) in &frames[..count] {
            tree.push(leaf_hash(leaf));
        }
        Checkpoint::of("log.example", &tree)
    };
    let newest = checkpoint(frames.len(), &frames)
        .sign(&second_key())
        .unwrap();
    let trust = Trust {
        log: second_key().verifying().clone(),
        ..trust()
    };
    let rotation = Rotation {
        checkpoint: checkpoint(size, covered),
        from: log_key().verifying().clone(),
        to: second_key().verifying().clone(),
    };
    let mut verifier = Verifier::new(trust, newest.as_bytes(), &[]).after(rotation);
    let journal = journal(&frames);
    let mut decoder = Decoder::new(&journal, 0);
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

fn log() -> Log {
    let mut log = good();
    log.0.insert(3, rotated(&log_key(), &second_key()));
    log
}

#[test]
fn a_recorded_change_of_key_is_followed() {
    let log = log();
    let report = verify(&log, 6, &log.frames());
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn a_change_of_key_that_is_not_recorded_below_its_checkpoint_is_found() {
    let unrecorded = |report: Report| {
        let found = report.failures().next().map(|found| found.problem.clone());
        matches!(found, Some(Problem::RotationUnrecorded { .. }))
    };
    let log = log();
    assert!(unrecorded(verify(&log, 2, &log.frames())));
    let mut to_another = good();
    let other = SigningKey::from_seed("log.example", &[43; 32]).unwrap();
    to_another.0.insert(3, rotated(&log_key(), &other));
    assert!(unrecorded(verify(&to_another, 6, &to_another.frames())));
    let mut from_another = good();
    from_another.0.insert(3, rotated(&other, &second_key()));
    assert!(unrecorded(verify(&from_another, 6, &from_another.frames())));
}

#[test]
fn a_history_that_the_first_key_did_not_sign_is_found() {
    let (log, mut other) = (log(), good());
    other.0.insert(2, rotated(&log_key(), &second_key()));
    let report = verify(&log, 6, &other.frames());
    let found = &report.failures().next().unwrap().problem;
    assert_eq!(*found, Problem::RootMismatch { size: 6 });
}
