//! Files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's directory.
pub(super) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the crate is two levels down")
        .to_owned()
}

/// The text of a file of the repository.
pub(super) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

/// Paths below `folder` that end with `ending`, sorted, relative to the repository. Build output
/// and hidden directories are left out.
pub(super) fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    found
}

fn walk(directory: &Path, ending: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            let generated = ["target", "node_modules"].contains(&name.as_str());
            if !generated && !name.starts_with('.') {
                walk(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            let relative = path.strip_prefix(root()).expect("it is below the root");
            found.push(relative.to_string_lossy().into_owned());
        }
    }
}

/// The repository's documents.
pub(super) fn documents() -> Vec<String> {
    files("", ".md")
        .into_iter()
        .filter(|path| !path.starts_with("crates/"))
        .collect()
}

/// A fenced block of a document: its language tag, its text and the line of its fence.
pub(super) struct Block {
    pub(super) language: String,
    pub(super) text: String,
    pub(super) line: usize,
}

/// The fenced blocks of a document.
pub(super) fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(tag), None) => {
                let language = tag.trim().to_owned();
                open = Some(Block {
                    language,
                    text: String::new(),
                    line: number + 1,
                });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// A document without its fenced blocks, line by line.
pub(super) fn prose(document: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let lines = document.lines().enumerate().filter(|(_, line)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    });
    lines.map(|(number, line)| (number + 1, line)).collect()
}

/// Fails with every problem at once.
pub(super) fn none(problems: &[String], what_to_do: &str) {
    assert!(
        problems.is_empty(),
        "{what_to_do}:\n  {}",
        problems.join("\n  ")
    );
}
