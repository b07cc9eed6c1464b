//! What a command of `countersign log` was given, before anything in it is believed.
//!
//! In scope: telling a record from a receipt, a checkpoint, a key and what is nothing of the kind.
//! Out of scope: whether it holds.
//! Invariant: nothing but regular files is ever opened, so that nothing waits for a pipe or a
//! device. What was named by mistake is a wrong command line, never a finding about a record.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use countersign_evidence::{checkpoint::Checkpoint, key::VerifyingKey};

use super::{folder, receipt::FIRST_LINE};
use crate::cli::failure::Failure;

/// With which every frame of a journal begins.
const FRAME: u8 = 0xC1;
/// As much of a file as tells what it is.
const BEGINNING: u64 = 4_096;

/// Passes a path that names a record: a directory with a log in it, a journal, or a receipt.
///
/// # Errors
/// It is something else, which the failure names.
pub(super) fn record(path: &Path) -> Result<(), Failure> {
    if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        let journal = folder(path).join("journal");
        return match journal.exists() {
            true => regular(&journal),
            false => Err(wrong(
                path,
                "is a directory without a log: it has no journal",
            )),
        };
    }
    regular(path)?;
    // One that is called so lies among a log's files; if it begins otherwise, it is damaged.
    let journal = path.file_name().is_some_and(|name| name == "journal");
    let beginning = beginning(path)?;
    if journal || matches!(beginning.first(), None | Some(&FRAME)) {
        return Ok(());
    }
    if beginning.starts_with(FIRST_LINE) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&beginning);
    let what = match Checkpoint::peek(&beginning) {
        Ok(checkpoint) => format!(
            "is a checkpoint of the log `{}`; it goes with `--checkpoint`, beside the log",
            checkpoint.origin
        ),
        Err(_) if text.trim().parse::<VerifyingKey>().is_ok() => {
            "is a verifier key; it goes with `--key` or `--vote-key`, beside the log".into()
        }
        Err(_) => "is no log: it begins with no record".into(),
    };
    Err(wrong(path, &what))
}

fn beginning(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(BEGINNING).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// Opens a regular file.
///
/// # Errors
/// It is none, or can't be opened.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    regular(path)?;
    File::open(path).map_err(|error| unreadable(path, &error))
}

/// Reads a regular file.
///
/// # Errors
/// It is none, or can't be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    regular(path)?;
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Passes a regular file.
///
/// # Errors
/// There is none, or it is something else.
pub(super) fn regular(path: &Path) -> Result<(), Failure> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(wrong(path, "does not exist"));
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(wrong(path, &format!("is {what}, and a file is needed")))
}

/// A file of a log that can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => wrong(path, "does not exist"),
        _ => wrong(path, &format!("can't be read: {error}")),
    }
}

fn wrong(path: &Path, what: &str) -> Failure {
    Failure::usage(format!("`{}` {what}", path.display())).next(
        "name the gateway's data directory, its `log` directory, the journal in it, a receipt, or a \
         gateway's address",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::testing::{data, signer};

    /// The failure of a path: always a wrong command line.
    fn refused(path: &Path) -> String {
        let failure = record(path).unwrap_err();
        assert_eq!(failure.exit, 64);
        failure.title
    }

    #[test]
    fn what_is_no_record_is_told_apart() {
        let data = data(&[(b"leaf".to_vec(), Vec::new())]);
        let log = data.path().join("log");
        for good in [data.path(), &log, &log.join("journal")] {
            assert_eq!(record(good), Ok(()), "{}", good.display());
        }
        let file = |name: &str, text: &str| {
            let path = data.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key = signer(7).verifying().to_string();
        for (path, says) in [
            (data.path().join("nowhere"), "does not exist"),
            (file("x.png", "\u{89}PNG"), "is no log"),
            (log.join("checkpoint"), "is a checkpoint of the log"),
            (log.join("key.pub"), "is a verifier key"),
            (file("key.txt", &format!("{key}\n")), "is a verifier key"),
            (std::env::temp_dir().join("."), "without a log"),
            ("/dev/null".into(), "is a device"),
        ] {
            let title = refused(&path);
            assert!(title.contains(says), "{title}");
        }
        // A damaged journal is one all the same, and what is empty has no records yet.
        let damaged = log.join("journal");
        fs::write(&damaged, "x").unwrap();
        assert_eq!(record(&damaged), Ok(()));
        assert_eq!(record(&file("empty", "")), Ok(()));
    }

    #[test]
    fn nothing_waits_for_a_pipe() {
        let data = data(&[]);
        let pipe = data.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(&pipe).contains("is a pipe"));
        let key = data.path().join("log/key.pub");
        fs::remove_file(&key).unwrap();
        fs::rename(&pipe, &key).unwrap();
        assert!(read(&key).unwrap_err().title.contains("is a pipe"));
    }
}
