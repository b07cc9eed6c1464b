//! Grants at a running gateway: their like runs without asking, as long and as often as was signed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{decision::Decision, time::Timestamp};
use countersign_policy::{Bundle, Question, Snapshot};
use countersign_store::Write;
use serde_json::{Value, json};

use crate::{
    record::edit,
    support::{Answer, Caller, Lab, event},
};

/// Rule `one` grants three uses within a quarter of an hour; `two` grants nothing.
async fn lab() -> Lab {
    Lab::with(|files| {
        let limits = "grants = { max = \"15m\", uses = 3 }";
        let approvals = files.get_mut("approvals.toml").unwrap();
        *approvals = approvals
            .replace("expires = \"30m\"\nvalid_for = \"10m\"", limits)
            .replace("reason = \"required\"", limits);
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace(
            "action = \"reasoned\"\ngroup = \"write\"",
            "action = \"reasoned\"\ngroup = \"write\"\nno_grant = true",
        );
    })
    .await
}

/// Approves a request and grants its like.
async fn grant(who: &Caller, id: &str, terms: Value) -> Answer {
    let seen = who.see(id).await;
    let body = json!({
        "verdict": "approve", "digest": seen["digest"], "act": seen["act"], "grant": terms,
    });
    who.post(&format!("/v1/requests/{id}/votes"), &body).await
}

fn any_word() -> Value {
    json!({ "for": "15m", "uses": 3, "open": ["/argv/2"] })
}

/// Ann grants restarts with any word, and the first has run.
async fn granted(lab: &Lab) -> String {
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let ann = lab.session("ann").await;
    grant(&ann, &id, any_word()).await.expect(200);
    ran(&bot.run("./tally one x", 0).await);
    id
}

fn ran(events: &[Value]) {
    assert!(event(events, "held").is_none(), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "exited", "{events:?}");
}

#[tokio::test]
async fn its_like_runs_without_asking_as_often_as_was_granted() {
    let lab = lab().await;
    let id = granted(&lab).await;
    let bot = lab.bot().await;
    ran(&bot.run("./tally one y", 0).await);
    ran(&bot.run("./tally one y", 0).await);
    let fourth = bot.held("./tally one z").await;
    assert_eq!(lab.place.ran(), ["x", "y", "y"]);
    assert_eq!(lab.stored(&id).await.grant.unwrap().used, 3);
    assert!(lab.stored(&fourth).await.granted.is_none());
    lab.verify().await;
    let kinds: Vec<_> = lab
        .records()
        .iter()
        .map(|one| one.kind().to_owned())
        .collect();
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((count("grant.given"), count("grant.used")), (1, 2));
}

#[tokio::test]
async fn a_grant_survives_a_restart_and_no_use_comes_back() {
    let lab = lab().await;
    granted(&lab).await;
    let bot = lab.bot().await;
    ran(&bot.run("./tally one y", 0).await);
    let lab = lab.restart().await;
    let bot = lab.bot().await;
    ran(&bot.run("./tally one z", 0).await);
    bot.held("./tally one z").await;
    assert_eq!(lab.place.ran(), ["x", "y", "z"]);
    lab.verify().await;
}

#[tokio::test]
async fn whatever_is_not_its_like_waits_for_people() {
    let lab = lab().await;
    granted(&lab).await;
    let bot = lab.bot().await;
    for other in [
        "./tally two x",
        "./tally one x y",
        "./tally one ./x",
        "echo one x",
    ] {
        bot.held(other).await;
    }
    let coloured =
        json!({ "argv": ["./tally", "one", "y"], "env": { "COLOUR": "red" }, "wait_ms": 0 });
    assert!(event(&bot.run_with(coloured).await, "held").is_some());
    let twin = lab.token("agent:twin").await;
    twin.held("./tally one y").await;
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

#[tokio::test]
async fn at_once_no_more_run_than_were_granted() {
    let lab = lab().await;
    granted(&lab).await;
    let bot = lab.bot().await;
    let calls: Vec<_> = (0..8)
        .map(|n| bot.start(&format!("./tally one w{n}"), 0))
        .collect();
    let mut held = 0;
    for call in calls {
        held += usize::from(event(&call.await.unwrap(), "held").is_some());
    }
    assert_eq!((held, lab.place.ran().len()), (6, 3));
    lab.verify().await;
}

#[tokio::test]
async fn only_what_is_offered_is_granted() {
    let lab = lab().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let one = bot.held("./tally one x").await;
    let offer = &ann.see(&one).await["offers"];
    assert_eq!((&offer["max"], &offer["uses"]), (&json!("15m"), &json!(3)));
    assert_eq!(
        offer["places"],
        json!([{ "place": "/argv/2", "name": "word", "value": "x" }])
    );
    for terms in [
        json!({ "for": "16m", "uses": 3 }),
        json!({ "for": "15m", "uses": 4 }),
        json!({ "for": "15m", "uses": 1 }),
        json!({ "for": "0m", "uses": 3 }),
        json!({ "for": "15m", "uses": 3, "open": ["/argv/1"] }),
        json!({ "for": "15m", "uses": 3, "open": [""] }),
    ] {
        let answer = grant(&ann, &one, terms.clone()).await;
        answer.refused(&terms.to_string(), 422, "not_grantable");
    }
    for command in ["./tally two x", "./tally reasoned x"] {
        let id = bot.held(command).await;
        assert_eq!(ann.see(&id).await["offers"], Value::Null, "{command}");
        let answer = grant(&ann, &id, json!({ "for": "15m", "uses": 3 })).await;
        answer.refused(command, 422, "not_grantable");
    }
    let ada = lab.session("ada").await;
    let change = ada
        .propose(
            "person-add",
            json!({ "person": "eve", "groups": ["crowd"] }),
        )
        .await;
    let id = change.text("request");
    let abe = lab.session("abe").await;
    grant(&abe, &id, any_word())
        .await
        .refused("a change", 422, "not_grantable");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn an_ended_grant_grants_nothing() {
    let lab = lab().await;
    let id = granted(&lab).await;
    let (bot, bob, sid) = (
        lab.bot().await,
        lab.session("bob").await,
        lab.session("sid").await,
    );
    let end = format!("/v1/requests/{id}/end-grant");
    let listed = bob.get("/v1/grants").await.expect(200).body;
    let line = &listed["grants"][0];
    assert_eq!((&line["id"], &line["can_end"]), (&json!(id), &json!(true)));
    assert!(
        line["grant"]["cedar"]
            .as_str()
            .unwrap()
            .contains("Action::\"exec:one\"")
    );
    assert_eq!(sid.get("/v1/grants").await.body["grants"], json!([]));
    sid.post(&end, &json!({}))
        .await
        .refused("somebody else", 404, "no_such_request");
    bob.post(&end, &json!({})).await.expect(200);
    bob.post(&end, &json!({}))
        .await
        .refused("again", 409, "no_grant");
    assert_eq!(bob.get("/v1/grants").await.body["grants"], json!([]));
    bot.held("./tally one y").await;
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

#[tokio::test]
async fn with_the_voter_the_rule_or_the_agent_goes_the_grant() {
    let lab = lab().await;
    granted(&lab).await;
    let bot = lab.bot().await;
    let ada = lab.session("ada").await;
    let leaves = json!({ "person": "ann", "group": "reviewers" });
    ada.propose("membership-remove", leaves).await.expect(200);
    bot.held("./tally one y").await;

    let lab = self::lab().await;
    granted(&lab).await;
    lab.apply(|files| {
        let approvals = files.get_mut("approvals.toml").unwrap();
        *approvals = approvals.replacen("grants = { max = \"15m\", uses = 3 }", "", 1);
    })
    .await;
    lab.bot().await.held("./tally one y").await;

    let lab = self::lab().await;
    granted(&lab).await;
    let (bot, ada) = (lab.bot().await, lab.session("ada").await);
    ada.propose("agent-stop", json!({ "agent": "bot" }))
        .await
        .expect(200);
    let body = json!({ "target": "tools", "argv": ["./tally", "one", "y"], "wait_ms": 0 });
    bot.post("/v1/run", &body).await.expect(403);
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// What somebody writes into the database grants nothing (P9).
#[tokio::test]
async fn a_grant_edited_in_the_database_is_none() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("more uses", |case| {
            case["grant"]["terms"]["uses"] = json!(9)
        }),
        ("uses given back", |case| case["grant"]["used"] = json!(0)),
        ("longer", |case| {
            case["grant"]["until"] = json!(9_000_000_000_000_i64)
        }),
        ("another place", |case| {
            case["grant"]["terms"]["open"] = json!(["/argv/1"])
        }),
        ("a vote that granted nothing", |case| {
            case["votes"][0]["grant"]["uses"] = json!(2);
        }),
    ];
    for (what, change) in changes {
        let lab = lab().await;
        let id = granted(&lab).await;
        edit(&lab, &id, change).await;
        lab.bot().await.held("./tally one y").await;
        assert_eq!(lab.place.ran(), ["x"], "{what}");
    }
}

/// What a grant is shown as is Cedar that decides just so, under the same schema.
#[tokio::test]
async fn a_grant_as_cedar_says_what_it_covers() {
    for (command, open) in [("./tally one x", true), ("./tally one fixed", false)] {
        let lab = lab().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let id = bot.held(command).await;
        let terms = match open {
            true => any_word(),
            false => json!({ "for": "15m", "uses": 3 }),
        };
        grant(&ann, &id, terms).await.expect(200);
        ran(&bot.run(command, 0).await);
        let cedar = ann.see(&id).await["grant"]["cedar"]
            .as_str()
            .unwrap()
            .to_owned();
        let active = lab.gateway.active();
        let mut files = active.bundle.files().clone();
        files.retain(|path, _| !path.starts_with("policies/"));
        files.insert("policies/grant.cedar".into(), cedar.clone());
        let bundle = Bundle::from_files(&files).unwrap_or_else(|why| panic!("{why:?}\n{cedar}"));
        let snapshot = Snapshot::new(Arc::new(bundle), active.directory.clone()).unwrap();
        let case = lab.stored(&id).await;
        let (request, until) = (&case.request, case.grant.unwrap().until);
        let permits = |captures: &BTreeMap<String, Value>, effects: &[_], now| {
            let none = BTreeSet::new();
            let asked = Question {
                chain: &request.chain,
                gate: &request.action.gate,
                operation: &request.action.operation,
                effects,
                arguments: captures,
                reason: None,
                approvals: &none,
                now,
            };
            matches!(snapshot.evaluate(&asked).decision, Decision::Permit { .. })
        };
        let (same, now) = (&request.captures, request.at);
        assert!(permits(same, &request.effects, now), "{cedar}");
        assert!(!permits(same, &request.effects, until), "{cedar}");
        assert!(!permits(same, &request.effects, Timestamp(until.0 + 1)));
        let other = BTreeMap::from([("word".to_owned(), json!("other"))]);
        assert_eq!(permits(&other, &request.effects, now), open, "{cedar}");
        let mut effects = request.effects.clone();
        effects[0].action = "exec:two".parse().unwrap();
        assert!(!permits(same, &effects, now), "{cedar}");
    }
}

/// What may have happened already is looked at by people, granted or not.
#[tokio::test]
async fn what_ended_unknown_is_not_repeated_under_a_grant() {
    let lab = lab().await;
    granted(&lab).await;
    let bot = lab.bot().await;
    let events = bot.run("./tally one y", 0).await;
    ran(&events);
    let id = event(&events, "started").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let (key, request) = (lab.stored(&id).await.request.repeats(), id.parse().unwrap());
    let at = lab.gateway.clock.now();
    let unknown = Write::RememberUnknown { key, request, at };
    lab.gateway.store.commit(vec![unknown]).await.unwrap();
    let lab = lab.restart().await;
    let bot = lab.bot().await;
    let held = lab.stored(&bot.held("./tally one y").await).await;
    assert!(
        held.request
            .presentation
            .body
            .starts_with("! This may have happened")
    );
    assert!(held.request.grants.is_none(), "nor is it granted again");
    ran(&bot.run("./tally one z", 0).await);
    assert_eq!(lab.place.ran(), ["x", "y", "z"]);
    lab.verify().await;
}

/// A session that turns out to be somebody else's takes along what was granted in it; signing out doesn't.
#[tokio::test]
async fn a_revoked_session_ends_what_was_granted_in_it() {
    let lab = lab().await;
    let bot = lab.bot().await;
    let (ann, ada) = (lab.session("ann").await, lab.session("ada").await);
    let id = bot.held("./tally one x").await;
    grant(&ann, &id, any_word()).await.expect(200);
    ran(&bot.run("./tally one x", 0).await);
    let revoked = ada
        .propose("credential-revoke", json!({ "credential": ann.id }))
        .await;
    assert_eq!(revoked.text("state"), "succeeded", "{revoked:?}");
    assert!(lab.stored(&id).await.grant.unwrap().ended.is_some());
    bot.held("./tally one y").await;
    lab.verify().await;
}

/// Administrators who see everything end what anybody granted.
#[tokio::test]
async fn an_auditor_ends_any_grant() {
    let lab = lab().await;
    let id = granted(&lab).await;
    let (sid, ada) = (lab.session("sid").await, lab.session("ada").await);
    let end = format!("/v1/requests/{id}/end-grant");
    sid.post(&end, &json!({})).await.expect(404);
    ada.post(&end, &json!({})).await.expect(200);
    lab.bot().await.held("./tally one y").await;
    lab.verify().await;
}
