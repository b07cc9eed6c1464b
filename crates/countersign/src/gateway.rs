//! A running gateway: what every gate shares.
//!
//! In scope: opening one ([`opening`]), the first start ([`first_start`]), who may see a request.
//! Out of scope: listening (`server`) and everything the parts do themselves.
//! Invariant: the directory of files is trusted once, at first start; from then on what is active
//! comes from the store (P9).

pub(crate) mod epoch;
mod first_start;
pub(crate) mod opening;
pub mod retention;
pub(crate) mod world;

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use countersign_core::{
    approval::{myself::side, quorum::Electorate},
    count::counted,
    directory::Directory,
    id::{PersonId, RequestId},
    lifecycle::{self, Refusal},
    provisioning::Rows,
    request::Case,
    subject::SubjectChain,
    time::Timestamp,
};
use countersign_evidence::body::{Body, Refused};
use countersign_policy::{Bundle, Snapshot};
use countersign_store::{ActiveBundle, Store, StoreError, Write};
use nix::fcntl::Flock;
use serde_json::json;
use tokio::sync::{RwLock, watch};

pub use self::opening::Opening;
use crate::{
    active::{Active, ActivePolicy},
    admin, bundle_files,
    clock::Clock,
    engine::{Admission, Engine, EngineError, Input, seal},
    identity::{Caller, Identity},
    keys::Keys,
    log::Log,
    runner::Machine,
    secrets::SecretFiles,
    uploads::Uploads,
};

/// The setting that keeps when recovery was last used.
pub const RECOVERED: &str = "recovered";
/// The setting that keeps when the log was begun in the place of another one.
pub(crate) const NEW_EPOCH: &str = "new_epoch";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of configuration files.
    pub config: PathBuf,
    /// The data directory; the configuration's own when absent.
    pub data: Option<PathBuf>,
    /// The address that people and clients use, where the configuration does not say.
    pub url: Option<String>,
    /// Where to listen instead of where the configuration says.
    pub listen: Option<SocketAddr>,
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
    /// The secrets of held requests.
    pub secrets: SecretFiles,
    /// The data directory.
    pub data: Arc<Path>,
    /// The configuration directory, for showing that it differs.
    pub config: Arc<Path>,
    url: Arc<str>,
    active: Arc<watch::Sender<Arc<Active>>>,
    first_start: bool,
    /// Written to while Countersign itself is changed: two changes that start from the same state would
    /// undo each other. Read while a token is stored that stands on how things are.
    pub(crate) changing: Arc<RwLock<()>>,
    /// What the database has of people and policies.
    pub(crate) world: Arc<world::Known>,
    /// Requests that were found edited in the database.
    pub(crate) forged: Arc<std::sync::Mutex<BTreeSet<RequestId>>>,
    _lock: Arc<Flock<File>>,
}

impl Gateway {
    /// Opens data and configuration, finishing what a crash left.
    ///
    /// # Errors
    /// Configuration, keys, store or log can't be used, or another gateway uses the data.
    pub async fn open(options: Options) -> anyhow::Result<Self> {
        Opening::new(options).await?.finish().await
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
        let case = case
            .filter(|case| self.may_see(caller, case))
            .ok_or_else(|| EngineError::NoSuchRequest(id.clone()))?;
        // Nobody is shown what somebody wrote into the database.
        match seal::holds(&self.keys, &case) {
            true => Ok(case),
            false => {
                self.record_forged(id).await;
                Err(EngineError::ForgedRequest(id.clone()))
            }
        }
    }

    /// A case that the gateway itself shows somewhere, as it wrote it; `None` when there is none, or when
    /// somebody edited it in the database.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn sealed_case(&self, id: &RequestId) -> Result<Option<Case>, StoreError> {
        let Some(stored) = self.store.case(id).await? else {
            return Ok(None);
        };
        if seal::holds(&self.keys, &stored.case) {
            return Ok(Some(stored.case));
        }
        self.record_forged(id).await;
        Ok(None)
    }

    /// Whether a person may see a request's content, whatever they are signed in with.
    #[must_use]
    pub fn person_may_see(&self, person: &PersonId, case: &Case) -> bool {
        let active = self.active();
        let none = BTreeSet::new();
        let electorate = Electorate {
            request: &case.request,
            directory: &active.directory,
            rules: &case.request.rules,
            myself: &none,
        };
        let acts = active.directory.active_person(person).is_some();
        let world = active.world();
        acts && (side(case, &active.directory).contains(person)
            || lifecycle::is_of_emergency(case, world, person)
            || electorate.may_sign_any(person, self.clock.now())
            || case.votes.iter().any(|vote| vote.voter == *person))
    }

    /// Records once that a request was edited in the database, however often it is looked at.
    async fn record_forged(&self, id: &RequestId) {
        let is_new = self
            .forged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone());
        if is_new && let Err(error) = self.log.record(seal::forged(self.clock.now(), id)).await {
            tracing::error!(%error, "an edited request was not recorded");
        }
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
        let chain = &case.request.chain;
        if chain.members().any(|member| member.id == caller.subject.id) {
            // Whoever acts for one does not read what it asked for another.
            return caller.on_behalf_of.is_empty() || caller.is_of(chain);
        }
        let by_person = caller
            .person()
            .is_some_and(|person| self.person_may_see(person, case));
        by_person || admin::may_audit(&active, caller, self.clock.now())
    }

    /// What was done on this machine past everybody's approval.
    pub(crate) async fn local_acts(&self) -> Vec<String> {
        let mut acts = Vec::new();
        for key in [NEW_EPOCH, RECOVERED] {
            acts.extend(self.store.setting(key).await.ok().flatten());
        }
        acts
    }

    /// What anybody may know of what is wrong.
    pub async fn notices(&self) -> Vec<String> {
        let active = self.active();
        let people = active
            .directory
            .people
            .values()
            .filter(|person| person.acts())
            .count();
        let mut notices = Vec::new();
        if people < 2 {
            notices.push(
                "Single-person installation: nobody can countersign here, only confirm.".into(),
            );
        }
        let unreviewed = self.engine.emergencies().count(self.clock.now());
        if unreviewed.overdue > 0 {
            let uses = counted(unreviewed.overdue, "emergency use", "emergency uses");
            notices.push(format!(
                "{uses} of rules nobody reviewed in time; those rules can't be lifted until somebody does."
            ));
        }
        if unreviewed.due > 0 {
            let uses = counted(unreviewed.due, "emergency use", "emergency uses");
            notices.push(format!("{uses} of rules to be reviewed."));
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
            many => {
                let stops = counted(many, "stop is", "stops are");
                notices.push(format!("{stops} in effect and not recorded yet."));
            }
        }
        notices.extend(self.local_acts().await);
        notices
    }
}

/// Refuses a claim for whom the caller does not act: an approval is for the chain that asked.
///
/// # Errors
/// [`Refusal::NotRequester`].
pub(crate) fn check_claimant(caller: &Caller, chain: &SubjectChain) -> Result<(), EngineError> {
    match caller.is_of(chain) {
        true => Ok(()),
        false => Err(Refusal::NotRequester.into()),
    }
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
        .map_err(|problems| bundle_files::problems_error(&problems))?;
    let hash = bundle.hash();
    Ok(Active {
        snapshot,
        bundle,
        directory,
        hash,
        activated,
        request,
        stops: Default::default(),
    })
}

/// What is provisioned otherwise than before, for the store.
///
/// # Errors
/// It has no JSON form.
pub(crate) fn changed_rows(before: &Directory, after: &Directory) -> anyhow::Result<Vec<Write>> {
    let (was, now) = (&before.provisioning, &after.provisioning);
    if let (Some(was), Some(now)) = (was, now)
        && Arc::ptr_eq(was, now)
    {
        return Ok(Vec::new());
    }
    let rows = match (was, now) {
        (was, Some(now)) => now.since(was.as_deref())?,
        (Some(was), None) => {
            let gone = was.since(None)?.into_keys();
            gone.map(|key| (key, None)).collect()
        }
        (None, None) => Rows::new(),
    };
    let writes = rows.into_iter().map(|(key, value)| Write::Provision {
        key,
        value: value.map(|value| value.to_string()),
    });
    Ok(writes.collect())
}

/// What the store keeps of an active state.
///
/// # Errors
/// The directory has no JSON form.
pub fn stored_bundle(active: &Active) -> anyhow::Result<ActiveBundle> {
    // What is provisioned has rows of its own.
    let directory = Directory {
        provisioning: None,
        ..active.directory.as_ref().clone()
    };
    Ok(ActiveBundle {
        hash: active.hash,
        files: serde_json::to_value(active.bundle.files())?,
        directory: serde_json::to_value(directory)?,
        activated: active.activated,
        request: active.request.clone(),
    })
}
