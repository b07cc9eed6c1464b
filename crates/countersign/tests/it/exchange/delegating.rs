//! Machines that act for somebody: who lets them, and what that gives.

use countersign_store::CredentialKind;
use serde_json::{Value, json};

use super::{ACCESS, ASSERTION, EXCHANGE, JWT, Shop, refused};
use crate::support::{Answer, Caller, event};

impl Shop {
    /// A delegation of a caller's to a machine.
    async fn delegated(&self, by: &Caller, to: &str) -> String {
        let made = by
            .post("/v1/delegations", &json!({ "to": to }))
            .await
            .expect(200);
        made.text("delegation")
    }

    /// What a machine gets for a delegation and a token of its issuer.
    async fn act(&self, delegation: &str, actor: &str) -> Answer {
        self.ask(&[
            ("grant_type", EXCHANGE),
            ("subject_token", delegation),
            ("subject_token_type", ACCESS),
            ("actor_token", actor),
            ("actor_token_type", JWT),
        ])
        .await
    }

    async fn sign_for(&self, delegation: &str) -> Answer {
        let assertion = self.own.sign(&self.assertion("agent:signer", json!({})));
        self.ask(&[
            ("grant_type", EXCHANGE),
            ("subject_token", delegation),
            ("subject_token_type", ACCESS),
            ("client_assertion", &assertion),
            ("client_assertion_type", ASSERTION),
        ])
        .await
    }
}

/// The chain is decided member by member, and each is *self*.
#[tokio::test]
async fn each_member_is_decided_and_is_self() {
    let shop = Shop::new().await;
    // Pat may ask and may decide.
    let pat = shop.lab.session("pat").await;
    let delegation = shop.delegated(&pat, "agent:shop").await;
    let given = shop.act(&delegation, &shop.job_token()).await;
    let bot = shop.caller_of(&given);
    let who = bot.get("/v1/whoami").await;
    assert_eq!(who.text("subject"), "agent:shop");
    assert_eq!(who.body["on_behalf_of"], json!(["person:pat"]));
    let id = bot.held("./tally one for-pat").await;
    let case = shop.lab.stored(&id).await;
    let members: Vec<_> = case
        .request
        .chain
        .members()
        .map(|one| one.id.to_string())
        .collect();
    assert_eq!(members, ["agent:shop", "person:pat"]);
    let own = pat.vote(&id, "approve").await;
    own.refused("whom it acts for", 403, "own_request");
    let olga = shop.lab.session("olga").await;
    olga.vote(&id, "approve")
        .await
        .refused("its owner", 403, "own_request");
    shop.lab.session("ann").await.approve(&id).await;
    // The agent alone, or for another, does not take up what it asked for pat.
    let alone = shop.bot().await;
    assert_eq!(
        alone.claim(&id, "./tally one for-pat").await["code"],
        "not_requester"
    );
    let ray = shop.lab.session("ray").await;
    let other = shop.delegated(&ray, "agent:shop").await;
    let other = shop.caller_of(&shop.act(&other, &shop.job_token()).await);
    assert_eq!(other.get(&format!("/v1/requests/{id}")).await.status, 404);
    assert_eq!(shop.lab.place.ran_with("for-pat"), 0);
    let end = bot.claim(&id, "./tally one for-pat").await;
    assert_eq!(end["event"], "exited", "{end}");
    assert_eq!(shop.lab.place.ran_with("for-pat"), 1);
    shop.lab.verify().await;
}

/// Nobody gains by acting for somebody, nor by having somebody act for them.
#[tokio::test]
async fn a_chain_never_grows_authority() {
    let shop = Shop::new().await;
    // Ann may not ask for anything at the target, the agent may.
    let ann = shop.lab.session("ann").await;
    let for_ann = shop.delegated(&ann, "agent:shop").await;
    let bot = shop.caller_of(&shop.act(&for_ann, &shop.job_token()).await);
    let events = bot.run("./tally free x", 0).await;
    assert_eq!(
        event(&events, "refused").unwrap()["code"],
        "denied",
        "{events:?}"
    );
    // Ada may change the gateway itself, the agent may not.
    let ada = shop.lab.session("ada").await;
    let for_ada = shop.delegated(&ada, "agent:shop").await;
    let bot = shop.caller_of(&shop.act(&for_ada, &shop.job_token()).await);
    for (operation, arguments) in [
        ("agent-stop", json!({ "agent": "bot" })),
        ("agent-token", json!({ "agent": "shop" })),
        ("person-link", json!({ "person": "ada" })),
    ] {
        let answer = bot.propose(operation, arguments).await;
        assert_eq!(answer.text("state"), "denied", "{operation}: {answer:?}");
    }
    for path in ["/v1/policy", "/v1/directory"] {
        assert_eq!(bot.get(path).await.status, 403, "{path}");
    }
    let list = bot.get("/v1/requests").await;
    let seen = list.body["items"].as_array().unwrap().len();
    assert!(seen <= 3, "an auditor's eyes are not delegated: {list:?}");
    // An answer for one chain is none for another.
    let question = json!({
        "subject": { "type": "agent", "id": "shop" }, "action": { "name": "read" },
        "resource": { "type": "Target", "id": "tools" },
    });
    let ask = async |caller: &Caller| {
        let request = caller.request(reqwest::Method::POST, "/access/v1/evaluation");
        let request = request.header("idempotency-key", "one").json(&question);
        Answer::of(request.send().await.unwrap()).await.body["decision"].clone()
    };
    let alone = shop.bot().await;
    assert_eq!(ask(&alone).await, json!(true));
    let for_ann = shop.delegated(&ann, "agent:shop").await;
    let for_ann = shop.caller_of(&shop.act(&for_ann, &shop.job_token()).await);
    assert_eq!(ask(&for_ann).await, json!(false));
    assert_eq!(shop.lab.place.ran(), Vec::<String>::new());
}

/// What a delegation is not.
#[tokio::test]
async fn a_delegation_is_for_one_machine_that_proves_itself() {
    let shop = Shop::new().await;
    let pat = shop.lab.session("pat").await;
    let delegation = shop.delegated(&pat, "agent:shop").await;
    // Not a token of pat's, nor of the agent's.
    let stolen = shop.caller(&delegation);
    for path in ["/v1/whoami", "/v1/requests", "/v1/directory"] {
        assert_eq!(stolen.get(path).await.status, 401, "{path}");
    }
    assert_eq!(
        stolen
            .propose("agent-stop", json!({ "agent": "bot" }))
            .await
            .status,
        401
    );
    let cookie = Caller {
        csrf: Some(String::new()),
        ..stolen
    };
    assert_eq!(cookie.get("/v1/whoami").await.status, 401, "nor a session");
    let at = |path: &str| format!("{}{path}", shop.lab.url);
    let login = cookie
        .http
        .post(at("/v1/login"))
        .json(&json!({ "link": delegation }));
    assert_eq!(login.send().await.unwrap().status(), 401, "nor a link");
    // Only the machine that is named, by a proof of its own.
    let staging = shop
        .github
        .sign(&shop.job(json!({ "environment": "staging" })));
    let answer = shop.act(&delegation, &staging).await;
    refused(
        "another machine",
        &answer,
        400,
        "invalid_request",
        "for another machine",
    );
    let answer = shop.sign_for(&delegation).await;
    refused(
        "another machine's key",
        &answer,
        400,
        "invalid_request",
        "for another machine",
    );
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &delegation),
        ("subject_token_type", ACCESS),
    ];
    refused(
        "nobody",
        &shop.ask(&form).await,
        400,
        "invalid_request",
        "needs who acts",
    );
    let bot = shop.bot().await;
    let answer = shop.act(&delegation, &bot.secret).await;
    refused(
        "a token of ours",
        &answer,
        400,
        "invalid_request",
        "no JSON Web Token",
    );
    let answer = shop.act(&shop.job_token(), &shop.job_token()).await;
    refused(
        "a job's token",
        &answer,
        400,
        "invalid_request",
        "unknown, over or revoked",
    );
    // No token of anybody is a delegation.
    for holder in ["person:pat", "agent:shop"] {
        let (token, _) = shop.lab.issue(CredentialKind::Token, holder, None).await;
        let answer = shop.act(&token, &shop.job_token()).await;
        refused(
            holder,
            &answer,
            400,
            "invalid_request",
            "unknown, over or revoked",
        );
    }
    let answer = shop.act(&pat.secret, &shop.job_token()).await;
    refused(
        "a session",
        &answer,
        400,
        "invalid_request",
        "unknown, over or revoked",
    );
    // Who is named is there and can act.
    for (to, title) in [
        ("agent:nobody", "no agent or workload"),
        ("shop", "no agent or workload"),
        ("person:ann", "no agent or workload"),
        ("", "no agent or workload"),
    ] {
        let answer = pat.post("/v1/delegations", &json!({ "to": to })).await;
        answer.refused(to, 400, "invalid_request");
        assert!(answer.text("title").contains(title), "{answer:?}");
    }
    let long = json!({ "to": "agent:shop", "valid_for": "13h" });
    pat.post("/v1/delegations", &long)
        .await
        .refused("too long", 400, "invalid_request");
    // A page elsewhere makes none.
    let forged = Caller {
        csrf: Some("x".into()),
        ..pat.clone()
    };
    assert_eq!(
        forged
            .post("/v1/delegations", &json!({ "to": "agent:shop" }))
            .await
            .status,
        403
    );
    shop.act(&delegation, &shop.job_token()).await.expect(200);
}

/// An agent for an agent for a person.
#[tokio::test]
async fn chains_are_whole_and_have_an_end() {
    let shop = Shop::new().await;
    let pat = shop.lab.session("pat").await;
    let first = shop.delegated(&pat, "agent:shop").await;
    let bot = shop.caller_of(&shop.act(&first, &shop.job_token()).await);
    // It lets the next one act, for itself and for pat.
    let second = shop.delegated(&bot, "workload:migrator").await;
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let pod = shop.caller_of(&shop.act(&second, &pod).await);
    let who = pod.get("/v1/whoami").await;
    assert_eq!(
        who.body["on_behalf_of"],
        json!(["agent:shop", "person:pat"])
    );
    let third = shop.delegated(&pod, "agent:signer").await;
    let signer = shop.caller_of(&shop.sign_for(&third).await);
    let who = signer.get("/v1/whoami").await;
    let whole = json!(["workload:migrator", "agent:shop", "person:pat"]);
    assert_eq!(who.body["on_behalf_of"], whole);
    let id = signer.held("./tally one deep").await;
    assert_eq!(
        shop.lab.stored(&id).await.request.chain.members().count(),
        4
    );
    pat.vote(&id, "approve")
        .await
        .refused("at its end", 403, "own_request");
    // Four are enough, and nobody is in it twice.
    let body = |to: &str| json!({ "to": to });
    let fifth = signer.post("/v1/delegations", &body("agent:staging")).await;
    assert!(fifth.text("title").contains("at most 4"), "{fifth:?}");
    for to in ["agent:shop", "workload:migrator"] {
        let twice = pod.post("/v1/delegations", &body(to)).await;
        assert!(twice.text("title").contains("already"), "{twice:?}");
    }
    // A link of the chain that is stopped ends what came after it, and what waits.
    let ada = shop.lab.session("ada").await;
    ada.propose("agent-stop", json!({ "agent": "shop" }))
        .await
        .expect(200);
    assert_eq!(bot.get("/v1/whoami").await.kind(), "disabled");
    for (name, caller) in [("the pod", &pod), ("the last", &signer)] {
        let answer = caller.get("/v1/whoami").await;
        assert_ne!(answer.status, 200, "{name}");
    }
    assert_eq!(shop.lab.state(&id).await, "requester_stopped");
    let answer = shop.sign_for(&third).await;
    refused(
        "what it gave",
        &answer,
        400,
        "invalid_request",
        "does not count",
    );
    // Started again, it has none of that back.
    shop.lab
        .change_by("ada", "agent-start", json!({ "agent": "shop" }))
        .await;
    assert_ne!(signer.get("/v1/whoami").await.status, 200);
    let again = shop.sign_for(&third).await;
    refused(
        "after a start",
        &again,
        400,
        "invalid_request",
        "does not count",
    );
    shop.lab.verify().await;
}

/// With what somebody was let act ends what they can do.
#[tokio::test]
async fn what_ends_a_delegation_ends_what_came_of_it() {
    let shop = Shop::new().await;
    let acts = async |person: &Caller| -> (Caller, String, Value) {
        let made = person
            .post("/v1/delegations", &json!({ "to": "agent:shop" }))
            .await;
        let secret = made.text("delegation");
        let bot = shop.caller_of(&shop.act(&secret, &shop.job_token()).await);
        assert_eq!(bot.get("/v1/whoami").await.status, 200);
        (bot, secret, made.body)
    };
    let ada = shop.lab.session("ada").await;
    // The delegation is revoked.
    let pat = shop.lab.session("pat").await;
    let (bot, secret, made) = acts(&pat).await;
    let revoked = json!({ "credential": made["credential"] });
    ada.propose("credential-revoke", revoked).await.expect(200);
    assert_eq!(bot.get("/v1/whoami").await.status, 401);
    let again = shop.act(&secret, &shop.job_token()).await;
    refused(
        "a revoked one",
        &again,
        400,
        "invalid_request",
        "does not count",
    );
    // The session that it came from ends.
    let (bot, secret, _) = acts(&pat).await;
    shop.lab.gateway.identity.revoke(&pat.id).await.unwrap();
    assert_eq!(bot.get("/v1/whoami").await.status, 401);
    let again = shop.act(&secret, &shop.job_token()).await;
    refused(
        "without a session",
        &again,
        400,
        "invalid_request",
        "does not count",
    );
    // The person is disabled.
    let pat = shop.lab.session("pat").await;
    let (bot, _, _) = acts(&pat).await;
    let id = bot.held("./tally one x").await;
    ada.propose("person-disable", json!({ "person": "pat" }))
        .await
        .expect(200);
    assert_ne!(bot.get("/v1/whoami").await.status, 200);
    assert_eq!(shop.lab.state(&id).await, "requester_stopped");
    // Neither lasts longer than the other.
    let ray = shop.lab.session("ray").await;
    let short = json!({ "to": "workload:migrator", "valid_for": "1m" });
    let short = ray.post("/v1/delegations", &short).await.text("delegation");
    let pod = shop.cluster.sign(&shop.pod(json!({})));
    let given = shop.act(&short, &pod).await.expect(200);
    assert!(
        given.body["expires_in"].as_i64().unwrap() <= 60,
        "{given:?}"
    );
    assert_eq!(shop.lab.place.ran(), Vec::<String>::new());
}
