//! Tests of the evidence crate from outside, in one binary.

#![expect(clippy::unwrap_used, reason = "what helps a test fails like a test")]

mod notes;
mod sizes;
