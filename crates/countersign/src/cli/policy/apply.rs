//! `countersign policy apply`: proposes a directory as the new policy.
//!
//! In scope: checking it here first, showing what changes, proposing, waiting, claiming.
//! Out of scope: activating it; the gateway does, under the policy that is active now (P9).
//! Invariant: what is proposed is exactly what was checked and shown.

use countersign_core::time::Span;
use countersign_policy::bundle::diff::BundleDiff;

use super::{Directory, check, diff};
use crate::{
    api::types::BundleInfo,
    cli::{
        client::{At, Client},
        config::Sources,
        failure::{Failure, GENERAL},
        output::Output,
        proposal::{Waiting, carry_out},
    },
};

const EXAMPLES: &str = "\
Examples:
  countersign policy apply --reason 'releases need two people'
  countersign policy apply deploy/countersign --wait 0s    # propose only

Exit status: 0 activated or nothing to change, 1 the directory is wrong, 75 still held, 77 refused.";

/// Arguments of `countersign policy apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    directory: Directory,
    /// Why, for the people who decide
    #[arg(long, short, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for people
    #[arg(long, short, default_value = "30m", value_name = "TIME")]
    wait: Span,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let Some(bundle) = check::bundle(&args.directory.directory, output)? else {
        return Ok(GENERAL);
    };
    let client = Client::new(&sources.settings()?)?;
    let active: BundleInfo = client.get(At::new(&["policy"])).await?;
    let difference = BundleDiff::between(&active.files, bundle.files());
    let paint = output.note_paint();
    output.note(diff::page(&difference, paint));
    if difference.is_empty() {
        let value = serde_json::json!({ "state": "unchanged", "hash": active.hash });
        output.result(&value, |_, _| format!("Active already: {}", bundle.hash()))?;
        return Ok(0);
    }
    let arguments = serde_json::json!({ "files": bundle.files() });
    let waiting = Waiting {
        reason: args.reason,
        wait: args.wait,
    };
    carry_out("bundle-apply", arguments, waiting, sources, output).await
}
