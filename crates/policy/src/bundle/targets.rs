//! The `[target.NAME]` tables.
//!
//! In scope: reading a target's settings and its named commands.
//! Out of scope: matching commands, which [`target`](crate::target) does.
//! Invariant: one action name has one shared group and one kind for each capture, in all targets.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    action::SHARED_GROUPS,
    id::{EnvironmentId, PersonId, TargetId},
    time::Span,
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    config::known_person,
    reading::{Entry, Reader},
};
use crate::target::{
    Target, TargetKind,
    exec::{CommandPattern, Credential, CredentialSource, ExecTarget, Inputs},
    pattern::{Template, Token},
};

/// The most arguments a pattern may have.
const MAX_PATTERN_ARGUMENTS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    kind: Spanned<String>,
    environment: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeSet<String>,
    owner: Option<Spanned<String>>,
    #[serde(default)]
    advisory: bool,
    workdir: Option<String>,
    #[serde(default)]
    env: RawEnv,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    credential: Option<Spanned<RawCredential>>,
    #[serde(default)]
    credentials: Vec<Spanned<RawCredential>>,
    inputs: Option<RawInputs>,
    run_as: Option<String>,
    timeout: Option<Span>,
    output_limit: Option<u64>,
    #[serde(default)]
    command: Vec<Spanned<RawCommand>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawEnv {
    #[serde(default)]
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCredential {
    env: Option<String>,
    file: Option<String>,
    command: Option<Vec<String>>,
    #[serde(rename = "as")]
    as_env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInputs {
    #[serde(default)]
    keep: Vec<String>,
    max_bytes: Option<u64>,
    overlay: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    argv: Vec<Spanned<String>>,
    action: Spanned<String>,
    group: Spanned<String>,
    resource: Option<Spanned<String>>,
    #[serde(default)]
    inputs: CommandInputs,
    #[serde(default)]
    preview: Vec<Spanned<String>>,
    #[serde(default)]
    no_grant: bool,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum CommandInputs {
    #[default]
    None,
    Allowed,
}

/// Reads one target; `None` when it cannot be used.
pub(super) fn read(
    reader: &mut Reader<'_>,
    people: &BTreeSet<PersonId>,
    entry: Entry<RawTarget>,
) -> Option<Target> {
    let Entry {
        name,
        line,
        value: raw,
    } = entry;
    let id: TargetId = reader.identifier(&name, line)?;
    if name == "countersign" || name.contains('/') {
        let help = "choose another name, without `/`";
        reader.error(line, format!("the target name `{name}` is reserved"), help);
    }
    if !["exec", "deployment"].contains(&raw.kind.get_ref().as_str()) {
        let line = reader.line(raw.kind.span().start);
        let message = format!(
            "targets of kind `{}` are not available yet",
            crate::problem::shown(raw.kind.get_ref())
        );
        reader.error(line, message, "use kind `exec` or `deployment`");
        return None;
    }
    let environment = read_environment(reader, &id, line, raw.environment.as_ref());
    let owner = raw
        .owner
        .as_ref()
        .and_then(|owner| known_person(reader, people, owner));
    if raw.kind.get_ref() == "deployment" {
        return deployment(reader, (id, line), environment?, owner, raw);
    }
    let names = raw.env.allow.iter().chain(raw.variables.keys());
    for name in names.filter(|name| !is_variable(name)) {
        let message = format!("`{}` is not a variable's name", crate::problem::shown(name));
        reader.error(line, message, "use letters, digits and `_`");
    }
    let credentials = raw
        .credential
        .into_iter()
        .chain(raw.credentials)
        .filter_map(|credential| read_credential(reader, credential))
        .collect();
    let commands = raw
        .command
        .into_iter()
        .filter_map(|c| read_command(reader, c))
        .collect();
    let exec = ExecTarget {
        target: id.clone(),
        commands,
        workdir: raw.workdir,
        env_allow: raw.env.allow,
        variables: raw.variables,
        credentials,
        inputs: raw.inputs.map(|i| Inputs {
            keep: i.keep,
            max_bytes: i.max_bytes,
            overlay: i.overlay,
        }),
        run_as: raw.run_as,
        timeout: raw.timeout,
        output_limit: raw.output_limit,
    };
    Some(Target {
        id,
        environment: environment?,
        labels: raw.labels,
        owner,
        advisory: raw.advisory,
        kind: TargetKind::Exec(Box::new(exec)),
        line,
    })
}

/// A target that runs nothing has none of the settings of running.
fn deployment(
    reader: &mut Reader<'_>,
    (id, line): (TargetId, u32),
    environment: EnvironmentId,
    owner: Option<PersonId>,
    raw: RawTarget,
) -> Option<Target> {
    let runs = [
        ("advisory", raw.advisory),
        ("command", !raw.command.is_empty()),
        ("workdir", raw.workdir.is_some()),
        ("env", !raw.env.allow.is_empty()),
        ("variables", !raw.variables.is_empty()),
        ("credential", raw.credential.is_some()),
        ("credentials", !raw.credentials.is_empty()),
        ("inputs", raw.inputs.is_some()),
        ("run_as", raw.run_as.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("output_limit", raw.output_limit.is_some()),
    ];
    for (key, _) in runs.into_iter().filter(|(_, written)| *written) {
        let message = format!("the target `{id}` runs nothing, and has `{key}`");
        reader.error(
            line,
            message,
            "leave it out: GitHub runs what is deployed there",
        );
    }
    Some(Target {
        id,
        environment,
        labels: raw.labels,
        owner,
        advisory: false,
        kind: TargetKind::Deployment,
        line,
    })
}

fn read_environment(
    reader: &mut Reader<'_>,
    id: &TargetId,
    line: u32,
    written: Option<&Spanned<String>>,
) -> Option<EnvironmentId> {
    let Some(written) = written else {
        let message = format!("target `{id}` has no environment");
        reader.error(
            line,
            message,
            "add `environment = \"production\"` or another name",
        );
        return None;
    };
    let line = reader.line(written.span().start);
    if written.get_ref() == "countersign" {
        reader.error(
            line,
            "the environment `countersign` is reserved",
            "choose another name",
        );
    }
    reader.identifier(written.get_ref(), line)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_credential(
    reader: &mut Reader<'_>,
    credential: Spanned<RawCredential>,
) -> Option<Credential> {
    let line = reader.line(credential.span().start);
    let raw = credential.into_inner();
    if !is_variable(&raw.as_env) {
        let message = format!(
            "`{}` is not a variable's name",
            crate::problem::shown(&raw.as_env)
        );
        reader.error(
            line,
            message,
            "name the variable that the command sees in `as`",
        );
    }
    let source = credential_source(reader, line, "credential", (raw.env, raw.file, raw.command))?;
    Some(Credential {
        source,
        as_env: raw.as_env,
    })
}

/// A secret that the gateway itself uses, by where it is kept.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "`{ env = \"…\" }`, `{ file = \"…\" }` or `{ command = […] }`"
)]
pub(super) struct RawSecret {
    env: Option<String>,
    file: Option<String>,
    command: Option<Vec<String>>,
}

impl RawSecret {
    /// Where it is kept; none and several places are noted.
    pub(super) fn source(
        self,
        reader: &mut Reader<'_>,
        line: u32,
        what: &str,
    ) -> Option<CredentialSource> {
        credential_source(reader, line, what, (self.env, self.file, self.command))
    }
}

/// The one source among `env`, `file` and `command`; none and several are noted.
fn credential_source(
    reader: &mut Reader<'_>,
    line: u32,
    what: &str,
    written: (Option<String>, Option<String>, Option<Vec<String>>),
) -> Option<CredentialSource> {
    match written {
        (Some(env), None, None) => Some(CredentialSource::Env(env)),
        (None, Some(file), None) => Some(CredentialSource::File(file)),
        (None, None, Some(argv)) if !argv.is_empty() => Some(CredentialSource::Command(argv)),
        _ => {
            let help = "write exactly one of `env`, `file` and `command`";
            reader.error(line, format!("the {what} has not one source"), help);
            None
        }
    }
}

fn read_command(reader: &mut Reader<'_>, command: Spanned<RawCommand>) -> Option<CommandPattern> {
    let line = reader.line(command.span().start);
    let raw = command.into_inner();
    let argv = read_tokens(reader, line, &raw.argv);
    let group_line = reader.line(raw.group.span().start);
    if !SHARED_GROUPS.contains(&raw.group.get_ref().as_str()) {
        let message = format!(
            "unknown group `{}`",
            crate::problem::shown(raw.group.get_ref())
        );
        reader.error(
            group_line,
            message,
            format!("use one of {}", SHARED_GROUPS.join(", ")),
        );
    }
    let action_line = reader.line(raw.action.span().start);
    let name = raw.action.get_ref();
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !good || name == "run" {
        let message = format!("`{}` cannot name an action", crate::problem::shown(name));
        let help = "use lower-case letters, digits and `-`; `run` is taken";
        reader.error(action_line, message, help);
    }
    let action = reader.identifier(&format!("exec:{name}"), action_line);
    let resource = match &raw.resource {
        None => None,
        Some(text) => Some(read_template(reader, text, argv.as_deref().unwrap_or(&[]))?),
    };
    let preview = raw
        .preview
        .iter()
        .map(|text| read_template(reader, text, argv.as_deref().unwrap_or(&[])))
        .collect::<Option<Vec<_>>>()?;
    if !preview.is_empty() && raw.inputs == CommandInputs::None {
        let message = "`preview` shows captured files, and this command takes none";
        reader.error(
            line,
            message,
            "add `inputs = \"allowed\"`, or leave `preview` out",
        );
    }
    Some(CommandPattern {
        argv: argv?,
        action: action?,
        group: raw.group.into_inner(),
        resource,
        inputs_allowed: raw.inputs == CommandInputs::Allowed,
        preview,
        no_grant: raw.no_grant,
        line,
    })
}

fn read_tokens(reader: &mut Reader<'_>, line: u32, argv: &[Spanned<String>]) -> Option<Vec<Token>> {
    if argv.is_empty() || argv.len() > MAX_PATTERN_ARGUMENTS {
        let message = format!("`argv` has {} tokens", argv.len());
        reader.error(
            line,
            message,
            format!("write 1 to {MAX_PATTERN_ARGUMENTS} tokens"),
        );
        return None;
    }
    let mut tokens = Vec::new();
    let mut names = BTreeSet::new();
    for text in argv {
        let line = reader.line(text.span().start);
        match Token::parse(text.get_ref()) {
            Err(error) => reader.error(line, error.to_string(), "correct the token"),
            Ok(token) => {
                for (name, _) in token.placeholders() {
                    if !names.insert(name.to_owned()) {
                        let message = format!("`{{{name}}}` is used twice");
                        reader.error(line, message, "give each placeholder its own name");
                    }
                }
                tokens.push(token);
            }
        }
    }
    (tokens.len() == argv.len()).then_some(tokens)
}

fn read_template(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    argv: &[Token],
) -> Option<Template> {
    let line = reader.line(text.span().start);
    let template = match Template::parse(text.get_ref()) {
        Ok(template) => template,
        Err(error) => {
            reader.error(
                line,
                error.to_string(),
                "let braces pair and name a placeholder",
            );
            return None;
        }
    };
    for name in template.names() {
        let captured = argv
            .iter()
            .flat_map(Token::placeholders)
            .any(|(known, _)| known == name);
        if !captured {
            let message = format!("`{{{name}}}` is not captured by `argv`");
            reader.error(line, message, "use a placeholder of this command");
        }
    }
    Some(template)
}

/// Checks that one action means the same in all targets.
pub(super) fn check_groups(reader: &mut Reader<'_>, targets: &BTreeMap<TargetId, Target>) {
    let mut seen: BTreeMap<&str, &CommandPattern> = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    for pattern in targets
        .values()
        .filter_map(Target::exec)
        .flat_map(|exec| &exec.commands)
    {
        let first = seen.entry(pattern.action.as_str()).or_insert(pattern);
        if first.group != pattern.group {
            let message = format!(
                "`{}` is in group `{}` here and in `{}` on line {}",
                pattern.action, pattern.group, first.group, first.line
            );
            reader.error(pattern.line, message, "give it one group, or two names");
        }
        for (name, kind) in pattern.argv.iter().flat_map(Token::placeholders) {
            let text = kind != crate::target::pattern::CaptureKind::Number;
            if *kinds
                .entry((pattern.action.as_str(), name.to_owned()))
                .or_insert(text)
                != text
            {
                let message = format!(
                    "`{{{name}}}` is a text in one `{}` and a number in another",
                    pattern.action
                );
                reader.error(pattern.line, message, "use one kind");
            }
        }
    }
}
