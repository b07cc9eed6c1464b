//! A proposal, read strictly from what a caller sent.

use std::collections::BTreeMap;

use countersign_core::{
    canonical::Hash,
    count::counted,
    id::{AgentId, CredentialId, PersonId, ProviderId, RequestId, WorkloadId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::body::KeyPurpose;
use countersign_policy::{Bundle, DirectoryChange, machine::SHORT_TOKEN};
use countersign_runner::quote::reveal_lines;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    directory_words::{body_of, title_of},
    linking,
};
use crate::{
    active::Active,
    api::types::ProposalBody,
    days::DAY,
    identity::{
        SignedInWith,
        account::Linked,
        further::LinkedFurther,
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
    /// An account, which only its holder can name.
    #[error("an account is linked by the person it is for: from the console, under Accounts")]
    InChatOnly,
    /// An account that is somebody's already.
    #[error("{0}")]
    AccountTaken(&'static str),
    /// In a session that began with a linked account.
    #[error(
        "you are signed in with your linked account with `{0}`, and what you add could outlive it: sign \
         in in another way first"
    )]
    ThroughLinked(ProviderId),
    /// A provider that links no accounts, or is believed otherwise by now.
    #[error("`{0}` links no accounts here, or its settings changed in the meantime; begin again")]
    NoLinks(ProviderId),
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
        #[serde(flatten)]
        machine: Holder,
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
    /// Link a person's account in a chat.
    Account {
        /// Whose.
        person: PersonId,
        /// Which.
        linked: Linked,
        /// What its holder was signed in with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed_in: Option<SignedInWith>,
    },
    /// Link a person's account with a provider that only links.
    Further {
        /// Whose.
        person: PersonId,
        /// Which.
        linked: LinkedFurther,
        /// What its holder was signed in with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed_in: Option<SignedInWith>,
    },
    /// Unlink such an account.
    Unlink {
        /// Whose.
        person: PersonId,
        /// With whom.
        provider: ProviderId,
        /// Its link.
        credential: CredentialId,
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

/// The agent or workload that a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// An agent.
    Agent(AgentId),
    /// A workload.
    Workload(WorkloadId),
}

impl From<Holder> for SubjectId {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Agent(id) => Self::Agent(id),
            Holder::Workload(id) => Self::Workload(id),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleArguments {
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenArguments {
    #[serde(default)]
    agent: Option<AgentId>,
    #[serde(default)]
    workload: Option<WorkloadId>,
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
const DIRECTORY: [(&str, &str); 11] = [
    ("person-add", "add_person"),
    ("person-disable", "disable_person"),
    ("person-enable", "enable_person"),
    ("membership-add", "add_membership"),
    ("membership-remove", "remove_membership"),
    ("account-unlink", "unlink_account"),
    ("absence-set", "set_absence"),
    ("absence-end", "end_absence"),
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
                let wrong = |why| InvalidProposal::Arguments(operation.into(), why);
                Self::token(arguments(body)?, active).map_err(wrong)
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
            "account-link" => Err(InvalidProposal::InChatOnly),
            "credential-revoke" => {
                let RevokeArguments { credential } = arguments(body)?;
                Ok(Self::Revoke { credential })
            }
            other => Err(InvalidProposal::NoOperation(
                other.chars().take(60).collect(),
            )),
        }
    }

    /// The proposal as `caller` asks for it: what they say of their own absence is another operation than
    /// what they say of others', so that policy can let everybody ask for theirs.
    #[must_use]
    pub fn asked_by(mut self, caller: Option<&PersonId>) -> Self {
        if let Self::Directory {
            name,
            change:
                DirectoryChange::SetAbsence { person, .. } | DirectoryChange::EndAbsence { person },
        } = &mut self
            && caller == Some(person)
        {
            *name = "absence-own".into();
        }
        self
    }

    /// Whether it would give its proposer a way to act, or somebody a right of theirs, that is there when
    /// their session is over.
    #[must_use]
    pub fn outlives_a_session(&self) -> bool {
        matches!(
            self,
            Self::Token { .. }
                | Self::Link { .. }
                | Self::Directory {
                    change: DirectoryChange::SetAbsence { .. },
                    ..
                }
        )
    }

    /// Refuses what would be over before it began, or should have begun days ago.
    ///
    /// # Errors
    /// [`InvalidProposal::Arguments`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), InvalidProposal> {
        match self {
            Self::Directory {
                name,
                change: DirectoryChange::SetAbsence { from, until, .. },
            } if *until <= now || from.after(DAY) <= now => {
                let why = match *until <= now {
                    true => "that time is over already",
                    false => "it can't begin in the past; leave the first day out to begin now",
                };
                Err(InvalidProposal::Arguments(name.clone(), why.into()))
            }
            _ => Ok(()),
        }
    }

    fn token(given: TokenArguments, active: &Active) -> Result<Self, String> {
        let machine = match (given.agent, given.workload) {
            (Some(agent), None) => Holder::Agent(agent),
            (None, Some(workload)) => Holder::Workload(workload),
            _ => return Err("name one `agent`, or one `workload`".into()),
        };
        let valid_for = given.valid_for.unwrap_or(crate::identity::TOKEN);
        let id = SubjectId::from(machine.clone());
        if active.directory.machine(&id).is_none() {
            return Err(format!(
                "there is no {} `{}`; check the name",
                id.kind(),
                id.name()
            ));
        }
        check_token(active, &id, valid_for)?;
        Ok(Self::Token { machine, valid_for })
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
        // Those of agents are those of workloads, too.
        let change = match fields.contains_key("workload") {
            true => change.replace("_agent", "_workload"),
            false => change.to_owned(),
        };
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
            | Self::Account { .. }
            | Self::Further { .. }
            | Self::Unlink { .. }
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
            Self::Account { .. } | Self::Further { .. } => "account-link",
            Self::Unlink { .. } => "account-unlink",
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
            Self::Directory { .. } | Self::Unlink { .. } | Self::Erase { .. } => "directory",
            Self::Token { .. }
            | Self::Link { .. }
            | Self::Passkey { .. }
            | Self::Account { .. }
            | Self::Further { .. }
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
            Self::Token { machine, valid_for } => of_token(machine, *valid_for),
            Self::Link { person } => (
                format!("Issue a sign-in link for {person}"),
                format!(
                    "person  {person}\n\nWhoever asks for the link sees it and counts as the same \
                     person in votes cast with it: signed in with it, {person} can't approve what \
                     they ask. Where two people approve for each other, {person} asks for it \
                     themselves while still signed in, or somebody else does.\n"
                ),
            ),
            Self::Passkey { person, passkey } => present_passkey(person, passkey),
            Self::Account { person, linked, .. } => linking::present(person, linked),
            Self::Further { person, linked, .. } => linking::present_further(person, linked),
            Self::Unlink {
                person, provider, ..
            } => linking::present_unlink(person, provider),
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

fn present_passkey(person: &PersonId, passkey: &Enrolled) -> (String, String) {
    (
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
    )
}

fn of_token(machine: &Holder, valid_for: Span) -> (String, String) {
    let id = SubjectId::from(machine.clone());
    let (kind, name) = (id.kind(), id.name());
    (
        format!("Issue a token for the {kind} {name}"),
        format!("{kind:<9}  {name}\nvalid for  {valid_for}\n"),
    )
}

/// Refuses a token that its machine's table does not allow.
///
/// # Errors
/// Why, and what would allow it.
pub(super) fn check_token(active: &Active, id: &SubjectId, valid_for: Span) -> Result<(), String> {
    let settings = active.bundle.machines().get(id);
    if settings.is_some_and(|settings| settings.require_dpop) {
        return Err(format!(
            "every token of `{id}` is bound to a key (`require_dpop`): it gets one by itself, with a proof"
        ));
    }
    let most = settings.map_or(SHORT_TOKEN, |settings| settings.longest_token());
    match valid_for <= most {
        true => Ok(()),
        false => Err(format!(
            "a token of `{id}` lasts at most {most}; more takes `long_lived_tokens` in its table in \
             countersign.toml, and 90d is the most"
        )),
    }
}

fn arguments<T: for<'de> Deserialize<'de>>(body: &ProposalBody) -> Result<T, InvalidProposal> {
    serde_json::from_value(body.arguments.clone())
        .map_err(|error| InvalidProposal::Arguments(body.operation.clone(), error.to_string()))
}

fn many_files(count: usize) -> String {
    let files = counted(count, "file", "files");
    format!("Change the configuration: {files}")
}
