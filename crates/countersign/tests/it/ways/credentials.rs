//! Credentials and administration as a way around people.

use std::time::Duration;

use countersign_store::CredentialKind;
use serde_json::{Value, json};

use super::{assert_refused, force};
use crate::support::{Caller, Lab, event, until};

/// Whoever had a token issued can use it: they are on the side of what is asked with it.
#[tokio::test]
async fn whoever_issued_the_requesters_credential_does_not_approve() {
    let lab = Lab::new().await;
    let ray = lab.session("ray").await;
    let issued = ray.propose("agent-token", json!({ "agent": "bot" })).await;
    let token = issued.body["result"]["token"].as_str().unwrap().to_owned();
    let bot = Caller {
        secret: token,
        csrf: None,
        ..ray.clone()
    };
    let id = bot.held("./tally one x").await;
    force(&lab, &ray, &id, "approve")
        .await
        .refused("the token's issuer", 403, "own_request");
    // A link for somebody else is the same: whoever asked for it can use it.
    let issued = ray.propose("person-link", json!({ "person": "pat" })).await;
    let link = issued.body["result"]["link"].as_str().unwrap().to_owned();
    let secret = link.rsplit('/').next().unwrap();
    let anybody = crate::support::client();
    let login = anybody
        .post(format!("{}/v1/login", lab.url))
        .json(&json!({ "link": secret }));
    let login: Value = login.send().await.unwrap().json().await.unwrap();
    let token = login["token"].as_str().unwrap().to_owned();
    let pat = Caller {
        secret: token,
        csrf: None,
        ..ray.clone()
    };
    let by_link = pat.held("./tally one y").await;
    force(&lab, &ray, &by_link, "approve")
        .await
        .refused("the link's issuer", 403, "own_request");
    let session = lab.session_from("bob", Some("ray")).await;
    let shared = force(&lab, &session, &id, "approve").await;
    shared.refused(
        "a session of the issuer's",
        403,
        "credential_from_requester",
    );
    // An amendment carries it along.
    let body = json!({ "argv": ["./tally", "one", "z"], "text": "rather this" });
    let ann = lab.session("ann").await;
    ann.post(&format!("/v1/requests/{id}/amendments"), &body)
        .await
        .expect(200);
    let into = bot.claim(&id, "./tally one x").await["amended"]
        .as_str()
        .unwrap()
        .to_owned();
    force(&lab, &ray, &into, "approve")
        .await
        .refused("an amendment", 403, "own_request");
    lab.nothing_ran().await;
}

/// A link works once, whoever comes first.
#[tokio::test]
async fn a_link_is_used_once() {
    let lab = Lab::new().await;
    let (link, _) = lab.issue(CredentialKind::Link, "person:ann", None).await;
    let http = crate::support::client();
    let login = || {
        let request = http
            .post(format!("{}/v1/login", lab.url))
            .json(&json!({ "link": link }));
        async { request.send().await.unwrap().status().as_u16() }
    };
    let statuses = futures_util::future::join_all((0..16).map(|_| login())).await;
    let used = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(used, 1, "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 401].contains(status)),
        "{statuses:?}"
    );
    // It is no credential of another kind either.
    for path in ["/v1/whoami", "/v1/requests"] {
        let answer = http.get(format!("{}{path}", lab.url)).bearer_auth(&link);
        assert_eq!(answer.send().await.unwrap().status(), 401);
    }
    lab.nothing_ran().await;
}

/// Every operation, by an agent and by a person who is no administrator.
#[tokio::test]
async fn changes_need_the_permission_of_policy() {
    let lab = Lab::new().await;
    let before = (
        lab.gateway.active().hash,
        lab.gateway.active().directory.clone(),
    );
    let mut files = lab.gateway.active().bundle.files().clone();
    files
        .get_mut("policies/all.cedar")
        .unwrap()
        .push_str("// changed\n");
    let (token, id) = lab.issue(CredentialKind::Token, "agent:twin", None).await;
    let operations = [
        ("bundle-apply", json!({ "files": files })),
        (
            "person-add",
            json!({ "person": "eve", "groups": ["reviewers"] }),
        ),
        ("person-disable", json!({ "person": "ann" })),
        ("person-enable", json!({ "person": "dan" })),
        ("person-link", json!({ "person": "ann" })),
        (
            "membership-add",
            json!({ "person": "sid", "group": "reviewers" }),
        ),
        (
            "membership-remove",
            json!({ "person": "ann", "group": "reviewers" }),
        ),
        (
            "agent-add",
            json!({ "agent": "eve", "owner": "ann", "groups": ["agents"] }),
        ),
        ("agent-stop", json!({ "agent": "twin" })),
        ("agent-start", json!({ "agent": "twin" })),
        ("agent-token", json!({ "agent": "twin" })),
        ("credential-revoke", json!({ "credential": id })),
    ];
    for caller in [
        lab.bot().await,
        lab.session("ann").await,
        lab.token("person:olga").await,
    ] {
        for (operation, arguments) in &operations {
            let answer = caller
                .propose(operation, arguments.clone())
                .await
                .expect(200);
            assert_eq!(answer.text("state"), "denied", "{operation}: {answer:?}");
            assert!(answer.body.get("result").is_none(), "{operation}");
        }
    }
    // And no field of a proposal can say that it is approved.
    let ada = lab.session("ada").await;
    for (operation, arguments) in &operations {
        let mut arguments = arguments.clone();
        arguments["approvals"] = json!(["admins"]);
        let answer = ada.propose(operation, arguments).await;
        answer.refused(operation, 422, "invalid_proposal");
    }
    assert_eq!(
        (
            lab.gateway.active().hash,
            lab.gateway.active().directory.clone()
        ),
        before
    );
    let twin = Caller {
        secret: token,
        csrf: None,
        ..ada
    };
    twin.get("/v1/whoami").await.expect(200);
    lab.nothing_ran().await;
}

/// A revoked token is nobody at once, and the call that waits with it runs nothing any more.
#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let waiting = bot.start("./tally one x", 20_000);
    let id = one_held(&lab).await;
    let ada = lab.session("ada").await;
    let revoked = ada
        .propose("credential-revoke", json!({ "credential": bot.id }))
        .await;
    assert_eq!(revoked.text("state"), "succeeded");
    bot.get("/v1/whoami")
        .await
        .refused("revoked", 401, "unauthenticated");
    let run = json!({ "target": "tools", "argv": ["./tally", "free", "y"], "wait_ms": 0 });
    bot.post("/v1/run", &run)
        .await
        .refused("revoked", 401, "unauthenticated");
    ann.approve(&id).await;
    let events = waiting.await.unwrap();
    assert_refused(
        events.last().unwrap(),
        "a call that waited",
        "unauthenticated",
    );
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    // Another token of the agent is still good, and finds the approval.
    let fresh = lab.bot().await;
    fresh.run("./tally one x", 0).await;
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// The kill switch: nothing of a stopped agent runs, whatever was approved.
#[tokio::test]
async fn a_stopped_agent_is_refused_at_once() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let approved = bot.held("./tally one approved").await;
    ann.approve(&approved).await;
    let waiting = bot.start("./tally one waiting", 20_000);
    let held = one_held(&lab).await;
    let ada = lab.session("ada").await;
    assert_eq!(
        ada.propose("agent-stop", json!({ "agent": "bot" }))
            .await
            .text("state"),
        "succeeded"
    );
    for (path, body) in [
        (
            "/v1/run",
            json!({ "target": "tools", "argv": ["./tally", "free", "y"], "wait_ms": 0 }),
        ),
        (
            "/v1/run",
            json!({ "target": "tools", "argv": ["./tally"], "wait_ms": 0, "claim": approved }),
        ),
    ] {
        let answer = bot.post(path, &body).await;
        answer.refused("a stopped agent", 403, "disabled");
        let detail = answer.text("detail");
        assert!(detail.contains("countersign agent start bot"), "{detail}");
        assert!(!answer.body.to_string().contains("ada"), "{answer:?}");
    }
    let (event, code) = super::end(&waiting.await.unwrap());
    assert_eq!(event, "refused");
    assert!(
        ["disabled", "requester_stopped"].contains(&code.as_str()),
        "{code}"
    );
    // Each attempt is recorded, and whose it was.
    let refused = lab
        .records()
        .into_iter()
        .filter(|one| one.kind() == "refused" && one.field("code") == "disabled");
    let by: Vec<_> = refused.map(|one| one.evidence["by"].clone()).collect();
    let bot = json!({ "type": "agent", "id": "bot" });
    assert_eq!(by, [bot.clone(), bot]);
    // Its requests ended with it, the approved one and the one that waited.
    for id in [&approved, &held] {
        assert_eq!(lab.state(id).await, "requester_stopped");
    }
    // A new token for it can't be had, and one made before works no more.
    let token = ada.propose("agent-token", json!({ "agent": "bot" })).await;
    token.refused("a token for a stopped agent", 409, "not_applied");
    lab.nothing_ran().await;
}

/// What is so already is said and not recorded again; what a stop ended is counted.
#[tokio::test]
async fn a_second_stop_changes_nothing() {
    let lab = Lab::new().await;
    let (bot, ada) = (lab.bot().await, lab.session("ada").await);
    let id = bot.held("./tally one x").await;
    bot.held("./tally one y").await;
    let agent = json!({ "agent": "bot" });
    let before = lab.records().len();
    let mut told = Vec::new();
    for operation in ["agent-stop", "agent-stop", "agent-start", "agent-start"] {
        let answer = match operation {
            "agent-stop" => ada.propose(operation, agent.clone()).await.body,
            _ => lab.change_by("ada", operation, agent.clone()).await,
        };
        assert_eq!(answer["state"], "succeeded", "{answer}");
        told.push((answer["result"].clone(), answer["message"].to_string()));
    }
    let results: Vec<_> = told.iter().map(|(result, _)| result.clone()).collect();
    assert_eq!(
        results,
        [
            json!({ "changed": true, "requests_ended": 2 }),
            json!({ "changed": false, "requests_ended": 0 }),
            json!({ "changed": true }),
            json!({ "changed": false }),
        ]
    );
    for (part, (_, message)) in [
        "2 waiting requests ended",
        "already stopped",
        "agent token bot",
    ]
    .iter()
    .zip(&told)
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(lab.state(&id).await, "requester_stopped");
    let records = lab.records();
    let changes = records[before..]
        .iter()
        .filter(|one| one.kind() == "directory.changed");
    let whats: Vec<_> = changes.map(|one| one.field("what").clone()).collect();
    assert_eq!(whats, ["stop_agent", "start_agent"]);
    lab.nothing_ran().await;
}

/// Only who has a credential that the stop ended learns of the stop.
#[tokio::test]
async fn strangers_do_not_learn_who_is_stopped() {
    let lab = Lab::new().await;
    let (bot, ada) = (lab.bot().await, lab.session("ada").await);
    let (lost, id) = lab.issue(CredentialKind::Token, "agent:bot", None).await;
    let lost = Caller {
        secret: lost,
        csrf: None,
        ..ada.clone()
    };
    let made_up = Caller {
        secret: format!("{}x", bot.secret),
        csrf: None,
        ..ada.clone()
    };
    let by_itself = json!({ "credential": id });
    ada.propose("credential-revoke", by_itself)
        .await
        .expect(200);
    let stop = ada.propose("agent-stop", json!({ "agent": "bot" })).await;
    assert_eq!(stop.text("state"), "succeeded", "{stop:?}");
    let told = async |code: (u16, &str)| {
        bot.get("/v1/whoami")
            .await
            .refused("the agent", code.0, code.1);
        for (what, caller) in [("revoked before", &lost), ("made up", &made_up)] {
            let answer = caller.get("/v1/whoami").await;
            answer.refused(what, 401, "unauthenticated");
        }
    };
    told((403, "disabled")).await;
    // What was issued before the stop stays void once the agent goes on.
    lab.change_by("ada", "agent-start", json!({ "agent": "bot" }))
        .await;
    told((401, "unauthenticated")).await;
    lab.bot().await.get("/v1/whoami").await.expect(200);
    lab.nothing_ran().await;
}

/// Whoever had a hand in a credential stays in it, however often it is passed on: what it asks is
/// theirs, and what it votes on as well.
#[tokio::test]
async fn a_session_is_not_laundered_by_passing_it_on() {
    let lab = Lab::new().await;
    let abe = lab.session("abe").await;
    let mole = json!({ "person": "mole", "groups": ["admins"] });
    // Abe had a link for ada issued and uses it himself.
    let fake = lab.session_from("ada", Some("abe")).await;
    let asked = fake.propose("person-add", mole).await;
    abe.vote(&asked.text("request"), "approve").await.refused(
        "the issuer of the proposer's session",
        403,
        "own_request",
    );
    // From that session he has a link for ray issued, which no longer names him as its issuer.
    let link = fake
        .propose("person-link", json!({ "person": "ray" }))
        .await;
    let link = link.body["result"]["link"].as_str().unwrap().to_owned();
    let laundered = lab.use_link(link.rsplit('/').next().unwrap()).await;
    let other = json!({ "person": "other", "groups": ["admins"] });
    let own = abe.propose("person-add", other).await;
    laundered
        .vote(&own.text("request"), "approve")
        .await
        .refused("a session two links away", 403, "credential_from_requester");
}

/// Whoever answers for an agent is gone: nothing of it is permitted, whatever was approved.
#[tokio::test]
async fn an_agent_of_a_disabled_owner_does_nothing() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let approved = bot.held("./tally one x").await;
    ann.approve(&approved).await;
    let ada = lab.session("ada").await;
    let disabled = ada
        .propose("person-disable", json!({ "person": "olga" }))
        .await;
    assert_eq!(disabled.text("state"), "succeeded");
    let last = bot.claim(&approved, "./tally one x").await;
    assert_refused(&last, "an approved claim", "requester_stopped");
    for command in ["./tally free y", "./tally one z"] {
        let events = bot.run(command, 0).await;
        assert_refused(events.last().unwrap(), command, "denied");
    }
    lab.nothing_ran().await;
}

/// Stopping many agents at once stops every one of them.
#[tokio::test]
async fn changes_at_the_same_instant_are_all_made() {
    const AGENTS: usize = 12;
    let lab = Lab::with(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        for n in 0..AGENTS {
            config.push_str(&format!(
                "[agent.a{n}]\nowner = \"olga\"\ngroups = [\"agents\"]\n"
            ));
        }
    })
    .await;
    let ada = lab.session("ada").await;
    let stop = |n: usize| {
        let ada = ada.clone();
        async move {
            ada.propose("agent-stop", json!({ "agent": format!("a{n}") }))
                .await
        }
    };
    for answer in futures_util::future::join_all((0..AGENTS).map(stop)).await {
        assert_eq!(answer.text("state"), "succeeded", "{answer:?}");
    }
    let stopped = |lab: &Lab| {
        let directory = lab.gateway.active().directory.clone();
        directory
            .agents
            .values()
            .filter(|agent| agent.disabled)
            .count()
    };
    assert_eq!(stopped(&lab), AGENTS);
    let lab = lab.restart().await;
    assert_eq!(stopped(&lab), AGENTS);
    lab.nothing_ran().await;
}

/// The request that waits now.
async fn one_held(lab: &Lab) -> String {
    let found = std::sync::Mutex::new(String::new());
    until("a held request", || async {
        let held = lab.gateway.store.in_phase("held").await.unwrap();
        held.first().is_some_and(|id| {
            *found.lock().unwrap() = id.to_string();
            true
        })
    })
    .await;
    // The caller has registered its wait by now, or finds the approval at once.
    tokio::time::sleep(Duration::from_millis(50)).await;
    found.into_inner().unwrap()
}

/// A caller who went away left a request, and its approval waits for the next call.
#[tokio::test]
async fn an_approval_nobody_waits_for_is_used_by_the_next_call_only() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let waiting = bot.start("./tally one x", 30_000);
    let id = one_held(&lab).await;
    waiting.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    ann.approve(&id).await;
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    let events = bot.run("./tally one x", 0).await;
    assert!(event(&events, "exited").is_some(), "{events:?}");
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}
