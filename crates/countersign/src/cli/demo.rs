//! `countersign demo`: everything on this machine.

use std::path::PathBuf;

use super::{failure::Failure, output::Output};
use crate::demo;

const EXAMPLES: &str = "\
Examples:
  countersign demo                 # click Approve yourself
  countersign demo --auto          # plays both people, tries the forbidden ways too
  countersign demo --data ./demo   # keeps configuration, data and the git remote";

/// What `demo` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Play both people, try the forbidden ways too, and exit 0 only if everything was as expected
    #[arg(long)]
    auto: bool,
    /// Keep everything in this directory; otherwise it is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The port to listen on; any free one when 0
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
}

/// Runs the demo.
pub(crate) async fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    let Args { auto, data, port } = args;
    let json = output.is_json();
    match demo::run(demo::Options {
        auto,
        data,
        port,
        json,
    })
    .await
    {
        Ok(true) => Ok(0),
        Ok(false) => Ok(1),
        Err(error) => Err(Failure::new("demo", format!("{error:#}"))),
    }
}
