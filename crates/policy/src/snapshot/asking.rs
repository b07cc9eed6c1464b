//! From a question to single requests to Cedar.
//!
//! In scope: resolving subjects, actions and resources; building the context.
//! Out of scope: evaluating.
//! Invariant: a request that comes out of here is typed: its action, principal and resource are
//! in the schema, they exist, and its context has exactly the declared keys and types. Only this
//! module writes `context.approvals`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, EvalResult, RestrictedExpression,
};
use countersign_core::{
    action::{Effect, Resource},
    decision::{Decision, DenyReason},
    id::RuleName,
    subject::{Subject, SubjectId},
};
use serde_json::{Value, json};

use super::{
    Snapshot,
    entities::BUILT_IN_TARGET,
    fast::datetime,
    question::{MAX_CHAIN, MAX_EFFECTS, Question},
};
use crate::{
    problem::shown,
    schema::{ActionEntry, ArgumentKind, report},
};

/// The principal, or why there is none.
pub(crate) type Principal = Result<EntityUid, DenyReason>;

/// The part of an ask that does not depend on the member.
#[derive(Debug, Clone)]
pub(crate) struct Touched {
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) target: EntityUid,
    /// The resource, when it is not the target itself.
    pub(crate) entity: Option<Entity>,
    /// Static entities that the resource's attributes refer to.
    pub(crate) references: Vec<EntityUid>,
    /// Every pair of the context but `approvals`.
    pub(crate) context: Vec<(String, RestrictedExpression)>,
}

/// A question taken apart.
pub(crate) struct Taken {
    pub(crate) members: Vec<(SubjectId, Principal)>,
    pub(crate) effects: Vec<Result<Touched, DenyReason>>,
}

/// Takes a question apart, or says why it is refused as a whole.
pub(crate) fn take(snapshot: &Snapshot, question: &Question<'_>) -> Result<Taken, Decision> {
    let failed = |text: String| Decision::deny(DenyReason::EvaluationFailed(text));
    if question.effects.is_empty() {
        return Err(Decision::deny(DenyReason::NotPermitted));
    }
    if question.effects.len() > MAX_EFFECTS {
        return Err(failed(format!(
            "the action has more than {MAX_EFFECTS} effects"
        )));
    }
    if question.chain.members().count() > MAX_CHAIN {
        return Err(failed(format!(
            "the chain has more than {MAX_CHAIN} members"
        )));
    }
    let members = question
        .chain
        .members()
        .map(|m| (m.id.clone(), principal(snapshot, m)))
        .collect();
    let shared = shared_context(question).map_err(|text| failed(text.into()))?;
    let effects = question
        .effects
        .iter()
        .map(|effect| touched(snapshot, question, &shared, effect))
        .collect();
    Ok(Taken { members, effects })
}

fn principal(snapshot: &Snapshot, subject: &Subject) -> Principal {
    let unresolved = |text: String| DenyReason::UnresolvedSubject(text);
    let id = &subject.id;
    let resolved = snapshot
        .directory
        .resolve(id)
        .ok_or_else(|| unresolved(format!("`{id}` is unknown or disabled")))?;
    if !resolved.is_accountable() {
        return Err(unresolved(format!("`{id}` has no owner")));
    }
    if let Some(owner) = &resolved.owner
        && snapshot.directory.active_person(owner).is_none()
    {
        return Err(unresolved(format!(
            "the owner of `{id}` is unknown or disabled"
        )));
    }
    let kind = match id {
        SubjectId::Person(_) => "Person",
        SubjectId::Agent(_) => "Agent",
        SubjectId::Workload(_) => "Workload",
    };
    let uid = snapshot.base.uid(kind, id.name());
    uid.filter(|uid| snapshot.base.entities.get(uid).is_some())
        .ok_or_else(|| unresolved(format!("`{id}` is unknown")))
}

fn touched(
    snapshot: &Snapshot,
    question: &Question<'_>,
    shared: &[(String, RestrictedExpression)],
    effect: &Effect,
) -> Result<Touched, DenyReason> {
    let entry = snapshot
        .bundle
        .generated
        .actions
        .get(&effect.action)
        .ok_or(DenyReason::Unclassified)?;
    let action = snapshot.base.uid("Action", effect.action.as_str());
    let action = action
        .filter(|uid| snapshot.base.entities.get(uid).is_some())
        .ok_or(DenyReason::Unclassified)?;
    let (resource, target, entity) =
        resource(snapshot, &effect.resource).map_err(DenyReason::UnresolvedResource)?;
    let references = entity.as_ref().map(referenced).unwrap_or_default();
    let mut context = shared.to_vec();
    let arguments = arguments(question.arguments, entry).map_err(DenyReason::EvaluationFailed)?;
    context.push(("arguments".into(), arguments));
    Ok(Touched {
        action,
        resource,
        target,
        entity,
        references,
        context,
    })
}

type Resolved = (EntityUid, EntityUid, Option<Entity>);

fn resource(snapshot: &Snapshot, resource: &Resource) -> Result<Resolved, String> {
    let name = resource.target.as_str();
    let unknown = || format!("there is no target `{name}`");
    let target = snapshot.base.uid("Target", name).ok_or_else(unknown)?;
    let known = name == BUILT_IN_TARGET || snapshot.bundle.targets().contains_key(&resource.target);
    let in_environment = snapshot
        .base
        .entities
        .ancestors(&target)
        .is_some_and(|mut a| a.any(|uid| uid.type_name().basename() == "Environment"));
    if !known || !in_environment {
        return Err(unknown());
    }
    if resource.kind == "Target" {
        return if resource.id == name && resource.attributes.is_empty() {
            Ok((target.clone(), target, None))
        } else {
            Err(format!(
                "`{}` is not the target `{name}`",
                shown(&resource.id)
            ))
        };
    }
    if !snapshot
        .bundle
        .generated
        .resource_types
        .contains(&resource.kind)
    {
        return Err(format!(
            "there is no resource type `{}`",
            shown(&resource.kind)
        ));
    }
    if resource.kind == "Resource" {
        if !resource.attributes.is_empty() {
            return Err(format!(
                "`{}` has attributes that are not declared",
                shown(&resource.id)
            ));
        }
        let uid = snapshot
            .base
            .uid("Resource", &resource.id)
            .ok_or_else(unknown)?;
        let entity = Entity::new_no_attrs(uid.clone(), HashSet::from([target.clone()]));
        return Ok((uid, target, Some(entity)));
    }
    own_resource(snapshot, resource, target)
}

/// A resource of an own type; the schema checks its attributes.
fn own_resource(
    snapshot: &Snapshot,
    resource: &Resource,
    target: EntityUid,
) -> Result<Resolved, String> {
    let kind: EntityTypeName = resource
        .kind
        .parse()
        .map_err(|_| "unknown type".to_owned())?;
    let uid = EntityUid::from_type_name_and_id(kind, EntityId::new(&resource.id));
    let written = json!({
        "uid": { "type": resource.kind, "id": resource.id },
        "attrs": resource.attributes,
        "parents": [{ "type": "Target", "id": resource.target }],
    });
    let entity = Entity::from_json_value(written, Some(&snapshot.bundle.generated.schema))
        .map_err(|error| format!("`{}`: {}", shown(&resource.id), shown(&report(&error))))?;
    let dangling = referenced(&entity)
        .iter()
        .any(|uid| snapshot.base.entities.get(uid).is_none());
    if dangling {
        return Err(format!(
            "`{}` refers to something that does not exist",
            shown(&resource.id)
        ));
    }
    Ok((uid, target, Some(entity)))
}

/// The entities that attributes name.
fn referenced(entity: &Entity) -> Vec<EntityUid> {
    let mut found = Vec::new();
    for (_, value) in entity.attrs() {
        match value {
            Ok(value) => collect(&value, &mut found),
            Err(_) => continue,
        }
    }
    found
}

fn collect(value: &EvalResult, found: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => found.push(uid.clone()),
        EvalResult::Set(items) => items.iter().for_each(|item| collect(item, found)),
        EvalResult::Record(fields) => fields.iter().for_each(|(_, field)| collect(field, found)),
        _ => {}
    }
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn record(
    pairs: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<RestrictedExpression, &'static str> {
    RestrictedExpression::new_record(pairs).map_err(|_| "a key of the context is repeated")
}

fn shared_context(
    question: &Question<'_>,
) -> Result<Vec<(String, RestrictedExpression)>, &'static str> {
    let origin = &question.chain.origin;
    let stated = [
        ("reason", question.reason),
        ("model", origin.model.as_deref()),
        ("task", origin.task.as_deref()),
        ("session", origin.session.as_deref()),
    ];
    let stated = stated
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), text(value?))));
    Ok(vec![
        ("gate".into(), text(question.gate)),
        ("operation".into(), text(question.operation)),
        ("now".into(), datetime(&question.now.to_string())),
        ("stated".into(), record(stated)?),
    ])
}

fn arguments(
    given: &BTreeMap<String, Value>,
    entry: &ActionEntry,
) -> Result<RestrictedExpression, String> {
    let mut pairs = HashMap::new();
    for (name, kind) in &entry.arguments {
        let value = match (given.get(name), kind) {
            (None, _) => continue,
            (Some(Value::String(value)), ArgumentKind::Text) => text(value),
            (Some(Value::Number(value)), ArgumentKind::Number) => value
                .as_i64()
                .map(RestrictedExpression::new_long)
                .ok_or_else(|| format!("the argument `{name}` is no whole number"))?,
            (Some(_), ArgumentKind::Text) => {
                return Err(format!("the argument `{name}` is not a text"));
            }
            (Some(_), ArgumentKind::Number) => {
                return Err(format!("the argument `{name}` is not a number"));
            }
        };
        pairs.insert(name.clone(), value);
    }
    record(pairs).map_err(str::to_owned)
}

/// The context as Cedar takes it.
pub(crate) fn context(
    touched: &Touched,
    approvals: &BTreeSet<RuleName>,
) -> Result<Context, DenyReason> {
    let approvals = RestrictedExpression::new_set(approvals.iter().map(|rule| text(rule.as_str())));
    let key = crate::statement::approval::APPROVALS.to_owned();
    let pairs = touched.context.iter().cloned().chain([(key, approvals)]);
    Context::from_pairs(pairs)
        .map_err(|error| DenyReason::EvaluationFailed(format!("the context: {}", report(&error))))
}
