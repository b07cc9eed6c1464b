//! `countersign agent`: agents and workloads, their tokens, and the kill switch.
//!
//! In scope: listing, and proposing changes.
//! Out of scope: people ([`people`](super::people)).
//! Invariant: every change is a proposal; only the gateway applies it.

use clap::Subcommand;
use countersign_core::{
    id::{CredentialId, GroupId, PersonId},
    time::{Span, Timestamp},
};
use serde_json::json;

use super::{
    client::{At, Client},
    clock::now,
    config::Sources,
    failure::Failure,
    output::Output,
    proposal::{Waiting, carry_out},
    text::{self, Paint, Table},
};
use crate::api::types::{DirectoryInfo, MachineLine};

const ADD_EXAMPLES: &str = "\
Examples:
  countersign agent add deploy-bot --owner olga@example.com --group agents
  countersign agent add workload:nightly --owner olga@example.com
  countersign agent token deploy-bot --expires 30d     # next: a token for it";
const TOKEN_EXAMPLES: &str = "\
Example:
  countersign agent token deploy-bot --expires 7d --reason 'rotation'";
const STOP_EXAMPLES: &str = "\
Example:
  countersign agent stop deploy-bot      # its requests end, its tokens stop working; `start` undoes it";
const REVOKE_EXAMPLES: &str = "\
Example:
  countersign agent list                 # shows credentials
  countersign agent revoke cred_01j9…";

/// Subcommands of `countersign agent`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List agents and workloads with their credentials
    List,
    /// Propose a new agent or workload
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Its name: `deploy-bot`, or `workload:nightly`
        #[arg(value_name = "NAME", value_parser = machine)]
        name: String,
        /// The person answerable for it
        #[arg(long, value_name = "PERSON")]
        owner: PersonId,
        /// A group it is in
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<GroupId>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose a token for an agent or workload; it is shown once
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        /// Its name
        #[arg(value_name = "NAME", value_parser = machine)]
        name: String,
        /// How long the token lives
        #[arg(long, default_value = "30d", value_name = "TIME")]
        expires: Span,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Stop an agent or workload: the kill switch
    #[command(after_help = STOP_EXAMPLES)]
    Stop {
        /// Its name
        #[arg(value_name = "NAME", value_parser = machine)]
        name: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose to let a stopped agent or workload go on
    #[command(after_help = STOP_EXAMPLES)]
    Start {
        /// Its name
        #[arg(value_name = "NAME", value_parser = machine)]
        name: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose to revoke one credential
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// The credential's name, not the secret
        #[arg(value_name = "CREDENTIAL")]
        credential: CredentialId,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// `deploy-bot` is an agent; `workload:nightly` says what it is.
fn machine(text: &str) -> Result<String, String> {
    let (kind, name) = text.split_once(':').unwrap_or(("agent", text));
    let named = match kind {
        "agent" => countersign_core::id::AgentId::new(name).map(|_| ()),
        "workload" => countersign_core::id::WorkloadId::new(name).map(|_| ()),
        _ => return Err("write `NAME`, `agent:NAME` or `workload:NAME`".into()),
    };
    named.map_err(|error| error.to_string())?;
    Ok(format!("{kind}:{name}"))
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
    let (operation, arguments, waiting) = match command {
        Command::List => return list(sources, output).await,
        Command::Add {
            name,
            owner,
            groups,
            waiting,
        } => (
            "agent-add",
            json!({ "subject": name, "owner": owner, "groups": groups }),
            waiting,
        ),
        Command::Token {
            name,
            expires,
            waiting,
        } => (
            "agent-token",
            json!({ "subject": name, "expires": expires }),
            waiting,
        ),
        Command::Stop { name, waiting } => ("agent-stop", json!({ "subject": name }), waiting),
        Command::Start { name, waiting } => ("agent-start", json!({ "subject": name }), waiting),
        Command::Revoke {
            credential,
            waiting,
        } => (
            "credential-revoke",
            json!({ "credential": credential }),
            waiting,
        ),
    };
    carry_out(operation, arguments, waiting, sources, output).await
}

async fn list(sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let directory: DirectoryInfo = client.get(At::new(&["directory"])).await?;
    if output.is_json() {
        for line in &directory.machines {
            output.result(line, |_, _| String::new())?;
        }
    }
    output.people(|paint| table(&directory.machines, now(), paint))?;
    Ok(0)
}

fn table(machines: &[MachineLine], now: Timestamp, paint: Paint) -> String {
    if machines.is_empty() {
        return "No agents yet: countersign agent add NAME --owner PERSON".into();
    }
    let mut table = Table::new(&["NAME", "STATE", "OWNER", "GROUPS", "CREDENTIAL", "ENDS"]);
    for machine in machines {
        let state = if machine.disabled {
            "stopped"
        } else {
            "active"
        };
        let owner = machine
            .owner
            .as_deref()
            .unwrap_or("nobody: denied everything");
        let groups = machine.groups.join(", ");
        let mut first = [machine.id.as_str(), state, owner, groups.as_str()];
        for credential in &machine.credentials {
            let ends = if credential.ended {
                "over".to_owned()
            } else {
                text::relative(credential.expires, now)
            };
            let [name, state, owner, groups] = std::mem::take(&mut first);
            let id = format!("{} ({})", credential.id, credential.kind);
            table.row(&[name, state, owner, groups, &id, &ends]);
        }
        if machine.credentials.is_empty() {
            let [name, state, owner, groups] = first;
            table.row(&[name, state, owner, groups, "none", ""]);
        }
    }
    table.to_text(paint)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn names_say_what_they_are() {
        for (text, name) in [
            ("bot", Ok("agent:bot".to_owned())),
            ("agent:bot", Ok("agent:bot".to_owned())),
            ("workload:nightly", Ok("workload:nightly".to_owned())),
            (
                "person:dana",
                Err("write `NAME`, `agent:NAME` or `workload:NAME`".to_owned()),
            ),
        ] {
            assert_eq!(machine(text), name);
        }
        assert!(machine("a b").is_err() && machine("").is_err());
    }

    #[test]
    fn agents_stand_with_their_credentials() {
        let machines: Vec<MachineLine> = serde_json::from_str(
            r#"[{"id":"agent:bot","owner":"olga@example.com","groups":["agents"],"disabled":false,"credentials":[
                 {"id":"cred_1","kind":"token","issued_by":null,"issued":0,"expires":172800000,"ended":false},
                 {"id":"cred_2","kind":"token","issued_by":null,"issued":0,"expires":0,"ended":true}]},
                {"id":"workload:nightly","owner":null,"groups":[],"disabled":true,"credentials":[]}]"#,
        )
        .unwrap();
        expect![[r#"X"#]].assert_eq(&table(&machines, Timestamp(0), Paint::plain()));
    }
}
