//! What a person proves themselves with from then on: a passkey, an account in a chat or elsewhere.
//!
//! In scope: whether it may be theirs without a second person, and making it theirs.
//! Out of scope: the proposal, and what is believed of it afterwards (`identity`).
//! Invariant: nothing with which somebody can sign for others is theirs by their own word.

use std::collections::BTreeSet;

use anyhow::bail;
use countersign_core::{approval::rule::Approver, id::PersonId, subject::SubjectId};
use serde_json::json;

use super::{
    Proposal,
    apply::Applied,
    linking::{check_free, check_further},
};
use crate::{
    active::Active,
    gateway::Gateway,
    identity::{
        account::{Linked, LinkedBy},
        further::LinkedFurther,
        passkey::Enrolled,
    },
};

/// Makes theirs what somebody proves themselves with from then on.
pub(super) async fn take_up(
    gateway: &Gateway,
    proposal: Proposal,
    lineage: BTreeSet<PersonId>,
    countersigned: bool,
) -> anyhow::Result<Applied> {
    match proposal {
        Proposal::Passkey { person, passkey } => {
            enrol(gateway, &person, passkey, (lineage, countersigned)).await
        }
        Proposal::Account {
            person,
            linked,
            signed_in,
        } => {
            let by = (lineage, signed_in);
            link(gateway, &person, linked, by, countersigned).await
        }
        Proposal::Further {
            person,
            linked,
            signed_in,
        } => {
            let by = (lineage, signed_in);
            link_further(gateway, &person, linked, by, countersigned).await
        }
        other => bail!("`{}` makes nothing anybody's", other.operation()),
    }
}

async fn enrol(
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

async fn link(
    gateway: &Gateway,
    person: &PersonId,
    linked: Linked,
    by: LinkedBy,
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

async fn link_further(
    gateway: &Gateway,
    person: &PersonId,
    linked: LinkedFurther,
    by: LinkedBy,
    countersigned: bool,
) -> anyhow::Result<Applied> {
    let what = ("linked accounts", "account-link");
    check_enrolment(&gateway.active(), person, countersigned, what)?;
    // It can have become somebody's, and the provider another, since it was proposed.
    check_further(gateway, person, &linked.account).await?;
    let linked = LinkedFurther {
        countersigned,
        ..linked
    };
    let identity = &gateway.identity;
    let credential = identity.link_further(person, &linked, by).await?;
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
