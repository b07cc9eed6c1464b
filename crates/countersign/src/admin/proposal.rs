//! A proposal, read strictly from what a caller sent.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    canonical::Hash,
    count::counted,
    id::{AgentId, CredentialId, GroupId, PersonId, RequestId},
    time::{Span, Timestamp},
};
use countersign_evidence::body::KeyPurpose;
use countersign_policy::{Bundle, DirectoryChange};
use countersign_runner::quote::reveal_lines;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    active::Active,
    api::types::ProposalBody,
    identity::{
        MAX_TOKEN,
        passkey::{Enrolled, fingerprint},
    },
};

/// Why a proposal can't be understood.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProposal {
    /// No such operation.
    #[error("there is no operation `{0}`")]
    NoOperation(String),
    /// Its arguments.
    #[error("the arguments of `{0}` are wrong: {1}")]
    Arguments(String, String),
    /// A passkey, which only a browser can make.
    #[error("a passkey is added by the person it is for, in the console under Passkeys")]
    InBrowserOnly,
    /// A passkey that is somebody's already.
    #[error(
        "this passkey is enrolled here already, or proposed for somebody else; one passkey stands for \
         one person: make another"
    )]
    PasskeyTaken,
    /// A bundle with problems.
    #[error("the bundle was refused, the active one stays:\n{0}")]
    Bundle(String),
    /// Nothing would change.
    #[error("the bundle is the active one; there is nothing to apply")]
    Unchanged,
    /// Not one of this gate's.
    #[error(
        "`{0}` is no change of Countersign itself; an approved command runs with \
         `countersign run --claim {0}`"
    )]
    NotAdministrative(RequestId),
}

/// A change of Countersign itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Proposal {
    /// Replace the bundle.
    Bundle {
        /// Path and text of each file.
        files: BTreeMap<String, String>,
        /// The active bundle this was compared with; it applies to no other.
        replaces: Hash,
    },
    /// Change the directory.
    Directory {
        /// The operation's name.
        name: String,
        /// The change.
        change: DirectoryChange,
    },
    /// Issue a token.
    Token {
        /// For whom.
        agent: AgentId,
        /// How long it lasts.
        valid_for: Span,
    },
    /// Issue a sign-in link.
    Link {
        /// For whom.
        person: PersonId,
    },
    /// Enrol a passkey that its holder has made.
    Passkey {
        /// Whose.
        person: PersonId,
        /// Which.
        passkey: Enrolled,
    },
    /// Have a new key take over.
    RotateKey {
        /// What it signs.
        purpose: KeyPurpose,
    },
    /// Erase a person.
    Erase {
        /// Whom.
        person: PersonId,
    },
    /// Revoke a credential.
    Revoke {
        /// Which.
        credential: CredentialId,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleArguments {
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenArguments {
    agent: AgentId,
    #[serde(default)]
    valid_for: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonArguments {
    person: PersonId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateArguments {
    purpose: KeyPurpose,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeArguments {
    credential: CredentialId,
}

/// Operation names and the directory changes they stand for.
const DIRECTORY: [(&str, &str); 9] = [
    ("person-add", "add_person"),
    ("person-disable", "disable_person"),
    ("person-enable", "enable_person"),
    ("membership-add", "add_membership"),
    ("membership-remove", "remove_membership"),
    ("account-unlink", "unlink_account"),
    ("agent-add", "add_agent"),
    ("agent-stop", "stop_agent"),
    ("agent-start", "start_agent"),
];

impl Proposal {
    /// Reads a proposal and checks what can be checked before asking anybody.
    ///
    /// # Errors
    /// [`InvalidProposal`].
    pub fn read(body: &ProposalBody, active: &Active) -> Result<Self, InvalidProposal> {
        let operation = body.operation.as_str();
        if let Some((_, change)) = DIRECTORY.iter().find(|(name, _)| *name == operation) {
            return Self::directory(operation, change, &body.arguments, active);
        }
        match operation {
            "bundle-apply" => Self::bundle(arguments(body)?, active),
            "agent-token" => {
                let TokenArguments { agent, valid_for } = arguments(body)?;
                let valid_for = valid_for.unwrap_or(crate::identity::TOKEN);
                if valid_for > MAX_TOKEN {
                    let why = format!("a token lasts at most {MAX_TOKEN}");
                    return Err(InvalidProposal::Arguments(operation.into(), why));
                }
                if !active.directory.agents.contains_key(&agent) {
                    let why = format!("there is no agent `{agent}`; check the name");
                    return Err(InvalidProposal::Arguments(operation.into(), why));
                }
                Ok(Self::Token { agent, valid_for })
            }
            "person-link" => {
                let PersonArguments { person } = arguments(body)?;
                if !active.directory.people.contains_key(&person) {
                    let why = format!("there is no person `{person}`; check the name");
                    return Err(InvalidProposal::Arguments(operation.into(), why));
                }
                Ok(Self::Link { person })
            }
            "person-erase" => {
                let PersonArguments { person } = arguments(body)?;
                Ok(Self::Erase { person })
            }
            "key-rotate" => {
                let RotateArguments { purpose } = arguments(body)?;
                Ok(Self::RotateKey { purpose })
            }
            "passkey-add" => Err(InvalidProposal::InBrowserOnly),
            "credential-revoke" => {
                let RevokeArguments { credential } = arguments(body)?;
                Ok(Self::Revoke { credential })
            }
            other => Err(InvalidProposal::NoOperation(
                other.chars().take(60).collect(),
            )),
        }
    }

    fn directory(
        operation: &str,
        change: &str,
        given: &Value,
        active: &Active,
    ) -> Result<Self, InvalidProposal> {
        let wrong = |why: String| InvalidProposal::Arguments(operation.into(), why);
        let mut fields = given
            .as_object()
            .cloned()
            .ok_or_else(|| wrong("not an object".into()))?;
        fields.insert("change".into(), json!(change));
        let change: DirectoryChange = serde_json::from_value(Value::Object(fields))
            .map_err(|error| wrong(error.to_string()))?;
        let mut trial = active.directory.as_ref().clone();
        change
            .check_proposed(&trial)
            .and_then(|()| change.apply(&mut trial, active.activated, false))
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Directory {
            name: operation.into(),
            change,
        })
    }

    fn bundle(given: BundleArguments, active: &Active) -> Result<Self, InvalidProposal> {
        let bundle = Bundle::from_files(&given.files).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            InvalidProposal::Bundle(lines.join("\n"))
        })?;
        if bundle.files() == active.bundle.files() {
            return Err(InvalidProposal::Unchanged);
        }
        let replaces = active.bundle.files_hash();
        Ok(Self::Bundle {
            files: given.files,
            replaces: replaces.map_err(|error| InvalidProposal::Bundle(error.to_string()))?,
        })
    }

    /// Everybody whom it names.
    #[must_use]
    pub fn people(&self) -> Vec<PersonId> {
        match self {
            Self::Bundle { files, .. } => match Bundle::from_files(files) {
                Ok(bundle) => {
                    let directory = bundle.directory(Timestamp(0), None, false);
                    directory.people.into_keys().collect()
                }
                Err(_) => Vec::new(),
            },
            Self::Directory { change, .. } => match change {
                DirectoryChange::AddPerson {
                    person, manager, ..
                } => [person].into_iter().chain(manager).cloned().collect(),
                _ => Vec::new(),
            },
            Self::Erase { person } => vec![person.clone()],
            Self::Token { .. }
            | Self::Link { .. }
            | Self::Passkey { .. }
            | Self::RotateKey { .. }
            | Self::Revoke { .. } => Vec::new(),
        }
    }

    /// The operation's name, as policies know it behind `countersign:`.
    #[must_use]
    pub fn operation(&self) -> &str {
        match self {
            Self::Bundle { .. } => "bundle-apply",
            Self::Directory { name, .. } => name,
            Self::Token { .. } => "agent-token",
            Self::Link { .. } => "person-link",
            Self::Passkey { .. } => "passkey-add",
            Self::RotateKey { .. } => "key-rotate",
            Self::Erase { .. } => "person-erase",
            Self::Revoke { .. } => "credential-revoke",
        }
    }

    /// The part of Countersign it is about.
    #[must_use]
    pub fn about(&self) -> &'static str {
        match self {
            Self::Bundle { .. } => "bundle",
            Self::Directory { .. } | Self::Erase { .. } => "directory",
            Self::Token { .. }
            | Self::Link { .. }
            | Self::Passkey { .. }
            | Self::RotateKey { .. }
            | Self::Revoke { .. } => "credentials",
        }
    }

    /// One line, and the whole change, for reviewers.
    #[must_use]
    pub fn present(&self, active: &Active) -> (String, String) {
        match self {
            Self::Bundle { files, .. } => match Bundle::from_files(files) {
                Ok(bundle) => {
                    let mut diff = active.bundle.diff(&bundle).to_string();
                    if bundle.needs_restart(&active.bundle) {
                        diff.push_str(
                            "\n`[server]` and `[store]` take effect at the next start.\n",
                        );
                    }
                    let title = match active.bundle.diff(&bundle).files.as_slice() {
                        [one] => format!("Change the configuration: {}", one.path),
                        many => many_files(many.len()),
                    };
                    (title, reveal_lines(&diff))
                }
                Err(_) => ("Apply a bundle that can't be read".into(), String::new()),
            },
            Self::Directory { change, .. } => (title_of(change), body_of(change)),
            Self::Token { agent, valid_for } => (
                format!("Issue a token for the agent {agent}"),
                format!("agent      {agent}\nvalid for  {valid_for}\n"),
            ),
            Self::Link { person } => (
                format!("Issue a sign-in link for {person}"),
                format!(
                    "person  {person}\n\nWhoever asks for the link sees it and counts as the same \
                     person in votes cast with it: signed in with it, {person} can't approve what \
                     they ask. Where two people approve for each other, {person} asks for it \
                     themselves while still signed in, or somebody else does.\n"
                ),
            ),
            Self::Passkey { person, passkey } => (
                format!("Add a passkey for {person}"),
                format!(
                    "person       {person}\nfingerprint  {}\nfor          {}\ncalled       {:?}\n\n\
                     Votes signed with it count as theirs. Ask {person} in person or by voice, not \
                     by a message, whether they are adding a passkey now and which fingerprint \
                     their page shows.\n",
                    fingerprint(passkey),
                    passkey.site,
                    reveal_lines(&passkey.label),
                ),
            ),
            Self::RotateKey { purpose } => {
                let what = match purpose {
                    KeyPurpose::Log => "the log's checkpoints",
                    KeyPurpose::Vote => "people's votes",
                };
                (
                    format!("Replace the key that signs {what}"),
                    format!(
                        "signs  {what}\n\nA new key takes over with the gateway's next start. The log \
                         records the change, and whoever has the key of today can follow it.\n"
                    ),
                )
            }
            Self::Erase { person } => (
                format!("Erase {person}"),
                format!(
                    "person  {person}\n\nDestroys the keys of their names, words and requests in the \
                     log, and deletes the requests, votes and credentials that mention them from the \
                     database. Proofs hold afterwards. Nothing brings it back. Backups, and what \
                     streams have told others, are not reached.\n"
                ),
            ),
            Self::Revoke { credential } => (
                format!("Revoke {credential}"),
                format!("credential  {credential}\n"),
            ),
        }
    }
}

/// A change of the directory in one line.
pub(super) fn title_of(change: &DirectoryChange) -> String {
    match change {
        DirectoryChange::AddPerson { person, groups, .. } => {
            format!("Add the person {person}{}", within(groups))
        }
        DirectoryChange::DisablePerson { person } => format!("Disable the person {person}"),
        DirectoryChange::KeepPerson { person } => format!("Keep the person {person}"),
        DirectoryChange::EnablePerson { person } => format!("Enable the person {person} again"),
        DirectoryChange::AddMembership { person, group } => {
            format!("Add {person} to the group {group}")
        }
        DirectoryChange::RemoveMembership { person, group } => {
            format!("Remove {person} from the group {group}")
        }
        DirectoryChange::ProvidePerson {
            person, provider, ..
        } => format!("Take over what {provider} says of {person}"),
        DirectoryChange::UnlinkAccount { person, provider } => {
            format!("Unlink the account of {person} with {provider}")
        }
        DirectoryChange::Provision { provider, .. } => {
            format!("Take over what {provider} provisions")
        }
        DirectoryChange::AddAgent {
            agent,
            owner,
            groups,
        } => format!("Add the agent {agent} of {owner}{}", within(groups)),
        DirectoryChange::StopAgent { agent } => format!("Stop the agent {agent}"),
        DirectoryChange::StartAgent { agent } => format!("Start the agent {agent} again"),
        DirectoryChange::AddWorkload {
            workload,
            owner,
            groups,
        } => format!("Add the workload {workload} of {owner}{}", within(groups)),
        DirectoryChange::StopWorkload { workload } => format!("Stop the workload {workload}"),
        DirectoryChange::StartWorkload { workload } => {
            format!("Start the workload {workload} again")
        }
    }
}

/// A change of the directory whole: who and what, and what follows from it.
fn body_of(change: &DirectoryChange) -> String {
    let pairs = pairs_of(change);
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"));
    let lines: String = lines.collect();
    format!("{lines}\n{}\n", follows_from(change))
}

fn pairs_of(change: &DirectoryChange) -> Vec<(&'static str, String)> {
    match change {
        DirectoryChange::AddPerson {
            person,
            groups,
            manager,
        } => vec![
            ("person", person.to_string()),
            ("groups", named(groups)),
            (
                "manager",
                manager.as_ref().map_or_else(nobody, ToString::to_string),
            ),
        ],
        DirectoryChange::DisablePerson { person }
        | DirectoryChange::KeepPerson { person }
        | DirectoryChange::EnablePerson { person } => {
            vec![("person", person.to_string())]
        }
        DirectoryChange::AddMembership { person, group }
        | DirectoryChange::RemoveMembership { person, group } => {
            vec![("person", person.to_string()), ("group", group.to_string())]
        }
        DirectoryChange::ProvidePerson {
            person, provider, ..
        }
        | DirectoryChange::UnlinkAccount { person, provider } => {
            vec![
                ("person", person.to_string()),
                ("provider", provider.to_string()),
            ]
        }
        DirectoryChange::Provision { provider, .. } => {
            vec![("provider", provider.to_string())]
        }
        DirectoryChange::AddAgent {
            agent,
            owner,
            groups,
        } => of_machine("agent", agent.as_str(), owner, groups),
        DirectoryChange::AddWorkload {
            workload,
            owner,
            groups,
        } => of_machine("workload", workload.as_str(), owner, groups),
        DirectoryChange::StopAgent { agent } | DirectoryChange::StartAgent { agent } => {
            vec![("agent", agent.to_string())]
        }
        DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => {
            vec![("workload", workload.to_string())]
        }
    }
}

fn follows_from(change: &DirectoryChange) -> &'static str {
    match change {
        DirectoryChange::AddPerson { .. } => {
            "They can sign in once somebody has asked for a link for them."
        }
        DirectoryChange::DisablePerson { .. } => {
            "Ends their sessions, tokens and links, what waits for them, and what runs for them."
        }
        DirectoryChange::KeepPerson { .. } => "They can do nothing.",
        DirectoryChange::EnablePerson { .. } => {
            "They can act again. What they were signed in with stays void."
        }
        DirectoryChange::AddMembership { .. } => {
            "They can then do, and countersign, what the group can."
        }
        DirectoryChange::RemoveMembership { .. } => {
            "They can no longer do, or countersign, what only the group can."
        }
        DirectoryChange::Provision { .. } => "People are, and have, what it says.",
        DirectoryChange::ProvidePerson { .. } => "They have the groups that it says they have.",
        DirectoryChange::UnlinkAccount { .. } => {
            "Ends what they signed in with through it. The next account of their name there that \
             signs in is theirs: ask whoever runs the provider first whose that is."
        }
        DirectoryChange::AddAgent { .. } => {
            "Its owner answers for it and can't countersign what it asks. It acts with a token, \
             which is a request of its own."
        }
        DirectoryChange::AddWorkload { .. } => {
            "Its owner answers for it and can't countersign what it asks."
        }
        DirectoryChange::StopAgent { .. } | DirectoryChange::StopWorkload { .. } => {
            "Ends its tokens and requests, and the commands that run for it."
        }
        DirectoryChange::StartAgent { .. } | DirectoryChange::StartWorkload { .. } => {
            "It can act again, with a new token."
        }
    }
}

fn nobody() -> String {
    "none".into()
}

fn named(groups: &BTreeSet<GroupId>) -> String {
    match groups.is_empty() {
        true => nobody(),
        false => listed(groups),
    }
}

fn of_machine(
    kind: &'static str,
    name: &str,
    owner: &PersonId,
    groups: &BTreeSet<GroupId>,
) -> Vec<(&'static str, String)> {
    vec![
        (kind, name.into()),
        ("owner", owner.to_string()),
        ("groups", named(groups)),
    ]
}

fn within(groups: &BTreeSet<GroupId>) -> String {
    match groups.len() {
        0 => String::new(),
        1 => format!(" to the group {}", listed(groups)),
        _ => format!(" to the groups {}", listed(groups)),
    }
}

fn listed(groups: &BTreeSet<GroupId>) -> String {
    let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn arguments<T: for<'de> Deserialize<'de>>(body: &ProposalBody) -> Result<T, InvalidProposal> {
    serde_json::from_value(body.arguments.clone())
        .map_err(|error| InvalidProposal::Arguments(body.operation.clone(), error.to_string()))
}

fn many_files(count: usize) -> String {
    let files = counted(count, "file", "files");
    format!("Change the configuration: {files}")
}
