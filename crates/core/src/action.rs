//! What is asked: an operation on a target, and the effects it has.
//!
//! In scope: the exact action, its classified effects, the shared action groups.
//! Out of scope: how a gate classifies its bytes; what policy makes of it.
//! Invariant: everything that decides what will happen is in [`Action`], or bound by its masks; two
//! actions that differ in anything a target could notice are different values and have different
//! digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    id::{ActionName, TargetId},
    masking::Mask,
};

/// The action groups that span all gates.
pub const SHARED_GROUPS: [&str; 7] = [
    "read",
    "write",
    "delete",
    "export",
    "execute",
    "privilege",
    "admin",
];

/// The action of an effect that a gate could not understand. A built-in forbid covers it.
pub const UNCLASSIFIED: &str = "unclassified";

/// The exact action, as the gate will execute it from its own copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The gate that holds it: `exec`, `admin`, `authzen`, …
    pub gate: String,
    /// What stands behind the gate.
    pub target: TargetId,
    /// The gate's own verb, for example `run` or `bundle.apply`.
    pub operation: String,
    /// Everything the operation takes, including hashes of captured inputs.
    pub arguments: Value,
    /// The session state that gives the arguments meaning; `null` where a gate has none.
    #[serde(default)]
    pub session: Value,
    /// The secrets in whose place the arguments have masks, by text and then by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<Mask>,
}

/// A resource of the catalog: typed, named, and with its parents in the policy's hierarchy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The Cedar entity type, for example `Resource` or `Countersign`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name within its type.
    pub id: String,
    /// The target it belongs to; the target's environment and labels come from the bundle.
    pub target: TargetId,
    /// Attributes from the gate's catalog, never from the caller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
}

/// One thing the action does to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// A shared group's plain action or a gate's finer one.
    pub action: ActionName,
    /// What it touches.
    pub resource: Resource,
}
