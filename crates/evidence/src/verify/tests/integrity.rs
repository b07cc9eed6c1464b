//! What somebody without the log's key does, and what hides records with it.

use super::{build::*, check, *};
use crate::{
    body::{Body, Counters},
    checkpoint::InvalidCheckpoint,
    evidence::InvalidEvidence,
    frame::{Corrupt, Damage},
    key::SigningKey,
    leaf::InvalidLeaf,
    note::InvalidNote,
};

fn verify(frames: &[(Vec<u8>, Vec<u8>)], checkpoint: &str) -> Vec<Problem> {
    let report = verify_journal(&journal(frames), trust(), checkpoint.as_bytes(), &[]);
    report
        .findings
        .into_iter()
        .map(|finding| finding.problem)
        .collect()
}

#[test]
fn a_flipped_bit_in_any_byte_is_found() {
    let mut log = good();
    log.0.truncate(9);
    let frames = log.frames();
    let (bytes, note) = (journal(&frames), checkpoint(&frames));
    let verify = |bytes: &[u8]| verify_journal(bytes, trust(), note.as_bytes(), &[]);
    assert!(verify(&bytes).passed());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!verify(&changed).passed(), "byte {at}");
    }
}

/// The attacker repairs the frames' checks, but has no key.
#[test]
fn every_changed_byte_in_a_repaired_frame_is_found() {
    let mut log = good();
    log.0.truncate(12);
    let frames = log.frames();
    let note = checkpoint(&frames);
    for entry in 0..frames.len() {
        for at in 0..frames[entry].0.len() + frames[entry].1.len() {
            let mut changed = frames.clone();
            let (leaf, evidence) = &mut changed[entry];
            match leaf.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => evidence[at - leaf.len()] ^= 1,
            }
            let report = verify_journal(&journal(&changed), trust(), note.as_bytes(), &[]);
            assert!(!report.passed(), "entry {entry}, byte {at}");
        }
    }
}

#[test]
fn cut_swapped_and_exchanged_entries_are_found() {
    let frames = good().frames();
    let (note, size) = (checkpoint(&frames), frames.len() as u64);
    let shorter = |entries| Problem::ShorterThanCheckpoint { entries, size };
    assert_eq!(verify(&frames, &note), []);
    assert_eq!(verify(&frames[..37], &note), [shorter(37)]);
    assert_eq!(verify(&[], &note), [shorter(0)]);

    let mut swapped = frames.clone();
    swapped.swap(23, 27);
    assert!(verify(&swapped, &note).contains(&Problem::RootMismatch { size }));
    let mut exchanged = frames.clone();
    exchanged[11].1 = frames[10].1.clone();
    let refused = Problem::EvidenceRefused(InvalidEvidence::Commitment);
    assert_eq!(verify(&exchanged, &note), [refused]);
    exchanged[11].1.clear();
    assert_eq!(verify(&exchanged, &note), [Problem::EvidenceMissing]);
    exchanged[11].1 = frames[11].1.clone();
    exchanged[0].1 = b"{}".to_vec();
    assert_eq!(verify(&exchanged, &note), [Problem::EvidenceUnexpected]);

    let mut spaced = frames.clone();
    spaced[37].0.push(b' ');
    let refused = Problem::LeafRefused(InvalidLeaf::NotCanonical);
    assert_eq!(verify(&spaced, &checkpoint(&spaced)), [refused]);
}

#[test]
fn checkpoints_of_others_and_of_other_logs_are_refused() {
    let frames = good().frames();
    let note = checkpoint(&frames);
    let whole = |problem| vec![problem, Problem::NotUnderCheckpoint { entries: 38 }];
    let refused = |error| whole(Problem::CheckpointRefused(error));
    let forger = SigningKey::from_seed("log.example", &[9; 32]).unwrap();
    let forged = Checkpoint::open(note.as_bytes(), log_key().verifying())
        .unwrap()
        .sign(&forger);
    let unsigned = InvalidCheckpoint::Note(InvalidNote::Unsigned);
    assert_eq!(verify(&frames, &forged.unwrap()), refused(unsigned));
    let label = log_key().verifying().label();
    let bad = InvalidCheckpoint::Note(InvalidNote::BadSignature(label));
    assert_eq!(
        verify(&frames, &note.replace("\n38\n", "\n37\n")),
        refused(bad)
    );
    assert_eq!(
        verify(&frames, ""),
        refused(InvalidCheckpoint::Note(InvalidNote::Form))
    );
}

#[test]
fn a_rewritten_past_is_found_with_an_older_checkpoint() {
    let frames = good().frames();
    let older = checkpoint(&frames[..16]);
    let mut log = good();
    log.0.truncate(37);
    log.draft(PERMITTED, 0).asked().gate = "mcp".into();
    let rewritten = log.frames();
    let note = checkpoint(&rewritten);
    let with = |older: &str, frames: &[(Vec<u8>, Vec<u8>)]| {
        let others = [older.as_bytes()];
        verify_journal(&journal(frames), trust(), note.as_bytes(), &others)
    };
    assert!(verify_journal(&journal(&rewritten), trust(), note.as_bytes(), &[]).passed());
    let mismatch = Problem::RootMismatch { size: 16 };
    assert_eq!(with(&older, &rewritten).findings[0].problem, mismatch);
    assert!(with(&checkpoint(&rewritten[..16]), &rewritten).passed());
    // A restored backup: a newer checkpoint was published already.
    let newer = checkpoint(&frames);
    let shorter = Problem::ShorterThanCheckpoint {
        entries: 37,
        size: 38,
    };
    assert_eq!(with(&newer, &rewritten).findings[0].problem, shorter);
}

#[test]
fn the_end_of_the_journal_is_told_as_it_is() {
    let frames = good().frames();
    let note = checkpoint(&frames[..37]);
    let bytes = journal(&frames);
    let last = journal(&frames[..37]).len();
    let verify = |bytes: &[u8]| verify_journal(bytes, trust(), note.as_bytes(), &[]);

    let report = verify(&bytes);
    assert_eq!(report.findings[0].entry, Some(37));
    assert_eq!(
        report.findings[0].problem,
        Problem::NotUnderCheckpoint { entries: 1 }
    );
    assert!(report.passed());
    let torn = verify(&bytes[..last + 5]);
    assert_eq!(
        torn.findings[0].problem,
        Problem::TornTail { at: last as u64 }
    );
    assert!(torn.passed());
    // What a checkpoint covers was whole once, whoever kept that checkpoint.
    for (own, kept) in [(38, &[][..]), (37, &[38][..])] {
        let note = |size| checkpoint(&frames[..size]);
        let kept: Vec<String> = kept.iter().map(|size| note(*size)).collect();
        let kept: Vec<&[u8]> = kept.iter().map(String::as_bytes).collect();
        let own = note(own);
        let cut = verify_journal(&bytes[..last + 5], trust(), own.as_bytes(), &kept);
        let inside = Problem::CutInside { at: last as u64 };
        assert_eq!(cut.findings[0].problem, inside);
        assert!(!cut.passed());
    }
    let mut damaged = bytes.clone();
    damaged[last + 30] ^= 1;
    let corrupt = Corrupt {
        at: last as u64,
        what: Damage::Content,
    };
    assert_eq!(
        verify(&damaged).findings[0].problem,
        Problem::JournalDamaged(corrupt)
    );
    assert!(!verify(&damaged).passed());
}

/// The attacker holds the log's key and leaves records out before they reach the tree.
#[test]
fn missing_records_are_found() {
    let gateway = |name: &str| -> Box<str> { name.into() };
    let frames = good().frames();
    let mut dropped = frames.clone();
    dropped.remove(26);
    let found = verify(&dropped, &checkpoint(&dropped));
    let gap = Problem::SequenceGap {
        instance: gateway("gw-1"),
        expected: 26,
        found: 27,
    };
    assert_eq!(
        found,
        [
            gap,
            Problem::PreviousMismatch {
                instance: gateway("gw-1")
            }
        ]
    );

    let exceeds = |counter, claimed, found| Problem::CounterExceedsLog {
        counter,
        claimed,
        found,
    };
    check(
        "a whole request left out",
        |log| log.0.retain(|draft| draft.request != Some(FORBIDDEN)),
        &[exceeds("denied", 1, 0), exceeds("seen", 6, 5)],
    );
    check(
        "a heartbeat that went back",
        |log| {
            let mut again = log.0[35].clone();
            again.heartbeat().held = 3;
            log.0.insert(36, again);
        },
        &[Problem::CounterWentBack {
            counter: "held",
            before: 4,
            now: 3,
        }],
    );
    check(
        "no start",
        |log| drop(log.0.remove(36)),
        &[Problem::StartMissing {
            instance: gateway("gw-2"),
        }],
    );
    check(
        "two starts",
        |log| log.0.insert(3, log.0[0].clone()),
        &[Problem::StartedTwice {
            instance: gateway("gw-1"),
        }],
    );
    check(
        "a restored database",
        |log| log.0[36].start().checkpoint_size = 37,
        &[Problem::StartBeyondLog { size: 37 }],
    );
    let hidden = Counters {
        seen: 1,
        ..Counters::default()
    };
    check(
        "another instance's records do not fill in",
        |log| log.0[37].body = Body::Heartbeat(hidden),
        &[exceeds("seen", 1, 0)],
    );
}

#[test]
fn findings_are_limited_and_still_counted() {
    let mut findings = Findings::default();
    for _ in 0..MAX_FINDINGS {
        findings.push(None, None, Problem::VotesUnchecked);
    }
    findings.push(None, None, Problem::EvidenceMissing);
    let report = findings.report(0, 0);
    assert_eq!(
        (report.findings.len(), report.unlisted_failures),
        (MAX_FINDINGS, 1)
    );
    assert!(!report.passed() && !report.holds(Area::Rules));
}
