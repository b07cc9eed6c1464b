//! The gateway as its users and its enemies meet it: over HTTP, as a process, on a full disk.
//!
//! In scope: a real gateway on a loopback port or as the real binary, real tokens and sessions, a
//! target whose runs are counted. `COUNTERSIGN_FULL=1` raises the counts.
//! Invariant: what must not run is checked at the target, never at the answer alone; what is
//! claimed to be recorded is read back from the journal.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test fails like a test"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a table is one idea, however many lines its rows take"
)]

mod absences;
mod amending;
mod backup;
mod consequences;
mod crash;
mod edited;
mod emergencies;
mod epoch;
mod erasing;
mod exchange;
mod exec;
mod faults;
mod grants;
mod headers;
mod input;
mod limits;
mod local;
mod many;
mod masking;
mod published;
mod receipts;
mod record;
mod rotation;
mod shown;
mod starting;
mod stopping;
mod streams;
mod support;
mod tampering;
mod tls;
mod traces;
mod uploads;
mod ways;
