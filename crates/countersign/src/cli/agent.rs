//! `countersign agent`: agents, their tokens, and the kill switch.
//!
//! In scope: listing, and proposing changes.
//! Out of scope: people ([`people`](super::people)); adding workloads, which the bundle names.
//! Invariant: every change is a proposal; only the gateway applies it.

use std::path::PathBuf;

use clap::Subcommand;
use countersign_core::{
    id::{AgentId, CredentialId, GroupId, PersonId, WorkloadId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use serde_json::{Value, json};

use super::{
    agent_key,
    client::{At, Client},
    clock::now,
    config::Sources,
    delegate,
    failure::Failure,
    output::Output,
    proposal::{Waiting, carry_out},
    stop_all,
    text::{self, Paint, Table, shown},
};
use crate::api::types::{DirectoryInfo, MachineLine};

const ADD_EXAMPLES: &str = "\
Examples:
  countersign agent add deploy-bot --owner olga@example.com --group agents
  countersign agent token deploy-bot     # next: a token for it";
const TOKEN_EXAMPLES: &str = "\
Example:
  countersign agent token deploy-bot --expires 12h --reason 'first try'

Longer than 24h takes `long_lived_tokens` in the agent's table. Better none at all: an agent that
proves itself (`proves`, `keys`) gets its tokens by itself.";
const STOP_EXAMPLES: &str = "\
Examples:
  countersign agent stop deploy-bot      # its commands and requests end, its tokens become void
  countersign agent stop --all           # the same for every agent there is";
const START_EXAMPLES: &str = "\
Examples:
  countersign agent start deploy-bot --reason 'the loop is fixed'
  countersign agent token deploy-bot      # next: tokens from before stay void";
const KEY_EXAMPLES: &str = "\
Example:
  countersign agent key --output deploy-bot.pem

The agent then sets COUNTERSIGN_IDENTITY=key:deploy-bot.pem and COUNTERSIGN_AS=agent:deploy-bot.";
const DELEGATE_EXAMPLES: &str = "\
Example:
  countersign agent delegate deploy-bot --for 1h

The agent exchanges it together with who it is: COUNTERSIGN_DELEGATION beside COUNTERSIGN_IDENTITY.";
const REVOKE_EXAMPLES: &str = "\
Example:
  countersign agent list                 # shows credentials
  countersign agent revoke cred_01j9…";

/// What stands at whatever counts for longer than a day.
const LONG_LIVED: &str = "long-lived";

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
        #[arg(value_name = "NAME", value_parser = machine)]
        name: SubjectId,
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
        #[arg(value_name = "NAME", value_parser = machine, required_unless_present = "all")]
        name: Option<SubjectId>,
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
        #[arg(value_name = "NAME", value_parser = machine)]
        name: SubjectId,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Make a key that an agent or workload proves itself with; asks no gateway
    #[command(after_help = KEY_EXAMPLES)]
    Key {
        /// The file for the private half; it must not be there yet
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Let an agent or workload act for you, until then; it is shown once
    #[command(after_help = DELEGATE_EXAMPLES)]
    Delegate {
        /// Its name
        #[arg(value_name = "NAME", value_parser = machine)]
        name: SubjectId,
        /// How long; at most 12h, and not beyond your own session
        #[arg(long = "for", value_name = "TIME")]
        valid_for: Option<Span>,
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

/// Accepts `deploy-bot`, `agent:deploy-bot` and `workload:nightly`.
fn machine(text: &str) -> Result<SubjectId, String> {
    match text.split_once(':') {
        Some(("workload", name)) => {
            let id = WorkloadId::new(name).map_err(|error| error.to_string())?;
            Ok(SubjectId::Workload(id))
        }
        _ => agent(text).map(SubjectId::Agent),
    }
}

/// Names a machine in the arguments of a proposal.
fn named(id: &SubjectId) -> Value {
    json!({ id.kind(): id.name() })
}

/// Accepts `deploy-bot` and `agent:deploy-bot`.
fn agent(text: &str) -> Result<AgentId, String> {
    let name = match text.split_once(':') {
        Some(("agent", name)) => name,
        Some(("workload", _)) => {
            return Err(
                "workloads are added in countersign.toml, with `countersign policy apply`".into(),
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
        Command::Key { output: file } => return agent_key::run(&file, output),
        Command::Delegate { name, valid_for } => {
            return delegate::run(name.to_string(), valid_for, sources, output).await;
        }
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
            json!({ name.kind(): name.name(), "valid_for": expires }),
            waiting,
        ),
        Command::Stop {
            all: true, waiting, ..
        } => {
            return stop_all::run(waiting, sources, output).await;
        }
        Command::Stop { name, waiting, .. } => (
            "agent-stop",
            name.as_ref().map(named).unwrap_or_default(),
            waiting,
        ),
        Command::Start { name, waiting } => ("agent-start", named(&name), waiting),
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
        let state = match machine.long_lived_tokens {
            Some(long) => format!("{state}, {LONG_LIVED} {long}"),
            None => state.to_owned(),
        };
        let state = state.as_str();
        let owner = machine
            .owner
            .as_deref()
            .unwrap_or("nobody: denied everything");
        let groups = machine.groups.join(", ");
        let mut first = [machine.id.as_str(), state, owner, groups.as_str()];
        for credential in &machine.credentials {
            let left = text::relative(credential.expires, now);
            let ends = match (credential.ended, credential.long_lived) {
                (true, _) => "over".to_owned(),
                (false, true) => format!("{left}, {LONG_LIVED}"),
                (false, false) => left,
            };
            let [name, state, owner, groups] = std::mem::take(&mut first);
            let acts = credential.acts.as_deref().unwrap_or(&credential.kind);
            let id = format!("{} ({})", credential.id, shown(acts));
            table.row(&[name, state, owner, groups, &id, &ends]);
        }
        if machine.credentials.is_empty() {
            let [name, state, owner, groups] = first;
            table.row(&[name, state, owner, groups, "none", ""]);
        }
    }
    // Cells are shown as they are, so that nothing in them colours anything.
    let text = table.to_text(paint);
    text.replace(LONG_LIVED, &paint.red(LONG_LIVED))
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
            r#"[{"id":"agent:bot","owner":"olga@example.com","groups":["ci"],"disabled":false,"long_lived_tokens":"30d","credentials":[
                 {"id":"cred_1","kind":"token","issued_by":null,"issued":0,"expires":172800000,"ended":false,"long_lived":true},
                 {"id":"cred_2","kind":"token","issued_by":null,"issued":0,"expires":0,"ended":true}]},
                {"id":"workload:ci","owner":null,"groups":[],"disabled":true,"credentials":[]}]"#,
        )
        .unwrap();
        expect![[r#"
            NAME         STATE                   OWNER                      GROUPS  CREDENTIAL      ENDS
            agent:bot    active, long-lived 30d  olga@example.com           ci      cred_1 (token)  in 2d, long-lived
                                                                                    cred_2 (token)  over
            workload:ci  stopped                 nobody: denied everything          none"#]]
        .assert_eq(&table(&machines, Timestamp(0), Paint::plain()));
    }
}
