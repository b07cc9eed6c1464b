//! Days as people write them.
//!
//! In scope: the first moment of a day in UTC, as console and command line take days; when something
//! begins and ends, in words.
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

/// When something begins: `2026-12-21`, or `2026-12-21 12:00 UTC` within a day.
#[must_use]
pub(crate) fn first_in_words(from: Timestamp) -> String {
    match is_midnight(from) {
        true => day_of(from),
        false => minute_of(from),
    }
}

/// When something ends: `through 2027-01-03 (UTC)`, or `until 2027-01-03 12:00 UTC` within a day.
#[must_use]
pub(crate) fn end_in_words(until: Timestamp) -> String {
    match is_midnight(until) {
        true => {
            let within = Timestamp(until.0.saturating_sub(1));
            format!("through {} (UTC)", day_of(within))
        }
        false => format!("until {}", minute_of(until)),
    }
}

fn is_midnight(at: Timestamp) -> bool {
    at.0.rem_euclid(DAY.as_millis()) == 0
}

fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn minute_of(at: Timestamp) -> String {
    let minute: String = at.to_string().chars().take(16).collect();
    format!("{} UTC", minute.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_is_the_one_that_was_named() {
        let first = start_of("2026-12-21").unwrap();
        let end = start_of("2027-01-03").unwrap().after(DAY);
        assert_eq!(first_in_words(first), "2026-12-21");
        assert_eq!(end_in_words(end), "through 2027-01-03 (UTC)");
        let noon = Span::from_millis(12 * 60 * 60 * 1000);
        assert_eq!(first_in_words(first.after(noon)), "2026-12-21 12:00 UTC");
        assert_eq!(end_in_words(end.after(noon)), "until 2027-01-04 12:00 UTC");
    }
}
