//! Tiles at every size that matters, read back, and tampered with.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::merkle::{
    Tree, leaf_hash,
    proof::{consistency, inclusion, verify_consistency, verify_inclusion},
};

/// A log's files, written as it grows: full tiles when they are, partial ones at `sizes`.
fn grown(upto: u64, sizes: &[u64]) -> (HashMap<Name, Vec<u8>>, HashMap<u64, Hash>) {
    let (mut files, mut roots) = (HashMap::new(), HashMap::new());
    let (mut edge, mut tree) = (Edge::default(), Tree::new());
    for n in 0..=upto {
        if sizes.contains(&n) {
            files.extend(edge.partial());
            roots.insert(n, tree.root());
        }
        let leaf = leaf_hash(&n.to_be_bytes());
        files.extend(edge.push(leaf));
        tree.push(leaf);
        if n < 1_000 || n % 4_099 == 0 {
            assert_eq!(edge.root(), tree.root(), "{n}");
        }
    }
    (files, roots)
}

const SIZES: [u64; 9] = [0, 1, 255, 256, 257, 511, 65_535, 65_536, 65_537];

#[test]
fn tiles_prove_every_size() {
    let (files, roots) = grown(65_537, &SIZES);
    for size in SIZES {
        let read = |name: Name| files.get(&name).cloned();
        let subtrees = subtrees_of(size, read);
        for index in [0, 1, 254, 255, 256, 510, 65_534, 65_535, 65_536] {
            let proof = inclusion(index, size, &subtrees);
            if index >= size {
                assert!(proof.is_err());
                continue;
            }
            let leaf = leaf_hash(&index.to_be_bytes());
            let path = proof.unwrap_or_else(|error| panic!("{index} of {size}: {error}"));
            verify_inclusion(leaf, index, size, &path, roots[&size]).unwrap();
        }
        for old in SIZES.into_iter().filter(|old| *old <= size) {
            let path = consistency(old, size, &subtrees).unwrap();
            verify_consistency(old, roots[&old], size, roots[&size], &path).unwrap();
        }
    }
}

#[test]
fn the_edge_is_read_back_from_its_partial_tiles() {
    let (files, _) = grown(65_537, &SIZES);
    for size in SIZES {
        let mut edge = Edge::default();
        for n in 0..size {
            edge.push(leaf_hash(&n.to_be_bytes()));
        }
        let read = Edge::read(size, |name| files.get(&name).cloned()).unwrap();
        assert_eq!(
            read.partial().collect::<Vec<_>>(),
            edge.partial().collect::<Vec<_>>()
        );
        let next = leaf_hash(b"next");
        let (mut read, mut edge) = (read, edge);
        assert_eq!(read.push(next), edge.push(next), "{size}");
    }
}

#[test]
fn a_log_of_70_000_has_the_tiles_that_the_specification_counts() {
    let names: Vec<Name> = all_of(70_000).collect();
    let of = |kind, full| {
        let found = names
            .iter()
            .filter(|n| n.kind() == kind && n.is_full() == full);
        found.map(|name| name.width()).collect::<Vec<_>>()
    };
    assert_eq!(of(Kind::Hashes(0), true).len(), 273);
    assert_eq!(of(Kind::Hashes(0), false), [112]);
    assert_eq!(of(Kind::Hashes(1), true).len(), 1);
    assert_eq!(of(Kind::Hashes(1), false), [17]);
    assert_eq!(of(Kind::Hashes(2), true).len(), 0);
    assert_eq!(of(Kind::Hashes(2), false), [1]);
    assert_eq!(of(Kind::Entries, true).len(), 273);
    assert_eq!(of(Kind::Entries, false), [112]);
    let names: Vec<String> = all_of(256).map(|name| name.to_string()).collect();
    assert_eq!(names, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(all_of(0).count(), 0);
}

#[test]
fn a_changed_or_missing_tile_proves_nothing() {
    let (mut files, roots) = grown(300, &[300]);
    let name = Name::full(Kind::Hashes(0), 0);
    let proof = |files: &HashMap<Name, Vec<u8>>| {
        inclusion(
            299,
            300,
            &subtrees_of(300, |name| files.get(&name).cloned()),
        )
    };
    let leaf = leaf_hash(&299u64.to_be_bytes());
    let holds = |path: &[Hash]| verify_inclusion(leaf, 299, 300, path, roots[&300]).is_ok();
    assert!(holds(&proof(&files).unwrap()));
    // The tile above has the root of tile 0, so that is where a change is felt.
    let above: Name = "tile/1/000.p/1".parse().unwrap();
    files.get_mut(&above).unwrap()[7] ^= 1;
    assert!(!holds(&proof(&files).unwrap()));
    files.get_mut(&above).unwrap().push(0);
    assert!(proof(&files).is_err(), "a tile of another width");
    files.remove(&above);
    assert!(proof(&files).is_err());
    assert!(hashes(name, &[0; 8_191]).is_err());
    assert!(hashes(name, &[0; 8_192]).is_ok());
}

proptest! {
    #[test]
    fn bundles_read_back(entries_in in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=256)) {
        let mut bundle = Vec::new();
        for entry in &entries_in {
            prop_assert!(push_entry(&mut bundle, entry));
        }
        let width = u16::try_from(entries_in.len()).unwrap();
        let name = Name::of(Kind::Entries, 0, width).unwrap();
        prop_assert_eq!(entries(name, &bundle).unwrap(), entries_in);
        bundle.push(0);
        prop_assert!(entries(name, &bundle).is_err());
        bundle.truncate(bundle.len() - 2);
        prop_assert!(entries(name, &bundle).is_err());
    }
}

#[test]
fn an_entry_has_at_most_65_535_bytes() {
    let mut bundle = Vec::new();
    assert!(push_entry(&mut bundle, &vec![1; MAX_ENTRY]));
    let before = bundle.len();
    assert!(!push_entry(&mut bundle, &vec![1; MAX_ENTRY + 1]));
    assert_eq!(bundle.len(), before);
    let name = Name::of(Kind::Entries, 0, 1).unwrap();
    assert_eq!(entries(name, &bundle).unwrap()[0].len(), MAX_ENTRY);
}
