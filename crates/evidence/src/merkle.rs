//! The Merkle tree of RFC 6962, grown one leaf at a time.
//!
//! In scope: leaf and node hashes, the incremental [`Tree`], and its bytes for resuming.
//! Out of scope: proofs ([`proof`]) and storing leaves.
//! Invariant: a [`Tree`] of size `n` holds exactly one hash per bit set in `n`: the roots of the
//! perfect subtrees that make it up, largest first.
//! Specification: <https://www.rfc-editor.org/rfc/rfc6962#section-2.1>.

pub mod proof;

use countersign_core::canonical::Hash;

/// `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash::of_parts(&[&[0x00], entry])
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    let mut node = [0x01; 65];
    let [_, halves @ ..] = &mut node;
    let (to_left, to_right) = halves.split_at_mut(32);
    to_left.copy_from_slice(&left.0);
    to_right.copy_from_slice(&right.0);
    Hash::of(&node)
}

/// The root of a tree without leaves, `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::of(b"")
}

/// The root of the perfect tree above a row of hashes, a power of two of them.
pub(crate) fn root_above(mut row: Vec<Hash>) -> Hash {
    while let [_, _, ..] = row.as_slice() {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs
            .iter()
            .map(|[left, right]| node_hash(*left, *right))
            .collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// Why bytes are not a tree's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the saved tree state is damaged: {0} bytes do not fit its size; rebuild it from the journal"
)]
pub struct InvalidTree(usize);

/// A growing tree: its size and the roots along its right edge, at most 64 hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf, given as [`leaf_hash`] of its entry.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        // Every trailing one bit of the size is a perfect subtree as large as what grew so far.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                root = node_hash(left, root);
            }
        }
        self.edge.push(root);
        self.size = self.size.saturating_add(1);
    }

    /// The root hash over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let right_to_left = self.edge.iter().rev().copied();
        right_to_left
            .reduce(|right, left| node_hash(left, right))
            .unwrap_or_else(empty_root)
    }

    /// The tree as bytes: its size as 8 bytes big-endian, then 32 bytes per hash, largest subtree
    /// first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.edge.iter().flat_map(|hash| hash.0));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// The bytes carry no checksum: compare the root with a signed checkpoint before relying on it.
    ///
    /// # Errors
    /// [`InvalidTree`] when the number of bytes does not fit the size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidTree> {
        let invalid = || InvalidTree(bytes.len());
        let (size, hashes) = bytes.split_first_chunk::<8>().ok_or_else(invalid)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, rest) = hashes.as_chunks::<32>();
        let fits = u32::try_from(hashes.len()).is_ok_and(|count| count == size.count_ones());
        if !fits || !rest.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            size,
            edge: hashes.iter().copied().map(Hash).collect(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The eight entries of the Certificate Transparency test data.
    pub(crate) fn entries() -> Vec<Vec<u8>> {
        vec![
            vec![],
            vec![0x00],
            vec![0x10],
            vec![0x20, 0x21],
            vec![0x30, 0x31],
            vec![0x40, 0x41, 0x42, 0x43],
            (0x50..=0x57).collect(),
            (0x60..=0x6f).collect(),
        ]
    }

    /// The roots of the trees over the first 0 to 8 of [`entries`].
    pub(crate) const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_the_certificate_transparency_test_data() {
        let mut tree = Tree::new();
        assert_eq!(tree.root().to_hex(), ROOTS[0]);
        for (entry, root) in entries().iter().zip(&ROOTS[1..]) {
            tree.push(leaf_hash(entry));
            assert_eq!(tree.root().to_hex(), *root);
        }
    }

    /// The definition of section 2.1, written down literally.
    pub(crate) fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(root_by_definition(left), root_by_definition(right))
            }
        }
    }

    #[test]
    fn a_tree_of_any_size_has_the_root_of_the_definition_and_resumes() {
        let leaves: Vec<Hash> = (0..=130u8).map(|i| leaf_hash(&[i])).collect();
        let mut tree = Tree::new();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), root_by_definition(&leaves[..size]), "{size}");
            tree = Tree::from_bytes(&tree.to_bytes()).unwrap();
            tree.push(*leaf);
        }
    }

    proptest! {
        #[test]
        fn saved_trees_of_the_wrong_length_are_refused(size in 0u64..300, bytes in 0usize..400) {
            let mut saved = size.to_be_bytes().to_vec();
            saved.extend(vec![0; bytes]);
            let fits = bytes == 32 * size.count_ones() as usize;
            prop_assert_eq!(Tree::from_bytes(&saved).is_ok(), fits);
        }
    }
}
