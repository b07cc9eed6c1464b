//! The installation's keys, each in its own file outside the database.
//!
//! In scope: making them at first start, reading them with their permissions checked.
//! Out of scope: what they sign.
//! Invariant: a key file is readable by its owner alone, or the gateway does not start. A key is
//! never replaced by a new one where data exists that needs the old one.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{canonical::Hash, id::PersonId};
use countersign_evidence::{
    body::KeyPurpose,
    key::{SigningKey, VerifyingKey},
    reference::Pseudonyms,
};

use crate::{durable, vault::Vault};

/// Every key of an installation.
pub struct Keys {
    /// Signs checkpoints.
    pub log: SigningKey,
    /// Signed checkpoints until now, where a new key takes over with this start.
    pub retiring_log: Option<SigningKey>,
    /// Signs votes.
    pub vote: SigningKey,
    /// Signed votes until now, where a new key takes over with this start.
    pub retiring_vote: Option<SigningKey>,
    /// Signed votes earlier; what they signed holds.
    pub retired_votes: Vec<VerifyingKey>,
    /// Makes attach keys.
    pub attach: [u8; 32],
    /// Makes the references under which people appear in the log.
    pub pseudonyms: Pseudonyms,
    /// Proves fresh acts of a session.
    pub act: [u8; 32],
    /// Seals evidence.
    pub vault: Arc<Vault>,
    dir: PathBuf,
}

/// 32 random bytes from the operating system's generator.
///
/// # Errors
/// When the operating system has none.
pub fn random() -> anyhow::Result<[u8; 32]> {
    random_bytes()
}

/// Fresh random bytes. Many at once take hardly longer than few.
///
/// # Errors
/// Like [`random`].
pub(crate) fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).context("the system's random generator failed")?;
    Ok(bytes)
}

impl Keys {
    /// Reads the keys in `dir`, or makes them when `fresh` says that no data exists yet.
    ///
    /// The log's name is made of its first key and kept beside it, so that no two installations
    /// have logs of the same name, and a log keeps its name whatever key signs it.
    ///
    /// # Errors
    /// A key is missing where data exists, unreadable, or readable by others.
    pub fn open(dir: &Path, fresh: bool) -> anyhow::Result<Self> {
        if fresh {
            fs::create_dir_all(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            // Nothing that needs the keys is made before their directory is there to stay.
            durable::sync_name(dir)?;
        }
        let key = |name: &str| {
            let path = dir.join(name);
            let text = read_or_make(&path, fresh, || Ok(Hash(random()?).to_string()))?;
            let key: Hash = text
                .parse()
                .with_context(|| format!("`{}` is not a key", path.display()))?;
            anyhow::Ok(key.0)
        };
        let next = |name: &str| {
            let name = format!("{name}{NEXT}");
            let waits = dir.join(&name).exists();
            waits.then(|| key(&name)).transpose()
        };
        let log = key(LOG)?;
        let origin = read_or_make(&dir.join("origin"), fresh, || origin_of(&log))?;
        let signing = |name: &str, of: &str, seed: [u8; 32]| {
            let now = SigningKey::from_seed(name, &seed)?;
            anyhow::Ok(match next(of)? {
                None => (now, None),
                Some(next) => (SigningKey::from_seed(name, &next)?, Some(now)),
            })
        };
        let (log, retiring_log) = signing(&origin, LOG, log)?;
        let (vote, retiring_vote) = signing(&format!("{origin}/votes"), VOTE, key(VOTE)?)?;
        let pseudonyms = Pseudonyms::new(key("pseudonym.key")?);
        let vault = Arc::new(Vault::open(&dir.join(EVIDENCE), fresh)?);
        vault.tell(&pseudonyms);
        Ok(Self {
            log,
            retiring_log,
            vote,
            retiring_vote,
            retired_votes: retired(&dir.join(RETIRED_VOTES))?,
            attach: key("attach.key")?,
            pseudonyms,
            vault,
            act: key("act.key")?,
            dir: dir.into(),
        })
    }

    /// Makes the keys of a log that begins in the place of this one, in `to`: the same under another
    /// name, but for the one that seals, so that nothing sealed before counts after it. Keys that wait
    /// take over; verifier keys of before stay behind. The vault is the same file: a copy of it would
    /// outlive what is destroyed there.
    ///
    /// # Errors
    /// A key can't be read or written.
    pub(crate) fn begin_epoch(&self, to: &Path, origin: &str) -> anyhow::Result<()> {
        fs::create_dir_all(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
        for name in [LOG, VOTE, "attach.key", "pseudonym.key"] {
            let next = self.dir.join(format!("{name}{NEXT}"));
            let from = Some(next).filter(|next| next.exists());
            let text = fs::read_to_string(from.unwrap_or_else(|| self.dir.join(name)))?;
            make(&to.join(name), text.trim())?;
        }
        fs::hard_link(self.dir.join(EVIDENCE), to.join(EVIDENCE))?;
        make(&to.join("act.key"), &Hash(random()?).to_string())?;
        make(&to.join("origin"), origin)
    }

    /// Makes references to these people possible that can be forgotten again.
    ///
    /// # Errors
    /// Their keys can't be kept.
    pub fn meet<'a>(&self, people: impl IntoIterator<Item = &'a PersonId>) -> anyhow::Result<()> {
        self.vault.meet(people, &self.pseudonyms)
    }

    /// Every key whose signature under a vote counts, the present one first.
    #[must_use]
    pub fn of_votes(&self) -> Vec<VerifyingKey> {
        let retiring = self.retiring_vote.iter().map(SigningKey::verifying);
        std::iter::once(self.vote.verifying())
            .chain(retiring)
            .chain(&self.retired_votes)
            .cloned()
            .collect()
    }

    /// Makes a new key of this purpose, which takes over with the next start.
    ///
    /// # Errors
    /// One waits already, or it can't be written.
    pub fn prepare_rotation(&self, purpose: KeyPurpose) -> anyhow::Result<()> {
        let path = self.dir.join(format!("{}{NEXT}", file_of(purpose)));
        if path.exists() {
            bail!("a new key waits already; restart the gateway, so that it takes over");
        }
        make(&path, &Hash(random()?).to_string())
    }

    /// Puts the new keys in the place of those that they replace, whose secrets are gone then.
    ///
    /// # Errors
    /// A file can't be written; the next start does it again.
    pub(crate) fn finish_rotation(&self) -> anyhow::Result<()> {
        if let Some(retiring) = &self.retiring_vote {
            let path = self.dir.join(RETIRED_VOTES);
            let mut lines: Vec<_> = self.retired_votes.iter().map(ToString::to_string).collect();
            let line = retiring.verifying().to_string();
            if !lines.contains(&line) {
                lines.push(line);
            }
            make(&path, &lines.join("\n"))?;
            replace(&self.dir, VOTE)?;
        }
        if self.retiring_log.is_some() {
            replace(&self.dir, LOG)?;
        }
        Ok(())
    }
}

/// The file of the keys that evidence is sealed with.
pub const EVIDENCE: &str = "evidence.keys";
const LOG: &str = "log.key";
const VOTE: &str = "vote.key";
/// The ending of a key that takes over with the next start.
const NEXT: &str = ".next";
/// Verifier keys, one a line.
const RETIRED_VOTES: &str = "vote.retired";

fn file_of(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Log => LOG,
        KeyPurpose::Vote => VOTE,
    }
}

fn replace(dir: &Path, name: &str) -> anyhow::Result<()> {
    fs::rename(dir.join(format!("{name}{NEXT}")), dir.join(name))?;
    Ok(fs::File::open(dir)?.sync_all()?)
}

fn retired(path: &Path) -> anyhow::Result<Vec<VerifyingKey>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let keys = text.lines().filter(|line| !line.is_empty()).map(str::parse);
    let keys: Result<Vec<VerifyingKey>, _> = keys.collect();
    keys.with_context(|| format!("`{}` has a line that is no verifier key", path.display()))
}

/// The name of a new log: `countersign/` and 16 digits that come from its key.
fn origin_of(log: &[u8; 32]) -> anyhow::Result<String> {
    let key = SigningKey::from_seed("countersign", log)?;
    let digits = Hash::of(key.verifying().to_string().as_bytes()).to_string();
    let digits: String = digits.chars().take(16).collect();
    Ok(format!("countersign/{digits}"))
}

/// Makes a file whole or not at all: a crash leaves at most a file of another name.
fn make(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn read_or_make(
    path: &Path,
    fresh: bool,
    text: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    if !path.exists() {
        if !fresh {
            bail!(
                "the key `{}` is missing although this installation has data; restore it from a \
                 copy, because what it signed can't be continued with another",
                path.display()
            );
        }
        make(path, &text()?)?;
    }
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "the key `{0}` can be read by others; run `chmod 600 {0}`",
            path.display()
        );
    }
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_a_name_of_its_own_and_keeps_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open =
            |dir: &Path, fresh| Keys::open(dir, fresh).map(|keys| keys.log.verifying().clone());
        let first = open(one.path(), true).unwrap();
        assert_ne!(first.name(), open(other.path(), true).unwrap().name());
        for fresh in [true, false] {
            assert_eq!(open(one.path(), fresh).unwrap(), first);
        }
        // A new key signs a log of the same name; what is missing is not made up.
        fs::remove_file(one.path().join("log.key")).unwrap();
        assert!(open(one.path(), false).is_err());
        let renewed = open(one.path(), true).unwrap();
        assert_eq!(renewed.name(), first.name());
        assert_ne!(renewed, first);
        fs::remove_file(one.path().join("origin")).unwrap();
        assert!(open(one.path(), false).is_err());
    }

    #[test]
    fn a_log_that_begins_after_another_has_its_keys_under_another_name() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dir, to) = (one.path(), other.path().join("keys"));
        let before = Keys::open(dir, true).unwrap();
        before.prepare_rotation(KeyPurpose::Log).unwrap();
        let old = Keys::open(dir, false).unwrap();
        old.begin_epoch(&to, "countersign/0/2-abababab").unwrap();
        let new = Keys::open(&to, false).unwrap();
        let (was, now) = (old.log.verifying(), new.log.verifying());
        assert_eq!(
            (now.name(), now.public()),
            ("countersign/0/2-abababab", was.public())
        );
        assert_ne!(now.public(), before.log.verifying().public());
        assert!(new.retiring_log.is_none());
        assert_eq!(new.vote.verifying().public(), old.vote.verifying().public());
        assert_ne!(new.vote.verifying().name(), old.vote.verifying().name());
        assert_eq!(new.attach, old.attach);
        assert_ne!(new.act, old.act);
        // What is destroyed in one is gone in the other, because it is one.
        let inode = |dir: &Path| {
            let file = fs::metadata(dir.join(EVIDENCE)).unwrap();
            std::os::unix::fs::MetadataExt::ino(&file)
        };
        assert_eq!(inode(&to), inode(dir));
    }
}
