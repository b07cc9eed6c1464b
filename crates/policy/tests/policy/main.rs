//! The decision point from outside: what loads, what it decides, and that nothing fails open.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that cannot go on has failed, and tables are long"
)]

mod agreement;
mod bundles;
mod decisions;
mod fail_open;
mod fixture;
mod recording;
mod refusals;
