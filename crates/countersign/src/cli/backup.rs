//! `countersign backup`: a copy of everything, while the gateway runs.
//!
//! In scope: which data, what was taken, what it is to be kept like.
//! Out of scope: taking it ([`backup`](crate::backup)).
//! Invariant: whoever takes a backup is told that it holds the keys.

use std::path::PathBuf;

use countersign_core::count::counted;
use countersign_runner::quote::quote_argv;
use serde_json::json;

use super::{failure::Failure, output::Output};
use crate::{backup, bundle_files};

const EXAMPLES: &str = "\
Examples:
  countersign backup --config /etc/countersign /srv/backup/2026-03-01
  countersign backup --data /var/lib/countersign /srv/backup/2026-03-01

Run it as the gateway's user, whether the gateway runs or not. Nothing is overwritten, and the
directory has its name once it is whole. It holds every key: whoever reads it can read all evidence
and sign as this gateway. To restore it, stop the gateway and put it in the place of the data.
Credentials of targets are in the configuration, which is not in it.";

/// What `backup` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The directory to make
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// The configuration directory
    #[arg(long, short, default_value = ".", value_name = "DIR")]
    config: PathBuf,
    /// The data directory; the configuration's own when absent
    #[arg(long, short, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Takes a backup.
pub(crate) async fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    let failed = |error: anyhow::Error| Failure::new("backup", format!("{error:#}"));
    let data = match args.data {
        Some(data) => data,
        None => {
            let bundle = bundle_files::bundle(&args.config).map_err(failed)?;
            args.config.join(&bundle.store().path)
        }
    };
    let taken = backup::take(&data, &args.dest).await.map_err(failed)?;
    let (files, bytes) = (taken.files, taken.bytes);
    let done = json!({ "backup": args.dest, "files": files, "bytes": bytes });
    output.result(&done, |_, _| {
        format!(
            "{}: {}, {}",
            args.dest.display(),
            counted(files, "file", "files"),
            counted(bytes, "byte", "bytes")
        )
    })?;
    let dest = quote_argv(&[args.dest.to_string_lossy().into_owned()]);
    output.note(format!(
        "It holds every key of this gateway; keep it where nobody else reads it. Whether it holds: \
         countersign log verify {dest}"
    ));
    Ok(0)
}
