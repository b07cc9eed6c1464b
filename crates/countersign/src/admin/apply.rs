//! Applying a permitted change.
//!
//! Invariant: the permit is spent on the digest of the stored request before anything changes;
//! whoever proposed a change counts as *self* in every request that was open then.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, bail};
use countersign_core::{
    approval::rule::Approver,
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

use super::{Proposal, erase, proposal::check_token};
use crate::{
    active::Active,
    bundle_files::problems_error,
    gateway::{
        Gateway, make_active, stored_bundle,
        world::{self, World},
    },
    identity::{Issue, LINK, passkey::Enrolled},
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
    countersigned: bool,
) -> anyhow::Result<Applied> {
    let _one_after_the_other = gateway.changing.lock().await;
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
    let lineage: BTreeSet<PersonId> = proposers.union(&request.issuers).cloned().collect();
    match proposal {
        Proposal::Bundle { files, replaces } => {
            let bundle =
                Bundle::from_files(&files).map_err(|problems| problems_error(&problems))?;
            if gateway.active().bundle.files_hash()? != replaces {
                bail!("another bundle was applied in the meantime; compare and propose again");
            }
            replace_bundle(
                gateway,
                bundle,
                Some(request),
                now,
                countersigned,
                ActivatedBy::Request,
            )
            .await?;
            gateway.engine.world_changed(proposers).await?;
            Ok(json!({ "bundle": gateway.active().hash }).into())
        }
        Proposal::Directory { change, .. } => {
            let by = request.chain.members().map(|member| member.id.clone());
            let changed =
                change_directory(gateway, &change, now, countersigned, by.collect()).await?;
            // Also after nothing changed: what an earlier change could not end is ended now.
            let ended = gateway.engine.world_changed(proposers).await?;
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
        Proposal::Passkey { person, passkey } => {
            check_enrolment(&gateway.active(), &person, countersigned)?;
            let passkey = Enrolled {
                countersigned,
                ..passkey
            };
            let enrolled = gateway.identity.enrol(&person, &passkey, lineage).await?;
            Ok(json!({ "passkey": enrolled.id }).into())
        }
        Proposal::RotateKey { purpose } => rotate(gateway, purpose),
        Proposal::Erase { person } => erase::erase(gateway, &person, request, now).await,
        Proposal::Revoke { credential } => {
            gateway.identity.revoke(&credential).await?;
            Ok(json!({ "revoked": credential }).into())
        }
    }
}

fn rotate(gateway: &Gateway, purpose: KeyPurpose) -> anyhow::Result<Applied> {
    gateway.keys.prepare_rotation(purpose)?;
    Ok(Applied {
        result: json!({ "rotates": purpose, "takes_effect": "at the next start" }),
        message: "a new key takes over with the gateway's next start; restart it when it suits"
            .into(),
    })
}

/// Refuses a passkey that its holder alone stands behind, where its signature can count.
fn check_enrolment(active: &Active, person: &PersonId, countersigned: bool) -> anyhow::Result<()> {
    if active.directory.active_person(person).is_none() {
        bail!("`{person}` is unknown or disabled");
    }
    if !countersigned && can_countersign(active, person) {
        bail!(
            "{person} can countersign, so that a second person must countersign their passkeys; \
             hold `countersign:passkey-add` under an approval rule"
        );
    }
    Ok(())
}

/// Whether any rule can take a person's signature for somebody else.
fn can_countersign(active: &Active, person: &PersonId) -> bool {
    let directory = &active.directory;
    let owns = || {
        let machines = directory
            .agents
            .values()
            .chain(directory.workloads.values());
        machines
            .flat_map(|one| &one.owner)
            .any(|owner| owner == person)
    };
    let leads = || {
        let mut people = directory.people.values();
        people.any(|one| one.manager.as_ref() == Some(person))
    };
    let named = |approver: &Approver| match approver {
        Approver::Group(group) => directory
            .people
            .get(person)
            .is_some_and(|one| one.groups.contains_key(group)),
        Approver::User(user) => user == person,
        Approver::OwnerOfResource => owns(),
        Approver::ManagerOfRequester => leads(),
    };
    active.world().rules.values().any(|rule| {
        let stages = rule.stages.iter().flat_map(|stage| &stage.from);
        let late = rule.escalate.iter().flat_map(|more| &more.to);
        let emergency = rule.emergency.iter().flat_map(|one| &one.from);
        stages.chain(late).chain(emergency).any(named)
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
/// concern people and machines that the files don't name.
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
) -> anyhow::Result<()> {
    let before = gateway.active();
    let mut directory = bundle.directory(now, Some(&before.directory), countersigned);
    let of_files = directory.clone();
    let mut kept = Vec::new();
    for entry in gateway.store.directory_changes().await? {
        let change: DirectoryChange = serde_json::from_value(entry.change.clone())?;
        let change = bundle.lets_stand(change, &directory);
        // What takes something away stays until it is reversed; what adds yields to the files.
        let named = !takes_away(&change) && concerns_files(&change, &of_files);
        if !named
            && change
                .apply(&mut directory, entry.at, entry.countersigned)
                .is_ok()
        {
            let change = serde_json::to_value(&change)?;
            kept.push(Write::ChangeDirectory(DirectoryEntry { change, ..entry }));
        }
    }
    let world = World {
        now: world::hash_of(&bundle, &directory)?,
        was: world::stored(gateway.store.as_ref()).await?,
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
    gateway.store.commit(writes).await?;
    gateway.world.set(world.now);
    gateway.activate(active);
    world::stored_as(&gateway.log, now, world.now).await;
    Ok(())
}

/// Whether a change takes a membership or somebody's standing away.
fn takes_away(change: &DirectoryChange) -> bool {
    matches!(
        change,
        DirectoryChange::RemoveMembership { .. }
            | DirectoryChange::DisablePerson { .. }
            | DirectoryChange::StopAgent { .. }
            | DirectoryChange::StopWorkload { .. }
    )
}

/// Whether a change is about somebody whom the files name.
fn concerns_files(change: &DirectoryChange, files: &Directory) -> bool {
    match change {
        DirectoryChange::AddPerson { person, .. }
        | DirectoryChange::DisablePerson { person }
        | DirectoryChange::EnablePerson { person }
        | DirectoryChange::AddMembership { person, .. }
        | DirectoryChange::RemoveMembership { person, .. } => files.people.contains_key(person),
        // Files say nothing of accounts, and nothing of what a provider says.
        DirectoryChange::ProvidePerson { .. } | DirectoryChange::UnlinkAccount { .. } => false,
        DirectoryChange::AddAgent { agent, .. }
        | DirectoryChange::StopAgent { agent }
        | DirectoryChange::StartAgent { agent } => files.agents.contains_key(agent),
        DirectoryChange::AddWorkload { workload, .. }
        | DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => files.workloads.contains_key(workload),
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
    match is_stop(change) {
        true => active.stops.note(subject_of(change), by),
        false => active.stops.forget(&subject_of(change)),
    }
    let value = serde_json::to_value(change)?;
    gateway.keys.meet(active.directory.people.keys())?;
    let names = &gateway.keys.pseudonyms;
    let body = Body::DirectoryChanged(DirectoryChanged {
        subject: names.of(&subject_of(change)),
        what: value
            .get("change")
            .and_then(Value::as_str)
            .unwrap_or("change")
            .into(),
    });
    // What a provider says of somebody goes with them when they are erased.
    let of = match change {
        DirectoryChange::ProvidePerson { person, .. } => Of::Payload(person.clone()),
        _ => Of::default(),
    };
    let mut evidence = json!({ "change": value, "countersigned": countersigned });
    let store = gateway.store.as_ref();
    let world = World::changed_by(store, &gateway.world, change, at, countersigned).await?;
    if let Some(world) = world {
        evidence = world.beside(evidence);
    }
    let record = Record {
        of,
        ..Record::control(at, body, evidence)
    };
    gateway.log.record(record).await?;
    let mut writes = vec![Write::ChangeDirectory(DirectoryEntry {
        change: value,
        at,
        countersigned,
    })];
    // Whose what they have is, is not sure any more once their account is another's.
    if is_stop(change) || matches!(change, DirectoryChange::UnlinkAccount { .. }) {
        writes.push(Write::RevokeHolder {
            holder: subject_of(change).to_string(),
            at,
        });
    }
    gateway.store.commit(writes).await?;
    gateway.activate(active);
    if let Some(world) = world {
        gateway.world.set(world.now);
        world::stored_as(&gateway.log, at, world.now).await;
    }
    Ok(true)
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
    let _one_after_the_other = gateway.changing.lock().await;
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
        | DirectoryChange::EnablePerson { person }
        | DirectoryChange::AddMembership { person, .. }
        | DirectoryChange::RemoveMembership { person, .. }
        | DirectoryChange::ProvidePerson { person, .. }
        | DirectoryChange::UnlinkAccount { person, .. } => SubjectId::Person(person.clone()),
        DirectoryChange::AddAgent { agent, .. }
        | DirectoryChange::StopAgent { agent }
        | DirectoryChange::StartAgent { agent } => SubjectId::Agent(agent.clone()),
        DirectoryChange::AddWorkload { workload, .. }
        | DirectoryChange::StopWorkload { workload }
        | DirectoryChange::StartWorkload { workload } => SubjectId::Workload(workload.clone()),
    }
}
