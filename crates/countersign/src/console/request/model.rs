//! A case as the model of its page.
//!
//! In scope: who, what, why, which policy, what it replaces (P8).
//! Out of scope: signatures, actions and the timeline, which have their own modules.
//! Invariant: the action is shown from what the gate stored; nothing is shortened here.

use countersign_console::{
    emergencies::Review,
    part::{Moment, Phase as Shown},
    request::{Effect, Lifted, Pair, Policy, Related, RequestPage, What, Who},
    shell::{Link, Shell},
};
use countersign_core::{
    action::UNCLASSIFIED,
    approval::myself::myself,
    count::counted,
    id::{PolicyId, RequestId},
    request::{Case, Closure, Phase, Request},
};

use super::{
    actions::{self, Typed},
    grant, path, signing, timeline,
};
use crate::{
    api::{
        detail::{detail, unusual_in},
        ways::Ways,
    },
    console::{
        standing::left,
        viewer::{self, Viewer},
        words,
    },
};

/// The page of a case.
pub(super) fn page(
    viewer: &Viewer<'_>,
    (case, ways): (&Case, &Ways),
    shell: Shell,
    typed: &Typed,
) -> RequestPage {
    let request = &case.request;
    let detail = detail(&viewer.api.gateway, &viewer.session.caller, case, ways);
    let policies = request.decided.decision.policies().iter();
    RequestPage {
        shell,
        id: request.id.to_string(),
        title: request.presentation.title.clone(),
        phase: Shown::from_name(case.phase.name()).unwrap_or_default(),
        phase_detail: phase_detail(case),
        asked: viewer.moment(request.at),
        left: left(&case.phase).map(|at| viewer.deadline(at)),
        advisory: detail.advisory,
        administrative: request.administrative,
        who: who(viewer, case),
        what: What {
            runs_as: detail.runs_as.clone().unwrap_or_default(),
            unusual: unusual_in(case),
            ..what(viewer, request)
        },
        blast_radius: request.presentation.blast_radius.clone(),
        why: request.reason.clone(),
        policies: policies.map(|id| policy(viewer, request, id)).collect(),
        bundle: request.decided.bundle.to_string(),
        rules: signing::rules(viewer, case, ways),
        hindered: ways.hindered(),
        lifted: lifted(viewer, case),
        timeline: timeline::timeline(viewer, case, ways),
        grant: grant::shown(viewer, case, &detail),
        related: related(case),
        actions: actions::actions(viewer, case, &detail, typed),
    }
}

/// More about how it ended.
fn phase_detail(case: &Case) -> String {
    let Phase::Closed { closure, .. } = &case.phase else {
        return String::new();
    };
    match closure {
        Closure::Denied { by, reason: None } => format!("By {by}."),
        Closure::Denied {
            by,
            reason: Some(why),
        } => format!("By {by}: {why}"),
        Closure::Cancelled { by } => format!("By {}.", by.name()),
        Closure::Amended { by, .. } => format!("By {by}."),
        Closure::Unreachable { rules } => {
            let names: Vec<_> = rules.iter().map(ToString::to_string).collect();
            format!("It concerns {}.", words::rules(&names))
        }
        Closure::PolicyChanged { detail } => words::sentence(detail),
        Closure::RequesterStopped { who } => format!("It concerns {}.", who.name()),
        Closure::Expired | Closure::Unclaimed => String::new(),
    }
}

fn who(viewer: &Viewer<'_>, case: &Case) -> Who {
    let chain = &case.request.chain;
    let origin = &chain.origin;
    let stated = [
        ("Model", &origin.model),
        ("Session", &origin.session),
        ("Task", &origin.task),
    ];
    let pair = |(name, value): (&str, &Option<String>)| Some(Pair::new(name, value.clone()?));
    let side = myself(case, &viewer.active.directory);
    Who {
        requester: viewer::party(&chain.requester),
        on_behalf_of: chain.on_behalf_of.iter().map(viewer::party).collect(),
        stated: stated.into_iter().filter_map(pair).collect(),
        myself: side.iter().map(ToString::to_string).collect(),
    }
}

fn what(viewer: &Viewer<'_>, request: &Request) -> What {
    let (action, shown) = (&request.action, &request.presentation);
    let target = viewer.active.snapshot.target(&action.target);
    let effect = |effect: &countersign_core::action::Effect| Effect {
        action: effect.action.to_string(),
        resource: effect.resource.id.clone(),
        unclassified: effect.action.as_str() == UNCLASSIFIED,
    };
    let owners: Vec<_> = request
        .resource_owners
        .iter()
        .map(ToString::to_string)
        .collect();
    let owners = (!owners.is_empty()).then(|| Pair::new("Owner", words::list(&owners)));
    let session = session_state(&action.session);
    What {
        gate: action.gate.clone(),
        target: action.target.to_string(),
        environment: target
            .map(|one| one.environment.to_string())
            .unwrap_or_default(),
        operation: action.operation.clone(),
        body: shown.body.clone(),
        complete: shown.complete,
        size: size(request),
        digest: request.digest.to_string(),
        effects: request.effects.iter().map(effect).collect(),
        details: owners.into_iter().chain(session).collect(),
        unusual: Vec::new(),
        runs_as: String::new(),
    }
}

/// A setting as text: lists and tables by their parts.
fn setting(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
            fields.collect::<Vec<_>>().join("  ")
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            items.iter().map(setting).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// What of the target's configuration gives the action its meaning, each setting by its name.
fn session_state(session: &serde_json::Value) -> Vec<Pair> {
    let settings = session.as_object().into_iter().flatten();
    settings
        .filter(|(_, value)| !value.is_null() && **value != serde_json::json!({}))
        .filter(|(_, value)| **value != serde_json::json!([]))
        .map(|(name, value)| Pair::new(name.replace('_', " "), setting(value)))
        .collect()
}

fn size(request: &Request) -> String {
    let bytes = request.presentation.body.len();
    match request.presentation.complete {
        true => counted(bytes, "byte", "bytes"),
        false => format!(
            "{} shown; the text says what is left out or masked.",
            counted(bytes, "byte of it is", "bytes of it are")
        ),
    }
}

/// A statement that decided. Only the bundle that decided can say what it was.
fn policy(viewer: &Viewer<'_>, request: &Request, id: &PolicyId) -> Policy {
    let same = request.decided.bundle == viewer.active.hash;
    let Some(statement) = viewer.active.snapshot.statement(id).filter(|_| same) else {
        return Policy {
            id: id.to_string(),
            reason: match same {
                true => "It is built in.".into(),
                false => {
                    "Another bundle was applied since; the record has the one that decided.".into()
                }
            },
            ..Policy::default()
        };
    };
    let approvals: Vec<_> = statement
        .approvals
        .iter()
        .map(ToString::to_string)
        .collect();
    Policy {
        id: id.to_string(),
        effect: if statement.forbids() {
            "forbid"
        } else {
            "permit"
        }
        .into(),
        approval: words::list(&approvals),
        place: format!("{}:{}", statement.file, statement.line),
        source: statement.source.to_string(),
        reason: statement.reason.clone().unwrap_or_default(),
    }
}

fn lifted(viewer: &Viewer<'_>, case: &Case) -> Vec<Lifted> {
    let shown = |lift: &countersign_core::request::Lifted| Lifted {
        rule: lift.rule.to_string(),
        by: lift.by().to_string(),
        reason: lift.reason().to_owned(),
        at: viewer.moment(lift.vote.at),
        review_by: Moment::new(lift.review_by.to_string()),
        overdue: lift.is_overdue(viewer.now),
        reviewed: lift.reviewed.as_ref().map(|review| Review {
            by: review.by.to_string(),
            at: viewer.moment(review.at),
            note: review.note.clone(),
        }),
    };
    case.lifted.iter().map(shown).collect()
}

fn related(case: &Case) -> Vec<Related> {
    let link = |id: &RequestId| Link {
        href: path(id),
        text: id.to_string(),
    };
    let before = case.request.amends.iter().map(|amends| Related {
        how: format!("Edited by {}, it replaces", amends.editor),
        link: link(&amends.request),
    });
    let after = match &case.phase {
        Phase::Closed {
            closure: Closure::Amended { by, into },
            ..
        } => Some(Related {
            how: format!("Replaced by the action that {by} proposed:"),
            link: link(into),
        }),
        _ => None,
    };
    let under = case.granted.iter().map(|granted| Related {
        how: "It runs under the grant given with".into(),
        link: link(&granted.request),
    });
    before.chain(after).chain(under).collect()
}
