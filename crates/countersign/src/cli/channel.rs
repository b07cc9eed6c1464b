//! `countersign channel`: where people are told and decide.
//!
//! In scope: how channels stand; what Slack needs to know of a gateway.
//! Out of scope: adding and changing channels; they are part of the policy bundle.
//! Invariant: nothing here changes who is believed.

use clap::{Args, Subcommand};

use super::{
    client::{At, Client},
    config::Sources,
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, Table, shown},
};
use crate::{
    api::types::{ChannelInfo, ChannelList},
    channels::slack::manifest::manifest,
};

const LIST_EXAMPLES: &str = "\
Examples:
  countersign channel list
  countersign channel list --json | jq .fault

Exit status: 0 if every channel reaches people, 1 if not.";
const MANIFEST_EXAMPLES: &str = "\
Examples:
  countersign channel slack manifest --public-url https://countersign.example.com
  countersign channel slack manifest --socket          # where Slack can't reach the gateway

Paste it at https://api.slack.com/apps under Create New App, From a manifest.";

/// Subcommands of `countersign channel`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the channels stand
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// What Slack needs
    #[command(subcommand)]
    Slack(SlackCommand),
}

/// Subcommands of `countersign channel slack`.
#[derive(Debug, Subcommand)]
pub(crate) enum SlackCommand {
    /// Write the manifest of the Slack app for a gateway
    #[command(after_help = MANIFEST_EXAMPLES)]
    Manifest(ManifestArgs),
}

/// Arguments of `countersign channel slack manifest`.
#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// The gateway's `public_url`, which Slack posts to
    #[arg(long, value_name = "URL", required_unless_present = "socket")]
    public_url: Option<String>,
    /// The channel's name in countersign.toml
    #[arg(long, value_name = "CHANNEL", default_value = "slack")]
    name: String,
    /// Reach Slack over a socket (Socket Mode) instead
    #[arg(long)]
    socket: bool,
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
    match command {
        Command::List => {
            let client = Client::new(&sources.settings()?)?;
            let list: ChannelList = client.get(At::new(&["channels"])).await?;
            if output.is_json() {
                for line in &list.channels {
                    output.result(line, |_, _| String::new())?;
                }
            }
            output.people(|paint| describe(&list.channels, paint))?;
            let wrong = list.channels.iter().any(|one| one.fault.is_some());
            Ok(if wrong { GENERAL } else { 0 })
        }
        Command::Slack(SlackCommand::Manifest(args)) => {
            let url = args.public_url.as_deref().unwrap_or_default();
            let url = url.trim_end_matches('/');
            if !args.socket && !url.starts_with("https://") {
                let why = format!("Slack posts to `https://` addresses only, and {url} is none");
                return Err(Failure::usage(why).next("give the address people use, or `--socket`"));
            }
            let made = manifest(url, &args.name, args.socket);
            let text = serde_json::to_string_pretty(&made).unwrap_or_default();
            output.result(&made, |_, _| text)?;
            Ok(0)
        }
    }
}

fn describe(channels: &[ChannelInfo], paint: Paint) -> String {
    if channels.is_empty() {
        return "No channels: add a `[channel.NAME]` table to countersign.toml.".into();
    }
    let mut table = Table::new(&["CHANNEL", "KIND", "IN", "REACHED", "LINKED"]);
    for one in channels {
        table.row(&[
            &one.name,
            &one.kind,
            &one.team,
            &one.reached,
            &one.linked.to_string(),
        ]);
    }
    let mut said = table.to_text(paint);
    for one in channels {
        if let Some(fault) = &one.fault {
            let line = format!("{} does not reach people: {}", one.name, shown(fault));
            said.push_str(&format!("\n{}", paint.red(&line)));
        }
    }
    said
}
