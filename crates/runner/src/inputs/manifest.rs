//! The complete description of captured inputs.
//!
//! In scope: names, sizes, content hashes, links; and the rules they meet.
//! Out of scope: where the content is.
//! Invariant: a value of this type meets every rule: each entry lies in a directory that is listed,
//! and each link leads to a listed file or directory without passing another link. The digest is
//! of exactly these entries.

use std::collections::BTreeMap;

use countersign_core::canonical::{Hash, hash_in_domain};
use serde::{Deserialize, Serialize};

use super::error::InputError;
use super::{MAX_ENTRIES, path};

/// The largest size that JSON numbers hold exactly.
const MAX_SIZE: u64 = (1 << 53) - 1;

/// One captured thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// A plain file.
    File {
        /// In bytes.
        size: u64,
        /// Of the content.
        sha256: Hash,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A directory.
    Dir,
    /// A symbolic link inside the captured tree.
    Symlink {
        /// As written in the link: relative to the directory that holds it.
        target: String,
    },
}

/// Every entry by its path, and the digest of them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Entries", into = "Entries")]
pub struct Manifest {
    entries: BTreeMap<String, Entry>,
    digest: Hash,
}

/// The part of a manifest that is written and hashed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    entries: BTreeMap<String, Entry>,
}

impl Manifest {
    /// Checks `entries` against all rules.
    ///
    /// # Errors
    /// [`InputError::TooMany`] over [`MAX_ENTRIES`]; [`InputError::Path`] for a name that is not
    /// exact, or without its directory; [`InputError::Link`] for a link that leaves the tree,
    /// passes another link or leads nowhere.
    pub fn new(entries: BTreeMap<String, Entry>) -> Result<Self, InputError> {
        if entries.len() > MAX_ENTRIES {
            return Err(InputError::TooMany);
        }
        for (name, entry) in &entries {
            path::check(name)?;
            if let Some(parent) = path::parent(name)
                && entries.get(parent) != Some(&Entry::Dir)
            {
                return Err(InputError::path(
                    name,
                    "it doesn't lie in a captured directory",
                ));
            }
            match entry {
                Entry::Dir => {}
                Entry::File { size, .. } if *size > MAX_SIZE => {
                    return Err(InputError::TooLarge { limit: MAX_SIZE });
                }
                Entry::File { .. } => {}
                Entry::Symlink { target } => check_link(&entries, name, target)?,
            }
        }
        let written = Entries { entries };
        let digest = hash_in_domain("inputs", &written)
            .map_err(|_| InputError::archive("its list has no canonical form"))?;
        Ok(Self {
            entries: written.entries,
            digest,
        })
    }

    /// Every entry by its path, in order.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The hash in the domain `inputs` of `{"entries": {path: entry}}`.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The sum of the sizes of all files, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.entries
            .values()
            .fold(0, |sum: u64, entry| match entry {
                Entry::File { size, .. } => sum.saturating_add(*size),
                Entry::Dir | Entry::Symlink { .. } => sum,
            })
    }
}

impl TryFrom<Entries> for Manifest {
    type Error = InputError;
    fn try_from(written: Entries) -> Result<Self, InputError> {
        Self::new(written.entries)
    }
}

impl From<Manifest> for Entries {
    fn from(manifest: Manifest) -> Self {
        Self {
            entries: manifest.entries,
        }
    }
}

/// Walks `target` from the link's directory as the kernel would, over the listed entries.
fn check_link(
    entries: &BTreeMap<String, Entry>,
    name: &str,
    target: &str,
) -> Result<(), InputError> {
    let refuse = |why| Err(InputError::link(name, target, why));
    if target.is_empty() || target.len() > path::MAX_PATH {
        return refuse("its target is empty or too long");
    }
    if target.starts_with('/') {
        return refuse("its target is absolute; use a relative one inside what is captured");
    }
    if target.chars().any(char::is_control) {
        return refuse("its target has control characters");
    }
    let mut here: Vec<&str> = path::parent(name)
        .map(|p| p.split('/').collect())
        .unwrap_or_default();
    let mut at = Some(&Entry::Dir);
    for component in target.split('/') {
        if at != Some(&Entry::Dir) {
            return refuse("it goes through something that is not a captured directory");
        }
        match component {
            "" | "." => {}
            ".." => {
                if here.pop().is_none() {
                    return refuse("it leads out of what is captured");
                }
            }
            _ => here.push(component),
        }
        at = if here.is_empty() {
            Some(&Entry::Dir)
        } else {
            entries.get(&here.join("/"))
        };
        match at {
            Some(Entry::Symlink { .. }) => {
                return refuse("it leads to or through another link; point it at the file itself");
            }
            Some(Entry::File { .. } | Entry::Dir) => {}
            None => return refuse("it leads to something that is not captured; bind that too"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Entry {
        Entry::File {
            size: 1,
            sha256: Hash::of(b"x"),
            executable: false,
        }
    }

    fn tree(entries: &[(&str, Entry)]) -> Result<Manifest, InputError> {
        Manifest::new(
            entries
                .iter()
                .map(|(name, entry)| ((*name).to_owned(), entry.clone()))
                .collect(),
        )
    }

    #[test]
    fn links_stay_inside_and_pass_no_link() {
        let with_link = |name: &str, target: &str| {
            tree(&[
                ("d", Entry::Dir),
                ("d/e", Entry::Dir),
                ("d/e/f", file()),
                ("d/ok", Entry::Symlink { target: "e".into() }),
                (
                    name,
                    Entry::Symlink {
                        target: target.into(),
                    },
                ),
            ])
        };
        for (name, target) in [
            ("l", "d/e/f"),
            ("l", "./d//e/"),
            ("l", "."),
            ("d/l", "../d/e/f"),
            ("d/l", ".."),
            ("d/e/l", "f"),
        ] {
            assert!(with_link(name, target).is_ok(), "{name} -> {target}");
        }
        for (name, target, why) in [
            ("l", "/etc/passwd", "absolute"),
            ("l", "..", "leads out"),
            ("d/l", "../../x", "leads out"),
            ("d/l", "../../d/e/f", "leads out"),
            ("l", "d/ok/f", "another link"),
            ("l", "d/ok", "another link"),
            ("l", "d/ok/..", "another link"),
            ("l", "l", "another link"),
            ("l", "missing", "not captured"),
            ("l", "missing/../d", "not captured"),
            ("l", "d/e/f/..", "not a captured directory"),
            ("l", "d/e/f/", "not a captured directory"),
            ("l", "", "empty"),
            ("l", "d\n", "control"),
        ] {
            let error = with_link(name, target).unwrap_err().to_string();
            assert!(error.contains(why), "{name} -> {target}: {error}");
        }
    }

    #[test]
    fn entries_lie_in_directories() {
        assert!(tree(&[("a", file()), ("a/b", file())]).is_err());
        assert!(tree(&[("a/b", file())]).is_err());
        assert!(
            tree(&[
                ("a", Entry::Symlink { target: ".".into() }),
                ("a/b", file())
            ])
            .is_err()
        );
        assert!(tree(&[("a", Entry::Dir), ("a/b", file())]).is_ok());
    }

    #[test]
    fn the_digest_is_of_names_kinds_and_content() {
        let digests: std::collections::BTreeSet<Hash> = [
            tree(&[]),
            tree(&[("a", file())]),
            tree(&[("b", file())]),
            tree(&[("a", Entry::Dir)]),
            tree(&[(
                "a",
                Entry::File {
                    size: 2,
                    sha256: Hash::of(b"x"),
                    executable: false,
                },
            )]),
            tree(&[(
                "a",
                Entry::File {
                    size: 1,
                    sha256: Hash::of(b"y"),
                    executable: false,
                },
            )]),
            tree(&[(
                "a",
                Entry::File {
                    size: 1,
                    sha256: Hash::of(b"x"),
                    executable: true,
                },
            )]),
            tree(&[("a", file()), ("b", Entry::Symlink { target: "a".into() })]),
        ]
        .map(|manifest| manifest.unwrap().digest())
        .into();
        assert_eq!(digests.len(), 8);
    }

    #[test]
    fn it_reads_back_as_written_and_checks_again() {
        let manifest =
            tree(&[("a", file()), ("l", Entry::Symlink { target: "a".into() })]).unwrap();
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        for bad in [
            r#"{"entries":{"../a":{"kind":"dir"}}}"#,
            r#"{"entries":{"a":{"kind":"symlink","target":"b","mode":7}}}"#,
            r#"{"entries":{"a":{"kind":"fifo"}}}"#,
            r#"{"entries":{},"digest":"00"}"#,
        ] {
            assert!(serde_json::from_str::<Manifest>(bad).is_err(), "{bad}");
        }
    }
}
