//! `countersign grant`: what approvers granted beside single actions.
//!
//! In scope: the grants that can be used, and ending one.
//! Out of scope: giving one; approvers do, on a request's page.
//! Invariant: nothing here lets more run than before.

use clap::{Args, Subcommand};
use countersign_core::count::counted;

use super::{
    client::{At, Client},
    clock::now,
    config::Sources,
    failure::Failure,
    output::Output,
    text::{Paint, relative, shown},
};
use crate::api::types::{GrantList, GrantedRequest, RequestDetail};

const LIST_EXAMPLES: &str = "\
Examples:
  countersign grant list
  countersign grant list --json | jq -r .id";
const END_EXAMPLES: &str = "\
Examples:
  countersign grant end REQUEST        # as `countersign grant list` shows it

Whoever gave it, could have, or asked may end it. What asks after that waits for people again.";

/// Subcommands of `countersign grant`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the grants that can be used
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// End a grant before its time
    #[command(after_help = END_EXAMPLES)]
    End(EndArgs),
}

/// Arguments of `countersign grant end`.
#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The request that it was given with
    #[arg(value_name = "REQUEST")]
    id: String,
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
    let client = Client::new(&sources.settings()?)?;
    match command {
        Command::List => {
            let list: GrantList = client.get(At::new(&["grants"])).await?;
            if output.is_json() {
                for line in &list.grants {
                    output.result(line, |_, _| String::new())?;
                }
            }
            output.people(|paint| describe(&list.grants, paint))?;
        }
        Command::End(EndArgs { id }) => {
            let at = At::new(&["requests", &id, "end-grant"]);
            let detail: RequestDetail = client.post(at, &()).await?;
            output.result(&detail, |detail, _| {
                format!(
                    "The grant of {} is ended; what asks after that waits for people again.",
                    detail.line.id
                )
            })?;
        }
    }
    Ok(0)
}

fn describe(grants: &[GrantedRequest], paint: Paint) -> String {
    if grants.is_empty() {
        return "No grants: every held action is asked about.".into();
    }
    let one = |granted: &GrantedRequest| {
        let grant = &granted.grant;
        format!(
            "{}  {}\n  {}\n  {} of {}, ends {}{}",
            paint.bold(granted.request.id.as_str()),
            shown(&granted.request.title),
            shown(&grant.words),
            grant.used,
            counted(grant.uses, "use", "uses"),
            relative(grant.until, now()),
            match granted.can_end {
                true => format!("; end it: countersign grant end {}", granted.request.id),
                false => String::new(),
            },
        )
    };
    grants.iter().map(one).collect::<Vec<_>>().join("\n\n")
}
