//! Published tiles and bundles beside the journal.

use std::collections::BTreeMap;

use super::{build::*, *};
use crate::{
    body::{Body, Counters},
    merkle::leaf_hash,
    tile::{self, Edge, Kind},
};

type Files = BTreeMap<Name, Vec<u8>>;
/// Leaf and evidence of each entry.
type Frames = Vec<(Vec<u8>, Vec<u8>)>;

/// A log with two full tiles and a partial one, and its published files.
fn published() -> (Frames, Files) {
    let mut log = good();
    while log.0.len() < 600 {
        log.0
            .insert(36, control(Body::Heartbeat(Counters::default())));
    }
    log.0
        .retain(|draft| !matches!(draft.body, Body::Heartbeat(counters) if counters.seen > 0));
    let frames = log.frames();
    let (mut edge, mut files) = (Edge::default(), Files::new());
    for (leaf, _) in &frames {
        files.extend(edge.push(leaf_hash(leaf)));
    }
    files.extend(edge.partial());
    let size = u64::try_from(frames.len()).unwrap();
    for name in tile::all_of(size).filter(|name| name.kind() == Kind::Entries) {
        let first = usize::try_from(name.index()).unwrap() * 256;
        let mut bundle = Vec::new();
        for (leaf, _) in frames.iter().skip(first).take(usize::from(name.width())) {
            assert!(tile::push_entry(&mut bundle, leaf));
        }
        files.insert(name, bundle);
    }
    (frames, files)
}

fn verify(frames: &[(Vec<u8>, Vec<u8>)], note: &str, files: &Files) -> Vec<Problem> {
    let files = files.clone();
    let mut verifier = Verifier::new(trust(), note.as_bytes(), &[])
        .with_tiles(move |name| files.get(&name).cloned());
    let journal = journal(frames);
    let mut decoder = Decoder::new(&journal, 0);
    while let Step::Frame(frame) = decoder.step() {
        verifier.entry(frame);
    }
    let findings = verifier.finish().findings.into_iter();
    findings.map(|found| found.problem).collect()
}

#[test]
fn every_file_is_compared_and_named() {
    let (frames, files) = published();
    let note = checkpoint(&frames);
    assert_eq!(verify(&frames, &note, &files), [], "the control");
    assert_eq!(files.len(), 3 + 3 + 1);
    for name in files.keys().copied() {
        for turn in [0, files[&name].len() / 2, files[&name].len() - 1] {
            let mut changed = files.clone();
            changed.get_mut(&name).unwrap()[turn] ^= 1;
            let found = verify(&frames, &note, &changed);
            assert_eq!(found, [Problem::TileDiffers { name }]);
        }
        let mut changed = files.clone();
        changed.get_mut(&name).unwrap().push(0);
        assert_eq!(
            verify(&frames, &note, &changed),
            [Problem::TileDiffers { name }]
        );
        changed.remove(&name);
        assert_eq!(
            verify(&frames, &note, &changed),
            [Problem::TileMissing { name }]
        );
    }
}

#[test]
fn a_partial_file_may_be_gone_for_its_full_one() {
    let (frames, files) = published();
    let older = checkpoint(&frames[..500]);
    let gap = Problem::NotUnderCheckpoint { entries: 99 };
    assert_eq!(frames.len(), 599);
    let mut then = files.clone();
    assert_eq!(
        verify(&frames, &older, &then)[1..],
        *std::slice::from_ref(&gap),
        "tile/1/000.p/1 is missing"
    );
    // What was published for the older checkpoint and does not become full.
    let first = &files[&"tile/1/000.p/2".parse::<Name>().unwrap()][..32];
    then.insert("tile/1/000.p/1".parse().unwrap(), first.to_vec());
    assert_eq!(verify(&frames, &older, &then), [gap]);
    let full: Name = "tile/0/001".parse().unwrap();
    then.get_mut(&full).unwrap()[0] ^= 1;
    assert!(verify(&frames, &older, &then).contains(&Problem::TileDiffers { name: full }));
}
