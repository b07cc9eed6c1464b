//! `countersign log`: whether a record holds, without asking whoever wrote it.
//!
//! In scope: verifying records and receipts, making receipts, fetching a checkpoint or key to keep.
//! Out of scope: the verification itself, which is the evidence crate's.

mod files;
mod prove;
mod verify;

use clap::Subcommand;
use serde_json::json;

use super::{
    client::{At, Client},
    config::Sources,
    failure::Failure,
    output::Output,
};

const CHECKPOINT_EXAMPLES: &str = "\
Example:
  countersign log checkpoint > 2026-03-01.checkpoint    # keep it where the gateway can't write";
const KEY_EXAMPLES: &str = "\
Example:
  countersign log key > gate.example.com.key            # keep it where the gateway can't write";

/// Subcommands of `countersign log`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify a gateway's record from its files, or a receipt; needs no gateway
    Verify(verify::Args),
    /// Write a receipt: one file that proves what the log says of one request
    Prove(prove::Args),
    /// Print the latest signed checkpoint, to keep
    #[command(after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint,
    /// Print the log's verifier key, to keep
    #[command(after_help = KEY_EXAMPLES)]
    Key,
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
        Command::Verify(args) => verify::run(args, output),
        Command::Prove(args) => prove::run(args, output),
        Command::Checkpoint => fetch("checkpoint", sources, output).await,
        Command::Key => fetch("key", sources, output).await,
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
