//! Breaking the glass over HTTP, reviews, and every way around either.
//!
//! In scope: lifts by passkey, what is suspended when and for how long, reviews by others, records.
//! Out of scope: what the core refuses for the people involved in all its forms; the core's tests do.
//! Invariant: each test counts what ran at the target and verifies the log.

mod key;

use std::{collections::BTreeMap, time::Duration};

use countersign::gateway::retention;
use countersign_core::time::{Span, Timestamp};
use serde_json::{Value, json};

use self::key::{Passkey, lift, lift_with, review, review_with, to_sign};
use crate::support::{Answer, Caller, Lab, until};

const ONE: &str = "[approval.one]\n";

/// Rule `one` can be lifted by pat, who asks here, and by cyd and bob.
fn with_emergency(within: &str) -> impl FnOnce(&mut BTreeMap<String, String>) {
    let emergency = format!(
        "{ONE}emergency = {{ from = [\"user:pat\", \"user:cyd\", \"user:bob\"], review_within = \"{within}\" }}\n"
    );
    move |files| {
        let approvals = files.get_mut("approvals.toml").unwrap();
        *approvals = approvals.replacen(ONE, &emergency, 1);
        let main = files.get_mut("countersign.toml").unwrap();
        *main = main.replacen(
            "[server]\n",
            "[server]\npublic_url = \"http://localhost:7770\"\n",
            1,
        );
    }
}

/// Pat with a session, a token to ask with, and a passkey.
struct Pat {
    session: Caller,
    token: Caller,
    key: Passkey,
}

impl Pat {
    async fn of(lab: &Lab) -> Self {
        let key = Passkey::of(lab, "pat").await;
        Self {
            session: lab.session("pat").await,
            token: lab.token("person:pat").await,
            key,
        }
    }

    async fn lifts(&self, id: &str) -> Answer {
        lift(&self.session, &self.key, id, "one").await
    }
}

fn lifted(detail: &Value) -> &Value {
    &detail["lifted"][0]
}

async fn emergencies(caller: &Caller, state: &str) -> Vec<String> {
    let list = caller.get(&format!("/v1/emergencies?state={state}")).await;
    let items = list.expect(200).body["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_person_lifts_a_rule_and_somebody_else_reviews_it() {
    let lab = Lab::with(with_emergency("1h")).await;
    let (pat, ann) = (Pat::of(&lab).await, lab.session("ann").await);
    let id = pat.token.held("./tally one alarm").await;
    let seen = pat.session.see(&id).await;
    assert_eq!(seen["can_lift"][0]["rule"], "one", "{seen}");
    assert_eq!(seen["rules"][0]["emergency"]["review_within"], "1h");
    let detail = pat.lifts(&id).await.expect(200).body;
    assert_eq!(detail["state"], "approved", "{detail}");
    assert_eq!(lifted(&detail)["review"], "due");
    assert_eq!(detail["votes"], json!([]), "a lift is no vote");
    let ended = pat.token.claim(&id, "./tally one alarm").await;
    assert_eq!(ended["event"], "exited", "{ended}");
    assert_eq!(lab.place.ran(), ["alarm"]);

    // It stays to be seen until somebody else said what they found.
    assert_eq!(emergencies(&ann, "due").await, std::slice::from_ref(&id));
    assert!(emergencies(&ann, "overdue").await.is_empty());
    let health = ann.get("/v1/health").await.body;
    assert!(
        health["notices"].to_string().contains("to be reviewed"),
        "{health}"
    );
    lab.verify().await;
    let detail = review(&ann, &id, "one").await.expect(200).body;
    assert_eq!(lifted(&detail)["review"], "reviewed");
    assert_eq!(lifted(&detail)["reviewed"]["note"], "as they say");
    assert_eq!(
        emergencies(&ann, "reviewed").await,
        std::slice::from_ref(&id)
    );
    assert!(emergencies(&ann, "due").await.is_empty());
    review(&ann, &id, "one")
        .await
        .refused("twice", 409, "stale_act");
    let kinds: Vec<_> = lab
        .records()
        .iter()
        .map(|one| one.kind().to_owned())
        .collect();
    assert!(kinds.contains(&"emergency.reviewed".to_owned()));
    let is_lift = |one: &&crate::support::journal::Entry| {
        one.kind() == "approval.decided" && one.field("emergency") == &json!(true)
    };
    assert_eq!(lab.records().iter().filter(is_lift).count(), 1);
    lab.verify().await;
}

#[tokio::test]
async fn only_a_passkey_in_a_session_lifts() {
    let lab = Lab::with(with_emergency("1h")).await;
    let pat = Pat::of(&lab).await;
    let id = pat.token.held("./tally one x").await;
    let path = format!("/v1/requests/{id}/emergency");
    let seen = pat.session.see(&id).await;
    let bare = json!({
        "rule": "one", "reason": "r", "digest": seen["digest"], "act": seen["act"],
    });
    // Without a signature there is not even a form.
    pat.session
        .post(&path, &bare)
        .await
        .refused("bare", 400, "invalid_request");
    // A token, with a signature that the session got.
    let options = to_sign(&pat.session, &id, Some("one"), "r")
        .await
        .expect(200);
    let signed = pat.key.sign(&options.body);
    let by_token = lift_with(&pat.token, &id, ("one", "r"), &signed).await;
    by_token.refused("token", 403, "not_a_session");
    // The agent that olga owns, by olga, whom the rule does not name, and by bob, whom it does.
    let bot = lab.bot().await.held("./tally one y").await;
    let (bob, key) = (lab.session("bob").await, Passkey::of(&lab, "bob").await);
    let of_agent = lift(&bob, &key, &bot, "one").await;
    of_agent.refused("an agent's", 403, "no_emergency");
    assert_eq!(bob.see(&bot).await["can_lift"], Value::Null);
    // Ann may sign it and not lift it; and nobody lifts what has no emergency.
    let (ann, key) = (lab.session("ann").await, Passkey::of(&lab, "ann").await);
    lift(&ann, &key, &id, "one")
        .await
        .refused("ann", 403, "not_eligible");
    let two = pat.token.held("./tally two x").await;
    let other = lift(&pat.session, &pat.key, &two, "two").await;
    other.refused("no emergency", 403, "no_emergency");
    // A second account of pat's: the link was pat's.
    let second = lab.session_from("cyd", Some("pat")).await;
    let key = Passkey::of(&lab, "cyd").await;
    let second = lift(&second, &key, &id, "one").await;
    second.refused("second account", 403, "credential_from_requester");
    assert_eq!(lab.state(&id).await, "held");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn a_signed_vote_is_no_lift_and_a_lift_is_no_vote() {
    let lab = Lab::with(with_emergency("1h")).await;
    let pat = Pat::of(&lab).await;
    let (bob, key) = (lab.session("bob").await, Passkey::of(&lab, "bob").await);
    let id = pat.token.held("./tally one x").await;
    let vote = to_sign(&bob, &id, None, "r").await.expect(200).body;
    assert!(!vote["statement"].as_str().unwrap().contains("lifts"));
    let refused = lift_with(&bob, &id, ("one", "r"), &key.sign(&vote)).await;
    refused.refused("a vote as a lift", 409, "passkey_refused");
    let options = to_sign(&bob, &id, Some("one"), "r").await.expect(200).body;
    assert!(
        options["statement"]
            .as_str()
            .unwrap()
            .contains("\"lifts\":\"one\"")
    );
    let seen = bob.see(&id).await;
    let body = json!({
        "verdict": "approve", "reason": "r", "digest": seen["digest"], "act": seen["act"],
        "passkey": key.sign(&options),
    });
    let refused = bob.post(&format!("/v1/requests/{id}/votes"), &body).await;
    refused.refused("a lift as a vote", 409, "passkey_refused");
    // Another rule, another reason, and the same twice.
    let options = to_sign(&bob, &id, Some("two"), "r").await.expect(200).body;
    let refused = lift_with(&bob, &id, ("one", "r"), &key.sign(&options)).await;
    refused.refused("another rule", 409, "passkey_refused");
    let options = to_sign(&bob, &id, Some("one"), "r").await.expect(200).body;
    let signed = key.sign(&options);
    let refused = lift_with(&bob, &id, ("one", "else"), &signed).await;
    refused.refused("another reason", 409, "passkey_refused");
    let again = lift_with(&bob, &id, ("one", "r"), &signed).await;
    again.refused("spent", 409, "passkey_refused");
    assert_eq!(lab.state(&id).await, "held");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn of_two_lifts_at_once_one_counts() {
    let lab = Lab::with(with_emergency("1h")).await;
    let pat = Pat::of(&lab).await;
    let (bob, key) = (lab.session("bob").await, Passkey::of(&lab, "bob").await);
    let id = pat.token.held("./tally one x").await;
    let (one, other) = tokio::join!(pat.lifts(&id), lift(&bob, &key, &id, "one"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{one:?} {other:?}");
    assert_eq!(lab.stored(&id).await.lifted.len(), 1);
    assert_eq!(lab.gateway.engine.emergencies().requests().len(), 1);
    lab.nothing_ran().await;
}

#[tokio::test]
async fn a_lift_falls_with_the_place_of_its_author() {
    let lab = Lab::with(with_emergency("1h")).await;
    let pat = Pat::of(&lab).await;
    let (bob, key) = (lab.session("bob").await, Passkey::of(&lab, "bob").await);
    let id = pat.token.held("./tally one x").await;
    lift(&bob, &key, &id, "one").await.expect(200);
    lab.apply(|files| {
        let approvals = files.get_mut("approvals.toml").unwrap();
        *approvals = approvals.replace(", \"user:bob\"], review", "], review");
    })
    .await;
    assert_eq!(lab.state(&id).await, "held");
    let refused = pat.token.claim(&id, "./tally one x").await;
    assert_ne!(refused["event"], "exited", "{refused}");
    // Its review is due nevertheless.
    assert!(
        lab.gateway
            .engine
            .emergencies()
            .awaits(&id.parse().unwrap())
    );
    lab.nothing_ran().await;
}

/// After a crash between the lift and the claim what was signed is checked again.
#[tokio::test]
async fn a_lift_outlives_a_restart_and_a_revoked_passkey_takes_it_along() {
    let lab = Lab::with(with_emergency("1h")).await;
    let pat = Pat::of(&lab).await;
    let id = pat.token.held("./tally one kept").await;
    let other = pat.token.held("./tally one lost").await;
    pat.lifts(&id).await.expect(200);
    pat.lifts(&other).await.expect(200);
    let lab = lab.restart().await;
    let token = lab.token("person:pat").await;
    let ended = token.claim(&id, "./tally one kept").await;
    assert_eq!(ended["event"], "exited", "{ended}");
    assert_eq!(lab.gateway.engine.emergencies().requests().len(), 2);
    let lift = &lab.stored(&other).await.lifted[0];
    let passkey = json!({ "credential": lift.vote.credential.id });
    let abe = lab.session("abe").await;
    let revoked = abe.propose("credential-revoke", passkey).await;
    assert_eq!(revoked.text("state"), "succeeded", "{revoked:?}");
    let refused = token.claim(&other, "./tally one lost").await;
    assert_ne!(refused["event"], "exited", "{refused}");
    assert_eq!(lab.place.ran(), ["kept"]);
    lab.verify().await;
}

/// A rule whose last use nobody reviewed in time, with that use.
async fn overdue() -> (Lab, Pat, String) {
    let lab = Lab::with(with_emergency("1s")).await;
    let pat = Pat::of(&lab).await;
    let id = pat.token.held("./tally one first").await;
    pat.lifts(&id).await.expect(200);
    let ended = pat.token.claim(&id, "./tally one first").await;
    assert_eq!(ended["event"], "exited", "{ended}");
    // No event makes it overdue, though one is recorded soon after.
    until("the review is overdue", || async {
        let kinds = lab.records();
        kinds.iter().any(|one| one.kind() == "emergency.overdue")
    })
    .await;
    (lab, pat, id)
}

#[tokio::test]
async fn an_overdue_review_suspends_the_rule_until_somebody_reviews() {
    let (lab, pat, id) = overdue().await;
    let second = pat.token.held("./tally one second").await;
    assert_eq!(pat.session.see(&second).await["can_lift"], Value::Null);
    pat.lifts(&second)
        .await
        .refused("suspended", 403, "no_emergency");
    let ann = lab.session("ann").await;
    assert_eq!(
        emergencies(&ann, "overdue").await,
        std::slice::from_ref(&id)
    );
    let health = ann.get("/v1/health").await.body;
    assert!(
        health["notices"]
            .to_string()
            .contains("nobody reviewed in time"),
        "{health}"
    );
    // A restart forgets nothing.
    let lab = lab.restart().await;
    let again = lab.session("pat").await;
    let refused = lift(&again, &pat.key, &second, "one").await;
    refused.refused("after a restart", 403, "no_emergency");
    // Nor does retention, nor erasing whom it names.
    let in_a_year = Timestamp(lab.gateway.clock.now().0 + Span::minutes(525_600).as_millis());
    lab.apply(|files| {
        let main = files.get_mut("countersign.toml").unwrap();
        main.push_str("\n[retention]\npayload = \"30d\"\nwords = \"30d\"\n");
    })
    .await;
    retention::apply(&lab.gateway, in_a_year).await.unwrap();
    assert_eq!(lab.state(&id).await, "succeeded");
    let refused = lift(&lab.session("pat").await, &pat.key, &second, "one").await;
    refused.refused("after retention", 403, "no_emergency");
    let ann = lab.session("ann").await;
    review(&ann, &id, "one").await.expect(200);
    lift(&lab.session("pat").await, &pat.key, &second, "one")
        .await
        .expect(200);
    assert_eq!(lab.place.ran(), ["first"]);
    lab.verify().await;
}

#[tokio::test]
async fn a_new_name_for_the_rule_escapes_nothing() {
    let (lab, pat, id) = overdue().await;
    let renamed = |files: &mut BTreeMap<String, String>| {
        for text in files.values_mut() {
            *text = text.replace("[approval.one]", "[approval.uno]");
            *text = text.replace("@approval(\"one\")", "@approval(\"uno\")");
        }
    };
    lab.apply(renamed).await;
    let second = pat.token.held("./tally one second").await;
    let refused = lift(&pat.session, &pat.key, &second, "uno").await;
    refused.refused("renamed", 403, "no_emergency");
    let lab = lab.restart().await;
    let refused = lift(&lab.session("pat").await, &pat.key, &second, "uno").await;
    refused.refused("renamed, restarted", 403, "no_emergency");
    // Whom the rule named when it was lifted can review it under its new name.
    review(&lab.session("ann").await, &id, "one")
        .await
        .expect(200);
    lift(&lab.session("pat").await, &pat.key, &second, "uno")
        .await
        .expect(200);
    assert_eq!(lab.place.ran(), ["first"]);
    lab.verify().await;
}

#[tokio::test]
async fn nobody_reviews_their_own() {
    let (lab, pat, id) = overdue().await;
    let digest = json!(lab.stored(&id).await.request.digest.to_string());
    let act = |caller: &Caller| {
        let acts = lab.gateway.identity.acts();
        let (now, digest) = (lab.gateway.clock.now(), digest.as_str().unwrap());
        let digest = countersign_core::digest::ActionDigest(digest.parse().unwrap());
        acts.act(&caller.id, &id.parse().unwrap(), &digest, now)
    };
    let with = async |caller: &Caller, note: &str| {
        let act = act(caller);
        review_with(caller, &id, ("one", note), (&digest, &act)).await
    };
    let refused = with(&pat.session, "fine").await;
    refused.refused("the lifter", 403, "own_emergency");
    let token = lab.token("person:ann").await;
    with(&token, "fine")
        .await
        .refused("a token", 403, "not_a_session");
    let second = lab.session_from("ann", Some("pat")).await;
    let refused = with(&second, "fine").await;
    refused.refused("a second account", 403, "credential_from_requester");
    // Sid is in no group of the rule, and learns nothing.
    let sid = lab.session("sid").await;
    with(&sid, "fine")
        .await
        .refused("sid", 404, "no_such_request");
    // Ada reads everything, and is not named either.
    let ada = lab.session("ada").await;
    with(&ada, "fine").await.refused("ada", 403, "not_eligible");
    let ann = lab.session("ann").await;
    with(&ann, " ")
        .await
        .refused("blank", 422, "reason_required");
    let act_of_another = act(&pat.session);
    let refused = review_with(&ann, &id, ("one", "x"), (&digest, &act_of_another)).await;
    refused.refused("another's act", 409, "stale_act");
    assert!(
        lab.gateway
            .engine
            .emergencies()
            .awaits(&id.parse().unwrap())
    );
    with(&ann, "fine").await.expect(200);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(
        !lab.gateway
            .engine
            .emergencies()
            .awaits(&id.parse().unwrap())
    );
    lab.verify().await;
}
