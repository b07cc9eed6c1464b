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
