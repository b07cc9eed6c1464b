//! What ends tokens: stops, other settings, and time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Shop, Signer, refused, set};
use crate::support::until;

/// A stop is felt at once, by what waits as well.
#[tokio::test]
async fn a_stop_ends_tokens_and_what_waits_within_a_second() {
    for (what, operation, arguments) in [
        ("the agent", "agent-stop", json!({ "agent": "shop" })),
        ("its owner", "person-disable", json!({ "person": "olga" })),
    ] {
        let shop = Shop::new().await;
        let bot = shop.bot().await;
        let waiting = bot.start("./tally one x", 60_000);
        let ada = shop.lab.session("ada").await;
        let newest = async || ada.get("/v1/requests").await.body["items"][0].clone();
        until("it waits", || async { newest().await["state"] == "held" }).await;
        let id = newest().await["id"].as_str().unwrap().to_owned();
        let begin = Instant::now();
        ada.propose(operation, arguments).await.expect(200);
        let last = waiting.await.unwrap().pop().unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{what}: {:?}",
            begin.elapsed()
        );
        assert_eq!(last["event"], "refused", "{what}: {last}");
        assert_eq!(bot.get("/v1/whoami").await.kind(), "disabled", "{what}");
        assert_eq!(shop.lab.state(&id).await, "requester_stopped", "{what}");
        let answer = shop.exchange(&shop.job_token()).await;
        refused(what, &answer, 400, "unauthorized_client", "gets no token");
        assert_eq!(shop.lab.place.ran(), Vec::<String>::new());
    }
}

/// A workload is stopped, started and given tokens like an agent.
#[tokio::test]
async fn workloads_are_machines_like_agents() {
    let shop = Shop::new().await;
    let ada = shop.lab.session("ada").await;
    let named = json!({ "workload": "migrator" });
    let issued = ada.propose("agent-token", named.clone()).await.expect(200);
    let token = issued.body["result"]["token"].as_str().unwrap().to_owned();
    let issued = shop.caller(&token);
    assert_eq!(
        issued.get("/v1/whoami").await.text("subject"),
        "workload:migrator"
    );
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let exchanged = shop.caller_of(&shop.exchange(&pod).await);
    let id = exchanged.held("./tally one x").await;
    ada.propose("agent-stop", named.clone()).await.expect(200);
    for caller in [&issued, &exchanged] {
        assert_eq!(caller.get("/v1/whoami").await.kind(), "disabled");
    }
    assert_eq!(shop.lab.state(&id).await, "requester_stopped");
    shop.lab.change_by("ada", "agent-start", named).await;
    assert_eq!(
        exchanged.get("/v1/whoami").await.status,
        401,
        "what was before is over"
    );
    shop.exchange(&pod).await.expect(200);
    for arguments in [json!({}), json!({ "agent": "bot", "workload": "migrator" })] {
        let answer = ada.propose("agent-token", arguments).await;
        answer.refused("which one?", 422, "invalid_proposal");
    }
}

/// Whatever is believed otherwise, or of somebody else, is believed anew.
#[tokio::test]
async fn other_settings_end_tokens_at_once() {
    let other = Signer::new("gh-2");
    for (what, from, to) in [
        (
            "a claim",
            "environment = \"production\" } }]",
            "environment = \"live\" } }]".to_owned(),
        ),
        (
            "a claim more",
            "environment = \"production\" } }]",
            "environment = \"production\", ref = \"refs/heads/main\" } }]".to_owned(),
        ),
        (
            "the algorithms",
            "algorithms = [\"ES256\"]\n",
            "algorithms = [\"ES256\", \"RS256\"]\n".to_owned(),
        ),
        (
            "the audience",
            "[issuer.github]\n",
            "[issuer.github]\naudience = \"x\"\n".to_owned(),
        ),
    ] {
        let shop = Shop::new().await;
        let (bot, pod) = (shop.bot().await, shop.cluster.sign(&shop.pod(json!({}))));
        let pod = shop.caller_of(&shop.exchange(&pod).await);
        shop.lab
            .apply(|files| {
                let config = files.get_mut("countersign.toml").unwrap();
                assert!(config.contains(from), "{what}");
                *config = config.replacen(from, &to, 1);
            })
            .await;
        assert_eq!(bot.get("/v1/whoami").await.status, 401, "{what}");
        pod.get("/v1/whoami").await.expect(200);
    }
    let shop = Shop::new().await;
    let signer = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    let signer = shop.caller_of(&shop.assert(&signer).await);
    let (bot, key) = (shop.bot().await, shop.own.jwk().to_string());
    let keys = set(&[shop.github.named()]);
    shop.lab
        .apply(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            *config = config.replacen(
                &format!("keys = ['{key}']"),
                &format!("keys = ['{}']", other.jwk()),
                1,
            );
            *config = config.replacen(&keys, &set(&[other.named()]), 1);
        })
        .await;
    for (what, caller) in [("its key", signer), ("the issuer's keys", bot)] {
        assert_eq!(caller.get("/v1/whoami").await.status, 401, "{what}");
    }
    let answer = shop.exchange(&shop.job_token()).await;
    refused(
        "the old key",
        &answer,
        400,
        "invalid_request",
        "none of the keys",
    );
}

/// No token lasts for long that nobody countersigned.
#[tokio::test]
async fn long_lived_tokens_are_configured_or_there_are_none() {
    let shop = Shop::new().await;
    let ada = shop.lab.session("ada").await;
    let long = |agent: &str, valid_for: &str| json!({ "agent": agent, "valid_for": valid_for });
    for (agent, valid_for) in [("bot", "25h"), ("bot", "90d"), ("shop", "2d")] {
        let answer = ada.propose("agent-token", long(agent, valid_for)).await;
        answer.refused(agent, 422, "invalid_proposal");
        assert!(
            answer.text("title").contains("long_lived_tokens"),
            "{answer:?}"
        );
    }
    ada.propose("agent-token", long("bot", "24h"))
        .await
        .expect(200);
    let change = |from: &'static str, to: &'static str| {
        move |files: &mut std::collections::BTreeMap<String, String>| {
            let config = files.get_mut("countersign.toml").unwrap();
            *config = config.replacen(from, to, 1);
        }
    };
    let allowed = "[agent.bot]\nlong_lived_tokens = \"30d\"\n";
    // Whoever countersigns that reads it first.
    let mut files = shop.lab.gateway.active().bundle.files().clone();
    change("[agent.bot]\n", allowed)(&mut files);
    let proposed = ada.propose("bundle-apply", json!({ "files": files })).await;
    let id = proposed.text("request");
    let body = shop.lab.stored(&id).await.request.presentation.body;
    assert!(
        body.starts_with("! Tokens of `agent:bot` can last 30d"),
        "{body}"
    );
    shop.lab.session("abe").await.approve(&id).await;
    ada.post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await
        .expect(200);
    ada.propose("agent-token", long("bot", "31d"))
        .await
        .refused("more", 422, "invalid_proposal");
    let issued = ada
        .propose("agent-token", long("bot", "30d"))
        .await
        .expect(200);
    let bot = shop.caller(issued.body["result"]["token"].as_str().unwrap());
    bot.get("/v1/whoami").await.expect(200);
    let machines = ada.get("/v1/directory").await.body["machines"].clone();
    let found = machines
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == "agent:bot");
    assert_eq!(found.unwrap()["long_lived_tokens"], "30d", "{found:?}");
    assert_eq!(
        found.unwrap()["credentials"][0]["long_lived"],
        true,
        "{found:?}"
    );
    // Taken back, there is none any more.
    shop.lab.apply(change(allowed, "[agent.bot]\n")).await;
    assert_eq!(bot.get("/v1/whoami").await.status, 401);
}

/// Tokens are many, and none is kept for ever.
#[tokio::test]
async fn what_is_over_is_forgotten_and_nothing_else() {
    let shop = Shop::new().await;
    let (bot, pat) = (shop.bot().await, shop.lab.session("pat").await);
    let made = pat
        .post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await;
    let (gateway, day) = (&shop.lab.gateway, 24 * 3_600_000);
    let kept = async || gateway.store.credentials(None).await.unwrap().len();
    let before = kept().await;
    let now = gateway.clock.now();
    countersign::gateway::retention::apply(
        gateway,
        now.after(countersign_core::time::Span::minutes(120)),
    )
    .await
    .unwrap();
    assert_eq!(kept().await, before);
    let late = countersign_core::time::Timestamp(now.0 + day + 2 * 3_600_000);
    countersign::gateway::retention::apply(gateway, late)
        .await
        .unwrap();
    assert_eq!(kept().await, before - 2, "the token and the delegation");
    assert_eq!(bot.get("/v1/whoami").await.status, 401);
    pat.get("/v1/whoami").await.expect(200);
    assert_eq!(made.status, 200);
    shop.lab.verify().await;
}
