//! A bundle's directory as path and text.
//!
//! In scope: `countersign.toml`, `approvals.toml`, `policies/*.cedar`, `schema/*.cedarschema`.
//! Out of scope: what they say.
//! Invariant: the gateway and the command line read a directory alike, so that what was checked is
//! what is trusted. Hidden files and those a bundle has no place for are not part of it; the
//! latter are named.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read},
    path::Path,
};

use anyhow::{Context, bail};
use countersign_policy::{Bundle, Problem};

/// The most bytes of one file; the policy crate's own limit is lower and gives the better message.
const MAX_BYTES: u64 = 1 << 20;

/// What was read, and what was not.
pub struct Files {
    /// Path within the bundle and text.
    pub files: BTreeMap<String, String>,
    /// Files in the two folders that don't belong to a bundle.
    pub skipped: Vec<String>,
}

/// Reads and checks the bundle in a directory.
///
/// # Errors
/// Every problem with file, line and what to do.
pub fn bundle(directory: &Path) -> anyhow::Result<Bundle> {
    Bundle::from_files(&read(directory)?.files).map_err(|problems| problems_error(&problems))
}

/// Several problems as one error.
#[must_use]
pub fn problems_error(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the bundle has problems:\n{}", lines.join("\n"))
}

/// Reads the files of a bundle.
///
/// # Errors
/// A file can't be read as text or is too large, or there is none.
pub fn read(directory: &Path) -> anyhow::Result<Files> {
    let mut read = Files {
        files: BTreeMap::new(),
        skipped: Vec::new(),
    };
    for name in ["countersign.toml", "approvals.toml"] {
        read.file(directory, name)?;
    }
    for (folder, ending) in [("policies", ".cedar"), ("schema", ".cedarschema")] {
        read.folder(directory, folder, ending)?;
    }
    if read.files.is_empty() {
        bail!(
            "`{}` holds no countersign.toml; name the directory of the configuration, or make one \
             with `countersign init`",
            directory.display()
        );
    }
    Ok(read)
}

impl Files {
    fn file(&mut self, directory: &Path, name: &str) -> anyhow::Result<()> {
        let path = directory.join(name);
        let failed = || format!("`{}` can't be read", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(failed),
        };
        let mut text = String::new();
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .with_context(failed)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_BYTES) {
            bail!("`{}` has more than 1 MiB; split it", path.display());
        }
        self.files.insert(name.to_owned(), text);
        Ok(())
    }

    fn folder(&mut self, directory: &Path, folder: &str, ending: &str) -> anyhow::Result<()> {
        let path = directory.join(folder);
        let failed = || format!("`{}` can't be read", path.display());
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(failed),
        };
        for entry in entries {
            let name = entry.with_context(failed)?.file_name();
            let name = name.to_string_lossy();
            let within = format!("{folder}/{name}");
            if name.ends_with(ending) && !name.starts_with('.') {
                self.file(directory, &within)?;
            } else if !name.starts_with('.') {
                self.skipped.push(within);
            }
        }
        self.skipped.sort();
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod example {
    //! A directory with a bundle.

    use tempfile::TempDir;

    /// A bundle that holds together.
    pub(crate) const GOOD: &[(&str, &str)] = &[
        ("countersign.toml", "[group.agents]\n"),
        (
            "policies/read.cedar",
            "@id(\"reads\")\npermit (principal in Group::\"agents\", action in Action::\"read\", resource);\n",
        ),
    ];

    /// A directory with these files.
    pub(crate) fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_its_known_files() {
        let directory = example::directory(&[
            ("countersign.toml", "a"),
            ("approvals.toml", "b"),
            ("policies/x.cedar", "c"),
            ("policies/README.md", "d"),
            ("policies/.x.cedar.swp", "e"),
            ("policies/.hidden.cedar", "e"),
            ("schema/y.cedarschema", "f"),
            ("other/z.cedar", "g"),
            (".git/config", "h"),
        ]);
        let read = read(directory.path()).unwrap();
        let names: Vec<&String> = read.files.keys().collect();
        assert_eq!(
            names,
            [
                "approvals.toml",
                "countersign.toml",
                "policies/x.cedar",
                "schema/y.cedarschema"
            ]
        );
        assert_eq!(read.skipped, ["policies/README.md"]);
    }

    #[test]
    fn an_empty_or_missing_directory_is_refused() {
        let directory = example::directory(&[]);
        assert!(read(directory.path()).is_err());
        assert!(read(&directory.path().join("none")).is_err());
        std::fs::write(directory.path().join("countersign.toml"), [0xff]).unwrap();
        assert!(read(directory.path()).is_err());
    }
}
