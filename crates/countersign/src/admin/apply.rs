//! Applying a permitted change.
//!
//! Invariant: the permit is spent on the digest of the stored request before anything changes;
//! whoever proposed a change counts as *self* in every request that was open then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, bail};
use countersign_core::{
    canonical::Hash,
    digest::action_digest,
    directory::Directory,
    id::PersonId,
    permit::Permit,
    request::Request,
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::body::{
    ActivatedBy, Body, DirectoryChanged, KeyPurpose, PolicyActivated,
};
use countersign_policy::{Bundle, DirectoryChange};
use countersign_store::{CredentialKind, DirectoryEntry, Write};
use serde_json::{Value, json};

use super::{
    Proposal, absent, carried,
    directory_words::title_of,
    enrolling::take_up,
    erase, granted,
    proposal::check_token,
    vouching::{self, Vouched},
};
use crate::{
    active::Active,
    bundle_files::problems_error,
    gateway::{
        Gateway, changed_rows, make_active, stored_bundle,
        world::{self, Changing, World},
    },
    identity::{Issue, LINK},
    log::Record,
    vault::Of,
};

/// What a change gave.
pub(super) struct Applied {
    /// For programs.
    pub(super) result: Value,
    /// For people: what happened, and what to do next.
    pub(super) message: String,
}

impl From<Value> for Applied {
    fn from(result: Value) -> Self {
        Self {
            result,
            message: "applied".into(),
        }
    }
}

/// Applies the change of a stored request, one at a time.
pub(super) async fn apply(
    gateway: &Gateway,
    request: &Request,
    permit: Permit,
    (countersigned, claimed_by): (bool, BTreeSet<PersonId>),
) -> anyhow::Result<Applied> {
    let _one_after_the_other = gateway.changing.write().await;
    let now = gateway.clock.now();
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce)?;
    permit.spend(digest, now)?;
    let proposal: Proposal = serde_json::from_value(request.action.arguments.clone())
        .context("the stored proposal can't be read")?;
    let proposers: BTreeSet<PersonId> = request
        .chain
        .members()
        .flat_map(|member| member.people().cloned())
        .collect();
    let mut lineage = vouching::hands_in(request);
    lineage.extend(claimed_by.iter().cloned());
    let hands = absent::hands_in(request, &proposal, &claimed_by);
    match proposal {
        Proposal::Bundle { files, replaces } => {
            // First, so that no end of this process comes between the change and that.
            gateway.engine.world_changed(hands.clone()).await?;
            let replacing = (&files, replaces);
            let dropped = apply_bundle(gateway, request, replacing, now, countersigned).await?;
            gateway.engine.world_changed(hands).await?;
            Ok(replaced(gateway, &dropped))
        }
        Proposal::Directory { change, .. } => {
            absent::check(&change, countersigned)?;
            // A stop is in effect already.
            let ended = gateway.engine.world_changed(hands.clone()).await?;
            let by = request.chain.members().map(|member| member.id.clone());
            let changed =
                change_directory(gateway, &change, now, countersigned, by.collect()).await?;
            // Also after nothing changed: what an earlier change could not end is ended now.
            let ended = ended.saturating_add(gateway.engine.world_changed(hands).await?);
            Ok(told(&change, changed, ended))
        }
        Proposal::Token { machine, valid_for } => {
            let holder = SubjectId::from(machine);
            // The table may be another by now.
            check_token(&gateway.active(), &holder, valid_for).map_err(anyhow::Error::msg)?;
            let kind = CredentialKind::Token;
            let issued = issue(gateway, kind, holder, &proposers, lineage, valid_for).await?;
            Ok(issued.into())
        }
        Proposal::Link { person } => {
            let holder = SubjectId::Person(person);
            let kind = CredentialKind::Link;
            let issued = issue(gateway, kind, holder, &proposers, lineage, LINK).await?;
            Ok(issued.into())
        }
        theirs @ (Proposal::Passkey { .. }
        | Proposal::Account { .. }
        | Proposal::Further { .. }) => take_up(gateway, theirs, lineage, countersigned).await,
        Proposal::RotateKey { purpose } => rotate(gateway, purpose),
        Proposal::Erase { person } => erase::erase(gateway, &person, request, now).await,
        Proposal::Unlink { credential, .. } | Proposal::Revoke { credential } => {
            gateway.identity.revoke(&credential).await?;
            let by = &request.chain.requester.id;
            granted::end_given_with(gateway, &[credential.clone()].into(), by).await?;
            Ok(json!({ "revoked": credential }).into())
        }
    }
}

async fn apply_bundle(
    gateway: &Gateway,
    request: &Request,
    (files, replaces): (&BTreeMap<String, String>, Hash),
    now: Timestamp,
    countersigned: bool,
) -> anyhow::Result<Vec<String>> {
    let bundle = Bundle::from_files(files).map_err(|problems| problems_error(&problems))?;
    if gateway.active().bundle.files_hash()? != replaces {
        bail!("another bundle was applied in the meantime; compare and propose again");
    }
    let by = ActivatedBy::Request;
    replace_bundle(gateway, bundle, Some(request), now, countersigned, by).await
}

/// What another bundle did, with the changes that do not fit it.
fn replaced(gateway: &Gateway, dropped: &[String]) -> Applied {
    let mut result = json!({ "bundle": gateway.active().hash });
    let mut message = String::from("applied");
    if let Some(fields) = result.as_object_mut().filter(|_| !dropped.is_empty()) {
        fields.insert("dropped".into(), json!(dropped));
        message.push_str("\nMade while running, and dropped, as it names who or what is gone:");
        for title in dropped {
            message.push_str("\n  ");
            message.push_str(title);
        }
    }
    Applied { result, message }
}

fn rotate(gateway: &Gateway, purpose: KeyPurpose) -> anyhow::Result<Applied> {
    gateway.keys.prepare_rotation(purpose)?;
    Ok(Applied {
        result: json!({ "rotates": purpose, "takes_effect": "at the next start" }),
        message: "a new key takes over with the gateway's next start; restart it when it suits"
            .into(),
    })
}

/// What a change of the directory did, with how many requests `ended` by it.
fn told(change: &DirectoryChange, changed: bool, ended: usize) -> Applied {
    let who = subject_of(change);
    let is_stop = is_stop(change);
    let mut result = json!({ "changed": changed });
    if let Some(fields) = result.as_object_mut().filter(|_| is_stop) {
        fields.insert("requests_ended".into(), json!(ended));
    }
    let requests = match ended {
        0 => "none of its requests waited".into(),
        1 => "1 waiting request ended".into(),
        many => format!("{many} waiting requests ended"),
    };
    let message = match (change, changed) {
        (_, false) if is_stop => format!("{who} is already stopped; {requests}"),
        (_, false) => format!("{who} is like that already"),
        (DirectoryChange::StartAgent { agent }, true) => format!(
            "{who} may act again\nIts tokens from before stay void; issue a new one with\n  \
             countersign agent token {agent}"
        ),
        (DirectoryChange::EnablePerson { person }, true) => format!(
            "{who} may act again\nTheir sessions and tokens from before stay void; they sign in \
             with a new link from\n  countersign people link {person}"
        ),
        (_, true) if is_stop => format!(
            "{who} is stopped\nIts commands that ran get SIGTERM, and SIGKILL two seconds later; \
             {requests}; all its tokens, sessions and links are void."
        ),
        _ => "applied".into(),
    };
    Applied { result, message }
}

async fn issue(
    gateway: &Gateway,
    kind: CredentialKind,
    holder: SubjectId,
    proposers: &BTreeSet<PersonId>,
    lineage: BTreeSet<PersonId>,
    valid_for: Span,
) -> anyhow::Result<Value> {
    if gateway.active().directory.resolve(&holder).is_none() {
        bail!("`{holder}` is unknown or disabled");
    }
    let issue = Issue {
        kind,
        holder: holder.clone(),
        issued_by: proposers.first().cloned(),
        lineage,
        parent: None,
        account: None,
        valid_for,
    };
    let (secret, credential) = gateway.identity.issue(&issue).await?;
    let text = secret.text();
    Ok(match kind {
        CredentialKind::Link => json!({
            "link": format!("{}/sign-in/{text}", gateway.url()),
            "holder": holder.to_string(),
            "expires": credential.expires,
        }),
        _ => json!({
            "token": text,
            "credential": credential.id,
            "holder": holder.to_string(),
            "expires": credential.expires,
        }),
    })
}

/// Makes a bundle the active one. Changes of the directory made while running stay where they
/// concern people and machines that the files don't name; those that do not fit any more are dropped, and
/// said. What takes something away is not.
///
/// # Errors
/// The bundle and the directory don't fit, or the store or log can't be written.
pub async fn replace_bundle(
    gateway: &Gateway,
    bundle: Bundle,
    request: Option<&Request>,
    now: Timestamp,
    countersigned: bool,
    by: ActivatedBy,
) -> anyhow::Result<Vec<String>> {
    let before = gateway.active();
    let vouched = vouching::vouched(&before, &bundle, (request, &gateway.keys));
    let (mut directory, of_files) = directory_of((&before, vouched), &bundle, (now, countersigned));
    let entries = carried::entries(gateway.store.directory_changes().await?)?;
    let (mut kept, dropped) = carry_over(&bundle, entries, &mut directory, &of_files)?;
    kept.extend(changed_rows(&before.directory, &directory)?);
    let world = World {
        now: world::hash_of(&bundle, &directory)?,
        was: stored_before(gateway, by).await?,
    };
    if let (Some(was), false) = (world.was, by == ActivatedBy::Recovery) {
        gateway.world.check(was)?;
    }
    for change in before.stops.unrecorded() {
        // Somebody whom the new files don't have can't do anything either.
        let _gone = change.apply(&mut directory, now, false);
    }
    gateway.keys.meet(directory.people.keys())?;
    let id = request.map(|request| request.id.clone());
    let files = make_active(Arc::new(bundle), Arc::new(of_files), now, id.clone())?;
    let mut active = make_active(files.bundle.clone(), Arc::new(directory), now, id)?;
    active.stops = before.stops.clone();
    let body = PolicyActivated {
        bundle: active.hash,
        by,
        previous: Some(before.hash),
    };
    let evidence = world.beside(json!({ "files": active.bundle.files() }));
    let body = Body::PolicyActivated(body);
    gateway
        .log
        .record(Record::control(now, body, evidence))
        .await?;
    let bundle = Box::new(stored_bundle(&files)?);
    let mut writes = vec![Write::ActivateBundle {
        bundle,
        replaces: Some(before.hash),
    }];
    writes.extend(kept);
    // What stands no more is over in the same commit, so that no later change brings it back.
    let at = gateway.clock.now();
    let over = gateway.identity.ending_under(&active, at).await?;
    if let Some(request) = request {
        // First, so that no end of this process comes between.
        let by = &request.chain.requester.id;
        granted::end_given_with(gateway, &granted::revoked_in(&over), by).await?;
    }
    writes.extend(over);
    gateway.store.commit(writes).await?;
    gateway.world.set(world.now);
    gateway.activate(active);
    if let Err(error) = gateway.engine.flush().await {
        tracing::warn!(%error, "what ended is recorded later");
    }
    world::stored_as(&gateway.log, now, world.now).await;
    Ok(dropped)
}

/// Who there is under a bundle, before what was changed while running; and the same by the files alone.
fn directory_of(
    (before, vouched): (&Active, Vouched),
    bundle: &Bundle,
    (now, countersigned): (Timestamp, bool),
) -> (Directory, Directory) {
    let mut directory = bundle.directory(now, Some(&before.directory), countersigned);
    directory.vouched = vouched;
    let of_files = directory.clone();
    let provisioned = before.directory.provisioning.as_deref();
    let provisioned = bundle.still_provisioned((&before.bundle, provisioned), now);
    directory.provisioning = provisioned.map(Arc::new);
    directory.introduce();
    (directory, of_files)
}

/// Makes the changes of a directory that were made while running and stand under a bundle. Gives those,
/// to be kept, and what those are called that do not fit.
fn carry_over(
    bundle: &Bundle,
    entries: Vec<(DirectoryChange, DirectoryEntry)>,
    directory: &mut Directory,
    of_files: &Directory,
) -> anyhow::Result<(Vec<Write>, Vec<String>)> {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let given = carried::GivenBack::by(&entries);
    let stopped = carried::stopped(&entries, &given);
    for (place, (change, entry)) in entries.into_iter().enumerate() {
        let change = bundle.lets_stand(change, directory);
        // What takes something away stays until it is given back; what adds yields to the files. What
        // holds of whoever they name is in the directory of before, with which they were put together.
        let stays = carried::takes_away(&change) && !given.has(place, &change);
        if !stays && carried::concerns_files(&change, of_files) {
            continue;
        }
        let (needed, change) = carried::standing(change, &stopped, directory);
        for change in needed.into_iter().chain([change]) {
            let fits = change.apply_alone(directory, entry.at, entry.countersigned);
            if fits.is_err() {
                dropped.push(title_of(&change));
                continue;
            }
            let change = serde_json::to_value(&change)?;
            let entry = entry.clone();
            kept.push(Write::ChangeDirectory(DirectoryEntry { change, ..entry }));
        }
    }
    directory.settle();
    Ok((kept, dropped))
}

/// The hash of what a bundle replaces. A recovery also replaces what can't be put together.
async fn stored_before(gateway: &Gateway, by: ActivatedBy) -> anyhow::Result<Option<Hash>> {
    match world::stored(gateway.store.as_ref()).await {
        Err(_) if by == ActivatedBy::Recovery => Ok(None),
        stored => stored,
    }
}

/// Everybody who could act and can't any more.
fn ended_by(before: &Directory, after: &Directory) -> Vec<SubjectId> {
    let acts = |person: &PersonId| after.active_person(person).is_some();
    let people = before.people.iter();
    let ended = people.filter(|(id, person)| person.acts() && !acts(id));
    ended.map(|(id, _)| SubjectId::Person(id.clone())).collect()
}

/// What a change is called in the record. Auditors know by that whose credentials ended.
fn name_of(change: &DirectoryChange, value: &Value, ended: &[SubjectId]) -> String {
    let name = value.get("change").and_then(Value::as_str);
    match change {
        DirectoryChange::Provision { subject, .. } if ended.contains(subject) => {
            "disable_provisioned".into()
        }
        _ => name.unwrap_or("change").into(),
    }
}

/// Makes a change of the directory. Returns whether there was anything to change; what is so
/// already is not recorded again.
pub(super) async fn change_directory(
    gateway: &Gateway,
    change: &DirectoryChange,
    at: Timestamp,
    countersigned: bool,
    by: Vec<SubjectId>,
) -> anyhow::Result<bool> {
    let before = gateway.active();
    if !is_stop(change) {
        check_stop_recorded(&before, &subject_of(change))?;
    }
    let mut directory = before.directory.as_ref().clone();
    change.apply(&mut directory, at, countersigned)?;
    if directory == *before.directory && !before.stops.unrecorded().contains(change) {
        return Ok(false);
    }
    let (bundle, request) = (before.bundle.clone(), before.request.clone());
    let mut active = make_active(bundle, Arc::new(directory), before.activated, request)?;
    active.stops = before.stops.clone();
    active.stops.recorded(change);
    match change {
        change if is_stop(change) => active.stops.note(subject_of(change), by),
        // It lets nobody go on who was stopped here.
        DirectoryChange::Provision { .. } => {}
        change => active.stops.forget(&subject_of(change)),
    }
    let ended = match change {
        DirectoryChange::Provision { .. } => ended_by(&before.directory, &active.directory),
        _ => Vec::new(),
    };
    let value = serde_json::to_value(change)?;
    gateway.keys.meet(active.directory.people.keys())?;
    let names = &gateway.keys.pseudonyms;
    let body = Body::DirectoryChanged(DirectoryChanged {
        subject: names.of(&subject_of(change)),
        what: name_of(change, &value, &ended),
    });
    // What a provider says of somebody goes with them when they are erased.
    let of = match change {
        DirectoryChange::ProvidePerson { person, .. }
        | DirectoryChange::Provision {
            subject: SubjectId::Person(person),
            ..
        } => Of::Payload(person.clone()),
        _ => Of::default(),
    };
    let mut evidence = json!({ "change": value, "countersigned": countersigned });
    let changing = Changing {
        change,
        at,
        countersigned,
        is_kept: is_kept(change, &before.directory),
        becomes: &active.directory,
    };
    let world = World::changed_by(gateway.store.as_ref(), &gateway.world, changing).await?;
    if let Some(world) = world {
        evidence = world.beside(evidence);
    }
    let record = Record {
        of,
        ..Record::control(at, body, evidence)
    };
    gateway.log.record(record).await?;
    let entry = DirectoryEntry {
        change: value,
        at,
        countersigned,
    };
    let mut writes = changed_rows(&before.directory, &active.directory)?;
    writes.extend(writes_of(change, entry, &before.directory, ended));
    gateway.store.commit(writes).await?;
    gateway.activate(active);
    if let Some(world) = world {
        gateway.world.set(world.now);
        world::stored_as(&gateway.log, at, world.now).await;
    }
    Ok(true)
}

/// What the store takes of a change, beside what is provisioned.
fn writes_of(
    change: &DirectoryChange,
    entry: DirectoryEntry,
    before: &Directory,
    ended: Vec<SubjectId>,
) -> impl Iterator<Item = Write> {
    // Whose what they have is, is not sure any more once their account is another's.
    let is_unlink = matches!(change, DirectoryChange::UnlinkAccount { .. });
    let mut ended: BTreeSet<SubjectId> = ended.into_iter().collect();
    if is_stop(change) || is_unlink {
        ended.insert(subject_of(change));
    }
    let at = entry.at;
    let kept = is_kept(change, before).then_some(Write::ChangeDirectory(entry));
    let revoked = ended.into_iter().map(move |holder| Write::RevokeHolder {
        holder: holder.to_string(),
        at,
    });
    kept.into_iter().chain(revoked)
}

/// Whether a change is kept by itself; what it does to what is provisioned is kept by its rows.
fn is_kept(change: &DirectoryChange, before: &Directory) -> bool {
    match change {
        DirectoryChange::Provision { .. } => false,
        DirectoryChange::UnlinkAccount { person, provider } => {
            let known = before.people.get(person);
            known.is_some_and(|known| known.accounts.contains_key(provider))
        }
        _ => true,
    }
}

/// Refuses to go on with somebody whose stop is in effect and nowhere recorded: the record would
/// have them start without having been stopped, their credentials would not be revoked, and the
/// stop would come back once it is recorded.
fn check_stop_recorded(active: &Active, who: &SubjectId) -> anyhow::Result<()> {
    if active
        .stops
        .unrecorded()
        .iter()
        .any(|stop| subject_of(stop) == *who)
    {
        bail!("`{who}` was stopped and that is not recorded yet; try again once it is");
    }
    Ok(())
}

/// Whether a change ends what somebody can do.
pub(super) fn is_stop(change: &DirectoryChange) -> bool {
    matches!(
        change,
        DirectoryChange::DisablePerson { .. }
            | DirectoryChange::StopAgent { .. }
            | DirectoryChange::StopWorkload { .. }
    )
}

/// Makes a stop effective in memory, before it is recorded: whoever is stopped can do nothing from
/// now on, and what they run is ended.
///
/// # Errors
/// There is nobody of that name.
pub(super) async fn stop_now(
    gateway: &Gateway,
    change: &DirectoryChange,
    by: Vec<SubjectId>,
) -> anyhow::Result<()> {
    let _one_after_the_other = gateway.changing.write().await;
    let before = gateway.active();
    let mut directory = before.directory.as_ref().clone();
    change.apply(&mut directory, gateway.clock.now(), false)?;
    if directory == *before.directory {
        return Ok(());
    }
    let (bundle, request) = (before.bundle.clone(), before.request.clone());
    let mut active = make_active(bundle, Arc::new(directory), before.activated, request)?;
    active.stops = before.stops.clone();
    active.stops.keep(change);
    active.stops.note(subject_of(change), by);
    gateway.activate(active);
    Ok(())
}

/// The subject that a change is about.
pub(crate) fn subject_of(change: &DirectoryChange) -> SubjectId {
    match change {
        DirectoryChange::AddPerson { person, .. }
        | DirectoryChange::DisablePerson { person }
        | DirectoryChange::KeepPerson { person }
        | DirectoryChange::EnablePerson { person }
        | DirectoryChange::AddMembership { person, .. }
        | DirectoryChange::RemoveMembership { person, .. }
        | DirectoryChange::ProvidePerson { person, .. }
        | DirectoryChange::SetAbsence { person, .. }
        | DirectoryChange::EndAbsence { person }
        | DirectoryChange::UnlinkAccount { person, .. } => SubjectId::Person(person.clone()),
        DirectoryChange::Provision { subject, .. } => subject.clone(),
        DirectoryChange::AddAgent { agent, .. }
        | DirectoryChange::StopAgent { agent }
        | DirectoryChange::StartAgent { agent } => SubjectId::Agent(agent.clone()),
        DirectoryChange::AddWorkload { workload, .. }
        | DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => SubjectId::Workload(workload.clone()),
    }
}
