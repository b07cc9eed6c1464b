//! What is wrong with a bundle, said so that whoever wrote it can fix it.
//!
//! In scope: problems with file, line and a next step; finding the line of a byte offset.
//! Out of scope: deciding what is a problem.
//! Invariant: every problem names a file; the message holds the offending input in backticks,
//! escaped so that it cannot disturb a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle is not used.
    Error,
    /// The bundle is used, but probably does not do what was meant.
    Warning,
}

/// One thing that is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// The file's path within the bundle.
    pub file: String,
    /// The line, counted from one; absent when the whole file is meant.
    pub line: Option<u32>,
    /// Whether the bundle can be used all the same.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: String,
    /// Whether it may only follow from another error: something unknown that would be known if
    /// what defines it could be read.
    #[serde(skip)]
    pub(crate) follows: bool,
}

impl Problem {
    /// An error that keeps the bundle from being used.
    pub fn error(
        file: impl Into<String>,
        line: impl Into<Option<u32>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line: line.into(),
            severity: Severity::Error,
            message: message.into(),
            help: help.into(),
            follows: false,
        }
    }

    /// The same as something that may only follow from another error.
    pub(crate) fn following(self) -> Self {
        Self {
            follows: true,
            ..self
        }
    }

    /// A warning.
    pub fn warning(
        file: impl Into<String>,
        line: impl Into<Option<u32>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, line, message, help)
        }
    }

    /// Whether the bundle cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", self.message)?;
        if self.help.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.help)
        }
    }
}

/// Leaves out what may only follow from another error. Causes alone are worth reading.
pub(crate) fn keep_causes(problems: &mut Vec<Problem>) {
    if problems
        .iter()
        .any(|problem| problem.is_error() && !problem.follows)
    {
        problems.retain(|problem| !problem.follows);
    }
}

/// The line of a byte offset, counted from one.
pub(crate) fn line_at(text: &str, offset: usize) -> u32 {
    let newlines = text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count();
    u32::try_from(newlines)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// Input as it may be shown: escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    let mut escaped: String = text
        .chars()
        .take(120)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(120).is_some() {
        escaped.push('…');
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_like_a_compiler_message() {
        let problem = Problem::error("policies/a.cedar", 3, "`x` is wrong", "write `y`");
        assert_eq!(
            problem.to_string(),
            "policies/a.cedar:3: error: `x` is wrong; write `y`"
        );
        assert_eq!(line_at("a\nb\nc", 4), 3);
        assert_eq!(shown("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
    }
}
