//! A small bundle and questions about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    action::{Effect, Resource},
    id::RuleName,
    subject::{Origin, Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_policy::{Bundle, Evaluation, Question, Snapshot, snapshot::reference};
use serde_json::Value;

pub(crate) const MAIN: &str = r#"[server]
listen = "127.0.0.1:7780"

[group.agents]
[group.dba]
[group.security]

[person."dana@example.com"]
groups = ["dba"]

[person."sam@example.com"]
groups = ["security", "dba"]
manager = "dana@example.com"

[agent.deploy]
owner = "dana@example.com"
groups = ["agents"]

[agent.orphan]
groups = ["agents"]

[workload.ci]
owner = "sam@example.com"

[target.release]
kind = "exec"
environment = "production"
labels = ["pci"]

[[target.release.command]]
argv = ["git", "push", "origin", "{branch:word}"]
action = "git-push"
group = "write"
resource = "branch/{branch}"

[[target.release.command]]
argv = ["scale", "{count:number}"]
action = "scale"
group = "write"

[target.sandbox]
kind = "exec"
environment = "test"
"#;

pub(crate) const APPROVALS: &str = r#"[approval.dba]
stages = [{ from = ["group:dba"], count = 1 }]

[approval.security]
stages = [{ from = ["group:security"] }]
"#;

pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);

pub(crate) fn files(policies: &str) -> BTreeMap<String, String> {
    [
        ("countersign.toml", MAIN),
        ("approvals.toml", APPROVALS),
        ("policies/a.cedar", policies),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into()
}

pub(crate) fn snapshot_of(files: &BTreeMap<String, String>) -> Snapshot {
    let bundle = Bundle::from_files(files).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let directory = bundle.directory(NOW, None, true);
    Snapshot::new(Arc::new(bundle), Arc::new(directory)).unwrap()
}

pub(crate) fn snapshot(policies: &str) -> Snapshot {
    snapshot_of(&files(policies))
}

pub(crate) fn person(name: &str) -> Subject {
    Subject::person(name.parse().unwrap())
}

pub(crate) fn agent(name: &str) -> Subject {
    Subject {
        id: SubjectId::Agent(name.parse().unwrap()),
        owner: None,
    }
}

pub(crate) fn workload(name: &str) -> Subject {
    Subject {
        id: SubjectId::Workload(name.parse().unwrap()),
        owner: None,
    }
}

pub(crate) fn effect(action: &str, kind: &str, id: &str, target: &str) -> Effect {
    Effect {
        action: action.parse().unwrap(),
        resource: Resource {
            kind: kind.into(),
            id: id.into(),
            target: target.parse().unwrap(),
            attributes: BTreeMap::new(),
        },
    }
}

pub(crate) fn on_target(action: &str, target: &str) -> Effect {
    effect(action, "Target", target, target)
}

/// A question that owns its parts.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) chain: SubjectChain,
    pub(crate) effects: Vec<Effect>,
    pub(crate) arguments: BTreeMap<String, Value>,
    pub(crate) reason: Option<String>,
    pub(crate) approvals: BTreeSet<RuleName>,
    pub(crate) now: Timestamp,
}

impl Call {
    pub(crate) fn new(requester: Subject, effects: impl IntoIterator<Item = Effect>) -> Self {
        Self {
            chain: SubjectChain {
                requester,
                on_behalf_of: Vec::new(),
                origin: Origin {
                    model: Some("model-1".into()),
                    ..Origin::default()
                },
            },
            effects: effects.into_iter().collect(),
            arguments: BTreeMap::new(),
            reason: None,
            approvals: BTreeSet::new(),
            now: NOW,
        }
    }

    pub(crate) fn behalf_of(mut self, subject: Subject) -> Self {
        self.chain.on_behalf_of.push(subject);
        self
    }

    pub(crate) fn approved(mut self, rules: &[&str]) -> Self {
        self.approvals = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        self
    }

    pub(crate) fn argument(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            chain: &self.chain,
            gate: "exec",
            operation: "run",
            effects: &self.effects,
            arguments: &self.arguments,
            reason: self.reason.as_deref(),
            approvals: &self.approvals,
            now: self.now,
        }
    }

    /// The answer, after checking that the plain authorizer agrees.
    pub(crate) fn ask(&self, snapshot: &Snapshot) -> Evaluation {
        let question = self.question();
        let fast = snapshot.evaluate(&question);
        assert_eq!(
            fast,
            reference::evaluate(snapshot, &question),
            "the two paths disagree"
        );
        fast
    }
}

/// A decision in a few words.
pub(crate) fn brief(evaluation: &Evaluation) -> String {
    use countersign_core::decision::Decision;
    let join = |names: Vec<String>| names.join(",");
    let policies = join(
        evaluation
            .decision
            .policies()
            .iter()
            .map(ToString::to_string)
            .collect(),
    );
    match &evaluation.decision {
        Decision::Permit { .. } => format!("permit [{policies}]"),
        Decision::Hold { rules, .. } => {
            format!(
                "hold {} [{policies}]",
                join(rules.iter().map(ToString::to_string).collect())
            )
        }
        Decision::Deny { reason, .. } => format!("deny {reason} [{policies}]"),
    }
}
