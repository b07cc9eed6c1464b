//! What is decided: strictest wins, over effects, chain members and statements.

use countersign_policy::{Masker, target::pattern::Captures};

use crate::fixture::{
    Call, agent, brief, effect, on_target, person, snapshot, snapshot_of, workload,
};

const POLICIES: &str = r#"
@id("agents-write") permit (principal in Group::"agents", action in [Action::"read", Action::"write", Action::"execute"], resource);
@id("people") permit (principal is Person, action, resource);
@id("ci") permit (principal is Workload, action in Action::"execute", resource in Environment::"test");

@id("prod-writes") @approval("dba") @reason("Production data changes need a DBA")
forbid (principal, action in Action::"write", resource in Environment::"production");

@id("main-branch") @approval("dba, security")
forbid (principal, action == Action::"exec:git-push", resource)
when { context.arguments has branch && context.arguments.branch == "main" };

@id("no-privilege") forbid (principal is Agent, action in Action::"privilege", resource);
@id("big-scale") forbid (principal, action == Action::"exec:scale", resource)
when { context.arguments has count && context.arguments.count > 10 };
"#;

#[test]
fn one_effect_one_member() {
    let s = snapshot(POLICIES);
    let push = |branch: &str| {
        effect(
            "exec:git-push",
            "Resource",
            &format!("release/branch/{branch}"),
            "release",
        )
    };
    let deploy = || agent("deploy");
    for (call, expected) in [
        (
            Call::new(deploy(), [on_target("exec:run", "sandbox")]),
            "permit [agents-write]",
        ),
        (
            Call::new(deploy(), [on_target("exec:run", "release")]),
            "permit [agents-write]",
        ),
        (Call::new(deploy(), [push("fix")]), "hold dba [prod-writes]"),
        (
            Call::new(deploy(), [push("fix")]).approved(&["dba"]),
            "permit [agents-write]",
        ),
        (
            Call::new(deploy(), [push("fix")]).approved(&["security"]),
            "hold dba [prod-writes]",
        ),
        (
            Call::new(deploy(), [push("main")]).argument("branch", "main"),
            "hold dba,security [main-branch,prod-writes]",
        ),
        (
            Call::new(deploy(), [push("main")])
                .argument("branch", "main")
                .approved(&["dba"]),
            "hold security [main-branch]",
        ),
        (
            Call::new(deploy(), [push("main")])
                .argument("branch", "main")
                .approved(&["dba", "security"]),
            "permit [agents-write]",
        ),
        (
            Call::new(deploy(), [on_target("exec:scale", "release")]).argument("count", 11),
            "deny a policy forbids it [big-scale,prod-writes]",
        ),
        (
            Call::new(deploy(), [on_target("exec:scale", "release")])
                .argument("count", 11)
                .approved(&["dba"]),
            "deny a policy forbids it [big-scale]",
        ),
        (
            Call::new(deploy(), [on_target("exec:scale", "release")]).argument("count", 10),
            "hold dba [prod-writes]",
        ),
        (
            Call::new(deploy(), [on_target("privilege", "sandbox")]),
            "deny a policy forbids it [no-privilege]",
        ),
        (
            Call::new(deploy(), [on_target("delete", "sandbox")]),
            "deny no policy permits it []",
        ),
        (
            Call::new(workload("ci"), [on_target("exec:run", "sandbox")]),
            "permit [ci]",
        ),
        // Held by a rule, but nobody permits it: no approval helps.
        (
            Call::new(workload("ci"), [push("fix")]),
            "deny no policy permits it []",
        ),
        (
            Call::new(
                person("dana@example.com"),
                [effect(
                    "countersign:bundle-apply",
                    "Resource",
                    "countersign/bundle",
                    "countersign",
                )],
            ),
            "permit [people]",
        ),
    ] {
        assert_eq!(brief(&call.ask(&s)), expected, "{call:?}");
    }
}

#[test]
fn the_strictest_over_effects_and_chain_wins() {
    let s = snapshot(POLICIES);
    let run = || on_target("exec:run", "sandbox");
    let write = || on_target("write", "release");
    let privilege = || on_target("privilege", "sandbox");
    for (call, expected) in [
        (
            Call::new(agent("deploy"), [run(), write()]),
            "hold dba [prod-writes]",
        ),
        (
            Call::new(agent("deploy"), [run(), write(), privilege()]),
            "deny a policy forbids it [no-privilege]",
        ),
        (
            Call::new(person("dana@example.com"), [privilege()]).behalf_of(agent("deploy")),
            "deny a policy forbids it [no-privilege]",
        ),
        (
            Call::new(agent("deploy"), [run()]).behalf_of(person("dana@example.com")),
            "permit [agents-write,people]",
        ),
        (
            Call::new(agent("deploy"), [write()]).behalf_of(workload("ci")),
            "deny no policy permits it []",
        ),
    ] {
        assert_eq!(brief(&call.ask(&s)), expected, "{call:?}");
    }
}

#[test]
fn what_cannot_be_resolved_or_understood_is_denied() {
    let s = snapshot("@id(\"all\") permit (principal, action, resource);");
    let run = || on_target("exec:run", "sandbox");
    let many = vec![run(); 65];
    let mut long = Call::new(person("dana@example.com"), [run()]);
    for _ in 0..8 {
        long = long.behalf_of(person("dana@example.com"));
    }
    for (call, expected) in [
        (
            Call::new(person("dana@example.com"), [run()]),
            "permit [all]",
        ),
        (
            Call::new(person("eve@example.com"), [run()]),
            "deny `person:eve@example.com` is unknown or disabled []",
        ),
        (
            Call::new(agent("orphan"), [run()]),
            "deny `agent:orphan` has no owner []",
        ),
        (
            Call::new(agent("deploy"), [run()]).behalf_of(agent("orphan")),
            "deny `agent:orphan` has no owner []",
        ),
        (
            Call::new(agent("deploy"), [on_target("exec:run", "nowhere")]),
            "deny there is no target `nowhere` []",
        ),
        (
            Call::new(
                agent("deploy"),
                [effect("exec:run", "Table", "x", "sandbox")],
            ),
            "deny there is no resource type `Table` []",
        ),
        (
            Call::new(
                agent("deploy"),
                [effect("exec:run", "Person", "dana@example.com", "sandbox")],
            ),
            "deny there is no resource type `Person` []",
        ),
        (
            Call::new(
                agent("deploy"),
                [effect("exec:run", "Target", "release", "sandbox")],
            ),
            "deny `release` is not the target `sandbox` []",
        ),
        (
            Call::new(
                agent("deploy"),
                [run(), on_target("unclassified", "sandbox")],
            ),
            "deny part of the action could not be understood [countersign.unclassified]",
        ),
        (
            Call::new(agent("deploy"), [on_target("exec:never-heard", "sandbox")]),
            "deny part of the action could not be understood []",
        ),
        (
            Call::new(agent("deploy"), []),
            "deny no policy permits it []",
        ),
        (
            Call::new(agent("deploy"), many),
            "deny the policy could not be evaluated: the action has more than 64 effects []",
        ),
        (
            long,
            "deny the policy could not be evaluated: the chain has more than 8 members []",
        ),
    ] {
        assert_eq!(brief(&call.ask(&s)), expected, "{call:?}");
    }
}

#[test]
fn whoever_is_disabled_can_do_nothing() {
    use countersign_policy::{DirectoryChange, Snapshot};
    let s = snapshot("@id(\"all\") permit (principal, action, resource);");
    let run = || on_target("exec:run", "sandbox");
    let mut directory = (**s.directory()).clone();
    let now = crate::fixture::NOW;
    for (change, call, expected) in [
        (
            DirectoryChange::StopAgent {
                agent: "deploy".parse().unwrap(),
            },
            Call::new(agent("deploy"), [run()]),
            "deny `agent:deploy` is unknown or disabled []",
        ),
        (
            DirectoryChange::StartAgent {
                agent: "deploy".parse().unwrap(),
            },
            Call::new(agent("deploy"), [run()]),
            "permit [all]",
        ),
        (
            DirectoryChange::DisablePerson {
                person: "dana@example.com".parse().unwrap(),
            },
            Call::new(agent("deploy"), [run()]),
            "deny the owner of `agent:deploy` is unknown or disabled []",
        ),
        (
            DirectoryChange::StopWorkload {
                workload: "ci".parse().unwrap(),
            },
            Call::new(workload("ci"), [run()]),
            "deny `workload:ci` is unknown or disabled []",
        ),
    ] {
        change.apply(&mut directory, now, true).unwrap();
        let s = Snapshot::new(s.bundle().clone(), directory.clone().into()).unwrap();
        assert_eq!(brief(&call.ask(&s)), expected, "{change:?}");
    }
}

#[test]
fn a_prepared_question_can_be_asked_again_with_other_approvals() {
    let s = snapshot(POLICIES);
    let call = Call::new(agent("deploy"), [on_target("write", "release")]);
    let prepared = s.prepare(&call.question());
    assert_eq!(brief(&prepared.evaluate()), "hold dba [prod-writes]");
    let approved = ["dba".parse().unwrap()].into();
    assert_eq!(
        brief(&prepared.evaluate_with(&approved)),
        "permit [agents-write]"
    );
    assert_eq!(brief(&prepared.evaluate()), "hold dba [prod-writes]");
}

#[test]
fn classification_and_policy_meet() {
    let s = snapshot(POLICIES);
    let release = s
        .target(&"release".parse().unwrap())
        .unwrap()
        .exec()
        .unwrap();
    let ask = |argv: &[&str]| {
        let argv = argv.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        let classified = release.classify(&argv, false, &Masker::default());
        let mut call = Call::new(agent("deploy"), classified.effects);
        call.arguments = classified.arguments;
        brief(&call.ask(&s))
    };
    assert_eq!(
        ask(&["git", "push", "origin", "fix"]),
        "hold dba [prod-writes]"
    );
    assert_eq!(
        ask(&["git", "push", "origin", "main"]),
        "hold dba,security [main-branch,prod-writes]"
    );
    assert_eq!(
        ask(&["scale", "11"]),
        "deny a policy forbids it [big-scale,prod-writes]"
    );
    assert_eq!(ask(&["scale", "011"]), "permit [agents-write]");
    assert_eq!(
        release.classify(&[], false, &Masker::default()).arguments,
        Captures::new()
    );
}

#[test]
fn own_types_are_typed_and_stay_below_their_target() {
    let mut files = crate::fixture::files(
        r#"@id("all") permit (principal, action, resource);
        @id("personal") forbid (principal, action, resource is Table in Environment::"production")
        when { resource.personal };
        @id("stewards") forbid (principal, action, resource is Table)
        unless { resource has steward && resource.steward in Group::"dba" };"#,
    );
    files.insert(
        "schema/tables.cedarschema".into(),
        "entity Table in [Target] { personal: Bool, steward?: Person };".into(),
    );
    let s = snapshot_of(&files);
    let table = |target: &str, attributes: serde_json::Value| {
        let mut effect = effect("read", "Table", "customers", target);
        effect.resource.attributes = serde_json::from_value(attributes).unwrap();
        Call::new(agent("deploy"), [effect])
    };
    let dana = serde_json::json!({ "__entity": { "type": "Person", "id": "dana@example.com" } });
    let eve = serde_json::json!({ "__entity": { "type": "Person", "id": "eve@example.com" } });
    for (target, attributes, expected) in [
        (
            "release",
            serde_json::json!({ "personal": false, "steward": dana }),
            "permit [all]",
        ),
        (
            "release",
            serde_json::json!({ "personal": true, "steward": dana }),
            "deny a policy forbids it [personal]",
        ),
        (
            "sandbox",
            serde_json::json!({ "personal": true, "steward": dana }),
            "permit [all]",
        ),
        (
            "sandbox",
            serde_json::json!({ "personal": true }),
            "deny a policy forbids it [stewards]",
        ),
    ] {
        assert_eq!(
            brief(&table(target, attributes.clone()).ask(&s)),
            expected,
            "{attributes}"
        );
    }
    for attributes in [
        serde_json::json!({}),
        serde_json::json!({ "personal": "no" }),
        serde_json::json!({ "personal": false, "more": 1 }),
        serde_json::json!({ "personal": false, "steward": eve }),
    ] {
        let answer = brief(&table("sandbox", attributes.clone()).ask(&s));
        assert!(
            answer.starts_with("deny `customers`"),
            "{attributes}: {answer}"
        );
    }
}
