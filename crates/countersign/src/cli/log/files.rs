//! The files of a log on disk.
//!
//! In scope: finding and reading them.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use countersign_evidence::{
    frame::{Decoder, Frame, MAX_EVIDENCE_BYTES, MAX_LEAF_BYTES, OVERHEAD_BYTES, Step},
    key::VerifyingKey,
};

use crate::cli::failure::Failure;

/// How much is read at once; at least one whole frame fits.
pub(super) const PIECE: usize = MAX_LEAF_BYTES + MAX_EVIDENCE_BYTES + OVERHEAD_BYTES;

/// The directory with the log's files.
pub(super) fn folder(path: &Path) -> PathBuf {
    if path.is_file() {
        return path
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_owned);
    }
    let inside = path.join("log");
    if inside.is_dir() {
        inside
    } else {
        path.to_owned()
    }
}

pub(super) fn missing(folder: &Path, name: &str, option: &str) -> Failure {
    Failure::usage(format!("`{}` can't be read", folder.join(name).display())).next(format!(
        "name the gateway's data directory, or give the key with `{option}`"
    ))
}

/// A key, given as its text or as a file that has it.
pub(super) fn key(given: &str) -> Result<VerifyingKey, Failure> {
    let path = Path::new(given.trim());
    let text = match path.is_file() {
        true => fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("`{given}` can't be read: {error}")))?,
        false => given.to_owned(),
    };
    text.trim()
        .parse()
        .map_err(|error| Failure::usage(format!("a key can't be used: {error}")))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::usage(format!("`{}` can't be read: {error}", path.display()))
            .next("name the gateway's data directory, its `log` directory or the journal in it")
    })
}

/// Gives every frame of the journal to `each`, holding at most two pieces in memory; then what the
/// bytes after the last whole frame are.
pub(super) fn frames(
    journal: &Path,
    piece: usize,
    mut each: impl FnMut(Frame<'_>),
    ended: impl FnOnce(Step<'_>),
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("`{}` can't be read: {error}", journal.display()))
    };
    let mut file = File::open(journal).map_err(failed)?;
    let (mut bytes, mut offset) = (Vec::new(), 0_u64);
    let limit = u64::try_from(piece).unwrap_or(u64::MAX);
    loop {
        let read = (&mut file)
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let mut decoder = Decoder::new(&bytes, offset);
        let end = loop {
            match decoder.step() {
                Step::Frame(frame) => each(frame),
                end => break end,
            }
        };
        let more_could_follow = matches!(end, Step::Incomplete { .. } | Step::End);
        if read == 0 || !more_could_follow {
            ended(end);
            return Ok(());
        }
        let used = decoder.offset().saturating_sub(offset);
        offset = decoder.offset();
        bytes.drain(..usize::try_from(used).unwrap_or(usize::MAX).min(bytes.len()));
    }
}
