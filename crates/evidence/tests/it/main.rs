//! Tests of the evidence crate from outside, in one binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test fails like a test"
)]

mod fuzz;
mod fuzzing;
mod notes;
mod seeds;
mod sizes;
