//! Names of tiles and entry bundles below a log's prefix.
//!
//! In scope: writing and reading them.
//! Invariant: what reads is written again as it was; other ways to write a number are refused.
//! Specification: <https://c2sp.org/tlog-tiles>, *Merkle Tree* and *Log entries*.

use std::{fmt, str::FromStr};

use super::WIDTH;

/// The highest level that can be named.
const MAX_LEVEL: u8 = 63;

/// What a resource holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of a level; level 0 has the leaves.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// The name of a tile or bundle, such as `tile/0/x001/067` or `tile/entries/000.p/9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    kind: Kind,
    index: u64,
    width: u16,
}

/// Why a text names no tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` names no tile; names look like `tile/0/x001/067`, `tile/entries/000.p/9`", .0.escape_debug())]
pub struct InvalidName(String);

impl Name {
    /// The full tile at `index` of its level.
    #[must_use]
    pub fn full(kind: Kind, index: u64) -> Self {
        Self {
            kind,
            index,
            width: WIDTH,
        }
    }

    /// A tile of `width` hashes or entries; `None` unless there are 1 to [`WIDTH`].
    #[must_use]
    pub fn of(kind: Kind, index: u64, width: u16) -> Option<Self> {
        (1..=WIDTH)
            .contains(&width)
            .then_some(Self { kind, index, width })
    }

    /// What it holds.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Its place within its level.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has.
    #[must_use]
    pub fn width(self) -> u16 {
        self.width
    }

    /// Whether it has all it will ever have.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.width == WIDTH
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}")?,
            Kind::Entries => f.write_str("tile/entries")?,
        }
        let mut elements = vec![self.index % 1_000];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            elements.push(rest % 1_000);
            rest /= 1_000;
        }
        for (left, element) in elements.iter().enumerate().rev() {
            let mark = if left > 0 { "x" } else { "" };
            write!(f, "/{mark}{element:03}")?;
        }
        if self.is_full() {
            return Ok(());
        }
        write!(f, ".p/{}", self.width)
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = read(text).filter(|name| name.to_string() == text);
        read.ok_or_else(|| InvalidName(text.chars().take(80).collect()))
    }
}

/// Reads a name generously; the caller compares with how it is written.
fn read(text: &str) -> Option<Name> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => Kind::Entries,
        level => Kind::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
    };
    let (path, width) = match rest.split_once(".p/") {
        Some((path, width)) => (path, width.parse().ok().filter(|width| *width < WIDTH)?),
        None => (rest, WIDTH),
    };
    let mut index: u64 = 0;
    for element in path.split('/') {
        let digits: u64 = element.trim_start_matches('x').parse().ok()?;
        index = index.checked_mul(1_000)?.checked_add(digits)?;
    }
    Name::of(kind, index, width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let named = |kind, index, width| Name::of(kind, index, width).unwrap().to_string();
        assert_eq!(
            named(Kind::Hashes(0), 1_234_067, 256),
            "tile/0/x001/x234/067"
        );
        assert_eq!(named(Kind::Hashes(2), 0, 1), "tile/2/000.p/1");
        assert_eq!(named(Kind::Entries, 273, 112), "tile/entries/273.p/112");
        assert_eq!(named(Kind::Entries, 1_000, 256), "tile/entries/x001/000");
        assert_eq!(Name::of(Kind::Entries, 0, 0), None);
        assert_eq!(Name::of(Kind::Entries, 0, 257), None);
    }

    #[test]
    fn other_ways_to_write_a_name_are_refused() {
        for bad in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/xx01/002",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "/tile/0/000",
            "tile//000",
            "tile/0/../000",
            "tile/data/000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/000\n",
            "tile/entries/x/000",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(level in prop::option::of(0u8..=63), index: u64, width in 1u16..=256) {
            let kind = level.map_or(Kind::Entries, Kind::Hashes);
            let name = Name::of(kind, index, width).unwrap();
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn what_reads_is_written_the_same(text in "(tile/|)[0-9x/.pe]{0,16}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
