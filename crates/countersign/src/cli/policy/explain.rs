//! `countersign policy explain`: what the active policy would say.

use serde_json::Value;

use crate::{
    api::types::ExplainBody,
    cli::{
        client::{At, Client},
        config::Sources,
        failure::Failure,
        output::Output,
        text,
    },
};

const EXAMPLES: &str = "\
Examples:
  countersign policy explain agent:deploy-bot --target release -- git push origin main
  countersign policy explain agent:deploy-bot --for person:dana@example.com --target db --inputs -- psql";

/// Arguments of `countersign policy explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Who asks: `agent:NAME`, `workload:NAME` or `person:NAME`
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Whom they ask for, nearest first
    #[arg(long = "for", value_name = "SUBJECT")]
    on_behalf_of: Vec<String>,
    /// The target
    #[arg(long, short, env = "COUNTERSIGN_TARGET", value_name = "TARGET")]
    target: Option<String>,
    /// As if files were bound
    #[arg(long)]
    inputs: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let body = ExplainBody {
        subject: args.subject,
        on_behalf_of: args.on_behalf_of,
        target: args.target,
        argv: (!args.argv.is_empty()).then_some(args.argv),
        inputs: args.inputs,
    };
    let explanation: Value = client.post(At::new(&["policy", "explain"]), &body).await?;
    output.result(&explanation, text::outline)?;
    Ok(0)
}
