//! What `countersign run` needs on both sides: content captured from the caller, kept in the
//! gateway, and a command run near its target.
//!
//! In scope: capturing inputs by content and giving exactly them back ([`inputs`]), showing a
//! command so that it can't be misread ([`quote`]), finding and pinning the executable
//! ([`resolve`]), running it in a clean environment with bounded output ([`spawn`]), and holding a
//! target's credentials ([`vault`]).
//! Out of scope: deciding whether a command may run, recording that it ran, and talking to
//! callers. [`spawn::run`] is reached in the gateway only through a function that takes a permit
//! by value (P1); nothing here mints or checks one.
//! Invariant: what runs is what was captured and shown (P2, P8). Whatever can't be captured,
//! shown or verified exactly is refused, never approximated.

pub mod inputs;
pub mod quote;
pub mod resolve;
pub mod spawn;
pub mod vault;

mod sha256;
