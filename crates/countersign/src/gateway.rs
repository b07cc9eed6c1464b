//! Putting a gateway together and taking it apart in one place.
//!
//! In scope: opening data and configuration, what every gate shares.
//! Out of scope: listening (`server`) and everything the parts do themselves.
//! Invariant: the directory of files is trusted once, at first start; from then on what is active
//! comes from the store (P9). Two gateways never open the same data.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{
    approval::{myself::myself, quorum::Electorate},
    directory::Directory,
    id::RequestId,
    request::Case,
    time::Timestamp,
};
use countersign_evidence::body::{Body, Refused};
use countersign_policy::{Bundle, DirectoryChange, Problem, Snapshot};
use countersign_runner::inputs::{InputStore, Limits as InputLimits};
use countersign_store::{ActiveBundle, SqliteStore, Store};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::{
    active::{Active, ActivePolicy},
    admin,
    clock::Clock,
    engine::{self, Admission, Engine, EngineError, Input, Parts, Unknown},
    first_start::{self, Begun},
    identity::{Caller, Identity},
    ids,
    keys::Keys,
    log::Log,
    runner::Machine,
    uploads::Uploads,
};

/// The setting that keeps when recovery was last used.
pub const RECOVERED: &str = "recovered";
/// The most bytes of captured inputs that any target can take.
const MAX_INPUTS: u64 = 1 << 30;
/// Previews that run at once; they take a processor each and are asked for by callers.
const PREVIEWS: usize = 2;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of configuration files.
    pub config: PathBuf,
    /// The data directory; the configuration's own when absent.
    pub data: Option<PathBuf>,
    /// The address that people and clients use, where the configuration does not say.
    pub url: Option<String>,
    /// Whether this is a local recovery, which may trust the files again although there is a log.
    pub recovering: bool,
}

/// A running gateway, without its listener. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// Cases, directory, credentials.
    pub store: Arc<dyn Store>,
    /// The record.
    pub log: Log,
    /// The time.
    pub clock: Arc<Clock>,
    /// The installation's keys.
    pub keys: Arc<Keys>,
    /// Holds.
    pub engine: Engine,
    /// How every action enters.
    pub admission: Admission,
    /// Who is calling.
    pub identity: Identity,
    /// What commands run on.
    pub machine: Machine,
    /// Who may keep how many inputs, and for how long.
    pub uploads: Uploads,
    /// The data directory.
    pub data: Arc<Path>,
    /// The configuration directory, for showing that it differs.
    pub config: Arc<Path>,
    url: Arc<str>,
    active: Arc<watch::Sender<Arc<Active>>>,
    first_start: bool,
    /// Held while Countersign itself is changed: two changes that start from the same state would
    /// undo each other.
    pub(crate) changing: Arc<Mutex<()>>,
    _lock: Arc<Flock<File>>,
}

/// Reads the files of a configuration directory: what a bundle is made of.
///
/// # Errors
/// The directory can't be read or a file is not UTF-8.
pub fn read_files(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut take = |path: &Path, name: String| -> anyhow::Result<()> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("`{}` can't be read as text", path.display()))?;
        files.insert(name, text);
        Ok(())
    };
    for name in ["countersign.toml", "approvals.toml"] {
        let path = dir.join(name);
        if path.exists() {
            take(&path, name.into())?;
        }
    }
    for (folder, ending) in [("policies", "cedar"), ("schema", "cedarschema")] {
        let Ok(entries) = fs::read_dir(dir.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.extension().is_some_and(|found| found == ending) {
                take(&path, format!("{folder}/{name}"))?;
            }
        }
    }
    if files.is_empty() {
        bail!(
            "`{}` has no countersign.toml; write one with `countersign init`",
            dir.display()
        );
    }
    Ok(files)
}

/// Reads and checks a configuration directory.
///
/// # Errors
/// Every problem with file, line and what to do.
pub fn read_bundle(dir: &Path) -> anyhow::Result<Bundle> {
    Bundle::from_files(&read_files(dir)?).map_err(|problems| problems_error(&problems))
}

/// Several problems as one error.
#[must_use]
pub fn problems_error(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the bundle has problems:\n{}", lines.join("\n"))
}

impl Gateway {
    /// Opens data and configuration, finishing what a crash left.
    ///
    /// # Errors
    /// Configuration, keys, store or log can't be used, or another gateway uses the data.
    pub async fn open(options: Options) -> anyhow::Result<Self> {
        let from_files = read_bundle(&options.config)?;
        let data = options
            .data
            .unwrap_or_else(|| options.config.join(&from_files.store().path));
        fs::create_dir_all(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        let lock = lock(&data)?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&data.join("countersign.db")).await?);
        let stored = store.active_bundle().await?;
        let log_dir = data.join("log");
        let begun = how_far(&log_dir, stored.is_none(), options.recovering)?;
        let first_start = is_first(store.as_ref(), stored.is_none(), begun).await?;
        let fresh = stored.is_none() && !log_dir.join("journal").exists();
        let keys = Arc::new(Keys::open(&data.join("keys"), "countersign/log", fresh)?);
        let instance = format!("i-{}", countersign_core::id::base32(ids::bits(now())?));
        let (log, resumed) = Log::open(&log_dir, keys.clone(), &instance, now())?;
        write_public_keys(&log_dir, &keys)?;
        if stored.is_some() {
            check_same_age(store.as_ref(), resumed.outbox, &data).await?;
        }
        let clock = Arc::new(Clock::starting_after(resumed.last_recorded));
        let active = match stored {
            Some(stored) => load(store.as_ref(), stored).await?,
            None => first_start::trust(store.as_ref(), &log, &clock, from_files, begun).await?,
        };
        let limits = active.bundle.server().limits;
        let (active, watched) = watch::channel(Arc::new(active));
        let parts = Parts {
            store: store.clone(),
            log: log.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            active: watched.clone(),
            unknown: Unknown::of(store.unknown().await?),
            max_held_per_subject: limits.max_held_per_subject,
            max_held: limits.max_held,
        };
        let engine = engine::start(parts.clone(), &resumed).await?;
        let identity = Identity::new(
            store.clone(),
            log.clone(),
            clock.clone(),
            keys.clone(),
            watched,
        );
        let machine = machine(&data, &options.config)?;
        let uploads = uploads(&machine, store.clone(), &engine, &clock).await?;
        let url = url(options.url, &active.borrow().bundle);
        Ok(Self {
            admission: Admission::new(parts, engine.clone()),
            store,
            log,
            clock,
            keys,
            engine,
            identity,
            machine,
            uploads,
            data: data.into(),
            config: options.config.into(),
            url: url.into(),
            active: Arc::new(active),
            first_start,
            changing: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// What decides now.
    #[must_use]
    pub fn active(&self) -> Arc<Active> {
        self.active.borrow().clone()
    }

    /// What decides, now and after every change.
    #[must_use]
    pub fn watch(&self) -> ActivePolicy {
        self.active.subscribe()
    }

    /// Replaces what decides. The store has it already.
    pub(crate) fn activate(&self, active: Active) {
        self.active.send_replace(Arc::new(active));
    }

    /// Whether this is the installation's first start, or finishes one: nobody has a credential.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// The address of the console, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether people reach the console over TLS, ended here or by a proxy.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The page of a request.
    #[must_use]
    pub fn request_url(&self, id: &RequestId) -> String {
        format!("{}/requests/{id}", self.url)
    }

    /// A case that this caller may see.
    ///
    /// # Errors
    /// [`EngineError::NoSuchRequest`] when there is none, or none that the caller may see.
    pub async fn case_of(&self, caller: &Caller, id: &RequestId) -> Result<Case, EngineError> {
        let stored = self.store.case(id).await?;
        let case = stored.map(|stored| stored.case);
        case.filter(|case| self.may_see(caller, case))
            .ok_or_else(|| EngineError::NoSuchRequest(id.clone()))
    }

    /// Records that an attempt of the caller on a request was refused.
    pub async fn record_refused(&self, caller: &Caller, id: &RequestId, code: &str) {
        let by = Some(self.keys.pseudonyms.of(&caller.subject.id));
        let body = Body::Refused(Refused {
            by,
            code: code.into(),
        });
        let note = Input::Note {
            body,
            evidence: json!({ "by": caller.subject.id }),
        };
        if let Err(error) = self.engine.step(id.clone(), note).await {
            tracing::error!(%error, "a refused attempt was not recorded");
        }
    }

    /// Whether a request's content is visible to the caller: its chain, its possible approvers,
    /// auditors.
    #[must_use]
    pub fn may_see(&self, caller: &Caller, case: &Case) -> bool {
        let active = self.active();
        if case
            .request
            .chain
            .members()
            .any(|member| member.id == caller.subject.id)
        {
            return true;
        }
        let by_person = caller.person().is_some_and(|person| {
            let none = std::collections::BTreeSet::new();
            let electorate = Electorate {
                request: &case.request,
                directory: &active.directory,
                rules: &case.request.rules,
                myself: &none,
            };
            myself(case, &active.directory).contains(person)
                || electorate.may_sign_any(person, self.clock.now())
                || case.votes.iter().any(|vote| vote.voter == *person)
        });
        by_person || admin::may_audit(&active, caller, self.clock.now())
    }

    /// What anybody may know of what is wrong.
    pub async fn notices(&self) -> Vec<String> {
        let active = self.active();
        let people = active
            .directory
            .people
            .values()
            .filter(|person| !person.disabled)
            .count();
        let mut notices = Vec::new();
        if people < 2 {
            notices.push(
                "Single-person installation: nobody can countersign here, only confirm.".into(),
            );
        }
        if let Some(fault) = self.clock.fault() {
            notices.push(format!("Nothing is claimed: {fault}."));
        }
        if let Some(fault) = self.log.fault() {
            notices.push(format!("Nothing is done: {fault}."));
        }
        // Anybody can read the health, so that names are left to the console's pages.
        match active.stops.unrecorded().len() {
            0 => {}
            1 => notices.push("1 stop is in effect and not recorded yet.".into()),
            many => notices.push(format!("{many} stops are in effect and not recorded yet.")),
        }
        if let Ok(Some(text)) = self.store.setting(RECOVERED).await {
            notices.push(text);
        }
        notices
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
    if empty && begun == Begun::Finished {
        bail!(
            "there is a log in `{}` and an empty database beside it, so this is no first start; \
             restore the database, or run `countersign recover --bundle`",
            log.display()
        );
    }
    Ok(begun)
}

/// Whether nobody can have been given a credential: neither the log nor the database knows one. An
/// old copy of either alone must not get everybody a new link.
async fn is_first(store: &dyn Store, empty: bool, begun: Begun) -> anyhow::Result<bool> {
    let begun = empty || matches!(begun, Begun::Trusted(..));
    Ok(begun && store.credentials(None).await?.is_empty())
}

/// Refuses an old copy of the database, because used approvals could be used again and its new
/// records would be taken for ones that the log has; and an old copy of the log, because records
/// that somebody was told of would be missing.
async fn check_same_age(store: &dyn Store, in_log: u64, data: &Path) -> anyhow::Result<()> {
    let last = store.last_record().await?;
    if last < in_log {
        bail!(
            "the database in `{}` is older than the log beside it, perhaps an old copy; restore \
             the newest copy of both",
            data.display()
        );
    }
    // What does not wait any more was in the log.
    let waiting = store.outbox(1).await?.first().map(|entry| entry.seq);
    if waiting.map_or(last, |first| first.saturating_sub(1)) > in_log {
        bail!(
            "the log in `{}` is older than the database beside it, perhaps an old copy; restore \
             the newest copy of both",
            data.display()
        );
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
pub fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
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
fn write_public_keys(dir: &Path, keys: &Keys) -> anyhow::Result<()> {
    fs::write(dir.join("key.pub"), format!("{}\n", keys.log.verifying()))?;
    fs::write(
        dir.join("vote-key.pub"),
        format!("{}\n", keys.vote.verifying()),
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

fn url(given: Option<String>, bundle: &Bundle) -> String {
    let server = bundle.server();
    let scheme = if server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = server.public_url.clone().or(given);
    let url = url.unwrap_or_else(|| format!("{scheme}://{}", server.listen));
    url.trim_end_matches('/').to_owned()
}

/// Puts together what the store says is active.
async fn load(store: &dyn Store, stored: ActiveBundle) -> anyhow::Result<Active> {
    let files: BTreeMap<String, String> = serde_json::from_value(stored.files)?;
    let bundle = Bundle::from_files(&files).map_err(|problems| problems_error(&problems))?;
    if bundle.hash() != stored.hash {
        bail!("the stored bundle does not match its hash; it was changed in the database");
    }
    let mut directory: Directory = serde_json::from_value(stored.directory)?;
    for entry in store.directory_changes().await? {
        let change: DirectoryChange = serde_json::from_value(entry.change)?;
        change.apply(&mut directory, entry.at, entry.countersigned)?;
    }
    make_active(
        Arc::new(bundle),
        Arc::new(directory),
        stored.activated,
        stored.request,
    )
}

/// An active state from its parts.
///
/// # Errors
/// A statement names somebody who does not exist.
pub fn make_active(
    bundle: Arc<Bundle>,
    directory: Arc<Directory>,
    activated: Timestamp,
    request: Option<RequestId>,
) -> anyhow::Result<Active> {
    let snapshot = Snapshot::new(bundle.clone(), directory.clone())
        .map_err(|problems| problems_error(&problems))?;
    let hash = bundle.hash();
    Ok(Active {
        snapshot,
        bundle,
        directory,
        hash,
        activated,
        request,
        suspended: Default::default(),
        stops: Default::default(),
    })
}

/// What the store keeps of an active state.
///
/// # Errors
/// The directory has no JSON form.
pub fn stored_bundle(active: &Active) -> anyhow::Result<ActiveBundle> {
    Ok(ActiveBundle {
        hash: active.hash,
        files: serde_json::to_value(active.bundle.files())?,
        directory: serde_json::to_value(active.directory.as_ref())?,
        activated: active.activated,
        request: active.request.clone(),
    })
}
