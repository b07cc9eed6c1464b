//! Writes random decisions for another Cedar engine to check:
//! `cargo run -p countersign-policy --example oracle -- 200 | python3 integration/python/cedar_oracle.py`.
//!
//! Each line is one bundle's question: the transformed policies, the recorded entities and asks,
//! and what stock Cedar has to answer to each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    action::{Effect, Resource},
    subject::{Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_policy::{Bundle, Question, Snapshot, snapshot::question::Ask};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

const MAIN: &str = r#"
[group.agents]
[group.dba]
[person.dana]
groups = ["dba"]
[agent.deploy]
owner = "dana"
groups = ["agents"]
[workload.ci]
owner = "dana"
[target.release]
kind = "exec"
environment = "production"
[[target.release.command]]
argv = ["scale", "{count:number}"]
action = "scale"
group = "write"
[target.sandbox]
kind = "exec"
environment = "test"
"#;

const APPROVALS: &str = "[approval.dba]\nstages = [{ from = [\"group:dba\"] }]\n\
    [approval.two]\nstages = [{ from = [\"user:dana\"] }]\n";

const HEADS: &[&str] = &[
    "permit",
    "permit",
    "forbid",
    "@approval(\"dba\") forbid",
    "@approval(\"dba, two\") forbid",
];
const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is Agent",
    "principal in Group::\"agents\"",
    "principal in Group::\"dba\"",
    "principal == Person::\"dana\"",
    "principal is Workload",
];
const ACTIONS: &[&str] = &[
    "action",
    "action in Action::\"write\"",
    "action == Action::\"exec:scale\"",
    "action in [Action::\"read\", Action::\"execute\"]",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource in Environment::\"production\"",
    "resource in Target::\"sandbox\"",
    "resource is Resource",
    "resource == Resource::\"release/a\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "",
    "when { context.gate == \"exec\" }",
    "unless { context.operation like \"r*\" }",
    "when { context.now > datetime(\"2030-01-01\") || context.gate == \"exec\" }",
    "when { context.gate == \"admin\" || (context.arguments has count && context.arguments.count + 9223372036854775800 > 5) }",
    "when { context.gate == \"admin\" || (principal has owner && principal.owner in Group::\"dba\") }",
    "when { Person::\"dana\" in Group::\"dba\" && context.stated has reason }",
];

/// Marsaglia's xorshift; the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).copied()
    }
}

fn main() {
    let lines = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(200);
    let mut random = Random(0x0123_4567_89ab_cdef);
    for _ in 0..lines {
        match line(&mut random) {
            Ok(line) => println!("{line}"),
            Err(problem) => {
                eprintln!("{problem}");
                std::process::exit(1)
            }
        }
    }
}

fn line(random: &mut Random) -> Result<Value, String> {
    let snapshot = snapshot(random)?;
    let (chain, effects) = call(random).ok_or("no call")?;
    let arguments = BTreeMap::from([("count".to_owned(), Value::from(random.below(20)))]);
    let names = [&[][..], &["dba"], &["dba", "two"]];
    let approvals: BTreeSet<_> = random
        .pick(&names)
        .into_iter()
        .flatten()
        .filter_map(|name| name.parse().ok())
        .collect();
    let question = Question {
        chain: &chain,
        gate: "exec",
        operation: "run",
        effects: &effects,
        arguments: &arguments,
        reason: (random.below(2) == 0).then_some("because"),
        approvals: &approvals,
        now: NOW,
    };
    let recorded = snapshot.recorded_input(&question);
    let evaluation = snapshot.evaluate(&question);
    let expected = evaluation
        .asks
        .iter()
        .map(|ask| expected(&snapshot, ask))
        .collect::<Vec<_>>();
    Ok(json!({
        "policies": snapshot.cedar_policies_json()?,
        "entities": recorded.get("entities"),
        "asks": recorded.get("asks"),
        "expected": expected,
    }))
}

/// What stock Cedar answers: it skips statements that fail, which is why we do not stop there.
fn expected(snapshot: &Snapshot, ask: &Ask) -> Value {
    let forbids = |id| {
        snapshot
            .statement(id)
            .is_some_and(countersign_policy::Statement::forbids)
    };
    let allowed = !ask.policies.is_empty() && !ask.policies.iter().any(forbids);
    json!({
        "decision": if allowed { "Allow" } else { "Deny" },
        "reasons": ask.policies,
        "errors": ask.errors.len(),
        "ours": ask.decision.name(),
    })
}

fn snapshot(random: &mut Random) -> Result<Snapshot, String> {
    let mut policies = String::from("@id(\"all\") permit (principal, action, resource);\n");
    for number in 0..random.below(8) {
        let parts =
            [HEADS, PRINCIPALS, ACTIONS, RESOURCES, CONDITIONS].map(|pool| random.pick(pool));
        let [
            Some(head),
            Some(principal),
            Some(action),
            Some(resource),
            Some(condition),
        ] = parts
        else {
            continue;
        };
        policies.push_str(&format!(
            "@id(\"p{number}\") {head} ({principal}, {action}, {resource}) {condition};\n"
        ));
    }
    let files = [
        ("countersign.toml", MAIN),
        ("approvals.toml", APPROVALS),
        ("policies/a.cedar", &policies),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let bundle = Bundle::from_files(&files).map_err(|problems| format!("{problems:#?}"))?;
    let directory = bundle.directory(NOW, None, true);
    Snapshot::new(Arc::new(bundle), Arc::new(directory))
        .map_err(|problems| format!("{problems:#?}"))
}

fn call(random: &mut Random) -> Option<(SubjectChain, Vec<Effect>)> {
    let subjects = [
        SubjectId::Agent("deploy".parse().ok()?),
        SubjectId::Person("dana".parse().ok()?),
        SubjectId::Workload("ci".parse().ok()?),
    ];
    let subject = |random: &mut Random| {
        subjects.get(random.below(3)).map(|id| Subject {
            id: id.clone(),
            owner: None,
        })
    };
    let mut chain = SubjectChain::of(subject(random)?);
    if random.below(3) == 0 {
        chain.on_behalf_of.extend(subject(random));
    }
    let mut effects = Vec::new();
    for _ in 0..=random.below(2) {
        let action = random.pick(&[
            "read",
            "write",
            "exec:run",
            "exec:scale",
            "exec:scale",
            "unclassified",
        ])?;
        let target = random.pick(&["release", "sandbox"])?;
        let (kind, id) = match random.below(3) {
            0 => ("Target", target.to_owned()),
            1 => ("Resource", format!("{target}/a")),
            _ => ("Resource", format!("{target}/it's \"odd\" \\ ü")),
        };
        let resource = Resource {
            kind: kind.into(),
            id,
            target: target.parse().ok()?,
            attributes: BTreeMap::new(),
        };
        effects.push(Effect {
            action: action.parse().ok()?,
            resource,
        });
    }
    Some((chain, effects))
}
