//! One thread that gives every record its place.
//!
//! In scope: batching whatever waits into one write and one sync, answering each writer with the
//! index of its first record, checkpoints and heartbeats.
//! Invariant: an answer is sent after the sync. A full queue is an error to the writer, never a
//! dropped record.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::Context;
use countersign_core::{canonical::Hash, id::PermitId, permit::LogIndex, time::Timestamp};
use countersign_evidence::{
    body::{Body, Counters, InstanceStarted, KeyPurpose, KeyRotated},
    key::SigningKey,
    leaf::{InRequest, Leaf, NO_PREVIOUS, VERSION},
};
use tokio::sync::{oneshot, watch};

use super::{
    Prepared, Record,
    journal::{self, Durable, Journal, Noted, OpenPermit},
    publisher::{Publisher, Publishing},
    tally::Tally,
};
use crate::{gateway::world::World, keys::Keys, vault::Vault};

/// Writers that can wait at once.
const QUEUE: usize = 8_192;
/// The most records written with one sync.
const BATCH: usize = 1_024;
/// The most bytes kept ready for a batch.
const MAX_ROOM: usize = 4 << 20;
/// The longest a record stays without a checkpoint while the log is in use.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// How often a heartbeat is recorded while there is something new.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
/// How often a log that could not be written is tried again.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Why a record was not written. Nothing may be done that needed it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Too many writers wait.
    #[error("the log can't keep up; try again in a moment")]
    Busy,
    /// The disk refused.
    #[error("the log can't be written ({0}); free space or make it writable, then try again")]
    Unwritable(String),
    /// The thread is gone.
    #[error("the log has stopped; restart the gateway")]
    Stopped,
}

struct Append {
    records: Vec<Prepared>,
    done: oneshot::Sender<Result<LogIndex, LogError>>,
}

enum Message {
    Append(Append),
    Checkpoint(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// Where the durable part of the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How many records there are.
    pub records: u64,
    /// How many bytes of the journal they take.
    pub bytes: u64,
}

/// The way to the log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    to: SyncSender<Message>,
    end: watch::Receiver<End>,
    tally: Arc<Tally>,
    fault: watch::Receiver<Option<String>>,
    keys: Arc<Keys>,
}

/// What was found when the log was opened.
#[derive(Debug)]
pub struct Resumed {
    /// The time of the last record.
    pub last_recorded: Timestamp,
    /// The last outbox number that arrived.
    pub outbox: u64,
    /// Permits whose outcome was not recorded: their actions ended unknown.
    pub open: BTreeMap<PermitId, OpenPermit>,
    /// Whether the log was empty.
    pub empty: bool,
    /// People and policies after the last change of them, as the log has it.
    pub(crate) world: Option<World>,
}

impl Log {
    /// Opens the log in `dir` and starts its thread. `instance` names this process; `now` is the
    /// system's time.
    ///
    /// # Errors
    /// The journal is damaged, shorter than its checkpoint, or can't be written.
    pub fn open(
        dir: &Path,
        keys: Arc<Keys>,
        instance: &str,
        now: Timestamp,
    ) -> anyhow::Result<(Self, Resumed)> {
        Self::open_with(dir, keys, instance, (now, None))
    }

    /// Begins a log in `dir`, which has none, with this record.
    ///
    /// # Errors
    /// There is one, or it can't be written.
    pub(crate) fn begin(
        dir: &Path,
        keys: Arc<Keys>,
        instance: &str,
        first: Record,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !dir.join("journal").exists(),
            "there is a log in `{}`",
            dir.display()
        );
        let (log, _) = Self::open_with(dir, keys, instance, (first.at, Some(first)))?;
        anyhow::ensure!(log.size() > 0, "its first record could not be written");
        Ok(log)
    }

    fn open_with(
        dir: &Path,
        keys: Arc<Keys>,
        instance: &str,
        (now, first): (Timestamp, Option<Record>),
    ) -> anyhow::Result<(Self, Resumed)> {
        let known: Vec<_> = std::iter::once(&keys.log)
            .chain(&keys.retiring_log)
            .map(SigningKey::verifying)
            .collect();
        let journal = Journal::open(dir, &known)
            .with_context(|| format!("the log in `{}` can't be used", dir.display()))?;
        let resumed = Resumed {
            last_recorded: journal.position.last(),
            outbox: journal.position.outbox,
            open: journal.position.open.clone(),
            empty: journal.tree.size() == 0,
            world: journal.position.world.map(|(now, was)| World { now, was }),
        };
        let (end_out, end) = watch::channel(End {
            records: journal.tree.size(),
            bytes: journal.position.offset,
        });
        let tally = Arc::new(Tally::default());
        let (fault_out, fault) = watch::channel(None);
        let publisher = Publisher::open(dir, &journal)?;
        let mut writer = Writer {
            checkpoint_due: None,
            counters: Counters::default(),
            counted: Counters::default(),
            heartbeat: Instant::now(),
            instance: instance.into(),
            keys: keys.clone(),
            last_at: journal.position.last(),
            previous: NO_PREVIOUS,
            seq: 0,
            end: end_out,
            tally: tally.clone(),
            fault: fault_out,
            room: Vec::new(),
            journal,
        };
        match first {
            Some(first) => writer.write_one(first)?,
            None => writer.start(now)?,
        }
        writer.rotate(now)?;
        let publishing = Publishing::start(publisher, writer.unpublished(), writer.keys.clone())?;
        let (to, from) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run(&from, &publishing))?;
        let log = Self {
            to,
            end,
            tally,
            fault,
            keys,
        };
        Ok((log, resumed))
    }

    /// Writes records in order and returns the index of the first once all are durable.
    ///
    /// # Errors
    /// [`LogError`]; then none of them counts.
    pub async fn append(&self, records: Vec<Prepared>) -> Result<LogIndex, LogError> {
        let (done, answer) = oneshot::channel();
        let message = Message::Append(Append { records, done });
        self.to.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => LogError::Busy,
            TrySendError::Disconnected(_) => LogError::Stopped,
        })?;
        answer.await.map_err(|_| LogError::Stopped)?
    }

    /// What its evidence is sealed with.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.keys.vault
    }

    /// Prepares and writes one record.
    ///
    /// # Errors
    /// [`LogError`] when it is not durable.
    pub async fn record(&self, record: Record) -> Result<LogIndex, LogError> {
        let prepared = record
            .prepare(None, self.vault())
            .map_err(|error| LogError::Unwritable(error.to_string()))?;
        self.append(vec![prepared]).await
    }

    /// Signs a checkpoint over everything written so far.
    pub async fn checkpoint(&self) {
        let (done, answer) = oneshot::channel();
        if self.to.try_send(Message::Checkpoint(done)).is_ok() {
            // A thread that is gone has signed what it could.
            let _gone = answer.await;
        }
    }

    /// Records a last heartbeat, signs a last checkpoint and ends the log. Whoever writes
    /// afterwards is told that it has stopped.
    pub async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.to.try_send(Message::Close(done)).is_ok() {
            // A thread that is gone has closed already.
            let _gone = answer.await;
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end.borrow().records
    }

    /// Where the durable part ends, now and after every write.
    #[must_use]
    pub fn end(&self) -> watch::Receiver<End> {
        self.end.clone()
    }

    /// What was recorded since the start, counted.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What keeps the log from being written, if the last attempt failed. It is tried again every
    /// few seconds, so it ends soon after the fault does.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.end.has_changed().is_err() {
            return Some(LogError::Stopped.to_string());
        }
        self.fault.borrow().clone()
    }
}

struct Writer {
    journal: Journal,
    keys: Arc<Keys>,
    instance: Box<str>,
    seq: u64,
    previous: Hash,
    last_at: Timestamp,
    counters: Counters,
    counted: Counters,
    heartbeat: Instant,
    checkpoint_due: Option<Instant>,
    end: watch::Sender<End>,
    tally: Arc<Tally>,
    /// Why the last write failed; nothing when it did not.
    fault: watch::Sender<Option<String>>,
    /// Where the bytes of the last batch were, for the next.
    room: Vec<u8>,
}

/// A batch in the making; nothing of it counts until it is synced.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    leaves: Vec<(Leaf, Hash, Noted)>,
    waiting: Vec<(u64, oneshot::Sender<Result<LogIndex, LogError>>)>,
}

impl Writer {
    fn start(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let started = InstanceStarted {
            build: env!("CARGO_PKG_VERSION").into(),
            checkpoint_size: self.journal.offered,
        };
        self.write_own(now, Body::InstanceStarted(started))
    }

    /// Records which keys take over from others with this start.
    fn rotate(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let keys = self.keys.clone();
        for (purpose, retiring, current) in [
            (KeyPurpose::Log, &keys.retiring_log, &keys.log),
            (KeyPurpose::Vote, &keys.retiring_vote, &keys.vote),
        ] {
            if let Some(retiring) = retiring {
                let rotated = KeyRotated {
                    current: current.verifying().to_string(),
                    previous: Some(retiring.verifying().to_string()),
                    purpose,
                };
                self.write_own(now, Body::KeyRotated(rotated))?;
            }
        }
        Ok(())
    }

    /// What is to be published; it counts as offered from now on.
    fn unpublished(&mut self) -> Option<Durable> {
        self.checkpoint_due = None;
        let origin = self.keys.log.verifying().name();
        let durable = self.journal.unpublished(origin)?;
        self.journal.offered = durable.checkpoint.size;
        Some(durable)
    }

    /// Writes one record of the log's own.
    fn write_own(&mut self, at: Timestamp, body: Body) -> anyhow::Result<()> {
        self.write_one(Record::control(at, body, serde_json::json!({})))
    }

    fn write_one(&mut self, record: Record) -> anyhow::Result<()> {
        let (done, _) = oneshot::channel();
        let mut batch = Batch::default();
        self.add(
            &mut batch,
            Append {
                records: vec![record.prepare(None, &self.keys.vault)?],
                done,
            },
        );
        self.commit(batch).map_err(anyhow::Error::from)
    }

    fn run(mut self, from: &Receiver<Message>, publishing: &Publishing) {
        let mut next = None;
        loop {
            let message = next
                .take()
                .map_or_else(|| from.recv_timeout(self.until_due()), Ok);
            match message {
                Ok(Message::Append(append)) => next = self.handle(append, from),
                Ok(Message::Checkpoint(done)) => self.publish(publishing, Some(done)),
                Ok(Message::Close(done)) => {
                    self.beat();
                    return self.publish(publishing, Some(done));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.beat();
                    return self.publish(publishing, None);
                }
            }
            self.do_due(publishing);
        }
    }

    fn until_due(&self) -> Duration {
        let due = self
            .checkpoint_due
            .map(|due| due.saturating_duration_since(Instant::now()));
        let beat = match self.fault.borrow().is_some() {
            true => PROBE_EVERY,
            false => HEARTBEAT_EVERY,
        };
        due.unwrap_or(beat).min(beat)
    }

    fn do_due(&mut self, publishing: &Publishing) {
        let faulty = self.fault.borrow().is_some();
        let news = self.counters != self.counted && self.heartbeat.elapsed() >= HEARTBEAT_EVERY;
        if news || (faulty && self.heartbeat.elapsed() >= PROBE_EVERY) {
            self.beat();
        }
        if self.checkpoint_due.is_some_and(|due| due <= Instant::now()) {
            self.publish(publishing, None);
        }
    }

    /// Writes what waits as one batch. Anything but an append ends the batch and comes back to be
    /// done after it.
    fn handle(&mut self, first: Append, from: &Receiver<Message>) -> Option<Message> {
        let mut batch = Batch {
            bytes: std::mem::take(&mut self.room),
            ..Batch::default()
        };
        let mut next = Some(Message::Append(first));
        while let Some(Message::Append(append)) = next {
            self.add(&mut batch, append);
            let more = batch.leaves.len() < BATCH;
            next = more.then(|| from.try_recv().ok()).flatten();
        }
        if let Err(error) = self.commit(batch) {
            tracing::error!(%error, "records were not written");
        }
        next
    }

    /// Encodes an append into the batch, or answers it with why it can't be.
    fn add(&mut self, batch: &mut Batch, append: Append) {
        let (bytes, leaves) = (batch.bytes.len(), batch.leaves.len());
        let first = self.journal.tree.size() + leaves as u64;
        let encoded = append
            .records
            .into_iter()
            .try_for_each(|one| self.encode(batch, one));
        match encoded {
            Ok(()) => batch.waiting.push((first, append.done)),
            Err(error) => {
                batch.bytes.truncate(bytes);
                batch.leaves.truncate(leaves);
                let _gone = append
                    .done
                    .send(Err(LogError::Unwritable(error.to_string())));
            }
        }
    }

    fn encode(&self, batch: &mut Batch, prepared: Prepared) -> anyhow::Result<()> {
        let Prepared {
            record,
            commitment,
            evidence,
            noted,
        } = prepared;
        let prev = batch
            .leaves
            .last()
            .map_or(self.previous, |(_, hash, _)| *hash);
        let leaf = Leaf {
            at: record.at,
            body: record.body,
            digest: record.digest,
            evidence: commitment,
            instance: self.instance.clone(),
            prev,
            request: record.request.map(|(id, seq)| InRequest { id, seq }),
            seq: self.seq + batch.leaves.len() as u64,
            v: VERSION,
        };
        let hash = journal::encode(&leaf.to_bytes()?, &evidence, &mut batch.bytes)?;
        batch.leaves.push((leaf, hash, noted));
        Ok(())
    }

    fn commit(&mut self, mut batch: Batch) -> Result<(), LogError> {
        let bytes = std::mem::take(&mut batch.bytes);
        let committed = self.commit_bytes(&bytes, batch);
        self.room = bytes;
        self.room.clear();
        self.room.shrink_to(MAX_ROOM);
        committed
    }

    fn commit_bytes(&mut self, bytes: &[u8], batch: Batch) -> Result<(), LogError> {
        if batch.leaves.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        if let Err(error) = self.journal.append(bytes) {
            let error = LogError::Unwritable(error.to_string());
            self.fault.send_replace(Some(error.to_string()));
            for (_, done) in batch.waiting {
                let _gone = done.send(Err(error.clone()));
            }
            return Err(error);
        }
        let leaves = batch.leaves.iter().map(|(leaf, ..)| leaf);
        self.tally.note(leaves, started.elapsed());
        for (leaf, hash, noted) in batch.leaves {
            self.counters.count(&leaf.body);
            self.journal.tree.push(hash);
            self.journal.position.note(&leaf, noted);
            self.last_at = self.last_at.max(leaf.at);
            self.previous = hash;
            self.seq += 1;
        }
        self.end.send_replace(End {
            records: self.journal.tree.size(),
            bytes: self.journal.position.offset,
        });
        self.fault.send_replace(None);
        self.checkpoint_due
            .get_or_insert_with(|| Instant::now() + CHECKPOINT_EVERY);
        for (index, done) in batch.waiting {
            let _gone = done.send(Ok(LogIndex(index)));
        }
        Ok(())
    }

    fn beat(&mut self) {
        self.heartbeat = Instant::now();
        self.counted = self.counters;
        if let Err(error) = self.write_own(self.last_at, Body::Heartbeat(self.counters)) {
            tracing::error!(%error, "the heartbeat was not written");
        }
    }

    /// Has everything written so far published.
    fn publish(&mut self, publishing: &Publishing, waiting: Option<oneshot::Sender<()>>) {
        publishing.publish(self.unpublished(), waiting);
    }
}
