//! What a proposal changes, for people to read.
//!
//! In scope: a unified line difference for each file.
//! Out of scope: what the change means for decisions.
//! Invariant: every file that differs in any byte is listed.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    /// It is new.
    Added,
    /// It goes away.
    Removed,
    /// Its text differs.
    Changed,
}

/// The difference of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// The file's path within the bundle.
    pub path: String,
    /// What happens to it.
    pub change: FileChange,
    /// How many lines are added.
    pub added: usize,
    /// How many lines go away.
    pub removed: usize,
    /// The difference with three lines of context.
    pub unified: String,
}

/// The difference between two bundles, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleDiff {
    /// Files that differ.
    pub files: Vec<FileDiff>,
}

impl BundleDiff {
    /// What turns `before` into `after`.
    #[must_use]
    pub fn between(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Self {
        let paths: std::collections::BTreeSet<&String> =
            before.keys().chain(after.keys()).collect();
        let files = paths
            .into_iter()
            .filter_map(|path| file_diff(path, before.get(path), after.get(path)))
            .collect();
        Self { files }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl fmt::Display for BundleDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files
            .iter()
            .try_for_each(|file| f.write_str(&file.unified))
    }
}

fn file_diff(path: &str, before: Option<&String>, after: Option<&String>) -> Option<FileDiff> {
    let change = match (before, after) {
        (None, None) => return None,
        (Some(old), Some(new)) if old == new => return None,
        (Some(_), Some(_)) => FileChange::Changed,
        (None, Some(_)) => FileChange::Added,
        (Some(_), None) => FileChange::Removed,
    };
    let text = |side: Option<&'_ String>| side.map_or("", String::as_str).to_owned();
    let (old, new) = (text(before), text(after));
    let diff = TextDiff::from_lines(&old, &new);
    let count = |tag| diff.iter_all_changes().filter(|c| c.tag() == tag).count();
    let name = |side: Option<&String>| side.map_or("/dev/null", |_| path);
    let unified = diff
        .unified_diff()
        .context_radius(3)
        .header(name(before), name(after))
        .to_string();
    Some(FileDiff {
        path: path.to_owned(),
        change,
        added: count(ChangeTag::Insert),
        removed: count(ChangeTag::Delete),
        unified,
    })
}
