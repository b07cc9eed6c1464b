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

use anyhow::{Context, bail};
use countersign_core::{
    directory::{Account, Directory},
    id::{PersonId, ProviderId},
    provisioning::same_name,
    subject::SubjectId,
};
use countersign_policy::{DirectoryChange, Provider, RefusedChange, holder};
use countersign_store::CredentialKind;

use super::apply::change_directory;
use crate::{
    gateway::Gateway,
    identity::{Caller, IdentityError, Issue, Secret, SignedInWith, provider::Vouched},
};

/// Why whom a provider vouches for is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwelcome {
    /// Nobody is called that.
    #[error(
        "`{0}` is nobody here: an administrator adds you first; or, if that is not your name here, \
         unlinks your account: countersign people unlink {0} PROVIDER"
    )]
    Unknown(PersonId),
    /// The provider does not provision them, or as inactive.
    #[error(
        "`{0}` is not provisioned here, or not active: have whoever runs the provider assign you to \
         this application, then sign in again"
    )]
    NotProvisioned(PersonId),
    /// What was asked for is not what counts by now.
    #[error("the settings of `{0}` changed in the meantime; sign in again")]
    Changed(ProviderId),
}

/// The person of that name, however it is spelt here: nobody is two people because of a capital
/// letter, who could then approve for each other.
pub(super) fn named(directory: &Directory, name: PersonId) -> PersonId {
    let is_it = |one: &&PersonId| same_name(one, &name);
    let found = directory.people.keys().find(is_it).cloned();
    found.unwrap_or(name)
}

/// Refuses whoever is not provisioned, or not active, where people are provisioned. Somebody's first
/// account has to be `called` what their user is called now: a name may have gone to somebody else.
fn check_provisioned(
    directory: &Directory,
    person: &PersonId,
    called: Option<&PersonId>,
) -> Result<(), Unwelcome> {
    let Some(provisioning) = &directory.provisioning else {
        return Ok(());
    };
    let user = provisioning.user_of(person).map(|(_, user)| user);
    let good = user.filter(|user| user.active).is_some_and(|user| {
        called.is_none_or(|called| {
            let name = provisioning.name_of(user);
            name.is_some_and(|name| same_name(&name, called))
        })
    });
    match good {
        true => Ok(()),
        false => Err(Unwelcome::NotProvisioned(person.clone())),
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
    let changing = gateway.changing.write().await;
    let active = gateway.active();
    let settings = active.bundle.providers().get(id);
    if settings != Some(provider) || provider.links.is_some() {
        return Err(Unwelcome::Changed(id.clone()).into());
    }
    let directory = &active.directory;
    let (held, called) = (holder(directory, id, vouched.account), vouched.person);
    let is_known = held.is_some();
    let person = match held {
        Some((person, _)) => person.clone(),
        None => named(directory, called.clone()),
    };
    let subject = SubjectId::Person(person.clone());
    let known = directory.people.get(&person);
    check_provisioned(directory, &person, (!is_known).then_some(&called))?;
    if !provider.creates_people && known.is_none_or(|known| known.provided) {
        return Err(Unwelcome::Unknown(person).into());
    }
    if directory.knows(&subject) && directory.resolve(&subject).is_none() {
        return Err(IdentityError::Disabled(subject).into());
    }
    let now = gateway.clock.now();
    let before = known.and_then(|known| known.accounts.get(id));
    let which = (
        provider.issuer.as_str(),
        vouched.account,
        provider.settings()?,
    );
    let account = Account::signed_in(which, vouched.groups, before, now);
    let signed_in = SignedInWith::of(id, &account);
    let change = DirectoryChange::ProvidePerson {
        person,
        provider: id.clone(),
        account,
    };
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
        account: Some(signed_in),
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

/// Unlinks every account of a person and lets them act again, so that a link can sign them in: for
/// whoever has the machine. Whether there was anything to do.
///
/// # Errors
/// It could not be recorded or stored.
pub(crate) async fn let_in(gateway: &Gateway, person: &PersonId) -> anyhow::Result<bool> {
    let _one_after_the_other = gateway.changing.write().await;
    let active = gateway.active();
    let Some(known) = active.directory.people.get(person) else {
        return Ok(false);
    };
    // Whom only the provisioning made a person stays with it.
    let provisioning = active.directory.provisioning.as_ref();
    let kept_out = provisioning.filter(|_| known.inactive && !known.provided);
    let providers = known.accounts.keys();
    let mut providers: BTreeSet<_> = providers.collect();
    providers.extend(kept_out.map(|all| &all.provider));
    let unlink = providers
        .into_iter()
        .map(|provider| DirectoryChange::UnlinkAccount {
            person: person.clone(),
            provider: provider.clone(),
        });
    let enable = known.disabled.then(|| DirectoryChange::EnablePerson {
        person: person.clone(),
    });
    let mut changed = false;
    for change in unlink.chain(enable) {
        let now = gateway.clock.now();
        let done = change_directory(gateway, &change, now, false, Vec::new()).await;
        changed |= match done {
            // There was nothing to take away; below is said why that is not enough.
            Err(error) if error.is::<RefusedChange>() => false,
            done => done?,
        };
    }
    let active = gateway.active();
    let known = active.directory.people.get(person);
    if let Some(known) = known.filter(|known| !known.acts()) {
        match known.provided {
            true => bail!(
                "`{person}` is a person only because they are provisioned, and is not active there; \
                 name them in the files and run `countersign recover --bundle` first"
            ),
            false => bail!(
                "the user who `{person}` was acts under another name by now, and one human would be \
                 two people; have an administrator disable that person first"
            ),
        }
    }
    Ok(changed)
}
