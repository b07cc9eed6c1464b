//! That the commands of the documents are commands.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::repository::{blocks, documents, none, root, text};

/// The built command.
fn binary() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = target.join("debug/countersign");
    assert!(
        built.exists(),
        "`{}` is missing; build it with `cargo build --bin countersign`",
        built.display()
    );
    built
}

/// Words of a command line; quotes hold words together, `#` ends the line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The `countersign` commands of a block, continued lines joined.
fn commands(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(|line| words(line.trim_start().trim_start_matches("$ ")));
    lines
        .filter(|words| words.first().is_some_and(|first| first == "countersign"))
        .collect()
}

/// Knows the help of subcommands, each asked for once.
struct Help {
    binary: PathBuf,
    known: BTreeMap<Vec<String>, Option<String>>,
}

impl Help {
    fn of(&mut self, path: &[String]) -> Option<&str> {
        let binary = &self.binary;
        let text = self.known.entry(path.to_vec()).or_insert_with(|| {
            let asked = Command::new(binary)
                .args(path)
                .arg("--help")
                .output()
                .expect("it runs");
            asked
                .status
                .success()
                .then(|| String::from_utf8_lossy(&asked.stdout).into_owned())
        });
        text.as_deref()
    }

    /// Why a command line is wrong; nothing when it is right.
    fn problem(&mut self, line: &[String]) -> Option<String> {
        let mut path = Vec::new();
        for word in line.iter().skip(1) {
            let has_commands = self.of(&path)?.contains("\nCommands:");
            if word.starts_with('-') || !has_commands {
                break;
            }
            path.push(word.clone());
            if self.of(&path).is_none() {
                return Some(format!("there is no `{}`", path.join(" ")));
            }
        }
        let help = self.of(&path)?;
        let own = line
            .iter()
            .skip(1 + path.len())
            .take_while(|word| *word != "--");
        let flags = own.filter(|word| word.starts_with('-') && word.len() > 1);
        let mut unknown = flags.filter(|word| {
            let name = word.split('=').next().unwrap_or_default();
            !help
                .split(|c: char| c.is_whitespace() || ",[]()|<>=".contains(c))
                .any(|known| known == name)
        });
        unknown
            .next()
            .map(|flag| format!("`{}` has no `{flag}`", path.join(" ")))
    }
}

#[test]
fn commands_of_the_documents_parse() {
    let mut help = Help {
        binary: binary(),
        known: BTreeMap::new(),
    };
    let (mut problems, mut seen) = (Vec::new(), 0);
    for document in documents() {
        let source = text(&document);
        let blocks = blocks(&source).into_iter();
        for block in blocks.filter(|block| ["sh", "console"].contains(&block.language.as_str())) {
            for line in commands(&block.text) {
                seen += 1;
                let problem = help.problem(&line);
                let wrong = problem.map(|why| format!("{document}:{}: {why}", block.line));
                problems.extend(wrong);
            }
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
    none(&problems, "correct these commands");
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn check(binary: &Path, directory: &Path) {
    let asked = Command::new(binary)
        .args(["policy", "check"])
        .arg(directory)
        .output();
    let asked = asked.expect("it runs");
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(
        asked.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    assert!(!said.contains("warning:"), "{said}");
}

#[test]
fn recipes_of_the_cookbook_load_together() {
    let name = format!("countersign-tidy-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    fs::create_dir_all(scratch.0.join("policies")).expect("a directory can be made");
    let mut recipes = 0;
    for block in blocks(&text("docs/policy-cookbook.md")) {
        let file = match block.language.as_str() {
            "cedar" => {
                recipes += 1;
                format!("policies/line-{}.cedar", block.line)
            }
            tagged => match tagged.strip_prefix("toml ") {
                Some(file) => file.to_owned(),
                None => continue,
            },
        };
        fs::write(scratch.0.join(file), block.text).expect("a file can be written");
    }
    assert!(recipes >= 10, "only {recipes} recipes were found");
    check(&binary(), &scratch.0);
}
