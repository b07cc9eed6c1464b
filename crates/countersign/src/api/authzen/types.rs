//! AuthZEN's words on the wire.
//!
//! In scope: the JSON of `/access/v1/…` and of `/v1/outcomes`.
//! Out of scope: what it means.
//! Invariant: unknown fields are ignored here, as AuthZEN asks, and so are no part of the question:
//! what is not read is neither decided about nor shown nor covered by the digest.
//! Specification: <https://openid.net/specs/authorization-api-1_0.html#section-5>.

use countersign_core::{
    id::{PermitId, RequestId},
    trace::TraceParent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubjectBody {
    /// `person`, `agent` or `workload`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name; with the type it must be the authenticated caller's.
    pub id: String,
    /// Claims of the caller. They are part of the question and are not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Map<String, Value>>,
}

/// What the caller would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionBody {
    /// An action of the schema, for example `write` or `exec:git-push`.
    pub name: String,
    /// Claims of the caller; policies see those that the action declares as `context.arguments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Map<String, Value>>,
}

/// To what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceBody {
    /// `Target`, `Resource` or an own type of the schema.
    #[serde(rename = "type")]
    pub kind: String,
    /// A target's name, or the target's name, a slash and a name within it.
    pub id: String,
    /// Claims of the caller; for own types `target` names the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub properties: Option<Map<String, Value>>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationBody {
    /// Who asks.
    pub subject: SubjectBody,
    /// What it would do.
    pub action: ActionBody,
    /// To what.
    pub resource: ResourceBody,
    /// Circumstances as the caller states them. `reason` (text) is the stated reason; `approval`
    /// (a request's id, or an object with `id`) claims an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
    /// The call's `traceparent` header.
    #[serde(skip)]
    pub trace: Option<TraceParent>,
}

/// A part of a question; what it lacks comes from the batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartialBody {
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectBody>,
    /// What it would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionBody>,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceBody>,
    /// Circumstances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
}

/// How far a batch goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    /// All questions are answered.
    #[default]
    ExecuteAll,
    /// The first denial is the last answer.
    DenyOnFirstDeny,
    /// The first permission is the last answer.
    PermitOnFirstPermit,
}

/// Options of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchOptions {
    /// How far it goes.
    #[serde(default)]
    pub evaluations_semantic: Semantic,
}

/// Several questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationsBody {
    /// What the questions have in common.
    #[serde(flatten)]
    pub common: PartialBody,
    /// The questions, at most 100. Without any, the common part is the one question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<Vec<PartialBody>>,
    /// How far to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BatchOptions>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationAnswer {
    /// Whether the caller may act now. Anything but `true` is no.
    pub decision: bool,
    /// What belongs to the answer.
    pub context: AnswerContext,
}

/// What belongs to an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerContext {
    /// Always `true`: the caller executes itself and nobody enforces the answer.
    pub advisory: bool,
    /// The request under which question and decision are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub evaluation_id: Option<RequestId>,
    /// The permit, when the decision is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub permit: Option<PermitId>,
    /// Where and until when to say how the action ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeHint>,
    /// Why not: `approval_required`, `policy_denied`, `grant_pending`, `approval_expired`,
    /// `approval_unverifiable`, `out_of_scope` or `already_claimed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How to ask people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_request: Option<AccessRequestHint>,
    /// Within a batch: what kept this question from being answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AnswerError>,
}

/// Where to say how a permitted action ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeHint {
    /// The address.
    pub endpoint: String,
    /// Until when (RFC 3339); after that the outcome is recorded as unknown.
    pub before: String,
}

/// How to ask people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequestHint {
    /// The address.
    pub endpoint: String,
    /// Until when the binding token is good (RFC 3339).
    pub expires_at: String,
    /// Pass back as `denial.binding_token`.
    pub binding_token: String,
}

/// Why a question of a batch was not answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerError {
    /// The HTTP status that a single question would have got.
    pub status: u16,
    /// Why.
    pub message: String,
}

/// The answers to a batch, in the order of its questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationsAnswer {
    /// One for each question up to where the semantic ended it.
    pub evaluations: Vec<EvaluationAnswer>,
}

/// The denial that an access request answers to; at least one of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DenialBody {
    /// The denied evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_id: Option<String>,
    /// Its binding token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding_token: Option<String>,
}

/// A request to ask people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubmitBody {
    /// The denied question.
    #[serde(flatten)]
    pub question: EvaluationBody,
    /// The denial.
    pub denial: DenialBody,
    /// What is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_access: Option<RequestedAccess>,
    /// Not available yet; refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub callback: Option<Value>,
    /// Not available yet; refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub items: Option<Value>,
}

/// What is wanted beyond the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestedAccess {
    /// Refused: only people break the glass, in a session of their own.
    #[serde(default)]
    pub emergency: bool,
}

/// A task with its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskAnswer {
    /// The task.
    pub task: Task,
    /// What to do with an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
}

/// An access request under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// The request.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// `pending`, `approved`, `denied`, `expired`, `cancelled` or `failed`. Only `approved` is.
    pub status: String,
    /// Where to look again.
    pub status_endpoint: String,
    /// When it next changes by itself (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why it ended, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Related addresses.
    pub links: TaskLinks,
}

/// Addresses around a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskLinks {
    /// The page on which people decide.
    pub review: String,
    /// `POST` here to take it back, while that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
}

/// What to do with an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// Always `reevaluate`: ask the identical question with `context.approval`.
    pub mode: String,
    /// The approval.
    pub approval: Approval,
}

/// An approval. It is no permission: policy decides again when it is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Pass as `context.approval`.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// Until when it can be claimed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_until: Option<String>,
    /// `active`, `claimed` or `consumed`.
    pub state: String,
}

/// How a permitted action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeBody {
    /// The permit …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// … or the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// How.
    pub status: ReportedStatus,
    /// Its exit status, of a command; 128 + signal where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Details, at most 4,096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a caller says its action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedStatus {
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
}

/// That an outcome is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeAnswer {
    /// The request.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// The permit.
    #[schema(value_type = String)]
    pub permit: PermitId,
    /// What is recorded.
    pub status: ReportedStatus,
}

/// Where things are (`/.well-known/authzen-configuration`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Metadata {
    /// This gateway.
    pub policy_decision_point: String,
    /// One question.
    pub access_evaluation_endpoint: String,
    /// Several questions.
    pub access_evaluations_endpoint: String,
    /// Asking people.
    pub access_request_endpoint: String,
}
