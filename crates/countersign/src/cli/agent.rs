//! `countersign agent`: agents, their tokens, and the kill switch.
//!
//! In scope: listing, and proposing changes.
//! Out of scope: people ([`people`](super::people)); changing workloads, which the bundle names.
//! Invariant: every change is a proposal; only the gateway applies it.

use clap::Subcommand;
use countersign_core::{
    id::{AgentId, CredentialId, GroupId, PersonId},
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
    stop_all,
    text::{self, Paint, Table},
};
use crate::api::types::{DirectoryInfo, MachineLine};

const ADD_EXAMPLES: &str = "\
Examples:
  countersign agent add deploy-bot --owner olga@example.com --group agents
  countersign agent token deploy-bot --expires 30d     # next: a token for it";
const TOKEN_EXAMPLES: &str = "\
Example:
  countersign agent token deploy-bot --expires 7d --reason 'rotation'";
const STOP_EXAMPLES: &str = "\
Examples:
  countersign agent stop deploy-bot      # its commands and requests end, its tokens become void
  countersign agent stop --all           # the same for every agent there is";
const START_EXAMPLES: &str = "\
Examples:
  countersign agent start deploy-bot --reason 'the loop is fixed'
  countersign agent token deploy-bot      # next: tokens from before stay void";
const REVOKE_EXAMPLES: &str = "\
Example:
  countersign agent list                 # shows credentials
  countersign agent revoke cred_01j9…";

/// Subcommands of `countersign agent`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List agents and workloads with their credentials
    List,
    /// Propose a new agent
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Its name
        #[arg(value_name = "NAME", value_parser = agent)]
        name: AgentId,
        /// The person answerable for it
        #[arg(long, value_name = "PERSON")]
        owner: PersonId,
        /// A group it is in
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<GroupId>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose a token for an agent; it is shown once
    #[command(after_help = TOKEN_EXAMPLES)]
    Token {
        /// Its name
        #[arg(value_name = "NAME", value_parser = agent)]
        name: AgentId,
        /// How long the token lives; the gateway has a default and a limit
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Stop an agent, or all of them: the kill switch
    #[command(after_help = STOP_EXAMPLES)]
    Stop {
        /// Its name
        #[arg(value_name = "NAME", value_parser = agent, required_unless_present = "all")]
        name: Option<AgentId>,
        /// Every agent that is active, one after the other
        #[arg(long, conflicts_with = "name")]
        all: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose to let a stopped agent go on
    #[command(after_help = START_EXAMPLES)]
    Start {
        /// Its name
        #[arg(value_name = "NAME", value_parser = agent)]
        name: AgentId,
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

/// Accepts `deploy-bot` and `agent:deploy-bot`.
fn agent(text: &str) -> Result<AgentId, String> {
    let name = match text.split_once(':') {
        Some(("agent", name)) => name,
        Some(("workload", _)) => {
            return Err(
                "workloads are changed in countersign.toml, with `countersign policy apply`".into(),
            );
        }
        _ => text,
    };
    AgentId::new(name).map_err(|error| error.to_string())
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
            json!({ "agent": name, "owner": owner, "groups": groups }),
            waiting,
        ),
        Command::Token {
            name,
            expires,
            waiting,
        } => (
            "agent-token",
            json!({ "agent": name, "valid_for": expires }),
            waiting,
        ),
        Command::Stop {
            all: true, waiting, ..
        } => {
            return stop_all::run(waiting, sources, output).await;
        }
        Command::Stop { name, waiting, .. } => ("agent-stop", json!({ "agent": name }), waiting),
        Command::Start { name, waiting } => ("agent-start", json!({ "agent": name }), waiting),
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
    fn names_are_those_of_agents() {
        for text in ["bot", "agent:bot"] {
            assert_eq!(agent(text), Ok("bot".parse().unwrap()));
        }
        assert!(
            agent("workload:nightly")
                .unwrap_err()
                .contains("policy apply")
        );
        for bad in ["", "a b", "agent:"] {
            assert!(agent(bad).is_err(), "{bad}");
        }
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
        expect![[r#"
            NAME              STATE    OWNER                      GROUPS  CREDENTIAL      ENDS
            agent:bot         active   olga@example.com           agents  cred_1 (token)  in 2d
                                                                          cred_2 (token)  over
            workload:nightly  stopped  nobody: denied everything          none"#]]
        .assert_eq(&table(&machines, Timestamp(0), Paint::plain()));
    }
}
