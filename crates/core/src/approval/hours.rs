//! When votes count: `Mon-Fri 08:00-18:00 Europe/Berlin`.
//!
//! In scope: weekly windows in a named time zone, also over midnight.
//! Out of scope: holidays.
//! Invariant: a window over midnight belongs to the day on which it begins. The zone table is
//! compiled in, so the answer does not depend on the machine.

use jiff::{Zoned, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A weekly window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    text: Box<str>,
    days: [bool; 7],
    from: u16,
    to: u16,
    zone: TimeZone,
}

/// Why a text is no weekly window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a weekly window ({what}): write days, times and a zone, like `Mon-Fri 08:00-18:00 Europe/Berlin`"
)]
pub struct InvalidHours {
    text: String,
    what: &'static str,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_A_DAY: u16 = 24 * 60;

impl Hours {
    /// Reads days (`Mon-Fri`, `Mon,Wed`, `Fri-Mon`), times (`08:00-18:00`, `22:00-06:00`) and an
    /// IANA zone.
    ///
    /// # Errors
    /// [`InvalidHours`] saying which part is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidHours> {
        let invalid = |what| InvalidHours {
            text: text.escape_debug().take(80).collect(),
            what,
        };
        let mut parts = text.split_ascii_whitespace();
        let (Some(days), Some(times), Some(zone), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid("three parts are needed"));
        };
        let days = parse_days(days).ok_or_else(|| invalid("unknown days"))?;
        let (from, to) = times
            .split_once('-')
            .and_then(|(from, to)| Some((parse_time(from)?, parse_time(to)?)))
            .filter(|(from, to)| from != to)
            .ok_or_else(|| invalid("times must be two different HH:MM"))?;
        let zone = TimeZone::get(zone).map_err(|_| invalid("unknown time zone"))?;
        Ok(Self {
            text: text.into(),
            days,
            from,
            to,
            zone,
        })
    }

    /// Whether `now` lies in the window.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let Ok(moment) = jiff::Timestamp::from_millisecond(now.0) else {
            return false;
        };
        let local = moment.to_zoned(self.zone.clone());
        let minute = minute_of_day(&local);
        let today = self.is_day(local.weekday());
        if self.from < self.to {
            return today && (self.from..self.to).contains(&minute);
        }
        let began_yesterday = self.is_day(local.weekday().previous());
        (today && minute >= self.from) || (began_yesterday && minute < self.to)
    }

    fn is_day(&self, day: Weekday) -> bool {
        let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or(0);
        self.days.get(index).copied().unwrap_or(false)
    }
}

fn minute_of_day(local: &Zoned) -> u16 {
    let (hour, minute) = (local.hour().unsigned_abs(), local.minute().unsigned_abs());
    u16::from(hour) * 60 + u16::from(minute)
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let index = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (index(first)?, index(last)?);
        let length = (last + 7 - first) % 7;
        for day in (first..=first + length).map(|day| day % 7) {
            *days.get_mut(day)? = true;
        }
    }
    Some(days)
}

fn parse_time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !is_two_digits(hour) || !is_two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

impl TryFrom<String> for Hours {
    type Error = InvalidHours;
    fn try_from(text: String) -> Result<Self, InvalidHours> {
        Self::parse(&text)
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> String {
        hours.text.into()
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn windows() {
        // 2026-11-20 is a Friday; Berlin is at UTC+1 in winter and UTC+2 in summer.
        for (hours, moment, expected) in [
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-11-20T06:59:59Z",
                false,
            ),
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-11-20T07:00:00Z",
                true,
            ),
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-11-20T16:59:59Z",
                true,
            ),
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-11-20T17:00:00Z",
                false,
            ),
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-07-17T06:00:00Z",
                true,
            ),
            (
                "Mon-Fri 08:00-18:00 Europe/Berlin",
                "2026-11-21T12:00:00Z",
                false,
            ),
            ("Fri 22:00-06:00 UTC", "2026-11-20T23:00:00Z", true),
            ("Fri 22:00-06:00 UTC", "2026-11-21T05:59:00Z", true),
            ("Fri 22:00-06:00 UTC", "2026-11-21T06:00:00Z", false),
            ("Fri 22:00-06:00 UTC", "2026-11-20T05:00:00Z", false),
            ("Sat-Mon 00:00-24:00 UTC", "2026-11-22T12:00:00Z", true),
            ("Sat-Mon 00:00-24:00 UTC", "2026-11-20T12:00:00Z", false),
            ("Mon,Fri 00:00-24:00 UTC", "2026-11-20T12:00:00Z", true),
        ] {
            assert_eq!(
                Hours::parse(hours).unwrap().contains(at(moment)),
                expected,
                "{hours} {moment}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in [
            "",
            "Mon-Fri 08:00-18:00",
            "Mon-Fry 08:00-18:00 UTC",
            "Mon 8:00-18:00 UTC",
            "Mon +8:00-18:00 UTC",
            "Mon 08:00-08:00 UTC",
            "Mon 08:00-24:01 UTC",
            "Mon 08:00-18:00 Mars/Base",
        ] {
            assert!(Hours::parse(bad).is_err(), "{bad}");
        }
    }
}
