//! Verifier keys and checkpoints, as an auditor keeps them.
//!
//! In scope: reading them from options, from files, and from beside a record.
//! Out of scope: what they show.
//! Invariant: a file that is not what it was given as is a wrong command line, never a finding
//! about the record.

use std::{path::Path, sync::Arc};

use countersign_evidence::{
    checkpoint::Checkpoint, evidence::sealing::KeySource, key::VerifyingKey, verify::Rotation,
};

use super::{folder, read};
use crate::{cli::failure::Failure, vault};

/// The keys of a file beside the record; `None` without such a file.
pub(super) fn kept_beside(path: &Path) -> Result<Option<Vec<VerifyingKey>>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read(path)?;
    keys(
        &String::from_utf8_lossy(&bytes),
        &path.display().to_string(),
    )
    .map(Some)
}

/// The keys of an option, which holds one or names a file.
pub(super) fn given_keys(option: &str, given: &str) -> Result<Vec<VerifyingKey>, Failure> {
    let path = Path::new(given);
    if path.exists() {
        let bytes = read(path)?;
        return keys(&String::from_utf8_lossy(&bytes), given);
    }
    // No verifier key goes without a plus sign, and few names of files have one.
    match given.contains('+') {
        true => keys(given, option),
        false => Err(no_key(option, &format!("there is no file `{given}`"))),
    }
}

/// Keys, one a line.
fn keys(text: &str, from: &str) -> Result<Vec<VerifyingKey>, Failure> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Result<Vec<VerifyingKey>, _> = lines.map(str::parse).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        Ok(_none) => Err(no_key(from, "it is empty")),
        Err(error) => Err(no_key(from, &error.to_string())),
    }
}

fn no_key(from: &str, why: &str) -> Failure {
    Failure::usage(format!("`{from}` holds no verifier key: {why}"))
        .next("give what `countersign log key` prints, like gate.example.com+1a2b3c4d+AQ…, or a file with it")
}

pub(super) fn one(keys: Vec<VerifyingKey>, from: &str) -> Result<VerifyingKey, Failure> {
    match <[VerifyingKey; 1]>::try_from(keys) {
        Ok([key]) => Ok(key),
        Err(_several) => Err(no_key(from, "it has several, and a log has one")),
    }
}

/// A checkpoint that the auditor kept. One that is none, or of another log, says nothing about
/// this record; one of this log whose signature fails does.
pub(super) fn kept_checkpoint(path: &Path, log: &VerifyingKey) -> Result<Vec<u8>, Failure> {
    let wrong = |what: String| {
        Failure::usage(format!("`{}` is {what}", path.display())).next(format!(
            "give a file as `countersign log checkpoint` printed it for `{}`",
            log.name()
        ))
    };
    let bytes = read(path)?;
    let checkpoint =
        Checkpoint::peek(&bytes).map_err(|error| wrong(format!("no checkpoint: {error}")))?;
    match checkpoint.origin == log.name() {
        true => Ok(bytes),
        false => {
            let other = checkpoint.origin;
            let refused = wrong(format!("a checkpoint of the log `{other}`"));
            Err(match is_former(&other, log.name()) {
                true => refused.next(began_after(&other)),
                false => refused,
            })
        }
    }
}

/// Whether the log of the name `log` began after `other`, or after one that did, as far as names tell.
pub(super) fn is_former(other: &str, log: &str) -> bool {
    let parts = |name: &str| {
        let mut parts = name.splitn(3, '/').map(str::to_owned);
        let first = (parts.next(), parts.next());
        let epoch = parts.next().unwrap_or_default();
        let number = epoch.split('-').next().and_then(|text| text.parse().ok());
        (first, number.unwrap_or(1_u32))
    };
    let ((other, before), (log, after)) = (parts(other), parts(log));
    other == log && before < after
}

/// What to do with a key or checkpoint of a former log.
pub(super) fn began_after(former: &str) -> String {
    format!(
        "this log begins in the place of `{former}` and does not continue it; verify that one, which \
         is kept beside it as log.1, log.2 …, with what you kept of it, and this one with its own key"
    )
}

/// Refuses a key of another log than the one that a checkpoint is of, as it says itself; nothing was
/// verified then.
pub(super) fn check_same_log(checkpoint: &[u8], key: &VerifyingKey) -> Result<(), Failure> {
    match other_log(checkpoint, key) {
        Some((title, next)) => Err(Failure::usage(title).next(next)),
        None => Ok(()),
    }
}

/// Which two logs a key and a checkpoint are of, and what to do, where they are not of one.
pub(super) fn other_log(checkpoint: &[u8], key: &VerifyingKey) -> Option<(String, String)> {
    let named = key.name();
    let origin = Checkpoint::peek(checkpoint).ok()?.origin;
    if origin == named {
        return None;
    }
    // Nobody signed for it.
    let origin = origin.escape_debug().to_string();
    let title = format!("the key is of the log `{named}`, and this is of `{origin}`");
    let next = match (is_former(named, &origin), is_former(&origin, named)) {
        (true, _) => began_after(named),
        (_, true) => format!(
            "`{named}` was begun in the place of this one (`countersign log new-epoch`) and does not \
             continue it; verify this one with the key that you kept of `{origin}`, which is also \
             `key.pub` in log.1, log.2 … beside the data of the new one"
        ),
        _ => format!(
            "give the key of `{origin}`, as `countersign log key` printed it there; nothing was verified"
        ),
    };
    Some((title, next))
}

/// The changes of the log's key that lead from `key` to the one of today, as far as both keys of each
/// signed it. A key of today leads nowhere.
pub(super) fn rotations_from(folder: &Path, key: &VerifyingKey) -> Result<Vec<Rotation>, Failure> {
    let (mut found, mut current) = (Vec::new(), key.clone());
    for number in 1_u32.. {
        let path = folder.join(format!("rotation.{number}"));
        if !path.exists() {
            break;
        }
        let rotation = follow(&read(&path)?, &current);
        found.extend(rotation.inspect(|rotation| current = rotation.to.clone()));
    }
    Ok(found)
}

/// The change in one file, when it is from `from`: the new key, then the checkpoint that both signed.
fn follow(bytes: &[u8], from: &VerifyingKey) -> Option<Rotation> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (to, note) = text.split_once('\n')?;
    let to: VerifyingKey = to.parse().ok()?;
    let checkpoint = Checkpoint::open(note.as_bytes(), from).ok()?;
    let by_both = Checkpoint::open(note.as_bytes(), &to).ok();
    (by_both.as_ref() == Some(&checkpoint) && to != *from).then_some(Rotation {
        checkpoint,
        from: from.clone(),
        to,
    })
}

/// The keys of the evidence beside a log; `None` where there are none, as with a copy of the log alone.
///
/// # Errors
/// They are there and can't be read.
pub(super) fn evidence_keys(path: &Path) -> Result<Option<Arc<dyn KeySource>>, Failure> {
    let folder = folder(path);
    let Some(data) = folder.parent() else {
        return Ok(None);
    };
    let path = data.join("keys").join(crate::keys::EVIDENCE);
    vault::reader(&path).map_err(|error| {
        let title = format!("the keys in `{}` can't be read: {error:#}", path.display());
        Failure::new("log", title).next("run it as the user that the gateway runs as")
    })
}
