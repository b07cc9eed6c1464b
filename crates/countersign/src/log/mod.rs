//! The record on disk: one append-only journal, group commit, published tiles and checkpoints.
//!
//! In scope: numbering records, writing them durably, publishing them, resuming after a crash, reading
//! what is left of a log that can't be continued, copying one that is being written.
//! Out of scope: what records mean (evidence) and who writes them.
//! Invariant: an index is given out only after its record is durable; records are never changed;
//! only a torn tail, which nobody was told about, is ever cut off. A gateway whose journal is
//! shorter than a checkpoint it signed does not start.

mod copy;
mod former;
mod journal;
mod publisher;
mod record;
mod sequencer;
mod tally;

pub(crate) use copy::Seen;
pub(crate) use former::Former;
pub use journal::OpenPermit;
pub use record::{Prepared, Record};
pub use sequencer::{End, Log, LogError, Resumed};
pub use tally::{Counts, Histogram, Tally};
