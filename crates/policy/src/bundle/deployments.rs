//! The `[deployments.NAME]` tables.
//!
//! In scope: reading the settings of a GitHub App; refusing what names something that is not here.
//! Out of scope: whether GitHub knows any of it.
//! Invariant: an environment is one target, an account one person, and a repository one workload.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::id::{PersonId, TargetId, WorkloadId};
use serde::Deserialize;
use toml::Spanned;

use super::{
    channels::{address, secret},
    config::{Configuration, known_person},
    reading::{Entry, Reader},
    targets::RawSecret,
};
use crate::{
    deployment::{GitHub, Repository, is_environment, is_repository},
    problem::shown,
    target::TargetKind,
};

/// The longest name of a table; it is part of an address.
const MAX_NAME: usize = 64;
/// GitHub's own interface.
const API: &str = "https://api.github.com";
/// The largest number of GitHub's that is one everywhere.
const MAX_NUMBER: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeployments {
    kind: Spanned<String>,
    app: Spanned<AppId>,
    private_key: Spanned<RawSecret>,
    webhook_secret: Spanned<RawSecret>,
    api: Option<Spanned<String>>,
    #[serde(default)]
    people: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    repository: Vec<Spanned<RawRepository>>,
}

/// The number of an App; apps also have a Client ID, which is no number.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`app` is not the App ID, which is a number; the Client ID is something else"
)]
enum AppId {
    Number(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepository {
    name: Spanned<String>,
    id: Option<Spanned<u64>>,
    installation: Option<Spanned<u64>>,
    workload: Spanned<String>,
    #[serde(default)]
    environments: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// Reads the tables; what can't be used is noted and left out.
pub(super) fn read(
    reader: &mut Reader<'_>,
    entries: Vec<Entry<RawDeployments>>,
    config: &Configuration,
) -> BTreeMap<String, GitHub> {
    let entries = entries.into_iter();
    let read = entries.filter_map(|entry| one(reader, entry, config));
    read.collect()
}

fn one(
    reader: &mut Reader<'_>,
    entry: Entry<RawDeployments>,
    config: &Configuration,
) -> Option<(String, GitHub)> {
    let Entry { name, line, value } = entry;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        let message = format!("`{}` cannot name deployments", shown(&name));
        reader.error(
            line,
            message,
            "use 1 to 64 lower-case letters, digits and `-`",
        );
        return None;
    }
    if value.kind.get_ref() != "github" {
        let line = reader.line(value.kind.span().start);
        let message = format!(
            "there are no deployments of kind `{}`",
            shown(value.kind.get_ref())
        );
        reader.error(line, message, "use `github`; others are not available yet");
        return None;
    }
    if value.repository.is_empty() {
        let message = format!("the deployments `{name}` name no repository");
        reader.error(
            line,
            message,
            format!("add `[[deployments.{name}.repository]]`"),
        );
    }
    let AppId::Number(app) = *value.app.get_ref();
    let app = number(reader, &Spanned::new(value.app.span(), app), "app");
    let private_key = secret(reader, value.private_key, "private_key");
    let webhook_secret = secret(reader, value.webhook_secret, "webhook_secret");
    let api = address(reader, ("api", value.api), API);
    let people = people(
        reader,
        value.people,
        &config.people.keys().cloned().collect(),
    );
    let mut repositories: Vec<Repository> = Vec::new();
    for raw in value.repository {
        let line = reader.line(raw.span().start);
        let Some(read) = repository(reader, raw.into_inner(), config) else {
            continue;
        };
        if repositories
            .iter()
            .any(|known| known.name.eq_ignore_ascii_case(&read.name))
        {
            let message = format!("`{}` is named twice", read.name);
            reader.error(line, message, "name each repository once");
        }
        repositories.push(read);
    }
    let github = GitHub {
        app: app?,
        private_key: private_key?,
        webhook_secret: webhook_secret?,
        api: api?,
        people,
        repositories,
    };
    Some((name, github))
}

fn number(reader: &mut Reader<'_>, raw: &Spanned<u64>, key: &str) -> Option<u64> {
    let number = *raw.get_ref();
    if (1..=MAX_NUMBER).contains(&number) {
        return Some(number);
    }
    let line = reader.line(raw.span().start);
    let help = "write the number that GitHub has for it";
    reader.error(line, format!("`{number}` is no `{key}` of GitHub's"), help);
    None
}

fn people(
    reader: &mut Reader<'_>,
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
    known: &BTreeSet<PersonId>,
) -> BTreeMap<u64, PersonId> {
    let mut people = BTreeMap::new();
    for (account, person) in raw {
        let text = account.get_ref();
        let number = text.parse::<u64>().ok();
        let number = number.filter(|number| number.to_string() == *text && *number <= MAX_NUMBER);
        let Some(number) = number.filter(|number| *number > 0) else {
            let line = reader.line(account.span().start);
            let message = format!("`{}` is no account's number at GitHub", shown(text));
            let help = "write the `id` that https://api.github.com/users/LOGIN shows: logins change \
                        hands";
            reader.error(line, message, help);
            continue;
        };
        if let Some(person) = known_person(reader, known, &person) {
            people.insert(number, person);
        }
    }
    people
}

fn repository(
    reader: &mut Reader<'_>,
    raw: RawRepository,
    config: &Configuration,
) -> Option<Repository> {
    let line = reader.line(raw.name.span().start);
    let name = raw.name.into_inner();
    if !is_repository(&name) {
        let message = format!("`{}` is no repository of GitHub's", shown(&name));
        reader.error(line, message, "write `owner/name`");
        return None;
    }
    let id = raw.id.map(|id| number(reader, &id, "id"));
    let installation = raw.installation;
    let installation = installation.map(|one| number(reader, &one, "installation"));
    let at = reader.line(raw.workload.span().start);
    let workload: Option<WorkloadId> = reader.identifier(raw.workload.get_ref(), at);
    let workload = workload?;
    if !config.workloads.contains_key(&workload) {
        let help = format!("add `[workload.{workload}]`");
        reader.unknown(at, format!("unknown workload `{workload}`"), help);
    }
    if raw.environments.is_empty() {
        let message = format!("`{name}` names no environment");
        reader.error(line, message, "add `environments = { NAME = \"TARGET\" }`");
    }
    Some(Repository {
        id: optional(id)?,
        installation: optional(installation)?,
        workload,
        environments: environments(reader, raw.environments, config),
        name,
    })
}

/// What is written has to be good; what is not need not be.
#[expect(
    clippy::option_option,
    reason = "the outer one is whether it can be used"
)]
fn optional<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(read) => read.map(Some),
        None => Some(None),
    }
}

fn environments(
    reader: &mut Reader<'_>,
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
    config: &Configuration,
) -> BTreeMap<String, TargetId> {
    let mut read: BTreeMap<String, TargetId> = BTreeMap::new();
    for (environment, target) in raw {
        let line = reader.line(environment.span().start);
        let environment = environment.into_inner();
        if !is_environment(&environment) {
            let message = format!("`{}` is no environment of GitHub's", shown(&environment));
            reader.error(
                line,
                message,
                "write the environment's name as GitHub shows it",
            );
            continue;
        }
        if read
            .keys()
            .any(|known| known.eq_ignore_ascii_case(&environment))
        {
            let message = format!("the environment `{}` is named twice", shown(&environment));
            reader.error(
                line,
                message,
                "GitHub takes small and capital letters for the same",
            );
        }
        let at = reader.line(target.span().start);
        let Some(id) = reader.identifier::<TargetId>(target.get_ref(), at) else {
            continue;
        };
        let kind = config.targets.get(&id).map(|target| &target.kind);
        match kind {
            Some(TargetKind::Deployment) => {
                read.insert(environment, id);
            }
            Some(other) => {
                let message = format!("the target `{id}` is of kind `{}`", other.name());
                let help = "name one of kind `deployment`, which only deployments reach";
                reader.error(at, message, help);
            }
            None => {
                let help = format!("add `[target.{id}]` with `kind = \"deployment\"`");
                reader.unknown(at, format!("unknown target `{id}`"), help);
            }
        }
    }
    read
}
