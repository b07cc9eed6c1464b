//! Whether the published tiles and bundles are those of the journal.
//!
//! In scope: every tile and bundle that the checkpoint needs, against what the journal's entries make.
//! Out of scope: reading them; whether the journal is the one that was signed, which its root tells.
//! Invariant: one changed byte of one of them leads to a finding that names it.
//! Specification: <https://c2sp.org/tlog-tiles>.

use super::Problem;
use crate::tile::{self, Edge, Kind, Name, WIDTH};

/// Gives the bytes of a tile or bundle; `None` where there is none.
pub(super) type Read = Box<dyn Fn(Name) -> Option<Vec<u8>>>;

/// Compares as the journal is read.
pub(super) struct Tiles {
    read: Read,
    /// How many entries the checkpoint has.
    covered: u64,
    /// The entries of the bundle that is not full yet.
    bundle: Vec<u8>,
}

impl std::fmt::Debug for Tiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tiles({})", self.covered)
    }
}

impl Tiles {
    pub(super) fn new(covered: u64, read: Read) -> Self {
        Self {
            read,
            covered,
            bundle: Vec::new(),
        }
    }

    /// Takes the next entry, which led to `edge` and completed tiles, and compares them.
    pub(super) fn entry(
        &mut self,
        entry: &[u8],
        completed: Vec<(Name, Vec<u8>)>,
        edge: &Edge,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        if edge.size() > self.covered {
            return problems;
        }
        let _no_longer_than_a_frame_holds = tile::push_entry(&mut self.bundle, entry);
        for (name, expected) in completed {
            problems.extend(self.compare(name, &expected));
        }
        let (size, width) = (edge.size(), u64::from(WIDTH));
        if size.is_multiple_of(width) {
            let name = Name::full(Kind::Entries, size / width - 1);
            problems.extend(self.compare(name, &self.bundle));
            self.bundle.clear();
        }
        if size == self.covered {
            let partial = u16::try_from(size % width).ok();
            let bundle = partial.and_then(|partial| Name::of(Kind::Entries, size / width, partial));
            problems.extend(bundle.and_then(|name| self.compare(name, &self.bundle)));
            let tiles = edge.partial();
            problems.extend(tiles.filter_map(|(name, expected)| self.compare(name, &expected)));
        }
        problems
    }

    fn compare(&self, name: Name, expected: &[u8]) -> Option<Problem> {
        if let Some(found) = (self.read)(name) {
            return (found != expected).then_some(Problem::TileDiffers { name });
        }
        // A partial one may be gone as soon as the full one is there, which begins like it.
        let full = Name::full(name.kind(), name.index());
        match (self.read)(full).filter(|_| !name.is_full()) {
            Some(found) if found.starts_with(expected) => None,
            Some(_) => Some(Problem::TileDiffers { name: full }),
            None => Some(Problem::TileMissing { name }),
        }
    }
}
