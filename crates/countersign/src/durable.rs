//! Names that survive a loss of power.
//!
//! In scope: syncing directories, without which a new file or a new name may be gone although its
//! content was synced.
//! Out of scope: what files say, and syncing that.
//! Invariant: what was made or renamed before a call is there after any crash that follows it.

use std::{fs::File, io, path::Path};

/// Makes the names in a directory durable.
///
/// # Errors
/// It can't be opened or synced.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    let dir = match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    };
    File::open(dir)?.sync_all()
}

/// Makes the name of a file or directory durable in the directory that it is in.
///
/// # Errors
/// That can't be opened or synced.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync)
}
