//! Checkpoints: what the log is at one size, signed.
//!
//! In scope: the three lines of a checkpoint, signing and opening it as a note.
//! Out of scope: when to publish, witnesses.
//! Invariant: a text that opens is exactly the text that writing its checkpoint gives.
//! Specification: <https://c2sp.org/tlog-checkpoint>, without extension lines, which this log
//! never writes and therefore refuses.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::canonical::Hash;

use crate::{
    key::{SigningKey, VerifyingKey},
    merkle::{Tree, empty_root},
    note::{self, InvalidNote, Note},
};

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// The text is not origin, size and root.
    #[error("line {0} of the checkpoint is malformed; it reads origin, size and root, one a line")]
    Line(usize),
    /// The origin is not the name of the log's key.
    #[error("the checkpoint is of the log `{}`, not of `{}`", found.escape_debug(), expected.escape_debug())]
    Origin {
        /// What the checkpoint says.
        found: String,
        /// The name of the verifying key.
        expected: String,
    },
    /// The size is zero and the root is not that of the empty tree.
    #[error("the checkpoint gives a tree without entries a root that it cannot have")]
    EmptyRoot,
}

/// The state of a log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's name.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint of `tree` as it is now.
    #[must_use]
    pub fn of(origin: &str, tree: &Tree) -> Self {
        Self {
            origin: origin.to_owned(),
            size: tree.size(),
            root: tree.root(),
        }
    }

    /// `origin\nsize\nbase64(root)\n`.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.0)
        )
    }

    /// Reads what [`to_text`](Self::to_text) wrote, and nothing else.
    ///
    /// # Errors
    /// [`InvalidCheckpoint::Line`] with the line's number, [`InvalidCheckpoint::EmptyRoot`].
    pub fn parse(text: &str) -> Result<Self, InvalidCheckpoint> {
        let mut lines = text.split('\n');
        let line = |found: Option<&str>, number| {
            found
                .map(ToOwned::to_owned)
                .ok_or(InvalidCheckpoint::Line(number))
        };
        let origin = line(lines.next().filter(|origin| !origin.is_empty()), 1)?;
        let size = line(lines.next().filter(|size| is_decimal(size)), 2)?;
        let size = size.parse().map_err(|_| InvalidCheckpoint::Line(2))?;
        let root = STANDARD.decode(line(lines.next(), 3)?).ok();
        let root = root
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(InvalidCheckpoint::Line(3))?;
        if lines.next() != Some("") || lines.next().is_some() {
            return Err(InvalidCheckpoint::Line(4));
        }
        if size == 0 && Hash(root) != empty_root() {
            return Err(InvalidCheckpoint::EmptyRoot);
        }
        Ok(Self {
            origin,
            size,
            root: Hash(root),
        })
    }

    /// The signed note.
    ///
    /// # Errors
    /// [`InvalidCheckpoint::Origin`] when the key has another name than the log.
    pub fn sign(&self, key: &SigningKey) -> Result<String, InvalidCheckpoint> {
        self.check_origin(key.verifying())?;
        Ok(note::sign(&self.to_text(), key)?)
    }

    /// The note, signed by the key that the log had and the one it has from now on.
    ///
    /// # Errors
    /// [`InvalidCheckpoint::Origin`] when one of them has another name than the log.
    pub fn sign_by_both(
        &self,
        before: &SigningKey,
        now: &SigningKey,
    ) -> Result<String, InvalidCheckpoint> {
        let (text, second) = (self.sign(before)?, self.sign(now)?);
        let line = second.rsplit_once("\n\n").map_or("", |(_, line)| line);
        Ok(text + line)
    }

    /// Reads a signed checkpoint of the log whose key is `key`. Signatures of others, such as
    /// witnesses, are ignored.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`] when the note, its signature, its text or its origin is wrong.
    pub fn open(bytes: &[u8], key: &VerifyingKey) -> Result<Self, InvalidCheckpoint> {
        let note = Note::open(bytes, std::slice::from_ref(key))?;
        let checkpoint = Self::parse(note.text())?;
        checkpoint.check_origin(key)?;
        Ok(checkpoint)
    }

    /// Reads a checkpoint whose signature is **not** checked: for telling a checkpoint, and of which
    /// log, from something else. Nothing may rest on it.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`] when it is no checkpoint.
    pub fn peek(bytes: &[u8]) -> Result<Self, InvalidCheckpoint> {
        Self::parse(Note::peek(bytes)?)
    }

    fn check_origin(&self, key: &VerifyingKey) -> Result<(), InvalidCheckpoint> {
        if self.origin == key.name() {
            return Ok(());
        }
        let (found, expected) = (self.origin.clone(), key.name().to_owned());
        Err(InvalidCheckpoint::Origin { found, expected })
    }
}

fn is_decimal(text: &str) -> bool {
    text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    #[test]
    fn a_checkpoint_has_three_lines() {
        // The example of the specification.
        let text = format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n");
        let read = Checkpoint::parse(&text).unwrap();
        assert_eq!(
            (read.origin.as_str(), read.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(read.to_text(), text);
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, line) in [
            (format!("\n1\n{ROOT}\n"), 1),
            (format!("o\n01\n{ROOT}\n"), 2),
            (format!("o\n+1\n{ROOT}\n"), 2),
            (format!("o\n-1\n{ROOT}\n"), 2),
            (format!("o\n\n{ROOT}\n"), 2),
            (format!("o\n1 \n{ROOT}\n"), 2),
            (format!("o\n18446744073709551616\n{ROOT}\n"), 2),
            ("o\n1\n".to_owned(), 3),
            (format!("o\n1\n{}\n", &ROOT[..40]), 3),
            (format!("o\n1\n{}\n", ROOT.replace("2I=", "2J=")), 3),
            (format!("o\n1\n{ROOT}"), 4),
            (format!("o\n1\n{ROOT}\nmore\n"), 4),
            (format!("o\n1\n{ROOT}\n\n"), 4),
        ] {
            assert_eq!(
                Checkpoint::parse(&text),
                Err(InvalidCheckpoint::Line(line)),
                "{text}"
            );
        }
        let empty = format!("o\n0\n{ROOT}\n");
        assert_eq!(Checkpoint::parse(&empty), Err(InvalidCheckpoint::EmptyRoot));
    }

    #[test]
    fn a_checkpoint_of_two_keys_opens_under_each() {
        let key = |seed| SigningKey::from_seed("log.example", &[seed; 32]).unwrap();
        let (before, now, other) = (key(1), key(2), key(3));
        let mut tree = Tree::new();
        tree.push(Hash([7; 32]));
        let checkpoint = Checkpoint::of("log.example", &tree);
        let note = checkpoint.sign_by_both(&before, &now).unwrap();
        for key in [&before, &now] {
            let opened = Checkpoint::open(note.as_bytes(), key.verifying());
            assert_eq!(opened, Ok(checkpoint.clone()));
        }
        assert!(Checkpoint::open(note.as_bytes(), other.verifying()).is_err());
    }

    #[test]
    fn signing_and_opening_bind_the_log_s_name() {
        let key = SigningKey::from_seed("log.example", &[3; 32]).unwrap();
        let mut tree = Tree::new();
        for entry in ["a", "b", "c"] {
            let checkpoint = Checkpoint::of("log.example", &tree);
            let note = checkpoint.sign(&key).unwrap();
            assert_eq!(
                Checkpoint::open(note.as_bytes(), key.verifying()),
                Ok(checkpoint)
            );
            tree.push(leaf_hash(entry.as_bytes()));
        }
        let elsewhere = Checkpoint::of("other.example", &tree);
        assert!(matches!(
            elsewhere.sign(&key),
            Err(InvalidCheckpoint::Origin { .. })
        ));
        let note = note::sign(&elsewhere.to_text(), &key).unwrap();
        let opened = Checkpoint::open(note.as_bytes(), key.verifying());
        assert!(matches!(opened, Err(InvalidCheckpoint::Origin { .. })));
    }
}
