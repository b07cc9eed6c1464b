//! Proofs that an entry is in a tree, and that a tree is the beginning of a larger one.
//!
//! In scope: making proofs from the hashes of perfect subtrees or from leaf hashes, and checking
//! them.
//! Out of scope: where hashes are stored; callers pass a function.
//! Invariant: a proof that is longer or shorter than its sizes demand is refused, whatever it
//! hashes to.
//! Specification: <https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3> and section 2.1.4 (the
//! same trees as RFC 6962, with the checks written out).

use countersign_core::canonical::Hash;

use super::{empty_root, node_hash, root_above};

/// Why a proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofUnavailable {
    /// The entry is not in a tree of that size.
    #[error("entry {index} is not in a tree of {size} entries; ask for a later checkpoint")]
    NotInTree {
        /// The entry asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} entries is not the beginning of one of {new}; swap the sizes")]
    Backwards {
        /// The older tree's size.
        old: u64,
        /// The newer tree's size.
        new: u64,
    },
    /// A hash is not at hand.
    #[error(
        "the hash of the subtree at level {level}, position {position} is missing; the journal holds fewer entries than the tree"
    )]
    Missing {
        /// Zero for leaves.
        level: u32,
        /// Counted from the left, in subtrees of that level.
        position: u64,
    },
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// The index or the sizes contradict each other.
    #[error("the proof is about an entry or a size that the tree does not have")]
    Range,
    /// The proof has another number of hashes than the sizes demand.
    #[error("the proof has {0} hashes, which does not fit the sizes")]
    Length(usize),
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root of the checkpoint")]
    Root,
}

/// Answers with the root of a perfect subtree from leaf hashes alone, in time proportional to the
/// subtree's size: `subtrees_of(leaves)(level, position)`.
pub fn subtrees_of(leaves: &[Hash]) -> impl Fn(u32, u64) -> Option<Hash> + '_ {
    move |level, position| {
        let width = 1usize.checked_shl(level)?;
        let start = usize::try_from(position).ok()?.checked_mul(width)?;
        let row = leaves.get(start..start.checked_add(width)?)?;
        Some(root_above(row.to_vec()))
    }
}

/// The proof that entry `index` is in the tree of the first `size` entries, leaf to root.
///
/// `subtree(level, position)` gives the root of the perfect subtree of `2^level` leaves at
/// `position`; use [`subtrees_of`] for a slice of leaf hashes.
///
/// # Errors
/// [`ProofUnavailable`] when `index` is outside or a hash is missing.
pub fn inclusion(
    index: u64,
    size: u64,
    subtree: &impl Fn(u32, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, ProofUnavailable> {
    if index >= size {
        return Err(ProofUnavailable::NotInTree { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(root_of(middle, end, subtree)?);
            end = middle;
        } else {
            path.push(root_of(start, middle, subtree)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` entries is the beginning of the tree of `new` entries. It is
/// empty when `old` is zero or equal to `new`.
///
/// # Errors
/// [`ProofUnavailable`] when `old` is larger than `new` or a hash is missing.
pub fn consistency(
    old: u64,
    new: u64,
    subtree: &impl Fn(u32, u64) -> Option<Hash>,
) -> Result<Vec<Hash>, ProofUnavailable> {
    if old > new {
        return Err(ProofUnavailable::Backwards { old, new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    // SUBPROOF of RFC 9162: descend until the old tree is a whole subtree.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(root_of(middle, end, subtree)?);
            end = middle;
        } else {
            path.push(root_of(start, middle, subtree)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(root_of(start, end, subtree)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the entry with hash `leaf` is entry `index` of the tree of `size` entries and `root`.
///
/// # Errors
/// [`InvalidProof`] naming what does not fit.
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: Hash,
) -> Result<(), InvalidProof> {
    if index >= size {
        return Err(InvalidProof::Range);
    }
    let length = || InvalidProof::Length(path.len());
    let (mut position, mut last) = (index, size - 1);
    let mut hash = leaf;
    for step in path {
        if last == 0 {
            return Err(length());
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(*step, hash);
            // A right edge without sibling climbs until it has one.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *step);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length());
    }
    if hash == root {
        Ok(())
    } else {
        Err(InvalidProof::Root)
    }
}

/// Checks that the tree of `old` entries and `old_root` is the beginning of the tree of `new`
/// entries and `new_root`.
///
/// The empty tree is the beginning of every tree, with an empty proof.
///
/// # Errors
/// [`InvalidProof`] naming what does not fit.
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    path: &[Hash],
) -> Result<(), InvalidProof> {
    if old > new {
        return Err(InvalidProof::Range);
    }
    if old == 0 || old == new {
        let expected = if old == new { new_root } else { empty_root() };
        let empty = old != 0 || old_root == empty_root();
        return match path {
            [] if old_root == expected && empty => Ok(()),
            [] => Err(InvalidProof::Root),
            _ => Err(InvalidProof::Length(path.len())),
        };
    }
    let length = || InvalidProof::Length(path.len());
    // A perfect old tree is its own first subtree, which the proof leaves out.
    let (seed, path_rest) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        let (seed, rest) = path.split_first().ok_or_else(length)?;
        (*seed, rest)
    };
    let trailing = (old - 1).trailing_ones();
    let (mut position, mut last) = ((old - 1) >> trailing, (new - 1) >> trailing);
    let (mut from_old, mut from_new) = (seed, seed);
    for step in path_rest {
        if last == 0 {
            return Err(length());
        }
        if position & 1 == 1 || position == last {
            from_old = node_hash(*step, from_old);
            from_new = node_hash(*step, from_new);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(from_new, *step);
        }
        position >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length());
    }
    if from_old == old_root && from_new == new_root {
        Ok(())
    } else {
        Err(InvalidProof::Root)
    }
}

/// The largest power of two smaller than `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The root over the leaves from `start` to before `end`, where `start` is a multiple of the width
/// rounded up to a power of two, as in every range that RFC 6962 forms.
fn root_of(
    mut start: u64,
    end: u64,
    subtree: &impl Fn(u32, u64) -> Option<Hash>,
) -> Result<Hash, ProofUnavailable> {
    let mut parts = Vec::new();
    while start < end {
        let level = (end - start).ilog2();
        let position = start >> level;
        let missing = ProofUnavailable::Missing { level, position };
        parts.push(subtree(level, position).ok_or(missing)?);
        start += 1 << level;
    }
    let right_to_left = parts.into_iter().rev();
    Ok(right_to_left
        .reduce(|right, left| node_hash(left, right))
        .unwrap_or_else(empty_root))
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes here are at most 130"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{
        leaf_hash,
        tests::{ROOTS, entries, root_by_definition},
    };

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    /// From the tests of Google's certificate-transparency.
    #[test]
    fn proofs_are_those_of_the_certificate_transparency_test_data() {
        let leaves: Vec<Hash> = entries().iter().map(|entry| leaf_hash(entry)).collect();
        let hex = |path: Vec<Hash>| path.iter().map(|h| h.to_hex()).collect::<Vec<_>>();
        assert_eq!(
            hex(inclusion(0, 8, &subtrees_of(&leaves)).unwrap()),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            hex(consistency(6, 8, &subtrees_of(&leaves)).unwrap()),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        for (size, root) in ROOTS.iter().enumerate().skip(1) {
            for (index, leaf) in leaves.iter().take(size).enumerate() {
                let (index, size) = (index as u64, size as u64);
                let path = inclusion(index, size, &subtrees_of(&leaves)).unwrap();
                let root = root.parse().unwrap();
                assert_eq!(verify_inclusion(*leaf, index, size, &path, root), Ok(()));
            }
        }
    }

    #[test]
    fn every_inclusion_proof_up_to_130_entries_holds_for_its_place_only() {
        let leaves = leaves(130);
        for size in 1..=130u64 {
            let root = root_by_definition(&leaves[..size as usize]);
            for index in 0..size {
                let leaf = leaves[index as usize];
                let path = inclusion(index, size, &subtrees_of(&leaves)).unwrap();
                assert_eq!(verify_inclusion(leaf, index, size, &path, root), Ok(()));
                for wrong in [index ^ 1, index + 1, index.wrapping_sub(1), size, u64::MAX] {
                    assert!(verify_inclusion(leaf, wrong, size, &path, root).is_err());
                }
            }
        }
    }

    #[test]
    fn every_consistency_proof_up_to_130_entries_holds() {
        let leaves = leaves(130);
        let roots: Vec<Hash> = (0..=130)
            .map(|size| root_by_definition(&leaves[..size]))
            .collect();
        for new in 0..=130u64 {
            for old in 0..=new {
                let (old_root, new_root) = (roots[old as usize], roots[new as usize]);
                let mut path = consistency(old, new, &subtrees_of(&leaves)).unwrap();
                let check = |path: &[Hash]| verify_consistency(old, old_root, new, new_root, path);
                assert_eq!(check(&path), Ok(()), "{old} {new}");
                path.push(Hash::of(b"more"));
                assert!(check(&path).is_err());
                path.pop();
                if path.pop().is_some() {
                    assert!(check(&path).is_err());
                }
            }
        }
    }

    #[test]
    fn edge_sizes_are_refused_or_hold_as_specified() {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        for (result, expected) in [
            (
                verify_inclusion(a, 0, 0, &[], empty_root()),
                Err(InvalidProof::Range),
            ),
            (verify_inclusion(a, 0, 1, &[], a), Ok(())),
            (
                verify_inclusion(a, 0, 1, &[b], a),
                Err(InvalidProof::Length(1)),
            ),
            (verify_inclusion(a, 1, 1, &[], a), Err(InvalidProof::Range)),
            (verify_inclusion(b, 0, 1, &[], a), Err(InvalidProof::Root)),
            (
                verify_inclusion(a, 0, 2, &[], a),
                Err(InvalidProof::Length(0)),
            ),
            (
                verify_consistency(0, empty_root(), 0, empty_root(), &[]),
                Ok(()),
            ),
            (verify_consistency(0, a, 0, a, &[]), Err(InvalidProof::Root)),
            (verify_consistency(0, empty_root(), 1, a, &[]), Ok(())),
            (
                verify_consistency(0, empty_root(), 1, a, &[b]),
                Err(InvalidProof::Length(1)),
            ),
            (verify_consistency(0, b, 1, a, &[]), Err(InvalidProof::Root)),
            (verify_consistency(1, a, 1, a, &[]), Ok(())),
            (verify_consistency(1, a, 1, b, &[]), Err(InvalidProof::Root)),
            (
                verify_consistency(1, a, 1, a, &[b]),
                Err(InvalidProof::Length(1)),
            ),
            (
                verify_consistency(2, a, 1, a, &[]),
                Err(InvalidProof::Range),
            ),
            (verify_consistency(1, a, 2, node_hash(a, b), &[b]), Ok(())),
        ] {
            assert_eq!(result, expected);
        }
        let none = |_, _| None;
        assert!(inclusion(1, 1, &none).is_err());
        assert!(inclusion(0, 2, &none).is_err());
        assert_eq!(inclusion(0, 1, &none), Ok(vec![]));
        assert!(consistency(2, 1, &none).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_proof_is_refused(
            size in 2u64..=130,
            pick in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            flip in 0usize..256,
        ) {
            let leaves = leaves(130);
            let root = root_by_definition(&leaves[..size as usize]);
            let index = pick.index(size as usize);
            let mut path = inclusion(index as u64, size, &subtrees_of(&leaves)).unwrap();
            let at = at.index(path.len());
            path[at].0[flip / 8] ^= 1 << (flip % 8);
            let result = verify_inclusion(leaves[index], index as u64, size, &path, root);
            prop_assert_eq!(result, Err(InvalidProof::Root));
        }

        #[test]
        fn a_changed_consistency_proof_is_refused(
            new in 2u64..=130,
            pick in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            flip in 0usize..256,
        ) {
            let leaves = leaves(130);
            let root = |size: u64| root_by_definition(&leaves[..size as usize]);
            let old = pick.index(new as usize - 1) as u64 + 1;
            let mut path = consistency(old, new, &subtrees_of(&leaves)).unwrap();
            let at = at.index(path.len());
            path[at].0[flip / 8] ^= 1 << (flip % 8);
            let result = verify_consistency(old, root(old), new, root(new), &path);
            prop_assert_eq!(result, Err(InvalidProof::Root));
        }
    }
}
