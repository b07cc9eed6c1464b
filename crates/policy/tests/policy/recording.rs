//! A stranger with stock Cedar reaches the same answer from what is recorded.

use std::{collections::BTreeSet, str::FromStr};

use cedar_policy::{
    Authorizer, Context, Decision as Answer, Entities, EntityUid, PolicySet, Request,
};
use countersign_core::decision::Decision;
use countersign_policy::{Evaluation, Snapshot};
use serde_json::Value;

use crate::fixture::{Call, agent, effect, on_target, person, snapshot};

/// Asks stock Cedar, without schema, with what is recorded alone.
pub(crate) fn replay(snapshot: &Snapshot, call: &Call, evaluation: &Evaluation) {
    let policies = PolicySet::from_json_value(snapshot.cedar_policies_json().unwrap()).unwrap();
    let recorded = snapshot.recorded_input(&call.question());
    let entities = Entities::from_json_value(recorded["entities"].clone(), None).unwrap();
    let mut replayed = 0;
    for ask in recorded["asks"].as_array().unwrap() {
        let uid = |key: &str| EntityUid::from_str(ask[key].as_str().unwrap()).unwrap();
        let context = Context::from_json_value(ask["context"].clone(), None).unwrap();
        let request = Request::new(
            uid("principal"),
            uid("action"),
            uid("resource"),
            context,
            None,
        )
        .unwrap();
        let response = Authorizer::new().is_authorized(&request, &policies, &entities);
        let ours = evaluation
            .asks
            .iter()
            .find(|a| a.member.to_string() == ask["member"] && a.effect as u64 == ask["effect"])
            .unwrap();
        let reasons: BTreeSet<String> = response
            .diagnostics()
            .reason()
            .map(ToString::to_string)
            .collect();
        let clean = response.diagnostics().errors().next().is_none();
        let permitted = response.decision() == Answer::Allow && clean;
        assert_eq!(permitted, matches!(ours.decision, Decision::Permit { .. }));
        assert_eq!(
            reasons,
            ours.policies.iter().map(ToString::to_string).collect()
        );
        assert_eq!(clean, ours.errors.is_empty());
        replayed += 1;
    }
    assert_eq!(replayed, evaluation.asks.len());
}

const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("writes") @approval("dba") @reason("a DBA looks first") forbid (principal, action in Action::"write", resource in Environment::"production");
@id("owned") forbid (principal is Agent, action in Action::"delete", resource) when { principal has owner && principal.owner in Group::"dba" };
@id("later") forbid (principal, action in Action::"export", resource) when { context.now > datetime("2020-01-01") && Person::"sam@example.com" in Group::"security" };
"#;

#[test]
fn recorded_decisions_replay() {
    let s = snapshot(POLICIES);
    for action in [
        "read",
        "write",
        "delete",
        "export",
        "exec:git-push",
        "unclassified",
    ] {
        for approvals in [&[][..], &["dba"]] {
            let resource = effect(action, "Resource", "release/a", "release");
            let call = Call::new(agent("deploy"), [resource, on_target(action, "sandbox")])
                .behalf_of(person("sam@example.com"))
                .approved(approvals);
            replay(&s, &call, &call.ask(&s));
        }
    }
}

#[test]
fn what_is_recorded_is_small_and_has_actions() {
    let s = snapshot(POLICIES);
    let call = Call::new(agent("deploy"), [on_target("exec:git-push", "release")]);
    let recorded = s.recorded_input(&call.question());
    let mut ids = recorded["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e: &Value| {
            format!(
                "{}::{}",
                e["uid"]["type"].as_str().unwrap(),
                e["uid"]["id"].as_str().unwrap()
            )
        })
        .collect::<Vec<_>>();
    ids.sort();
    assert_eq!(
        ids,
        [
            "Action::exec:git-push",
            "Action::write",
            "Agent::deploy",
            "Environment::production",
            "Group::agents",
            "Group::dba",
            "Person::dana@example.com",
            "Target::release",
        ]
    );
}

#[test]
fn an_explanation_names_statements_where_they_stand() {
    let s = snapshot(POLICIES);
    let call = Call::new(agent("deploy"), [on_target("write", "release")]);
    let explanation = s.explain(&call.ask(&s));
    let expected = "it waits until `dba` is satisfied\n  \
         agent:deploy effect 0: it waits until `dba` is satisfied\n    \
         forbid `writes` policies/a.cedar:3: a DBA looks first\n";
    assert_eq!(explanation.to_string(), expected);
    let statement = &explanation.asks[0].statements[0];
    assert!(
        statement
            .source
            .starts_with("@id(\"writes\") @approval(\"dba\")")
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["asks"][0]["rules"], serde_json::json!(["dba"]));
}
