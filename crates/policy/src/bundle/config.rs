//! `countersign.toml`: settings, people, groups, agents and workloads.
//!
//! In scope: reading the file and checking that what it names exists.
//! Out of scope: the tables of a target, which [`targets`](super::targets) reads.
//! Invariant: unknown keys, unknown groups and unknown people are errors with their line.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    id::{AgentId, GroupId, IssuerId, PersonId, ProviderId, TargetId, WorkloadId},
    subject::SubjectId,
    time::Span,
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    channels::{self, RawChannel},
    deployments::{self, RawDeployments},
    exposure,
    issuers::{self, RawIssuer},
    proofs::{self, RawProof, RawProofs},
    providers::{self, RawProvider},
    reading::{Entry, Reader},
    retention::{self, Retention},
    secrets::{self, RawSecret},
    settings::{ServerSettings, StoreSettings},
    streams::{self, RawStream},
    targets::{self, RawTarget},
};
use crate::{
    channel::{Channel, is_address},
    deployment::GitHub,
    machine::{Issuer, MachineSettings},
    masking::Masker,
    problem::{Problem, shown},
    provider::Provider,
    stream::Stream,
    target::Target,
};

/// The path of the main file within a bundle.
pub const MAIN_FILE: &str = "countersign.toml";

/// A person as the file describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PersonEntry {
    pub(crate) groups: BTreeSet<GroupId>,
    pub(crate) manager: Option<PersonId>,
    pub(crate) email: Option<String>,
}

/// An agent or workload as the file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineEntry {
    pub(crate) owner: Option<PersonId>,
    pub(crate) groups: BTreeSet<GroupId>,
}

/// The main file, read and checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuration {
    pub(crate) server: ServerSettings,
    pub(crate) store: StoreSettings,
    pub(crate) targets: BTreeMap<TargetId, Target>,
    pub(crate) groups: BTreeMap<GroupId, Option<String>>,
    pub(crate) people: BTreeMap<PersonId, PersonEntry>,
    pub(crate) agents: BTreeMap<AgentId, MachineEntry>,
    pub(crate) workloads: BTreeMap<WorkloadId, MachineEntry>,
    pub(crate) providers: BTreeMap<ProviderId, Provider>,
    pub(crate) issuers: BTreeMap<IssuerId, Issuer>,
    pub(crate) machines: BTreeMap<SubjectId, MachineSettings>,
    pub(crate) streams: BTreeMap<String, Stream>,
    pub(crate) channels: BTreeMap<String, Channel>,
    pub(crate) deployments: BTreeMap<String, GitHub>,
    pub(crate) retention: Retention,
    pub(crate) masker: Masker,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    manager: Option<Spanned<String>>,
    email: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    owner: Option<Spanned<String>>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    #[serde(default)]
    proves: Vec<RawProof>,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    require_dpop: bool,
    token_lifetime: Option<Spanned<Span>>,
    long_lived_tokens: Option<Spanned<Span>>,
}

/// The tables of the file, each entry read on its own.
#[derive(Default)]
struct Sections {
    server: Option<Entry<ServerSettings>>,
    store: Option<Entry<StoreSettings>>,
    targets: Vec<Entry<RawTarget>>,
    groups: Vec<Entry<RawGroup>>,
    people: Vec<Entry<RawPerson>>,
    agents: Vec<Entry<RawMachine>>,
    workloads: Vec<Entry<RawMachine>>,
    providers: Vec<Entry<RawProvider>>,
    issuers: Vec<Entry<RawIssuer>>,
    streams: Vec<Entry<RawStream>>,
    channels: Vec<Entry<RawChannel>>,
    deployments: Vec<Entry<RawDeployments>>,
    retention: Option<Entry<Retention>>,
    secrets: Vec<Entry<RawSecret>>,
}

/// Reads the main file, noting every problem.
pub(crate) fn read(text: &str, problems: &mut Vec<Problem>) -> Configuration {
    let mut reader = Reader {
        file: MAIN_FILE,
        text,
        problems,
    };
    let sections = sections(&mut reader);
    if let Some(server) = &sections.server
        && let Some((message, help)) = exposure::refusal(&server.value)
    {
        reader.error(server.line, message, help);
    }
    let mut config = Configuration {
        server: sections.server.map(|e| e.value).unwrap_or_default(),
        store: sections.store.map(|e| e.value).unwrap_or_default(),
        ..Configuration::default()
    };
    for entry in sections.groups {
        if let Some(id) = reader.identifier(&entry.name, entry.line) {
            config.groups.insert(id, entry.value.description);
        }
    }
    // Names first, so that a person can be the manager of one who is listed earlier.
    let known = sections
        .people
        .iter()
        .filter_map(|e| e.name.parse().ok())
        .collect();
    let groups = config.groups.keys().cloned().collect();
    let names = Names {
        people: &known,
        groups: &groups,
    };
    for entry in sections.people {
        let line = entry.line;
        if let Some((id, person)) = read_person(&mut reader, &names, entry) {
            one_spelling(&mut reader, line, &id, &config.people);
            config.people.insert(id, person);
        }
    }
    let proving = read_machines(
        &mut reader,
        &names,
        sections.agents,
        sections.workloads,
        &mut config,
    );
    for entry in sections.targets {
        if let Some(target) = targets::read(&mut reader, &known, entry) {
            config.targets.insert(target.id.clone(), target);
        }
    }
    targets::check_groups(&mut reader, &config.targets);
    config.providers = providers::read(&mut reader, &groups, sections.providers);
    let here = config.server.public_url.as_deref();
    config.issuers = issuers::read(&mut reader, &config.providers, here, sections.issuers);
    config.machines = proofs::read(&mut reader, &config.issuers, proving);
    let streams = sections.streams.into_iter();
    config.streams = streams
        .filter_map(|entry| streams::read(&mut reader, entry))
        .collect();
    let channels = sections.channels.into_iter();
    config.channels = channels
        .filter_map(|entry| channels::read(&mut reader, entry))
        .collect();
    config.deployments = deployments::read(&mut reader, sections.deployments, &config);
    let retention = sections.retention;
    config.retention = retention
        .map(|entry| retention::read(&mut reader, entry))
        .unwrap_or_default();
    config.masker = secrets::read(&mut reader, sections.secrets);
    config
}

/// Reads agents and workloads; gives what their tables say of how they prove who they are.
fn read_machines(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    agents: Vec<Entry<RawMachine>>,
    workloads: Vec<Entry<RawMachine>>,
    config: &mut Configuration,
) -> Vec<(SubjectId, Entry<RawProofs>)> {
    let mut proving = Vec::new();
    for entry in agents {
        let read = read_machine::<AgentId>(reader, names, entry, "agent");
        if let Some((id, machine, raw)) = read {
            proving.push((SubjectId::Agent(id.clone()), raw));
            config.agents.insert(id, machine);
        }
    }
    for entry in workloads {
        let read = read_machine::<WorkloadId>(reader, names, entry, "workload");
        if let Some((id, machine, raw)) = read {
            proving.push((SubjectId::Workload(id.clone()), raw));
            config.workloads.insert(id, machine);
        }
    }
    proving
}

fn sections(reader: &mut Reader<'_>) -> Sections {
    let mut sections = Sections::default();
    for entry in reader.top_level() {
        match entry.name.as_str() {
            "server" => sections.server = reader.read(entry),
            "store" => sections.store = reader.read(entry),
            "target" => sections.targets = reader.named(entry),
            "group" => sections.groups = reader.named(entry),
            "person" => sections.people = reader.named(entry),
            "agent" => sections.agents = reader.named(entry),
            "workload" => sections.workloads = reader.named(entry),
            "provider" => sections.providers = reader.named(entry),
            "issuer" => sections.issuers = reader.named(entry),
            "stream" => sections.streams = reader.named(entry),
            "retention" => sections.retention = reader.read(entry),
            "secret" => sections.secrets = reader.named(entry),
            "deployments" => sections.deployments = reader.named(entry),
            "channel" => sections.channels = channels::entries(reader, entry),
            other => reader.error(
                entry.line,
                format!("unknown table `{}`", shown(other)),
                "use `server`, `store`, `target`, `person`, `group`, `agent`, `workload`, \
                 `provider`, `issuer`, `channel`, `deployments`, `stream`, `retention` or `secret`",
            ),
        }
    }
    sections
}

/// The names that entries may refer to.
struct Names<'a> {
    people: &'a BTreeSet<PersonId>,
    groups: &'a BTreeSet<GroupId>,
}

fn read_person(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    entry: Entry<RawPerson>,
) -> Option<(PersonId, PersonEntry)> {
    let id = reader.identifier(&entry.name, entry.line)?;
    let groups = known_groups(reader, names, entry.value.groups);
    let manager = entry
        .value
        .manager
        .and_then(|m| known_person(reader, names.people, &m));
    let email = entry.value.email.and_then(|email| {
        let line = reader.line(email.span().start);
        let email = email.into_inner();
        if is_address(&email) {
            return Some(email);
        }
        let message = format!("`{}` is no e-mail address", shown(&email));
        reader.error(
            line,
            message,
            "write one such as `dana@example.com`, in plain ASCII",
        );
        None
    });
    let person = PersonEntry {
        groups,
        manager,
        email,
    };
    Some((id, person))
}

fn read_machine<T>(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    entry: Entry<RawMachine>,
    kind: &str,
) -> Option<(T, MachineEntry, Entry<RawProofs>)>
where
    T: std::str::FromStr<Err = countersign_core::id::InvalidId>,
{
    let id = reader.identifier(&entry.name, entry.line)?;
    if entry.value.owner.is_none() {
        reader.problems.push(Problem::warning(
            MAIN_FILE,
            entry.line,
            format!(
                "{kind} `{}` has no owner: it will be denied everything",
                entry.name
            ),
            "add `owner = \"PERSON\"`",
        ));
    }
    let Entry { name, line, value } = entry;
    let owner = value
        .owner
        .and_then(|owner| known_person(reader, names.people, &owner));
    let groups = known_groups(reader, names, value.groups);
    let raw = RawProofs {
        proves: value.proves,
        keys: value.keys,
        require_dpop: value.require_dpop,
        token_lifetime: value.token_lifetime,
        long_lived_tokens: value.long_lived_tokens,
    };
    let raw = Entry {
        name,
        line,
        value: raw,
    };
    Some((id, MachineEntry { owner, groups }, raw))
}

fn known_groups(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    written: Vec<Spanned<String>>,
) -> BTreeSet<GroupId> {
    let mut groups = BTreeSet::new();
    for name in written {
        let line = reader.line(name.span().start);
        let Some(group) = reader.identifier::<GroupId>(name.get_ref(), line) else {
            continue;
        };
        if !names.groups.contains(&group) {
            reader.unknown(
                line,
                format!("unknown group `{group}`"),
                format!("add `[group.{group}]`"),
            );
        } else if !groups.insert(group.clone()) {
            reader.error(
                line,
                format!("group `{group}` is named twice"),
                "name it once",
            );
        }
    }
    groups
}

/// Notes a name that another one differs from in small and capital letters only: one human could be
/// both, and approve for themselves.
fn one_spelling(
    reader: &mut Reader<'_>,
    line: u32,
    id: &PersonId,
    people: &BTreeMap<PersonId, PersonEntry>,
) {
    let same = |other: &&PersonId| other.as_str().eq_ignore_ascii_case(id.as_str());
    if let Some(other) = people.keys().find(same) {
        let message = format!("`{id}` and `{other}` differ in capital letters only");
        reader.error(line, message, "name each person once");
    }
}

/// A person who is in the file; others are noted.
pub(super) fn known_person(
    reader: &mut Reader<'_>,
    people: &BTreeSet<PersonId>,
    name: &Spanned<String>,
) -> Option<PersonId> {
    let line = reader.line(name.span().start);
    let person = reader.identifier::<PersonId>(name.get_ref(), line)?;
    if people.contains(&person) {
        return Some(person);
    }
    let help = format!("add `[person.\"{person}\"]`");
    reader.unknown(line, format!("unknown person `{person}`"), help);
    None
}
