//! `countersign log`: the record, without asking whoever wrote it.
//!
//! In scope: finding the log's files and reading the journal one frame at a time; fetching a
//! checkpoint or key to keep; a new log in the place of one that can't be continued.
//! Out of scope: whether the record holds ([`verify`]), what it says ([`list`]), one request's part
//! of it ([`receipt`]).
//! Invariant: a few pieces of a journal are in memory, however long it is.

mod former;
mod keys;
mod list;
mod named;
mod new_epoch;
mod parallel;
mod published;
mod receipt;
mod verify;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use countersign_core::id::PersonId;
use countersign_evidence::frame::{
    Decoder, MAX_EVIDENCE_BYTES, MAX_LEAF_BYTES, OVERHEAD_BYTES, Step,
};
use serde_json::json;

use self::named::{read, unreadable};
use super::{
    client::{At, Client},
    config::Sources,
    failure::Failure,
    output::Output,
    proposal::{Waiting, carry_out},
};

/// How much is read at once; at least one whole frame fits.
const PIECE: usize = MAX_LEAF_BYTES + MAX_EVIDENCE_BYTES + OVERHEAD_BYTES;

const CHECKPOINT_EXAMPLES: &str = "\
Example:
  countersign log checkpoint > 2026-03-01.checkpoint    # keep it where the gateway can't write";
const KEY_EXAMPLES: &str = "\
Example:
  countersign log key > gate.example.com.key            # keep it where the gateway can't write
  countersign log key --votes > gate.example.com.votes.key";

const ERASE_EXAMPLES: &str = "\
Examples:
  countersign log erase dana@example.com --reason 'asked for it on 2026-03-01'

Take them out of the files first (countersign policy apply), or disable them if they were added by
request. Others may have to countersign it. Proofs and receipts hold afterwards and say `erased`;
backups, and what streams have told others, are not reached.";

/// Subcommands of `countersign log`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify a gateway's record from its files, which needs no gateway, or what one publishes
    Verify(verify::Args),
    /// List what a gateway recorded, from its files; needs no gateway
    List(list::Args),
    /// Write a receipt: what the log says of one request, with its proofs
    Prove(receipt::Args),
    /// Begin a new log in the place of one that can't be continued, after a restore
    NewEpoch(new_epoch::Args),
    /// Propose to erase a person from the record, for good
    #[command(after_help = ERASE_EXAMPLES)]
    Erase {
        /// Whom
        #[arg(value_name = "PERSON")]
        person: PersonId,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Print the latest signed checkpoint, to keep
    #[command(after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint,
    /// Print the log's verifier key, to keep
    #[command(after_help = KEY_EXAMPLES)]
    Key {
        /// The verifier key of votes instead
        #[arg(long)]
        votes: bool,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// When the files can't be read, or the gateway can't be reached.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::Verify(args) => verify::verify(args, sources, output).await,
        Command::List(args) => list::list(&args, output),
        Command::Prove(args) => receipt::prove(&args, output),
        Command::NewEpoch(args) => Box::pin(new_epoch::run(args, output)).await,
        Command::Erase { person, waiting } => {
            let arguments = json!({ "person": person });
            carry_out("person-erase", arguments, waiting, sources, output).await
        }
        Command::Checkpoint => fetch("checkpoint", sources, output).await,
        Command::Key { votes: false } => fetch("key", sources, output).await,
        Command::Key { votes: true } => fetch("vote-key", sources, output).await,
    }
}

async fn fetch(what: &str, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let text = client.text(At::new(&["log", what])).await?;
    if output.is_json() {
        output.result(&json!({ what: text }), |_, _| String::new())?;
    } else {
        // Signatures hold over these very bytes.
        output.bytes(text.as_bytes())?;
    }
    Ok(0)
}

/// The directory with the log's files.
fn folder(path: &Path) -> PathBuf {
    if path.is_file() {
        return path
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_owned);
    }
    let inside = [path.join("log"), path.join("data/log")];
    let found = inside.into_iter().find(|inside| inside.is_dir());
    found.unwrap_or_else(|| path.to_owned())
}

/// The journal that a path names.
fn journal(path: &Path) -> PathBuf {
    match path.is_file() {
        true => path.to_owned(),
        false => folder(path).join("journal"),
    }
}

/// Gives `each` every frame of the journal and then what comes after the last one, holding at most
/// two pieces in memory.
fn steps(
    journal: &Path,
    piece: usize,
    mut each: impl FnMut(Step<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unreadable(journal, &error);
    let mut file = named::open(journal)?;
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
                frame @ Step::Frame(_) => each(frame)?,
                end => break end,
            }
        };
        let more_could_follow = matches!(end, Step::Incomplete { .. } | Step::End);
        if read == 0 || !more_could_follow {
            return each(end);
        }
        let used = decoder.offset().saturating_sub(offset);
        offset = decoder.offset();
        bytes.drain(..usize::try_from(used).unwrap_or(usize::MAX).min(bytes.len()));
    }
}

/// Journals on disk for the tests of the subcommands.
#[cfg(test)]
mod testing {
    use std::fs;

    use countersign_evidence::{
        checkpoint::Checkpoint,
        frame::{Frame, encode},
        key::SigningKey,
        merkle::{Tree, leaf_hash},
    };

    pub(super) fn signer(seed: u8) -> SigningKey {
        SigningKey::from_seed("gate.example.com", &[seed; 32]).unwrap()
    }

    /// A data directory whose journal holds these leaves, each with its evidence.
    pub(super) fn data(entries: &[(Vec<u8>, Vec<u8>)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::create_dir(&log).unwrap();
        let (mut journal, mut tree) = (Vec::new(), Tree::new());
        for (leaf, evidence) in entries {
            encode(Frame { leaf, evidence }, &mut journal).unwrap();
            tree.push(leaf_hash(leaf));
        }
        let key = signer(7);
        let checkpoint = Checkpoint::of("gate.example.com", &tree)
            .sign(&key)
            .unwrap();
        fs::write(log.join("journal"), journal).unwrap();
        fs::write(log.join("checkpoint"), checkpoint).unwrap();
        fs::write(log.join("key.pub"), format!("{}\n", key.verifying())).unwrap();
        let votes = SigningKey::from_seed("gate.example.com/votes", &[8; 32]).unwrap();
        fs::write(log.join("vote-key.pub"), format!("{}\n", votes.verifying())).unwrap();
        directory
    }
}
