//! `countersign people`: who may decide, and who belongs where.
//!
//! In scope: listing, and proposing changes.
//! Out of scope: agents ([`agent`](super::agent)); signing in ([`login`](super::login)).
//! Invariant: every change is a proposal; only the gateway applies it.

use clap::Subcommand;
use countersign_core::{
    id::{CredentialId, GroupId, PersonId, ProviderId},
    time::Timestamp,
};
use serde_json::json;

use super::{
    client::{At, Client},
    clock,
    config::Sources,
    failure::Failure,
    output::Output,
    proposal::{Waiting, carry_out},
    text::{Paint, Table},
};
use crate::{
    api::types::{AbsenceLine, DirectoryInfo, PasskeyLine, PersonLine},
    days::{DAY, end_in_words, first_in_words, start_of},
};

const ADD_EXAMPLES: &str = "\
Examples:
  countersign people add lea@example.com --group dba --manager dana@example.com
  countersign people link lea@example.com         # next: a link to sign in with";
const LINK_EXAMPLES: &str = "\
Example:
  countersign people link lea@example.com --reason 'new laptop'";
const DISABLE_EXAMPLES: &str = "\
Example:
  countersign people disable lea@example.com --reason 'left the company'";
const ENABLE_EXAMPLES: &str = "\
Example:
  countersign people enable lea@example.com --reason 'back from leave'";
const REVOKE_EXAMPLES: &str = "\
Example:
  countersign people revoke cred_01j9… --reason 'lost the phone'";
const JOIN_EXAMPLES: &str = "\
Examples:
  countersign people join lea@example.com dba
  countersign people leave lea@example.com dba";

const UNLINK_EXAMPLES: &str = "\
Example:
  countersign people unlink lea@example.com corp --reason 'has a new account there'";

const AWAY_EXAMPLES: &str = "\
Examples:
  countersign people away dana@example.com --stand-in lea@example.com \\
    --from 2026-12-21 --until 2027-01-03 --reason holidays
  countersign people back dana@example.com";
const BACK_EXAMPLES: &str = "\
Examples:
  countersign people back dana@example.com --reason 'back early'";

/// Subcommands of `countersign people`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List people and their groups
    List,
    /// Propose a new person
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Their name, by convention an e-mail address
        #[arg(value_name = "PERSON")]
        person: PersonId,
        /// A group they are in
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<GroupId>,
        /// Their manager
        #[arg(long, value_name = "PERSON")]
        manager: Option<PersonId>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose to keep a person from doing anything
    #[command(after_help = DISABLE_EXAMPLES)]
    Disable(One),
    /// Propose to let a disabled person act again
    #[command(after_help = ENABLE_EXAMPLES)]
    Enable(One),
    /// Propose a single-use sign-in link for a person; it is shown once
    #[command(after_help = LINK_EXAMPLES)]
    Link(One),
    /// Propose to revoke a passkey or another credential of a person
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// The credential's name, as `people list` shows it
        #[arg(value_name = "CREDENTIAL")]
        credential: CredentialId,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose that a person joins a group
    #[command(after_help = JOIN_EXAMPLES)]
    Join(Membership),
    /// Propose that a person leaves a group
    #[command(after_help = JOIN_EXAMPLES)]
    Leave(Membership),
    /// Propose that somebody signs in the place of a person who is away
    #[command(after_help = AWAY_EXAMPLES)]
    Away {
        /// Who is away
        #[arg(value_name = "PERSON")]
        person: PersonId,
        /// Who signs in their place
        #[arg(long, value_name = "PERSON")]
        stand_in: PersonId,
        /// From when: a day like 2026-12-20, or 2026-12-20T12:00:00Z; from now if left out
        #[arg(long, value_name = "TIME", value_parser = first)]
        from: Option<Timestamp>,
        /// Until when; a day is the last one
        #[arg(long, value_name = "TIME", value_parser = last)]
        until: Timestamp,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Propose that a person is back
    #[command(after_help = BACK_EXAMPLES)]
    Back(One),
    /// Propose that a person's account with a provider is theirs no more
    #[command(after_help = UNLINK_EXAMPLES)]
    Unlink {
        /// The person
        #[arg(value_name = "PERSON")]
        person: PersonId,
        /// The provider, as the configuration names it
        #[arg(value_name = "PROVIDER")]
        provider: ProviderId,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// A person.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The person
    #[arg(value_name = "PERSON")]
    person: PersonId,
    #[command(flatten)]
    waiting: Waiting,
}

/// A person and a group.
#[derive(Debug, clap::Args)]
pub(crate) struct Membership {
    /// The person
    #[arg(value_name = "PERSON")]
    person: PersonId,
    /// The group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    #[command(flatten)]
    waiting: Waiting,
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
    let one = |args: One| (json!({ "person": args.person }), args.waiting);
    let both = |args: Membership| {
        (
            json!({ "person": args.person, "group": args.group }),
            args.waiting,
        )
    };
    let (operation, (arguments, waiting)) = match command {
        Command::List => return list(sources, output).await,
        Command::Add {
            person,
            groups,
            manager,
            waiting,
        } => {
            let arguments = json!({ "person": person, "groups": groups, "manager": manager });
            ("person-add", (arguments, waiting))
        }
        Command::Disable(args) => ("person-disable", one(args)),
        Command::Enable(args) => ("person-enable", one(args)),
        Command::Link(args) => ("person-link", one(args)),
        Command::Revoke {
            credential,
            waiting,
        } => {
            let arguments = json!({ "credential": credential });
            ("credential-revoke", (arguments, waiting))
        }
        Command::Join(args) => ("membership-add", both(args)),
        Command::Leave(args) => ("membership-remove", both(args)),
        Command::Away {
            person,
            stand_in,
            from,
            until,
            waiting,
        } => {
            let from = from.unwrap_or_else(clock::now);
            let arguments = json!({
                "person": person, "stand_in": stand_in, "from": from, "until": until,
            });
            ("absence-set", (arguments, waiting))
        }
        Command::Back(args) => ("absence-end", one(args)),
        Command::Unlink {
            person,
            provider,
            waiting,
        } => {
            let arguments = json!({ "person": person, "provider": provider });
            ("account-unlink", (arguments, waiting))
        }
    };
    carry_out(operation, arguments, waiting, sources, output).await
}

/// Reads when an absence begins.
fn first(text: &str) -> Result<Timestamp, String> {
    start_of(text).map_or_else(|| moment(text), Ok)
}

/// Reads when an absence ends: with the day that is named, or at the moment.
fn last(text: &str) -> Result<Timestamp, String> {
    let end = start_of(text).map(|start| start.after(DAY));
    end.map_or_else(|| moment(text), Ok)
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse::<jiff::Timestamp>();
    moment
        .map(|moment| Timestamp(moment.as_millisecond()))
        .map_err(|_| "write a day like `2026-12-21` or a time like `2026-12-21T12:00:00Z`".into())
}

async fn list(sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let directory: DirectoryInfo = client.get(At::new(&["directory"])).await?;
    if output.is_json() {
        for line in &directory.people {
            output.result(line, |_, _| String::new())?;
        }
    }
    output.people(|paint| table(&directory.people, paint))?;
    Ok(0)
}

fn table(people: &[PersonLine], paint: Paint) -> String {
    if people.is_empty() {
        return "Nobody yet: countersign people add PERSON --group GROUP".into();
    }
    let mut table = Table::new(&[
        "PERSON", "STATE", "GROUPS", "MANAGER", "ACCOUNT", "PASSKEYS",
    ]);
    for person in people {
        let state = match (person.inactive, person.disabled, person.provisioned) {
            (true, ..) => "inactive",
            (_, true, _) => "disabled",
            (_, _, true) => "active, provisioned",
            _ => "active",
        };
        let away = person.absence.as_ref().map(away);
        let state = format!("{state}{}", away.unwrap_or_default());
        let manager = person.manager.as_deref().unwrap_or_default();
        let passkeys: Vec<_> = person.passkeys.iter().map(passkey).collect();
        let groups = person.groups.join(", ");
        let accounts = person.accounts.join(", ");
        let passkeys = passkeys.join(", ");
        table.row(&[&person.id, &state, &groups, manager, &accounts, &passkeys]);
    }
    table.to_text(paint)
}

/// `, away through 2027-01-03 (UTC), lea signs`.
fn away(absence: &AbsenceLine) -> String {
    let from = match absence.from <= clock::now() {
        true => String::new(),
        false => format!(" from {}", first_in_words(absence.from)),
    };
    let end = end_in_words(absence.until);
    format!(", away{from} {end}, {} signs", absence.stand_in)
}

/// `laptop (cred_…)`.
fn passkey(passkey: &PasskeyLine) -> String {
    let only = match passkey.signs {
        true => "",
        false => ", signs in only",
    };
    format!("{} ({}{only})", passkey.label, passkey.id)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, problem},
    };

    #[test]
    fn people_stand_in_a_table() {
        let person = |id: &str, disabled, manager: Option<&str>| PersonLine {
            id: id.into(),
            groups: vec!["dba".into(), "sre".into()],
            manager: manager.map(str::to_owned),
            disabled,
            passkeys: Vec::new(),
            accounts: Vec::new(),
            provided: false,
            provisioned: false,
            inactive: false,
            absence: None,
        };
        let passkey = |label: &str, signs| PasskeyLine {
            id: CredentialId::from_bits(7),
            label: label.into(),
            signs,
        };
        let people = [
            PersonLine {
                passkeys: vec![passkey("key\u{1b}", true)],
                accounts: vec!["corp".into()],
                ..person("dana", false, None)
            },
            person("lea", true, Some("dana")),
            PersonLine {
                provisioned: true,
                ..person("max", false, None)
            },
            PersonLine {
                inactive: true,
                ..person("ned", true, None)
            },
        ];
        let shown = table(&people, Paint::plain());
        expect![[r#"
            PERSON  STATE                GROUPS    MANAGER  ACCOUNT  PASSKEYS
            dana    active               dba, sre           corp     key⟨U+001B⟩ (cred_00000000000000000000000007)
            lea     disabled             dba, sre  dana
            max     active, provisioned  dba, sre
            ned     inactive             dba, sre"#]].assert_eq(&shown);
        let only = super::passkey(&passkey("phone", false));
        assert!(only.ends_with(", signs in only)"), "{only}");
    }

    #[tokio::test]
    async fn changes_are_proposals_by_name() {
        let waiting = || Waiting {
            reason: None,
            wait: "0s".parse().unwrap(),
        };
        let person: PersonId = "lea@example.com".parse().unwrap();
        let group: GroupId = "dba".parse().unwrap();
        let membership = || Membership {
            person: person.clone(),
            group: group.clone(),
            waiting: waiting(),
        };
        let one = || One {
            person: person.clone(),
            waiting: waiting(),
        };
        for (command, body) in [
            (
                Command::Join(membership()),
                r#"{"operation":"membership-add","arguments":{"group":"dba","person":"lea@example.com"},"reason":null}"#,
            ),
            (
                Command::Leave(membership()),
                r#"{"operation":"membership-remove","arguments":{"group":"dba","person":"lea@example.com"},"reason":null}"#,
            ),
            (
                Command::Link(one()),
                r#"{"operation":"person-link","arguments":{"person":"lea@example.com"},"reason":null}"#,
            ),
            (
                Command::Disable(one()),
                r#"{"operation":"person-disable","arguments":{"person":"lea@example.com"},"reason":null}"#,
            ),
        ] {
            let stub = Stub::start(vec![problem(403, "not_admin", "only administrators")]).await;
            let (mut output, _, _) = captured(false, false);
            let failure = run(command, &stub.sources(), &mut output)
                .await
                .unwrap_err();
            assert_eq!(failure.exit, 77);
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let sent = stub.seen().remove(0);
            assert_eq!(json(sent.split_once("\r\n\r\n").unwrap().1), json(body));
        }
    }
}
