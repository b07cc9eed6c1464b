//! `countersign key`: the installation's own signing keys.
//!
//! In scope: proposing that a new one takes over.
//! Out of scope: printing keys to keep (`countersign log key`); keys of people, which are passkeys.
//! Invariant: no secret passes through here; the gateway makes it where it stays.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    config::Sources,
    failure::Failure,
    output::Output,
    proposal::{Waiting, carry_out},
};

const ROTATE_EXAMPLES: &str = "\
Examples:
  countersign key rotate log --reason 'yearly'
  countersign key rotate votes

The new key takes over with the gateway's next start. Print and keep it then: countersign log key";

/// Subcommands of `countersign key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Propose that a new key takes over with the next start
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// What it signs
        #[arg(value_name = "WHAT")]
        what: What,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// The log's checkpoints
    Log,
    /// People's votes
    Votes,
}

/// Runs a subcommand.
///
/// # Errors
/// When the gateway can't be reached or refuses.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let Command::Rotate { what, waiting } = command;
    let purpose = match what {
        What::Log => "log",
        What::Votes => "vote",
    };
    let arguments = json!({ "purpose": purpose });
    carry_out("key-rotate", arguments, waiting, sources, output).await
}
