//! What strangers read: the log as tiles, entry bundles and a signed checkpoint.
//!
//! In scope: cutting the durable part of the journal into files, signing what they amount to,
//! and putting the checkpoint in the place of the one before.
//! Out of scope: when; the [`sequencer`](super::sequencer) says so.
//! Invariant: tiles are on disk before the checkpoint that covers them is signed; a checkpoint is
//! signed only over the root that both the sequencer and the tiles lead to, and replaces only the
//! one that this process published or found. So a second gateway on the same files stops, and
//! never signs a fork.
//! Specification: <https://c2sp.org/tlog-tiles>; the directory of the log is the prefix.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use countersign_evidence::{
    checkpoint::Checkpoint,
    frame::{Decoder, Step},
    key::SigningKey,
    merkle::leaf_hash,
    tile::{self, Edge, InvalidTile, Kind, Name, WIDTH},
};
use tokio::sync::oneshot;

use super::journal::{Durable, Journal};
use crate::keys::Keys;

/// How much of the journal is read at once.
const PIECE: u64 = 4 << 20;
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Something to publish, if there is anything new, and who waits for it.
struct Job {
    durable: Option<Durable>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// The thread that publishes, so that writers don't wait for it.
pub(super) struct Publishing {
    to: Sender<Job>,
}

impl Publishing {
    /// Publishes `first` and goes on in a thread of its own.
    ///
    /// # Errors
    /// The first can't be published, or no thread can be started.
    pub(super) fn start(
        mut publisher: Publisher,
        first: Option<Durable>,
        keys: Arc<Keys>,
    ) -> anyhow::Result<Self> {
        if let Some(first) = first {
            publisher.publish(&first, &keys.log, keys.retiring_log.as_ref())?;
        }
        publisher.rotated(&keys)?;
        let (to, from) = channel();
        std::thread::Builder::new()
            .name("log-publisher".into())
            .spawn(move || run(publisher, &keys.log, &from))?;
        Ok(Self { to })
    }

    /// Has this published soon, and what was asked before with it.
    pub(super) fn publish(&self, durable: Option<Durable>, waiting: Option<oneshot::Sender<()>>) {
        let waiting = waiting.into_iter().collect();
        // A thread that is gone has said why; whoever waits hears that it is.
        let _gone = self.to.send(Job { durable, waiting });
    }
}

fn run(mut publisher: Publisher, key: &SigningKey, from: &Receiver<Job>) {
    let mut failed = None;
    loop {
        let next = match &failed {
            Some(_) => from.recv_timeout(AGAIN_AFTER),
            None => from.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let (mut durable, mut waiting) = (failed.take(), Vec::new());
        match next {
            // Of several only the newest matters: it covers the others.
            Ok(job) => {
                for job in std::iter::once(job).chain(from.try_iter()) {
                    durable = job.durable.or(durable);
                    waiting.extend(job.waiting);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(durable) = durable
            && let Err(error) = publisher.publish(&durable, key, None)
        {
            tracing::error!(error = format!("{error:#}"), "no checkpoint was published");
            failed = Some(durable);
        }
        for done in waiting {
            let _gone = done.send(());
        }
    }
}

/// The published part of a log.
pub(super) struct Publisher {
    dir: PathBuf,
    /// The journal, read behind the sequencer.
    journal: File,
    /// Bytes of the journal that are in the tiles.
    offset: u64,
    edge: Edge,
    /// The entries of the bundle that is not full.
    bundle: Vec<u8>,
    /// The checkpoint in place, as it is on disk.
    published: Option<Vec<u8>>,
}

impl Publisher {
    /// Continues after the published checkpoint; from the beginning where its place in the journal
    /// is not known or the tiles don't lead to its root.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(super) fn open(dir: &Path, journal: &Journal) -> anyhow::Result<Self> {
        let mut publisher = Self {
            dir: dir.into(),
            journal: File::open(dir.join("journal"))?,
            offset: 0,
            edge: Edge::default(),
            bundle: Vec::new(),
            published: read(&dir.join("checkpoint"))?,
        };
        if let (Some(checkpoint), Some(offset)) = (&journal.found, journal.found_end) {
            match resume(dir, checkpoint) {
                Ok((edge, bundle)) => {
                    (publisher.edge, publisher.bundle) = (edge, bundle);
                    publisher.offset = offset;
                }
                Err(why) => tracing::warn!(%why, "the tiles of the log are made again"),
            }
        }
        Ok(publisher)
    }

    /// Publishes a checkpoint over what is durable.
    ///
    /// # Errors
    /// A file can't be written, the tiles lead to another root, or somebody else has published.
    /// Nothing is published then; trying again is safe.
    fn publish(
        &mut self,
        durable: &Durable,
        key: &SigningKey,
        before: Option<&SigningKey>,
    ) -> anyhow::Result<()> {
        let checkpoint = &durable.checkpoint;
        self.cut(durable.position.offset)?;
        if self.edge.size() != checkpoint.size || self.edge.root() != checkpoint.root {
            bail!(
                "the journal on disk does not lead to the root of what was written to it; the \
                 disk is failing or the file was changed. Run `countersign log verify`"
            );
        }
        let partial: Vec<_> = self.edge.partial().collect();
        let bundle = self
            .partial_bundle()
            .map(|name| (name, self.bundle.clone()));
        self.write(partial.into_iter().chain(bundle))?;
        durable.save(&self.dir)?;
        let signed = match before {
            // Whoever knows the key before follows to the new one.
            Some(before) => checkpoint.sign_by_both(before, key)?,
            None => checkpoint.sign(key)?,
        };
        self.replace(signed.into_bytes())?;
        Ok(durable.forget_others(&self.dir)?)
    }

    /// Keeps the checkpoint that two keys signed for whoever knows only the first, and ends the first.
    ///
    /// # Errors
    /// A file can't be written; the next start does it again.
    fn rotated(&self, keys: &Keys) -> anyhow::Result<()> {
        if let (Some(_), Some(published)) = (&keys.retiring_log, &self.published) {
            let mut text = format!("{}\n", keys.log.verifying()).into_bytes();
            text.extend_from_slice(published);
            let free = (1..).map(|n: u32| self.dir.join(format!("rotation.{n}")));
            let path = free.into_iter().find(|path| !path.exists());
            let path = path.unwrap_or_else(|| self.dir.join("rotation"));
            let mut file = File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()?;
        }
        keys.finish_rotation()
    }

    /// Takes the entries up to `end` into the edge, writing what becomes full.
    fn cut(&mut self, end: u64) -> anyhow::Result<()> {
        let mut pending = Vec::new();
        self.journal.seek(SeekFrom::Start(self.offset))?;
        let mut unread = end.saturating_sub(self.offset);
        while unread > 0 {
            pending.reserve(usize::try_from(unread.min(PIECE))?);
            let mut piece = Read::by_ref(&mut self.journal).take(unread.min(PIECE));
            let read = u64::try_from(piece.read_to_end(&mut pending)?)?;
            if read == 0 {
                bail!("the journal is shorter than what was written to it");
            }
            unread -= read;
            let consumed = self.take_frames(&pending)?;
            pending.drain(..consumed);
        }
        if !pending.is_empty() {
            bail!("the journal ends within a record");
        }
        Ok(())
    }

    fn take_frames(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        // Taken back where writing fails: what is tried again starts from the same place.
        let (mut edge, mut bundle) = (self.edge.clone(), self.bundle.clone());
        let mut full = Vec::new();
        let mut decoder = Decoder::new(bytes, self.offset);
        loop {
            match decoder.step() {
                Step::Frame(frame) => {
                    if !tile::push_entry(&mut bundle, frame.leaf) {
                        bail!("an entry is too long for a bundle");
                    }
                    full.extend(edge.push(leaf_hash(frame.leaf)));
                    if edge.size() % u64::from(WIDTH) == 0 {
                        let index = edge.size() / u64::from(WIDTH) - 1;
                        let name = Name::full(Kind::Entries, index);
                        full.push((name, std::mem::take(&mut bundle)));
                    }
                }
                Step::End | Step::Incomplete { .. } => break,
                Step::Corrupt(corrupt) => return Err(corrupt.into()),
            }
        }
        let consumed = decoder.offset() - self.offset;
        let complete: Vec<Name> = full.iter().map(|(name, _)| *name).collect();
        self.write(full)?;
        (self.edge, self.bundle) = (edge, bundle);
        self.offset += consumed;
        for name in complete {
            self.drop_partial(name);
        }
        Ok(usize::try_from(consumed)?)
    }

    fn partial_bundle(&self) -> Option<Name> {
        let (index, width) = (
            self.edge.size() / u64::from(WIDTH),
            self.edge.size() % u64::from(WIDTH),
        );
        Name::of(Kind::Entries, index, u16::try_from(width).ok()?)
    }

    /// Writes files and their directories through to the disk.
    fn write(&self, files: impl IntoIterator<Item = (Name, Vec<u8>)>) -> anyhow::Result<()> {
        // A log that was removed is not brought back without its journal.
        anyhow::ensure!(self.dir.is_dir(), "`{}` is gone", self.dir.display());
        let mut directories = BTreeSet::new();
        for (name, bytes) in files {
            let path = self.dir.join(name.to_string());
            let parent = path.parent().unwrap_or(&self.dir);
            if directories.insert(parent.to_owned()) && !parent.exists() {
                fs::create_dir_all(parent)?;
                directories.extend(
                    parent
                        .ancestors()
                        .take_while(|p| p.starts_with(&self.dir))
                        .map(Into::into),
                );
            }
            let mut file = File::create(&path)?;
            file.write_all(&bytes)?;
            file.sync_data()
                .with_context(|| format!("`{}` can't be written", path.display()))?;
        }
        for directory in directories {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Partial tiles may go once the full one is there.
    fn drop_partial(&self, full: Name) {
        let partial = self.dir.join(format!("{full}.p"));
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %partial.display(), "an outdated tile stays");
            }
            _ => {}
        }
    }

    /// Puts a checkpoint in the place of the one this process knows, and of no other.
    fn replace(&mut self, signed: Vec<u8>) -> anyhow::Result<()> {
        let path = self.dir.join("checkpoint");
        if read(&path)? != self.published {
            bail!(
                "somebody else has published `{}`; two gateways must not share a data directory",
                path.display()
            );
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&signed)?;
        file.sync_data()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()?;
        let mut all = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.join("checkpoints"))?;
        all.write_all(&[signed.as_slice(), b"\n"].concat())?;
        self.published = Some(signed);
        Ok(())
    }
}

/// The edge and the open bundle of the published log, when its tiles lead to the checkpoint's root.
fn resume(dir: &Path, checkpoint: &Checkpoint) -> Result<(Edge, Vec<u8>), InvalidTile> {
    let file = |name: Name| fs::read(dir.join(name.to_string())).ok();
    if let Some(name) =
        tile::all_of(checkpoint.size).find(|name| !dir.join(name.to_string()).is_file())
    {
        return Err(InvalidTile::Missing(name));
    }
    let edge = Edge::read(checkpoint.size, file)?;
    let width = u16::try_from(checkpoint.size % u64::from(WIDTH)).unwrap_or(0);
    let Some(name) = Name::of(Kind::Entries, checkpoint.size / u64::from(WIDTH), width) else {
        return edge
            .leading_to(checkpoint.root)
            .map(|edge| (edge, Vec::new()));
    };
    let bundle = file(name).ok_or(InvalidTile::Missing(name))?;
    let leaves = tile::entries(name, &bundle)?.into_iter().map(leaf_hash);
    if !leaves.eq(edge.leaves().iter().copied()) {
        return Err(InvalidTile::Root);
    }
    Ok((edge.leading_to(checkpoint.root)?, bundle))
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
