//! Emergencies: lifting a rule, reviewing that somebody did, and the list of both.

use countersign_core::{
    id::{RequestId, RuleName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RequestLine;
use crate::identity::passkey::Signed;

/// Lifting a rule in an emergency. It is no vote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmergencyBody {
    /// The one rule that is lifted.
    #[schema(value_type = String)]
    pub rule: RuleName,
    /// Why.
    pub reason: String,
    /// The digest of the action shown.
    pub digest: String,
    /// Its first 8 digits, where the action can't be shown whole.
    #[serde(default)]
    pub typed_digest: Option<String>,
    /// The proof of a fresh act, from the request's page or `GET /v1/requests/ID`.
    pub act: String,
    /// What the person's passkey signed; see `POST /v1/requests/ID/passkey` with `lifts`.
    pub passkey: Signed,
}

/// A review of the emergency use of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewBody {
    /// The rule.
    #[schema(value_type = String)]
    pub rule: RuleName,
    /// What was found.
    pub note: String,
    /// The digest of the action shown.
    pub digest: String,
    /// The proof of a fresh act, from the request's page or `GET /v1/requests/ID`.
    pub act: String,
}

/// What a rule says of emergencies.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EmergencyTerms {
    /// Who can lift it.
    pub from: Vec<String>,
    /// Within what time somebody else must review that.
    pub review_within: String,
}

/// A rule that the caller can lift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Liftable {
    /// The rule.
    pub rule: String,
    /// Until when somebody else must have reviewed it, were it lifted now.
    #[schema(value_type = i64)]
    pub review_by: Timestamp,
}

/// That a rule was lifted in an emergency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LiftLine {
    /// The rule.
    pub rule: String,
    /// Who lifted it, with their passkey.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Until when somebody else must review it.
    #[schema(value_type = i64)]
    pub review_by: Timestamp,
    /// `due`, `overdue` or `reviewed`.
    pub review: String,
    /// The review.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reviewed: Option<ReviewLine>,
}

/// What somebody else found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewLine {
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// What.
    pub note: String,
}

/// A request of which a rule was lifted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EmergencyLine {
    /// The request.
    #[serde(flatten)]
    pub line: RequestLine,
    /// Its page.
    pub url: String,
    /// What was lifted.
    pub lifted: Vec<LiftLine>,
    /// The rules whose emergency use the caller may review, in a session.
    pub can_review: Vec<String>,
}

/// A page of emergencies.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EmergencyList {
    /// The newest request first.
    pub items: Vec<EmergencyLine>,
    /// Pass as `after` for the next page.
    #[schema(value_type = Option<String>)]
    pub next: Option<RequestId>,
}
