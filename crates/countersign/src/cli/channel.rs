//! `countersign channel`: where people are told and decide.
//!
//! In scope: how channels stand; what Slack and Teams need to know of a gateway.
//! Out of scope: adding and changing channels; they are part of the policy bundle.
//! Invariant: nothing here changes who is believed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_policy::channel::is_guid;
use serde_json::json;

use super::{
    client::{At, Client},
    config::Sources,
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, Table, shown},
};
use crate::{
    api::types::{ChannelInfo, ChannelList},
    channels::{slack::manifest::manifest, teams::package},
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

const PACKAGE_EXAMPLES: &str = "\
Examples:
  countersign channel teams package --app 00000000-0000-0000-0000-000000000000 \\
      --public-url https://countersign.example.com

Upload it in Teams under Apps, Manage your apps, Upload an app, or in the Teams admin center.";

/// Subcommands of `countersign channel`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the channels stand
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// What Slack needs
    #[command(subcommand)]
    Slack(SlackCommand),
    /// What Microsoft Teams needs
    #[command(subcommand)]
    Teams(TeamsCommand),
}

/// Subcommands of `countersign channel slack`.
#[derive(Debug, Subcommand)]
pub(crate) enum SlackCommand {
    /// Write the manifest of the Slack app for a gateway
    #[command(after_help = MANIFEST_EXAMPLES)]
    Manifest(ManifestArgs),
}

/// Subcommands of `countersign channel teams`.
#[derive(Debug, Subcommand)]
pub(crate) enum TeamsCommand {
    /// Write the app package of the bot for a gateway
    #[command(after_help = PACKAGE_EXAMPLES)]
    Package(PackageArgs),
}

/// Arguments of `countersign channel teams package`.
#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The bot's app id, as `app` in countersign.toml
    #[arg(long, value_name = "ID")]
    app: String,
    /// The gateway's `public_url`, which Teams posts to
    #[arg(long, value_name = "URL")]
    public_url: String,
    /// The channel's name in countersign.toml
    #[arg(long, value_name = "CHANNEL", default_value = "teams")]
    name: String,
    /// Where to write it; a file that is there is replaced
    #[arg(long, value_name = "FILE", default_value = "countersign-teams.zip")]
    out: PathBuf,
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
            let url = match args.socket {
                true => url.trim_end_matches('/'),
                false => reachable("Slack", url, "give the address people use, or `--socket`")?,
            };
            let made = manifest(url, &args.name, args.socket);
            let text = serde_json::to_string_pretty(&made).unwrap_or_default();
            output.result(&made, |_, _| text)?;
            Ok(0)
        }
        Command::Teams(TeamsCommand::Package(args)) => write_package(&args, output),
    }
}

/// An address that a chat posts to, without a slash at its end.
fn reachable<'a>(chat: &str, url: &'a str, next: &str) -> Result<&'a str, Failure> {
    let url = url.trim_end_matches('/');
    match url.starts_with("https://") {
        true => Ok(url),
        false => {
            let why = format!("{chat} posts to `https://` addresses only, and `{url}` is none");
            Err(Failure::usage(why).next(next))
        }
    }
}

fn write_package(args: &PackageArgs, output: &mut Output) -> Result<u8, Failure> {
    let url = reachable("Teams", &args.public_url, "give the address people use")?;
    let app = args.app.to_ascii_lowercase();
    if !is_guid(&app) {
        let why = format!("`{}` is no app id", shown(&args.app));
        let next = "copy it from the bot's registration, like 00000000-0000-0000-0000-000000000000";
        return Err(Failure::usage(why).next(next));
    }
    let made = package::package(&package::manifest(url, &app));
    let made = made.map_err(|error| Failure::new("package", format!("{error:#}")))?;
    let file = args.out.display().to_string();
    std::fs::write(&args.out, made).map_err(|error| {
        Failure::new("not_written", format!("can't write `{file}`: {error}"))
            .next("give another place with `--out`")
    })?;
    let endpoint = format!("{url}/channels/{}", args.name);
    let told = json!({ "file": file, "messaging_endpoint": endpoint });
    output.result(&told, |_, _| {
        format!(
            "Written to {file}. In the bot's registration, give {endpoint} as messaging endpoint; then \
             upload the file in Teams."
        )
    })?;
    Ok(0)
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
