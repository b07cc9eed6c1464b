//! What a person proves themselves with from then on: a passkey, an account in a chat.
//!
//! In scope: whether it may be theirs without a second person, and making it theirs.
//! Out of scope: the proposal, and what is believed of it afterwards (`identity`).
//! Invariant: nothing with which somebody can sign for others is theirs by their own word.

use std::collections::BTreeSet;

use anyhow::bail;
use countersign_core::{approval::rule::Approver, id::PersonId, subject::SubjectId};
use serde_json::json;

use super::{apply::Applied, linking::check_free};
use crate::{
    active::Active,
    gateway::Gateway,
    identity::{SignedInWith, account::Linked, passkey::Enrolled},
};

pub(super) async fn enrol(
    gateway: &Gateway,
    person: &PersonId,
    passkey: Enrolled,
    (lineage, countersigned): (BTreeSet<PersonId>, bool),
) -> anyhow::Result<Applied> {
    let what = ("passkeys", "passkey-add");
    check_enrolment(&gateway.active(), person, countersigned, what)?;
    let passkey = Enrolled {
        countersigned,
        ..passkey
    };
    let enrolled = gateway.identity.enrol(person, &passkey, lineage).await?;
    Ok(json!({ "passkey": enrolled.id }).into())
}

pub(super) async fn link(
    gateway: &Gateway,
    person: &PersonId,
    linked: Linked,
    by: (BTreeSet<PersonId>, Option<SignedInWith>),
    countersigned: bool,
) -> anyhow::Result<Applied> {
    let what = ("accounts in chats", "account-link");
    check_enrolment(&gateway.active(), person, countersigned, what)?;
    let holder = SubjectId::Person(person.clone()).to_string();
    check_free(gateway, &holder, &linked.account).await?;
    let linked = Linked {
        countersigned,
        ..linked
    };
    let credential = gateway.identity.link(person, &linked, by).await?;
    Ok(json!({ "account": credential.id }).into())
}

/// Refuses what its holder alone stands behind, where a vote with it can count.
fn check_enrolment(
    active: &Active,
    person: &PersonId,
    countersigned: bool,
    (what, operation): (&str, &str),
) -> anyhow::Result<()> {
    if active.directory.active_person(person).is_none() {
        bail!("`{person}` is unknown or disabled");
    }
    if !countersigned && can_countersign(active, person) {
        bail!(
            "{person} can countersign, so that a second person must countersign their {what}; \
             hold `countersign:{operation}` under an approval rule"
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
