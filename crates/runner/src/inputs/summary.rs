//! Captured inputs as a reviewer sees them.
//!
//! In scope: counts, the total size, and a list that starts with what deserves attention.
//! Out of scope: content; layout.
//! Invariant: `listed` and `not_listed` together are every entry, and the text says so.

use std::fmt;

use countersign_core::count::counted;

use super::manifest::{Entry, Manifest};
use crate::quote::reveal;

/// What is in captured inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Plain files, executable or not.
    pub files: usize,
    /// Those of the files that are executable.
    pub executables: usize,
    /// Directories.
    pub directories: usize,
    /// Symbolic links.
    pub symlinks: usize,
    /// The sum of the sizes of all files.
    pub total_bytes: u64,
    /// Executables first, then links, other files and directories; each by path.
    pub listed: Vec<Listed>,
    /// How many entries are not in `listed`.
    pub not_listed: usize,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path, with hidden characters written out.
    pub path: String,
    /// The entry.
    pub entry: Entry,
}

impl Manifest {
    /// Counts everything and lists the first `at_most` entries in order of attention.
    #[must_use]
    pub fn summary(&self, at_most: usize) -> Summary {
        let mut entries: Vec<(&String, &Entry)> = self.entries().iter().collect();
        entries.sort_by_key(|(_, entry)| attention(entry));
        let count = |wanted: u8| {
            entries
                .iter()
                .filter(|(_, entry)| attention(entry) == wanted)
                .count()
        };
        let (executables, symlinks, plain, directories) = (count(0), count(1), count(2), count(3));
        Summary {
            files: executables + plain,
            executables,
            directories,
            symlinks,
            total_bytes: self.total_bytes(),
            not_listed: entries.len().saturating_sub(at_most),
            listed: entries
                .into_iter()
                .take(at_most)
                .map(|(path, entry)| Listed {
                    path: reveal(path),
                    entry: entry.clone(),
                })
                .collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({} executable), {}, {}, {}",
            counted(self.files, "file", "files"),
            self.executables,
            counted(self.symlinks, "link", "links"),
            counted(self.directories, "directory", "directories"),
            counted(self.total_bytes, "byte", "bytes")
        )?;
        for line in &self.listed {
            writeln!(f, "  {line}")?;
        }
        if self.not_listed > 0 {
            writeln!(f, "  … and {} more that are not listed", self.not_listed)?;
        }
        Ok(())
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.entry {
            Entry::File {
                size,
                executable: true,
                ..
            } => {
                write!(f, "{path}  executable, {}", counted(*size, "byte", "bytes"))
            }
            Entry::File { size, .. } => {
                write!(f, "{path}  {}", counted(*size, "byte", "bytes"))
            }
            Entry::Dir => write!(f, "{path}/"),
            Entry::Symlink { target } => write!(f, "{path} -> {}", reveal(target)),
        }
    }
}

/// Smaller is shown earlier.
fn attention(entry: &Entry) -> u8 {
    match entry {
        Entry::File {
            executable: true, ..
        } => 0,
        Entry::Symlink { .. } => 1,
        Entry::File { .. } => 2,
        Entry::Dir => 3,
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::canonical::Hash;

    use super::*;

    #[test]
    fn attention_comes_first_and_nothing_disappears() {
        let file = |size, executable| Entry::File {
            size,
            sha256: Hash::of(b""),
            executable,
        };
        let manifest = Manifest::new(
            [
                ("a", Entry::Dir),
                ("a/b\u{202e}", file(3, false)),
                ("l", Entry::Symlink { target: "a".into() }),
                ("z.sh", file(4, true)),
            ]
            .map(|(path, entry)| (path.to_owned(), entry))
            .into(),
        )
        .unwrap();
        assert_eq!(
            manifest.summary(3).to_string(),
            "2 files (1 executable), 1 link, 1 directory, 7 bytes\n  z.sh  executable, 4 bytes\n  l -> a\n  \
             a/b⟨U+202E⟩  3 bytes\n  … and 1 more that are not listed\n"
        );
        let all = manifest.summary(10);
        assert_eq!((all.listed.len(), all.not_listed), (4, 0));
    }
}
