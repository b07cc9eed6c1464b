//! Everything that can befall a request, tried one case at a time, at random and exhaustively.
//!
//! In scope: the public face of `countersign-core`, seen by a requester, a colluding insider and a
//! clock that jumps. `COUNTERSIGN_FULL=1` runs the random model on many more cases.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test fails like a test"
)]

mod absences;
mod claims;
mod conversation;
mod emergencies;
mod endings;
mod exhaustive;
mod grants;
mod matching;
mod model;
mod odd_rules;
mod scene;
mod standing;
mod times;
mod votes;
