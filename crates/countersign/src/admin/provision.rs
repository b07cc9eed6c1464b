//! What the provider provisions becomes a change of the directory.
//!
//! In scope: one change after the other; who a user is here.
//! Out of scope: the protocol ([`scim`](crate::scim)); what follows for people (the core's
//! `provisioning`).
//! Invariant: a user is one person and a person is one user. Who signed in once, or has anything of
//! their own here, is never another user's because of a name; nobody is a person of somebody else's name.

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use countersign_core::{
    directory::Directory,
    id::{PersonId, ProviderId, UserGroupId, UserId},
    provisioning::{Departed, Provisioning, User, UserGroup, same_name},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_policy::{DirectoryChange, Provider, gives};

use super::{apply::change_directory, provide::named};
use crate::{gateway::Gateway, ids, scim::ScimError};

/// What is provisioned, as a call changes it.
pub(crate) struct Draft<'a> {
    /// As it will be.
    pub(crate) after: Provisioning,
    /// The time.
    pub(crate) now: Timestamp,
    directory: &'a Directory,
    provider: &'a Provider,
    made: u128,
    /// Whether the user that the call is about never had anything to sign in with.
    unused: bool,
    subject: SubjectId,
}

/// Changes what is provisioned: recorded, stored, active, and every open request judged again. `about` is
/// the user whom it is about, if there is one.
///
/// # Errors
/// What `draft` refuses; or it could not be recorded or stored.
pub(crate) async fn provision<T>(
    gateway: &Gateway,
    (id, provider): (&ProviderId, &Provider),
    about: Option<&UserId>,
    draft: impl FnOnce(&mut Draft<'_>) -> Result<T, ScimError> + Send,
) -> Result<T, ScimError> {
    let changing = gateway.changing.write().await;
    let active = gateway.active();
    if active.bundle.providers().get(id) != Some(provider) {
        let error = anyhow::anyhow!("the settings of `{id}` changed in the meantime");
        return Err(ScimError::unavailable(&error));
    }
    let unavailable = |error: anyhow::Error| ScimError::unavailable(&error);
    let provisioning = active.directory.provisioning.as_ref();
    let before = provisioning.ok_or_else(|| unavailable(anyhow::anyhow!("nobody provisions")))?;
    let user = about.and_then(|about| before.users.get(about));
    let person = user.and_then(|user| user.person.clone());
    let person = person.map(|person| named(&active.directory, person));
    let itself = format!("scim:{id}").parse().map(SubjectId::Workload);
    let itself = itself.map_err(|error| unavailable(anyhow::Error::new(error)))?;
    let mut drafted = Draft {
        after: before.as_ref().clone(),
        now: gateway.clock.now(),
        directory: &active.directory,
        provider,
        made: ids::bits(gateway.clock.now())?,
        unused: is_unused(gateway, person.as_ref()).await?,
        subject: person.map_or(itself, SubjectId::Person),
    };
    let value = draft(&mut drafted)?;
    let rows = drafted.after.since(Some(before));
    let rows = rows.map_err(|error| unavailable(error.into()))?;
    if !rows.is_empty() {
        if let SubjectId::Person(person) = &drafted.subject {
            gateway.keys.meet([person]).map_err(unavailable)?;
        }
        let change = DirectoryChange::Provision {
            provider: id.clone(),
            subject: drafted.subject,
            rows,
        };
        let changed = change_directory(gateway, &change, drafted.now, false, Vec::new()).await;
        changed.map_err(unavailable)?;
    }
    drop(changing);
    // Also after nothing changed: what an earlier call could not end is ended now.
    gateway.engine.world_changed(BTreeSet::new()).await?;
    Ok(value)
}

/// Whether a person never had anything to sign in with.
async fn is_unused(gateway: &Gateway, person: Option<&PersonId>) -> Result<bool, ScimError> {
    let Some(person) = person else {
        return Ok(true);
    };
    let holder = SubjectId::Person(person.clone()).to_string();
    let known = gateway.store.credentials(Some(&holder)).await;
    let known = known.map_err(|error| ScimError::unavailable(&error.into()))?;
    Ok(known.is_empty())
}

impl Draft<'_> {
    /// Makes a user.
    ///
    /// # Errors
    /// Somebody has the name, or it can't be one.
    pub(crate) fn add_user(&mut self, mut user: User) -> Result<UserId, ScimError> {
        let id = UserId::from_bits(self.made);
        self.check_user_name(&id, &user)?;
        self.bind(&id, &mut user)?;
        if let Some(person) = &user.person {
            self.subject = SubjectId::Person(person.clone());
        }
        self.after.users.insert(id.clone(), user);
        Ok(id)
    }

    /// Puts a user in the place of what they were.
    ///
    /// # Errors
    /// There is no such user; somebody else has the name, or it can't be one.
    pub(crate) fn set_user(&mut self, id: &UserId, mut user: User) -> Result<(), ScimError> {
        let missing = || ScimError::not_found("user", id.as_str());
        let before = self.after.users.get(id).ok_or_else(missing)?.clone();
        if user == before {
            return Ok(());
        }
        user.modified = self.now;
        self.check_user_name(id, &user)?;
        let moves = user.person.as_ref().is_some_and(|person| {
            let name = self.after.name_of(&user);
            let renamed = name.is_some_and(|name| !same_name(&name, person));
            renamed && self.can_move(person)
        });
        if moves {
            let gone = user.person.take().map(|person| (person, departed(id)));
            self.after.departed.extend(gone);
            self.bind(id, &mut user)?;
        } else if user.person.is_none() && user.active {
            self.bind(id, &mut user)?;
        }
        if user.active && !before.active {
            user.since = self.now;
        }
        // Also of whom nobody is: what is said of them is erased with the person of their name.
        let called = || self.after.name_of(&user);
        if let Some(person) = user.person.clone().or_else(called) {
            self.subject = SubjectId::Person(person);
        }
        self.after.users.insert(id.clone(), user);
        Ok(())
    }

    /// Takes a user away. Who they are stays a person, and can do nothing.
    ///
    /// # Errors
    /// There is no such user.
    pub(crate) fn remove_user(&mut self, id: &UserId) -> Result<(), ScimError> {
        let missing = || ScimError::not_found("user", id.as_str());
        let gone = self.after.users.remove(id).ok_or_else(missing)?;
        let gone = gone.person.map(|person| (person, Departed::default()));
        self.after.departed.extend(gone);
        for group in self.after.groups.values_mut() {
            group.members.remove(id);
        }
        Ok(())
    }

    /// Makes a group.
    ///
    /// # Errors
    /// There is one of that name.
    pub(crate) fn add_group(&mut self, group: UserGroup) -> Result<UserGroupId, ScimError> {
        let id = UserGroupId::from_bits(self.made);
        self.put_group(&id, group)?;
        Ok(id)
    }

    /// Puts a group in the place of what it was.
    ///
    /// # Errors
    /// There is another one of that name.
    pub(crate) fn put_group(
        &mut self,
        id: &UserGroupId,
        mut group: UserGroup,
    ) -> Result<(), ScimError> {
        if self.after.groups.get(id) == Some(&group) {
            return Ok(());
        }
        let name = &group.display_name;
        let mut others = self.after.groups.iter().filter(|(other, _)| *other != id);
        if others.any(|(_, other)| other.display_name == *name) {
            return Err(ScimError::uniqueness(
                "there is a group of that `displayName`",
            ));
        }
        group.gives = gives(&self.provider.groups, name, group.gives.take(), self.now);
        group.modified = self.now;
        self.after.groups.insert(id.clone(), group);
        Ok(())
    }

    fn check_user_name(&self, id: &UserId, user: &User) -> Result<(), ScimError> {
        let name = user.user_name.to_lowercase();
        let mut others = self.after.users.iter().filter(|(other, _)| *other != id);
        match others.any(|(_, other)| other.user_name.to_lowercase() == name) {
            true => Err(ScimError::uniqueness("there is a user of that `userName`")),
            false => Ok(()),
        }
    }

    /// Makes a user the person of their name.
    fn bind(&mut self, id: &UserId, user: &mut User) -> Result<(), ScimError> {
        let name = self.after.name_of(user).ok_or_else(|| {
            ScimError::value(
                "what names the user here can't be a name: only plain letters, digits and `@._:/+-` \
                 can, so that no two names look the same",
            )
        })?;
        let person = named(self.directory, name);
        let taken = self
            .after
            .user_of(&person)
            .filter(|(other, _)| *other != id);
        if taken.is_some() {
            return Err(ScimError::uniqueness(
                "another user is the person of that name, and was called so before: an administrator \
                 unlinks the account of that person first, once the other user is gone or inactive",
            ));
        }
        let departed = &mut self.after.departed;
        departed.retain(|gone, _| !same_name(gone, &person));
        // Whom they were before is let in no more: one human would be two people.
        for (gone, was) in departed.iter_mut() {
            let is_same = was.was.as_ref() == Some(id);
            let gone = named(self.directory, gone.clone());
            if is_same && was.let_in && self.directory.active_person(&gone).is_some() {
                return Err(ScimError::uniqueness(
                    "whom the user was acts under another name, as an administrator let them: an \
                     administrator disables that person first",
                ));
            }
            was.let_in &= !is_same;
        }
        user.person = Some(person);
        user.since = self.now;
        Ok(())
    }

    /// Whether a person is nothing but the name of a user, so that another name makes them another person:
    /// nobody signed in, they have nothing of their own and answer for nobody.
    fn can_move(&self, person: &PersonId) -> bool {
        let person = &named(self.directory, person.clone());
        let Some(known) = self.directory.people.get(person) else {
            return true;
        };
        let own = known.groups.values().any(|membership| !membership.provided);
        let bare = known.provided && known.accounts.is_empty() && !known.disabled && !own;
        let directory = self.directory;
        let machines = directory
            .agents
            .values()
            .chain(directory.workloads.values());
        let mut owners = machines.filter_map(|machine| machine.owner.as_ref());
        let mut managers = directory
            .people
            .values()
            .filter_map(|one| one.manager.as_ref());
        bare && self.unused
            && !owners.any(|one| same_name(one, person))
            && !managers.any(|one| same_name(one, person))
    }
}

/// Somebody who was this user.
fn departed(id: &UserId) -> Departed {
    Departed {
        was: Some(id.clone()),
        let_in: false,
    }
}

/// What is provisioned now.
///
/// # Errors
/// Nobody provisions any more.
pub(crate) fn provisioned(gateway: &Gateway) -> Result<Arc<Provisioning>, ScimError> {
    let found = gateway.active().directory.provisioning.clone();
    found.ok_or_else(|| ScimError::unavailable(&anyhow::anyhow!("nobody provisions")))
}
