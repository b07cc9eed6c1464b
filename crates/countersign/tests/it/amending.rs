//! Amendments that a crash cuts off: of two requests one is left.

use std::time::Duration;

use countersign::{
    engine::{Admitted, Asked, EngineError},
    secrets::Secrets,
};
use countersign_core::request::{Amends, Closure, Phase};
use serde_json::{Value, json};

use crate::{
    crash::Installation,
    support::{Caller, Lab, argv, full, journal},
};

/// Has the first half of an amendment done, as far as a crash can leave it: the new request is held,
/// and the original knows nothing of it.
async fn half_amended(lab: &Lab, original: &str, editor: &str, command: &str) -> String {
    match try_half_amended(lab, original, editor, command)
        .await
        .unwrap()
    {
        Admitted::Held(case) => case.request.id.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn try_half_amended(
    lab: &Lab,
    original: &str,
    editor: &str,
    command: &str,
) -> Result<Admitted, EngineError> {
    let bot = lab.bot().await;
    let like = bot.held(command).await;
    bot.post(&format!("/v1/requests/{like}/cancel"), &json!({}))
        .await
        .expect(200);
    let (like, before) = (lab.stored(&like).await.request, lab.stored(original).await);
    let earlier = before
        .request
        .amends
        .into_iter()
        .map(|amends| amends.editor);
    let asked = Asked {
        chain: like.chain,
        action: like.action,
        effects: like.effects,
        captures: like.captures,
        reason: like.reason,
        behind: like.behind,
        presentation: like.presentation,
        resource_owners: like.resource_owners,
        places: std::collections::BTreeMap::new(),
        issuers: before.request.issuers.into_iter().chain(earlier).collect(),
        administrative: false,
        amends: Some(Amends {
            request: original.parse().unwrap(),
            editor: editor.parse().unwrap(),
        }),
        trace: None,
        secrets: Secrets::default(),
    };
    lab.gateway.admission.ask(asked).await
}

async fn states<const N: usize>(lab: &Lab, ids: [&String; N]) -> [String; N] {
    let mut states = [const { String::new() }; N];
    for (state, id) in states.iter_mut().zip(ids) {
        *state = lab.state(id).await;
    }
    states
}

/// What a request was amended into, and by whom.
async fn amended(lab: &Lab, id: &str) -> (String, String) {
    match lab.stored(id).await.phase {
        Phase::Closed {
            closure: Closure::Amended { by, into },
            ..
        } => (by.to_string(), into.to_string()),
        other => panic!("{other:?}"),
    }
}

/// The original may have votes already, and the new request, too.
#[tokio::test]
async fn a_start_finishes_an_amendment() {
    let lab = Lab::new().await;
    let (bot, cyd) = (lab.bot().await, lab.session("cyd").await);
    let original = bot.held("./tally two before").await;
    cyd.approve(&original).await;
    let into = half_amended(&lab, &original, "ann", "./tally one after").await;
    // Approved, it does not run while the original could run, too.
    cyd.approve(&into).await;
    let claimed = bot.claim(&into, "").await;
    assert_eq!(claimed["code"], "original_not_closed", "{claimed}");
    assert_eq!(states(&lab, [&original, &into]).await, ["held", "approved"]);
    let lab = lab.restart().await;
    assert_eq!(amended(&lab, &original).await, ("ann".into(), into.clone()));
    assert_eq!(lab.state(&into).await, "approved");
    let kinds: Vec<_> = lab
        .records()
        .iter()
        .filter(|entry| entry.request() == Some(&original))
        .map(|entry| entry.kind().to_owned())
        .collect();
    assert_eq!(kinds[kinds.len() - 2..], ["commented", "request.closed"]);
    // Nothing more is done by another start.
    let records = lab.records().len();
    let lab = lab.restart().await;
    let started = lab.records().len() - records;
    assert_eq!(
        lab.records()
            .iter()
            .rev()
            .take(started)
            .filter(|entry| entry.request().is_some())
            .count(),
        0
    );
    let bot = lab.bot().await;
    assert_eq!(bot.claim(&into, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), ["after"]);
    lab.verify().await;
}

/// A new request that ended took the amendment with it; people decide about the original.
#[tokio::test]
async fn an_amendment_that_ended_leaves_the_original() {
    let lab = Lab::new().await;
    let (bot, cyd) = (lab.bot().await, lab.session("cyd").await);
    let original = bot.held("./tally one before").await;
    let into = half_amended(&lab, &original, "ann", "./tally one after").await;
    cyd.vote(&into, "deny").await.expect(200);
    let lab = lab.restart().await;
    assert_eq!(states(&lab, [&original, &into]).await, ["held", "denied"]);
    lab.session("cyd").await.approve(&original).await;
    assert_eq!(
        lab.bot().await.claim(&original, "").await["event"],
        "exited"
    );
    assert_eq!(lab.place.ran(), ["before"]);
    lab.verify().await;
}

/// Cut off twice, the last version is left, and nobody who edited one approves it.
#[tokio::test]
async fn a_start_finishes_a_chain_of_amendments() {
    let lab = Lab::new().await;
    let first = lab.bot().await.held("./tally one a").await;
    let second = half_amended(&lab, &first, "ann", "./tally one b").await;
    // Chains end in their order: nothing replaces what has not taken its own original's place.
    let early = try_half_amended(&lab, &second, "bob", "./tally one c").await;
    assert!(
        matches!(&early, Err(EngineError::OriginalNotClosed(id)) if id.as_str() == first),
        "{early:?}"
    );
    let lab = lab.restart().await;
    let third = half_amended(&lab, &second, "bob", "./tally one c").await;
    let lab = lab.restart().await;
    assert_eq!(
        states(&lab, [&first, &second, &third]).await,
        ["amended", "amended", "held"]
    );
    assert_eq!(amended(&lab, &first).await, ("ann".into(), second));
    assert_eq!(
        amended(
            &lab,
            &lab.stored(&third)
                .await
                .request
                .amends
                .unwrap()
                .request
                .to_string()
        )
        .await,
        ("bob".into(), third.clone())
    );
    for editor in ["ann", "bob"] {
        let editor = lab.session(editor).await;
        let digest = lab.stored(&third).await.request.digest;
        let seen = json!({ "digest": digest, "can": [] });
        let vote = editor.vote_seen(&third, "approve", &seen).await;
        assert_ne!(vote.status, 200, "{vote:?}");
    }
    lab.session("cyd").await.approve(&third).await;
    assert_eq!(lab.bot().await.claim(&third, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), ["c"]);
    lab.verify().await;
}

/// Where the original ended otherwise, or its editor may not decide any more, the amendment did not
/// happen.
#[tokio::test]
async fn a_start_ends_an_amendment_that_can_not_be_finished() {
    let lab = Lab::new().await;
    let (bot, cyd) = (lab.bot().await, lab.session("cyd").await);
    let denied = bot.held("./tally one a").await;
    let instead = half_amended(&lab, &denied, "ann", "./tally one b").await;
    cyd.vote(&denied, "deny").await.expect(200);
    let original = bot.held("./tally one c").await;
    // Olga owns the agent that asks.
    let own = half_amended(&lab, &original, "olga", "./tally one d").await;
    let lab = lab.restart().await;
    assert_eq!(
        states(&lab, [&denied, &instead, &original, &own]).await,
        ["denied", "cancelled", "held", "cancelled"]
    );
    lab.nothing_ran().await;
}

/// Whoever becomes *self* of the original between its two halves is *self* of the new request.
#[tokio::test]
async fn who_became_self_meanwhile_is_self_of_what_it_becomes() {
    let lab = Lab::new().await;
    let original = lab.bot().await.held("./tally one a").await;
    let into = half_amended(&lab, &original, "ann", "./tally one b").await;
    let mut stored = lab.stored(&original).await;
    assert!(stored.self_grown.is_empty());
    // As if a change had been proposed just before the new request was held.
    let grew = countersign_core::lifecycle::Event::SelfGrew {
        people: ["cyd".parse().unwrap()].into(),
    };
    let grew = countersign::engine::Input::Event(grew);
    let id = original.parse().unwrap();
    lab.gateway.engine.step(id, grew).await.unwrap();
    let lab = lab.restart().await;
    stored = lab.stored(&into).await;
    assert!(stored.self_grown.contains(&"cyd".parse().unwrap()));
    lab.session("bob").await.approve(&into).await;
    assert_eq!(lab.bot().await.claim(&into, "").await["event"], "exited");
    lab.verify().await;
}

/// Asks for an amendment without failing when the server is gone.
async fn try_amend(ann: Caller, id: String, command: String) {
    let body = json!({ "argv": argv(&command), "text": "rather this" });
    let path = format!("/v1/requests/{id}/amendments");
    let _gone = ann
        .request(reqwest::Method::POST, &path)
        .json(&body)
        .send()
        .await;
}

/// The real server, killed while requests are being amended: never are both of two open afterwards.
#[tokio::test]
async fn killed_while_amending() {
    let installation = Installation::new().await;
    let (bot, ann) = (&installation.bot, &installation.ann);
    let rounds = if full() { 20 } else { 4 };
    for round in 0..rounds {
        let server = installation.start().await;
        let mut originals = Vec::new();
        for word in 0..6 {
            originals.push(bot.held(&format!("./tally one r{round}x{word}")).await);
        }
        let amending: Vec<_> = originals
            .iter()
            .map(|id| {
                let command = format!("./tally one {id}");
                tokio::spawn(try_amend(ann.clone(), id.clone(), command))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(3 + 7 * round)).await;
        server.kill();
        for one in amending {
            one.await.unwrap();
        }
        let server = installation.start().await;
        let open = ann
            .get("/v1/requests?state=held&limit=200")
            .await
            .expect(200);
        let open = open.body["items"].as_array().unwrap().clone();
        for request in &open {
            let seen = ann.see(request["id"].as_str().unwrap()).await;
            let replaced: Option<&str> = seen.get("amends").and_then(Value::as_str);
            assert!(
                open.iter()
                    .all(|other| Some(other["id"].as_str().unwrap()) != replaced),
                "both are open: {seen}"
            );
        }
        ann.get("/v1/log/checkpoint").await.expect(200);
        journal::verify(&installation.place.log());
        server.kill();
    }
}
