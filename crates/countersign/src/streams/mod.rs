//! What of the record is told to other systems: files of OCSF events, webhooks, traces.
//!
//! In scope: following the log from a saved place, at least once and in order; starting and ending
//! streams as the active bundle says; how they stand.
//! Out of scope: notifying people; numbers for monitoring (`metrics`).
//! Invariant: streams read what is durable and write nothing that a decision depends on. No writer
//! of the log waits for a stream, and a stream that fails stops nothing but itself. What leaves the
//! machine is what the bundle's `details` allow ([`view`]).

mod anew;
mod delivery;
mod follow;
mod keep;
mod ocsf;
mod otlp;
mod status;
mod view;
mod webhook;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_core::count::counted;
use countersign_policy::{Stream, StreamKind, stream::Start};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::anew::begin_anew;
pub use self::{delivery::DeadLetter, status::StreamState};
use self::{follow::Place, status::Status};
use crate::{
    active::ActivePolicy,
    clock::Clock,
    gateway::Gateway,
    keys::Keys,
    log::{End, Log},
};

/// How long a stream that failed pauses, first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A stream that ran for so long was well.
const WELL: Duration = Duration::from_secs(120);

/// What streams need of the gateway. It keeps no gateway alive.
#[derive(Clone)]
struct Parts {
    log: Log,
    log_dir: Arc<Path>,
    data: Arc<Path>,
    config: Arc<Path>,
    keys: Arc<Keys>,
    clock: Arc<Clock>,
    active: ActivePolicy,
}

/// One stream, to itself.
struct Own {
    name: String,
    stream: Stream,
    status: Arc<Status>,
    stop: CancellationToken,
    /// Somebody wants everything tried again.
    again: mpsc::Receiver<()>,
    /// Somebody wanted that while the stream did not run.
    asked: bool,
}

/// One stream, to the others.
struct Running {
    stream: Stream,
    status: Arc<Status>,
    stop: CancellationToken,
    again: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

/// Every stream. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    parts: Parts,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    stop: CancellationToken,
    manager: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// How one stream is configured and stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub stream: Stream,
    /// How it stands.
    pub state: StreamState,
    /// Records that were not delivered yet.
    pub lag: u64,
}

impl Streams {
    /// Starts the streams of the active bundle, and of every one after it. Call it within the
    /// runtime that serves.
    #[must_use]
    pub fn start(gateway: &Gateway) -> Self {
        let parts = Parts {
            log: gateway.log.clone(),
            log_dir: PathBuf::from(gateway.data.as_ref()).join("log").into(),
            data: gateway.data.clone(),
            config: gateway.config.clone(),
            keys: gateway.keys.clone(),
            clock: gateway.clock.clone(),
            active: gateway.watch(),
        };
        let streams = Self {
            parts,
            running: Arc::default(),
            stop: CancellationToken::new(),
            manager: Arc::default(),
        };
        let managing = streams.clone().manage();
        *lock(&streams.manager) = Some(tokio::spawn(managing));
        streams
    }

    async fn manage(self) {
        let mut active = self.parts.active.clone();
        loop {
            let wanted = active.borrow_and_update().bundle.streams().clone();
            self.bring_about(wanted).await;
            tokio::select! {
                changed = active.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = self.stop.cancelled() => break,
            }
        }
        self.bring_about(BTreeMap::new()).await;
    }

    /// Ends what is not wanted any more, waits for it, and starts what is new.
    async fn bring_about(&self, wanted: BTreeMap<String, Stream>) {
        let ended: Vec<Running> = {
            let mut running = lock(&self.running);
            let stays = |(name, one): (&String, &Running)| wanted.get(name) == Some(&one.stream);
            let names = running.iter().filter(|one| !stays(*one));
            let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
            names
                .iter()
                .filter_map(|name| running.remove(name))
                .collect()
        };
        ended.iter().for_each(|one| one.stop.cancel());
        for one in ended {
            // Two of one name would write the same files.
            if let Err(error) = one.task.await {
                tracing::error!(%error, "a stream broke off");
            }
        }
        let mut running = lock(&self.running);
        for (name, stream) in wanted {
            running
                .entry(name)
                .or_insert_with_key(|name| self.run(name, stream));
        }
    }

    fn run(&self, name: &str, stream: Stream) -> Running {
        let (again, asked) = mpsc::channel(1);
        let status = Arc::new(Status::new(name));
        let stop = self.stop.child_token();
        let own = Own {
            name: name.to_owned(),
            stream: stream.clone(),
            status: status.clone(),
            stop: stop.clone(),
            again: asked,
            asked: false,
        };
        let task = tokio::spawn(run(self.parts.clone(), own));
        Running {
            stream,
            status,
            stop,
            again,
            task,
        }
    }

    /// How every stream stands, by name.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let size = self.parts.log.size();
        let running = lock(&self.running);
        let standing = running.iter().map(|(name, one)| {
            let state = one.status.now();
            Standing {
                name: name.clone(),
                stream: one.stream.clone(),
                lag: size.saturating_sub(state.next) + state.waiting,
                state,
            }
        });
        standing.collect()
    }

    /// What anybody may know of what is wrong.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let standing = self.standing();
        let count = |wrong: fn(&Standing) -> bool| standing.iter().filter(|one| wrong(one)).count();
        let mut notices = Vec::new();
        match count(|one| one.state.fault.is_some()) {
            0 => {}
            many => {
                let streams = counted(many, "stream does", "streams do");
                notices.push(format!("{streams} not go on."));
            }
        }
        match standing.iter().map(|one| one.state.dead).sum::<u64>() {
            0 => {}
            many => {
                let events = counted(many, "event was", "events were");
                notices.push(format!("{events} given up by streams."));
            }
        }
        notices
    }

    /// Events that a stream gave up, oldest first, `limit` of them at the most.
    ///
    /// # Errors
    /// The file of them can't be read.
    pub async fn dead_letters(&self, name: &str, limit: usize) -> anyhow::Result<Vec<DeadLetter>> {
        let (data, name) = (self.parts.data.clone(), name.to_owned());
        blocking(move || delivery::dead_letters(&data, &name, limit)).await
    }

    /// Has a stream try everything again at once, what it gave up included. Whether there is such
    /// a stream.
    #[must_use]
    pub fn retry(&self, name: &str) -> bool {
        let running = lock(&self.running);
        let found = running.get(name);
        if let Some(one) = found {
            // A full channel means that it was asked before.
            let _asked = one.again.try_send(());
        }
        found.is_some()
    }

    /// Ends all streams and waits until they noted how far they got.
    pub async fn stop(&self) {
        self.stop.cancel();
        let manager = lock(&self.manager).take();
        if let Some(manager) = manager
            && let Err(error) = manager.await
        {
            tracing::error!(%error, "the streams broke off");
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a stream until it is told to stop, beginning again when it fails.
async fn run(parts: Parts, mut own: Own) {
    let mut pause = PAUSE.0;
    loop {
        let started = tokio::time::Instant::now();
        let stream = own.stream.kind.clone();
        let ended = match &stream {
            StreamKind::Ocsf(file) => ocsf::follow(&parts, &own, file).await,
            StreamKind::Webhook(webhook) => webhook::follow(&parts, &mut own, webhook).await,
            StreamKind::Otlp(collector) => otlp::follow(&parts, &mut own, collector).await,
        };
        let Err(error) = ended else {
            return;
        };
        own.status.wrong(format!("{error:#}"));
        if started.elapsed() > WELL {
            pause = PAUSE.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = own.again.recv() => own.asked = true,
            () = own.stop.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Where a stream begins that is new.
fn beginning(start: Start, end: End) -> Place {
    match start {
        Start::Beginning => Place::default(),
        Start::Now => Place {
            index: end.records,
            offset: end.bytes,
        },
    }
}

/// Does what waits for the disk off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
