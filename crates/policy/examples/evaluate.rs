//! Measures deciding: `cargo run --release -p countersign-policy --example evaluate`.
//!
//! Prints one JSON line for each figure. A bundle of N statements spreads over groups, targets,
//! environments and actions; questions come from many agents and touch many resources. `prepare`
//! is everything up to the conditions, `evaluate` the conditions and the decision, `whole` both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
    time::Instant,
};

use countersign_core::{
    action::{Effect, Resource},
    subject::{Origin, Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_policy::{Bundle, Question, Snapshot};

const GROUPS: usize = 40;
const AGENTS: usize = 500;
const TARGETS: usize = 100;
const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn main() {
    for policies in [1, 100, 1_000, 10_000] {
        measure(policies);
    }
}

fn bundle(policies: usize) -> Snapshot {
    let mut main = String::from("[person.owner]\n");
    for group in 0..GROUPS {
        let _ = writeln!(main, "[group.g{group}]");
    }
    for agent in 0..AGENTS {
        let (one, two) = (agent % GROUPS, (agent * 7 + 3) % GROUPS);
        let groups = if one == two {
            format!("\"g{one}\"")
        } else {
            format!("\"g{one}\", \"g{two}\"")
        };
        let _ = writeln!(
            main,
            "[agent.a{agent}]\nowner = \"owner\"\ngroups = [{groups}]"
        );
    }
    for target in 0..TARGETS {
        let _ = writeln!(
            main,
            "[target.t{target}]\nkind = \"exec\"\nenvironment = \"e{}\"",
            target % 5
        );
    }
    let mut files = BTreeMap::from([
        ("countersign.toml".to_owned(), main),
        (
            "approvals.toml".to_owned(),
            "[approval.dba]\nstages = [{ from = [\"user:owner\"] }]\n".to_owned(),
        ),
    ]);
    for number in 0..policies {
        let file = files
            .entry(format!("policies/{}.cedar", number / 500))
            .or_default();
        let _ = writeln!(file, "@id(\"p{number}\") {}", statement(number));
    }
    let bundle = Bundle::from_files(&files).unwrap_or_else(|problems| {
        let text = problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        eprintln!("{text}");
        std::process::exit(1)
    });
    let directory = bundle.directory(NOW, None, true);
    match Snapshot::new(Arc::new(bundle), Arc::new(directory)) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            eprintln!("{problems:?}");
            std::process::exit(1)
        }
    }
}

/// A fixed mixture of scopes, so that about seven of a thousand statements hold in scope for a
/// question: one in ten names no group, one in ten no action, one in ten no place.
fn statement(number: usize) -> String {
    let mut state = u64::try_from(number)
        .unwrap_or(0)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let principal = match draw(10) {
        0 => "principal is Agent".to_owned(),
        _ => format!("principal in Group::\"g{}\"", draw(40)),
    };
    let shared = ["read", "write", "delete", "export", "execute"];
    let action = match draw(10) {
        0 => "action".to_owned(),
        other => {
            let name = shared
                .iter()
                .cycle()
                .nth(usize::try_from(other).unwrap_or(0));
            format!("action in Action::\"{}\"", name.unwrap_or(&"read"))
        }
    };
    let resource = match draw(10) {
        0 => "resource".to_owned(),
        1..=4 => format!("resource in Environment::\"e{}\"", draw(5)),
        _ => format!("resource in Target::\"t{}\"", draw(100)),
    };
    let scope = format!("({principal}, {action}, {resource})");
    match draw(4) {
        0 => format!("permit {scope};"),
        1 => format!(
            "permit {scope} when {{ context.gate == \"exec\" && context.stated has model }};"
        ),
        2 => format!(
            "forbid {scope} when {{ context.operation like \"drop*\" || \
             (context.stated has reason && context.stated.reason == \"\") }};"
        ),
        _ => format!(
            "@approval(\"dba\") forbid {scope} when {{ context.now > datetime(\"2026-01-01\") && \
             context.gate == \"exec\" }};"
        ),
    }
}

struct Call {
    chain: SubjectChain,
    effects: Vec<Effect>,
}

fn calls() -> Vec<Call> {
    let parse = |text: String| text.parse().ok();
    (0..1_000usize)
        .filter_map(|number| {
            let target = format!("t{}", (number * 31) % TARGETS);
            let agent = SubjectId::Agent(format!("a{}", (number * 17) % AGENTS).parse().ok()?);
            let action = ["read", "write", "delete", "export", "exec:run"].get(number % 5)?;
            let mut chain = SubjectChain::of(Subject {
                id: agent,
                owner: None,
            });
            chain.origin = Origin {
                model: Some("model-1".into()),
                ..Origin::default()
            };
            let resource = Resource {
                kind: "Resource".into(),
                id: format!("{target}/row/{number}"),
                target: parse(target)?,
                attributes: BTreeMap::new(),
            };
            Some(Call {
                chain,
                effects: vec![Effect {
                    action: action.parse().ok()?,
                    resource,
                }],
            })
        })
        .collect()
}

fn measure(policies: usize) {
    let began = Instant::now();
    let snapshot = bundle(policies);
    report(policies, "load", "ms", began.elapsed().as_secs_f64() * 1e3);
    let calls = calls();
    let (arguments, approvals) = (BTreeMap::new(), BTreeSet::new());
    let questions = calls
        .iter()
        .map(|call| Question {
            chain: &call.chain,
            gate: "exec",
            operation: "run",
            effects: &call.effects,
            arguments: &arguments,
            reason: Some("because"),
            approvals: &approvals,
            now: NOW,
        })
        .collect::<Vec<_>>();
    let (mut prepare, mut evaluate, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut answers: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..12 {
        for question in &questions {
            let began = Instant::now();
            let prepared = snapshot.prepare(question);
            let built = began.elapsed();
            // Once to warm the caches, as a request that is held is asked again.
            let warm = prepared.evaluate();
            let began = Instant::now();
            let answer = std::hint::black_box(prepared.evaluate());
            let evaluated = began.elapsed();
            let began = Instant::now();
            std::hint::black_box(snapshot.evaluate(question));
            let all = began.elapsed();
            if round >= 2 {
                prepare.push(built);
                evaluate.push(evaluated);
                whole.push(all);
            }
            if round == 0 {
                assert_eq!(warm, answer);
                *answers.entry(answer.decision.name()).or_default() += 1;
            }
        }
    }
    let in_scope: usize = questions
        .iter()
        .map(|q| snapshot.prepare(q).statements_in_scope())
        .sum();
    eprintln!(
        "{policies} policies: {answers:?}, {} in scope for 1000 questions",
        in_scope
    );
    for (name, mut times) in [
        ("evaluate", evaluate),
        ("prepare", prepare),
        ("whole", whole),
    ] {
        times.sort();
        for (quantile, percent) in [("p50", 50), ("p99", 99)] {
            let value = times
                .get(times.len() * percent / 100)
                .map_or(0.0, |t| t.as_secs_f64() * 1e6);
            report(policies, &format!("{name}_{quantile}"), "us", value);
        }
    }
}

fn report(policies: usize, metric: &str, unit: &str, value: f64) {
    println!(
        "{{\"bench\":\"spine\",\"metric\":\"policy_{metric}_{policies}\",\"value\":{value:.2},\"unit\":\"{unit}\"}}"
    );
}
