//! People as the provider who signs them in says.
//!
//! In scope: what a sign-in changes in the directory, and what of earlier sign-ins a bundle lets stand.
//! Out of scope: whether the provider said so, which the gateway has checked.
//! Invariant: a provider takes away only what it gave. What it gives is never countersigned, so that
//! it counts for no request that was open before; and it lasts no longer than the bundle says that the
//! provider may give it.

use std::collections::{BTreeMap, btree_map::Entry};

use countersign_core::{
    directory::{AccountId, Directory, Membership, Person},
    id::{GroupId, PersonId, ProviderId},
    time::Timestamp,
};

use super::{
    Bundle,
    people::{DirectoryChange, RefusedChange, find, known_groups, unknown},
};

/// Takes what a provider says of a person.
///
/// # Errors
/// [`RefusedChange`] when the person has another account there, or a group is unknown.
pub(super) fn provide(
    directory: &mut Directory,
    person: &PersonId,
    (provider, account): (&ProviderId, AccountId),
    groups: &BTreeMap<GroupId, String>,
    now: Timestamp,
) -> Result<(), RefusedChange> {
    known_groups(directory, groups.keys())?;
    let known = directory.people.get(person);
    let linked = known.and_then(|known| known.accounts.get(provider));
    if linked.is_some_and(|linked| *linked != account) {
        let (person, provider) = (person.clone(), provider.clone());
        return Err(RefusedChange::OtherAccount { person, provider });
    }
    let unknown = || Person {
        provided: true,
        ..Person::default()
    };
    let found = directory
        .people
        .entry(person.clone())
        .or_insert_with(unknown);
    found.accounts.insert(provider.clone(), account);
    found
        .groups
        .retain(|group, membership| !membership.provided || groups.contains_key(group));
    for group in groups.keys() {
        if let Entry::Vacant(new) = found.groups.entry(group.clone()) {
            new.insert(Membership {
                since: now,
                countersigned: false,
                provided: true,
            });
        }
    }
    Ok(())
}

/// Forgets a person's account with a provider, and what it gave them.
///
/// # Errors
/// [`RefusedChange`] when there is no such person or account.
pub(super) fn unlink(
    directory: &mut Directory,
    person: &PersonId,
    provider: &ProviderId,
) -> Result<(), RefusedChange> {
    let found = find(&mut directory.people, person, "person")?;
    let removed = found.accounts.remove(provider);
    removed.ok_or_else(|| unknown("account", format_args!("of {person} with {provider}")))?;
    found.groups.retain(|_, membership| !membership.provided);
    Ok(())
}

/// Whose account it is.
#[must_use]
pub fn holder<'a>(
    directory: &'a Directory,
    provider: &ProviderId,
    account: AccountId,
) -> Option<(&'a PersonId, &'a Person)> {
    let mut people = directory.people.iter();
    people.find(|(_, person)| person.accounts.get(provider) == Some(&account))
}

impl Bundle {
    /// What this bundle lets stand of a change that was made under the one `before`; `None` where that
    /// is nothing. Somebody whose provider is gone, or is another one of that name, is no person any
    /// more unless the files name them; if they were disabled, they stay known, and disabled.
    #[must_use]
    pub fn lets_stand(
        &self,
        change: DirectoryChange,
        before: &Bundle,
        people: &Directory,
    ) -> Option<DirectoryChange> {
        let DirectoryChange::ProvidePerson {
            person,
            provider,
            account,
            mut groups,
        } = change
        else {
            return Some(change);
        };
        let issuer = |bundle: &Bundle| {
            bundle
                .providers()
                .get(&provider)
                .map(|one| one.issuer.clone())
        };
        match self.providers().get(&provider) {
            Some(now) if Some(&now.issuer) == issuer(before).as_ref() => {
                groups.retain(|ours, theirs| now.groups.get(theirs) == Some(ours));
            }
            _ if people.people.get(&person).is_some_and(|one| one.disabled) => groups.clear(),
            _ => return None,
        }
        Some(DirectoryChange::ProvidePerson {
            person,
            provider,
            account,
            groups,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn provide(person: &str, account: &str, groups: &[&str]) -> DirectoryChange {
        DirectoryChange::ProvidePerson {
            person: id(person),
            provider: id("corp"),
            account: AccountId::of("https://login.example.com", account),
            groups: groups
                .iter()
                .map(|group| (id(group), format!("their-{group}")))
                .collect(),
        }
    }

    fn directory() -> Directory {
        Directory {
            people: BTreeMap::from([(id("ann"), Person::default())]),
            groups: ["dba", "ops"].map(id).into(),
            ..Directory::default()
        }
    }

    fn groups_of(directory: &Directory, person: &str) -> Vec<(String, i64, bool, bool)> {
        let person = &directory.people[&id::<PersonId>(person)];
        let one = |(group, of): (&GroupId, &Membership)| {
            (group.to_string(), of.since.0, of.countersigned, of.provided)
        };
        person.groups.iter().map(one).collect()
    }

    #[test]
    fn a_provider_takes_away_only_what_it_gave_and_vouches_for_nothing() {
        let mut directory = directory();
        let add = DirectoryChange::AddMembership {
            person: id("ann"),
            group: id("ops"),
        };
        add.apply(&mut directory, Timestamp(1), true).unwrap();
        let mut at = |change: DirectoryChange, time| {
            change.apply(&mut directory, Timestamp(time), true).unwrap();
            groups_of(&directory, "ann")
        };
        let ops = ("ops".to_owned(), 1, true, false);
        let dba = |since| ("dba".to_owned(), since, false, true);
        // Even an apply that somebody countersigned makes it no countersigned membership.
        let found = at(provide("ann", "1", &["dba", "ops"]), 2);
        assert_eq!(found, [dba(2), ops.clone()]);
        // It keeps its beginning for as long as it lasts, and begins anew after a break.
        let found = at(provide("ann", "1", &["dba"]), 3);
        assert_eq!(found, [dba(2), ops.clone()]);
        assert_eq!(at(provide("ann", "1", &[]), 4), vec![ops.clone()]);
        let found = at(provide("ann", "1", &["dba"]), 5);
        assert_eq!(found, [dba(5), ops.clone()]);
        let unlink = DirectoryChange::UnlinkAccount {
            person: id("ann"),
            provider: id("corp"),
        };
        assert_eq!(at(unlink.clone(), 6), [ops]);
        assert!(unlink.apply(&mut directory, Timestamp(7), true).is_err());
    }

    #[test]
    fn an_account_is_one_persons_and_a_person_has_one() {
        let mut directory = directory();
        let mut apply = |change: DirectoryChange| {
            let before = directory.clone();
            let done = change.apply(&mut directory, Timestamp(1), false);
            assert_eq!(done.is_err(), before == directory, "{change:?}");
            done
        };
        apply(provide("ann", "1", &["dba"])).unwrap();
        apply(provide("new", "2", &[])).unwrap();
        let other = apply(provide("ann", "3", &[])).unwrap_err().to_string();
        assert!(other.contains("people unlink ann corp"), "{other}");
        apply(provide("ann", "1", &["missing"])).unwrap_err();
        let account = |name| AccountId::of("https://login.example.com", name);
        let whose =
            |name| holder(&directory, &id("corp"), account(name)).map(|(id, _)| id.as_str());
        assert_eq!(whose("1"), Some("ann"));
        assert_eq!(whose("2"), Some("new"));
        assert_eq!(whose("3"), None);
        let elsewhere = holder(&directory, &id("other"), account("1"));
        assert!(elsewhere.is_none());
    }

    fn bundle(provider: &str) -> Bundle {
        let text = format!("[group.dba]\n[group.ops]\n{provider}");
        let files = BTreeMap::from([("countersign.toml".to_owned(), text)]);
        Bundle::from_files(&files).unwrap()
    }

    #[test]
    fn what_a_provider_gave_lasts_no_longer_than_it_may_give_it() {
        let corp = |issuer: &str, groups: &str| {
            bundle(&format!(
                "[provider.corp]\nissuer = \"{issuer}\"\nclient_id = \"c\"\n\
                 client_secret = {{ env = \"S\" }}\ngroups = {{ {groups} }}\n"
            ))
        };
        let here = "https://login.example.com";
        let both = "their-dba = \"dba\", their-ops = \"ops\"";
        let before = corp(here, both);
        let mut people = directory();
        let change = provide("new", "1", &["dba", "ops"]);
        change.apply(&mut people, Timestamp(1), false).unwrap();
        let left = |after: &Bundle, people: &Directory| {
            let stands = after.lets_stand(change.clone(), &before, people)?;
            let DirectoryChange::ProvidePerson { groups, .. } = stands else {
                return None;
            };
            Some(groups.into_keys().map(String::from).collect::<Vec<_>>())
        };
        let some = |groups: &[&str]| Some(groups.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(left(&corp(here, both), &people), some(&["dba", "ops"]));
        let fewer = corp(here, "their-dba = \"dba\"");
        assert_eq!(left(&fewer, &people), some(&["dba"]));
        let moved = corp(here, "their-dba = \"ops\", their-ops = \"ops\"");
        assert_eq!(left(&moved, &people), some(&["ops"]));
        let gone = bundle("");
        let other = corp("https://elsewhere.example.com", both);
        assert_eq!(left(&gone, &people), None);
        assert_eq!(left(&other, &people), None);
        people
            .people
            .get_mut(&id::<PersonId>("new"))
            .unwrap()
            .disabled = true;
        assert_eq!(left(&gone, &people), some(&[]));
        assert_eq!(left(&other, &people), some(&[]));
    }
}
