//! The clock of the caller's machine, for showing times and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_core::time::Timestamp;

/// Now, to the millisecond.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
