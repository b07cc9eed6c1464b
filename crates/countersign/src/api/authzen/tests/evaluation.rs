//! Questions, batches, outcomes.

use super::*;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn what_policy_says_is_what_is_answered() {
    let bench = Bench::new().await;
    let target = |action: &str, kind: &str, id: &str| {
        let mut body = question(action, id);
        body["resource"]["type"] = json!(kind);
        body
    };
    for (body, decision, reason) in [
        (question("read", "orders/customers"), true, Value::Null),
        (target("read", "Target", "orders"), true, Value::Null),
        (question("write", "sandbox/x"), true, Value::Null),
        (held(), false, json!("approval_required")),
        (
            question("delete", "orders/customers"),
            false,
            json!("policy_denied"),
        ),
        (question("read", "nowhere/x"), false, json!("policy_denied")),
        (
            question("read", "countersign/bundle"),
            false,
            json!("policy_denied"),
        ),
        (question("read", ""), false, json!("policy_denied")),
        (
            target("read", "Target", "orders/x"),
            false,
            json!("policy_denied"),
        ),
        (
            target("read", "Invoice", "orders/x"),
            false,
            json!("policy_denied"),
        ),
        (
            target("read", "Environment", "orders"),
            false,
            json!("policy_denied"),
        ),
        (
            question("fly", "orders/customers"),
            false,
            json!("policy_denied"),
        ),
        (
            question("a b", "orders/customers"),
            false,
            json!("policy_denied"),
        ),
        (
            question("countersign:audit-read", "orders/x"),
            false,
            json!("policy_denied"),
        ),
        (
            question("unclassified", "orders/x"),
            false,
            json!("policy_denied"),
        ),
    ] {
        let answer = bench.evaluate(&body).await;
        assert_eq!(answer.decision(), decision, "{body} {}", answer.body);
        assert_eq!(
            answer.context().get("reason").cloned().unwrap_or_default(),
            reason,
            "{body}"
        );
        assert_eq!(answer.context()["advisory"], true);
        assert!(answer.text("/context/evaluation_id").starts_with("req_"));
        assert_eq!(answer.context().get("permit").is_some(), decision);
        let requestable = answer.context().get("access_request").is_some();
        assert_eq!(requestable, reason == "approval_required");
    }
    // A hold that nobody submitted asked nothing of anybody.
    assert!(
        bench
            .gateway()
            .store
            .in_phase("held")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn claims_reach_policies_only_as_arguments_that_the_action_declares() {
    let bench = Bench::new().await;
    for (properties, decision) in [
        (json!({ "branch": "dev" }), true),
        (json!({ "branch": "main" }), false),
        (json!({ "branch": 7 }), false),
        (json!({ "approvals": ["dba"], "branch": "main" }), false),
        (json!({}), false),
    ] {
        let mut body = question("exec:git-push", "orders/branch/dev");
        body["action"]["properties"] = properties;
        assert_eq!(bench.evaluate(&body).await.decision(), decision, "{body}");
    }
    let mut body = held();
    body["context"]["approvals"] = json!(["dba"]);
    body["subject"]["properties"] = json!({ "groups": ["dba"] });
    body["resource"]["properties"] = json!({ "environment": "test", "target": "sandbox" });
    assert!(!bench.evaluate(&body).await.decision());
}

#[tokio::test]
async fn a_caller_names_only_itself() {
    let bench = Bench::new().await;
    for (kind, id) in [
        ("agent", "other-bot"),
        ("person", "deploy-bot"),
        ("Agent", "deploy-bot"),
    ] {
        let mut body = held();
        body["subject"] = json!({ "type": kind, "id": id });
        let answer = bench.evaluate(&body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (403, "not_your_subject")
        );
    }
    let answer = bench
        .post(&bench.other, "/access/v1/evaluation", &held())
        .await;
    assert_eq!(answer.problem(), "not_your_subject");
    let mut batch = json!({ "evaluations": [{}, { "subject": { "type": "agent", "id": "x" } }] });
    for (name, value) in question("read", "orders/x").as_object().unwrap() {
        batch[name] = value.clone();
    }
    let answer = bench
        .post(&bench.bot, "/access/v1/evaluations", &batch)
        .await;
    assert_eq!(answer.problem(), "not_your_subject");
}

#[tokio::test]
async fn batches_end_where_their_semantic_says() {
    let bench = Bench::new().await;
    let [yes, no] = ["read", "delete"].map(|name| json!({ "action": { "name": name } }));
    for (semantic, items, expected) in [
        (None, vec![&yes, &no, &yes], vec![true, false, true]),
        (Some("execute_all"), vec![&no, &yes], vec![false, true]),
        (
            Some("deny_on_first_deny"),
            vec![&yes, &no, &yes],
            vec![true, false],
        ),
        (
            Some("permit_on_first_permit"),
            vec![&no, &yes, &no],
            vec![false, true],
        ),
    ] {
        let mut body = question("read", "orders/customers");
        body["evaluations"] = json!(items);
        if let Some(semantic) = semantic {
            body["options"] = json!({ "evaluations_semantic": semantic });
        }
        let answer = bench
            .post(&bench.bot, "/access/v1/evaluations", &body)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let all = answer.body["evaluations"].as_array().unwrap().iter();
        let all: Vec<_> = all.map(|one| one["decision"].as_bool().unwrap()).collect();
        assert_eq!(all, expected, "{semantic:?}");
    }
    let path = "/access/v1/evaluations";
    let single = bench
        .post(&bench.bot, path, &question("read", "orders/x"))
        .await;
    assert!(single.decision());
    let mut incomplete = question("read", "orders/x");
    incomplete.as_object_mut().unwrap().remove("action");
    incomplete["evaluations"] = json!([yes, {}]);
    let answer = bench.post(&bench.bot, path, &incomplete).await;
    assert_eq!(answer.problem(), "invalid_request");
    assert_eq!(
        answer.text("/title"),
        "`action` is missing in `evaluations[1]`"
    );
    let many = json!({ "evaluations": vec![question("read", "orders/x"); 101] });
    assert_eq!(
        bench.post(&bench.bot, path, &many).await.problem(),
        "too_large"
    );
}

#[tokio::test]
async fn outcomes_are_reported_once_and_only_by_the_requester() {
    let bench = Bench::new().await;
    let permitted = bench.evaluate(&question("read", "orders/customers")).await;
    let permit = permitted.text("/context/permit");
    let report = json!({ "permit": permit, "status": "succeeded", "detail": "3 rows" });
    let path = "/v1/outcomes";
    for (token, body, expected) in [
        (&bench.other, &report, "not_outstanding"),
        (
            &bench.bot,
            &json!({ "status": "failed" }),
            "invalid_request",
        ),
        (
            &bench.bot,
            &json!({ "permit": permit, "status": "fine" }),
            "invalid_request",
        ),
        (
            &bench.bot,
            &json!({ "permit": "permit_x", "status": "failed" }),
            "not_outstanding",
        ),
    ] {
        assert_eq!(
            bench.post(token, path, body).await.problem(),
            expected,
            "{body}"
        );
    }
    let before = bench.gateway().log.size();
    let told = bench.post(&bench.bot, path, &report).await;
    assert_eq!(
        (told.status.as_u16(), told.text("/permit")),
        (200, permit.clone())
    );
    assert_eq!(bench.gateway().log.size(), before + 1);
    assert_eq!(
        bench.post(&bench.bot, path, &report).await.problem(),
        "not_outstanding"
    );
}

#[tokio::test]
async fn what_nobody_reports_is_unknown_and_holds_a_repetition() {
    let bench = Bench::new().await;
    let body = question("read", "orders/customers");
    let permitted = bench.evaluate(&body).await;
    bench
        .api
        .outstanding
        .sweep_at(bench.gateway(), bench.in_hours(2))
        .await;
    let report = json!({ "permit": permitted.text("/context/permit"), "status": "succeeded" });
    assert_eq!(
        bench
            .post(&bench.bot, "/v1/outcomes", &report)
            .await
            .problem(),
        "not_outstanding"
    );
    let again = bench.evaluate(&body).await;
    assert_eq!(
        again.context()["reason"],
        "approval_required",
        "{}",
        again.body
    );
    assert!(
        bench
            .evaluate(&question("read", "orders/other"))
            .await
            .decision()
    );
}

#[tokio::test]
async fn the_same_key_gives_the_same_permission_once() {
    let bench = Bench::new().await;
    let path = "/access/v1/evaluation";
    let body = question("read", "orders/customers");
    let first = bench.post_once(&bench.bot, path, &body, Some("k")).await;
    let again = bench.post_once(&bench.bot, path, &body, Some("k")).await;
    assert_eq!(first.body, again.body);
    let without = bench.post(&bench.bot, path, &body).await;
    assert_ne!(
        first.text("/context/permit"),
        without.text("/context/permit")
    );
    let other = question("read", "orders/other");
    let reused = bench.post_once(&bench.bot, path, &other, Some("k")).await;
    assert_eq!(reused.problem(), "key_reused");
}
