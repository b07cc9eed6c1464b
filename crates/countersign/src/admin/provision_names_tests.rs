//! Who a user is here, whatever they are called.

use countersign_store::CredentialKind;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn only_whoever_is_provisioned_and_active_signs_in() {
    let corp = Corp::open().await;
    assert_eq!(corp.enters(ANN, "1").await, "not provisioned");
    // Nor somebody whom the files name.
    assert_eq!(corp.enters(OLGA, "2").await, "not provisioned");
    let ann = corp.user("Ann@Example.com").await;
    assert_eq!(corp.enters(ANN, "1").await, ANN);
    corp.call(204, "DELETE", &ann, Value::Null).await;
    assert_eq!(corp.enters(ANN, "1").await, "not provisioned");
    assert!(!corp.person(ANN).await.acts());
    let made = json!({ "userName": "bob@example.com", "active": false });
    corp.call(201, "POST", "/Users", made).await;
    assert_eq!(corp.enters("bob@example.com", "3").await, "not provisioned");
    // A name that is nobody's makes nobody.
    assert_eq!(corp.enters("eve@example.com", "4").await, "not provisioned");
    assert!(
        !corp
            .directory()
            .await
            .people
            .contains_key(&"eve@example.com".parse::<PersonId>().unwrap())
    );
}

#[tokio::test]
async fn a_user_who_is_renamed_stays_who_they_are_and_nobody_takes_their_place() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    corp.group("db admins", &[&ann]).await;
    assert_eq!(corp.enters(ANN, "1").await, ANN);
    corp.rename(200, &ann, "ann.new@example.com").await;
    assert_eq!(corp.enters("ann.new@example.com", "1").await, ANN);
    let people = corp.directory().await.people.len();
    // Her former name goes to a colleague: they are not her, and not somebody else of her name.
    let colleague = json!({ "userName": ANN });
    let refused = corp.call(409, "POST", "/Users", colleague.clone()).await;
    assert_eq!(refused["scimType"], "uniqueness");
    assert_eq!(corp.enters(ANN, "2").await, "not provisioned");
    assert_eq!(corp.directory().await.people.len(), people);
    // Once an administrator has taken the account from that name, it is free; she is her new name.
    corp.unlink(ANN).await.unwrap();
    assert_eq!(
        corp.enters("ann.new@example.com", "1").await,
        "not provisioned"
    );
    corp.set_active(&ann, false).await;
    corp.set_active(&ann, true).await;
    assert_eq!(
        corp.enters("ann.new@example.com", "1").await,
        "ann.new@example.com"
    );
    corp.call(201, "POST", "/Users", colleague).await;
    assert_eq!(corp.enters(ANN, "2").await, ANN);
    assert_eq!(corp.groups_of(ANN).await, "");
    assert_eq!(corp.groups_of("ann.new@example.com").await, "dba");
}

/// An insider with the token renames users until one of them is somebody else.
#[tokio::test]
async fn a_user_renamed_to_somebody_elses_name_is_not_them() {
    let corp = Corp::open().await;
    let (ann, bob) = (corp.user(ANN).await, corp.user("bob@example.com").await);
    corp.rename(409, &bob, ANN).await;
    corp.rename(409, &bob, "ANN@example.com").await;
    assert_eq!(corp.enters(ANN, "1").await, ANN);
    corp.rename(200, &ann, "ann.new@example.com").await;
    // Bob never signed in, and the name is free; whoever ann was is not.
    corp.rename(409, &bob, ANN).await;
    assert_eq!(corp.enters("bob@example.com", "2").await, "bob@example.com");
    // He did sign in: the name changes, and he stays who he is.
    corp.rename(200, &bob, ANN).await;
    assert_eq!(corp.enters(ANN, "2").await, "bob@example.com");
    assert_eq!(corp.enters("ann.new@example.com", "1").await, ANN);
    // Nobody comes in as the administrator whom the files name, by a user of their name.
    corp.rename(200, &bob, OLGA).await;
    assert_eq!(corp.enters(OLGA, "2").await, "bob@example.com");
    assert_eq!(corp.enters(OLGA, "3").await, "not provisioned");
}

#[tokio::test]
async fn a_name_that_changes_before_anybody_signs_in_makes_no_second_person_who_acts() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    corp.group("db admins", &[&ann]).await;
    corp.rename(200, &ann, "ann.new@example.com").await;
    assert_eq!(corp.groups_of("ann.new@example.com").await, "dba");
    assert_eq!(corp.groups_of(ANN).await, "");
    assert!(!corp.person(ANN).await.acts());
    assert_eq!(
        corp.enters("ann.new@example.com", "1").await,
        "ann.new@example.com"
    );
    assert_eq!(corp.enters(ANN, "2").await, "not provisioned");
    // Somebody who had a link, or anything of their own, stays the person.
    let bob = corp.user("bob@example.com").await;
    let _link = corp.0.link("bob@example.com").await;
    corp.rename(200, &bob, "bob.new@example.com").await;
    assert!(corp.person("bob@example.com").await.acts());
    assert_eq!(
        corp.enters("bob.new@example.com", "3").await,
        "not provisioned"
    );
    let cat = corp.user("cat@example.com").await;
    let (person, group) = ("cat@example.com".parse().unwrap(), "ops".parse().unwrap());
    corp.change(DirectoryChange::AddMembership { person, group })
        .await
        .unwrap();
    corp.rename(200, &cat, "cat.new@example.com").await;
    assert!(corp.person("cat@example.com").await.acts());
    // Somebody else who gets the name is not them.
    assert_eq!(corp.enters("cat@example.com", "4").await, "not provisioned");
}

#[tokio::test]
async fn names_that_look_alike_are_one_person_or_refused() {
    let corp = Corp::open().await;
    corp.user(ANN).await;
    let people = corp.directory().await.people.len();
    for twin in ["ANN@example.com", "Ann@Example.Com"] {
        corp.call(409, "POST", "/Users", json!({ "userName": twin }))
            .await;
    }
    for odd in [
        "\u{430}nn@example.com",
        "ann@ex\u{430}mple.com",
        "ann @example.com",
        "ann@example.com\u{200b}",
        "\u{ff41}nn@example.com",
        "bob\u{202e}@example.com",
        "a`b",
        "",
        "   ",
    ] {
        corp.call(400, "POST", "/Users", json!({ "userName": odd }))
            .await;
    }
    // `K` is one letter in small letters, and another one by Unicode.
    corp.call(
        400,
        "POST",
        "/Users",
        json!({ "userName": "\u{212a}im@example.com" }),
    )
    .await;
    assert_eq!(corp.directory().await.people.len(), people);
    let refused = corp.change(DirectoryChange::AddPerson {
        person: "ANN@example.com".parse().unwrap(),
        groups: BTreeSet::new(),
        manager: None,
    });
    assert!(
        refused
            .await
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
}

#[tokio::test]
async fn deleted_and_made_again_they_are_who_they_were_with_the_same_account_only() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    let dba = corp.group("db admins", &[&ann]).await;
    let (session, _) = corp.sign_in(ANN, "1").await.unwrap();
    corp.call(204, "DELETE", &ann, Value::Null).await;
    assert!(!corp.opens(&session, CredentialKind::Session).await);
    let again = corp.user(ANN).await;
    assert_ne!(ann, again);
    corp.call(404, "GET", &ann, Value::Null).await;
    assert_eq!(corp.groups_of(ANN).await, "");
    assert!(corp.enters(ANN, "2").await.contains("another account"));
    assert_eq!(corp.enters(ANN, "1").await, ANN);
    assert!(!corp.opens(&session, CredentialKind::Session).await);
    let value = json!([{ "value": id(&ann) }]);
    corp.patch(
        400,
        &dba,
        json!({ "op": "add", "path": "members", "value": value }),
    )
    .await;
}

#[tokio::test]
async fn who_signed_in_before_provisioning_began_waits_for_it() {
    let without = PROVIDER.replace("scim =", "# scim =");
    let corp = Corp::open_with(&without).await;
    let (session, _) = corp.sign_in(ANN, "1").await.unwrap();
    assert!(corp.person(ANN).await.acts());
    corp.apply(|main| main.replace("# scim =", "scim =")).await;
    assert!(!corp.opens(&session, CredentialKind::Session).await);
    assert!(!corp.person(ANN).await.acts());
    assert_eq!(corp.enters(ANN, "1").await, "not provisioned");
    corp.user(ANN).await;
    assert!(corp.person(ANN).await.acts());
    assert!(!corp.opens(&session, CredentialKind::Session).await);
    assert_eq!(corp.enters(ANN, "1").await, ANN);
}

fn change(value: Value) -> DirectoryChange {
    serde_json::from_value(value).unwrap()
}

/// A start reads back whatever is kept of somebody whose user is gone.
#[tokio::test]
async fn whatever_names_somebody_who_is_gone_is_read_back_after_an_unlink() {
    let join = json!({ "change": "add_membership", "person": ANN, "group": "ops" });
    let leave = json!({ "change": "remove_membership", "person": ANN, "group": "ops" });
    let disable = json!({ "change": "disable_person", "person": ANN });
    let enable = json!({ "change": "enable_person", "person": ANN });
    let agent = json!({ "change": "add_agent", "agent": "helper", "owner": ANN });
    let report = json!({ "change": "add_person", "person": "rob@example.com", "manager": ANN });
    let add = json!({ "change": "add_person", "person": ANN, "groups": ["ops"] });
    for (signs_in, changes) in [
        (true, vec![&join]),
        (true, vec![&disable, &enable, &agent, &report]),
        (false, vec![&join, &leave, &add]),
        (true, vec![&add, &agent]),
    ] {
        for gone in ["deleted", "renamed"] {
            let corp = Corp::open().await;
            let ann = corp.user(ANN).await;
            for one in &changes {
                corp.change(change((*one).clone())).await.unwrap();
            }
            if signs_in {
                assert_eq!(corp.enters(ANN, "1").await, ANN);
            }
            match gone {
                "deleted" => drop(corp.call(204, "DELETE", &ann, Value::Null).await),
                _ => corp.rename(200, &ann, "ann.new@example.com").await,
            }
            corp.unlink(ANN).await.unwrap();
            // This compares with what a start would find.
            let named = changes.contains(&&add);
            assert_eq!(corp.person(ANN).await.acts(), named, "{gone}: {changes:?}");
            let other = json!({ "change": "add_membership", "person": OLGA, "group": "dba" });
            corp.change(change(other)).await.unwrap();
            corp.user("bob@example.com").await;
            corp.apply(|main| format!("{main}# nothing\n")).await;
            corp.person(ANN).await;
        }
    }
}

/// However a change that does not fit came to be stored, the files get the gateway going again.
#[tokio::test]
async fn a_recovery_comes_through_where_a_stored_change_does_not_fit() {
    let corp = Corp::open().await;
    let gateway = &corp.0.gateway;
    let entry = countersign_store::DirectoryEntry {
        change: json!({ "change": "enable_person", "person": "nobody@example.com" }),
        at: gateway.clock.now(),
        countersigned: false,
    };
    let write = Write::ChangeDirectory(entry);
    gateway.store.commit(vec![write]).await.unwrap();
    let stuck = world::stored(gateway.store.as_ref()).await.unwrap_err();
    assert!(stuck.to_string().contains("does not fit"), "{stuck}");
    let (by, now) = (
        countersign_evidence::body::ActivatedBy::Recovery,
        gateway.clock.now(),
    );
    let bundle = Bundle::from_files(gateway.active().bundle.files()).unwrap();
    let done = crate::admin::replace_bundle(gateway, bundle, None, now, false, by).await;
    done.unwrap();
    corp.directory().await;
    corp.user(ANN).await;
}

/// Removed at the provider, nobody acts who is nothing but provisioned, with whatever groups of their own.
#[tokio::test]
async fn an_unlink_brings_nobody_back_who_is_gone_at_the_provider() {
    for gone in ["deleted", "inactive", "renamed"] {
        let corp = Corp::open().await;
        let ann = corp.user(ANN).await;
        assert_eq!(corp.enters(ANN, "1").await, ANN);
        let join = json!({ "change": "add_membership", "person": ANN, "group": "ops" });
        corp.change(change(join)).await.unwrap();
        match gone {
            "deleted" => drop(corp.call(204, "DELETE", &ann, Value::Null).await),
            "inactive" => corp.set_active(&ann, false).await,
            _ => corp.rename(200, &ann, "ann.new@example.com").await,
        }
        corp.unlink(ANN).await.unwrap();
        assert!(!corp.person(ANN).await.acts(), "{gone}");
        let refused = let_in(&corp.0.gateway, &ANN.parse().unwrap()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("only because they are provisioned"),
            "{refused}"
        );
        if gone == "renamed" {
            // The same account is the person of the new name, who is the only one that acts.
            let said = json!({ "op": "replace", "path": "displayName", "value": "Ann" });
            corp.patch(200, &ann, said).await;
            let new = "ann.new@example.com";
            assert_eq!(corp.enters(new, "1").await, new);
            let add = json!({ "change": "add_person", "person": ANN });
            corp.change(change(add)).await.unwrap();
            let again = let_in(&corp.0.gateway, &ANN.parse().unwrap()).await;
            assert!(
                again
                    .unwrap_err()
                    .to_string()
                    .contains("acts under another name")
            );
            assert!(!corp.person(ANN).await.acts());
        }
    }
}

#[tokio::test]
async fn a_user_is_nobody_new_while_who_they_were_acts_without_them() {
    let corp = Corp::open().await;
    let olga = corp.user(OLGA).await;
    assert_eq!(corp.enters(OLGA, "1").await, OLGA);
    corp.rename(200, &olga, "olga.new@example.com").await;
    corp.unlink(OLGA).await.unwrap();
    assert!(corp.person(OLGA).await.acts());
    let said = json!({ "op": "replace", "path": "displayName", "value": "Olga" });
    corp.patch(409, &olga, said.clone()).await;
    assert_eq!(
        corp.enters("olga.new@example.com", "1").await,
        "not provisioned"
    );
    // Inactive they can be made at any time.
    corp.set_active(&olga, false).await;
    let disable = json!({ "change": "disable_person", "person": OLGA });
    corp.change(change(disable)).await.unwrap();
    corp.set_active(&olga, true).await;
    let enable = json!({ "change": "enable_person", "person": OLGA });
    corp.change(change(enable)).await.unwrap();
    assert!(corp.person("olga.new@example.com").await.acts());
    assert!(!corp.person(OLGA).await.acts());
}

#[tokio::test]
async fn whom_the_files_spell_in_capitals_is_never_left_behind() {
    let corp = Corp::open().await;
    let bob = corp.user("bob@example.com").await;
    corp.apply(|main| format!("{main}[person.\"Bob@example.com\"]\ngroups = [\"dba\"]\n"))
        .await;
    corp.rename(200, &bob, "bob.new@example.com").await;
    assert!(corp.person("Bob@example.com").await.acts());
    let evil = corp.user("evil@example.com").await;
    corp.rename(409, &evil, "bob@example.com").await;
    let people = corp.directory().await.people.len();
    corp.set_active(&bob, false).await;
    assert!(!corp.person("Bob@example.com").await.acts());
    assert_eq!(corp.directory().await.people.len(), people);
}

/// Ten thousand addresses are refused without looking at one, while nobody else waits.
#[tokio::test]
async fn many_addresses_are_refused_before_anybody_waits_for_them() {
    let corp = Corp::open().await;
    let ann = corp.user(ANN).await;
    let many: Vec<_> = (0..10_000).map(|one| format!("{one}@x")).collect();
    let _held = corp.0.gateway.changing.write().await;
    for op in ["add", "replace", "remove"] {
        let body = json!({ "op": op, "path": "emails", "value": many });
        corp.patch(400, &ann, body).await;
    }
    let body = json!({ "userName": "bob@example.com", "emails": many });
    corp.call(400, "POST", "/Users", body).await;
}

/// Whoever has the token waits for a change of the provider's settings, and provisions everybody anew.
#[tokio::test]
async fn whoever_was_disabled_or_stopped_stays_so_under_any_configuration() {
    let scim = "scim = { token = { file = \"scim.token\" } }";
    let email = scim.replace("} }", "}, person = \"email\" }");
    for other in ["", email.as_str()] {
        let corp = Corp::open().await;
        corp.user(ANN).await;
        corp.user("bob@example.com").await;
        for one in [
            json!({ "change": "disable_person", "person": ANN }),
            json!({ "change": "add_agent", "agent": "helper", "owner": "bob@example.com" }),
            json!({ "change": "stop_agent", "agent": "helper" }),
        ] {
            corp.change(change(one)).await.unwrap();
        }
        corp.apply(|main| main.replace(scim, other)).await;
        assert!(!corp.person(ANN).await.acts());
        corp.apply(|main| {
            main.replace("client_id =", &format!("{scim}\nclient_id ="))
                .replace(&email, "")
        })
        .await;
        assert!(!corp.person(ANN).await.acts());
        assert!(!corp.person("bob@example.com").await.acts());
        corp.user(ANN).await;
        corp.user("bob@example.com").await;
        assert!(corp.person(ANN).await.disabled);
        assert!(corp.enters(ANN, "1").await.contains("disabled"));
        assert_eq!(corp.enters("bob@example.com", "2").await, "bob@example.com");
        let directory = corp.directory().await;
        assert!(directory.agents[&"helper".parse().unwrap()].disabled);
        let enable = json!({ "change": "enable_person", "person": ANN });
        corp.change(change(enable)).await.unwrap();
        assert_eq!(corp.enters(ANN, "1").await, ANN);
    }
}
