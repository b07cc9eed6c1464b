//! Who could be a machine, or has it act for them, decides nothing that it asks; and no chain of it is a way
//! around what was denied or may have happened.

use countersign::engine::{Ended, Input};
use countersign_core::{id::RequestId, request::Outcome};
use serde_json::json;

use super::{ACCESS, EXCHANGE, JWT, Shop, Signer};
use crate::support::{Caller, event};

impl Shop {
    /// The job, acting for somebody.
    async fn bot_for(&self, person: &Caller) -> Caller {
        let made = person
            .post("/v1/delegations", &json!({ "to": "agent:shop" }))
            .await
            .expect(200);
        let answer = self
            .ask(&[
                ("grant_type", EXCHANGE),
                ("subject_token", &made.text("delegation")),
                ("subject_token_type", ACCESS),
                ("actor_token", &self.job_token()),
                ("actor_token_type", JWT),
            ])
            .await;
        self.caller_of(&answer)
    }

    /// An approved request runs, and nobody knows how that ended.
    async fn ends_unknown(&self, by: &str, id: &str) {
        let (engine, id) = (&self.lab.gateway.engine, id.parse::<RequestId>().unwrap());
        let by = countersign::identity::parse_subject(by).unwrap();
        let claimed = engine.step(id.clone(), Input::Claim { by }).await.unwrap();
        let permit = claimed.permit.unwrap();
        let ended = Ended {
            permit: permit.id().clone(),
            outcome: Outcome::Unknown,
            exit: None,
            result: json!({}),
        };
        engine.step(id, Input::Ended { ended }).await.unwrap();
    }
}

/// Pat may decide, and has the machine act for them: what it asks alone is not for pat to decide.
#[tokio::test]
async fn whoever_lets_a_machine_act_does_not_approve_what_it_asks_alone() {
    let shop = Shop::new().await;
    let (pat, bob) = (shop.lab.session("pat").await, shop.lab.session("bob").await);
    let made = pat
        .post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    let bot = shop.bot().await;
    let id = bot.held("./tally one alone").await;
    let own = pat.vote(&id, "approve").await;
    own.refused("a delegator", 403, "own_request");
    // It is said in the record, and nobody but them is kept from deciding.
    bob.approve(&id).await;
    assert_eq!(bot.claim(&id, "./tally one alone").await["event"], "exited");
    // Afterwards is no better, nor after a vote.
    let later = bot.held("./tally one later").await;
    let bob = shop.lab.session("bob").await;
    bob.approve(&later).await;
    assert_eq!(shop.lab.state(&later).await, "approved");
    bob.post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    assert_eq!(
        shop.lab.state(&later).await,
        "held",
        "bob's vote is their own"
    );
    assert_eq!(
        bot.claim(&later, "./tally one later").await["event"],
        "still_held"
    );
    bob.vote(&later, "approve")
        .await
        .refused("after it was asked", 403, "own_request");
    // Nobody reads what a machine asks for letting it act.
    let secret = bot.held("./tally one secret").await;
    let outside = shop.lab.session("abe").await;
    let before = outside.get(&format!("/v1/requests/{secret}")).await.status;
    let sid = shop.lab.session("sid").await;
    assert_eq!(sid.get(&format!("/v1/requests/{secret}")).await.status, 404);
    sid.post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    assert_eq!(sid.get(&format!("/v1/requests/{secret}")).await.status, 404);
    assert_eq!(before, 200, "an auditor does");
    // Once it is over, they are somebody else again.
    let ada = shop.lab.session("ada").await;
    ada.propose(
        "credential-revoke",
        json!({ "credential": made.body["credential"] }),
    )
    .await
    .expect(200);
    let free = bot.held("./tally one free").await;
    pat.approve(&free).await;
    // Also a gateway that starts again knows.
    let ray = shop.lab.session("ray").await;
    ray.post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    let (bot, ray) = (shop.bot().await, shop.lab.session("ray").await);
    let id = bot.held("./tally one restarted").await;
    ray.vote(&id, "approve")
        .await
        .refused("after a restart", 403, "own_request");
    shop.lab.verify().await;
}

/// Ray lets one machine act, which lets the next: ray is behind both.
#[tokio::test]
async fn whoever_is_further_behind_is_behind() {
    let shop = Shop::new().await;
    let ray = shop.lab.session("ray").await;
    ray.post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
    // The job, which does not show that, lets the pod act.
    let alone = shop.bot().await;
    alone
        .post("/v1/delegations", &json!({ "to": "workload:migrator" }))
        .await
        .expect(200);
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let pod = shop.caller_of(&shop.exchange(&pod).await);
    let id = pod.held("./tally one far").await;
    ray.vote(&id, "approve")
        .await
        .refused("two away", 403, "own_request");
    shop.lab.session("bob").await.approve(&id).await;
}

/// Live delegations are counted for each who makes them.
#[tokio::test]
async fn nobody_makes_delegations_without_end() {
    let shop = Shop::new().await;
    let pat = shop.lab.session("pat").await;
    let make = async |to: &str| pat.post("/v1/delegations", &json!({ "to": to })).await;
    for _ in 0..50 {
        make("agent:shop").await.expect(200);
    }
    let answer = make("agent:shop").await;
    answer.refused("one more", 400, "invalid_request");
    assert!(
        answer.text("title").contains("50 delegations"),
        "{answer:?}"
    );
    make("agent:signer").await.expect(200);
    let bob = shop.lab.session("bob").await;
    bob.post("/v1/delegations", &json!({ "to": "agent:shop" }))
        .await
        .expect(200);
}

/// Whoever proposed a key could hold its other half.
#[tokio::test]
async fn whoever_proposed_a_proof_does_not_approve_what_is_asked_with_it() {
    let shop = Shop::new().await;
    let ray = shop.lab.session("ray").await;
    let signed = async |shop: &Shop, signer: &Signer| {
        let assertion = signer.sign(&shop.assertion("agent:signer", json!({})));
        shop.caller_of(&shop.assert(&assertion).await)
    };
    // What was there at the first start is nobody's.
    let first = signed(&shop, &shop.own).await;
    let id = first.held("./tally one first").await;
    ray.approve(&id).await;
    let mine = Signer::new("mine");
    let swap = |from: String, to: String| {
        move |files: &mut std::collections::BTreeMap<String, String>| {
            let config = files.get_mut("countersign.toml").unwrap();
            assert!(config.contains(&from), "{from}");
            *config = config.replacen(&from, &to, 1);
        }
    };
    let (old, new) = (shop.own.jwk().to_string(), mine.jwk().to_string());
    shop.lab
        .apply_by("ray", swap(old.clone(), new.clone()))
        .await;
    let refused = async |shop: &Shop, word: &str| {
        let machine = signed(shop, &mine).await;
        let id = machine.held(&format!("./tally one {word}")).await;
        let ray = shop.lab.session("ray").await;
        ray.vote(&id, "approve")
            .await
            .refused(word, 403, "own_request");
        shop.lab.session("bob").await.approve(&id).await;
    };
    refused(&shop, "proposed").await;
    // Somebody else changes something else, takes it out, writes it anew and moves it.
    let unrelated = |files: &mut std::collections::BTreeMap<String, String>| {
        files
            .get_mut("countersign.toml")
            .unwrap()
            .push_str("\n# x\n");
    };
    shop.lab.apply(unrelated).await;
    refused(&shop, "unrelated").await;
    shop.lab.apply(swap(new.clone(), old)).await;
    let named = mine.named().to_string();
    shop.lab
        .apply(swap(shop.own.jwk().to_string(), named))
        .await;
    refused(&shop, "anew").await;
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    refused(&shop, "restarted").await;
    // Claims: an added one does not take ray's name off the others.
    let claims = "environment = \"production\" } }]";
    let mine = "environment = \"rays\" } }]".to_owned();
    shop.lab
        .apply_by("ray", swap(claims.into(), mine.clone()))
        .await;
    let more = "environment = \"rays\", ref = \"refs/heads/main\" } }]".to_owned();
    shop.lab.apply(swap(mine, more)).await;
    let job = shop
        .github
        .sign(&shop.job(json!({ "environment": "rays" })));
    let bot = shop.caller_of(&shop.exchange(&job).await);
    let id = bot.held("./tally one claims").await;
    let ray = shop.lab.session("ray").await;
    ray.vote(&id, "approve")
        .await
        .refused("claims", 403, "own_request");
    shop.lab.verify().await;
}

/// What was denied to a machine was denied to it, for whomever it asks.
#[tokio::test]
async fn another_chain_is_not_asked_again() {
    let shop = Shop::new().await;
    let (ann, pat) = (shop.lab.session("ann").await, shop.lab.session("pat").await);
    let alone = shop.bot().await;
    let id = alone.held("./tally one again").await;
    ann.vote(&id, "deny").await.expect(200);
    let bot = shop.bot_for(&pat).await;
    for caller in [&alone, &bot] {
        let events = caller.run("./tally one again", 0).await;
        let refused = event(&events, "refused").unwrap_or_else(|| panic!("{events:?}"));
        assert_eq!(refused["code"], "denied", "{refused}");
    }
    // Another machine, and another command, are asked about.
    bot.held("./tally one other").await;
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let pod = shop.caller_of(&shop.exchange(&pod).await);
    pod.held("./tally one again").await;
    assert_eq!(shop.lab.place.ran(), Vec::<String>::new());
}

/// What may have happened may have happened, whoever asks for it again.
#[tokio::test]
async fn what_may_have_happened_is_held_for_everybody() {
    let shop = Shop::new().await;
    let pat = shop.lab.session("pat").await;
    let (alone, bot) = (shop.bot().await, shop.bot_for(&pat).await);
    // Approved before anything was unknown.
    let approved = bot.held("./tally one both").await;
    let bob = shop.lab.session("bob").await;
    bob.approve(&approved).await;
    let id = alone.held("./tally one both").await;
    bob.approve(&id).await;
    shop.ends_unknown("agent:shop", &id).await;
    let claimed = bot.claim(&approved, "./tally one both").await;
    assert_eq!(claimed["code"], "may_have_run", "{claimed}");
    bot.post(&format!("/v1/requests/{approved}/cancel"), &json!({}))
        .await;
    let told = async |shop: &Shop, id: &str| {
        let body = shop.lab.stored(id).await.request.presentation.body;
        body.starts_with("! This may have happened already")
    };
    for caller in [&bot, &shop.lab.bot().await] {
        let id = caller.held("./tally one both").await;
        assert!(told(&shop, &id).await);
    }
    let shop = Shop {
        lab: shop.lab.restart().await,
        ..shop
    };
    let (twin, third) = (
        shop.lab.token("agent:twin").await,
        shop.lab.token("person:pat").await,
    );
    let id = twin.held("./tally one both").await;
    assert!(told(&shop, &id).await);
    let bob = shop.lab.session("bob").await;
    bob.approve(&id).await;
    assert_eq!(twin.claim(&id, "./tally one both").await["event"], "exited");
    // Somebody approved the repetition.
    let after = third.held("./tally one both").await;
    assert!(!told(&shop, &after).await);
    shop.lab.verify().await;
}
