//! That documents name what exists.

use std::collections::BTreeSet;

use super::repository::{documents, none, prose, root, text};

/// Where paths of the repository begin.
const TOP: &[&str] = &[
    "crates/",
    "docs/",
    "script/",
    "integration/",
    "fuzz/",
    "bench/",
    ".ci/",
];
/// Where the keys of the configuration are read.
const CONFIGURATION: &[&str] = &[
    "config.rs",
    "approvals.rs",
    "settings.rs",
    "streams.rs",
    "targets.rs",
];

/// What stands in backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(word: &str) -> bool {
    TOP.iter().any(|top| word.starts_with(top))
        && !word.contains(|c: char| c.is_whitespace() || "*{}<>…".contains(c))
}

#[test]
fn paths_in_backticks_exist() {
    let mut problems = Vec::new();
    for document in ["ARCHITECTURE.md", "SECURITY.md", "README.md"] {
        let source = text(document);
        for (number, line) in prose(&source) {
            let missing = quoted(line).filter(|word| is_path(word) && !root().join(word).exists());
            problems.extend(missing.map(|word| format!("{document}:{number}: `{word}`")));
        }
    }
    none(&problems, "these don't exist; correct the documents");
}

#[test]
fn tests_named_in_the_security_document_exist() {
    let sources: String = super::repository::files("crates", ".rs")
        .iter()
        .map(|path| text(path))
        .collect();
    let source = text("SECURITY.md");
    let mut problems = Vec::new();
    for (number, line) in prose(&source) {
        let functions = quoted(line).filter(|word| {
            word.matches('_').count() >= 2
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        let missing = functions.filter(|name| !sources.contains(*name));
        problems.extend(missing.map(|name| format!("SECURITY.md:{number}: `{name}`")));
    }
    none(&problems, "these don't exist; correct the document");
}

/// The name under which a heading can be linked to.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>()
        .trim()
        .to_lowercase()
        .replace(' ', "-")
}

fn anchors(document: &str) -> BTreeSet<String> {
    let lines = prose(document).into_iter();
    lines
        .filter_map(|(_, line)| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#'))))
        .collect()
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

#[test]
fn relative_links_lead_somewhere() {
    let mut problems = Vec::new();
    for document in documents() {
        let source = text(&document);
        let folder = root().join(&document);
        let folder = folder
            .parent()
            .expect("a document is in a folder")
            .to_owned();
        for (number, line) in prose(&source) {
            let relative = links(line).filter(|link| !link.contains(':'));
            for link in relative {
                let (path, heading) = link.split_once('#').unwrap_or((link, ""));
                let file = if path.is_empty() {
                    root().join(&document)
                } else {
                    folder.join(path)
                };
                let there = match (file.exists(), heading) {
                    (exists, "") => exists,
                    (true, heading) => std::fs::read_to_string(&file)
                        .is_ok_and(|found| anchors(&found).contains(heading)),
                    (false, _) => false,
                };
                if !there {
                    problems.push(format!("{document}:{number}: `{link}`"));
                }
            }
        }
    }
    none(&problems, "these links lead nowhere");
}

/// The keys that a file of the bundle reads: fields of types that are deserialised.
fn keys(source: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let (mut derives, mut inside) = (false, false);
    let mut renamed = None;
    for line in source
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
    {
        let code = line.trim();
        if line.starts_with("#[derive(") {
            derives = code.contains("Deserialize");
        } else if line.contains("struct ") && line.ends_with('{') {
            inside = std::mem::take(&mut derives);
        } else if line == "}" {
            inside = false;
        } else if let Some(name) = code.strip_prefix("#[serde(rename = \"") {
            renamed = name.split('"').next().map(str::to_owned);
        } else if inside && !code.starts_with("//") && !code.starts_with('#') {
            let field = code
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(crate) ");
            let field = field.trim_start_matches("pub ").split_once(": ");
            if let Some((name, _)) = field {
                keys.insert(renamed.take().unwrap_or_else(|| name.to_owned()));
            }
        }
    }
    keys
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let reference = text("docs/configuration.md");
    let described: BTreeSet<_> = reference
        .lines()
        .flat_map(quoted)
        .flat_map(|words| words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    // Fields that are no keys: the parts of a network.
    let internal = ["address", "prefix"];
    let mut problems = Vec::new();
    for file in CONFIGURATION {
        let found = keys(&text(&format!("crates/policy/src/bundle/{file}")));
        assert!(found.len() >= 4, "no keys found in {file}; has it moved?");
        let missing = found
            .iter()
            .filter(|key| !described.contains(key.as_str()) && !internal.contains(&key.as_str()));
        problems.extend(missing.map(|key| format!("`{key}` of {file}")));
    }
    none(&problems, "describe these in docs/configuration.md");
}

#[test]
fn decision_records_are_numbered_and_short() {
    let records = super::repository::files("docs/decisions", ".md");
    assert!(!records.is_empty(), "there are no decision records");
    let mut problems = Vec::new();
    for (number, path) in records.iter().enumerate() {
        let source = text(path);
        let expected = format!("docs/decisions/{:04}-", number + 1);
        if !path.starts_with(&expected) {
            problems.push(format!("{path}: expected {expected}…"));
        }
        let parts = ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"];
        problems.extend(
            parts
                .iter()
                .filter(|part| !source.contains(*part))
                .map(|part| format!("{path}: no `{}`", part.trim())),
        );
        if source.lines().count() > 40 {
            problems.push(format!("{path}: more than 40 lines"));
        }
    }
    none(
        &problems,
        "a record has a number, context, decision and consequences",
    );
}
