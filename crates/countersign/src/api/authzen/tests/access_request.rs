//! Asking people.

use super::*;

const PATH: &str = "/access/v1/requests";

fn with(question: &Value, denial: Value) -> Value {
    let mut body = question.clone();
    body["denial"] = denial;
    body
}

#[tokio::test]
async fn a_submission_asks_people_and_says_what_becomes_of_it() {
    let bench = Bench::new().await;
    let id = bench.submit(&held()).await;
    let task = bench.get(&bench.bot, &format!("{PATH}/{id}")).await;
    assert_eq!(task.text("/task/status"), "pending");
    assert!(
        task.text("/task/status_endpoint")
            .ends_with(&format!("{PATH}/{id}"))
    );
    assert!(
        task.text("/task/links/review")
            .ends_with(&format!("/requests/{id}"))
    );
    assert!(task.text("/task/links/cancel").ends_with("/cancel"));
    assert!(task.body["task"]["expires_at"].is_string());
    assert_eq!(bench.submit(&held()).await, id);

    let shown = bench.get(&bench.bot, &format!("/v1/requests/{id}")).await;
    assert_eq!(shown.body["advisory"], true);
    assert_eq!(shown.text("/gate"), "authzen");
    assert!(
        shown
            .text("/action")
            .starts_with("Advisory: the caller executes this itself")
    );
    assert!(shown.text("/action").contains("\"rows\": 3"));
    assert_eq!(shown.text("/reason"), "ticket 7");

    assert_eq!(
        bench
            .get(&bench.other, &format!("{PATH}/{id}"))
            .await
            .problem(),
        "no_such_request"
    );
    let by_other = bench
        .post(&bench.other, &format!("{PATH}/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(by_other.problem(), "no_such_request");
    for _ in 0..2 {
        let cancelled = bench
            .post(&bench.bot, &format!("{PATH}/{id}/cancel"), &json!({}))
            .await;
        assert_eq!(cancelled.text("/task/status"), "cancelled");
    }
}

#[tokio::test]
async fn a_denial_by_people_is_final_for_a_while() {
    let bench = Bench::new().await;
    let id = bench.submit(&held()).await;
    let own = bench.vote("olga@example.com", &id, "approve").await;
    assert_eq!(
        own.problem(),
        "own_request",
        "the owner of the agent is on its side"
    );
    let denied = bench.vote("dana@example.com", &id, "deny").await;
    assert_eq!(denied.text("/state"), "denied");
    let task = bench.get(&bench.bot, &format!("{PATH}/{id}")).await;
    assert_eq!(task.text("/task/status"), "denied");
    assert_eq!(task.body.get("result"), None);
    let again = bench.evaluate(&held()).await;
    assert_eq!(again.context()["reason"], "policy_denied");
    assert_eq!(again.context().get("access_request"), None);
    let body = with(
        &held(),
        json!({ "evaluation_id": again.text("/context/evaluation_id") }),
    );
    assert_eq!(
        bench.post(&bench.bot, PATH, &body).await.problem(),
        "recently_denied"
    );
}

#[tokio::test]
async fn agents_never_vote() {
    let bench = Bench::new().await;
    let id = bench.submit(&held()).await;
    let shown = bench.get(&bench.bot, &format!("/v1/requests/{id}")).await;
    let vote = json!({ "verdict": "approve", "digest": shown.text("/digest"), "act": "0.x" });
    let voted = bench
        .post(&bench.bot, &format!("/v1/requests/{id}/votes"), &vote)
        .await;
    assert_eq!(
        (voted.status.as_u16(), voted.problem().as_str()),
        (403, "not_a_session")
    );
    let (token, _) = bench
        .issue("person", "dana@example.com", CredentialKind::Token)
        .await;
    let voted = bench
        .post(&token, &format!("/v1/requests/{id}/votes"), &vote)
        .await;
    assert_eq!(voted.problem(), "not_a_session");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn submissions_are_bound_to_their_denial() {
    let bench = Bench::new().await;
    let denied = bench.evaluate(&held()).await;
    let token = denied.text("/context/access_request/binding_token");
    let other_evaluation = bench.evaluate(&held()).await.text("/context/evaluation_id");
    let mut altered = held();
    altered["context"]["rows"] = json!(4);
    let permitted = question("read", "orders/customers");
    let id = denied.text("/context/evaluation_id");
    for (body, expected) in [
        (
            with(&altered, json!({ "binding_token": token })),
            "invalid_denial_binding",
        ),
        (
            with(&held(), json!({ "binding_token": format!("{token}x") })),
            "invalid_denial_binding",
        ),
        (
            with(
                &held(),
                json!({ "binding_token": token, "evaluation_id": other_evaluation }),
            ),
            "invalid_denial_binding",
        ),
        (with(&held(), json!({})), "invalid_denial_binding"),
        (
            with(&held(), json!({ "evaluation_id": "no id" })),
            "invalid_denial_binding",
        ),
        (held(), "invalid_request"),
        (
            with(&permitted, json!({ "evaluation_id": id })),
            "not_needed",
        ),
        (
            with(
                &question("delete", "orders/x"),
                json!({ "evaluation_id": id }),
            ),
            "denied",
        ),
    ] {
        assert_eq!(
            bench.post(&bench.bot, PATH, &body).await.problem(),
            expected,
            "{body}"
        );
    }
    for (name, value, expected) in [
        (
            "callback",
            json!({ "url": "http://169.254.169.254/" }),
            "callback_unavailable",
        ),
        ("items", json!([]), "items_unavailable"),
        (
            "requested_access",
            json!({ "emergency": true }),
            "emergency_unavailable",
        ),
    ] {
        let mut body = with(&held(), json!({ "binding_token": token }));
        body[name] = value;
        assert_eq!(
            bench.post(&bench.bot, PATH, &body).await.problem(),
            expected
        );
    }
    assert!(
        bench
            .gateway()
            .store
            .in_phase("held")
            .await
            .unwrap()
            .is_empty()
    );
    let body = with(
        &held(),
        json!({ "binding_token": token, "evaluation_id": id }),
    );
    let first = bench.post_once(&bench.bot, PATH, &body, Some("s")).await;
    let again = bench.post_once(&bench.bot, PATH, &body, Some("s")).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.body, again.body);
}
