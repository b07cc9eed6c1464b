//! Streams as the interface shows them.
//!
//! Invariant: nothing of a record and no secret; addresses are those of the bundle.

use countersign_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::streams::DeadLetter;

/// Every stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct StreamList {
    /// By name.
    pub streams: Vec<StreamInfo>,
}

/// How one stream stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// `ocsf`, `webhook` or `otlp`.
    pub kind: String,
    /// The file or address.
    pub to: String,
    /// The next record it takes from the log.
    pub next: u64,
    /// Records that were not delivered yet.
    pub lag: u64,
    /// Events delivered since the gateway started.
    pub delivered: u64,
    /// Attempts that failed since the gateway started.
    pub failed: u64,
    /// When something was delivered last.
    #[schema(value_type = Option<i64>)]
    pub last: Option<Timestamp>,
    /// What is wrong now.
    pub fault: Option<String>,
    /// Events that it gave up.
    pub dead: u64,
    /// The first of them.
    pub dead_letters: Vec<DeadLetter>,
}
