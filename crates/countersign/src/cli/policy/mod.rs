//! `countersign policy`: check, explain and change what decides.
//!
//! In scope: one subcommand a file.
//! Out of scope: evaluation, which is the gateway's; `check` uses the very same reader as it does.

mod apply;
mod check;
mod diff;
mod explain;
mod mask;
mod schema;
mod show;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{config::Sources, failure::Failure, output::Output};
use crate::bundle_files::{self, Files};

/// Subcommands of `countersign policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a directory as the gateway would; needs no gateway
    #[command(after_help = check::EXAMPLES)]
    Check(Directory),
    /// Ask the active policy what it would say, without asking for anything
    Explain(explain::Args),
    /// Show what of a command would be masked as a secret; needs no gateway
    Mask(mask::Args),
    /// Show what a directory would change
    #[command(after_help = diff::EXAMPLES)]
    Diff(Directory),
    /// Propose a directory as the new policy, wait until it is decided, and activate it
    Apply(apply::Args),
    /// Show the schema of a directory: the actions, types and attributes to write policies with
    #[command(after_help = schema::EXAMPLES)]
    Schema(Directory),
    /// Show the active policy
    Show(show::Args),
}

/// A directory with a bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct Directory {
    /// The directory with countersign.toml
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
}

/// Runs a subcommand.
///
/// # Errors
/// When the directory can't be read, or the gateway can't be reached or refuses.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::Check(args) => check::run(&args, output).await,
        Command::Explain(args) => explain::run(args, sources, output).await,
        Command::Mask(args) => mask::run(&args, output),
        Command::Diff(args) => diff::run(&args, sources, output).await,
        Command::Apply(args) => apply::run(args, sources, output).await,
        Command::Schema(args) => schema::run(&args, output),
        Command::Show(args) => show::run(&args, sources, output).await,
    }
}

/// Reads the files of a bundle.
fn read(directory: &Path) -> Result<Files, Failure> {
    bundle_files::read(directory).map_err(|error| Failure::usage(format!("{error:#}")))
}
