//! People as the provider who signs them in says.
//!
//! In scope: what a sign-in changes in the directory, and what of earlier sign-ins a bundle lets stand.
//! Out of scope: whether the provider said so, which the gateway has checked.
//! Invariant: a provider takes away only what it gave. What it gives is never countersigned, so that
//! it counts for no request that was open before; and it lasts no longer than the bundle says that the
//! provider may give it.

use std::collections::btree_map::Entry;

use countersign_core::{
    canonical::Hash,
    directory::{Account, AccountId, Directory, Membership, Person},
    id::{PersonId, ProviderId},
};

use super::{
    Bundle,
    people::{DirectoryChange, RefusedChange, find, known_groups, one_spelling, unknown},
};

/// The settings of no provider.
const VOID: Hash = Hash([0; 32]);

/// Takes what a provider says of a person, in place of what it said before.
///
/// # Errors
/// [`RefusedChange`] when the person has another account there or a name that is somebody's, or a group
/// is unknown.
pub(super) fn provide(
    directory: &mut Directory,
    person: &PersonId,
    provider: &ProviderId,
    account: &Account,
) -> Result<(), RefusedChange> {
    known_groups(directory, account.groups.keys())?;
    one_spelling(directory, person)?;
    let known = directory.people.get(person);
    let linked = known.and_then(|known| known.accounts.get(provider));
    let is_other = |linked: &Account| linked.issuer == account.issuer && linked.id != account.id;
    if linked.is_some_and(is_other) {
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
    found.unwelcome = found.provided && !account.admits;
    found.accounts.insert(provider.clone(), account.clone());
    found.groups.retain(|_, membership| !membership.provided);
    for (group, given) in &account.groups {
        if let Entry::Vacant(new) = found.groups.entry(group.clone()) {
            new.insert(Membership {
                since: given.since,
                countersigned: false,
                provided: true,
            });
        }
    }
    Ok(())
}

/// Makes a person of their own of somebody whom only a provider vouched for.
pub(super) fn taken_over(known: &mut Person, named: Person) {
    known.provided = false;
    known.unwelcome = false;
    known.manager = named.manager;
    known.groups.extend(named.groups);
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
    removed.ok_or_else(|| unknown("account with", provider))?;
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
    people.find(|(_, person)| {
        let known = person.accounts.get(provider);
        known.is_some_and(|known| known.id == account)
    })
}

impl Bundle {
    /// What this bundle lets stand of a change that was made under another one. `people` are those whom
    /// its files, and changes that stand, name.
    ///
    /// Whose an account is stays. What the provider gave goes where it is not believed as it was then:
    /// where it is gone or has other settings; and so does every session, for good, whatever the settings
    /// are later. Where it does not make people of strangers, whom nobody names can do nothing.
    #[must_use]
    pub fn lets_stand(&self, mut change: DirectoryChange, people: &Directory) -> DirectoryChange {
        if let DirectoryChange::ProvidePerson {
            person,
            provider,
            account,
        } = &mut change
        {
            let named = people.people.get(person).is_some_and(|one| !one.provided);
            let now = self.providers().get(provider);
            let now = now.filter(|now| now.issuer == account.issuer);
            account.admits = now.is_some_and(|now| now.creates_people);
            let believed = now.filter(|now| now.settings() == Ok(account.settings));
            if believed.is_none() {
                account.settings = VOID;
            }
            account.groups.retain(|ours, given| {
                believed.is_some_and(|now| {
                    (named || now.creates_people) && now.groups.get(&given.theirs) == Some(ours)
                })
            });
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_core::{id::GroupId, time::Timestamp};

    use super::*;

    const HERE: &str = "https://login.example.com";
    const BOTH: &str = "groups = { their-dba = \"dba\", their-ops = \"ops\" }";

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn corp(issuer: &str, more: &str) -> Bundle {
        bundle(&format!(
            "[provider.corp]\nissuer = \"{issuer}\"\nclient_id = \"c\"\n\
             client_secret = {{ env = \"S\" }}\n{more}\n"
        ))
    }

    fn bundle(more: &str) -> Bundle {
        let text = format!("[group.dba]\n[group.ops]\n{more}");
        Bundle::from_files(&BTreeMap::from([("countersign.toml".to_owned(), text)])).unwrap()
    }

    fn settings(bundle: &Bundle) -> Hash {
        let provider = bundle.providers().values().next().unwrap();
        provider.settings().unwrap()
    }

    /// What the gateway makes of a sign-in.
    fn provide(
        directory: &Directory,
        (person, account): (&str, &str),
        groups: &[&str],
        now: i64,
    ) -> DirectoryChange {
        let known = directory.people.get(&id::<PersonId>(person));
        let before = known.and_then(|known| known.accounts.get(&id::<ProviderId>("corp")));
        let groups = groups
            .iter()
            .map(|group| (id(group), format!("their-{group}")));
        let which = (
            HERE,
            AccountId::of(HERE, account),
            settings(&corp(HERE, BOTH)),
        );
        DirectoryChange::ProvidePerson {
            person: id(person),
            provider: id("corp"),
            account: Account::signed_in(which, groups.collect(), before, Timestamp(now)),
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
        let mut at = |groups: &[&str], time| {
            let change = provide(&directory, ("ann", "1"), groups, time);
            // Even an apply that somebody countersigned makes it no countersigned membership.
            change.apply(&mut directory, Timestamp(time), true).unwrap();
            groups_of(&directory, "ann")
        };
        let ops = ("ops".to_owned(), 1, true, false);
        let dba = |since| ("dba".to_owned(), since, false, true);
        assert_eq!(at(&["dba", "ops"], 2), [dba(2), ops.clone()]);
        // It keeps its beginning for as long as it lasts, and begins anew after a break.
        assert_eq!(at(&["dba"], 3), [dba(2), ops.clone()]);
        assert_eq!(at(&[], 4), vec![ops.clone()]);
        assert_eq!(at(&["dba"], 5), [dba(5), ops.clone()]);
        let unlink = DirectoryChange::UnlinkAccount {
            person: id("ann"),
            provider: id("corp"),
        };
        unlink.apply(&mut directory, Timestamp(6), true).unwrap();
        assert_eq!(groups_of(&directory, "ann"), [ops]);
        assert!(unlink.apply(&mut directory, Timestamp(7), true).is_err());
    }

    #[test]
    fn only_the_last_word_counts_whatever_was_said_before() {
        let (mut lived, mut again) = (directory(), directory());
        let mut said = Vec::new();
        for (time, groups) in [
            (1, &["dba"][..]),
            (2, &[]),
            (3, &["dba", "ops"]),
            (4, &["ops"]),
        ] {
            let change = provide(&lived, ("ann", "1"), groups, time);
            change.apply(&mut lived, Timestamp(time), false).unwrap();
            said.push(change);
        }
        // The files name her in what a sign-in of before gave, and no longer do: nothing is left of it.
        for change in &said {
            change.apply(&mut again, Timestamp(9), false).unwrap();
        }
        assert_eq!(again, lived);
        let mut last = directory();
        said[3].apply(&mut last, Timestamp(9), false).unwrap();
        assert_eq!(last, lived);
        assert_eq!(
            groups_of(&last, "ann"),
            [("ops".to_owned(), 3, false, true)]
        );
    }

    #[test]
    fn an_account_is_one_persons_and_a_person_has_one() {
        let mut directory = directory();
        let mut apply = |who, groups: &[&str]| {
            let before = directory.clone();
            let done = provide(&before, who, groups, 1).apply(&mut directory, Timestamp(1), false);
            assert_eq!(done.is_err(), before == directory, "{who:?}");
            done
        };
        apply(("ann", "1"), &["dba"]).unwrap();
        apply(("new", "2"), &[]).unwrap();
        let other = apply(("ann", "3"), &[]).unwrap_err().to_string();
        assert!(other.contains("people unlink ann corp"), "{other}");
        apply(("ann", "1"), &["missing"]).unwrap_err();
        let account = |name| AccountId::of(HERE, name);
        let whose =
            |name| holder(&directory, &id("corp"), account(name)).map(|(id, _)| id.as_str());
        assert_eq!(whose("1"), Some("ann"));
        assert_eq!(whose("2"), Some("new"));
        assert_eq!(whose("3"), None);
        let elsewhere = holder(&directory, &id("other"), account("1"));
        assert!(elsewhere.is_none());
    }

    #[test]
    fn what_a_provider_gave_lasts_no_longer_than_it_may_give_it() {
        let mut known = directory();
        let change = provide(&known, ("new", "1"), &["dba", "ops"], 1);
        change.apply(&mut known, Timestamp(1), false).unwrap();
        let left = |after: &Bundle, people: &Directory| {
            let stands = after.lets_stand(change.clone(), people);
            let mut people = people.clone();
            stands.apply(&mut people, Timestamp(2), false).unwrap();
            let groups = groups_of(&people, "new").into_iter().map(|(name, ..)| name);
            let new = &people.people[&id::<PersonId>("new")];
            // Whose an account is stays, whatever it gives.
            assert!(new.accounts.contains_key(&id::<ProviderId>("corp")));
            groups.collect::<Vec<_>>().join(" ")
        };
        let files = directory();
        let mut named = directory();
        named.people.insert(id("new"), Person::default());
        let fewer = "groups = { their-dba = \"dba\" }";
        let moved = "groups = { their-dba = \"ops\", their-ops = \"ops\" }";
        let with = |more: &str| format!("{BOTH}\n{more}");
        for (more, stranger, of_named) in [
            (BOTH.to_owned(), "dba ops", "dba ops"),
            (fewer.to_owned(), "dba", "dba"),
            (moved.to_owned(), "ops", "ops"),
            (with("title = \"Corp\""), "dba ops", "dba ops"),
            // Under other settings everybody signs in anew.
            (with("require = { tenant = \"t-1\" }"), "", ""),
            (with("groups_claim = \"roles\""), "", ""),
            (with("session = \"5m\""), "", ""),
            (with("creates_people = false"), "", ""),
        ] {
            let after = corp(HERE, &more);
            assert_eq!(left(&after, &files), stranger, "{more}");
            assert_eq!(left(&after, &named), of_named, "{more}");
        }
        for gone in [bundle(""), corp("https://elsewhere.example.com", BOTH)] {
            assert_eq!(left(&gone, &files), "");
            assert_eq!(left(&gone, &named), "");
        }
    }

    #[test]
    fn whom_the_files_drop_has_nothing_of_a_provider_that_makes_no_people() {
        let closed = corp(HERE, &format!("{BOTH}\ncreates_people = false"));
        let given = Account::signed_in(
            (HERE, AccountId::of(HERE, "1"), settings(&closed)),
            BTreeMap::from([(id("dba"), "their-dba".to_owned())]),
            None,
            Timestamp(1),
        );
        let change = DirectoryChange::ProvidePerson {
            person: id("ann"),
            provider: id("corp"),
            account: given,
        };
        for (named, expected) in [(true, 1), (false, 0)] {
            let mut people = directory();
            if !named {
                people.people.clear();
            }
            let stands = closed.lets_stand(change.clone(), &people);
            stands.apply(&mut people, Timestamp(2), false).unwrap();
            assert_eq!(groups_of(&people, "ann").len(), expected, "{named}");
            let unlink = DirectoryChange::UnlinkAccount {
                person: id("ann"),
                provider: id("corp"),
            };
            for _ in 0..2 {
                // Nor once the account is unlinked.
                assert_eq!(people.active_person(&id("ann")).is_some(), named);
                let _again = unlink.apply(&mut people, Timestamp(3), false);
            }
        }
    }

    #[test]
    fn an_account_elsewhere_is_no_other_account_here() {
        let mut people = directory();
        let here = provide(&people, ("ann", "1"), &[], 1);
        here.apply(&mut people, Timestamp(1), false).unwrap();
        let there = "https://elsewhere.example.com";
        let which = (there, AccountId::of(there, "1"), Hash([0; 32]));
        let moved = DirectoryChange::ProvidePerson {
            person: id("ann"),
            provider: id("corp"),
            account: Account::signed_in(which, BTreeMap::new(), None, Timestamp(2)),
        };
        moved.apply(&mut people, Timestamp(2), false).unwrap();
        assert!(here.apply(&mut people, Timestamp(3), false).is_ok());
    }
}
