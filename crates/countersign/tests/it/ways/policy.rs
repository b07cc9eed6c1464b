//! What changes between a vote and its use.

use std::{collections::BTreeMap, fs};

use serde_json::json;

use super::{assert_refused, end, force};
use crate::support::Lab;

type Files = BTreeMap<String, String>;

fn add(files: &mut Files, statement: &str) {
    files
        .get_mut("policies/all.cedar")
        .unwrap()
        .push_str(statement);
}

fn replace(files: &mut Files, name: &str, from: &str, to: &str) {
    let text = files.get_mut(name).unwrap();
    assert!(text.contains(from), "{from}");
    *text = text.replacen(from, to, 1);
}

const ONE_HELD: &str = "@id(\"one-held\") @approval(\"one\")\n\
                        forbid (principal, action == Action::\"exec:one\", resource);";
const ONE: &str = "[approval.one]\nstages = [{ from = [\"group:reviewers\"], count = 1 }]";

/// Approved under one policy, claimed under another.
#[tokio::test]
async fn policy_decides_again_at_the_claim() {
    type Change = fn(&mut Files);
    let table: [(&str, Change, &str); 5] = [
        (
            "forbidden by now",
            |files| {
                add(
                    files,
                    "@id(\"no\") forbid (principal, action == Action::\"exec:one\", resource);",
                )
            },
            "policy_changed",
        ),
        (
            "no longer permitted at all",
            |files| {
                replace(
                    files,
                    "policies/all.cedar",
                    "action in Action::\"write\"",
                    "action in Action::\"export\"",
                )
            },
            "policy_changed",
        ),
        (
            "one more rule",
            |files| {
                add(
                    files,
                    "@id(\"more\") @approval(\"two\") forbid (principal, action == Action::\"exec:one\", resource);",
                )
            },
            "policy_changed",
        ),
        (
            "another rule instead",
            |files| {
                replace(
                    files,
                    "policies/all.cedar",
                    ONE_HELD,
                    &ONE_HELD.replace("approval(\"one\")", "approval(\"two\")"),
                )
            },
            "policy_changed",
        ),
        (
            "a statement that errs",
            |files| {
                add(
                    files,
                    "@id(\"err\") forbid (principal, action == Action::\"exec:one\", resource) when { 9223372036854775807 + 1 > 0 };",
                )
            },
            "policy_changed",
        ),
    ];
    for (what, change, code) in table {
        let lab = Lab::new().await;
        let bot = lab.bot().await;
        let id = bot.held("./tally one x").await;
        lab.session("ann").await.approve(&id).await;
        lab.apply(change).await;
        assert_refused(&bot.claim(&id, "./tally one x").await, what, code);
        assert_eq!(lab.state(&id).await, "policy_changed", "{what}");
        lab.nothing_ran().await;
    }
}

/// A rule that asks for more than the votes give opens the request again.
#[tokio::test]
async fn votes_must_satisfy_the_rule_as_it_was_and_as_it_is() {
    let table = [
        ("two of them", "count = 1", "count = 2"),
        ("other people", "group:reviewers", "group:security"),
        (
            "more assurance",
            "stages",
            "assurance = \"passkey\"\nstages",
        ),
        ("with a reason", "stages", "reason = \"required\"\nstages"),
    ];
    for (what, from, to) in table {
        let lab = Lab::new().await;
        let bot = lab.bot().await;
        let id = bot.held("./tally one x").await;
        lab.session("ann").await.approve(&id).await;
        lab.apply(|files| replace(files, "approvals.toml", ONE, &ONE.replace(from, to)))
            .await;
        assert_eq!(lab.state(&id).await, "held", "{what}");
        let last = bot.claim(&id, "./tally one x").await;
        assert_eq!(last["event"], "still_held", "{what}: {last}");
        lab.nothing_ran().await;
    }
}

#[tokio::test]
async fn a_relaxed_policy_needs_no_less_of_what_is_pending() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let two = bot.held("./tally two x").await;
    ann.approve(&two).await;
    let approved = bot.held("./tally one y").await;
    ann.approve(&approved).await;
    lab.apply(|files| {
        replace(
            files,
            "approvals.toml",
            "\"group:security\"], count = 2",
            "\"group:security\"], count = 1",
        );
        replace(files, "policies/all.cedar", ONE_HELD, "");
    })
    .await;
    assert_eq!(lab.state(&two).await, "held", "two were asked for");
    assert_eq!(
        bot.claim(&approved, "./tally one y").await["event"],
        "exited"
    );
    lab.session("bob").await.approve(&two).await;
    assert_eq!(bot.claim(&two, "./tally two x").await["event"], "exited");
    assert_eq!(lab.place.ran(), ["y", "x"]);
    lab.verify().await;
}

#[tokio::test]
async fn whoever_may_no_longer_sign_no_longer_counts() {
    for (what, operation, arguments) in [
        (
            "removed",
            "membership-remove",
            json!({ "person": "ann", "group": "reviewers" }),
        ),
        ("disabled", "person-disable", json!({ "person": "ann" })),
    ] {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let id = bot.held("./tally one x").await;
        ann.approve(&id).await;
        assert_eq!(lab.state(&id).await, "approved");
        let ada = lab.session("ada").await;
        assert_eq!(
            ada.propose(operation, arguments).await.text("state"),
            "succeeded"
        );
        assert_eq!(lab.state(&id).await, "held", "{what}");
        assert_eq!(
            bot.claim(&id, "./tally one x").await["event"],
            "still_held",
            "{what}"
        );
        lab.nothing_ran().await;
    }
}

/// A membership that nobody countersigned and that came after the request does not count.
#[tokio::test]
async fn a_new_member_counts_only_if_countersigned() {
    // Here administrators add members alone.
    let lab = Lab::with(|files| {
        let alone = "action == Action::\"countersign:agent-stop\" ||";
        let more = format!("{alone} action == Action::\"countersign:membership-add\" ||");
        replace(files, "policies/all.cedar", alone, &more);
    })
    .await;
    let id = lab.bot().await.held("./tally one x").await;
    let (ada, sid) = (lab.session("ada").await, lab.session("sid").await);
    let joins = json!({ "person": "sid", "group": "reviewers" });
    assert_eq!(
        ada.propose("membership-add", joins).await.text("state"),
        "succeeded"
    );
    force(&lab, &sid, &id, "approve")
        .await
        .refused("a late member", 404, "no_such_request");
    // For what is asked from now on it counts.
    let later = lab.bot().await.held("./tally one y").await;
    sid.approve(&later).await;
    assert_eq!(lab.state(&later).await, "approved");
    lab.nothing_ran().await;
}

/// Whoever changes the rules under a pending request is on its side from then on.
#[tokio::test]
async fn a_proposer_loses_their_pending_vote() {
    let lab = Lab::new().await;
    let (bot, ray) = (lab.bot().await, lab.session("ray").await);
    let (id, unvoted) = (
        bot.held("./tally one x").await,
        bot.held("./tally one y").await,
    );
    ray.approve(&id).await;
    lab.apply_by("ray", |files| add(files, "// no change of meaning\n"))
        .await;
    assert_eq!(lab.state(&id).await, "held");
    assert_eq!(bot.claim(&id, "./tally one x").await["event"], "still_held");
    for pending in [&id, &unvoted] {
        force(&lab, &ray, pending, "approve")
            .await
            .refused("a proposer", 403, "own_request");
    }
    // Not for what is asked afterwards.
    let later = bot.held("./tally one z").await;
    ray.approve(&later).await;
    lab.nothing_ran().await;
}

/// Files are proposals: what is on disk decides nothing, not even after a restart (P9).
#[tokio::test]
async fn a_file_edited_on_disk_changes_nothing() {
    let lab = Lab::new().await;
    let policies = lab.place.config().join("policies/all.cedar");
    let approvals = lab.place.config().join("approvals.toml");
    let open = "@id(\"all\") permit (principal, action, resource);\n";
    fs::write(policies, open).unwrap();
    fs::write(
        &approvals,
        fs::read_to_string(&approvals)
            .unwrap()
            .replace("count = 2", "count = 1"),
    )
    .unwrap();
    let more = lab.place.config().join("policies/more.cedar");
    fs::write(more, open.replace("all", "more")).unwrap();
    for lab in [lab.restart().await] {
        let bot = lab.bot().await;
        let never = bot.run("./tally never x", 0).await;
        assert_eq!(end(&never), ("refused".into(), "denied".into()));
        let id = bot.held("./tally two y").await;
        lab.session("ann").await.approve(&id).await;
        assert_eq!(lab.state(&id).await, "held");
        lab.nothing_ran().await;
    }
}

/// Nobody is everybody: rules name groups and people that exist.
#[tokio::test]
async fn there_are_no_wildcards() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    for from in ["*", "group:*", "user:*", "group:", "everyone", "agent:bot"] {
        let mut files = lab.gateway.active().bundle.files().clone();
        replace(
            &mut files,
            "approvals.toml",
            ONE,
            &ONE.replace("group:reviewers", from),
        );
        let answer = ada.propose("bundle-apply", json!({ "files": files })).await;
        answer.refused(from, 422, "bundle_refused");
    }
    for rule in ["*", "on*", ""] {
        let mut files = lab.gateway.active().bundle.files().clone();
        let held = ONE_HELD.replace("approval(\"one\")", &format!("approval(\"{rule}\")"));
        replace(&mut files, "policies/all.cedar", ONE_HELD, &held);
        let answer = ada.propose("bundle-apply", json!({ "files": files })).await;
        answer.refused(rule, 422, "bundle_refused");
    }
    lab.nothing_ran().await;
}
