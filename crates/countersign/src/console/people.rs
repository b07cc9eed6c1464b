//! People and agents: the directory as everybody who is signed in may read it.
//!
//! In scope: the page and what waits to change it.
//! Out of scope: its forms ([`proposals`](super::proposals)).
//! Invariant: no secret and no hash of one is shown.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    part::{Moment, PartyKind},
    people::{
        Absence, MachineRow, Membership, Passkey, PendingChange, PeoplePage, PersonRow, TokenRow,
    },
    shell::{Flash, Link, Place, Shell},
};
use countersign_core::{
    directory::{Machine, Person},
    id::PersonId,
};
use countersign_store::{CaseFilter, CredentialKind, StoredCredential};

use super::{
    answer,
    fields::Asked,
    flash, request,
    session::Session,
    viewer::{self, Viewer},
    waiting::{self, Wanted},
};
use crate::{
    admin,
    api::{
        Api,
        manage::{absence_of, accounts_of, is_listed, is_provisioned, passkeys_of, standing_of},
        problem::ApiError,
        requests::visible,
    },
    days::{end_in_words, first_in_words},
    engine::EngineError,
    identity::{ended, is_long_lived, parse_subject},
};

/// Changes that wait, listed at once.
const PENDING: u32 = 50;

pub(super) async fn show(State(api): State<Api>, session: Session, asked: Asked) -> Response {
    let flash = flash::read(&api, &session, &asked, None);
    match page(&api, &session, asked.0.name("pick"), flash).await {
        Ok(page) => answer::page(StatusCode::OK, &page),
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

/// The page.
///
/// # Errors
/// The store can't be read.
pub(super) async fn page(
    api: &Api,
    session: &Session,
    pick: &str,
    flash: Option<Flash>,
) -> Result<PeoplePage, ApiError> {
    let viewer = Viewer::new(api, session);
    let credentials = api
        .gateway
        .store
        .credentials(None)
        .await
        .map_err(EngineError::from)?;
    let directory = &viewer.active.directory;
    let people = directory.people.iter();
    let people = people.map(|(id, person)| person_row(&viewer, id, person, &credentials));
    let agents = directory
        .agents
        .iter()
        .map(|(id, one)| (PartyKind::Agent, id.as_str(), one));
    let workloads = directory.workloads.iter();
    let workloads = workloads.map(|(id, one)| (PartyKind::Workload, id.as_str(), one));
    let machines = agents
        .chain(workloads)
        .map(|(kind, name, machine)| machine_row(&viewer, kind, name, machine, &credentials));
    let address = match pick {
        "" => "/people".to_owned(),
        pick => format!("/people?pick={}", encode(pick)),
    };
    let shell = viewer.counted_shell(Place::People, &address).await;
    Ok(PeoplePage {
        shell: Shell { flash, ..shell },
        people: people.collect(),
        machines: machines.collect(),
        groups: directory.groups.iter().map(ToString::to_string).collect(),
        provisioner: provisioner(&viewer),
        pending: pending(&viewer).await?,
        can_propose: true,
        cannot_propose: String::new(),
        pick: pick.into(),
    })
}

/// Who provisions people, as people call them.
fn provisioner(viewer: &Viewer<'_>) -> String {
    let found = viewer.active.bundle.provisioner();
    found.map_or_else(String::new, |(_, provider, _)| provider.title.clone())
}

fn person_row(
    viewer: &Viewer<'_>,
    id: &PersonId,
    person: &Person,
    credentials: &[StoredCredential],
) -> PersonRow {
    let holder = format!("person:{id}");
    // Credentials come newest first.
    let mut sessions = credentials
        .iter()
        .filter(|one| one.kind == CredentialKind::Session && one.holder == holder);
    let groups = person.groups.iter().map(|(group, member)| Membership {
        group: group.to_string(),
        since: viewer.moment(member.since),
        countersigned: member.countersigned,
    });
    PersonRow {
        name: id.to_string(),
        me: *id == viewer.session.person,
        roles: Vec::new(),
        groups: groups.collect(),
        accounts: accounts_of(id, person, credentials),
        manager: person
            .manager
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        disabled: !person.acts(),
        inactive: person.inactive,
        provisioned: is_provisioned(person),
        passkeys: passkeys_of(id, credentials, viewer.now)
            .map(|one| Passkey {
                id: one.id.to_string(),
                label: one.label,
                only_signs_in: !one.signs,
            })
            .collect(),
        absence: absence_of(&viewer.active.directory, id, viewer.now).map(|absence| Absence {
            from: match absence.from <= viewer.now {
                true => String::new(),
                false => first_in_words(absence.from),
            },
            end: end_in_words(absence.until),
            stand_in: absence.stand_in,
            countersigned: absence.countersigned,
        }),
        last_seen: sessions.next().map(|session| viewer.moment(session.issued)),
    }
}

fn machine_row(
    viewer: &Viewer<'_>,
    kind: PartyKind,
    name: &str,
    machine: &Machine,
    credentials: &[StoredCredential],
) -> MachineRow {
    let holder = format!("{}:{name}", kind.name());
    let tokens = credentials
        .iter()
        .filter(|one| one.kind == CredentialKind::Token && one.holder == holder)
        .filter(|one| is_listed(one, viewer.now));
    let machines = viewer.active.bundle.machines();
    let settings = parse_subject(&holder).and_then(|id| machines.get(&id));
    let long = settings.and_then(|settings| settings.long_lived_tokens);
    MachineRow {
        kind,
        name: name.into(),
        owner: machine.owner.as_ref().map(ToString::to_string),
        groups: machine.groups.iter().map(ToString::to_string).collect(),
        stopped: machine.disabled,
        long_lived: long.map(|span| span.to_string()).unwrap_or_default(),
        tokens: tokens.map(|token| token_row(viewer, token)).collect(),
    }
}

fn token_row(viewer: &Viewer<'_>, token: &StoredCredential) -> TokenRow {
    let issuer = token.issued_by.as_ref().map(ToString::to_string);
    TokenRow {
        id: token.id.to_string(),
        issued: viewer.moment(token.issued),
        issued_by: issuer.unwrap_or_else(|| "the installation".into()),
        expires: Some(Moment::new(token.expires.to_string())),
        long_lived: is_long_lived(token),
        acts: standing_of(token).unwrap_or_default(),
        dead: ended(token, viewer.now),
    }
}

/// Changes that wait, as far as the viewer may see them.
async fn pending(viewer: &Viewer<'_>) -> Result<Vec<PendingChange>, ApiError> {
    let filter = CaseFilter {
        phases: ["held", "approved"].map(String::from).into(),
        target: Some(admin::TARGET.into()),
        limit: PENDING,
        ..CaseFilter::default()
    };
    let (api, caller) = (viewer.api, &viewer.session.caller);
    let mut changes = Vec::new();
    for line in visible(api, caller, filter).await?.items {
        let Ok(case) = api.gateway.case_of(caller, &line.id).await else {
            continue;
        };
        changes.push(PendingChange {
            link: Link {
                href: request::path(&line.id),
                text: line.title,
            },
            by: viewer::party_of(&case.request.chain.requester.id),
            at: viewer.moment(line.at),
            mine: waiting::wanted(viewer, &case).is_some_and(|wanted| wanted != Wanted::OtherMeans),
        });
    }
    Ok(changes)
}

/// A text for a query.
pub(super) fn encode(text: &str) -> String {
    let filter = countersign_console::inbox::Filter {
        text: text.into(),
        ..Default::default()
    };
    let query = filter.query(countersign_console::inbox::Tab::Waiting, None);
    query
        .split_once("&q=")
        .map(|(_, text)| text.to_owned())
        .unwrap_or_default()
}
