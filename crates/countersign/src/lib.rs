//! The Countersign gateway: a library, and the one binary around it.
//!
//! In scope: serving gates, holding actions, executing permits, keeping the record, talking to
//! people. See ARCHITECTURE.md for the map.
//! Invariant: a target is reached only through [`runner::execute`], which takes a permit by value.

pub mod active;
pub mod admin;
pub mod api;
pub mod clock;
pub mod console;
pub mod engine;
pub mod gates;
pub mod gateway;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod log;
pub mod runner;

/// An error with everything that caused it, in one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
