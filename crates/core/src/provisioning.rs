//! People and groups as a provider provisions them, and what follows from that for people here.
//!
//! In scope: users and groups as they are kept, the rows that a database has of them, the standing of
//! people that follows.
//! Out of scope: the protocol, and who a user becomes; the gateway decides both.
//! Invariant: what is provisioned gives people groups and lets them act, or not. It takes away nothing
//! that anybody else gave. What follows is computed from the whole each time and from nothing else.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    directory::{Directory, Membership, Person},
    id::{GroupId, PersonId, ProviderId, UserGroupId, UserId},
    time::Timestamp,
};

/// An e-mail address of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The address.
    pub value: String,
    /// `work`, `home` or whatever the provider calls it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it is the first one; of several at most one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
}

/// A user: what is used of them, and what their provider finds them by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What the provider calls them.
    pub user_name: String,
    /// Their name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The provider's own identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<Email>,
    /// Whether they may act.
    pub active: bool,
    /// Who they are here; nobody, where that person was taken from them.
    pub person: Option<PersonId>,
    /// Since when they are that person and active: no membership is older.
    pub since: Timestamp,
    /// When they were made.
    pub created: Timestamp,
    /// When they changed last.
    pub modified: Timestamp,
}

/// The group here that a provisioned group stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gives {
    /// Which.
    pub group: GroupId,
    /// Since when: no membership is older.
    pub since: Timestamp,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserGroup {
    /// What the provider calls it.
    pub display_name: String,
    /// The provider's own identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What it gives; nothing, where its name is not mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives: Option<Gives>,
    /// Its members, since when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<UserId, Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When it changed last.
    pub modified: Timestamp,
}

/// The attribute of a user that names the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Named {
    /// `userName`.
    #[default]
    UserName,
    /// The primary address among `emails`, or the only one.
    Email,
}

/// Everything that a provider provisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioning {
    /// The provider.
    pub provider: ProviderId,
    /// Its address: what another one provisioned is not its.
    pub issuer: String,
    /// Whether it makes people of those whom nobody else names.
    pub admits: bool,
    /// What names a person.
    pub named: Named,
    /// Its users.
    pub users: BTreeMap<UserId, User>,
    /// Its groups.
    pub groups: BTreeMap<UserGroupId, UserGroup>,
    /// People who had a user that is theirs no more. They stay people, whatever becomes of them: changes
    /// that are kept may name them.
    pub departed: BTreeMap<PersonId, Departed>,
}

/// What became of somebody whose user is theirs no more. They can do nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departed {
    /// The user, where it may still become somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<UserId>,
    /// Whether an administrator lets them act without a user. Whom nobody but the provider names can't.
    #[serde(default)]
    pub let_in: bool,
}

/// What follows for one person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The user who they are; nobody, once that is gone.
    pub user: Option<UserId>,
    /// Whether they may act.
    pub active: bool,
    /// Groups here, since when.
    pub groups: BTreeMap<GroupId, Timestamp>,
}

/// Rows of a database by their keys; nothing for one that goes.
pub type Rows = BTreeMap<String, Option<Value>>;

/// A row that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what is provisioned as `{0}` can't be read")]
pub struct InvalidRow(pub String);

const USER: &str = "user";
const GROUP: &str = "group";
const MEMBER: &str = "member";
const DEPARTED: &str = "departed";

impl Provisioning {
    /// What a provider provisions that has not begun to.
    #[must_use]
    pub fn new(provider: ProviderId, issuer: String, admits: bool, named: Named) -> Self {
        Self {
            provider,
            issuer,
            admits,
            named,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            departed: BTreeMap::new(),
        }
    }

    /// The user that a person is.
    #[must_use]
    pub fn user_of(&self, person: &PersonId) -> Option<(&UserId, &User)> {
        let is_it = |of: &PersonId| same_name(of, person);
        let mut users = self.users.iter();
        users.find(|(_, user)| user.person.as_ref().is_some_and(is_it))
    }

    /// What a user is called, as a sign-in would name them: plain ASCII in small letters. Nothing, where
    /// that can't be a name.
    #[must_use]
    pub fn name_of(&self, user: &User) -> Option<PersonId> {
        let primary = || user.emails.iter().find(|email| email.primary == Some(true));
        let only = || user.emails.first().filter(|_| user.emails.len() == 1);
        let name = match self.named {
            Named::UserName => &user.user_name,
            Named::Email => &primary().or_else(only)?.value,
        };
        let plain = name.is_ascii().then(|| name.to_ascii_lowercase())?;
        plain.parse().ok()
    }

    /// The rows that make this of `before`.
    ///
    /// # Errors
    /// Something has no JSON form, which all of it has.
    pub fn since(&self, before: Option<&Self>) -> Result<Rows, serde_json::Error> {
        let empty = Self::new(self.provider.clone(), String::new(), false, self.named);
        let before = before.unwrap_or(&empty);
        let mut rows = Rows::new();
        for (id, user) in changed(&before.users, &self.users) {
            rows.insert(format!("{USER}/{id}"), user.map(row).transpose()?);
        }
        for (id, group) in changed(&before.groups, &self.groups) {
            let was = before.groups.get(id);
            let head = group.map(UserGroup::head);
            if head != was.map(UserGroup::head) {
                let head = head.as_ref().map(row).transpose()?;
                rows.insert(format!("{GROUP}/{id}"), head);
            }
            let none = BTreeMap::new();
            let was = was.map_or(&none, |was| &was.members);
            let now = group.map_or(&none, |now| &now.members);
            for (user, since) in changed(was, now) {
                let since = since.map(row).transpose()?;
                rows.insert(format!("{MEMBER}/{id}/{user}"), since);
            }
        }
        for (person, departed) in changed(&before.departed, &self.departed) {
            let departed = departed.map(row).transpose()?;
            rows.insert(format!("{DEPARTED}/{person}"), departed);
        }
        Ok(rows)
    }

    /// Takes rows over.
    ///
    /// # Errors
    /// One can't be read.
    pub fn put(&mut self, rows: &Rows) -> Result<(), InvalidRow> {
        for (key, value) in rows {
            self.put_one(key, value.as_ref())
                .ok_or_else(|| InvalidRow(key.clone()))?;
        }
        Ok(())
    }

    fn put_one(&mut self, key: &str, value: Option<&Value>) -> Option<()> {
        let (kind, id) = key.split_once('/')?;
        match kind {
            USER => {
                set(&mut self.users, id.parse().ok()?, read(value)?);
            }
            GROUP => {
                let id: UserGroupId = id.parse().ok()?;
                let known = self.groups.remove(&id);
                if let Some(head) = read::<UserGroup>(value)? {
                    let members = known.map(|known| known.members).unwrap_or_default();
                    self.groups.insert(id, UserGroup { members, ..head });
                }
            }
            MEMBER => {
                let (group, user) = id.split_once('/')?;
                let since = read(value)?;
                // The members of a group that goes go with it.
                match self.groups.get_mut(&group.parse().ok()?) {
                    Some(group) => set(&mut group.members, user.parse().ok()?, since),
                    None if since.is_none() => {}
                    None => return None,
                }
            }
            DEPARTED => {
                set(&mut self.departed, id.parse().ok()?, read(value)?);
            }
            _ => return None,
        }
        Some(())
    }
}

impl UserGroup {
    /// The group without its members.
    fn head(&self) -> Self {
        Self {
            display_name: self.display_name.clone(),
            external_id: self.external_id.clone(),
            gives: self.gives.clone(),
            members: BTreeMap::new(),
            created: self.created,
            modified: self.modified,
        }
    }
}

fn row(value: &impl Serialize) -> Result<Value, serde_json::Error> {
    serde_json::to_value(value)
}

fn read<T: DeserializeOwned>(value: Option<&Value>) -> Option<Option<T>> {
    match value {
        Some(value) => T::deserialize(value).ok().map(Some),
        None => Some(None),
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// What is other in `now` than in `was`, with what it is now.
fn changed<'a, K: Ord, V: PartialEq>(
    was: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>)> {
    let other = now
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(*value));
    let gone = was.keys().filter(|key| !now.contains_key(*key));
    other
        .map(|(key, value)| (key, Some(value)))
        .chain(gone.map(|key| (key, None)))
}

/// Whether two names are one person's: nobody is two people because of a capital letter.
#[must_use]
pub fn same_name(one: &PersonId, other: &PersonId) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

/// People by their names in small letters.
type Spelt = HashMap<String, PersonId>;

fn spelt(directory: &Directory) -> Spelt {
    let people = directory.people.keys();
    people
        .map(|person| (person.as_str().to_ascii_lowercase(), person.clone()))
        .collect()
}

fn called(spelt: &Spelt, person: &PersonId) -> PersonId {
    let found = spelt.get(&person.as_str().to_ascii_lowercase());
    found.unwrap_or(person).clone()
}

impl Directory {
    /// Makes people of whom is provisioned and not known otherwise.
    pub fn introduce(&mut self) {
        let Some(provisioning) = self.provisioning.clone() else {
            return;
        };
        let spelt = spelt(self);
        let users = provisioning.users.values();
        let named = users.filter_map(|user| user.person.as_ref());
        for person in named.chain(provisioning.departed.keys()) {
            let unknown = || Person {
                provided: true,
                ..Person::default()
            };
            let person = called(&spelt, person);
            self.people.entry(person).or_insert_with(unknown);
        }
    }

    /// Gives everybody what follows from what is provisioned, and nothing that followed before.
    pub fn settle(&mut self) {
        self.introduce();
        for person in self.people.values_mut() {
            person.standing = None;
        }
        let provisioning = self.provisioning.clone();
        if let Some(provisioning) = &provisioning {
            self.stand(provisioning);
        }
        for person in self.people.values_mut() {
            person.settle(provisioning.is_some());
        }
    }

    fn stand(&mut self, provisioning: &Arc<Provisioning>) {
        let spelt = spelt(self);
        for (gone, departed) in &provisioning.departed {
            let person = self.people.get_mut(&called(&spelt, gone));
            if let Some(person) = person.filter(|person| person.provided || !departed.let_in) {
                person.standing = Some(Standing::default());
            }
        }
        let mut given = given(provisioning);
        for (id, user) in &provisioning.users {
            let person = user.person.as_ref().map(|person| called(&spelt, person));
            if let Some(person) = person.and_then(|person| self.people.get_mut(&person)) {
                let groups = given.remove(id).unwrap_or_default().into_iter();
                let groups = groups.map(|(group, since)| (group.clone(), since.max(user.since)));
                person.standing = Some(Standing {
                    user: Some(id.clone()),
                    active: user.active && (provisioning.admits || !person.provided),
                    groups: groups.collect(),
                });
            }
        }
    }
}

/// The groups here of each user. Of several ways into one, the oldest counts.
fn given(provisioning: &Provisioning) -> HashMap<&UserId, BTreeMap<&GroupId, Timestamp>> {
    let mut given: HashMap<_, BTreeMap<_, _>> = HashMap::new();
    for group in provisioning.groups.values() {
        let Some(gives) = &group.gives else {
            continue;
        };
        for (user, joined) in &group.members {
            let since = gives.since.max(*joined);
            let groups = given.entry(user).or_default();
            let known = groups.entry(&gives.group).or_insert(since);
            *known = since.min(*known);
        }
    }
    given
}

impl Person {
    fn settle(&mut self, provisioning: bool) {
        self.inactive = match &self.standing {
            Some(standing) => !standing.active,
            // Whom nobody names otherwise is none while a provider says who people are.
            None => self.provided && provisioning,
        };
        self.groups.retain(|_, membership| !membership.provided);
        let signed_in = self.accounts.values().flat_map(|account| &account.groups);
        let signed_in = signed_in.map(|(group, given)| (group, given.since));
        let standing = self.standing.iter().filter(|standing| standing.active);
        let standing = standing.flat_map(|standing| &standing.groups);
        let standing = standing.map(|(group, since)| (group, *since));
        for (group, since) in signed_in.chain(standing) {
            if let Entry::Vacant(new) = self.groups.entry(group.clone()) {
                new.insert(Membership {
                    since,
                    countersigned: false,
                    provided: true,
                });
            }
        }
    }
}
