//! Proofs, receipts and whole journals.

use countersign_core::canonical::Hash;
use countersign_evidence::{
    checkpoint::Checkpoint,
    frame::{Decoder, Step},
    merkle::{
        Tree, leaf_hash,
        proof::{
            InvalidProof, consistency, inclusion, subtrees_of, verify_consistency, verify_inclusion,
        },
    },
    receipt::Receipt,
    tile,
    verify::{Area, verify_journal, verify_receipt},
};

use super::{part, trust, turned};

/// An index and two sizes, and hashes: as leaves of a tree, and as proofs of anything else.
pub(super) fn proof(bytes: &[u8]) -> bool {
    let Some((numbers, rest)) = bytes.split_first_chunk::<24>() else {
        return false;
    };
    let (numbers, _) = numbers.as_chunks::<8>();
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|eight| u64::from_be_bytes(*eight))
        .collect();
    let (hashes, _) = rest.as_chunks::<32>();
    let hashes: Vec<Hash> = hashes.iter().copied().map(Hash).collect();
    let ([index, size, old], [first, ..]) = (numbers.as_slice(), hashes.as_slice()) else {
        return false;
    };
    check_any(*index, *size, *old, &hashes);
    let count = u64::try_from(hashes.len()).expect("a length");
    check_tree(&hashes, index % count);
    check_beginning(&hashes, 1 + old % count);
    // Even a path of made-up hashes leads somewhere, if it has the right length.
    let path = hashes.get(1..).unwrap_or_default();
    let refused = verify_inclusion(*first, *index, *size, path, *first);
    match refused {
        Err(InvalidProof::Root) => {
            let longer = [path, &[*first]].concat();
            let refused = verify_inclusion(*first, *index, *size, &longer, *first);
            assert_eq!(refused, Err(InvalidProof::Length(longer.len())));
        }
        Err(InvalidProof::Range) => assert!(index >= size),
        Err(InvalidProof::Length(found)) => assert_eq!(found, path.len()),
        Ok(()) => assert_eq!((*size, path.len()), (1, 0)),
    }
    true
}

/// Trees of any size, without any of their tiles or with something in every place.
fn check_any(index: u64, size: u64, old: u64, path: &[Hash]) {
    let none = tile::subtrees_of(size, |_| None);
    assert!(inclusion(index, size, &none).is_err() || size == 1);
    let any = |level: u32, position: u64| {
        let (level, position) = (level.to_be_bytes(), position.to_be_bytes());
        Some(Hash::of_parts(&[&level, &position]))
    };
    let proven = inclusion(index, size, &any);
    assert_eq!(proven.is_ok(), index < size);
    assert!(proven.is_ok_and(|path| path.len() <= 64) || index >= size);
    let continued = consistency(old, size, &any);
    assert_eq!(continued.is_ok(), old <= size);
    assert!(continued.is_ok_and(|path| path.len() <= 65) || old > size);
    for root in path {
        let held = verify_consistency(old, *root, size, *root, path);
        assert!(held.is_err() || old == size);
    }
}

/// `hashes` with one bit turned, a few times.
fn turned_hashes(hashes: &[Hash]) -> Vec<Vec<Hash>> {
    let bytes = tile::to_bytes(hashes);
    let changed = turned(&bytes);
    let hashes = changed.map(|changed| {
        let (hashes, _) = changed.as_chunks::<32>();
        hashes.iter().copied().map(Hash).collect()
    });
    hashes.collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

fn check_tree(leaves: &[Hash], index: u64) {
    let size = u64::try_from(leaves.len()).expect("a length");
    let path = inclusion(index, size, &subtrees_of(leaves)).expect("it is in the tree");
    let leaf = usize::try_from(index).ok().and_then(|at| leaves.get(at));
    let all = [
        &[*leaf.expect("it is in the tree"), root(leaves)],
        &path[..],
    ]
    .concat();
    let holds = |all: &[Hash]| {
        let [leaf, root, path @ ..] = all else {
            return false;
        };
        verify_inclusion(*leaf, index, size, path, *root).is_ok()
    };
    assert!(holds(&all));
    assert!(!turned_hashes(&all).iter().any(|changed| holds(changed)));
}

fn check_beginning(leaves: &[Hash], old: u64) {
    let size = u64::try_from(leaves.len()).expect("a length");
    let path = consistency(old, size, &subtrees_of(leaves)).expect("it is a beginning");
    let before = usize::try_from(old).ok().and_then(|old| leaves.get(..old));
    let roots = [root(before.expect("it is a beginning")), root(leaves)];
    let all = [&roots, &path[..]].concat();
    let holds = |all: &[Hash]| {
        let [before, now, path @ ..] = all else {
            return false;
        };
        verify_consistency(old, *before, size, *now, path).is_ok()
    };
    assert!(holds(&all));
    assert!(!turned_hashes(&all).iter().any(|changed| holds(changed)));
}

pub(super) fn receipt(bytes: &[u8]) -> bool {
    let Some(receipt) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Receipt::parse(text).ok())
    else {
        return false;
    };
    assert_eq!(
        receipt.to_text().map(String::into_bytes).as_deref(),
        Some(bytes)
    );
    let report = verify_receipt(&receipt, &trust());
    if !report.holds(Area::Integrity) {
        return false;
    }
    let log = trust().log;
    let under = |text: &str| Checkpoint::open(text.as_bytes(), &log).ok();
    let checkpoint = under(&receipt.checkpoint).expect("it holds");
    for changed in turned(bytes) {
        let read = std::str::from_utf8(&changed).ok().map(Receipt::parse);
        let Some(Ok(other)) = read else { continue };
        if verify_receipt(&other, &trust()).passed() {
            // Only a stranger's signature line can differ.
            assert_eq!(
                (&other.request, &other.entries),
                (&receipt.request, &receipt.entries)
            );
            assert_eq!(under(&other.checkpoint).as_ref(), Some(&checkpoint));
        }
    }
    true
}

/// A checkpoint, with its length before it, and a journal.
pub(super) fn journal(bytes: &[u8]) -> bool {
    let Some((note, journal)) = part(bytes) else {
        return false;
    };
    let report = verify_journal(journal, trust(), note, &[]);
    if !report.passed() {
        return false;
    }
    let checkpoint = Checkpoint::open(note, &trust().log).expect("it passed");
    let (mut tree, mut decoder) = (Tree::new(), Decoder::new(journal, 0));
    while tree.size() < checkpoint.size {
        let Step::Frame(frame) = decoder.step() else {
            panic!("entries are missing and it passed")
        };
        tree.push(leaf_hash(frame.leaf));
    }
    assert_eq!(tree.root(), checkpoint.root);
    // A bit of any frame under the checkpoint.
    let covered = usize::try_from(decoder.offset()).expect("a length");
    let (covered, after) = journal.split_at(covered);
    for mut changed in turned(covered) {
        changed.extend_from_slice(after);
        assert!(!verify_journal(&changed, trust(), note, &[]).passed());
    }
    !covered.is_empty()
}
