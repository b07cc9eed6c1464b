//! Days as people write them.
//!
//! In scope: the first moment of a day in UTC, as console and command line take days.
//! Out of scope: times of day and the zones of rules' hours.

use countersign_core::time::{Span, Timestamp};

/// The length of a day.
pub(crate) const DAY: Span = Span::from_millis(24 * 60 * 60 * 1000);

/// The first moment of a day like `2026-03-01` in UTC; `None` when it is no day.
#[must_use]
pub(crate) fn start_of(day: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = day.parse().ok().filter(|_| day.len() == 10)?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(start.timestamp().as_millisecond()))
}
