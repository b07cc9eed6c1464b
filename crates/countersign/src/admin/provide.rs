//! Whom a provider vouches for becomes, or stays, a person.
//!
//! In scope: the directory as the provider has it, and the session of whoever signed in.
//! Out of scope: believing the provider ([`provider`](crate::identity::provider)).
//! Invariant: what the active bundle lets the provider say is all that changes, nobody countersigned
//! it, and a person who is disabled stays so. No session begins for an account that is not theirs.

#[cfg(test)]
#[path = "provide_tests.rs"]
mod tests;

use std::collections::BTreeSet;

use anyhow::Context;
use countersign_core::{
    directory::Directory,
    id::{PersonId, ProviderId},
    subject::SubjectId,
};
use countersign_policy::{DirectoryChange, Provider, holder};
use countersign_store::CredentialKind;

use super::apply::change_directory;
use crate::{
    gateway::Gateway,
    identity::{Account, Caller, IdentityError, Issue, Secret, provider::Vouched},
};

/// Why whom a provider vouches for is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwelcome {
    /// Nobody is called that.
    #[error("nobody here is called `{0}`; an administrator adds you first")]
    Unknown(PersonId),
    /// More than one is.
    #[error("more than one person here is called `{0}`, with other letters small or capital")]
    Ambiguous(PersonId),
}

/// The person of that name, however it is spelt here: nobody is two people because of a capital
/// letter, who could then approve for each other.
fn named(directory: &Directory, name: PersonId) -> Result<PersonId, Unwelcome> {
    let is_it = |one: &&PersonId| one.as_str().eq_ignore_ascii_case(name.as_str());
    let mut found = directory.people.keys().filter(is_it);
    match (found.next(), found.next()) {
        (None, _) => Ok(name),
        (Some(one), None) => Ok(one.clone()),
        (Some(_), Some(_)) => Err(Unwelcome::Ambiguous(name)),
    }
}

/// Begins a session of whom the provider vouches for.
///
/// # Errors
/// They are disabled, have another account there, or it could not be recorded or stored.
pub(crate) async fn sign_in(
    gateway: &Gateway,
    (id, provider): (&ProviderId, &Provider),
    vouched: Vouched,
) -> anyhow::Result<(Secret, Caller)> {
    let changing = gateway.changing.lock().await;
    let active = gateway.active();
    let settings = active.bundle.providers().get(id);
    if settings != Some(provider) {
        anyhow::bail!("the settings of `{id}` changed in the meantime; sign in again");
    }
    let directory = &active.directory;
    let person = match holder(directory, id, vouched.account) {
        Some((person, _)) => person.clone(),
        None => named(directory, vouched.person)?,
    };
    let subject = SubjectId::Person(person.clone());
    if !provider.creates_people && !directory.knows(&subject) {
        return Err(Unwelcome::Unknown(person).into());
    }
    if directory.knows(&subject) && directory.resolve(&subject).is_none() {
        return Err(IdentityError::Disabled(subject).into());
    }
    let change = DirectoryChange::ProvidePerson {
        person,
        provider: id.clone(),
        account: vouched.account,
        groups: vouched.groups,
    };
    let now = gateway.clock.now();
    let changed = change_directory(gateway, &change, now, false, Vec::new()).await?;
    drop(changing);
    if changed {
        // Nobody proposed it; requests that wait may have lost whom they wait for.
        gateway.engine.world_changed(BTreeSet::new()).await?;
    }
    let issue = Issue {
        kind: CredentialKind::Session,
        holder: subject.clone(),
        issued_by: None,
        lineage: BTreeSet::new(),
        parent: None,
        account: Some(Account {
            provider: id.clone(),
            account: vouched.account,
        }),
        valid_for: provider.session,
    };
    let (secret, _) = gateway.identity.issue(&issue).await?;
    // Who was disabled in between has a session that opens nothing.
    let caller = gateway
        .identity
        .caller(secret.text(), CredentialKind::Session)
        .await
        .context("the account was taken away in the meantime")?;
    Ok((secret, caller))
}
