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
    path::Path,
};

use anyhow::{Context, bail};
use countersign_core::canonical::Hash;
use countersign_evidence::{key::SigningKey, reference::Pseudonyms};

/// Every key of an installation.
pub struct Keys {
    /// Signs checkpoints.
    pub log: SigningKey,
    /// Signs votes.
    pub vote: SigningKey,
    /// Makes attach keys.
    pub attach: [u8; 32],
    /// Makes the references under which people appear in the log.
    pub pseudonyms: Pseudonyms,
    /// Proves fresh acts of a session.
    pub act: [u8; 32],
}

/// 32 random bytes from the operating system's generator.
///
/// # Errors
/// When the operating system has none.
pub fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("the system's random generator failed")?;
    Ok(bytes)
}

impl Keys {
    /// Reads the keys in `dir`, or makes them when `fresh` says that no data exists yet.
    ///
    /// `origin` names the log, for example `countersign.example.com/log`.
    ///
    /// # Errors
    /// A key is missing where data exists, unreadable, or readable by others.
    pub fn open(dir: &Path, origin: &str, fresh: bool) -> anyhow::Result<Self> {
        if fresh {
            fs::create_dir_all(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        let key = |name: &str| read_or_make(&dir.join(name), fresh);
        Ok(Self {
            log: SigningKey::from_seed(origin, &key("log.key")?)?,
            vote: SigningKey::from_seed(&format!("{origin}/votes"), &key("vote.key")?)?,
            attach: key("attach.key")?,
            pseudonyms: Pseudonyms::new(key("pseudonym.key")?),
            act: key("act.key")?,
        })
    }
}

/// Makes a key file whole or not at all: a crash leaves at most a file of another name.
fn make(path: &Path) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{}", Hash(random()?))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn read_or_make(path: &Path, fresh: bool) -> anyhow::Result<[u8; 32]> {
    if !path.exists() {
        if !fresh {
            bail!(
                "the key `{}` is missing although this installation has data; restore it from a \
                 copy, because what it signed can't be continued with another",
                path.display()
            );
        }
        make(path)?;
    }
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "the key `{0}` can be read by others; run `chmod 600 {0}`",
            path.display()
        );
    }
    let text = fs::read_to_string(path)?;
    let hash: Hash = text
        .trim()
        .parse()
        .with_context(|| format!("`{}` is not a key", path.display()))?;
    Ok(hash.0)
}
