//! Somebody is away, and somebody else signs in their place: over HTTP, through a restart, to the record.

use countersign_evidence::body::Body;
use serde_json::{Value, json};

use crate::support::Lab;

const HOUR: i64 = 3_600_000;

/// `person` is away from an hour ago for some hours.
fn away(lab: &Lab, person: &str, stand_in: &str) -> Value {
    let now = lab.gateway.clock.now().0;
    json!({
        "person": person, "stand_in": stand_in, "from": now - HOUR, "until": now + 5 * HOUR,
    })
}

/// Whose place each vote on a request was given in.
async fn places(lab: &Lab, id: &str) -> Vec<Option<String>> {
    let votes = lab.stored(id).await.votes;
    let places = votes.into_iter().map(|vote| vote.in_place_of);
    places
        .map(|place| place.map(|away| away.to_string()))
        .collect()
}

#[tokio::test]
async fn a_stand_in_signs_and_the_record_says_for_whom() {
    let lab = Lab::new().await;
    let (bot, sid) = (lab.bot().await, lab.session("sid").await);
    lab.change_by("ada", "absence-set", away(&lab, "ann", "sid"))
        .await;
    let id = bot.held("./tally one x").await;
    let able = sid.see(&id).await["can_sign"].clone();
    assert_eq!(able["standing_in"], json!({ "sid": "ann" }), "{able}");
    // One of the two signs, so that they are one to the agent.
    let (count, names) = (&able["count"], able["people"].as_array().unwrap());
    assert_eq!(count.as_u64().unwrap() + 1, names.len() as u64, "{able}");
    sid.approve(&id).await;
    let votes = lab.session("bob").await.see(&id).await["votes"].clone();
    assert_eq!(votes[0]["in_place_of"], "ann", "{votes}");
    bot.claim(&id, "./tally one x").await;
    assert_eq!(lab.place.ran(), ["x"]);
    let recorded = lab
        .records()
        .into_iter()
        .filter_map(|entry| match entry.leaf.body {
            Body::ApprovalDecided(vote) => vote.in_place_of,
            _ => None,
        });
    assert_eq!(recorded.count(), 1);
    lab.verify().await;
}

#[tokio::test]
async fn it_outlives_restarts_and_settings_and_ends_when_somebody_says_so() {
    let lab = Lab::new().await;
    lab.change_by("ada", "absence-set", away(&lab, "ann", "sid"))
        .await;
    lab.apply(|files| {
        files
            .get_mut("countersign.toml")
            .unwrap()
            .push_str("\n# a word\n")
    })
    .await;
    let lab = lab.restart().await;
    let (bot, sid) = (lab.bot().await, lab.session("sid").await);
    let id = bot.held("./tally one x").await;
    sid.approve(&id).await;
    assert_eq!(places(&lab, &id).await, [Some("ann".into())]);
    // Back: what was signed in their place does not count any more.
    lab.change_by("ada", "absence-end", json!({ "person": "ann" }))
        .await;
    assert_eq!(lab.state(&id).await, "held");
    let other = bot.held("./tally one y").await;
    sid.get(&format!("/v1/requests/{other}")).await.expect(404);
    let ada = lab.session("ada").await;
    let again = ada.propose("absence-end", json!({ "person": "ann" })).await;
    again.refused("nobody is away", 422, "invalid_proposal");
    lab.nothing_ran().await;
    lab.verify().await;
}

#[tokio::test]
async fn the_side_of_who_asks_lends_nothing() {
    let lab = Lab::new().await;
    let (bot, sid) = (lab.bot().await, lab.session("sid").await);
    // `olga` answers for the agent that asks; she is a reviewer of everything else.
    lab.change_by("ada", "absence-set", away(&lab, "olga", "sid"))
        .await;
    let id = bot.held("./tally one x").await;
    let refused = sid.vote(&id, "approve").await;
    refused.refused("for the owner", 403, "not_eligible");
    // And whoever lets somebody stand in while a request waits is a part of its side.
    let id = bot.held("./tally one y").await;
    lab.change_by("ray", "absence-set", away(&lab, "ray", "sid"))
        .await;
    let refused = sid.vote(&id, "approve").await;
    refused.refused("for the proposer", 403, "not_eligible");
    let later = bot.held("./tally one z").await;
    sid.approve(&later).await;
    assert_eq!(places(&lab, &later).await, [Some("ray".into())]);
    lab.nothing_ran().await;
}

#[tokio::test]
async fn everybody_may_ask_for_their_own_where_policy_says_so() {
    let own = "@id(\"own\") permit (principal is Person, action == Action::\"countersign:absence-own\", resource);\n";
    let lab = Lab::with(|files| files.get_mut("policies/all.cedar").unwrap().push_str(own)).await;
    let ann = lab.session("ann").await;
    let of_bob = ann.propose("absence-set", away(&lab, "bob", "sid")).await;
    assert_eq!(of_bob.text("state"), "denied", "{of_bob:?}");
    lab.change_by("ann", "absence-set", away(&lab, "ann", "sid"))
        .await;
    let directory = ann.get("/v1/directory").await.expect(200).body;
    let people = directory["people"].as_array().unwrap();
    let found = people.iter().find(|one| one["id"] == "ann").unwrap();
    assert_eq!(found["absence"]["stand_in"], "sid");
    assert_eq!(found["absence"]["countersigned"], true);
    lab.change_by("ann", "absence-end", json!({ "person": "ann" }))
        .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let now = lab.gateway.clock.now().0;
    let absence = |person: &str, stand_in: &str, from: i64, until: i64| json!({ "person": person, "stand_in": stand_in, "from": from, "until": until });
    let day = 24 * HOUR;
    for (what, body) in [
        ("themselves", absence("ann", "ann", now, now + day)),
        ("nobody", absence("nemo", "sid", now, now + day)),
        ("by nobody", absence("ann", "nemo", now, now + day)),
        ("backwards", absence("ann", "sid", now + day, now)),
        ("no time", absence("ann", "sid", now + day, now + day)),
        ("too long", absence("ann", "sid", now, now + 181 * day)),
        (
            "too long by much",
            absence("ann", "sid", i64::MIN, i64::MAX),
        ),
        (
            "over already",
            absence("ann", "sid", now - 2 * day, now - day),
        ),
        (
            "a machine",
            json!({ "person": "ann", "stand_in": "agent:bot", "from": 0, "until": now }),
        ),
        (
            "more",
            json!({ "person": "ann", "stand_in": "sid", "from": now, "until": now + 1, "x": 1 }),
        ),
    ] {
        let answer = ada.propose("absence-set", body).await;
        answer.refused(what, 422, "invalid_proposal");
    }
    assert!(lab.gateway.active().directory.absences.is_empty());
}

#[tokio::test]
async fn whoever_is_erased_stands_in_for_nobody() {
    let lab = Lab::new().await;
    let nell = "nell.erased@example.com";
    lab.change_by("ada", "person-add", json!({ "person": nell }))
        .await;
    lab.change_by("ada", "absence-set", away(&lab, "ann", nell))
        .await;
    let ada = lab.session("ada").await;
    ada.propose("person-disable", json!({ "person": nell }))
        .await
        .expect(200);
    let ada = lab.session("ada").await;
    ada.propose("person-disable", json!({ "person": nell }))
        .await
        .expect(200);
    lab.change_by("ada", "person-erase", json!({ "person": nell }))
        .await;
    assert!(lab.gateway.active().directory.absences.is_empty());
    let lab = lab.restart().await;
    assert!(lab.gateway.active().directory.absences.is_empty());
    lab.verify().await;
}

#[tokio::test]
async fn whom_it_serves_does_not_countersign_it() {
    let lab = Lab::new().await;
    let (ada, abe) = (lab.session("ada").await, lab.session("abe").await);
    let proposed = ada.propose("absence-set", away(&lab, "ann", "abe")).await;
    let id = proposed.text("request");
    let refused = abe.vote(&id, "approve").await;
    refused.refused("the stand-in", 403, "own_request");
    lab.session("ray").await.approve(&id).await;
    ada.post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await
        .expect(200);
    // What waits, they sign: they had no hand in it.
    let waiting = lab.bot().await.held("./tally one x").await;
    abe.approve(&waiting).await;
    assert_eq!(places(&lab, &waiting).await, [Some("ann".into())]);
    lab.verify().await;
}

#[tokio::test]
async fn nobody_sends_somebody_in_their_place_alone() {
    let alone = "@id(\"own\") permit (principal is Person, action == Action::\"countersign:absence-own\", resource);\n";
    let lab = Lab::with(|files| {
        let policies = files.get_mut("policies/all.cedar").unwrap();
        let except = "action == Action::\"countersign:agent-stop\"";
        let own = format!("{except} || action == Action::\"countersign:absence-own\"");
        *policies = policies.replacen(except, &own, 1) + alone;
    })
    .await;
    let ann = lab.session("ann").await;
    let refused = ann.propose("absence-set", away(&lab, "ann", "sid")).await;
    assert!(
        refused.text("title").contains("second person"),
        "{refused:?}"
    );
    assert!(lab.gateway.active().directory.absences.is_empty());
    lab.verify().await;
}

#[tokio::test]
async fn whoever_had_a_hand_in_it_is_self_in_what_waits() {
    let lab = Lab::new().await;
    let waiting = lab.bot().await.held("./tally one x").await;
    // A session of ada's from a link that sid made: it is sid who proposes.
    let (ada, abe) = (
        lab.session_from("ada", Some("sid")).await,
        lab.session("abe").await,
    );
    let proposed = ada.propose("absence-set", away(&lab, "ann", "sid")).await;
    let id = proposed.text("request");
    abe.approve(&id).await;
    ada.post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await
        .expect(200);
    let sid = lab.session("sid").await;
    let refused = sid.vote(&waiting, "approve").await;
    refused.refused("by ann's right", 403, "own_request");
    lab.nothing_ran().await;
}
