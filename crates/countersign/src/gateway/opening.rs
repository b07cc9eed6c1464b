//! Opening data and configuration, finishing what a crash left, and only then trusting files.
//!
//! In scope: the order of a start, and refusing data that does not fit together.
//! Out of scope: what the first start trusts ([`first_start`]).
//! Invariant: whoever opens can look at what will be active, and fail, before a first start trusts
//! anything: files that can't be served with are corrected, not trusted. Two gateways never open
//! the same data.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{
    directory::Directory,
    id::PersonId,
    provisioning::{Provisioning, Rows},
    time::Timestamp,
};
use countersign_policy::{Bundle, DirectoryChange, assembled, bundle::settings::ServerSettings};
use countersign_runner::inputs::{InputStore, Limits as InputLimits};
use countersign_store::{ActiveBundle, SqliteStore, Store};
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{RwLock, Semaphore, watch};

use super::{
    Gateway, Options, epoch,
    first_start::{self, Begun},
    make_active, world,
};
use crate::{
    active::Active,
    admin, bundle_files,
    clock::Clock,
    durable,
    engine::{self, Admission, Emergencies, Engine, Parts, Unknown},
    identity::{Identity, delegations::Delegations},
    ids,
    keys::Keys,
    log::{Log, Resumed},
    runner::Machine,
    secrets::SecretFiles,
    uploads::Uploads,
    way_out::{Given, Stuck, WayOut},
};

/// The most bytes of captured inputs that any target can take.
const MAX_INPUTS: u64 = 1 << 30;
/// Previews that run at once; they take a processor each and are asked for by callers.
const PREVIEWS: usize = 2;

/// A gateway whose data is open and which decides nothing yet.
pub struct Opening {
    config: PathBuf,
    data: PathBuf,
    url: String,
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    log: Log,
    resumed: Resumed,
    clock: Arc<Clock>,
    deciding: Deciding,
    server: ServerSettings,
    first_start: bool,
    recovering: bool,
    lock: Flock<File>,
}

/// What will decide.
enum Deciding {
    /// What the store has as active.
    Stored(Box<Active>),
    /// The files, which will be trusted.
    Files(Box<Bundle>, Begun),
}

impl Opening {
    /// Opens data and configuration. The log gets the record of a start and nothing else.
    ///
    /// # Errors
    /// Configuration, keys, store or log can't be used, or another gateway uses the data.
    pub async fn new(options: Options) -> anyhow::Result<Self> {
        // Files are proposals once there is an active bundle: broken ones then stop nobody.
        let files = bundle_files::bundle(&options.config);
        let data = match &options.data {
            Some(data) => data.clone(),
            None => {
                let bundle = files
                    .as_ref()
                    .map_err(|error| anyhow::anyhow!("{error:#}"))?;
                options.config.join(&bundle.store().path)
            }
        };
        let given = Given {
            config: options.config.clone(),
            data: options.data.clone(),
        };
        let opened = Self::at(&data, files, options).await;
        opened.map_err(|error| given.name(error, &data))
    }

    async fn at(
        data: &Path,
        files: anyhow::Result<Bundle>,
        options: Options,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(data)?;
        fs::set_permissions(data, Permissions::from_mode(0o700))?;
        durable::sync_name(data)?;
        let lock = lock(data)?;
        epoch::check_finished(data)?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&data.join("countersign.db")).await?);
        let stored = store.active_bundle().await?;
        let log_dir = data.join("log");
        let begun = how_far(&log_dir, stored.is_none(), options.recovering)?;
        let first_start = is_first(store.as_ref(), stored.is_none(), begun).await?;
        let fresh = stored.is_none() && !log_dir.join("journal").exists();
        let keys = Arc::new(Keys::open(&data.join("keys"), fresh)?);
        let instance = format!("i-{}", countersign_core::id::base32(ids::bits(now())?));
        let (log, resumed) = Log::open(&log_dir, keys.clone(), &instance, now())?;
        write_public_keys(&log_dir, &keys)?;
        let deciding = match stored {
            Some(stored) => {
                epoch::check_database(store.as_ref(), &keys).await?;
                check_same_age(store.as_ref(), resumed.outbox, data).await?;
                let active = load(store.as_ref(), stored, options.recovering).await?;
                keys.meet(active.directory.people.keys())?;
                if !options.recovering {
                    let found = world::check(&active.bundle, &active.directory, resumed.world)?;
                    if let Some(found) = found {
                        world::stored_as(&log, now(), found).await;
                    }
                }
                Deciding::Stored(Box::new(active))
            }
            None => Deciding::Files(Box::new(files?), begun),
        };
        let server = match options.listen {
            Some(address) => {
                let elsewhere = deciding.bundle().server().listening_at(address);
                elsewhere.with_context(|| format!("nothing is served at {address}"))?
            }
            None => deciding.bundle().server().clone(),
        };
        Ok(Self {
            clock: Arc::new(Clock::starting_after(resumed.last_recorded)),
            url: url(options.url, &server),
            config: options.config,
            data: data.into(),
            store,
            keys,
            log,
            resumed,
            deciding,
            server,
            first_start,
            recovering: options.recovering,
            lock,
        })
    }

    /// The settings of the listener, of what will be active; at another address where one was given.
    #[must_use]
    pub fn server(&self) -> &ServerSettings {
        &self.server
    }

    /// The configuration directory.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The address of the console, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The record, in which a recovery says what it does before it does it.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Everybody who will be known.
    #[must_use]
    pub fn people(&self) -> Vec<PersonId> {
        let people = match &self.deciding {
            Deciding::Stored(active) => active.directory.people.clone(),
            Deciding::Files(bundle, _) => bundle.directory(self.clock.now(), None, true).people,
        };
        people.into_keys().collect()
    }

    /// Trusts the files if this is the first start, and starts to decide.
    ///
    /// # Errors
    /// The files can't be trusted, or what was waiting can't be taken up.
    pub async fn finish(self) -> anyhow::Result<Gateway> {
        let (store, log, keys, clock) = (self.store, self.log, self.keys, self.clock);
        let active = match self.deciding {
            Deciding::Stored(active) => *active,
            Deciding::Files(files, begun) => {
                first_start::trust(store.as_ref(), &log, &clock, &keys, *files, begun).await?
            }
        };
        let known = world::Known::default();
        match world::stored(store.as_ref()).await {
            Ok(stored) => stored.into_iter().for_each(|stored| known.set(stored)),
            // The files take its place in a moment.
            Err(_) if self.recovering => {}
            Err(error) => return Err(error),
        }
        let limits = active.bundle.server().limits;
        let secrets = self.data.join("secrets");
        let secrets = SecretFiles::open(secrets, keys.act, store.clone())?;
        let (active, watched) = watch::channel(Arc::new(active));
        let parts = Parts {
            store: store.clone(),
            log: log.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            active: watched.clone(),
            unknown: Unknown::of(store.unknown().await?),
            emergencies: Emergencies::default(),
            max_held_per_subject: limits.max_held_per_subject,
            max_held: limits.max_held,
            secrets: secrets.clone(),
            delegations: Delegations::stored(store.as_ref(), clock.now()).await?,
        };
        let delegations = parts.delegations.clone();
        let engine = engine::start(parts.clone(), &self.resumed).await?;
        secrets.attend(engine.updates().subscribe()).await?;
        let changing: Arc<RwLock<()>> = Arc::default();
        let identity = Identity::new(
            store.clone(),
            log.clone(),
            clock.clone(),
            keys.clone(),
            watched,
            (&self.config, delegations, changing.clone()),
        )?;
        let machine = machine(&self.data, &self.config)?;
        let uploads = uploads(&machine, store.clone(), &engine, &clock).await?;
        let gateway = Gateway {
            admission: Admission::new(parts, engine.clone()),
            store,
            log,
            clock,
            keys,
            engine,
            identity,
            machine,
            uploads,
            secrets,
            data: self.data.into(),
            config: self.config.into(),
            url: self.url.into(),
            active: Arc::new(active),
            first_start: self.first_start,
            changing,
            world: Arc::new(known),
            forged: Arc::default(),
            _lock: Arc::new(self.lock),
        };
        // What a crash left of an erasure.
        admin::erase::finish(&gateway).await?;
        Ok(gateway)
    }
}

impl Deciding {
    fn bundle(&self) -> &Bundle {
        match self {
            Self::Stored(active) => &active.bundle,
            Self::Files(bundle, _) => bundle,
        }
    }
}

/// How far the first start has come. A recovery may trust the files again, whatever there is.
///
/// # Errors
/// The database has nothing, and the log shows that it once had.
fn how_far(log: &Path, empty: bool, recovering: bool) -> anyhow::Result<Begun> {
    if recovering {
        return Ok(Begun::Finished);
    }
    let begun = first_start::begun(log)?;
    if empty && matches!(begun, Begun::Recovered | Begun::Finished) {
        let why = format!(
            "there is a log in `{}` and an empty database beside it, so this is no first start; \
             restore the database",
            log.display()
        );
        return Err(Stuck::err(WayOut::TrustFiles, why));
    }
    Ok(begun)
}

/// Whether nobody can have been given a credential: neither the log nor the database knows one. An
/// old copy of either alone must not get everybody a new link.
async fn is_first(store: &dyn Store, empty: bool, begun: Begun) -> anyhow::Result<bool> {
    let nobody = empty || matches!(begun, Begun::Trusted(..) | Begun::Recovered);
    Ok(nobody && store.credentials(None).await?.is_empty())
}

/// Refuses an old copy of the database, because used approvals could be used again and its new
/// records would be taken for ones that the log has; and an old copy of the log, because records
/// that somebody was told of would be missing.
async fn check_same_age(store: &dyn Store, in_log: u64, data: &Path) -> anyhow::Result<()> {
    let last = store.last_record().await?;
    if last < in_log {
        let why = format!(
            "the database in `{}` is older than the log beside it, perhaps an old copy; restore \
             the newest copy of both",
            data.display()
        );
        return Err(Stuck::err(WayOut::NewLog, why));
    }
    // What does not wait any more was in the log.
    let waiting = store.outbox(1).await?.first().map(|entry| entry.seq);
    if waiting.map_or(last, |first| first.saturating_sub(1)) > in_log {
        let why = format!(
            "the log in `{}` is older than the database beside it, perhaps an old copy; restore \
             the newest copy of both",
            data.display()
        );
        return Err(Stuck::err(WayOut::NewLog, why));
    }
    Ok(())
}

fn now() -> Timestamp {
    Clock::starting_after(Timestamp(0)).now()
}

/// Makes sure that no other gateway uses the data.
///
/// # Errors
/// Another one does.
pub(super) fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
    let path = data.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another gateway uses `{}`; stop it first", data.display()))
}

/// Writes the keys that verify the log beside it, for whoever verifies offline.
pub(super) fn write_public_keys(dir: &Path, keys: &Keys) -> anyhow::Result<()> {
    fs::write(dir.join("key.pub"), format!("{}\n", keys.log.verifying()))?;
    fs::write(
        dir.join("vote-key.pub"),
        keys.of_votes()
            .iter()
            .map(|key| format!("{key}\n"))
            .collect::<String>(),
    )?;
    Ok(())
}

fn machine(data: &Path, config: &Path) -> anyhow::Result<Machine> {
    let limits = InputLimits {
        total_bytes: MAX_INPUTS,
    };
    // Commands may run as a user who can't enter the data directory, so runs get their own; a
    // fresh name that nobody could prepare.
    let scratch = tempfile::Builder::new().prefix("countersign-").tempdir()?;
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o711))?;
    let path = [
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/usr/local/sbin",
        "/usr/sbin",
        "/sbin",
    ];
    Ok(Machine {
        inputs: Arc::new(InputStore::new(data.join("inputs"), limits)?),
        scratch: Arc::new(scratch),
        path: path.iter().map(PathBuf::from).collect(),
        config: config.canonicalize()?,
        previews: Arc::new(Semaphore::new(PREVIEWS)),
    })
}

/// Takes up the inputs that open requests need.
async fn uploads(
    machine: &Machine,
    store: Arc<dyn Store>,
    engine: &Engine,
    clock: &Arc<Clock>,
) -> anyhow::Result<Uploads> {
    let uploads = Uploads::open(machine.inputs.clone(), store, clock.now()).await?;
    uploads.attend(engine.updates().subscribe(), clock.clone());
    Ok(uploads)
}

/// The address of the console under these settings, unless another one is given.
pub(crate) fn url(given: Option<String>, server: &ServerSettings) -> String {
    let scheme = if server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = server.public_url.clone().or(given);
    let url = url.unwrap_or_else(|| format!("{scheme}://{}", server.listen));
    url.trim_end_matches('/').to_owned()
}

/// Puts together what the store says is active; a recovery leaves out changes that do not fit.
pub(super) async fn load(
    store: &dyn Store,
    stored: ActiveBundle,
    recovering: bool,
) -> anyhow::Result<Active> {
    let (activated, request) = (stored.activated, stored.request.clone());
    let mut parts = StoredParts::read(store, stored).await?;
    if recovering {
        parts.leave_out_unfit();
    }
    let directory = parts.directory()?;
    make_active(
        Arc::new(parts.bundle),
        Arc::new(directory),
        activated,
        request,
    )
}

/// What the store says is active.
pub(super) struct StoredParts {
    /// The bundle.
    pub(super) bundle: Bundle,
    files: Directory,
    provisioned: Option<Provisioning>,
    changes: Vec<(DirectoryChange, Timestamp, bool)>,
}

impl StoredParts {
    /// Reads them.
    ///
    /// # Errors
    /// They can't be read, or the bundle is another one.
    pub(super) async fn read(store: &dyn Store, stored: ActiveBundle) -> anyhow::Result<Self> {
        let files: BTreeMap<String, String> = serde_json::from_value(stored.files)?;
        let bundle = Bundle::from_files(&files)
            .map_err(|problems| bundle_files::problems_error(&problems))?;
        if bundle.hash() != stored.hash {
            bail!("the stored bundle does not match its hash; it was changed in the database");
        }
        let changes = store.directory_changes().await?;
        let changes = changes.into_iter().map(|entry| {
            let change: DirectoryChange = serde_json::from_value(entry.change)?;
            Ok((change, entry.at, entry.countersigned))
        });
        Ok(Self {
            changes: changes.collect::<anyhow::Result<_>>()?,
            provisioned: provisioned(store, &bundle).await?,
            files: serde_json::from_value(stored.directory)?,
            bundle,
        })
    }

    /// The directory that they make.
    ///
    /// # Errors
    /// A change does not fit.
    pub(super) fn directory(&self) -> anyhow::Result<Directory> {
        let (files, changes) = (self.files.clone(), self.changes.clone());
        let made = assembled(files, self.provisioned.clone(), changes);
        made.map_err(|error| {
            let why =
                format!("a change of people in the database does not fit the others: {error}");
            Stuck::err(WayOut::TrustFiles, why)
        })
    }

    /// The directory that they would make once this is provisioned, and a change kept.
    ///
    /// # Errors
    /// A change would not fit.
    pub(super) fn becoming(
        mut self,
        provisioned: Option<Provisioning>,
        kept: Option<(DirectoryChange, Timestamp, bool)>,
    ) -> anyhow::Result<Directory> {
        self.provisioned = provisioned;
        self.changes.extend(kept);
        self.directory()
    }

    fn leave_out_unfit(&mut self) {
        let mut trial = self.files.clone();
        trial.provisioning = self.provisioned.clone().map(Arc::new);
        trial.introduce();
        self.changes.retain(|(change, at, countersigned)| {
            change.apply_alone(&mut trial, *at, *countersigned).is_ok()
        });
    }
}

/// What the store has as provisioned under a bundle.
pub(crate) async fn provisioned(
    store: &dyn Store,
    bundle: &Bundle,
) -> anyhow::Result<Option<Provisioning>> {
    let Some(mut provisioned) = bundle.unprovisioned() else {
        return Ok(None);
    };
    let rows = store.provisioned().await?.into_iter();
    let rows = rows.map(|(key, value)| Ok((key, Some(serde_json::from_str(&value)?))));
    provisioned.put(&rows.collect::<anyhow::Result<Rows>>()?)?;
    Ok(Some(provisioned))
}
