//! Over generated policies and requests, the fast path, the plain authorizer and a stranger's
//! replay agree on decision, rules, determining policies and failures.

use std::collections::BTreeMap;

use countersign_core::{decision::Decision, subject::Subject, time::Timestamp};
use proptest::{prelude::*, test_runner::Config};

use crate::{
    fixture::{APPROVALS, Call, MAIN, NOW, agent, effect, person, snapshot_of, workload},
    recording::replay,
};

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal",
    "principal is Agent",
    "principal is Person",
    "principal is Workload",
    "principal in Group::\"agents\"",
    "principal in Group::\"dba\"",
    "principal in Group::\"security\"",
    "principal in Agent::\"deploy\"",
    "principal is Agent in Group::\"agents\"",
    "principal is Person in Group::\"security\"",
    "principal == Agent::\"deploy\"",
    "principal == Person::\"dana@example.com\"",
];

const ACTIONS: &[&str] = &[
    "action",
    "action",
    "action == Action::\"write\"",
    "action == Action::\"exec:git-push\"",
    "action == Action::\"exec:scale\"",
    "action in Action::\"write\"",
    "action in Action::\"exec:run\"",
    "action in Action::\"execute\"",
    "action in [Action::\"read\", Action::\"write\", Action::\"exec:git-push\"]",
    "action in [Action::\"execute\", Action::\"admin\"]",
];

const RESOURCES: &[&str] = &[
    "resource",
    "resource",
    "resource is Resource",
    "resource is Target",
    "resource is Table",
    "resource in Target::\"release\"",
    "resource in Environment::\"production\"",
    "resource in Environment::\"test\"",
    "resource is Resource in Environment::\"production\"",
    "resource is Table in Target::\"sandbox\"",
    "resource is Target in Target::\"release\"",
    "resource == Target::\"release\"",
    "resource == Resource::\"release/a\"",
    "resource in Resource::\"release/a\"",
];

const CONDITIONS: &[&str] = &[
    "context.gate == \"exec\"",
    "context.gate == \"admin\"",
    "context.operation like \"r*\"",
    "context.now < datetime(\"2026-11-20\")",
    "context.now.offset(duration(\"9223372036854775807ms\")) > context.now",
    "(context.stated has reason && context.stated.reason == \"because\")",
    "(context.stated has model && context.stated.model like \"model-*\")",
    "(context.gate == \"admin\" || (context.arguments has branch && context.arguments.branch == \"main\"))",
    "(context.gate == \"admin\" || (context.arguments has count && context.arguments.count > 5))",
    "(context.gate == \"admin\" || (context.arguments has count && context.arguments.count + 9223372036854775800 > 5))",
    "(context.gate == \"admin\" || (principal has owner && principal.owner in Group::\"security\"))",
    "(context.gate == \"admin\" || (resource has personal && resource.personal))",
    "(context.gate == \"admin\" || (resource has steward && resource.steward in Group::\"dba\"))",
    "Person::\"sam@example.com\" in Group::\"security\"",
    "resource in Environment::\"production\"",
    "(if principal in Group::\"dba\" then context.gate == \"exec\" else context.gate == \"admin\")",
];

const OPERATIONS: &[&str] = &[
    "read",
    "write",
    "exec:run",
    "exec:git-push",
    "exec:git-push",
    "exec:scale",
    "exec:scale",
    "privilege",
    "countersign:person-add",
];

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(from)
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = pick(CONDITIONS).prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} || {b})")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    let head = prop_oneof![
        4 => Just("permit"),
        2 => Just("forbid"),
        2 => Just("@approval(\"dba\") forbid"),
        2 => Just("@approval(\"security\") forbid"),
        1 => Just("@approval(\"dba, security\") forbid"),
    ];
    let clause = (prop_oneof![Just("when"), Just("unless")], condition())
        .prop_map(|(word, condition)| format!(" {word} {{ {condition} }}"));
    let clauses = proptest::collection::vec(clause, 0..3).prop_map(|c| c.concat());
    (
        head,
        pick(PRINCIPALS),
        pick(ACTIONS),
        pick(RESOURCES),
        clauses,
    )
        .prop_map(|(head, p, a, r, clauses)| format!("{head} ({p}, {a}, {r}){clauses};"))
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        8 => Just(agent("deploy")),
        1 => prop_oneof![Just(agent("orphan")), Just(person("eve@example.com"))],
        3 => Just(person("dana@example.com")),
        2 => Just(person("sam@example.com")),
        2 => Just(workload("ci")),
    ]
}

fn touched() -> impl Strategy<Value = countersign_core::action::Effect> {
    let target = prop_oneof![3 => Just("release"), 2 => Just("sandbox"), 1 => Just("countersign")];
    let action =
        prop_oneof![30 => pick(OPERATIONS), 1 => Just("unclassified"), 1 => Just("exec:none")];
    (action, target, 0..5u8, any::<bool>()).prop_map(|(action, target, kind, flag)| {
        let id = format!("{target}/{}", if flag { "a" } else { "b" });
        match kind {
            0 | 1 => effect(action, "Target", target, target),
            2 | 3 => effect(action, "Resource", &id, target),
            _ => {
                let mut table = effect(action, "Table", &id, target);
                table.resource.attributes.insert("personal".into(), flag.into());
                if flag {
                    let steward = serde_json::json!({ "__entity": { "type": "Person", "id": "dana@example.com" } });
                    table.resource.attributes.insert("steward".into(), steward);
                }
                table
            }
        }
    })
}

fn call() -> impl Strategy<Value = Call> {
    let approvals = prop_oneof![
        3 => Just(&[][..]),
        1 => Just(&["dba"][..]),
        1 => Just(&["security"][..]),
        1 => Just(&["dba", "security"][..]),
    ];
    let arguments = (
        proptest::option::of(prop_oneof![Just("main"), Just("fix")]),
        proptest::option::of(0..20i64),
    );
    (
        subject(),
        proptest::option::weighted(0.3, subject()),
        proptest::collection::vec(touched(), 1..3),
        approvals,
        arguments,
        any::<bool>(),
        prop_oneof![10 => Just(NOW), 10 => Just(Timestamp(0)), 1 => Just(Timestamp(253_402_300_799_999))],
    )
        .prop_map(|(subject, behalf, effects, approvals, (branch, count), reason, now)| {
            let mut call = Call::new(subject, effects).approved(approvals);
            call.chain.on_behalf_of.extend(behalf);
            call.arguments.extend(branch.map(|b| ("branch".to_owned(), b.into())));
            call.arguments.extend(count.map(|c| ("count".to_owned(), c.into())));
            call.reason = reason.then(|| "because".into());
            call.now = now;
            call
        })
}

fn files(statements: &[String]) -> BTreeMap<String, String> {
    let policies = statements
        .iter()
        .enumerate()
        .map(|(number, text)| format!("@id(\"p{number}\") {text}\n"))
        .collect::<String>();
    [
        ("countersign.toml", MAIN),
        ("approvals.toml", APPROVALS),
        ("policies/a.cedar", policies.as_str()),
        (
            "schema/t.cedarschema",
            "entity Table in [Target] { personal: Bool, steward?: Person };",
        ),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into()
}

/// More approvals never make the answer stricter.
fn invariant_approvals_only_lift(snapshot: &countersign_policy::Snapshot, call: &Call) {
    let rank = |decision: &Decision| match decision {
        Decision::Permit { .. } => 0,
        Decision::Hold { .. } => 1,
        Decision::Deny { .. } => 2,
    };
    let with = call.clone().approved(&["dba", "security"]).ask(snapshot);
    let without = call.clone().approved(&[]).ask(snapshot);
    assert!(rank(&with.decision) <= rank(&without.decision));
    assert!(!matches!(with.decision, Decision::Hold { .. }));
    if let Decision::Hold { rules, .. } = &without.decision {
        let names = rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>();
        let exactly = call.clone().approved(&names).ask(snapshot);
        assert_eq!(rank(&exactly.decision), 0, "what was held for is enough");
    }
}

/// Each case is one bundle with twenty requests.
fn cases() -> u32 {
    if std::env::var_os("COUNTERSIGN_FULL").is_some() {
        1_000
    } else {
        20
    }
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 200, ..Config::default() })]

    #[test]
    fn all_paths_agree(
        first in prop_oneof![
            4 => Just("permit (principal, action, resource);".to_owned()),
            1 => statement(),
        ],
        others in proptest::collection::vec(statement(), 0..8),
        calls in proptest::collection::vec(call(), 20),
    ) {
        let statements = [vec![first], others].concat();
        let snapshot = snapshot_of(&files(&statements));
        for call in &calls {
            let evaluation = call.ask(&snapshot);
            // A stranger sees only the asks that reached Cedar.
            let reached = snapshot.recorded_input(&call.question())["asks"].as_array().map_or(0, Vec::len);
            if reached == evaluation.asks.len() {
                replay(&snapshot, call, &evaluation);
            }
            invariant_approvals_only_lift(&snapshot, call);
        }
    }
}
