//! `countersign agent key`: a key that an agent or a workload proves itself with.
//!
//! In scope: making one, and showing what of it belongs into the configuration.
//! Out of scope: making it count; that is a change of the bundle, which others countersign.
//! Invariant: the private half goes into a file of its owner alone, and is never shown.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use serde_json::json;

use super::{failure::Failure, identity::new_pair, output::Output};

/// Makes a key pair; the private half goes to `file`, which must not be there yet.
///
/// # Errors
/// The file can't be written.
pub(crate) fn run(file: &PathBuf, output: &mut Output) -> Result<u8, Failure> {
    let (private, public) = new_pair()?;
    let shown = file.display().to_string();
    let failed = |error: std::io::Error| {
        Failure::new("key", format!("`{shown}` can't be written: {error}"))
            .next("name a file that is not there yet, in a directory that is")
    };
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    opened
        .write_all(private.as_bytes())
        .and_then(|()| opened.sync_all())
        .map_err(failed)?;
    let made = json!({ "private": shown, "public": public });
    output.result(&made, |_, _| {
        format!(
            "The private key is in {shown}. Into the table of the agent or workload in countersign.toml:\n\n  \
             keys = ['{public}']\n\nthen: countersign policy apply"
        )
    })?;
    Ok(0)
}
