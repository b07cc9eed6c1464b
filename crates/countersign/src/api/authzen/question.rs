//! From AuthZEN's question to what the gate asks for.
//!
//! In scope: whose question it is, what it touches, what of it the digest covers.
//! Out of scope: deciding. What can't be resolved here goes on as it is and policy denies it.
//! Invariant: subject, action, resource and context (without `approval`) are the action's
//! arguments, member by member, so digest and attach key cover exactly them. None of them becomes
//! an attribute, a parent or an entity.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use countersign_core::{
    action::{Action, Effect, Resource, UNCLASSIFIED},
    canonical::to_canonical,
    digest::AttachKey,
    id::{ActionName, TargetId},
    request::MAX_TEXT_BYTES,
};
use countersign_policy::target::exec::target_resource;
use serde_json::{Map, Value};

use super::{
    GATE, present,
    types::{EvaluationBody, PartialBody, ResourceBody},
};
use crate::{
    active::Active,
    admin,
    api::problem::ApiError,
    engine::{Asked, EngineError},
    identity::Caller,
    keys::Keys,
    secrets::{self, Keep},
};

/// The most bytes of one question: a reviewer reads all of it, and it is kept with the request.
pub(super) const MAX_QUESTION: usize = 65_536;

/// Stands for what names no target that could be asked about here. The slash keeps it from being
/// the name of a configured one.
const UNRESOLVED: &str = "authzen/unresolved";

/// A question, read and found to be the caller's own.
pub(super) struct Question {
    /// What the gate asks for.
    pub(super) asked: Asked,
    /// The approval it claims: an id, or something that is none.
    pub(super) approval: Option<Value>,
}

impl Question {
    /// Reads a question of a caller.
    ///
    /// # Errors
    /// 403 when it names another subject than the caller, 400 when it has no canonical form, 413
    /// when it is too large.
    pub(super) fn read(
        active: &Active,
        caller: &Caller,
        body: &EvaluationBody,
    ) -> Result<Self, ApiError> {
        check_subject(caller, body)?;
        let mut body = body.clone();
        let trace = body.trace;
        let approval = body
            .context
            .as_mut()
            .and_then(|context| context.remove("approval"));
        let approval = approval.filter(|approval| !approval.is_null());
        body.context = body.context.filter(|context| !context.is_empty());
        stated_reason(body.context.as_ref())?;
        let mut arguments = arguments(&body)?;
        // Whoever asks executes, so nobody here needs the secrets again.
        let taken = secrets::take_out(active.bundle.masker(), &mut arguments, Keep::Never)?;
        if !taken.masks.is_empty() {
            let masked = serde_json::from_value(arguments.clone());
            body = masked.map_err(|error| EngineError::Internal(error.to_string()))?;
        }
        let reason = stated_reason(body.context.as_ref())?;
        let places = places(&arguments);
        let effect = effect(active, &body)?;
        let target = active.snapshot.target(&effect.resource.target);
        let owner = target.and_then(|target| target.owner.clone());
        let action = Action {
            gate: GATE.into(),
            target: effect.resource.target.clone(),
            operation: effect.action.to_string(),
            arguments,
            session: Value::Null,
            masked: taken.masks,
        };
        let mut presentation = present::presentation(&body, target, &effect);
        secrets::describe(&action, &mut presentation.body);
        presentation.complete &= taken.verified;
        Ok(Self {
            approval,
            asked: Asked {
                chain: caller.chain(),
                action,
                effects: vec![effect],
                captures: body.action.properties.into_iter().flatten().collect(),
                reason,
                presentation,
                resource_owners: owner.into_iter().collect::<BTreeSet<_>>(),
                issuers: caller.lineage(),
                behind: BTreeSet::new(),
                places,
                administrative: false,
                amends: None,
                trace,
                secrets: taken.secrets,
            },
        })
    }

    /// What an identical question of the same subject has in common with this one.
    ///
    /// # Errors
    /// The question has no canonical form.
    pub(super) fn attach_key(&self, keys: &Keys) -> Result<AttachKey, EngineError> {
        self.asked.attach_key(keys)
    }
}

fn check_subject(caller: &Caller, body: &EvaluationBody) -> Result<(), ApiError> {
    let own = &caller.subject.id;
    if body.subject.kind == own.kind() && body.subject.id == own.name() {
        return Ok(());
    }
    let title = "a caller asks only for itself; `subject` names somebody else";
    Err(
        ApiError::new(StatusCode::FORBIDDEN, "not_your_subject", title).with_detail(format!(
            "Ask as type `{}` and id `{}`.",
            own.kind(),
            own.name()
        )),
    )
}

fn stated_reason(context: Option<&Map<String, Value>>) -> Result<Option<String>, ApiError> {
    match context.and_then(|context| context.get("reason")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(reason)) if reason.len() <= MAX_TEXT_BYTES => Ok(Some(reason.clone())),
        Some(Value::String(_)) => {
            let title = format!("`context.reason` is longer than {MAX_TEXT_BYTES} bytes");
            Err(ApiError::invalid(title))
        }
        Some(_) => Err(ApiError::invalid("`context.reason` is not a text")),
    }
}

/// Everything the question says, as what the digest covers.
fn arguments(body: &EvaluationBody) -> Result<Value, ApiError> {
    let whole = serde_json::to_value(body).map_err(|error| ApiError::invalid(error.to_string()))?;
    let bytes = to_canonical(&whole)
        .map_err(|_| ApiError::invalid("a number is larger than 2^53 - 1; write it as a text"))?;
    if bytes.len() > MAX_QUESTION {
        let title = format!("the question is larger than {MAX_QUESTION} bytes");
        return Err(
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", title)
                .with_detail("Leave out what the decision does not need, or send a hash of it."),
        );
    }
    Ok(whole)
}

/// What a grant can leave open: single properties of the action, and the reason, which is only stated.
fn places(arguments: &Value) -> BTreeMap<String, String> {
    let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
    let properties = arguments.pointer("/action/properties");
    let properties = properties.and_then(Value::as_object).into_iter().flatten();
    let single = properties
        .filter(|(_, value)| value.is_string() || value.is_number() || value.is_boolean());
    let mut places: BTreeMap<_, _> = single
        .map(|(name, _)| {
            (
                format!("/action/properties/{}", escaped(name)),
                label_of(name),
            )
        })
        .collect();
    if arguments
        .pointer("/context/reason")
        .is_some_and(Value::is_string)
    {
        places.insert("/context/reason".into(), "stated reason".into());
    }
    places
}

/// What approvers read of a property whose name the caller chose: no name of its own can stand for another
/// one, or for the stated reason.
pub(crate) fn label_of(name: &str) -> String {
    format!("property {name:?}")
}

fn effect(active: &Active, body: &EvaluationBody) -> Result<Effect, EngineError> {
    let action = action_name(&body.action.name)?;
    Ok(Effect {
        action,
        resource: resource(active, &body.resource)?,
    })
}

/// The gateway's own administration has a gate of its own; nothing about it is decided here.
fn action_name(name: &str) -> Result<ActionName, EngineError> {
    let own = format!("{}:", admin::TARGET);
    match ActionName::new(name) {
        Ok(action) if !name.starts_with(&own) => Ok(action),
        _ => {
            ActionName::new(UNCLASSIFIED).map_err(|error| EngineError::Internal(error.to_string()))
        }
    }
}

fn resource(active: &Active, body: &ResourceBody) -> Result<Resource, EngineError> {
    match target_name(active, body).filter(|target| target.as_str() != admin::TARGET) {
        Some(target) => Ok(Resource {
            kind: body.kind.clone(),
            id: body.id.clone(),
            target,
            attributes: BTreeMap::new(),
        }),
        None => unresolved(),
    }
}

fn unresolved() -> Result<Resource, EngineError> {
    let target: TargetId = UNRESOLVED
        .parse()
        .map_err(|error| EngineError::Internal(format!("{error}")))?;
    Ok(target_resource(&target))
}

/// The target that a resource says it belongs to; policy denies when there is none of that name.
///
/// `Target` and `Resource` say it by their id alone. An own type says it in its properties or by
/// its id; where the id begins with a configured target's name and the properties name another
/// one, nothing is believed.
fn target_name(active: &Active, body: &ResourceBody) -> Option<TargetId> {
    let by_id = body
        .id
        .split('/')
        .next()
        .and_then(|name| TargetId::new(name).ok());
    if matches!(body.kind.as_str(), "Target" | "Resource") {
        return by_id;
    }
    let claimed = body
        .properties
        .as_ref()
        .and_then(|claims| claims.get("target"));
    let Some(claimed) = claimed else { return by_id };
    let claimed = claimed.as_str().and_then(|name| TargetId::new(name).ok())?;
    let configured = by_id.filter(|name| active.snapshot.target(name).is_some());
    match configured {
        Some(other) if other != claimed => None,
        _ => Some(claimed),
    }
}

impl PartialBody {
    /// The whole question, with what it lacks taken from `common`; `place` names it in errors.
    ///
    /// # Errors
    /// 400 naming what neither has.
    pub(super) fn complete(&self, common: &Self, place: &str) -> Result<EvaluationBody, ApiError> {
        let missing = |name: &str| ApiError::invalid(format!("`{name}` is missing{place}"));
        let subject = either(&self.subject, &common.subject);
        let action = either(&self.action, &common.action);
        let resource = either(&self.resource, &common.resource);
        Ok(EvaluationBody {
            trace: None,
            subject: subject.ok_or_else(|| missing("subject"))?,
            action: action.ok_or_else(|| missing("action"))?,
            resource: resource.ok_or_else(|| missing("resource"))?,
            context: either(&self.context, &common.context),
        })
    }
}

fn either<T: Clone>(own: &Option<T>, common: &Option<T>) -> Option<T> {
    own.as_ref().or(common.as_ref()).cloned()
}

/// The id in `context.approval`: a text, or an object with an `id`.
pub(super) fn approval_id(approval: &Value) -> Option<&str> {
    match approval {
        Value::String(id) => Some(id),
        Value::Object(fields) => fields.get("id").and_then(Value::as_str),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn constants_are_names_and_approvals_are_read() {
        assert_eq!(unresolved().unwrap().target.as_str(), UNRESOLVED);
        for (name, action) in [
            ("write", "write"),
            ("exec:git-push", "exec:git-push"),
            ("countersign:bundle-apply", UNCLASSIFIED),
            ("no name", UNCLASSIFIED),
            ("", UNCLASSIFIED),
        ] {
            assert_eq!(action_name(name).unwrap().as_str(), action, "{name}");
        }
        for (approval, id) in [
            (json!("req_1"), Some("req_1")),
            (json!({ "id": "req_1", "state": "active" }), Some("req_1")),
            (json!({ "id": 1 }), None),
            (json!(["req_1"]), None),
            (json!(null), None),
        ] {
            assert_eq!(approval_id(&approval), id, "{approval}");
        }
    }
}
