//! The schema that types every policy: generated from the bundle, plus own resource types.
//!
//! In scope: entity types, actions with their groups, the context of each action; checking that
//! own types stay below targets.
//! Out of scope: policies and entities themselves.
//! Invariant: `context.approvals` exists for every action, and nothing an own schema file says can
//! change an action, a subject or the context.
//! Specification: <https://docs.cedarpolicy.com/schema/human-readable-schema.html>.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    str::FromStr,
};

use cedar_policy::{Schema, SchemaFragment};
use countersign_core::{
    action::{SHARED_GROUPS, UNCLASSIFIED},
    id::{ActionName, TargetId},
};
use serde_json::Value;

use crate::{
    deployment::GITHUB_DEPLOY,
    problem::Problem,
    statement::scan,
    target::{
        Target, TargetKind,
        pattern::{CaptureKind, Token},
    },
};

/// The actions of the gateway's own administration that change something.
pub const ADMIN_ACTIONS: [&str; 20] = [
    "bundle-apply",
    "person-add",
    "person-disable",
    "person-enable",
    "person-link",
    "person-erase",
    "passkey-add",
    "account-link",
    "membership-add",
    "membership-remove",
    "account-unlink",
    "absence-own",
    "absence-set",
    "absence-end",
    "agent-add",
    "agent-stop",
    "agent-start",
    "agent-token",
    "credential-revoke",
    "key-rotate",
];

/// Types whose entities come from the bundle and the directory.
pub(crate) const STATIC_TYPES: [&str; 7] = [
    "Group",
    "Person",
    "Agent",
    "Workload",
    "Environment",
    "Target",
    "Action",
];

/// Names that the generated schema relies on. Cedar would let an own type shadow some of them, and
/// a value of another type than policies were checked against compares as different, silently.
const TAKEN_NAMES: [&str; 14] = [
    "Resource",
    "Stated",
    "Entity",
    "Extension",
    "String",
    "Long",
    "Bool",
    "Boolean",
    "Set",
    "Record",
    "datetime",
    "duration",
    "decimal",
    "ipaddr",
];

const ENTITIES: &str = "\
entity Group in [Group];
entity Person in [Group];
entity Agent in [Group] { owner?: Person };
entity Workload in [Group] { owner?: Person };
entity Environment;
entity Target in [Environment] { kind: String, labels: Set<String> };
entity Resource in [Target];

type Stated = { reason?: String, model?: String, task?: String, session?: String };
";

/// Whether an argument of an action is a text or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Cedar's `String`.
    Text,
    /// Cedar's `Long`.
    Number,
}

/// An action of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionEntry {
    /// The shared group it belongs to; shared actions and `unclassified` have none.
    pub group: Option<String>,
    /// What `context.arguments` may hold.
    pub arguments: BTreeMap<String, ArgumentKind>,
    /// Whether approvers may grant no more than the one action: one that changes Countersign itself, one
    /// that nobody understood, and one that a target says so of.
    pub no_grant: bool,
}

/// The generated schema.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub(crate) text: String,
    pub(crate) schema: Schema,
    pub(crate) actions: BTreeMap<ActionName, ActionEntry>,
    /// `Resource`, `Target` and own types.
    pub(crate) resource_types: BTreeSet<String>,
}

/// Generates the schema; `files` are the own schema files, path to text.
pub(crate) fn generate(
    targets: &BTreeMap<TargetId, Target>,
    files: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) -> Option<Generated> {
    let before = problems.len();
    let mut own = BTreeSet::new();
    for (path, text) in files {
        read_own(path, text, &mut own, problems);
    }
    if problems.len() > before {
        return None;
    }
    let actions = actions(targets);
    let mut resource_types = own;
    resource_types.extend(["Resource".to_owned(), "Target".to_owned()]);
    let mut text = ENTITIES.to_owned();
    for (name, entry) in &actions {
        write_action(&mut text, name, entry, &resource_types);
    }
    for (path, own) in files {
        let _ = writeln!(text, "\n// {path}\n{own}");
    }
    match Schema::from_str(&text) {
        Ok(schema) => Some(Generated {
            text,
            schema,
            actions,
            resource_types,
        }),
        Err(error) => {
            let file = files
                .first()
                .map_or(crate::bundle::MAIN_FILE, |(path, _)| *path);
            let message = format!("the schema does not hold together: {}", report(&error));
            problems.push(Problem::error(
                file,
                None,
                message,
                "check the types that it names",
            ));
            None
        }
    }
}

/// An error with what caused it, on one line.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

fn actions(targets: &BTreeMap<TargetId, Target>) -> BTreeMap<ActionName, ActionEntry> {
    let mut actions = BTreeMap::new();
    let mut add = |name: &str, group: Option<&str>| {
        if let Ok(name) = ActionName::new(name) {
            let entry = ActionEntry {
                no_grant: group == Some("admin")
                    || ["admin", UNCLASSIFIED].contains(&name.as_str()),
                group: group.map(str::to_owned),
                arguments: BTreeMap::new(),
            };
            actions.insert(name, entry);
        }
    };
    for shared in SHARED_GROUPS {
        add(shared, None);
    }
    add(UNCLASSIFIED, None);
    add("exec:run", Some("execute"));
    for name in ADMIN_ACTIONS {
        add(&format!("countersign:{name}"), Some("admin"));
    }
    add("countersign:audit-read", Some("read"));
    if targets
        .values()
        .any(|target| target.kind == TargetKind::Deployment)
    {
        add_deploy(&mut actions);
    }
    for pattern in targets
        .values()
        .filter_map(Target::exec)
        .flat_map(|exec| &exec.commands)
    {
        let entry = actions
            .entry(pattern.action.clone())
            .or_insert_with(|| ActionEntry {
                group: Some(pattern.group.clone()),
                arguments: BTreeMap::new(),
                no_grant: pattern.group == "admin",
            });
        entry.no_grant |= pattern.no_grant;
        for (name, kind) in pattern.argv.iter().flat_map(Token::placeholders) {
            let kind = match kind {
                CaptureKind::Word | CaptureKind::Hex => ArgumentKind::Text,
                CaptureKind::Number => ArgumentKind::Number,
            };
            entry.arguments.insert(name.to_owned(), kind);
        }
    }
    actions
}

/// What a job at GitHub asks for, with what is known of it.
fn add_deploy(actions: &mut BTreeMap<ActionName, ActionEntry>) {
    let texts = ["repository", "environment", "ref", "sha", "event"];
    let texts = texts.map(|name| (name.to_owned(), ArgumentKind::Text));
    let numbers = ["run", "pull_requests"];
    let numbers = numbers.map(|name| (name.to_owned(), ArgumentKind::Number));
    if let Ok(name) = ActionName::new(GITHUB_DEPLOY) {
        let entry = ActionEntry {
            group: Some("execute".into()),
            arguments: texts.into_iter().chain(numbers).collect(),
            no_grant: false,
        };
        actions.insert(name, entry);
    }
}

fn write_action(
    text: &mut String,
    name: &ActionName,
    entry: &ActionEntry,
    resources: &BTreeSet<String>,
) {
    let group = match &entry.group {
        Some(group) => format!(" in [Action::\"{group}\"]"),
        None => String::new(),
    };
    let resources = resources
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let arguments = entry
        .arguments
        .iter()
        .map(|(name, kind)| match kind {
            ArgumentKind::Text => format!("\"{name}\"?: String"),
            ArgumentKind::Number => format!("\"{name}\"?: Long"),
        })
        .collect::<Vec<_>>()
        .join(", ");
    let _ = writeln!(
        text,
        "action \"{name}\"{group} appliesTo {{\n  principal: [Person, Agent, Workload],\n  \
         resource: [{resources}],\n  context: {{ approvals: Set<String>, gate: String, \
         operation: String, now: datetime, stated: Stated, arguments: {{ {arguments} }} }}\n}};"
    );
}

/// Checks one own schema file and adds its types to `own`.
fn read_own(path: &str, text: &str, own: &mut BTreeSet<String>, problems: &mut Vec<Problem>) {
    if let Err(limit) = scan::check(text) {
        problems.push(Problem::error(path, limit.line, limit.message, limit.help));
        return;
    }
    let fragment = match SchemaFragment::from_cedarschema_str(text) {
        Ok((fragment, _)) => fragment.to_json_value(),
        Err(error) => {
            let line = crate::statement::line_of(&error, text);
            let message = report(&error);
            problems.push(Problem::error(path, line, message, "correct the schema"));
            return;
        }
    };
    let Ok(Value::Object(namespaces)) = fragment else {
        problems.push(Problem::error(
            path,
            None,
            "the schema cannot be read",
            "simplify it",
        ));
        return;
    };
    for (namespace, content) in &namespaces {
        if !namespace.is_empty() {
            let message = format!("own types are in the namespace `{namespace}`");
            problems.push(Problem::error(
                path,
                None,
                message,
                "declare them without namespace",
            ));
            return;
        }
        read_types(path, text, content, own, problems);
    }
}

fn read_types(
    path: &str,
    text: &str,
    content: &Value,
    own: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    let mut refuse = |name: &str, message: String, help: &str| {
        let line = text
            .find(name)
            .map(|offset| crate::problem::line_at(text, offset));
        problems.push(Problem::error(path, line, message, help));
    };
    let table = |key: &str| content.get(key).and_then(Value::as_object);
    for name in table("actions")
        .into_iter()
        .flat_map(|actions| actions.keys())
    {
        refuse(
            name,
            format!("the schema declares the action `{name}`"),
            "declare only types",
        );
    }
    for name in table("commonTypes")
        .into_iter()
        .flat_map(|types| types.keys())
    {
        if is_taken(name) {
            refuse(
                name,
                format!("the type `{name}` is taken"),
                "choose another name",
            );
        }
    }
    let entities = table("entityTypes");
    let declared: BTreeSet<&str> = entities
        .into_iter()
        .flat_map(|types| types.keys())
        .map(String::as_str)
        .collect();
    for (name, entity) in entities.into_iter().flatten() {
        if is_taken(name) || !own.insert(name.clone()) {
            refuse(
                name,
                format!("the type `{name}` is taken"),
                "choose another name",
            );
        }
        let parents = entity.get("memberOfTypes").and_then(Value::as_array);
        if parents.is_none_or(|p| p.len() != 1 || p.first() != Some(&Value::from("Target"))) {
            let help = "declare it as `entity NAME in [Target] { … };`";
            refuse(
                name,
                format!("the type `{name}` is not in `Target` alone"),
                help,
            );
        }
        if entity.get("enum").is_some() || mentions(entity, &declared) {
            let help = "use texts, numbers, sets, records, `Person`, `Group` or `Environment`";
            refuse(
                name,
                format!("an attribute of `{name}` is of an own entity type"),
                help,
            );
        }
    }
}

fn is_taken(name: &str) -> bool {
    STATIC_TYPES.contains(&name) || TAKEN_NAMES.contains(&name)
}

/// Whether a type within `value` names one of `types`.
fn mentions(value: &Value, types: &BTreeSet<&str>) -> bool {
    match value {
        Value::Object(map) => {
            let named = map.get("name").and_then(Value::as_str);
            named.is_some_and(|name| types.contains(name) || name == "Resource")
                || map.values().any(|inner| mentions(inner, types))
        }
        Value::Array(items) => items.iter().any(|inner| mentions(inner, types)),
        _ => false,
    }
}
