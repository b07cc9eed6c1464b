//! Streams after the log they followed ended and another one began.
//!
//! In scope: putting what streams kept aside, and having them begin with the new log's first record.
//! Out of scope: files of events, which stay where collectors find them.
//! Invariant: nothing of the new log is skipped, whatever the stream's `start` says, and no place in
//! the old log is taken for one in the new. It can be repeated until it is done.

use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{follow::Place, keep};
use crate::durable;

/// Has every stream in `streams` begin anew; `aside` gets what they kept.
///
/// # Errors
/// A file can't be moved or written.
pub(crate) fn begin_anew(streams: &Path, aside: &Path) -> anyhow::Result<()> {
    let there = match fs::read_dir(streams) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("`{}` can't be read", streams.display()));
        }
    };
    let start = Place::default();
    let beginnings = [
        (
            "ocsf.json",
            Some(json!({ "next": start, "before": null, "about_from": start })),
        ),
        (
            "webhook.json",
            Some(json!({ "next": start, "before": null, "pending": [] })),
        ),
        (
            "otlp.json",
            Some(json!({ "next": start, "before": null, "pending": [] })),
        ),
        ("dead.jsonl", None),
    ];
    for entry in there {
        let own = entry?.path();
        let Some(name) = own.file_name().filter(|_| own.is_dir()) else {
            continue;
        };
        for (file, beginning) in &beginnings {
            one(&own, &aside.join(name), file, beginning.as_ref())?;
        }
    }
    Ok(())
}

/// Moves one file aside and writes what is to be in its place.
fn one(own: &Path, aside: &Path, file: &str, beginning: Option<&Value>) -> anyhow::Result<()> {
    let (kept, moved) = (own.join(file), aside.join(file));
    if kept.exists() && !moved.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(aside)?;
        fs::rename(&kept, &moved)
            .with_context(|| format!("`{}` can't be moved", kept.display()))?;
        durable::sync_name(&moved)?;
    }
    match beginning.filter(|_| moved.exists()) {
        Some(beginning) => keep::replace(&kept, beginning),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_begin_with_the_first_record_and_keep_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let (streams, aside) = (dir.path().join("streams"), dir.path().join("aside"));
        begin_anew(&streams, &aside).unwrap();
        let siem = streams.join("siem");
        fs::create_dir_all(siem.join("files")).unwrap();
        for file in ["ocsf.json", "otlp.json", "dead.jsonl", "files/events.jsonl"] {
            fs::write(siem.join(file), "old").unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        // As often as a crash may have it.
        for _ in 0..2 {
            begin_anew(&streams, &aside).unwrap();
            assert_eq!(read(&aside.join("siem/ocsf.json")), "old");
            assert_eq!(read(&aside.join("siem/dead.jsonl")), "old");
            assert_eq!(read(&siem.join("files/events.jsonl")), "old");
            for begun in ["ocsf.json", "otlp.json"] {
                assert!(read(&siem.join(begun)).contains("\"index\":0"));
            }
            assert!(!siem.join("dead.jsonl").exists());
            assert!(!siem.join("webhook.json").exists());
        }
    }
}
