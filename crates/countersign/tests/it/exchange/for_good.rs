//! What holds after the next change of settings: what was given back stays given back, and what was
//! ended stays ended.

use std::collections::BTreeMap;

use countersign_evidence::body::Body;
use serde_json::{Value, json};

use super::{Shop, Signer};
use crate::support::{Answer, Caller, Lab};

type Files = BTreeMap<String, String>;

/// A change of the configuration's text.
fn swap(from: &str, to: &str) -> impl FnOnce(&mut Files) + use<> {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |files| {
        let config = files.get_mut("countersign.toml").unwrap();
        assert!(config.contains(&from), "{from}");
        *config = config.replacen(&from, &to, 1);
    }
}

/// A change that has nothing to do with anybody.
async fn unrelated(lab: &Lab) {
    lab.apply(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str("\n# a word\n");
    })
    .await;
}

async fn ask(caller: &Caller) -> u16 {
    caller.get("/v1/whoami").await.status
}

async fn groups_of(lab: &Lab, person: &str) -> Vec<String> {
    let active = lab.gateway.active();
    let known = &active.directory.people[&person.parse().unwrap()];
    known.groups.keys().map(ToString::to_string).collect()
}

/// Whom and what an administrator gave back keeps it, whatever is applied later.
#[tokio::test]
async fn what_was_given_back_is_not_taken_by_the_next_configuration() {
    let shop = Shop::new().await;
    let lab = &shop.lab;
    let ada = lab.session("ada").await;
    let take = async |operation: &str, arguments: Value| {
        ada.propose(operation, arguments).await.expect(200)
    };
    let give = async |operation: &str, arguments: Value| {
        lab.change_by("ada", operation, arguments).await;
    };
    let (agent, workload) = (
        json!({ "agent": "shop" }),
        json!({ "workload": "migrator" }),
    );
    let (pat, ray) = (
        json!({ "person": "pat" }),
        json!({ "person": "ray", "group": "reviewers" }),
    );
    for (stop, start, whom) in [
        ("agent-stop", "agent-start", &agent),
        ("agent-stop", "agent-start", &workload),
        ("person-disable", "person-enable", &pat),
        ("membership-remove", "membership-add", &ray),
    ] {
        take(stop, whom.clone()).await;
        give(start, whom.clone()).await;
    }
    unrelated(lab).await;
    unrelated(lab).await;
    shop.bot().await;
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    shop.exchange(&pod).await.expect(200);
    lab.session("pat").await.get("/v1/whoami").await.expect(200);
    assert_eq!(groups_of(lab, "ray").await, ["admins", "reviewers"]);
    // What is taken again stays so.
    for (stop, whom) in [
        ("agent-stop", &agent),
        ("person-disable", &pat),
        ("membership-remove", &ray),
    ] {
        take(stop, whom.clone()).await;
    }
    unrelated(lab).await;
    assert_eq!(shop.exchange(&shop.job_token()).await.status, 400);
    assert!(lab.gateway.active().directory.people[&"pat".parse().unwrap()].disabled);
    assert_eq!(groups_of(lab, "ray").await, ["admins"]);
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    shop.exchange(&pod).await.expect(400);
    shop.lab.verify().await;
}

/// What was given while running and taken back does not come of an unrelated change, nor does whoever
/// the files don't name any more.
#[tokio::test]
async fn what_was_taken_back_stays_taken() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let member = |group: &str| json!({ "person": "bob", "group": group });
    lab.change_by("ada", "membership-add", member("security"))
        .await;
    ada.propose("membership-remove", member("security"))
        .await
        .expect(200);
    // Of somebody whom the files don't name as well.
    lab.change_by(
        "ada",
        "person-add",
        json!({ "person": "new", "groups": ["security"] }),
    )
    .await;
    for (operation, group) in [
        ("membership-remove", "security"),
        ("membership-add", "security"),
    ] {
        let body = json!({ "person": "new", "group": group });
        match operation {
            "membership-add" => drop(lab.change_by("ada", operation, body).await),
            _ => drop(ada.propose(operation, body).await.expect(200)),
        }
    }
    ada.propose(
        "membership-remove",
        json!({ "person": "new", "group": "security" }),
    )
    .await
    .expect(200);
    unrelated(&lab).await;
    assert_eq!(groups_of(&lab, "bob").await, ["reviewers"]);
    assert_eq!(groups_of(&lab, "new").await, Vec::<String>::new());
    // Enabled again, and out of the files: nobody.
    ada.propose("person-disable", json!({ "person": "cyd" }))
        .await
        .expect(200);
    lab.change_by("ada", "person-enable", json!({ "person": "cyd" }))
        .await;
    lab.apply(swap(
        "[person.cyd]\ngroups = [\"reviewers\", \"security\"]\n",
        "",
    ))
    .await;
    let active = lab.gateway.active();
    assert!(
        active
            .directory
            .active_person(&"cyd".parse().unwrap())
            .is_none()
    );
    lab.verify().await;
}

/// The names of the credentials whose end was recorded one by one.
fn recorded(lab: &Lab) -> Vec<String> {
    let records = lab.records().into_iter();
    let names = records.filter_map(|entry| match entry.leaf.body {
        Body::CredentialRevoked(revoked) => Some(revoked.credential.to_string()),
        _ => None,
    });
    names.collect()
}

/// What a change ended is over, and the change in the other direction does not bring it back.
#[tokio::test]
async fn what_a_configuration_ended_stays_ended() {
    let shop = Shop::with("[agent.long]\nowner = \"olga\"\nlong_lived_tokens = \"30d\"\n").await;
    let lab = &shop.lab;
    let ada = lab.session("ada").await;
    let long = json!({ "agent": "long", "valid_for": "30d" });
    let issued = ada.propose("agent-token", long).await.expect(200);
    let long = shop.caller(issued.body["result"]["token"].as_str().unwrap());
    let credential = issued.body["result"]["credential"]
        .as_str()
        .unwrap()
        .to_owned();
    let allowed = "long_lived_tokens = \"30d\"\n";
    lab.apply(swap(allowed, "# taken\n")).await;
    assert_eq!(ask(&long).await, 401);
    assert!(recorded(lab).contains(&credential));
    lab.apply(swap("# taken\n", allowed)).await;
    assert_eq!(ask(&long).await, 401, "given again");

    // A key.
    let own = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    let own = shop.caller_of(&shop.assert(&own).await);
    let (old, new) = (
        shop.own.jwk().to_string(),
        Signer::new("x").jwk().to_string(),
    );
    lab.apply(swap(&old, &new)).await;
    assert_eq!(ask(&own).await, 401);
    lab.apply(swap(&new, &old)).await;
    assert_eq!(ask(&own).await, 401, "the old key again");

    // Somebody, with their session, what machines do for them, and the delegation itself.
    let (pat, token) = (lab.session("pat").await, lab.token("person:pat").await);
    let made = pat
        .post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    let delegation = made.text("delegation");
    let act = async || -> Answer {
        shop.ask(&[
            ("grant_type", super::EXCHANGE),
            ("subject_token", &delegation),
            ("subject_token_type", super::ACCESS),
            ("actor_token", &shop.job_token()),
            ("actor_token_type", super::JWT),
        ])
        .await
    };
    let bot = shop.caller_of(&act().await);
    let table = "[person.pat]\ngroups = [\"agents\", \"reviewers\"]\n";
    lab.apply(swap(table, "")).await;
    assert_eq!(
        pat.get("/v1/whoami").await.kind(),
        "disabled",
        "they are told why"
    );
    lab.apply(swap("[person.olga]", &format!("{table}[person.olga]")))
        .await;
    for (what, caller) in [
        ("session", &pat),
        ("token", &token),
        ("acting for them", &bot),
    ] {
        assert_eq!(ask(caller).await, 401, "{what}");
    }
    act().await.expect(400);
    lab.session("pat").await.get("/v1/whoami").await.expect(200);
    // An agent.
    let twin = lab.token("agent:twin").await;
    let table = "[agent.twin]\nowner = \"olga\"\ngroups = [\"agents\"]\n";
    lab.apply(swap(table, "")).await;
    lab.apply(swap("[agent.stray]", &format!("{table}[agent.stray]")))
        .await;
    assert_eq!(ask(&twin).await, 401);
    // Whoever none of that concerned goes on.
    assert_eq!(ask(&ada).await, 200);
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    for caller in [&long, &own, &pat, &twin, &bot] {
        let caller = shop.caller(&caller.secret);
        assert_eq!(ask(&caller).await, 401);
    }
    shop.lab.verify().await;
}
