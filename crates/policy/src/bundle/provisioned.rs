//! What a provider provisions, under the bundle that lets it.
//!
//! In scope: what of it a bundle lets stand, what a change does to it, letting a person go.
//! Out of scope: what follows for people (the core's `provisioning`); who a user becomes.
//! Invariant: what another provider provisioned, or one at another address, is nothing. A group gives
//! what its name is mapped to, from the moment on when it is.

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{
    directory::Directory,
    id::{GroupId, PersonId, ProviderId, UserId},
    provisioning::{Departed, Gives, Provisioning, Rows, same_name},
    time::Timestamp,
};

use super::{Bundle, people::RefusedChange};
use crate::provider::{Provider, Scim};

impl Bundle {
    /// Who provisions people.
    #[must_use]
    pub fn provisioner(&self) -> Option<(&ProviderId, &Provider, &Scim)> {
        let mut providers = self.providers().iter();
        providers.find_map(|(id, provider)| Some((id, provider, provider.scim.as_ref()?)))
    }

    /// What is provisioned under this bundle before anything is.
    #[must_use]
    pub fn unprovisioned(&self) -> Option<Provisioning> {
        let (id, provider, scim) = self.provisioner()?;
        let (id, issuer) = (id.clone(), provider.issuer.clone());
        Some(Provisioning::new(
            id,
            issuer,
            provider.creates_people,
            scim.person,
        ))
    }

    /// What this bundle lets stand of what was provisioned `before`, under the bundle `was`. Where people
    /// are named otherwise, or by somebody else, that is nothing but who was made to go.
    #[must_use]
    pub fn still_provisioned(
        &self,
        (was, before): (&Self, Option<&Provisioning>),
        now: Timestamp,
    ) -> Option<Provisioning> {
        let mut after = self.unprovisioned()?;
        let (_, provider, _) = self.provisioner()?;
        let claim = was.provisioner().map(|(_, was, _)| &was.person_claim);
        let Some(known) = before else {
            return Some(after);
        };
        if (&known.provider, &known.issuer, known.named)
            != (&after.provider, &after.issuer, after.named)
            || claim != Some(&provider.person_claim)
        {
            let inactive = known.users.values().filter(|user| !user.active);
            let inactive = inactive.filter_map(|user| user.person.clone());
            let inactive = inactive.map(|person| (person, Departed::default()));
            // The users that they were are forgotten.
            let gone = known.departed.iter().map(|(person, gone)| {
                let let_in = gone.let_in;
                (person.clone(), Departed { was: None, let_in })
            });
            after.departed = gone.chain(inactive).collect();
            return Some(after);
        }
        after.users.clone_from(&known.users);
        after.groups.clone_from(&known.groups);
        after.departed.clone_from(&known.departed);
        for group in after.groups.values_mut() {
            let before = group.gives.take();
            group.gives = gives(&provider.groups, &group.display_name, before, now);
        }
        Some(after)
    }
}

/// What a group of this name gives, from now on if that is something else than `before`.
#[must_use]
pub fn gives(
    mapped: &BTreeMap<String, GroupId>,
    name: &str,
    before: Option<Gives>,
    now: Timestamp,
) -> Option<Gives> {
    let group = mapped.get(name)?.clone();
    let stays = before.filter(|before| before.group == group);
    Some(stays.unwrap_or(Gives { group, since: now }))
}

/// Takes over what a provider provisions.
pub(super) fn provision(
    directory: &mut Directory,
    provider: &ProviderId,
    rows: &Rows,
) -> Result<(), RefusedChange> {
    let refused = || RefusedChange::NotProvisioned(provider.clone());
    let known = directory.provisioning.as_ref();
    let known = known.filter(|known| known.provider == *provider);
    let mut after = known.ok_or_else(refused)?.as_ref().clone();
    after.put(rows).map_err(|_| refused())?;
    directory.provisioning = Some(Arc::new(after));
    Ok(())
}

/// Lets a person go whose account is theirs no more, unless their user still is who they are by name and
/// may act. Whom somebody else names may act from then on, unless the user acts as another person by now;
/// whom nobody else names can do nothing. Nobody's name is dropped. Whether there was anything to let go.
pub(super) fn let_go(directory: &mut Directory, person: &PersonId) -> bool {
    let (Some(known), Some(kept)) = (&directory.provisioning, directory.people.get(person)) else {
        return false;
    };
    // Whom only the provisioning made a person stays one by that alone.
    if kept.provided && kept.accounts.is_empty() {
        return false;
    }
    let mut after = known.as_ref().clone();
    let gone = known.user_of(person).filter(|(_, user)| {
        let name = known.name_of(user);
        !user.active || !name.is_some_and(|name| same_name(&name, person))
    });
    if let Some((id, _)) = gone {
        let user = after.users.get_mut(id);
        let name = user.and_then(|user| user.person.take());
        let was = Some(id.clone());
        let departed = Departed { was, let_in: false };
        after
            .departed
            .extend(name.map(|name| (name, departed.clone())));
    }
    let acts = |id: &UserId| {
        let now = known.users.get(id).and_then(|user| user.person.as_ref());
        let other = now.filter(|now| !same_name(now, person));
        other.is_some_and(|other| {
            let mut people = directory.people.iter();
            people.any(|(name, one)| same_name(name, other) && one.acts())
        })
    };
    for (name, departed) in &mut after.departed {
        if same_name(name, person) {
            departed.let_in = !kept.provided && !departed.was.as_ref().is_some_and(acts);
        }
    }
    let changed = after != **known;
    if changed {
        directory.provisioning = Some(Arc::new(after));
    }
    changed
}

#[cfg(test)]
mod tests {
    use countersign_core::{
        directory::Person,
        id::UserGroupId,
        provisioning::{User, UserGroup},
    };

    use super::*;

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn bundle(more: &str) -> Bundle {
        let text = format!(
            "[group.dba]\n[group.ops]\n[provider.corp]\nissuer = \"https://a.example\"\n\
             client_id = \"c\"\nclient_secret = {{ env = \"S\" }}\n{more}\n"
        );
        Bundle::from_files(&BTreeMap::from([("countersign.toml".to_owned(), text)])).unwrap()
    }

    const SCIM: &str = "scim = { token = { env = \"T\" } }\ngroups = { a = \"dba\" }";

    fn user(name: &str, active: bool) -> User {
        User {
            user_name: name.into(),
            display_name: None,
            external_id: None,
            emails: Vec::new(),
            active,
            person: Some(id(name)),
            since: Timestamp(2),
            created: Timestamp(1),
            modified: Timestamp(1),
        }
    }

    fn provisioned() -> Provisioning {
        let mut all = bundle(SCIM).unprovisioned().unwrap();
        for (name, active) in [("ann", true), ("bob", false)] {
            all.users
                .insert(id(&format!("usr_{name}")), user(name, active));
        }
        let group = UserGroup {
            display_name: "a".into(),
            external_id: None,
            gives: Some(Gives {
                group: id("dba"),
                since: Timestamp(3),
            }),
            members: [(id("usr_ann"), Timestamp(1)), (id("usr_bob"), Timestamp(1))].into(),
            created: Timestamp(1),
            modified: Timestamp(1),
        };
        all.groups.insert(id::<UserGroupId>("grp_a"), group);
        all.departed.insert(id("cat"), Departed::default());
        all
    }

    /// Who acts, and who has which groups since when.
    fn shown(provisioning: Option<Provisioning>) -> String {
        let mut directory = Directory {
            people: BTreeMap::from([(id("Bob"), Person::default())]),
            groups: ["dba", "ops"].map(id).into(),
            provisioning: provisioning.map(Arc::new),
            ..Directory::default()
        };
        for _ in 0..2 {
            directory.settle();
        }
        let people = directory.people.iter().map(|(name, person)| {
            let acts = if person.acts() { "" } else { "-" };
            let groups = person.groups.iter();
            let groups = groups.map(|(group, of)| format!("{group}@{}", of.since.0));
            format!("{acts}{name}({})", groups.collect::<Vec<_>>().join(" "))
        });
        people.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_provisioned_follows_the_configuration() {
        let (was, known) = (bundle(SCIM), provisioned());
        assert_eq!(shown(Some(known.clone())), "-Bob() ann(dba@3) -cat()");
        for (more, expected) in [
            (SCIM.to_owned(), "-Bob() ann(dba@3) -cat()"),
            (SCIM.replace("dba", "ops"), "-Bob() ann(ops@9) -cat()"),
            (SCIM.replace(" a =", " b ="), "-Bob() ann() -cat()"),
            (
                format!("{SCIM}\ntitle = \"x\"\nsession = \"5m\""),
                "-Bob() ann(dba@3) -cat()",
            ),
            (
                format!("{SCIM}\ncreates_people = false"),
                "-Bob() -ann(dba@3) -cat()",
            ),
            // Another way to name people begins anew; whoever had to go stays out.
            (format!("{SCIM}\nperson_claim = \"upn\""), "-Bob() -cat()"),
            (
                SCIM.replace("} }", "}, person = \"email\" }"),
                "-Bob() -cat()",
            ),
            ("groups = { a = \"dba\" }".to_owned(), "Bob()"),
        ] {
            let after = bundle(&more).still_provisioned((&was, Some(&known)), Timestamp(9));
            let expected = expected.replace("-ann(dba@3)", "-ann()");
            assert_eq!(shown(after), expected, "{more}");
        }
    }

    #[test]
    fn rows_make_what_they_were_made_of() {
        let (known, empty) = (provisioned(), bundle(SCIM).unprovisioned().unwrap());
        let mut read = empty.clone();
        read.put(&known.since(None).unwrap()).unwrap();
        assert_eq!(read, known);
        // Back again, in any order of what goes.
        read.put(&empty.since(Some(&known)).unwrap()).unwrap();
        assert_eq!(read, empty);
        let mut fewer = known.clone();
        let members = &mut fewer.groups.get_mut(&id("grp_a")).unwrap().members;
        members.remove(&id::<UserId>("usr_ann"));
        let rows = fewer.since(Some(&known)).unwrap();
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["member/grp_a/usr_ann"]);
        for bad in [
            "user/usr_x",
            "group/grp_x",
            "member/grp_none/usr_x",
            "other/x",
            "user",
            "member/x",
        ] {
            let value = Some(serde_json::Value::from("x"));
            let row = Rows::from([(bad.to_owned(), value)]);
            assert!(known.clone().put(&row).is_err(), "{bad}");
        }
    }
}
