//! What somebody who proposes a change should know before it is countersigned.
//!
//! In scope: changes that are understood and permitted, and lead where few expect it.
//! Out of scope: what is wrong with a change; that is refused.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{
        ApprovalRule,
        rule::{Approver, Assurance},
    },
    directory::Directory,
    id::PersonId,
    request::Case,
};
use countersign_policy::Bundle;

use super::Proposal;
use crate::{
    api::{manage::passkeys_of, ways::Judge},
    engine::EngineError,
    gateway::Gateway,
    identity::Caller,
};

/// The warnings of a proposal of the caller.
///
/// # Errors
/// The store can't be read.
pub(super) async fn warnings(
    gateway: &Gateway,
    caller: &Caller,
    proposal: &Proposal,
) -> Result<Vec<String>, EngineError> {
    match proposal {
        Proposal::Link { person } => {
            let account = of_account(gateway, person);
            Ok(of_link(caller, person).into_iter().chain(account).collect())
        }
        Proposal::Bundle { files, .. } => match Bundle::from_files(files) {
            Ok(bundle) => of_bundle(gateway, &bundle).await,
            Err(_) => Ok(Vec::new()),
        },
        _ => Ok(Vec::new()),
    }
}

/// The warnings of a case that the caller proposed.
///
/// # Errors
/// The store can't be read.
pub(super) async fn of_case(
    gateway: &Gateway,
    caller: &Caller,
    case: &Case,
) -> Result<Vec<String>, EngineError> {
    match serde_json::from_value(case.request.action.arguments.clone()) {
        Ok(proposal) => warnings(gateway, caller, &proposal).await,
        Err(_) => Ok(Vec::new()),
    }
}

/// A link that opens nothing.
fn of_account(gateway: &Gateway, person: &PersonId) -> Option<String> {
    let active = gateway.active();
    let known = active.directory.people.get(person)?;
    let (provider, _) = active.bundle.authority()?;
    known.accounts.get(provider)?;
    Some(format!(
        "{person} signs in with `{provider}` and with nothing else: this link opens nothing until \
         `countersign people unlink {person} {provider}`"
    ))
}

fn of_link(caller: &Caller, person: &PersonId) -> Option<String> {
    let other = caller.person().is_some_and(|asks| asks != person);
    other.then(|| {
        format!(
            "you could have used this link yourself, so that {person}, signed in with it, can't \
             approve what you ask; if nobody else could either, have a third person ask for it, or \
             {person} while still signed in"
        )
    })
}

/// Rules that ask for passkeys which too few of those have who could sign.
async fn of_bundle(gateway: &Gateway, bundle: &Bundle) -> Result<Vec<String>, EngineError> {
    let mut rules = bundle.rules().values().filter(wants_passkeys).peekable();
    if rules.peek().is_none() {
        return Ok(Vec::new());
    }
    let (active, now) = (gateway.active(), gateway.clock.now());
    if Judge::new(gateway, &active, now).site.is_none() {
        let why = format!(
            "rules ask for passkeys, and browsers make none for {}: give `[server]` a `public_url` \
             with a name and TLS, or `http://localhost`",
            gateway.url()
        );
        return Ok(vec![why]);
    }
    let directory = bundle.directory(now, Some(&active.directory), false);
    let all = gateway.store.credentials(None).await?;
    let signs = |person: &PersonId| passkeys_of(person, &all, now).any(|one| one.signs);
    let holders: BTreeSet<_> = directory.people.keys().filter(|one| signs(one)).collect();
    let short = |rule: &ApprovalRule| {
        let lacks = rule.stages.iter().any(|stage| {
            let could = holders
                .iter()
                .filter(|person| stage.from.iter().any(|one| fits(&directory, one, person)));
            could.count() < usize::try_from(stage.count).unwrap_or(usize::MAX)
        });
        lacks.then(|| {
            format!(
                "rule `{}` asks for passkeys, and too few of those who could sign have one yet: \
                 they add theirs in the console under Your passkeys",
                rule.name
            )
        })
    };
    Ok(rules.filter_map(short).collect())
}

fn wants_passkeys(rule: &&ApprovalRule) -> bool {
    rule.assurance == Assurance::Passkey && !rule.confirmation
}

/// Whether an approver can be this person; anybody can be an owner or a manager.
fn fits(directory: &Directory, approver: &Approver, person: &PersonId) -> bool {
    match approver {
        Approver::User(user) => user == person,
        Approver::Group(group) => directory.members(group).any(|member| member == person),
        Approver::OwnerOfResource | Approver::ManagerOfRequester => true,
    }
}
