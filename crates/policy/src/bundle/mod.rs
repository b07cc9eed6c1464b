//! A bundle: policies, approval rules, targets and memberships, checked as one.
//!
//! In scope: from files to a value that holds together, or to a list of everything wrong with
//! them; its hash; what one changes against another.
//! Out of scope: reading the files; keeping the active bundle.
//! Invariant: a [`Bundle`] exists only when no problem is an error.

mod absence;
mod approvals;
mod channels;
mod config;
mod deployments;
pub mod diff;
mod email;
mod exposure;
mod issuers;
mod machines;
mod normal;
pub(crate) mod people;
mod proofs;
pub(crate) mod provided;
mod providers;
pub(crate) mod provisioned;
mod reading;
pub mod retention;
mod secrets;
pub mod settings;
mod streams;
mod targets;
mod teams;

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::PolicySet;
use countersign_core::{
    approval::{ApprovalRule, rule::Assurance},
    canonical::{Hash, NotCanonical, hash_in_domain},
    id::{IssuerId, PersonId, ProviderId, RuleName, TargetId},
    lifecycle::REPEAT_AFTER_UNKNOWN,
    subject::SubjectId,
};

pub use approvals::APPROVALS_FILE;
pub use config::MAIN_FILE;

use self::{
    config::Configuration,
    diff::BundleDiff,
    retention::Retention,
    settings::{ServerSettings, StoreSettings},
};
use crate::{
    channel::Channel,
    deployment::GitHub,
    machine::{Issuer, MachineSettings},
    masking::Masker,
    problem::{Problem, keep_causes, shown},
    provider::Provider,
    schema::{self, Generated},
    statement::{Statement, load},
    stream::Stream,
    target::Target,
};

/// The most files a bundle may have.
pub const MAX_FILES: usize = 1_000;

/// A bundle that holds together.
#[derive(Debug)]
pub struct Bundle {
    files: BTreeMap<String, String>,
    hash: Hash,
    warnings: Vec<Problem>,
    config: Configuration,
    rules: BTreeMap<RuleName, ApprovalRule>,
    pub(crate) generated: Generated,
    pub(crate) statements: Vec<Statement>,
    pub(crate) set: PolicySet,
}

impl Bundle {
    /// Reads and checks the files of a bundle, path to text: `countersign.toml`, and if wanted
    /// `approvals.toml`, `policies/*.cedar`, `schema/*.cedarschema`.
    ///
    /// # Errors
    /// Every problem found, warnings included, when one of them is an error; without those that may
    /// only follow from another.
    pub fn from_files(files: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let layout = Layout::of(files, &mut problems);
        let config = config::read(layout.main, &mut problems);
        let entries = approvals::read(layout.approvals, &config, &mut problems);
        let names = entries.keys().cloned().collect();
        let generated = schema::generate(&config.targets, &layout.schema, &mut problems);
        let loaded = generated
            .as_ref()
            .and_then(|g| load::load(&layout.policies, &names, &g.schema, &mut problems));
        if let (Some(generated), Some(loaded)) = (&generated, &loaded) {
            check_chat(&entries, &loaded.statements, generated, &mut problems);
            check_named(&config, &loaded.statements, &mut problems);
        }
        let hash = normal::hash(files);
        if hash.is_none() && !problems.iter().any(Problem::is_error) {
            let help = "use texts, whole numbers, lists and tables";
            problems.push(Problem::error(
                MAIN_FILE,
                None,
                "the file has no canonical form",
                help,
            ));
        }
        keep_causes(&mut problems);
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let (Some(generated), Some(loaded), Some(hash), false) = (
            generated,
            loaded,
            hash,
            problems.iter().any(Problem::is_error),
        ) else {
            return Err(problems);
        };
        Ok(Self {
            files: files.clone(),
            hash,
            warnings: problems,
            config,
            rules: entries
                .into_iter()
                .map(|(name, entry)| (name, entry.rule))
                .collect(),
            generated,
            statements: loaded.statements,
            set: loaded.set,
        })
    }

    /// The schema that types the policies of a bundle, as Cedar reads it, whatever the policies say.
    ///
    /// # Errors
    /// The problems of configuration and schema files.
    pub fn schema_of(files: &BTreeMap<String, String>) -> Result<String, Vec<Problem>> {
        let mut problems = Vec::new();
        let layout = Layout::of(files, &mut problems);
        let config = config::read(layout.main, &mut problems);
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        let generated = schema::generate(&config.targets, &layout.schema, &mut problems);
        generated.map(|generated| generated.text).ok_or(problems)
    }

    /// The hash that decisions carry: over everything but the `[server]` and `[store]` tables.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The hash of the sources to the last byte, `[server]` and `[store]` included.
    ///
    /// # Errors
    /// They have no canonical form, which a bundle that was read has.
    pub fn files_hash(&self) -> Result<Hash, NotCanonical> {
        hash_in_domain("bundle-files", &self.files)
    }

    /// Whether this one, after `before`, changes what a gateway reads only when it starts.
    #[must_use]
    pub fn needs_restart(&self, before: &Self) -> bool {
        self.server() != before.server() || self.store() != before.store()
    }

    /// The sources, path to text.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// What was found and does not keep the bundle from being used.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// What turns this bundle into `other`.
    #[must_use]
    pub fn diff(&self, other: &Self) -> BundleDiff {
        BundleDiff::between(&self.files, &other.files)
    }

    /// Where this gateway listens.
    #[must_use]
    pub fn server(&self) -> &ServerSettings {
        &self.config.server
    }

    /// Where this gateway keeps its data.
    #[must_use]
    pub fn store(&self) -> &StoreSettings {
        &self.config.store
    }

    /// The targets by name, without the built-in `countersign`.
    #[must_use]
    pub fn targets(&self) -> &BTreeMap<TargetId, Target> {
        &self.config.targets
    }

    /// How long what is recorded can be read.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.config.retention
    }

    /// What finds secrets, those of the `[secret.NAME]` tables among them.
    #[must_use]
    pub fn masker(&self) -> &Masker {
        &self.config.masker
    }

    /// Who signs people in, by name.
    #[must_use]
    pub fn providers(&self) -> &BTreeMap<ProviderId, Provider> {
        &self.config.providers
    }

    /// Who says who people are, where a provider does; every other one only signs in whose account is
    /// linked.
    #[must_use]
    pub fn authority(&self) -> Option<(&ProviderId, &Provider)> {
        let mut providers = self.config.providers.iter();
        providers.find(|(_, provider)| provider.links.is_none())
    }

    /// Who says which machine has a token, by name.
    #[must_use]
    pub fn issuers(&self) -> &BTreeMap<IssuerId, Issuer> {
        &self.config.issuers
    }

    /// How the agents and workloads of the files prove who they are.
    #[must_use]
    pub fn machines(&self) -> &BTreeMap<SubjectId, MachineSettings> {
        &self.config.machines
    }

    /// What of the record is told to whom, by name.
    #[must_use]
    pub fn streams(&self) -> &BTreeMap<String, Stream> {
        &self.config.streams
    }

    /// Where people are told and decide, by name.
    #[must_use]
    pub fn channels(&self) -> &BTreeMap<String, Channel> {
        &self.config.channels
    }

    /// Whose deployments ask here, by name.
    #[must_use]
    pub fn deployments(&self) -> &BTreeMap<String, GitHub> {
        &self.config.deployments
    }

    /// The address that the files have for mails to a person.
    #[must_use]
    pub fn email_of(&self, person: &PersonId) -> Option<&str> {
        self.config.people.get(person)?.email.as_deref()
    }

    /// The approval rules by name.
    #[must_use]
    pub fn rules(&self) -> &BTreeMap<RuleName, ApprovalRule> {
        &self.rules
    }

    /// The statements in order of files and lines, the built-in one last.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The schema, as Cedar reads it.
    #[must_use]
    pub fn schema_text(&self) -> &str {
        &self.generated.text
    }

    pub(crate) fn config(&self) -> &Configuration {
        &self.config
    }
}

/// Bundles hold their sources; two with the same sources are the same.
impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// The files by their place.
struct Layout<'a> {
    main: &'a str,
    approvals: &'a str,
    policies: Vec<(&'a str, &'a str)>,
    schema: Vec<(&'a str, &'a str)>,
}

impl<'a> Layout<'a> {
    fn of(files: &'a BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Self {
        let mut layout = Self {
            main: "",
            approvals: "",
            policies: Vec::new(),
            schema: Vec::new(),
        };
        if !files.contains_key(MAIN_FILE) {
            let help = "write one; `countersign init` makes a first one";
            problems.push(Problem::error(MAIN_FILE, None, "the file is missing", help));
        }
        if files.len() > MAX_FILES {
            let message = format!("the bundle has {} files", files.len());
            problems.push(Problem::error(
                MAIN_FILE,
                None,
                message,
                "join some of them",
            ));
        }
        for (path, text) in files {
            let within = |folder: &str, ending: &str| {
                path.strip_prefix(folder)
                    .and_then(|name| name.strip_suffix(ending))
                    .is_some_and(|name| !name.is_empty() && !name.contains('/'))
            };
            if text.len() > crate::statement::scan::MAX_SOURCE_BYTES {
                let message = format!("the file has {} bytes", text.len());
                let help = "split it: a file may have 262144 bytes";
                problems.push(Problem::error(shown(path), None, message, help));
            } else if path == MAIN_FILE {
                layout.main = text;
            } else if path == APPROVALS_FILE {
                layout.approvals = text;
            } else if within("policies/", ".cedar") {
                layout.policies.push((path, text));
            } else if within("schema/", ".cedarschema") {
                layout.schema.push((path, text));
            } else {
                let help = "a bundle holds `countersign.toml`, `approvals.toml`, \
                            `policies/*.cedar` and `schema/*.cedarschema`";
                problems.push(Problem::error(shown(path), None, "unknown file", help));
            }
        }
        layout
    }
}

/// A click in a chat is not enough where a statement can hold `privilege` or `admin`.
fn check_chat(
    rules: &BTreeMap<RuleName, approvals::RuleEntry>,
    statements: &[Statement],
    generated: &Generated,
    problems: &mut Vec<Problem>,
) {
    let repeats = rules
        .iter()
        .filter(|(name, _)| name.as_str() == REPEAT_AFTER_UNKNOWN);
    for (_, entry) in repeats.filter(|(_, entry)| entry.rule.assurance == Assurance::Chat) {
        problems.push(Problem::error(
            APPROVALS_FILE,
            entry.line,
            format!("`{REPEAT_AFTER_UNKNOWN}` is satisfied by a chat, but can hold every action"),
            "write `assurance = \"session\"` or `\"passkey\"`",
        ));
    }
    for statement in statements {
        let Some(action) = guarded_action(statement, generated) else {
            continue;
        };
        for entry in statement
            .approvals
            .iter()
            .filter_map(|name| rules.get(name))
        {
            if entry.rule.assurance == Assurance::Chat {
                problems.push(Problem::error(
                    APPROVALS_FILE,
                    entry.line,
                    format!(
                        "`{}` is satisfied by a chat, but `{}` ({}:{}) can hold `{action}`",
                        entry.rule.name, statement.id, statement.file, statement.line
                    ),
                    "write `assurance = \"session\"` or `\"passkey\"`, or narrow the statement's action",
                ));
            }
        }
    }
}

/// A `privilege` or `admin` action that the statement's scope admits.
fn guarded_action(statement: &Statement, generated: &Generated) -> Option<String> {
    let guarded = |name: &str| ["privilege", "admin"].contains(&name);
    let admits = |uid: &cedar_policy::EntityUid| {
        let name: &str = uid.id().unescaped();
        let entry = generated
            .actions
            .iter()
            .find(|(action, _)| action.as_str() == name);
        let group = entry.and_then(|(_, entry)| entry.group.as_deref());
        (guarded(name) || group.is_some_and(guarded)).then(|| name.to_owned())
    };
    match statement.unlifted.action_constraint() {
        cedar_policy::ActionConstraint::Any => Some("privilege".into()),
        cedar_policy::ActionConstraint::Eq(uid) => admits(&uid),
        cedar_policy::ActionConstraint::In(uids) => uids.iter().find_map(admits),
    }
}

/// A misspelt name in a forbid would let everything pass, so it is found here.
fn check_named(config: &Configuration, statements: &[Statement], problems: &mut Vec<Problem>) {
    let environments: BTreeSet<&str> = config
        .targets
        .values()
        .map(|target| target.environment.as_str())
        .collect();
    for statement in statements {
        let scope = statement.unlifted.entity_literals();
        let named: BTreeSet<_> = scope.iter().chain(&statement.entities).collect();
        for uid in named {
            let name: &str = uid.id().unescaped();
            let (known, table, must) = match uid.type_name().to_string().as_str() {
                "Group" => (
                    config.groups.keys().any(|g| g.as_str() == name),
                    "group",
                    true,
                ),
                "Target" => {
                    let known = config.targets.keys().any(|t| t.as_str() == name);
                    (known || name == "countersign", "target", true)
                }
                "Environment" => (
                    environments.contains(name) || name == "countersign",
                    "environment",
                    true,
                ),
                "Person" => (
                    config.people.keys().any(|p| p.as_str() == name),
                    "person",
                    false,
                ),
                "Agent" => (
                    config.agents.keys().any(|a| a.as_str() == name),
                    "agent",
                    false,
                ),
                "Workload" => (
                    config.workloads.keys().any(|w| w.as_str() == name),
                    "workload",
                    false,
                ),
                _ => continue,
            };
            if known {
                continue;
            }
            let message = format!(
                "statement `{}` names the unknown {table} `{}`",
                statement.id,
                shown(name)
            );
            let help = format!("correct the name or add the {table} to `countersign.toml`");
            let file = statement.file.to_string();
            let problem = match must {
                true => Problem::error(file, statement.line, message, help),
                false => Problem::warning(file, statement.line, message, help),
            };
            problems.push(problem.following());
        }
    }
}
