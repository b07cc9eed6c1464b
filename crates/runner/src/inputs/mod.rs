//! Inputs by content: what a command works on travels as bytes, never as names.
//!
//! In scope: packing files on the caller's side ([`pack()`]), strictly reading what a caller sent
//! ([`receive()`]), keeping it under its digest ([`InputStore`]), and unpacking it again for a run.
//! Out of scope: owners, times, extended attributes and finer permissions than "executable"; they
//! are not captured. Names that differ only in case or Unicode normalisation are different names.
//! Invariant: a [`Manifest`] is recomputed from content wherever content changes hands, and its
//! digest names content and structure completely. No link is ever followed while reading from a
//! caller's tree or writing into a run's directory (P2).
//!
//! All functions here block on files; call them from a blocking thread.

mod archive;
mod dirfd;
mod error;
mod glob;
mod manifest;
mod overlay;
mod pack;
mod path;
mod receive;
mod store;
mod summary;
mod unpack;

pub use error::InputError;
pub use glob::{Glob, InvalidGlob};
pub use manifest::{Entry, Manifest};
pub use overlay::{Overlaid, overlay};
pub use pack::{Bind, Keep, LeftOut, Packed, pack};
pub use path::MAX_DEPTH;
pub use receive::{Received, receive};
pub use store::InputStore;
pub use summary::{Listed, Summary};

/// The most files, directories and links that inputs can have.
pub const MAX_ENTRIES: usize = 20_000;

/// How much may be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum of the sizes of all files, in bytes.
    pub total_bytes: u64,
}

impl Default for Limits {
    /// 64 MiB.
    fn default() -> Self {
        Self {
            total_bytes: 64 << 20,
        }
    }
}

/// Whom unpacked files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}
