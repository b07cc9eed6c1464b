//! Grants, as the HTTP interface takes and gives them.

use countersign_core::{
    approval::grant::GrantTerms,
    id::RequestId,
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RequestLine;

/// What an approval grants beside the one action. It comes into being when everybody whose vote is needed
/// says the same, and the action is claimed, which is its first use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantWanted {
    /// For how long after the last of the votes, for example `15m`.
    #[serde(rename = "for")]
    #[schema(value_type = String)]
    pub time: Span,
    /// How many times, the first included; at least 2.
    pub uses: u32,
    /// The places that may hold another value, among those offered, as JSON pointers into the arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
}

impl From<GrantWanted> for GrantTerms {
    fn from(wanted: GrantWanted) -> Self {
        Self {
            time: wanted.time,
            open: wanted.open.into_iter().collect(),
            uses: wanted.uses,
        }
    }
}

/// What approvers may grant beside a request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantOffered {
    /// The longest time.
    #[schema(value_type = String)]
    pub max: Span,
    /// The most uses, the first included.
    pub uses: u32,
    /// The places that may be left open.
    pub places: Vec<GrantPlace>,
}

/// A place in a request's arguments at which a grant may leave the value open.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantPlace {
    /// A JSON pointer into the arguments.
    pub place: String,
    /// What the target calls the value there.
    pub name: String,
    /// What stands there in this request.
    pub value: String,
}

/// A grant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantLine {
    /// What may run, in words.
    pub words: String,
    /// The same as a Cedar policy, for reading; it decides nothing.
    pub cedar: String,
    /// Its end.
    #[schema(value_type = i64)]
    pub until: Timestamp,
    /// How many uses there are in all.
    pub uses: u32,
    /// How many were made, the first included.
    pub used: u32,
    /// Whether it can be used now.
    pub live: bool,
    /// Who ended it before its time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<String>,
}

/// A grant that can be used, with the request that it was given with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantedRequest {
    /// The request.
    #[serde(flatten)]
    pub request: RequestLine,
    /// What was granted with it.
    pub grant: GrantLine,
    /// Whether the caller may end it.
    pub can_end: bool,
}

/// The grants that can be used and that the caller may see, those that end first at the top.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantList {
    /// The grants.
    pub grants: Vec<GrantedRequest>,
}

/// The grant that a request runs under.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunsUnder {
    /// The request whose approvers gave it.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// Its end.
    #[schema(value_type = i64)]
    pub until: Timestamp,
    /// Whose votes it brings.
    pub voters: Vec<String>,
}
