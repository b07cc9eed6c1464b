//! Why inputs are refused.
//!
//! In scope: one variant a refusal, each saying what was wrong and what to do next.
//! Out of scope: how a refusal is told to a caller.
//! Invariant: names that somebody else chose are shown with their hidden characters written out.

use std::io;

use countersign_core::canonical::Hash;

use super::MAX_ENTRIES;
use crate::quote::reveal;

/// Why inputs can't be captured, received, kept or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A name that is not accepted.
    #[error("`{path}` can't be captured: {why}")]
    Path {
        /// The name, revealed.
        path: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Two entries with one name.
    #[error("`{path}` is there twice: give each bind a name of its own")]
    Duplicate {
        /// The name, revealed.
        path: String,
    },
    /// Neither file, directory nor symbolic link, or one with special rights.
    #[error(
        "`{path}` is a {kind}: only plain files, directories and symbolic links can be captured; leave it out"
    )]
    Kind {
        /// The name, revealed.
        path: String,
        /// What it is.
        kind: String,
    },
    /// A symbolic link that could mean something else elsewhere.
    #[error("the link `{path}` to `{target}` can't be captured: {why}")]
    Link {
        /// The name, revealed.
        path: String,
        /// Where it points, revealed.
        target: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// More entries than allowed.
    #[error(
        "there are more than {MAX_ENTRIES} files, directories and links: bind less, or keep only what is needed"
    )]
    TooMany,
    /// More content than allowed.
    #[error(
        "the files are larger than {limit} bytes together: bind less, or keep only what is needed"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Written to while it was captured.
    #[error("`{path}` changed while it was read: try again when nothing writes to it")]
    Changed {
        /// The name, revealed.
        path: String,
    },
    /// Not an archive that is accepted.
    #[error("the archive is refused: {why}")]
    Archive {
        /// What is wrong with it.
        why: String,
    },
    /// Stored content that is not what its name says.
    #[error(
        "the stored inputs {expected} have been altered: their content is {found}; ask again with fresh inputs"
    )]
    Altered {
        /// The digest under which they were stored.
        expected: Hash,
        /// The digest of what is there, or what is wrong with it.
        found: String,
    },
    /// Nothing is stored under this digest.
    #[error("no inputs {0} are stored here: ask again with fresh inputs")]
    NotStored(Hash),
    /// The target's own files meet a captured directory of the same name.
    #[error(
        "the target's own file `{path}` would replace a captured directory: bind it under another name"
    )]
    InTheWay {
        /// The name, revealed.
        path: String,
    },
    /// The system refused.
    #[error("can't {doing} `{path}`")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what, revealed.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl InputError {
    pub(super) fn path(path: &str, why: &'static str) -> Self {
        Self::Path {
            path: reveal(path),
            why,
        }
    }

    pub(super) fn link(path: &str, target: &str, why: &'static str) -> Self {
        Self::Link {
            path: reveal(path),
            target: reveal(target),
            why,
        }
    }

    pub(super) fn kind(path: &str, kind: impl Into<String>) -> Self {
        Self::Kind {
            path: reveal(path),
            kind: kind.into(),
        }
    }

    pub(super) fn changed(path: &str) -> Self {
        Self::Changed { path: reveal(path) }
    }

    pub(super) fn archive(why: impl Into<String>) -> Self {
        Self::Archive { why: why.into() }
    }

    /// For `map_err`: what was being done, to which file.
    pub(super) fn io<E: Into<io::Error>>(
        doing: &'static str,
        path: &str,
    ) -> impl FnOnce(E) -> Self {
        let path = reveal(path);
        move |source| Self::Io {
            doing,
            path,
            source: source.into(),
        }
    }
}
