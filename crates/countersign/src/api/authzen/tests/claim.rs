//! Evaluating again with an approval.

use countersign_evidence::{
    frame::{Decoder, Step},
    verify::{Trust, Verifier},
};

use super::*;

const PATH: &str = "/access/v1/evaluation";

#[tokio::test]
async fn an_approval_counts_once_for_the_identical_question() {
    let bench = Bench::new().await;
    let (id, again) = bench.approved(&held()).await;
    let task = bench
        .get(&bench.bot, &format!("/access/v1/requests/{id}"))
        .await;
    assert_eq!(task.text("/task/status"), "approved");
    assert_eq!(task.text("/result/mode"), "reevaluate");
    assert_eq!(task.text("/result/approval/id"), id);
    assert_eq!(task.text("/result/approval/state"), "active");

    let claimed = bench.post_once(&bench.bot, PATH, &again, Some("one")).await;
    assert!(claimed.decision(), "{}", claimed.body);
    assert_eq!(claimed.text("/context/evaluation_id"), id);
    let repeated = bench.post_once(&bench.bot, PATH, &again, Some("one")).await;
    assert_eq!(claimed.body, repeated.body);
    for key in [None, Some("two")] {
        let second = bench.post_once(&bench.bot, PATH, &again, key).await;
        assert!(!second.decision());
        assert_eq!(second.context()["reason"], "already_claimed");
    }

    let report = json!({ "request": id, "status": "failed" });
    assert_eq!(
        bench.post(&bench.bot, "/v1/outcomes", &report).await.status,
        200
    );
    let task = bench
        .get(&bench.bot, &format!("/access/v1/requests/{id}"))
        .await;
    assert_eq!(task.text("/task/status"), "approved");
    assert_eq!(task.text("/result/approval/state"), "consumed");
    let shown = bench.get(&bench.bot, &format!("/v1/requests/{id}")).await;
    assert_eq!(shown.text("/state"), "failed");
    assert_eq!(
        bench.evaluate(&again).await.context()["reason"],
        "already_claimed"
    );
}

#[tokio::test]
async fn every_member_of_the_question_must_be_the_same() {
    let bench = Bench::new().await;
    let (_, again) = bench.approved(&held()).await;
    for (pointer, value) in [
        ("/resource/id", json!("orders/other")),
        ("/resource/type", json!("Target")),
        ("/action/name", json!("read")),
        ("/context/rows", json!(4)),
        ("/context/reason", json!("ticket 8")),
        (
            "/context",
            json!({ "approval": again["context"]["approval"] }),
        ),
        ("/context/extra", json!(1)),
        ("/resource/properties", json!({})),
        ("/subject/properties", json!({ "a": 1 })),
    ] {
        let mut altered = again.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        altered.pointer_mut(parent).unwrap()[name] = value;
        let answer = bench.evaluate(&altered).await;
        assert!(!answer.decision(), "{pointer}");
        assert_eq!(answer.context()["reason"], "out_of_scope", "{pointer}");
    }
    assert!(bench.evaluate(&again).await.decision());
}

#[tokio::test]
async fn what_is_no_approval_does_not_help() {
    let bench = Bench::new().await;
    let id = bench.submit(&held()).await;
    let with = |approval: Value| {
        let mut body = held();
        body["context"]["approval"] = approval;
        body
    };
    for (approval, reason) in [
        (json!(id), "grant_pending"),
        (json!({ "id": id }), "grant_pending"),
        (
            json!("req_00000000000000000000000000"),
            "approval_unverifiable",
        ),
        (json!("no id"), "approval_unverifiable"),
        (json!(true), "approval_unverifiable"),
        (json!({ "state": "active" }), "approval_unverifiable"),
        (Value::Null, "approval_required"),
    ] {
        let answer = bench.evaluate(&with(approval.clone())).await;
        assert!(!answer.decision(), "{approval}");
        assert_eq!(answer.context()["reason"], reason, "{approval}");
    }
    let mut of_other = with(json!(id));
    of_other["subject"]["id"] = json!("other-bot");
    let answer = bench.post(&bench.other, PATH, &of_other).await;
    assert_eq!(answer.context()["reason"], "approval_unverifiable");
    bench
        .post(
            &bench.bot,
            &format!("/access/v1/requests/{id}/cancel"),
            &json!({}),
        )
        .await;
    let answer = bench.evaluate(&with(json!(id))).await;
    assert_eq!(answer.context()["reason"], "approval_unverifiable");
}

#[tokio::test]
async fn many_claims_at_once_give_one_permission() {
    let bench = Bench::new().await;
    let (_, again) = bench.approved(&held()).await;
    let claims = (0..8).map(|_| bench.evaluate(&again));
    let answers = futures_util::future::join_all(claims).await;
    assert_eq!(answers.iter().filter(|answer| answer.decision()).count(), 1);
    let others = answers.iter().filter(|answer| !answer.decision());
    assert!(
        others
            .into_iter()
            .all(|answer| answer.context()["reason"] == "already_claimed")
    );
}

#[tokio::test]
async fn a_claim_that_nobody_reports_ends_unknown() {
    let bench = Bench::new().await;
    let (id, again) = bench.approved(&held()).await;
    assert!(bench.evaluate(&again).await.decision());
    bench
        .api
        .outstanding
        .sweep_at(bench.gateway(), bench.in_hours(2))
        .await;
    let shown = bench.get(&bench.bot, &format!("/v1/requests/{id}")).await;
    assert_eq!(shown.text("/state"), "unknown");
}

#[tokio::test]
async fn the_record_of_all_this_verifies() {
    let bench = Bench::new().await;
    bench.evaluate(&question("delete", "orders/x")).await;
    bench
        .evaluate(&question("write", "orders/never-submitted"))
        .await;
    let mut unneeded = question("read", "orders/x");
    unneeded["denial"] = json!({ "evaluation_id": "req_x" });
    bench
        .post(&bench.bot, "/access/v1/requests", &unneeded)
        .await;
    let permitted = bench.evaluate(&question("read", "orders/x")).await;
    let report = json!({ "permit": permitted.text("/context/permit"), "status": "succeeded" });
    bench.post(&bench.bot, "/v1/outcomes", &report).await;
    let (id, again) = bench.approved(&held()).await;
    let mut altered = again.clone();
    altered["context"]["rows"] = json!(4);
    for body in [&altered, &again, &again] {
        bench.evaluate(body).await;
    }
    bench
        .post(
            &bench.bot,
            "/v1/outcomes",
            &json!({ "request": id, "status": "failed" }),
        )
        .await;
    assert!(
        bench
            .evaluate(&question("read", "orders/unreported"))
            .await
            .decision()
    );
    bench
        .api
        .outstanding
        .sweep_at(bench.gateway(), bench.in_hours(2))
        .await;

    let gateway = bench.gateway();
    gateway.log.checkpoint().await;
    let file = |name: &str| fs::read(gateway.data.join("log").join(name)).unwrap();
    let votes = Some(vec![gateway.keys.vote.verifying().clone()]);
    let trust = Trust {
        log: gateway.keys.log.verifying().clone(),
        votes,
    };
    let mut verifier = Verifier::new(trust, &file("checkpoint"), &[]);
    verifier = verifier.with_keys(gateway.keys.vault.clone());
    let journal = file("journal");
    let mut decoder = Decoder::new(&journal, 0);
    while let Step::Frame(frame) = decoder.step() {
        verifier.entry(frame);
    }
    let found = verifier.finish();
    assert!(
        found.passed(),
        "{:#?}",
        found.failures().collect::<Vec<_>>()
    );
    assert_eq!(found.findings.len(), 0, "{:#?}", found.findings);
}

/// Secrets in a question are masked in what is kept and shown; the approval is for the very secret.
#[tokio::test]
async fn a_secret_in_the_question_is_part_of_it_and_shown_to_nobody() {
    let secret = |ending: &str| ["gh", "p_", &"a1B2c3D4e5".repeat(4)[..35], ending].concat();
    let bench = Bench::new().await;
    let mut asked = held();
    asked["context"]["token"] = json!(secret("1"));
    asked["context"]["reason"] = json!(format!("with {}", secret("1")));
    let (id, again) = bench.approved(&asked).await;
    let shown = bench.get(&bench.bot, &format!("/v1/requests/{id}")).await;
    let mask = "‹github-token 40›";
    assert_eq!(shown.text("/arguments/context/token"), mask);
    assert_eq!(shown.text("/reason"), format!("with {mask}"));
    assert!(!shown.body.to_string().contains(&secret("1")));
    let stored = bench.gateway().store.case(&id.parse().unwrap()).await;
    let stored = serde_json::to_string(&stored.unwrap().unwrap().case).unwrap();
    assert!(stored.contains(mask) && !stored.contains(&secret("1")));
    let kept = bench.gateway().data.join("secrets");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 0);

    let mut other = again.clone();
    other["context"]["token"] = json!(secret("2"));
    let refused = bench.evaluate(&other).await;
    assert!(!refused.decision());
    assert_eq!(refused.context()["reason"], "out_of_scope");
    other["context"]["token"] = json!(mask);
    assert_eq!(
        bench.evaluate(&other).await.context()["reason"],
        "out_of_scope"
    );
    assert!(bench.evaluate(&again).await.decision());
    let mut named = held();
    named["context"][secret("3")] = json!(1);
    assert_eq!(bench.evaluate(&named).await.status, 400);
}
