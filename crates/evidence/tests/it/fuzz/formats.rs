//! Formats without signatures: frames, leaves, evidence, tiles and bundles.

use countersign_core::canonical::json_to_canonical;
use countersign_evidence::{
    evidence::Evidence,
    frame::{Decoder, Frame, Step, encode},
    leaf::Leaf,
    merkle::Tree,
    tile::{self, Edge, Kind, Name},
};

use super::turned;

/// The frames of a journal and what comes after the last.
fn frames(bytes: &[u8]) -> (Vec<Frame<'_>>, Step<'_>, u64) {
    let mut decoder = Decoder::new(bytes, 0);
    let mut frames = Vec::new();
    loop {
        match decoder.step() {
            Step::Frame(frame) => frames.push(frame),
            end => {
                assert_eq!(decoder.step(), end, "the end stays the end");
                return (frames, end, decoder.offset());
            }
        }
    }
}

pub(super) fn frame(bytes: &[u8]) -> bool {
    let (found, end, offset) = frames(bytes);
    let mut again = Vec::new();
    for frame in &found {
        encode(*frame, &mut again).expect("what was read can be written");
    }
    assert!(bytes.starts_with(&again));
    assert_eq!(u64::try_from(again.len()).ok(), Some(offset));
    match end {
        Step::End => assert_eq!(again.len(), bytes.len()),
        Step::Incomplete { at } => assert_eq!(at, offset),
        Step::Corrupt(corrupt) => assert_eq!(corrupt.at, offset),
        Step::Frame(_) => panic!("a frame is no end"),
    }
    // A piece of it has the same frames as far as it goes, and is never damaged where it is not.
    let (part, at_end, _) = frames(bytes.get(..bytes.len() / 2).expect("the first half"));
    assert!(found.starts_with(&part));
    let damaged = |step: &Step<'_>| matches!(step, Step::Corrupt(_));
    assert!(damaged(&end) || !damaged(&at_end));
    for changed in turned(&again) {
        assert_ne!(frames(&changed).0, found);
    }
    !found.is_empty()
}

pub(super) fn leaf(bytes: &[u8]) -> bool {
    let Ok(leaf) = Leaf::parse(bytes) else {
        return false;
    };
    assert_eq!(leaf.to_bytes().as_deref(), Ok(bytes));
    let value = serde_json::from_slice(bytes).expect("a leaf is JSON");
    assert_eq!(json_to_canonical(&value).as_deref(), Ok(bytes));
    for changed in turned(bytes) {
        assert_ne!(Leaf::parse(&changed).ok().as_ref(), Some(&leaf));
    }
    true
}

pub(super) fn evidence(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::parse(bytes) else {
        return false;
    };
    assert_eq!(evidence.to_bytes(), bytes);
    let commitment = evidence.commitment();
    for changed in turned(bytes) {
        // What is sealed can be changed unnoticed by whoever has no key.
        if let Ok(other) = Evidence::parse(&changed) {
            assert!(other.commitment() != commitment || other.withheld() == evidence.withheld());
        }
    }
    true
}

/// A name in a line of its own, and what it names.
fn named(bytes: &[u8]) -> Option<(Name, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (name, content) = bytes.split_at_checked(end)?;
    let text = std::str::from_utf8(name).ok()?;
    let name: Name = text.parse().ok()?;
    assert_eq!(name.to_string(), text);
    assert_eq!(name.is_full(), name.width() == tile::WIDTH);
    Some((name, content.get(1..)?))
}

pub(super) fn tile(bytes: &[u8]) -> bool {
    let Some((name, content)) = named(bytes) else {
        return false;
    };
    let fits = content.len() == usize::from(name.width()) * 32;
    let read = tile::hashes(name, content);
    assert_eq!(read.is_ok(), fits);
    let Ok(hashes) = read else {
        return false;
    };
    assert_eq!(tile::to_bytes(&hashes), content);
    // As leaves they give the same root either way, and are read back from what is published.
    let (mut edge, mut tree) = (Edge::default(), Tree::new());
    for hash in &hashes {
        edge.push(*hash);
        tree.push(*hash);
    }
    assert_eq!(edge.root(), tree.root());
    let files: Vec<_> = edge.partial().collect();
    let read = |name: Name| {
        let file = files.iter().find(|(known, _)| *known == name)?;
        Some(file.1.clone())
    };
    let again = Edge::read(edge.size(), read).expect("every partial tile is there");
    assert_eq!(again.root(), edge.root());
    assert_eq!(Tree::from_bytes(&tree.to_bytes()), Ok(tree));
    true
}

pub(super) fn bundle(bytes: &[u8]) -> bool {
    let Some((name, content)) = named(bytes) else {
        return false;
    };
    let Ok(entries) = tile::entries(name, content) else {
        return false;
    };
    assert_eq!(entries.len(), usize::from(name.width()));
    let mut again = Vec::new();
    for entry in &entries {
        assert!(tile::push_entry(&mut again, entry));
    }
    assert_eq!(again, content);
    // Of another width it is not a bundle.
    let wider = Name::of(Kind::Entries, name.index(), name.width() + 1);
    assert!(wider.is_none_or(|wider| tile::entries(wider, content).is_err()));
    true
}
