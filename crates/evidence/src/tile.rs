//! Tiles: the log as static files that anybody can fetch, cache and check.
//!
//! In scope: the names of tiles and entry bundles, their bytes, what they are at every size of a
//! growing log, and the roots of subtrees read back from them.
//! Out of scope: where the files are kept and when they are published.
//! Invariant: a name is written in one way. A full tile never changes; a partial one is the
//! beginning of every wider one of its place.
//! Specification: <https://c2sp.org/tlog-tiles>.

mod check;
mod name;

pub use check::TileCheck;
pub use name::{InvalidName, Kind, Name};

use countersign_core::canonical::Hash;

use crate::merkle::{empty_root, node_hash, root_above};

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u16 = 256;
/// Levels of the tree that one tile spans.
const HEIGHT: u32 = 8;
/// The most bytes of an entry.
pub const MAX_ENTRY: usize = 65_535;

/// Why bytes are not a tile's or a bundle's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTile {
    /// Too many or too few bytes for its name.
    #[error("`{name}` has {bytes} bytes, which does not fit its width")]
    Length {
        /// The tile or bundle.
        name: Name,
        /// How many bytes it has.
        bytes: usize,
    },
    /// A bundle ends within an entry, or goes on after its last.
    #[error(
        "`{name}` does not hold exactly the entries of its name; entry {entry} is cut or too many"
    )]
    Entry {
        /// The bundle.
        name: Name,
        /// Counted from the start of the bundle.
        entry: u16,
    },
    /// A tile that is needed is not at hand.
    #[error("`{0}` is missing; fetch or restore it")]
    Missing(Name),
    /// A tile of another one.
    #[error("`{0}` is not made of the tiles below it; it or one of them was changed")]
    NotMadeOfBelow(Name),
    /// The tiles are not those of the checkpoint.
    #[error("the tiles do not lead to the root of the checkpoint")]
    Root,
}

/// The hashes of a tile.
///
/// # Errors
/// [`InvalidTile::Length`] unless there are exactly as many as the name says.
pub fn hashes(name: Name, bytes: &[u8]) -> Result<Vec<Hash>, InvalidTile> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != usize::from(name.width()) || !rest.is_empty() {
        let bytes = bytes.len();
        return Err(InvalidTile::Length { name, bytes });
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

/// The bytes of a tile.
#[must_use]
pub fn to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Appends an entry to a bundle; an entry of more than [`MAX_ENTRY`] bytes is not, and `false` is
/// the answer.
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else {
        return false;
    };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle.
///
/// # Errors
/// [`InvalidTile::Entry`] unless there are exactly as many as the name says.
pub fn entries(name: Name, bundle: &[u8]) -> Result<Vec<&[u8]>, InvalidTile> {
    let mut rest = bundle;
    let mut found = Vec::with_capacity(usize::from(name.width()));
    for entry in 0..name.width() {
        let cut = InvalidTile::Entry { name, entry };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(cut.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (one, after) = after.split_at_checked(length).ok_or(cut)?;
        found.push(one);
        rest = after;
    }
    if rest.is_empty() {
        Ok(found)
    } else {
        let entry = name.width();
        Err(InvalidTile::Entry { name, entry })
    }
}

/// The right edge of a log's tiles: what is not yet in full ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// The hashes of the partial tile of each level, less than [`WIDTH`].
    levels: Vec<Vec<Hash>>,
    size: u64,
}

impl Edge {
    /// How many entries there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf's hash. Gives the tiles that became full by it, lowest level first.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Name, Vec<u8>)> {
        self.size += 1;
        let mut full = Vec::new();
        let mut hash = leaf;
        for level in 0..=u8::MAX {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(at) else {
                break;
            };
            row.push(hash);
            if row.len() < usize::from(WIDTH) {
                break;
            }
            let row = std::mem::take(row);
            let index = (self.size >> (HEIGHT * (u32::from(level) + 1))) - 1;
            full.push((Name::full(Kind::Hashes(level), index), to_bytes(&row)));
            hash = root_above(row);
        }
        full
    }

    /// The partial tiles, lowest level first.
    pub fn partial(&self) -> impl Iterator<Item = (Name, Vec<u8>)> + '_ {
        let levels = (0..=u8::MAX).zip(&self.levels);
        levels.filter_map(|(level, row)| {
            let index = self.size.checked_shr(HEIGHT * (u32::from(level) + 1));
            let width = u16::try_from(row.len()).ok()?;
            let name = Name::of(Kind::Hashes(level), index.unwrap_or(0), width)?;
            Some((name, to_bytes(row)))
        })
    }

    /// The hashes of the leaves that are in no full tile.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut root = None;
        // From right to left: the perfect subtrees of each row, smallest first, then those of the
        // rows above, which are larger and further left.
        for row in &self.levels {
            let mut rest = row.as_slice();
            while !rest.is_empty() {
                let (left, last) = rest.split_at(rest.len() & (rest.len() - 1));
                let subtree = root_above(last.to_vec());
                root = Some(root.map_or(subtree, |right| node_hash(subtree, right)));
                rest = left;
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// This, when it leads to `root`.
    ///
    /// # Errors
    /// [`InvalidTile::Root`] when it leads to another.
    pub fn leading_to(self, root: Hash) -> Result<Self, InvalidTile> {
        if self.root() == root {
            Ok(self)
        } else {
            Err(InvalidTile::Root)
        }
    }

    /// The edge of a log of `size` entries, whose partial tiles `read` gives.
    ///
    /// # Errors
    /// [`InvalidTile`] when one is missing or has another width.
    pub fn read(size: u64, read: impl Fn(Name) -> Option<Vec<u8>>) -> Result<Self, InvalidTile> {
        let mut levels = Vec::new();
        for name in partial_of(size) {
            levels.push(match name {
                Some(name) => hashes(name, &read(name).ok_or(InvalidTile::Missing(name))?)?,
                None => Vec::new(),
            });
        }
        Ok(Self { levels, size })
    }
}

/// The partial tile of each level of a log of `size` entries; `None` where all are full.
fn partial_of(size: u64) -> impl Iterator<Item = Option<Name>> {
    let levels = (0..HEIGHT_OF_ALL).take_while(move |level| size >> (HEIGHT * level) > 0);
    levels.map(move |level| {
        let count = size >> (HEIGHT * level);
        let width = u16::try_from(count % u64::from(WIDTH)).ok()?;
        let kind = Kind::Hashes(u8::try_from(level).ok()?);
        Name::of(kind, count / u64::from(WIDTH), width)
    })
}

/// Levels of tiles that 64 bits of size can have.
const HEIGHT_OF_ALL: u32 = u64::BITS / HEIGHT;

/// Every tile that a log of `size` entries has, bundles included.
pub fn all_of(size: u64) -> impl Iterator<Item = Name> {
    let width = u64::from(WIDTH);
    let kinds = (0..HEIGHT_OF_ALL).filter_map(|level| Some((level, u8::try_from(level).ok()?)));
    let kinds = kinds.map(|(level, number)| (level, Kind::Hashes(number)));
    let kinds = std::iter::once((0, Kind::Entries)).chain(kinds);
    kinds.flat_map(move |(level, kind)| {
        let count = size >> (HEIGHT * level);
        let full = (0..count / width).map(move |index| Name::full(kind, index));
        let rest = u16::try_from(count % width).ok();
        full.chain(rest.and_then(|rest| Name::of(kind, count / width, rest)))
    })
}

/// Answers with the root of the perfect subtree of `2^level` leaves at `position`, as proofs need
/// it, from the tiles of a log of `size` entries: `subtrees_of(size, read)(level, position)`.
///
/// `read` gives a tile's bytes. What it gives is not checked against anything; a proof made of it
/// is.
pub fn subtrees_of(
    size: u64,
    read: impl Fn(Name) -> Option<Vec<u8>>,
) -> impl Fn(u32, u64) -> Option<Hash> {
    move |level, position| {
        let (tiles, above) = (level / HEIGHT, level % HEIGHT);
        let count = size.checked_shr(HEIGHT * tiles)?;
        let first = position.checked_shl(above)?;
        let index = first / u64::from(WIDTH);
        let width = (count - index.checked_mul(u64::from(WIDTH))?.min(count)).min(WIDTH.into());
        let kind = Kind::Hashes(u8::try_from(tiles).ok()?);
        let name = Name::of(kind, index, u16::try_from(width).ok()?)?;
        let row = hashes(name, &read(name)?).ok()?;
        let start = usize::try_from(first % u64::from(WIDTH)).ok()?;
        let row = row.get(start..start.checked_add(1 << above)?)?;
        Some(root_above(row.to_vec()))
    }
}

#[cfg(test)]
mod tests;
