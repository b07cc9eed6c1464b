//! The decision point from outside: what loads, what it decides, and that nothing fails open.

mod agreement;
mod bundles;
mod decisions;
mod fail_open;
mod fixture;
mod recording;
mod refusals;
