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

/// Whoever proposed how an issuer is believed, or gave a machine the key of another, could be that machine.
#[tokio::test]
async fn whoever_changed_how_a_machine_is_believed_does_not_approve_what_it_asks() {
    let shop = Shop::new().await;
    let fresh = Signer::new("fresh");
    let (own, new) = (shop.own.jwk().to_string(), fresh.jwk().to_string());
    let change = |files: &mut std::collections::BTreeMap<String, String>| {
        let config = files.get_mut("countersign.toml").unwrap();
        for (from, to) in [
            (
                "algorithms = [\"ES256\"]".to_owned(),
                "algorithms = [\"ES256\", \"ES384\"]".to_owned(),
            ),
            (
                "[issuer.cluster]\n".into(),
                "[issuer.cluster]\naudience = \"https://rays.example\"\n".into(),
            ),
            (own.clone(), new.clone()),
            (
                "[agent.staging]\n".into(),
                format!("[agent.staging]\nkeys = ['{own}']\n"),
            ),
        ] {
            assert!(config.contains(&from), "{from}");
            *config = config.replacen(&from, &to, 1);
        }
    };
    shop.lab.apply_by("ray", change).await;
    let (ray, bob) = (shop.lab.session("ray").await, shop.lab.session("bob").await);
    let job = shop.bot().await;
    let pod = shop
        .cluster
        .sign(&shop.pod(json!({ "aud": "https://rays.example" })));
    let pod = shop.caller_of(&shop.exchange(&pod).await);
    let moved = shop.own.sign(&shop.assertion("agent:staging", json!({})));
    let moved = shop.caller_of(&shop.assert(&moved).await);
    for (what, machine) in [("algorithms", &job), ("audience", &pod), ("moved", &moved)] {
        let id = machine.held(&format!("./tally one {what}")).await;
        ray.vote(&id, "approve")
            .await
            .refused(what, 403, "own_request");
        bob.approve(&id).await;
    }
    shop.lab.verify().await;
}

/// A request is also whose it becomes: everybody who had a hand in a token that waits for it, or claims it.
#[tokio::test]
async fn whoever_is_behind_another_token_does_not_approve_what_it_runs() {
    let shop = Shop::new().await;
    let lab = &shop.lab;
    let (bot, bobs) = (
        lab.bot().await,
        lab.token_from("agent:bot", Some("bob")).await,
    );
    let (ann, bob) = (lab.session("ann").await, lab.session("bob").await);
    // While it waits, and once it is approved.
    let waits = bot.held("./tally one waits").await;
    assert_eq!(bobs.held("./tally one waits").await, waits);
    bob.vote(&waits, "approve")
        .await
        .refused("attached", 403, "own_request");
    let attached = bot.held("./tally one attached").await;
    bob.approve(&attached).await;
    assert_eq!(lab.state(&attached).await, "approved");
    assert_eq!(bobs.held("./tally one attached").await, attached);
    assert_eq!(
        lab.state(&attached).await,
        "held",
        "bob's vote is their own"
    );
    // Claimed without asking again.
    let claimed = bot.held("./tally one claimed").await;
    bob.approve(&claimed).await;
    let refused = bobs.claim(&claimed, "./tally one claimed").await;
    assert_ne!(refused["event"], "exited", "{refused}");
    assert_eq!(lab.state(&claimed).await, "held");
    lab.nothing_ran().await;
    // Nobody else is kept from deciding, and whoever was behind it anyway is recorded once.
    let again = bot.held("./tally one again").await;
    assert_eq!(bot.held("./tally one again").await, again);
    assert!(lab.stored(&again).await.self_grown.is_empty());
    for (id, command) in [
        (&waits, "./tally one waits"),
        (&attached, "./tally one attached"),
        (&claimed, "./tally one claimed"),
    ] {
        ann.approve(id).await;
        assert_eq!(bobs.claim(id, command).await["event"], "exited");
    }
    lab.verify().await;
}

/// A change that ada proposed and abe approved is not applied from a session that abe had a hand in.
#[tokio::test]
async fn a_change_is_not_applied_by_whom_its_approver_let_in() {
    let shop = Shop::new().await;
    let lab = &shop.lab;
    let (ada, abe) = (lab.session("ada").await, lab.session("abe").await);
    let mut files = lab.gateway.active().bundle.files().clone();
    files
        .get_mut("countersign.toml")
        .unwrap()
        .push_str("\n# x\n");
    let change = json!({ "files": files });
    let id = ada.propose("bundle-apply", change).await.text("request");
    abe.approve(&id).await;
    let path = format!("/v1/requests/{id}/claim");
    let other = lab.session_from("ada", Some("abe")).await;
    let applied = other.post(&path, &json!({})).await;
    assert_ne!(applied.text("state"), "succeeded", "{applied:?}");
    assert_eq!(lab.state(&id).await, "held");
    lab.session("ray").await.approve(&id).await;
    let applied = other.post(&path, &json!({})).await;
    assert_eq!(applied.text("state"), "succeeded", "{applied:?}");
}

/// Nobody has another machine ask again for them, nor asks again for whom one asked.
#[tokio::test]
async fn a_denial_holds_for_everybody_in_the_chain() {
    let shop = Shop::new().await;
    let assertion = shop.own.sign(&shop.assertion("agent:signer", json!({})));
    let signer = shop.caller_of(&shop.assert(&assertion).await);
    let bot = shop.bot_for(&signer).await;
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let pod = shop.caller_of(&shop.exchange(&pod).await);
    let denied = async |caller: &Caller, command: &str| {
        let events = caller.run(command, 0).await;
        let refused = event(&events, "refused").unwrap_or_else(|| panic!("{events:?}"));
        assert_eq!(refused["code"], "denied", "{command}: {refused}");
    };
    let deny = async |caller: &Caller, command: &str| {
        let id = caller.held(command).await;
        let ann = shop.lab.session("ann").await;
        ann.vote(&id, "deny").await.expect(200);
    };
    deny(&signer, "./tally one through").await;
    denied(&bot, "./tally one through").await;
    deny(&bot, "./tally one back").await;
    denied(&signer, "./tally one back").await;
    denied(&shop.bot().await, "./tally one back").await;
    // In other words, too often.
    for word in ["a", "b", "c"] {
        deny(&signer, &format!("./tally one {word}")).await;
    }
    denied(&signer, "./tally one other").await;
    denied(&bot, "./tally one other").await;
    // Whoever is in none of these chains is asked about.
    pod.held("./tally one through").await;
    shop.bot().await.held("./tally one other").await;
    shop.lab.nothing_ran().await;
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
