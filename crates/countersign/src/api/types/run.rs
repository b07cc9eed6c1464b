//! Running commands through the exec gate.
//!
//! In scope: the call, its answer line by line, inputs and targets.

use std::collections::BTreeMap;

use countersign_core::{
    id::{MessageId, RequestId},
    subject::Origin,
    time::Timestamp,
    trace::TraceParent,
};
use countersign_runner::resolve::Resolved;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Approvers;

/// A command to run through the exec gate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The target; not needed with `claim`.
    #[serde(default)]
    pub target: String,
    /// The command and its arguments, at least one; not needed with `claim`.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Environment values the target allows callers to set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The digest of uploaded inputs (`POST /v1/inputs`).
    #[serde(default)]
    pub inputs: Option<String>,
    /// Why, in the caller's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the caller says of its origin.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub origin: Origin,
    /// How long to wait for people, in milliseconds; then the answer is `still_held`.
    pub wait_ms: u64,
    /// Set when the caller itself runs the command: the gateway decides, records and hands out the
    /// permit. Only for targets with `advisory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalCommand>,
    /// Claim this approved or amended request of the caller instead of asking again: its stored
    /// action runs, whatever else is said here.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub claim: Option<RequestId>,
    /// The call's `traceparent` header.
    #[serde(skip)]
    pub trace: Option<TraceParent>,
}

/// What a caller states of its own machine, where it runs a command itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalCommand {
    /// What the first word of the command means there: `program` and `interpreters`, each with
    /// `path` and `sha256`.
    #[schema(value_type = Object)]
    pub executable: Resolved,
    /// The working directory, absolute.
    pub directory: String,
}

/// One line of the answer to [`RunRequest`], as newline-delimited JSON.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// The action waits for people.
    Held {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// Its page.
        url: String,
        /// The rules to satisfy.
        rules: Vec<String>,
        /// Who can sign now.
        approvers: Approvers,
        /// When waiting ends in denial.
        #[schema(value_type = i64)]
        expires: Timestamp,
        /// Whether an earlier identical call asked already.
        attached: bool,
        /// Whether the caller itself will run it.
        #[serde(default)]
        advisory: bool,
    },
    /// Something happened while it waits: a vote, a comment, a question.
    Progress {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// What, for people.
        text: String,
    },
    /// A reviewer asked something that nobody has answered yet. `POST /v1/requests/{id}/answers`
    /// answers it; the time to decide goes on.
    Asked {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// The question, for `to` of the answer.
        #[schema(value_type = String)]
        question: MessageId,
        /// Who asks.
        by: String,
        /// What.
        text: String,
    },
    /// The action starts.
    Started {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// The permit.
        permit: String,
    },
    /// The caller may run the command now, once; the permit is recorded. The stream stays open
    /// while it runs: keep it so, and report at `/v1/outcomes`. Without a report the outcome is
    /// unknown soon after the stream ended.
    Permitted {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// The permit; name it in the report.
        permit: String,
        /// Always: nobody but the caller executes this.
        advisory: bool,
        /// Until when the outcome can be reported.
        #[schema(value_type = i64)]
        report_before: Timestamp,
    },
    /// The caller must end the command that it runs: its requester was stopped.
    Stop {
        /// Why.
        message: String,
    },
    /// Bytes the command wrote to its output, base64.
    Stdout {
        /// The bytes.
        data: String,
    },
    /// Bytes the command wrote to its error output, base64.
    Stderr {
        /// The bytes.
        data: String,
    },
    /// The command ended.
    Exited {
        /// Its exit status; 128 + signal where a signal ended it.
        status: i32,
        /// `succeeded`, `failed` or `unknown`.
        outcome: String,
        /// Set when it was ended before it was done, or its outcome could not be recorded.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        warning: Option<String>,
    },
    /// The time the caller gave is over; the request still waits.
    StillHeld {
        /// The request.
        #[schema(value_type = String)]
        request: RequestId,
        /// Its page.
        url: String,
    },
    /// It will not run.
    Refused {
        /// The request, when one was recorded.
        #[schema(value_type = Option<String>)]
        request: Option<RequestId>,
        /// A stable name such as `denied`.
        code: String,
        /// Why and what to do next.
        message: String,
        /// The amended request to claim instead.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[schema(value_type = Option<String>)]
        amended: Option<RequestId>,
        /// Its page, where there is one: nobody looks at what policy refuses.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        page: Option<String>,
    },
}

impl RunEvent {
    /// A refusal; `page` is where people see why, if they can.
    #[must_use]
    pub fn refused(
        request: Option<RequestId>,
        code: &str,
        message: String,
        page: Option<String>,
    ) -> Self {
        Self::Refused {
            request,
            code: code.into(),
            message,
            amended: None,
            page,
        }
    }
}

/// Uploaded inputs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InputsReceived {
    /// Name them by this in [`RunRequest::inputs`].
    pub digest: String,
    /// Files, directories and symbolic links.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// What a caller needs to know of a target before it captures inputs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TargetInfo {
    /// Its name.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// Patterns of the files it takes; empty means all.
    pub keep: Vec<String>,
    /// The most bytes of inputs.
    pub max_input_bytes: u64,
    /// Names of environment values a caller may set.
    pub env: Vec<String>,
    /// Whether callers may run commands on their own side (`--local`).
    pub advisory: bool,
}
