//! The first start, which trusts the files once.
//!
//! In scope: telling a first start from one that has lost its database; finishing one that was
//! interrupted.
//! Out of scope: putting the gateway together ([`gateway`](crate::gateway)).
//! Invariant: what the log says was trusted at the first start is the only thing that finishing it
//! can make active, and only while the log holds nothing else.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{canonical::Hash, directory::Directory, time::Timestamp};
use countersign_evidence::{
    body::{ActivatedBy, Body, PolicyActivated},
    frame::{Decoder, Step},
    leaf::Leaf,
};
use countersign_policy::Bundle;
use countersign_store::{Store, Write};
use serde_json::json;

use crate::{
    active::Active,
    clock::Clock,
    gateway::{
        epoch, make_active, stored_bundle,
        world::{self, World},
    },
    keys::Keys,
    log::{Log, Record},
};

/// A journal of more bytes holds more than a first start.
const MAX_JOURNAL: u64 = 64 << 20;

/// How far a first start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing is trusted yet.
    Nothing,
    /// The log has this bundle, trusted at this time, and nothing after it: nobody has a credential
    /// yet.
    Trusted(Hash, Timestamp),
    /// Somebody on this machine recovered, and nothing came after it: nobody has a credential yet.
    Recovered,
    /// Something was done since.
    Finished,
}

/// Reads how far the first start of the log in `dir` has come. The log's own records say nothing.
///
/// # Errors
/// The journal can't be read.
pub(crate) fn begun(dir: &Path) -> anyhow::Result<Begun> {
    let path = dir.join("journal");
    let failed = || format!("`{}` can't be read", path.display());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Begun::Nothing),
        Err(error) => return Err(error).with_context(failed),
    };
    if file.metadata().with_context(failed)?.len() > MAX_JOURNAL {
        return Ok(Begun::Finished);
    }
    let mut journal = Vec::new();
    file.take(MAX_JOURNAL)
        .read_to_end(&mut journal)
        .with_context(failed)?;
    let mut decoder = Decoder::new(&journal, 0);
    let mut begun = Begun::Nothing;
    loop {
        let frame = match decoder.step() {
            Step::Frame(frame) => frame,
            // A torn tail was told to nobody. Damage is reported where the log is opened.
            Step::End | Step::Incomplete { .. } => return Ok(begun),
            Step::Corrupt(_) => return Ok(Begun::Finished),
        };
        let Ok(leaf) = Leaf::parse(frame.leaf) else {
            return Ok(Begun::Finished);
        };
        begun = match (begun, leaf.body) {
            (begun, Body::InstanceStarted(_) | Body::Heartbeat(_) | Body::ChangeStored(_)) => begun,
            (
                Begun::Nothing,
                Body::PolicyActivated(PolicyActivated {
                    bundle,
                    by: ActivatedBy::FirstStart,
                    previous: None,
                }),
            ) => Begun::Trusted(bundle, leaf.at),
            (Begun::Trusted(..) | Begun::Recovered, Body::Recovered(_))
            | (Begun::Recovered, Body::PolicyActivated(_)) => Begun::Recovered,
            _ => return Ok(Begun::Finished),
        };
    }
}

/// Trusts the files, or finishes doing so after a crash. The database belongs to the log of this name
/// from then on.
///
/// # Errors
/// The files are others than those that the log says were trusted; or something can't be written.
pub(crate) async fn trust(
    store: &dyn Store,
    log: &Log,
    clock: &Clock,
    keys: &Keys,
    bundle: Bundle,
    begun: Begun,
) -> anyhow::Result<Active> {
    let at = match begun {
        Begun::Trusted(trusted, _) if trusted != bundle.hash() => bail!(
            "the first start was interrupted, and the configuration has changed since; start with \
             the configuration as it was, or delete the data directory, in which nothing was done \
             yet, and start anew"
        ),
        Begun::Trusted(_, at) => at,
        Begun::Nothing | Begun::Recovered | Begun::Finished => clock.now(),
    };
    let directory = Directory {
        provisioning: bundle.unprovisioned().map(Arc::new),
        ..bundle.directory(at, None, true)
    };
    keys.meet(directory.people.keys())?;
    let active = make_active(Arc::new(bundle), Arc::new(directory), at, None)?;
    if !matches!(begun, Begun::Trusted(..)) {
        let world = World {
            now: world::hash_of(&active.bundle, &active.directory)?,
            was: None,
        };
        let body = PolicyActivated {
            bundle: active.hash,
            by: ActivatedBy::FirstStart,
            previous: None,
        };
        log.record(Record::control(
            at,
            Body::PolicyActivated(body),
            world.beside(json!({ "files": active.bundle.files() })),
        ))
        .await?;
    }
    // A crash here leaves what `begun` finds at the next start.
    let bundle = Box::new(stored_bundle(&active)?);
    let activate = Write::ActivateBundle {
        bundle,
        replaces: None,
    };
    store
        .commit(vec![epoch::belongs(keys.log.verifying().name()), activate])
        .await?;
    world::stored_as(log, at, world::hash_of(&active.bundle, &active.directory)?).await;
    Ok(active)
}
