//! Why a command did not do what was asked, and the exit status that says so to scripts.
//!
//! In scope: one error type for the command line, its exit statuses, its text and JSON forms.
//! Out of scope: what the gateway refuses; its problem details pass through unchanged.
//! Invariant: a failure of the gateway or of the connection never has the exit status 0, so a
//! script can't take it for the success of an action.
//! Specification: statuses 64 to 77 are those of `sysexits.h`; problem details are RFC 9457.

use std::{fmt, io};

use countersign_core::id::RequestId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::text::Paint;
use crate::api::types::Problem;

/// Nothing more precise is known, or a check found something.
pub(crate) const GENERAL: u8 = 1;
/// The command line or what it names is wrong.
pub(crate) const USAGE: u8 = 64;
/// The gateway can't be reached or does not know the caller; nothing was run.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Nobody here knows whether the action ran.
pub(crate) const UNKNOWN: u8 = 70;
/// People still have to decide.
pub(crate) const HELD: u8 = 75;
/// Refused.
pub(crate) const REFUSED: u8 = 77;
/// What a shell reports when the reader of a pipe went away.
const PIPE_CLOSED: u8 = 141;

/// A command that ended without doing what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) exit: u8,
    /// A stable name such as `unreachable`.
    pub(crate) kind: String,
    /// What was wrong.
    pub(crate) title: String,
    /// What to do next.
    pub(crate) detail: Option<String>,
    /// The status with which the gateway answered.
    pub(crate) http: Option<u16>,
    /// The request concerned.
    pub(crate) request: Option<RequestId>,
}

impl Failure {
    /// A failure with the exit status 1.
    pub(crate) fn new(kind: &str, title: impl Into<String>) -> Self {
        Self {
            exit: GENERAL,
            kind: kind.to_owned(),
            title: title.into(),
            detail: None,
            http: None,
            request: None,
        }
    }

    /// A wrong command line, file or setting; the exit status is 64.
    pub(crate) fn usage(title: impl Into<String>) -> Self {
        Self::new("usage", title).exit(USAGE)
    }

    /// The same with what to do next.
    #[must_use]
    pub(crate) fn next(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with another exit status.
    #[must_use]
    pub(crate) fn exit(mut self, status: u8) -> Self {
        self.exit = status;
        self
    }

    /// The same about a request.
    #[must_use]
    pub(crate) fn about(mut self, request: &RequestId) -> Self {
        self.request = Some(request.clone());
        self
    }

    /// What the gateway answered instead of what was asked for.
    #[must_use]
    pub(crate) fn of_problem(problem: Problem, status: StatusCode) -> Self {
        let (exit, advice) = match status {
            StatusCode::UNAUTHORIZED => (
                UNAVAILABLE,
                Some(
                    "run `countersign login` with a token from the console, or set COUNTERSIGN_TOKEN",
                ),
            ),
            StatusCode::FORBIDDEN => (REFUSED, None),
            status if status.is_server_error() => (
                UNAVAILABLE,
                Some("try again; if it stays so, ask whoever runs the gateway"),
            ),
            _ => (GENERAL, None),
        };
        Self {
            exit,
            kind: problem.kind,
            title: problem.title,
            detail: problem.detail.or_else(|| advice.map(str::to_owned)),
            http: Some(status.as_u16()),
            request: problem.request,
        }
    }

    /// Whether nothing should be said, because nobody listens.
    #[must_use]
    pub(crate) fn is_silent(&self) -> bool {
        self.exit == PIPE_CLOSED
    }

    /// As problem details, for `--json`.
    #[must_use]
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({ "exit": self.exit, "title": self.title, "type": self.kind });
        let optional = [
            ("detail", self.detail.clone().map(Value::from)),
            ("status", self.http.map(Value::from)),
            (
                "request",
                self.request.clone().map(String::from).map(Value::from),
            ),
        ];
        if let Some(fields) = value.as_object_mut() {
            for (name, field) in optional {
                fields.extend(field.map(|field| (name.to_owned(), field)));
            }
        }
        value
    }

    /// For people: what was wrong, and on a second line what to do next.
    #[must_use]
    pub(crate) fn to_text(&self, paint: Paint) -> String {
        // Further lines are indented, so that none of them reads as a message of its own.
        let title = super::text::shown_lines(&self.title).replace('\n', "\n  ");
        let mut text = format!("{} {title}", paint.red("countersign:"));
        if let Some(detail) = &self.detail {
            for line in detail.lines() {
                text.push_str("\n  ");
                text.push_str(&super::text::shown(line));
            }
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Failure {}

/// Writing what a command has to say.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::BrokenPipe => PIPE_CLOSED,
            _ => GENERAL,
        };
        Self::new("output", format!("the output can't be written: {error}")).exit(exit)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn refused(status: u16) -> Failure {
        let problem = Problem {
            kind: "own_request".into(),
            status,
            title: "you asked for this yourself\u{1b}[2J".into(),
            detail: None,
            request: "req_1".parse().ok(),
        };
        Failure::of_problem(problem, StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn statuses_say_whose_turn_it_is() {
        for (http, exit) in [
            (401, 69),
            (403, 77),
            (404, 1),
            (409, 1),
            (500, 69),
            (503, 69),
        ] {
            assert_eq!(refused(http).exit, exit, "{http}");
        }
    }

    #[test]
    fn failures_say_what_to_do_and_hide_nothing() {
        expect![[r#"
            countersign: you asked for this yourself⟨U+001B⟩[2J
              run `countersign login` with a token from the console, or set COUNTERSIGN_TOKEN"#]]
        .assert_eq(&refused(401).to_text(Paint::plain()));
        assert_eq!(
            refused(401).to_json(),
            json!({
                "type": "own_request",
                "title": "you asked for this yourself\u{1b}[2J",
                "detail": "run `countersign login` with a token from the console, or set COUNTERSIGN_TOKEN",
                "status": 401,
                "request": "req_1",
                "exit": 69,
            })
        );
    }

    #[test]
    fn a_reader_that_left_is_not_told() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_silent());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_silent());
    }
}
