//! What the active policy would say of a command, without asking for it.
//!
//! In scope: the decision with its statements, and who could countersign.
//! Out of scope: voters' sessions, opening hours and escalation, which only a real request has.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use countersign_core::{
    action::Effect,
    approval::{
        ApprovalRule,
        rule::{Approver, Assurance, Stage},
    },
    decision::Decision,
    id::PersonId,
    subject::{Subject, SubjectChain},
};
use countersign_policy::{Explanation, Question};
use serde::{Deserialize, Serialize};

use super::{
    Api, StrictJson,
    manage::{passkeys_of, people_only},
    problem::ApiError,
    types::ExplainBody,
};
use crate::{
    active::Active,
    engine::EngineError,
    identity::{Caller, parse_subject},
};

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The decision and what led to it.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// What the command would do, in the order in which `asks` counts: `exec:run on tools`.
    pub effects: Vec<String>,
    /// The rules it would wait for, and who could satisfy them.
    pub signers: Vec<Signers>,
}

/// Who could countersign for a rule.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signers {
    /// The rule.
    pub rule: String,
    /// Whether the requester's own side confirms it.
    pub confirmation: bool,
    /// Its stages in order.
    pub stages: Vec<StageSigners>,
}

/// Who could sign a stage.
#[derive(Debug, Serialize, Deserialize)]
pub struct StageSigners {
    /// How many signatures it takes.
    pub count: u32,
    /// Whom it names.
    pub from: Vec<String>,
    /// The people among them who are not on the requester's side and have what it takes.
    pub people: Vec<String>,
    /// Those who would need a passkey and have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_passkey: Vec<String>,
}

pub(super) async fn explain(
    State(api): State<Api>,
    caller: Caller,
    StrictJson(body): StrictJson<ExplainBody>,
) -> Result<Json<Explained>, ApiError> {
    // A machine would learn who can countersign, and how to word what nobody looks at.
    people_only(&caller, "the policy")?;
    let active = api.gateway.active();
    let chain = chain(&active, &body)?;
    let target = body.target.as_deref().unwrap_or_default();
    let target = target
        .parse()
        .ok()
        .and_then(|id| active.snapshot.target(&id));
    let exec = target
        .and_then(|target| target.exec())
        .ok_or_else(|| ApiError::invalid("`target` names no target that runs commands"))?;
    let argv = body.argv.unwrap_or_default();
    let classified = exec.classify(&argv, body.inputs, active.bundle.masker());
    let effects: Vec<Effect> = classified.effects;
    let none = BTreeSet::new();
    let evaluation = active.snapshot.evaluate(&Question {
        chain: &chain,
        gate: "exec",
        operation: "run",
        effects: &effects,
        arguments: &classified.arguments,
        reason: None,
        approvals: &none,
        now: api.gateway.clock.now(),
    });
    let explanation = active.snapshot.explain(&evaluation);
    let holders = holders(&api).await?;
    let rules = match &explanation.decision {
        Decision::Hold { rules, .. } => rules.clone(),
        Decision::Permit { .. } | Decision::Deny { .. } => BTreeSet::new(),
    };
    let rules = rules.iter().filter_map(|name| active.snapshot.rule(name));
    let effect = |effect: &Effect| format!("{} on {}", effect.action, effect.resource.id);
    Ok(Json(Explained {
        signers: rules
            .map(|rule| signers(&active, &chain, rule, &holders))
            .collect(),
        effects: effects.iter().map(effect).collect(),
        explanation,
    }))
}

fn chain(active: &Active, body: &ExplainBody) -> Result<SubjectChain, ApiError> {
    let member = |text: &String| -> Result<Subject, ApiError> {
        let id = parse_subject(text).ok_or_else(|| {
            ApiError::invalid(format!("`{}` names no subject", text.escape_debug())).with_detail(
                "Write it with its kind: `agent:deploy-bot`, `workload:ci`, \
                 `person:dana@example.com`.",
            )
        })?;
        Ok(active
            .directory
            .resolve(&id)
            .unwrap_or(Subject { id, owner: None }))
    };
    let mut chain = SubjectChain::of(member(&body.subject)?);
    chain.on_behalf_of = body
        .on_behalf_of
        .iter()
        .map(member)
        .collect::<Result<_, _>>()?;
    Ok(chain)
}

/// Everybody who has a passkey that signs votes.
async fn holders(api: &Api) -> Result<BTreeSet<PersonId>, ApiError> {
    let (gateway, active) = (&api.gateway, api.gateway.active());
    let all = gateway.store.credentials(None).await;
    let (all, now) = (all.map_err(EngineError::from)?, gateway.clock.now());
    let signs = |person: &&PersonId| passkeys_of(person, &all, now).any(|one| one.signs);
    Ok(active
        .directory
        .people
        .keys()
        .filter(signs)
        .cloned()
        .collect())
}

fn signers(
    active: &Active,
    chain: &SubjectChain,
    rule: &ApprovalRule,
    holders: &BTreeSet<PersonId>,
) -> Signers {
    let side: BTreeSet<&PersonId> = chain.members().flat_map(Subject::people).collect();
    let stage = |stage: &Stage| {
        let people = active.directory.people.iter();
        let named = people.filter(|(id, person)| {
            person.acts()
                && !side.contains(id)
                && stage.from.iter().any(|from| match from {
                    Approver::User(user) => user == *id,
                    Approver::Group(group) => person.groups.contains_key(group),
                    Approver::OwnerOfResource | Approver::ManagerOfRequester => false,
                })
        });
        let (able, without): (Vec<_>, Vec<_>) = named
            .map(|(id, _)| id)
            .partition(|id| rule.assurance != Assurance::Passkey || holders.contains(*id));
        let names = |people: Vec<&PersonId>| people.into_iter().map(ToString::to_string).collect();
        StageSigners {
            count: stage.count,
            from: stage.from.iter().map(ToString::to_string).collect(),
            people: names(able),
            without_passkey: names(without),
        }
    };
    Signers {
        rule: rule.name.to_string(),
        confirmation: rule.confirmation,
        stages: rule.stages.iter().map(stage).collect(),
    }
}
