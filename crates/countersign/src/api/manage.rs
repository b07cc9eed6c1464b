//! Routes about the gateway itself: who is who, what decides, proposals, the log.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use countersign_core::{
    directory::{Directory, Person},
    id::{PersonId, ProviderId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_store::{CredentialKind, StoredCredential};

use super::{
    Api, StrictJson, once,
    problem::ApiError,
    requests::request_id,
    types::{
        AbsenceLine, BundleInfo, CredentialLine, DirectoryInfo, Health, IssuedToken, LoginBody,
        MachineLine, PasskeyLine, PersonLine, ProposalAnswer, ProposalBody, WhoAmI,
    },
};
use crate::{
    active::Active,
    admin,
    engine::EngineError,
    identity::{
        Caller, TOKEN, delegates_of, ended, further::linked_further, grounds_of, is_long_lived,
        parse_subject, passkey,
    },
};

pub(super) async fn health(State(api): State<Api>) -> Json<Health> {
    let gateway = &api.gateway;
    let held = gateway.store.open_in_all().await;
    let unreadable = held.as_ref().err().map(ToString::to_string);
    let fault = gateway.log.fault().or(unreadable).or(gateway.clock.fault());
    let mut notices = gateway.notices().await;
    notices.extend(api.notices_of_parts());
    Json(Health {
        status: fault.unwrap_or_else(|| "ok".into()),
        version: env!("CARGO_PKG_VERSION").into(),
        log_size: api.gateway.log.size(),
        held: held.map_or(0, u64::from),
        notices,
    })
}

pub(super) async fn who_am_i(State(api): State<Api>, caller: Caller) -> Json<WhoAmI> {
    let active = api.gateway.active();
    let groups: BTreeSet<String> = match &caller.subject.id {
        SubjectId::Person(id) => {
            let person = active.directory.people.get(id);
            person
                .map(|p| p.groups.keys().map(ToString::to_string).collect())
                .unwrap_or_default()
        }
        machine => {
            let machine = active.directory.machine(machine);
            machine
                .map(|m| m.groups.iter().map(ToString::to_string).collect())
                .unwrap_or_default()
        }
    };
    Json(WhoAmI {
        issued: Some(caller.credential.issued),
        subject: caller.subject.id.to_string(),
        groups: groups.into_iter().collect(),
        owner: caller.subject.owner.as_ref().map(ToString::to_string),
        on_behalf_of: caller
            .on_behalf_of
            .iter()
            .map(|one| one.id.to_string())
            .collect(),
        credential: kind(&caller.credential).into(),
        expires: caller.credential.expires,
    })
}

fn kind(credential: &StoredCredential) -> &'static str {
    match credential.kind {
        CredentialKind::Link => "link",
        CredentialKind::Session => "session",
        CredentialKind::Token => "token",
        CredentialKind::Passkey => "passkey",
        CredentialKind::Account => "account",
    }
}

pub(super) async fn login(
    State(api): State<Api>,
    StrictJson(body): StrictJson<LoginBody>,
) -> Result<Json<IssuedToken>, ApiError> {
    let (secret, caller) = api
        .gateway
        .identity
        .use_link(&body.link, CredentialKind::Token, TOKEN)
        .await?;
    Ok(Json(IssuedToken {
        token: secret.text().into(),
        subject: caller.subject.id.to_string(),
        expires: caller.credential.expires,
    }))
}

pub(super) async fn propose(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    StrictJson(body): StrictJson<ProposalBody>,
) -> Result<Response, ApiError> {
    // An answer with a secret must not be kept, not even for a repetition.
    let secret = matches!(body.operation.as_str(), "agent-token" | "person-link");
    let proposed = Box::pin(admin::propose(&api.gateway, &caller, body.clone()));
    let work = async { Ok(proposed.await?) };
    if secret {
        return Ok(Json::<ProposalAnswer>(work.await?).into_response());
    }
    Box::pin(once(&api, &caller, &headers, &body, work)).await
}

pub(super) async fn claim(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ProposalAnswer>, ApiError> {
    let id = request_id(&id)?;
    match admin::claim(&api.gateway, &caller, &id).await {
        Ok(answer) => Ok(Json(answer)),
        Err(admin::AdminError::Engine(error)) => Err(api.refused(&caller, &id, error).await),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn policy(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<BundleInfo>, ApiError> {
    people_only(&caller, "the policy")?;
    let active = api.gateway.active();
    Ok(Json(BundleInfo {
        hash: active.hash.to_string(),
        files: active.bundle.files().clone(),
        activated: active.activated,
        request: active.request.clone(),
    }))
}

/// The passkeys of a person among `credentials` that were not revoked.
pub(crate) fn passkeys_of(
    person: &PersonId,
    credentials: &[StoredCredential],
    now: Timestamp,
) -> impl Iterator<Item = PasskeyLine> {
    let holder = SubjectId::Person(person.clone()).to_string();
    let of = credentials
        .iter()
        .filter(move |one| one.holder == holder && !ended(one, now));
    of.filter_map(|one| {
        let known = passkey::enrolled(one)?;
        Some(PasskeyLine {
            id: one.id.clone(),
            label: known.label,
            signs: known.countersigned,
        })
    })
}

/// People, agents and workloads with their credentials.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn directory_info(api: &Api) -> Result<DirectoryInfo, ApiError> {
    let active = api.gateway.active();
    let now = api.gateway.clock.now();
    let all = api
        .gateway
        .store
        .credentials(None)
        .await
        .map_err(EngineError::from)?;
    let credentials = |holder: &str| -> Vec<CredentialLine> {
        let of = all
            .iter()
            .filter(|one| one.holder == holder && one.kind == CredentialKind::Token)
            .filter(|one| is_listed(one, now));
        of.map(|one| CredentialLine {
            id: one.id.clone(),
            kind: kind(one).into(),
            issued_by: one.issued_by.as_ref().map(ToString::to_string),
            issued: one.issued,
            expires: one.expires,
            ended: ended(one, now),
            long_lived: is_long_lived(one),
            acts: standing_of(one),
        })
        .collect()
    };
    let directory = &active.directory;
    let people = directory.people.iter().map(|(id, person)| PersonLine {
        id: id.to_string(),
        groups: person.groups.keys().map(ToString::to_string).collect(),
        manager: person.manager.as_ref().map(ToString::to_string),
        disabled: !person.acts(),
        passkeys: passkeys_of(id, &all, now).collect(),
        accounts: accounts_of(id, person, &all),
        provided: person.provided,
        provisioned: is_provisioned(person),
        inactive: person.inactive,
        absence: absence_of(directory, id, now),
    });
    let agents = directory
        .agents
        .iter()
        .map(|(id, one)| (format!("agent:{id}"), one));
    let workloads = directory
        .workloads
        .iter()
        .map(|(id, one)| (format!("workload:{id}"), one));
    let machines = agents.chain(workloads).map(|(id, machine)| MachineLine {
        owner: machine.owner.as_ref().map(ToString::to_string),
        groups: machine.groups.iter().map(ToString::to_string).collect(),
        disabled: machine.disabled,
        long_lived_tokens: longest(&active, &id),
        credentials: credentials(&id),
        id,
    });
    Ok(DirectoryInfo {
        people: people.collect(),
        machines: machines.collect(),
        groups: directory.groups.iter().map(ToString::to_string).collect(),
    })
}

/// The providers with which a person has an account: whoever says who they are, and where they linked one.
pub(crate) fn accounts_of(id: &PersonId, person: &Person, all: &[StoredCredential]) -> Vec<String> {
    let holder = SubjectId::Person(id.clone()).to_string();
    let theirs = all
        .iter()
        .filter(|one| one.holder == holder && one.revoked.is_none());
    let linked = theirs.filter_map(|one| Some(linked_further(one)?.account.provider));
    let providers: BTreeSet<ProviderId> = person.accounts.keys().cloned().chain(linked).collect();
    providers.iter().map(ToString::to_string).collect()
}

/// Whether a provider provisions a person now.
pub(crate) fn is_provisioned(person: &Person) -> bool {
    let standing = person.standing.as_ref();
    standing.is_some_and(|standing| standing.user.is_some())
}

/// Whether a token is worth a line: those that machines exchange are many, and soon over.
pub(crate) fn is_listed(one: &StoredCredential, now: Timestamp) -> bool {
    let is_short = grounds_of(one).is_some() || delegates_of(one).is_some();
    !is_short || !ended(one, now)
}

/// How a token came about and what it gives, where it was not simply issued.
pub(crate) fn standing_of(one: &StoredCredential) -> Option<String> {
    if let Some(gives) = delegates_of(one) {
        return Some(format!("lets {} act", gives.to));
    }
    let grounds = grounds_of(one)?;
    let bound = grounds.bound_to.map(|_| ", bound to a key");
    let all = grounds
        .on_behalf_of
        .iter()
        .map(|member| format!(", for {member}"));
    let head = std::iter::once(format!("by {}", grounds.by));
    Some(head.chain(all).chain(bound.map(str::to_owned)).collect())
}

/// How long tokens of a machine can last, where that is longer than a day.
fn longest(active: &Active, id: &str) -> Option<Span> {
    let id = parse_subject(id)?;
    active.bundle.machines().get(&id)?.long_lived_tokens
}

/// Agents have no business with the names of people, nor with the rules that bind them.
pub(super) fn people_only(caller: &Caller, what: &str) -> Result<(), ApiError> {
    if caller.person().is_some() {
        return Ok(());
    }
    let title = format!("only people read {what}");
    Err(ApiError::new(StatusCode::FORBIDDEN, "people_only", title))
}

pub(super) async fn directory(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<DirectoryInfo>, ApiError> {
    people_only(&caller, "the directory")?;
    directory_info(&api).await.map(Json)
}

/// That somebody is away, as long as it is not over.
pub(crate) fn absence_of(
    directory: &Directory,
    person: &PersonId,
    now: Timestamp,
) -> Option<AbsenceLine> {
    let found = directory.absences.get(person);
    found
        .filter(|absence| now < absence.until)
        .map(|absence| AbsenceLine {
            from: absence.from,
            until: absence.until,
            stand_in: absence.stand_in.to_string(),
            countersigned: absence.countersigned,
        })
}
