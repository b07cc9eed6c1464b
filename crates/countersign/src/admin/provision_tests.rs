//! What provisioning gives and takes, and what whoever has its token can't do.

use countersign_core::{
    directory::{AccountId, Person},
    id::{GroupId, RequestId},
};
use countersign_policy::Bundle;
use countersign_store::{CredentialKind, Write};
use serde_json::{Value, json};

use super::*;
use crate::{
    admin::provide::{Unwelcome, let_in, sign_in},
    bundle_files,
    gateway::world,
    identity::{Secret, provider::Vouched},
    scim::tests::{Corp, PROVIDER, TOKEN, id},
};

const ANN: &str = "ann@example.com";
const OLGA: &str = "olga@example.com";
const UMA: &str = "uma@example.com";

#[path = "provision_names_tests.rs"]
mod names;

impl Corp {
    /// The directory now, which is what a start would find.
    async fn directory(&self) -> Arc<Directory> {
        let gateway = &self.0.gateway;
        let active = gateway.active();
        let stored = world::stored(gateway.store.as_ref()).await.unwrap();
        let known = world::hash_of(&active.bundle, &active.directory).unwrap();
        assert_eq!(stored, Some(known), "a start would find another directory");
        active.directory.clone()
    }

    async fn person(&self, name: &str) -> Person {
        let directory = self.directory().await;
        let found = directory.people.get(&name.parse::<PersonId>().unwrap());
        found.unwrap_or_else(|| panic!("nobody is {name}")).clone()
    }

    async fn groups_of(&self, name: &str) -> String {
        let groups: Vec<_> = self.person(name).await.groups.into_keys().collect();
        let names: Vec<_> = groups.iter().map(GroupId::as_str).collect();
        names.join(" ")
    }

    async fn since(&self, name: &str) -> Timestamp {
        let person = self.person(name).await;
        let membership = person.groups[&"dba".parse::<GroupId>().unwrap()];
        assert!(membership.provided && !membership.countersigned);
        membership.since
    }

    /// Signs in at the provider, under a name and with an account there.
    async fn sign_in(&self, name: &str, account: &str) -> anyhow::Result<(Secret, PersonId)> {
        let gateway = &self.0.gateway;
        let active = gateway.active();
        let (id, provider) = active.bundle.providers().iter().next().unwrap();
        let vouched = Vouched {
            account: AccountId::of(&provider.issuer, account),
            person: name.parse().unwrap(),
            groups: Default::default(),
        };
        let (secret, caller) = sign_in(gateway, (id, provider), vouched).await?;
        Ok((secret, caller.person().unwrap().clone()))
    }

    /// Who comes in, or why nobody does.
    async fn enters(&self, name: &str, account: &str) -> String {
        match self.sign_in(name, account).await {
            Ok((_, person)) => person.to_string(),
            Err(error) => match error.downcast_ref::<Unwelcome>() {
                Some(Unwelcome::NotProvisioned(_)) => "not provisioned".into(),
                _ => error.to_string(),
            },
        }
    }

    async fn opens(&self, secret: &Secret, kind: CredentialKind) -> bool {
        self.0
            .gateway
            .identity
            .caller(secret.text(), kind)
            .await
            .is_ok()
    }

    async fn change(&self, change: DirectoryChange) -> anyhow::Result<bool> {
        let gateway = &self.0.gateway;
        let _one_after_the_other = gateway.changing.write().await;
        let now = gateway.clock.now();
        change_directory(gateway, &change, now, true, Vec::new()).await
    }

    async fn unlink(&self, name: &str) -> anyhow::Result<bool> {
        let (person, provider) = (name.parse().unwrap(), "corp".parse().unwrap());
        self.change(DirectoryChange::UnlinkAccount { person, provider })
            .await
    }

    /// Makes another bundle the active one.
    async fn apply(&self, change: impl FnOnce(&str) -> String) {
        let gateway = &self.0.gateway;
        let mut files = gateway.active().bundle.files().clone();
        let main = files.get_mut("countersign.toml").unwrap();
        *main = change(main);
        let bundle = Bundle::from_files(&files);
        let bundle = bundle
            .map_err(|all| bundle_files::problems_error(&all))
            .unwrap();
        let (by, now) = (
            countersign_evidence::body::ActivatedBy::Request,
            gateway.clock.now(),
        );
        let done = crate::admin::replace_bundle(gateway, bundle, None, now, true, by).await;
        done.unwrap();
        gateway.engine.world_changed(BTreeSet::new()).await.unwrap();
        self.directory().await;
    }

    async fn rename(&self, status: u16, path: &str, name: &str) {
        let operation = json!({ "op": "replace", "path": "userName", "value": name });
        self.patch(status, path, operation).await;
    }

    /// Approves a request on its page; whether that was taken.
    async fn approves(&self, secret: &Secret, request: &RequestId) -> bool {
        let cookie = format!("__Host-countersign_session={}", secret.text());
        let page = self.0.get(&format!("/requests/{request}"), &cookie).await;
        if page.status != 200 || !page.text.contains("name=\"act\"") {
            return false;
        }
        let vote = page.form(&[("reason", "looked at it")]);
        let path = format!("/requests/{request}/approve");
        self.0.post(&path, &cookie, vote).await.status == 303
    }

    async fn phase(&self, request: &RequestId) -> &'static str {
        self.0.case(request).await.phase.name()
    }
}

#[tokio::test]
async fn whoever_is_made_inactive_is_out_with_all_that_they_have_and_returns_anew() {
    let corp = Corp::open().await;
    let (ann, bob) = (corp.user(ANN).await, corp.user("bob@example.com").await);
    corp.group("db admins", &[&ann, &bob]).await;
    let (session, person) = corp.sign_in(ANN, "1").await.unwrap();
    let issue = crate::identity::Issue {
        kind: CredentialKind::Token,
        holder: SubjectId::Person(person.clone()),
        issued_by: None,
        lineage: BTreeSet::new(),
        parent: None,
        account: None,
        valid_for: countersign_core::time::Span::minutes(9),
    };
    let (link, _) = {
        let issue = crate::identity::Issue {
            kind: CredentialKind::Link,
            ..issue.clone()
        };
        corp.0.gateway.identity.issue(&issue).await.unwrap()
    };
    let session_of_ann = corp
        .0
        .gateway
        .identity
        .caller(session.text(), CredentialKind::Session)
        .await
        .unwrap();
    let issue = crate::identity::Issue {
        parent: Some(session_of_ann.credential.id.clone()),
        ..issue
    };
    let (token, _) = corp.0.gateway.identity.issue(&issue).await.unwrap();
    let request = corp.0.held(&["true"], "why").await;
    assert!(corp.approves(&session, &request).await);
    assert_eq!(corp.phase(&request).await, "approved");
    corp.set_active(&ann, false).await;
    // Her vote does not count any more; somebody else's would.
    assert_eq!(corp.phase(&request).await, "held");
    assert!(!corp.opens(&session, CredentialKind::Session).await);
    assert!(!corp.opens(&token, CredentialKind::Token).await);
    assert!(!corp.0.gateway.identity.is_current(&session_of_ann).await);
    assert_eq!(
        (
            corp.groups_of(ANN).await.as_str(),
            corp.person(ANN).await.acts()
        ),
        ("", false)
    );
    assert_eq!(corp.enters(ANN, "1").await, "not provisioned");
    corp.set_active(&bob, false).await;
    // Nobody is left who could approve it.
    assert_eq!(corp.phase(&request).await, "unreachable");
    let asked_before = corp.0.gateway.clock.now();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    corp.set_active(&ann, true).await;
    for (secret, kind) in [
        (&session, CredentialKind::Session),
        (&token, CredentialKind::Token),
        (&link, CredentialKind::Link),
    ] {
        assert!(!corp.opens(secret, kind).await, "{kind:?}");
    }
    // Her membership begins anew.
    assert!(corp.since(ANN).await > asked_before);
    let (again, _) = corp.sign_in(ANN, "1").await.unwrap();
    assert!(corp.opens(&again, CredentialKind::Session).await);
    assert!(!corp.opens(&session, CredentialKind::Session).await);
}

#[tokio::test]
async fn a_membership_counts_for_what_is_asked_later_and_its_end_at_once() {
    let corp = Corp::open().await;
    let (ann, bob) = (corp.user(ANN).await, corp.user("bob@example.com").await);
    let dba = corp.group("db admins", &[&bob]).await;
    let (session, _) = corp.sign_in(ANN, "1").await.unwrap();
    let before = corp.0.held(&["true"], "before").await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let value = json!([{ "value": id(&ann) }]);
    corp.patch(
        204,
        &dba,
        json!({ "op": "add", "path": "members", "value": value }),
    )
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert!(!corp.approves(&session, &before).await);
    let after = corp.0.held(&["false"], "after").await;
    assert!(corp.approves(&session, &after).await);
    let since = corp.since(ANN).await;
    // Written again, it goes on.
    corp.patch(
        204,
        &dba,
        json!({ "op": "replace", "path": "members", "value": value }),
    )
    .await;
    assert_eq!(corp.since(ANN).await, since);
    assert_eq!(corp.phase(&before).await, "unreachable");
    corp.patch(204, &dba, json!({ "op": "remove", "path": "members" }))
        .await;
    assert_eq!(corp.groups_of(ANN).await, "");
    assert_eq!(corp.phase(&after).await, "unreachable");
}

#[tokio::test]
async fn a_group_that_is_renamed_to_a_mapped_name_gives_from_then_on() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    let bob = corp.user("bob@example.com").await;
    let crew = corp.group("crew", &[&ann]).await;
    let real = corp.group("db admins", &[&bob]).await;
    let waits = corp.0.held(&["true"], "why").await;
    let now = corp.0.gateway.clock.now();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let named = |name: &str| json!({ "op": "replace", "path": "displayName", "value": name });
    // Not while there is one of that name; what is spelt otherwise is not mapped.
    corp.patch(409, &crew, named("db admins")).await;
    for other in [
        "DB admins",
        "db admins ",
        "db\u{a0}admins",
        "db \u{430}dmins",
    ] {
        corp.patch(204, &crew, named(other)).await;
        assert_eq!(corp.groups_of(ANN).await, "", "{other}");
    }
    corp.patch(204, &real, named("former")).await;
    assert_eq!(corp.groups_of("bob@example.com").await, "");
    assert_eq!(corp.phase(&waits).await, "unreachable");
    corp.patch(204, &crew, named("db admins")).await;
    assert!(corp.since(ANN).await > now);
    // Away and back, it begins anew.
    let first = corp.since(ANN).await;
    corp.patch(204, &crew, named("crew")).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    corp.patch(204, &crew, named("db admins")).await;
    assert!(corp.since(ANN).await > first);
}

#[tokio::test]
async fn what_files_and_administrators_gave_stays_theirs() {
    let corp = Corp::open().await;
    let olga = corp.user("OLGA@example.com").await;
    assert_eq!(corp.groups_of(OLGA).await, "admins ops");
    let crew = corp.group("operators", &[&olga]).await;
    let person = corp.person(OLGA).await;
    assert!(!person.provided && !person.groups[&"ops".parse::<GroupId>().unwrap()].provided);
    corp.call(204, "DELETE", &crew, Value::Null).await;
    assert_eq!(corp.groups_of(OLGA).await, "admins ops");
    // Whom they disabled stays so.
    let disable = DirectoryChange::DisablePerson {
        person: OLGA.parse().unwrap(),
    };
    corp.change(disable).await.unwrap();
    corp.set_active(&olga, false).await;
    corp.set_active(&olga, true).await;
    assert!(!corp.person(OLGA).await.acts());
    assert!(corp.enters(OLGA, "1").await.contains("stopped or disabled"));
    let enable = DirectoryChange::EnablePerson {
        person: OLGA.parse().unwrap(),
    };
    corp.change(enable.clone()).await.unwrap();
    assert_eq!(corp.enters(OLGA, "1").await, OLGA);
    // The other way round, too: nobody enables whom the provider made inactive.
    corp.set_active(&olga, false).await;
    corp.change(enable).await.unwrap();
    assert!(!corp.person(OLGA).await.acts());
    // Whom nobody provisions is left alone.
    let session = corp.0.sign_in(UMA).await;
    corp.0.get("/inbox", &session).await.is(200);
    // What only the provider gives, nobody takes away here.
    let ann = corp.user(ANN).await;
    corp.group("db admins", &[&ann]).await;
    let (person, group) = (ANN.parse().unwrap(), "dba".parse().unwrap());
    let leave = DirectoryChange::RemoveMembership { person, group };
    assert!(
        leave
            .check_proposed(corp.directory().await.as_ref())
            .is_err()
    );
    assert!(corp.change(leave).await.is_err());
    assert_eq!(corp.groups_of(ANN).await, "dba");
}

#[tokio::test]
async fn whoever_has_the_machine_lets_in_whom_the_token_keeps_out() {
    let corp = Corp::open().await;
    let olga = corp.user(OLGA).await;
    let session = corp.0.sign_in(OLGA).await;
    corp.0.get("/inbox", &session).await.is(200);
    corp.set_active(&olga, false).await;
    corp.0.get("/inbox", &session).await.is(401);
    assert!(
        let_in(&corp.0.gateway, &OLGA.parse().unwrap())
            .await
            .unwrap()
    );
    assert!(corp.person(OLGA).await.acts());
    let link = corp.0.link(OLGA).await;
    corp.0.get(&link, "").await.is(200);
    corp.0.get("/inbox", &session).await.is(401);
    // Who is nothing but provisioned has to be named by somebody else first.
    let ann = corp.user(ANN).await;
    corp.set_active(&ann, false).await;
    let refused = let_in(&corp.0.gateway, &ANN.parse().unwrap()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("only because they are provisioned"),
        "{refused}"
    );
    // Said again, it is not so again; only a user who may act is her.
    corp.set_active(&olga, false).await;
    assert!(corp.person(OLGA).await.acts());
    corp.call(204, "DELETE", &olga, Value::Null).await;
    assert!(corp.person(OLGA).await.acts());
    let again = corp.user(OLGA).await;
    corp.call(204, "DELETE", &again, Value::Null).await;
    assert!(!corp.person(OLGA).await.acts());
    assert!(
        let_in(&corp.0.gateway, &OLGA.parse().unwrap())
            .await
            .unwrap()
    );
    assert!(corp.person(OLGA).await.acts());
}

#[tokio::test]
async fn another_configuration_lets_stand_what_it_would_give() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    let bob = corp.user("bob@example.com").await;
    corp.set_active(&bob, false).await;
    corp.group("db admins", &[&ann]).await;
    let first = corp.since(ANN).await;
    corp.apply(|main| format!("{main}# nothing\n")).await;
    assert_eq!(corp.since(ANN).await, first);
    let mapping = "\"db admins\" = \"dba\", ";
    corp.apply(|main| main.replace(mapping, "")).await;
    assert_eq!(corp.groups_of(ANN).await, "");
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    corp.apply(|main| main.replace("groups = { \"op", &format!("groups = {{ {mapping}\"op")))
        .await;
    // Mapped again, it gives anew.
    assert!(corp.since(ANN).await > first);
    corp.apply(|main| main.replace("client_id =", "creates_people = false\nclient_id ="))
        .await;
    assert!(!corp.person(ANN).await.acts());
    assert_eq!(
        corp.enters(ANN, "1").await,
        format!(
            "`{ANN}` is nobody here: an administrator adds \
        you first; or, if that is not your name here, unlinks your account: countersign people unlink \
        {ANN} PROVIDER"
        )
    );
    corp.apply(|main| main.replace("creates_people = false\n", ""))
        .await;
    assert!(corp.person(ANN).await.acts());
    // Another issuer has provisioned nobody; whom the one before made go stays out.
    corp.apply(|main| main.replace("login.example.com", "elsewhere.example.com"))
        .await;
    assert_eq!(corp.get("/Users").await["totalResults"], 0);
    assert!(!corp.person("bob@example.com").await.acts());
    corp.user(ANN).await;
    // Without provisioning its people are nobody, and nothing is kept of them.
    corp.apply(|main| main.replace("scim = { token = { file = \"scim.token\" } }", ""))
        .await;
    assert!(
        !corp
            .directory()
            .await
            .people
            .contains_key(&ANN.parse::<PersonId>().unwrap())
    );
    assert!(corp.0.gateway.store.provisioned().await.unwrap().is_empty());
}

#[tokio::test]
async fn rows_that_somebody_wrote_into_the_database_are_built_upon_by_nothing() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    let dba = corp.group("db admins", &[]).await;
    let key = format!("member/{}/{}", id(&dba), id(&ann));
    let write = Write::Provision {
        key,
        value: Some("1".into()),
    };
    corp.0.gateway.store.commit(vec![write]).await.unwrap();
    let body = json!({ "Operations": [{ "op": "replace", "path": "displayName", "value": "x" }] });
    corp.call(503, "PATCH", &ann, body).await;
    let active = corp.0.gateway.active();
    assert!(
        active.directory.people[&ANN.parse::<PersonId>().unwrap()]
            .groups
            .is_empty()
    );
}

/// Who is not provisioned any more can be erased, with all that was.
#[tokio::test]
async fn an_erased_person_leaves_nothing_of_what_was_provisioned() {
    let corp = Corp::open().await;
    let body = json!({
        "userName": ANN, "externalId": "ext-of-ann", "displayName": "Ann Quartz",
        "emails": [{ "value": "private@home.example" }],
    });
    let made = corp.call(201, "POST", "/Users", body).await;
    let ann = format!("/Users/{}", made["id"].as_str().unwrap());
    let bob = corp.user("bob@example.com").await;
    corp.group("db admins", &[&ann, &bob]).await;
    let olga = corp.0.sign_in(OLGA).await;
    let erase = async || {
        let page = corp.0.get("/people", &olga).await;
        let csrf = page.field("csrf");
        let body = json!({ "operation": "person-erase", "arguments": { "person": ANN } });
        corp.0
            .json("/v1/proposals", (&olga, &csrf), &body.to_string())
            .await
    };
    // Who is called that by now and is somebody else stays, and stays out.
    for (user, name, account) in [(&ann, ANN, "1"), (&bob, "bob@example.com", "2")] {
        assert_eq!(corp.enters(name, account).await, name);
        corp.set_active(user, name == ANN).await;
    }
    corp.rename(200, &ann, "ann.quartz@example.com").await;
    corp.rename(200, &bob, ANN).await;
    // Not while they may act.
    assert_ne!(erase().await.status, 200);
    corp.set_active(&ann, false).await;
    let done = erase().await;
    assert_eq!(done.status, 200, "{}", done.text);
    let rows = corp.0.gateway.store.provisioned().await.unwrap();
    let rows = format!("{rows:?}");
    for gone in ["ext-of-ann", "Quartz", "quartz", "private@home", id(&ann)] {
        assert!(!rows.contains(gone), "{gone}: {rows}");
    }
    assert!(
        !corp
            .directory()
            .await
            .people
            .contains_key(&ANN.parse::<PersonId>().unwrap())
    );
    corp.call(404, "GET", &ann, Value::Null).await;
    assert!(!corp.person("bob@example.com").await.acts());
    corp.set_active(&bob, true).await;
    assert_eq!(corp.groups_of("bob@example.com").await, "dba");
    corp.rename(200, &bob, "bob@example.com").await;
    // Provisioned again, they are somebody new.
    corp.user(ANN).await;
    assert_eq!(corp.enters(ANN, "9").await, ANN);
}

/// As many users as that many calls would make, in one.
async fn seed(corp: &Corp, many: u128) {
    corp.user(ANN).await;
    let gateway = &corp.0.gateway;
    let active = gateway.active();
    let (provider, settings) = active.bundle.providers().iter().next().unwrap();
    let seeded = provision(gateway, (provider, settings), None, |draft| {
        let (_, ann) = draft.after.users.iter().next().unwrap();
        let ann = ann.clone();
        for number in 0..many {
            let user_name = format!("user{number}@example.com");
            let user = User {
                person: Some(user_name.parse().unwrap()),
                user_name,
                ..ann.clone()
            };
            draft.after.users.insert(UserId::from_bits(number), user);
        }
        Ok(())
    });
    seeded.await.unwrap();
}

/// One call with ten times as many people takes about ten times as long, not a hundred times. The long
/// tests look at ten thousand.
#[tokio::test]
async fn a_call_takes_as_long_as_there_are_people_and_no_longer() {
    let full = std::env::var_os("COUNTERSIGN_FULL").is_some();
    let mut took = Vec::new();
    for many in if full { [1_000, 10_000] } else { [100, 1_000] } {
        let corp = Corp::open().await;
        seed(&corp, many).await;
        let timed = async |what: &str, method: &str, path: &str, body: Value| {
            let body = body.to_string().into();
            let begin = std::time::Instant::now();
            let answer = corp.send(method, path, TOKEN, body).await;
            let spent = begin.elapsed();
            assert!(answer.status.is_success(), "{what}: {}", answer.text);
            println!("{many} users: {what}: {spent:?}");
            spent
        };
        let one = |op: Value| json!({ "Operations": [op] });
        let all = (0..many).map(|number| json!({ "value": UserId::from_bits(number) }));
        let all: Vec<_> = all.collect();
        let member = json!([{ "value": UserId::from_bits(7) }]);
        let dba = corp.group("db admins", &[]).await;
        let user = format!("/Users/{}", UserId::from_bits(9));
        let more = "/Users?filter=userName%20sw%20%22user5%22%20and%20active%20eq%20true&count=1";
        for (what, path, operation) in [
            (
                "add all",
                &dba,
                json!({ "op": "add", "path": "members", "value": all }),
            ),
            (
                "remove one",
                &dba,
                json!({ "op": "remove", "path": "members", "value": member }),
            ),
            (
                "add one",
                &dba,
                json!({ "op": "add", "path": "members", "value": member }),
            ),
            (
                "rename",
                &user,
                json!({ "op": "add", "path": "displayName", "value": "x" }),
            ),
            (
                "deactivate",
                &user,
                json!({ "op": "replace", "path": "active", "value": false }),
            ),
        ] {
            let spent = timed(what, "PATCH", path, one(operation)).await;
            took.extend((what == "deactivate").then_some(spent));
        }
        timed(
            "find by name",
            "GET",
            "/Users?filter=userName%20eq%20%22user5%22",
            json!({}),
        )
        .await;
        timed("find by more", "GET", more, json!({})).await;
        timed("the group", "GET", &dba, json!({})).await;
        let begin = std::time::Instant::now();
        world::stored(corp.0.gateway.store.as_ref()).await.unwrap();
        println!("{many} users: read back and hash: {:?}", begin.elapsed());
    }
    assert!(took[1] < took[0] * 30, "{took:?}");
}
