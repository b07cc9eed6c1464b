//! A new log in the place of one that can't be continued, after a restore.
//!
//! In scope: looking at what is there, making what takes its place beside it, and exchanging the two.
//! Out of scope: asking whether to ([`cli`](crate::cli)); reading the old log ([`Former`]).
//! Invariant: nothing of the old log is changed. Everything new is made beside it first; one rename
//! decides, and what comes after that can be repeated until it is done. No gateway starts in between.
//! Nothing that was sealed, approved or issued before counts afterwards.

mod exchange;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{
    canonical::Hash,
    count::counted,
    digest::AttachKey,
    directory::Directory,
    id::RequestId,
    request::{GOING_ON, Request},
    time::Timestamp,
};
use countersign_evidence::{
    body::{ActivatedBy, Body, EpochStarted, Head, PolicyActivated, Recovered},
    checkpoint::Checkpoint,
    key::VerifyingKey,
};
use countersign_store::{SqliteStore, Store, Write};
use nix::fcntl::Flock;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::exchange::{Pending, check_finished};
use super::{
    NEW_EPOCH, RECOVERED, changed_rows,
    opening::{load, lock, write_public_keys},
    stored_bundle,
    world::{self, World},
};
use crate::{
    active::Active,
    clock::Clock,
    ids,
    keys::{self, Keys},
    log::{Former, Log, Record},
};

/// The setting that keeps which log a database belongs to.
const BELONGS: &str = "log";

/// A data directory whose log can't be continued, locked.
pub(crate) struct Look {
    data: PathBuf,
    keys: Keys,
    former: Former,
    database: Database,
    plan: Plan,
    _lock: Flock<File>,
}

/// What the database has.
#[derive(Default)]
struct Database {
    active: Option<Active>,
    open: Vec<OpenRequest>,
    /// Requests with an emergency that nobody has reviewed.
    unreviewed: Vec<RequestId>,
    /// Actions that must not run again without a person.
    unknown: BTreeSet<AttachKey>,
    waiting: u64,
    /// That somebody recovered, which stays to be seen.
    recovered: Option<String>,
    /// How many records the log had and has no more.
    ahead: u64,
    fits: &'static str,
}

/// A request that was open, as far as is known.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OpenRequest {
    pub(crate) request: RequestId,
    /// Where it stood.
    pub(crate) phase: &'static str,
    pub(crate) target: String,
    pub(crate) title: String,
}

/// What was found, and what will be done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plan {
    /// The name of the log that is there.
    pub(crate) former: String,
    /// The name of the one that begins.
    pub(crate) origin: String,
    /// The number under which what is there is kept: `log.1`, `former.1`.
    pub(crate) number: u32,
    /// How the log was found: `whole`, `short`, `changed` or `damaged`.
    pub(crate) found: &'static str,
    /// What can't be read of it.
    pub(crate) damage: Option<String>,
    /// How many whole records it has, and their root.
    pub(crate) kept: (u64, Hash),
    /// The newest signed checkpoint that is known.
    pub(crate) checkpoint: Option<(u64, Hash)>,
    /// How many records are missing at least.
    pub(crate) missing: u64,
    /// The database beside the log: `fits`, `older`, `newer` or `none`.
    pub(crate) database: &'static str,
    /// People and policies in the database: `recorded`, `other` than the log has, `unknown` where that
    /// has none, or `none`.
    pub(crate) people_and_policies: &'static str,
    /// Open requests that end.
    pub(crate) dropped: usize,
    /// Which; in what is missing they may have been approved, and may have run.
    pub(crate) open: Vec<OpenRequest>,
    /// Requests with an emergency that nobody has reviewed; the new database knows nothing of them.
    pub(crate) unreviewed: Vec<RequestId>,
    /// Actions that an identical call must not repeat without a person.
    pub(crate) unknown: usize,
    /// Records that waited for the log and are dropped.
    pub(crate) unrecorded: u64,
}

impl Look {
    /// Looks at a data directory that no gateway uses. `elsewhere` has checkpoints that were kept.
    ///
    /// # Errors
    /// A gateway uses it, or something can't be read.
    pub(crate) async fn at(data: &Path, elsewhere: &[Vec<u8>]) -> anyhow::Result<Self> {
        let lock = lock(data)?;
        check_finished(data)?;
        exchange::check_movable(data)?;
        let keys = Keys::open(&data.join("keys"), false)?;
        let log = data.join("log");
        let signers = signers(&keys, &log);
        let open = |note: &Vec<u8>| {
            let opened = signers.iter().map(|key| Checkpoint::open(note, key));
            opened
                .reduce(Result::or)
                .context("there is no key")?
                .context("a checkpoint that was given is none of this log")
        };
        let elsewhere: Vec<Checkpoint> =
            elsewhere.iter().map(open).collect::<anyhow::Result<_>>()?;
        let former = Former::read(&log, &signers, &elsewhere)?;
        let database = Database::look(data, &former).await?;
        let plan = plan(data, &keys, &former, &database)?;
        Ok(Self {
            data: data.into(),
            keys,
            former,
            database,
            plan,
            _lock: lock,
        })
    }

    /// What was found, and what will be done.
    #[must_use]
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes the new log, its keys and its database beside the old ones, and puts them in their place.
    ///
    /// # Errors
    /// Something can't be written. What was not decided is made anew by the next call; what was is
    /// finished by [`Pending`].
    pub(crate) async fn begin(self) -> anyhow::Result<Plan> {
        let staged = exchange::stage(&self.data)?;
        self.keys
            .begin_epoch(&staged.join("keys"), &self.plan.origin)?;
        let system = Clock::starting_after(Timestamp(0)).now();
        let at = Timestamp(system.0.max(self.former.last.0));
        self.make_log(&staged, at).await?;
        self.make_database(&staged, at).await?;
        exchange::decide(&self.data, self.plan.number)?;
        exchange::finish(&self.data)?;
        Ok(self.plan)
    }

    async fn make_log(&self, staged: &Path, at: Timestamp) -> anyhow::Result<()> {
        let dir = staged.join("log");
        let keys = Arc::new(Keys::open(&staged.join("keys"), false)?);
        let instance = format!("i-{}", countersign_core::id::base32(ids::bits(at)?));
        if let Some(active) = &self.database.active {
            keys.meet(active.directory.people.keys())?;
        }
        let log = Log::begin(&dir, keys.clone(), &instance, self.first_record(at))?;
        if let Some(active) = &self.database.active {
            let world = World {
                now: world::hash_of(&active.bundle, &active.directory)?,
                was: None,
            };
            let body = PolicyActivated {
                bundle: active.hash,
                by: ActivatedBy::Recovery,
                previous: None,
            };
            let files = world.beside(json!({ "files": active.bundle.files() }));
            log.record(Record::control(at, Body::PolicyActivated(body), files))
                .await?;
        }
        let what = "epoch".into();
        let body = Body::Recovered(Recovered { what });
        log.record(Record::control(at, body, json!({}))).await?;
        log.close().await;
        if let Some(fault) = log.fault().filter(|_| !dir.join("checkpoint").exists()) {
            bail!("the new log can't be published: {fault}");
        }
        write_public_keys(&dir, &keys)
    }

    fn first_record(&self, at: Timestamp) -> Record {
        let Plan {
            kept, checkpoint, ..
        } = &self.plan;
        let head = |&(size, root): &(u64, Hash)| Head { root, size };
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let body = EpochStarted {
            checkpoint: checkpoint.as_ref().map(head),
            dropped: number(self.plan.dropped),
            former: self.plan.former.clone(),
            found: self.plan.found.into(),
            kept: head(kept),
            missing: self.plan.missing,
            unknown: number(self.plan.unknown),
            unrecorded: self.plan.unrecorded,
        };
        let open = |one: &OpenRequest| json!([one.request, one.phase]);
        let dropped: Vec<Value> = self.database.open.iter().map(open).collect();
        let evidence = json!({
            "contradicted": self.former.contradicted,
            "damage": self.plan.damage,
            "database": self.plan.database,
            "dropped": dropped,
            "people_and_policies": self.plan.people_and_policies,
            "unreviewed": self.plan.unreviewed,
            "without_outcome": self.former.without_outcome,
        });
        Record::control(at, Body::EpochStarted(body), evidence)
    }

    /// A database with people and policies as they are now, and nothing that anybody could use.
    async fn make_database(&self, staged: &Path, at: Timestamp) -> anyhow::Result<()> {
        let store = SqliteStore::open(&staged.join(exchange::DATABASE)).await?;
        let unreviewed = match self.plan.unreviewed.len() {
            0 => String::new(),
            many => format!(
                " {} nobody had reviewed.",
                counted(many, "emergency use", "emergency uses")
            ),
        };
        let notice = format!(
            "A new log was begun on this machine at {at}: the one before could not be continued, and \
             is kept as log.{}. Every credential ended, and what was open has to be asked for again.\
             {unreviewed}",
            self.plan.number
        );
        let mut writes = vec![
            belongs(&self.plan.origin),
            Write::Set {
                key: NEW_EPOCH.into(),
                value: notice,
            },
        ];
        writes.extend(self.database.recovered.clone().map(|value| Write::Set {
            key: RECOVERED.into(),
            value,
        }));
        let request = RequestId::from_bits(ids::bits(at)?);
        writes.extend(self.unknown().into_iter().map(|key| {
            let request = request.clone();
            Write::RememberUnknown { key, request, at }
        }));
        if let Some(active) = &self.database.active {
            writes.push(Write::ActivateBundle {
                bundle: Box::new(stored_bundle(active)?),
                replaces: None,
            });
            writes.extend(changed_rows(&Directory::default(), &active.directory)?);
        }
        store.commit(writes).await?;
        Ok(store.close().await?)
    }

    fn unknown(&self) -> BTreeSet<AttachKey> {
        let of_both = self.database.unknown.union(&self.former.unknown);
        of_both.copied().collect()
    }
}

impl Database {
    async fn look(data: &Path, former: &Former) -> anyhow::Result<Self> {
        let path = data.join(exchange::DATABASE);
        if !path.exists() {
            return Ok(Self {
                fits: "none",
                ..Self::default()
            });
        }
        let store = SqliteStore::open(&path).await?;
        let found = Self::read(&store, former).await;
        // Closing merges what was written last into the one file.
        store.close().await?;
        found
    }

    async fn read(store: &SqliteStore, former: &Former) -> anyhow::Result<Self> {
        let mut found = Self {
            fits: "none",
            ..Self::default()
        };
        found.unknown.extend(store.unknown().await?);
        found.recovered = store.setting(RECOVERED).await?;
        let awaiting = store.awaiting_review().await?;
        found.unreviewed = awaiting.into_iter().map(|(id, _)| id).collect();
        for phase in GOING_ON {
            for id in store.in_phase(phase).await? {
                let request = store.case(&id).await?.map(|stored| stored.case.request);
                // In what is missing it may have been approved, and may have run.
                found.unknown.extend(request.as_ref().map(Request::repeats));
                let (target, title) = request
                    .map(|request| {
                        (
                            request.action.target.to_string(),
                            request.presentation.title,
                        )
                    })
                    .unwrap_or_default();
                found.open.push(OpenRequest {
                    request: id,
                    phase,
                    target,
                    title,
                });
            }
        }
        let Some(stored) = store.active_bundle().await? else {
            return Ok(found);
        };
        found.active = Some(load(store, stored, false).await?);
        let last = store.last_record().await?;
        let first = store.outbox(1).await?.first().map(|entry| entry.seq);
        let arrived = first.map_or(last, |first| first.saturating_sub(1));
        found.waiting = last.saturating_sub(arrived);
        found.ahead = arrived.saturating_sub(former.outbox);
        found.fits = match (last < former.outbox, found.ahead) {
            (true, _) => "older",
            (false, 0) => "fits",
            (false, _) => "newer",
        };
        Ok(found)
    }

    /// Whether the log has its people and policies.
    fn world(&self, former: &Former) -> anyhow::Result<&'static str> {
        let Some(active) = &self.active else {
            return Ok("none");
        };
        let found = world::hash_of(&active.bundle, &active.directory)?;
        let recorded = |world: World| found == world.now || Some(found) == world.was;
        Ok(match former.world.map(recorded) {
            None => "unknown",
            Some(true) => "recorded",
            Some(false) => "other",
        })
    }
}

fn plan(data: &Path, keys: &Keys, former: &Former, database: &Database) -> anyhow::Result<Plan> {
    let number = exchange::free_number(data)?;
    let found = match (&former.damage, former.contradicted, former.missing()) {
        (Some(_), ..) => "damaged",
        (None, Some(_), _) => "changed",
        (None, None, 0) => "whole",
        (None, None, _) => "short",
    };
    let name = keys.log.verifying().name();
    let signed = former.signed.as_ref();
    Ok(Plan {
        former: name.into(),
        origin: next_origin(name, keys::random()?),
        number,
        found,
        damage: former.damage.clone(),
        kept: former.kept,
        checkpoint: signed.map(|signed| (signed.size, signed.root)),
        missing: former.missing().max(database.ahead),
        database: database.fits,
        people_and_policies: database.world(former)?,
        unreviewed: database.unreviewed.clone(),
        dropped: database.open.len(),
        open: database.open.clone(),
        unknown: database.unknown.union(&former.unknown).count(),
        unrecorded: database.waiting,
    })
}

/// The keys that may have signed the checkpoints of the log: those there are, and the one beside it,
/// which is newer where older keys were restored.
fn signers(keys: &Keys, log: &Path) -> Vec<VerifyingKey> {
    let beside = fs::read_to_string(log.join("key.pub")).unwrap_or_default();
    let beside = beside.lines().filter_map(|line| line.parse().ok());
    let retiring = keys.retiring_log.iter().map(|key| key.verifying().clone());
    std::iter::once(keys.log.verifying().clone())
        .chain(retiring)
        .chain(beside.filter(|key: &VerifyingKey| key.name() == keys.log.verifying().name()))
        .collect()
}

/// The name of the log after `origin`: a number, and digits that tell it from another one that began
/// after the same log, on another copy.
fn next_origin(origin: &str, random: [u8; 32]) -> String {
    let (base, number) = match epoch_of(origin) {
        Some((base, number)) => (base, number),
        None => (origin, 1),
    };
    let digits: String = Hash(random).to_hex().chars().take(8).collect();
    format!("{base}/{}-{digits}", number.saturating_add(1))
}

/// The name without its epoch, and that; nothing where it is the first.
fn epoch_of(origin: &str) -> Option<(&str, u32)> {
    let (base, last) = origin.rsplit_once('/')?;
    let (number, digits) = last.split_once('-')?;
    (digits.len() == 8).then_some((base, number.parse().ok()?))
}

/// That a database belongs to a log.
pub(super) fn belongs(log: &str) -> Write {
    Write::Set {
        key: BELONGS.into(),
        value: log.into(),
    }
}

/// Refuses a database of another log: approvals that were given there would count here.
///
/// # Errors
/// It belongs to another log, or to one before this.
pub(super) async fn check_database(store: &dyn Store, keys: &Keys) -> anyhow::Result<()> {
    let name = keys.log.verifying().name();
    let belongs = store.setting(BELONGS).await?;
    // The first databases did not say.
    if belongs.as_deref() != Some(name) && (belongs.is_some() || epoch_of(name).is_some()) {
        bail!(
            "the database belongs to the log `{}`, and the log beside it is `{name}`; restore the \
             database that belongs to it",
            belongs.as_deref().unwrap_or("before it")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_after_another_has_a_name_of_its_own() {
        let first = "countersign/0123456789012345";
        let second = next_origin(first, [0xab; 32]);
        assert_eq!(second, "countersign/0123456789012345/2-abababab");
        let third = next_origin(&second, [0xcd; 32]);
        assert_eq!(third, "countersign/0123456789012345/3-cdcdcdcd");
        assert_ne!(next_origin(first, [1; 32]), next_origin(first, [2; 32]));
    }
}
