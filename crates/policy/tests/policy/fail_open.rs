//! Each way in which stock Cedar answers Allow, and that none is a permit here.

use countersign_core::{
    decision::{Decision, DenyReason},
    time::Timestamp,
};
use countersign_policy::{Bundle, Snapshot};

use crate::fixture::{Call, agent, brief, effect, files, on_target, snapshot};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn with_forbid(forbid: &str) -> String {
    format!("{PERMIT}@id(\"no\") {forbid}")
}

fn is_denied_by_failure(snapshot: &Snapshot, call: &Call) {
    let evaluation = call.ask(snapshot);
    let answer = brief(&evaluation);
    assert!(
        answer.starts_with("deny the policy could not be evaluated"),
        "{answer}"
    );
    assert!(
        evaluation.asks[0]
            .errors
            .iter()
            .any(|id| id.as_str() == "no")
    );
}

#[test]
fn a_forbid_that_fails_while_evaluating_denies() {
    let max = i64::MAX;
    for condition in [
        format!("context.arguments has count && context.arguments.count + {max} > 0"),
        format!("context.arguments has count && context.arguments.count * {max} > 0"),
        format!("context.now.offset(duration(\"{max}ms\")) > context.now"),
    ] {
        let forbid = format!(
            "forbid (principal, action == Action::\"exec:scale\", resource) when {{ {condition} }};"
        );
        let s = snapshot(&with_forbid(&forbid));
        let call = Call::new(agent("deploy"), [on_target("exec:scale", "sandbox")]);
        is_denied_by_failure(&s, &call.argument("count", 5));
    }
}

#[test]
fn a_permit_that_fails_denies_as_well() {
    let s = snapshot(&format!(
        "{PERMIT}@id(\"no\") permit (principal, action == Action::\"exec:scale\", resource) \
         when {{ context.arguments has count && context.arguments.count + {} > 0 }};",
        i64::MAX
    ));
    let call = Call::new(agent("deploy"), [on_target("exec:scale", "sandbox")]);
    is_denied_by_failure(&s, &call.argument("count", 5));
}

#[test]
fn what_can_fail_by_type_does_not_load() {
    let chain = vec!["principal == Agent::\"deploy\""; 1000].join(" || ");
    let nested = format!("{}true{}", "!(".repeat(200), ")".repeat(200));
    for condition in [
        "context.stated.reason == \"x\"",
        "context.arguments.branch == \"main\"",
        "principal.owner == Person::\"dana@example.com\"",
        "context.gate == 5",
        "context.gate < \"x\"",
        "ip(context.gate).isLoopback()",
        "decimal(\"1.23456789\").lessThan(decimal(\"1.0\"))",
        "datetime(\"yesterday\") < context.now",
        "context.nothing == \"x\"",
        "principal in Group::\"no-such-group\"",
        "Group::\"no-such-group\" in Group::\"dba\"",
        "resource in Environment::\"prodution\"",
        "context has approvals && context.approvals.contains(\"dba\")",
        "context[\"approvals\"].isEmpty()",
        "context == context",
        chain.as_str(),
        nested.as_str(),
    ] {
        let text = with_forbid(&format!(
            "forbid (principal, action, resource) when {{ {condition} }};"
        ));
        let shown = condition.chars().take(60).collect::<String>();
        let problems = Bundle::from_files(&files(&text)).expect_err(&shown);
        assert!(
            problems
                .iter()
                .any(|p| p.file == "policies/a.cedar" && p.line.is_some()),
            "{shown}"
        );
    }
}

#[test]
fn wrong_types_from_a_caller_deny() {
    let s = snapshot(PERMIT);
    let scale = || Call::new(agent("deploy"), [on_target("exec:scale", "sandbox")]);
    let push = || Call::new(agent("deploy"), [on_target("exec:git-push", "sandbox")]);
    assert_eq!(brief(&scale().argument("count", 5).ask(&s)), "permit [all]");
    for call in [
        scale().argument("count", "5"),
        scale().argument("count", 1.5),
        scale().argument("count", u64::MAX),
        push().argument("branch", 5),
        push().argument("branch", vec!["main"]),
    ] {
        let answer = brief(&call.ask(&s));
        assert!(
            answer.starts_with("deny the policy could not be evaluated"),
            "{answer}"
        );
    }
}

#[test]
fn arguments_that_an_action_does_not_declare_are_not_seen() {
    let s = snapshot(PERMIT);
    let call = Call::new(agent("deploy"), [on_target("exec:run", "sandbox")]);
    let call = call
        .argument("approvals", vec!["dba"])
        .argument("branch", 5);
    assert_eq!(brief(&call.ask(&s)), "permit [all]");
    let recorded = s.recorded_input(&call.question());
    assert_eq!(
        recorded["asks"][0]["context"]["arguments"],
        serde_json::json!({})
    );
    assert_eq!(
        recorded["asks"][0]["context"]["approvals"],
        serde_json::json!([])
    );
}

#[test]
fn a_moment_that_cedar_cannot_write_denies() {
    let s = snapshot(PERMIT);
    for now in [
        Timestamp(i64::MAX),
        Timestamp(i64::MIN),
        Timestamp(-99_999_999_999_999),
    ] {
        let mut call = Call::new(agent("deploy"), [on_target("exec:run", "sandbox")]);
        call.now = now;
        assert_eq!(call.ask(&s).decision.name(), "deny", "{now}");
    }
}

#[test]
fn an_entity_that_goes_missing_is_found_when_the_snapshot_is_made() {
    let text = with_forbid("forbid (principal == Agent::\"deploy\", action, resource);");
    let bundle = Bundle::from_files(&files(&text)).unwrap();
    let mut directory = bundle.directory(crate::fixture::NOW, None, true);
    directory.agents.clear();
    let problems = Snapshot::new(bundle.into(), directory.into()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "policies/a.cedar:2: error: statement `no` names `Agent::\\\"deploy\\\"`, which does not exist; correct the name, or add it to the directory first"
    );
}

#[test]
fn names_that_look_like_syntax_are_only_names() {
    let s = snapshot(&with_forbid(
        "forbid (principal, action, resource == Resource::\"sandbox/a\");",
    ));
    for (id, expected) in [
        ("sandbox/a", "deny"),
        ("sandbox/a\" || true", "permit"),
        ("sandbox/a\\", "permit"),
        ("sandbox/a\u{0}", "permit"),
    ] {
        let call = Call::new(agent("deploy"), [effect("read", "Resource", id, "sandbox")]);
        assert_eq!(call.ask(&s).decision.name(), expected, "{id:?}");
    }
}

/// The deepest text that loads evaluates on an ordinary thread.
#[test]
fn the_limits_leave_enough_stack() {
    let nested = format!("{}context.gate == \"x\"{}", "!(".repeat(30), ")".repeat(30));
    let chain = vec!["context.gate == \"x\""; 100].join(" || ");
    let if_chain = format!(
        "{}false",
        "if context.gate == \"x\" then true else ".repeat(30)
    );
    for condition in [nested, chain, if_chain] {
        let text = with_forbid(&format!(
            "forbid (principal, action, resource) when {{ {condition} }};"
        ));
        let s = snapshot(&text);
        let call = Call::new(agent("deploy"), [on_target("exec:run", "sandbox")]);
        let run = move || call.ask(&s).decision;
        // Frames of an unoptimised evaluator are several times larger.
        let stack = if cfg!(debug_assertions) { 16 } else { 2 } * 1024 * 1024;
        let thread = std::thread::Builder::new()
            .stack_size(stack)
            .spawn(run)
            .unwrap();
        let decision = thread.join().unwrap();
        let failed = matches!(
            &decision,
            Decision::Deny {
                reason: DenyReason::EvaluationFailed(_),
                ..
            }
        );
        assert!(!failed, "{condition}: {decision:?}");
    }
}
