//! Erasing a person: what is in the database of them goes, and the keys of what is in the log.
//!
//! In scope: whether they can be erased now, the order in which it is done, doing it again after a
//! crash.
//! Out of scope: what streams have told others, backups, and what people wrote without naming them.
//! Invariant: that keys are destroyed is recorded before they are. Nobody who can act, and nothing that
//! waits, is erased.

use std::{collections::BTreeSet, path::Path};

use anyhow::bail;
use countersign_core::{
    count::counted,
    directory::Directory,
    id::{CredentialId, PersonId, RequestId},
    provisioning::{Provisioning, User, same_name},
    request::Request,
    subject::SubjectId,
    time::Timestamp,
};
use countersign_evidence::{
    body::{Body, DirectoryChanged, Erasure, EvidenceErased},
    reference::Ref,
};
use countersign_policy::{DirectoryChange, assembled};
use countersign_store::{DirectoryEntry, Forgetting, Store, StoredCredential, Write};
use serde_json::{Value, json};

use super::apply::Applied;
use crate::{
    channels::email,
    gateway::{
        Gateway, make_active,
        world::{self, World},
    },
    log::Record,
};

/// The setting that has the request which is forgotten once it ended.
const ERASING: &str = "erasing";
/// The most keys in one record.
const KEYS: usize = 1_000;

/// Refuses an erasure that could not be done now, before anybody is asked about it.
///
/// # Errors
/// Nobody of that name is known, or [`erase`] would refuse.
pub(super) async fn check(gateway: &Gateway, person: &PersonId) -> anyhow::Result<()> {
    let vault = &gateway.keys.vault;
    let known = gateway.active().directory.people.contains_key(person)
        || vault.mentions(person.as_str(), person)
        || !vault.keys_of(person).is_empty()
        || !gateway.store.mentioning(person.as_str()).await?.is_empty();
    if !known {
        bail!(
            "nothing here is of a person `{person}`; check the name, and write it without `person:`"
        );
    }
    check_standing(gateway, person)?;
    ended_cases(gateway, person, None).await.map(|_| ())
}

/// How much an erasure destroys and deletes.
pub(super) struct Size {
    /// Keys of the evidence.
    pub(super) keys: usize,
    /// Requests in the database.
    pub(super) requests: usize,
    /// Credentials, with those that came from them.
    pub(super) credentials: usize,
}

/// How much would go if a person were erased now.
///
/// # Errors
/// [`erase`] would refuse, or the database can't be read.
pub(super) async fn size(gateway: &Gateway, person: &PersonId) -> anyhow::Result<Size> {
    Ok(Size {
        keys: gateway.keys.vault.keys_of(person).len(),
        requests: ended_cases(gateway, person, None).await?.len(),
        credentials: credentials_of(gateway, person).await?.len(),
    })
}

/// Erases a person, under the permit of `request`.
pub(super) async fn erase(
    gateway: &Gateway,
    person: &PersonId,
    request: &Request,
    now: Timestamp,
) -> anyhow::Result<Applied> {
    let vault = &gateway.keys.vault;
    gateway.keys.meet([person])?;
    check_standing(gateway, person)?;
    let cases = ended_cases(gateway, person, Some(&request.id)).await?;
    let changes = changes_without(gateway, person).await?;
    let before = gateway.active();
    let directory = directory_without(gateway, &changes, person).await?;
    let world = World {
        now: world::hash_of(&before.bundle, &directory)?,
        was: world::stored(gateway.store.as_ref()).await?,
    };
    if let Some(was) = world.was {
        gateway.world.check(was)?;
    }
    let subject = gateway.keys.pseudonyms.of_person(person);
    let changed = Record::control(now, erases(subject), world.beside(json!({})));
    gateway.log.record(changed).await?;
    let forgetting = Forgetting {
        cases,
        credentials: credentials_of(gateway, person).await?,
        changes: Some(changes),
        answers_with: Some(person.to_string()),
        provisioned: provisioned_of(&before.directory, &directory)?,
        places: email::places_of(person),
    };
    let (forgotten, ended) = (forgetting.cases.len(), forgetting.credentials.len());
    let mut pending = pending(gateway.store.as_ref()).await?;
    pending.push(request.id.clone());
    gateway.store.commit(vec![set_pending(&pending)]).await?;
    gateway.engine.forget(forgetting).await?;
    let (bundle, id) = (before.bundle.clone(), before.request.clone());
    let mut active = make_active(bundle, directory.into(), before.activated, id)?;
    active.stops = before.stops.clone();
    gateway.world.set(world.now);
    gateway.activate(active);
    let keys = vault.keys_of(person);
    for keys in keys.chunks(KEYS) {
        let erased = Body::EvidenceErased(EvidenceErased {
            keys: keys.to_vec(),
            subject: Some(subject),
            why: Erasure::Person,
        });
        gateway
            .log
            .record(Record::control(now, erased, json!({})))
            .await?;
    }
    // A crash before this leaves keys that the log says are gone; erasing again destroys them.
    vault.erase(person, &gateway.keys.pseudonyms)?;
    world::stored_as(&gateway.log, now, world.now).await;
    Ok(Applied {
        result: json!({
            "keys_destroyed": keys.len(),
            "requests_forgotten": forgotten,
            "credentials_ended": ended,
        }),
        message: format!(
            "erased: {} destroyed, {} and {} forgotten; \
             what backups and streams have is not reached from here",
            counted(keys.len(), "key", "keys"),
            counted(forgotten, "request", "requests"),
            counted(ended, "credential", "credentials")
        ),
    })
}

/// That a person is erased.
fn erases(subject: Ref) -> Body {
    Body::DirectoryChanged(DirectoryChanged {
        subject,
        what: "erase_person".into(),
    })
}

/// Forgets the request that asked for an erasure, which names whom it was about, once it ended.
///
/// # Errors
/// The database can't be written; the next start does it.
pub(crate) async fn finish(gateway: &Gateway) -> anyhow::Result<()> {
    let _one_after_the_other = gateway.changing.write().await;
    let store = gateway.store.as_ref();
    let (mut left, mut over) = (Vec::new(), Vec::new());
    let pending = pending(store).await?;
    if pending.is_empty() {
        return Ok(());
    }
    for id in pending {
        match store.case(&id).await? {
            Some(stored) if !stored.case.phase.is_over() => left.push(id),
            Some(_) => over.push(id),
            // It was permitted at once and has no case.
            None => {}
        }
    }
    let what = Forgetting {
        cases: over,
        ..Forgetting::default()
    };
    gateway.engine.forget(what).await?;
    store.commit(vec![set_pending(&left)]).await?;
    Ok(())
}

async fn pending(store: &dyn Store) -> anyhow::Result<Vec<RequestId>> {
    let stored = store.setting(ERASING).await?.unwrap_or_default();
    let ids = stored.split_whitespace().map(str::parse);
    Ok(ids.collect::<Result<_, _>>()?)
}

fn set_pending(ids: &[RequestId]) -> Write {
    let ids: Vec<_> = ids.iter().map(RequestId::as_str).collect();
    Write::Set {
        key: ERASING.into(),
        value: ids.join(" "),
    }
}

/// Refuses to erase somebody who can act, answers for others, or stands in the files.
fn check_standing(gateway: &Gateway, person: &PersonId) -> anyhow::Result<()> {
    let active = gateway.active();
    let vault = &gateway.keys.vault;
    for (path, text) in active.bundle.files() {
        if vault.mentions(text, person) {
            bail!(
                "`{path}` still names {person}; take them out, then run `countersign policy apply`"
            );
        }
    }
    if active.directory.active_person(person).is_some() {
        bail!("{person} can act; run `countersign people disable {person}` first");
    }
    if let Some(former) = former_database(&gateway.data) {
        bail!(
            "`{former}` has requests of before a new log was begun, in the clear; delete it first, \
             once you know that you don't need it"
        );
    }
    let owned = |owner: &Option<PersonId>| owner.as_ref() == Some(person);
    let agents = active.directory.agents.iter();
    if let Some((agent, _)) = agents
        .clone()
        .find(|(_, one)| owned(&one.owner) && !one.disabled)
    {
        bail!("{person} answers for the agent {agent}; run `countersign agent stop {agent}` first");
    }
    Ok(())
}

/// What is kept of a time before this log, which nothing is erased in.
fn former_database(data: &Path) -> Option<String> {
    let names = std::fs::read_dir(data).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| name.starts_with("former."))
}

/// The cases that mention a person, all of which must have ended.
async fn ended_cases(
    gateway: &Gateway,
    person: &PersonId,
    own: Option<&RequestId>,
) -> anyhow::Result<Vec<RequestId>> {
    let mut ended = Vec::new();
    for id in gateway.store.mentioning(person.as_str()).await? {
        let Some(stored) = gateway.store.case(&id).await?.filter(|_| own != Some(&id)) else {
            continue;
        };
        let text = serde_json::to_string(&stored.case)?;
        if !gateway.keys.vault.mentions(&text, person) {
            continue;
        }
        if !stored.case.phase.is_over() {
            bail!("{id} is still open and names {person}; have it decided or cancel it first");
        }
        if gateway.engine.emergencies().awaits(&id) {
            bail!(
                "{id} names {person} and has an emergency that nobody has reviewed; have it reviewed first"
            );
        }
        ended.push(id);
    }
    Ok(ended)
}

/// The changes of the directory that are not about a person.
async fn changes_without(
    gateway: &Gateway,
    person: &PersonId,
) -> anyhow::Result<Vec<DirectoryEntry>> {
    let mut kept = Vec::new();
    for mut entry in gateway.store.directory_changes().await? {
        let change: DirectoryChange = serde_json::from_value(entry.change.clone())?;
        if is_of(&change, person) {
            continue;
        }
        if let DirectoryChange::AddPerson { manager, .. } = &change
            && manager.as_ref() == Some(person)
            && let Some(fields) = entry.change.as_object_mut()
        {
            fields.insert("manager".into(), Value::Null);
        }
        kept.push(entry);
    }
    let gone = machines_of(gateway, person);
    let of_gone = |entry: &DirectoryEntry| {
        let names =
            ["agent", "workload"].map(|kind| entry.change.get(kind).and_then(Value::as_str));
        names.into_iter().flatten().any(|name| gone.contains(name))
    };
    kept.retain(|entry| !of_gone(entry));
    Ok(kept)
}

fn is_of(change: &DirectoryChange, who: &PersonId) -> bool {
    match change {
        DirectoryChange::AddPerson { person, .. }
        | DirectoryChange::DisablePerson { person }
        | DirectoryChange::KeepPerson { person }
        | DirectoryChange::EnablePerson { person }
        | DirectoryChange::AddMembership { person, .. }
        | DirectoryChange::RemoveMembership { person, .. }
        | DirectoryChange::ProvidePerson { person, .. }
        | DirectoryChange::EndAbsence { person }
        | DirectoryChange::UnlinkAccount { person, .. } => person == who,
        DirectoryChange::SetAbsence {
            person, stand_in, ..
        } => person == who || stand_in == who,
        // It is kept by its rows.
        DirectoryChange::Provision { .. } => false,
        DirectoryChange::AddAgent { owner, .. } | DirectoryChange::AddWorkload { owner, .. } => {
            owner == who
        }
        DirectoryChange::StopAgent { .. }
        | DirectoryChange::StartAgent { .. }
        | DirectoryChange::StopWorkload { .. }
        | DirectoryChange::StartWorkload { .. } => false,
    }
}

/// The names of the machines that a person answers for. They go with the person.
fn machines_of(gateway: &Gateway, person: &PersonId) -> BTreeSet<String> {
    let active = gateway.active();
    let owned = |owner: &Option<PersonId>| owner.as_ref() == Some(person);
    let agents = active.directory.agents.iter();
    let agents = agents
        .filter(|(_, one)| owned(&one.owner))
        .map(|(id, _)| id.to_string());
    let workloads = active.directory.workloads.iter();
    let workloads = workloads
        .filter(|(_, one)| owned(&one.owner))
        .map(|(id, _)| id.to_string());
    agents.chain(workloads).collect()
}

/// The directory that these changes make of the active bundle's, with what is provisioned of others.
async fn directory_without(
    gateway: &Gateway,
    changes: &[DirectoryEntry],
    person: &PersonId,
) -> anyhow::Result<Directory> {
    let provisioned = provisioned_without(&gateway.active().directory, person);
    let Some(stored) = gateway.store.active_bundle().await? else {
        bail!("there is no active bundle");
    };
    let directory: Directory = serde_json::from_value(stored.directory)?;
    let changes = changes.iter().map(|entry| {
        let change: DirectoryChange = serde_json::from_value(entry.change.clone())?;
        Ok((change, entry.at, entry.countersigned))
    });
    let changes: Vec<_> = changes.collect::<anyhow::Result<_>>()?;
    Ok(assembled(directory, provisioned, changes)?)
}

/// What is provisioned without a person: without whoever is that person, or is nobody and called that.
fn provisioned_without(directory: &Directory, person: &PersonId) -> Option<Provisioning> {
    let mut after = directory.provisioning.as_deref()?.clone();
    // Who is somebody else is not them, whatever they are called by now.
    let is_theirs = |user: &User| {
        let called = || after.name_of(user);
        let is = user.person.clone().or_else(called);
        is.is_some_and(|name| same_name(&name, person))
    };
    let gone = after.users.iter().filter(|(_, user)| is_theirs(user));
    let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
    for id in &gone {
        after.users.remove(id);
        for group in after.groups.values_mut() {
            group.members.remove(id);
        }
    }
    after.departed.retain(|one, _| !same_name(one, person));
    Some(after)
}

/// The keys of the rows that go.
fn provisioned_of(before: &Directory, after: &Directory) -> anyhow::Result<Vec<String>> {
    let (Some(before), Some(after)) = (&before.provisioning, &after.provisioning) else {
        return Ok(Vec::new());
    };
    Ok(after.since(Some(before))?.into_keys().collect())
}

/// The credentials that a person holds, issued or had a hand in, and those that came from them.
async fn credentials_of(gateway: &Gateway, person: &PersonId) -> anyhow::Result<Vec<CredentialId>> {
    let all = gateway.store.credentials(None).await?;
    let holder = SubjectId::Person(person.clone()).to_string();
    let mut gone: BTreeSet<CredentialId> = BTreeSet::new();
    for one in &all {
        let extra = one.extra.to_string();
        if one.holder == holder
            || one.issued_by.as_ref() == Some(person)
            || gateway.keys.vault.mentions(&extra, person)
        {
            gone.insert(one.id.clone());
        }
    }
    loop {
        let came = |one: &&StoredCredential| {
            let parent = one.parent.as_ref();
            !gone.contains(&one.id) && parent.is_some_and(|parent| gone.contains(parent))
        };
        let more: Vec<_> = all.iter().filter(came).map(|one| one.id.clone()).collect();
        if more.is_empty() {
            return Ok(gone.into_iter().collect());
        }
        gone.extend(more);
    }
}
