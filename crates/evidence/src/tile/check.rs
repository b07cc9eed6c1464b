//! Whether the published tiles of a whole log lead to its root.
//!
//! In scope: every tile of hashes, one after the other, in the order of [`all_of`](super::all_of).
//! Out of scope: fetching them; what the entries say.
//! Invariant: a tile that is not made of the tiles below it is named. Memory is that of the roots of
//! one level of tiles.

use countersign_core::canonical::Hash;

use super::{Edge, HEIGHT_OF_ALL, InvalidTile, Kind, Name, WIDTH, hashes, root_above};

/// Checks tiles of hashes as they come.
#[derive(Debug, Default)]
pub struct TileCheck {
    level: u8,
    /// The roots of the full tiles one level below.
    below: Vec<Hash>,
    /// The roots of the full tiles of this level.
    roots: Vec<Hash>,
    /// The hashes of each level's tile that is not full.
    edge: Vec<Vec<Hash>>,
}

impl TileCheck {
    /// Takes the next tile; bundles of entries are passed over.
    ///
    /// # Errors
    /// [`InvalidTile`] when it has another width, or is not made of the tiles below it.
    pub fn take(&mut self, name: Name, bytes: &[u8]) -> Result<(), InvalidTile> {
        let Kind::Hashes(level) = name.kind() else {
            return Ok(());
        };
        while self.level < level {
            self.up();
        }
        let row = hashes(name, bytes)?;
        if level > 0 {
            let start = usize::try_from(name.index().saturating_mul(WIDTH.into()));
            let start = start.unwrap_or(usize::MAX);
            let made = self.below.get(start..start.saturating_add(row.len()));
            if made != Some(row.as_slice()) {
                return Err(InvalidTile::NotMadeOfBelow(name));
            }
        }
        match row.len() == usize::from(WIDTH) {
            true => self.roots.push(root_above(row)),
            false => self.partial(row),
        }
        Ok(())
    }

    fn partial(&mut self, row: Vec<Hash>) {
        let level = usize::from(self.level);
        self.edge.resize(level + 1, Vec::new());
        if let Some(slot) = self.edge.get_mut(level) {
            *slot = row;
        }
    }

    fn up(&mut self) {
        self.below = std::mem::take(&mut self.roots);
        self.level += 1;
    }

    /// The root that the tiles of a log of `size` entries lead to, after the last of them.
    #[must_use]
    pub fn root(mut self, size: u64) -> Hash {
        let levels = (0..HEIGHT_OF_ALL).take_while(|level| size >> (super::HEIGHT * level) > 0);
        self.edge.resize(levels.count(), Vec::new());
        let edge = Edge {
            levels: self.edge,
            size,
        };
        edge.root()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{merkle::leaf_hash, tile::all_of};

    fn published(size: u64) -> (BTreeMap<String, Vec<u8>>, Hash) {
        let (mut edge, mut files) = (Edge::default(), BTreeMap::new());
        for n in 0..size {
            for (name, bytes) in edge.push(leaf_hash(&n.to_be_bytes())) {
                files.insert(name.to_string(), bytes);
            }
        }
        for (name, bytes) in edge.partial() {
            files.insert(name.to_string(), bytes);
        }
        (files, edge.root())
    }

    fn check(size: u64, files: &BTreeMap<String, Vec<u8>>) -> Result<Hash, InvalidTile> {
        let mut check = TileCheck::default();
        for name in all_of(size) {
            if let Some(bytes) = files.get(&name.to_string()) {
                check.take(name, bytes)?;
            }
        }
        Ok(check.root(size))
    }

    #[test]
    fn published_tiles_lead_to_the_root() {
        for size in [
            0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000,
        ] {
            let (files, root) = published(size);
            assert_eq!(check(size, &files), Ok(root), "{size}");
        }
    }

    #[test]
    fn a_changed_tile_leads_elsewhere_and_is_named_where_another_is_made_of_it() {
        let (files, root) = published(70_000);
        for (changed, bytes) in &files {
            let mut files = files.clone();
            let mut bytes = bytes.clone();
            let place = 40 % bytes.len();
            bytes[place] ^= 1;
            files.insert(changed.clone(), bytes);
            let found = check(70_000, &files);
            assert_ne!(found, Ok(root), "{changed}");
            // The full ones have a tile above them, which does not fit any more.
            if changed.starts_with("tile/0/") && !changed.contains(".p") {
                assert!(
                    matches!(found, Err(InvalidTile::NotMadeOfBelow(_))),
                    "{changed}"
                );
            }
        }
    }
}
