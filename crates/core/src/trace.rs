//! The trace that a caller says its request belongs to.
//!
//! In scope: reading and writing a `traceparent`.
//! Out of scope: exporting spans.
//! Invariant: it is what the caller says, so nothing is decided from it, and it is neither in the
//! digest of an action nor in what makes two calls identical.
//! Specification: <https://www.w3.org/TR/trace-context/>

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

/// Why a text is no place in a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is no W3C traceparent")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The trace; never 0.
    #[must_use]
    pub fn trace(self) -> u128 {
        self.trace
    }

    /// The place in it; never 0.
    #[must_use]
    pub fn parent(self) -> u64 {
        self.parent
    }
}

/// Lower-case hexadecimal digits, exactly so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let good = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let fits = text.len() == digits && text.bytes().all(good);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.splitn(5, '-');
        let mut next = |digits| parts.next().and_then(|part| hex(part, digits));
        let (version, trace, parent, flags) = (next(2), next(32), next(16), next(2));
        let (Some(version), Some(trace), Some(parent), Some(flags)) =
            (version, trace, parent, flags)
        else {
            return Err(InvalidTraceParent);
        };
        // Later versions may say more at the end; ff is none.
        let ends = version > 0 || parts.next().is_none();
        let parent = u64::try_from(parent).unwrap_or(0);
        let flags = u8::try_from(flags).unwrap_or(0);
        match version {
            0xff => Err(InvalidTraceParent),
            _ if !ends || trace == 0 || parent == 0 => Err(InvalidTraceParent),
            _ => Ok(Self {
                trace,
                parent,
                flags,
            }),
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace,
            parent,
            flags,
        } = self;
        write!(f, "00-{trace:032x}-{parent:016x}-{flags:02x}")
    }
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;

    fn try_from(text: String) -> Result<Self, InvalidTraceParent> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(place: TraceParent) -> Self {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_specified() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let zeros = "0".repeat(32);
        for (text, expected) in [
            (good.to_owned(), Some(good)),
            // A later version, and what it adds.
            (good.replacen("00-", "01-", 1), Some(good)),
            (good.replacen("00-", "01-", 1) + "-more", Some(good)),
            (good.to_owned() + "-more", None),
            (good.replacen("00-", "ff-", 1), None),
            (good.to_uppercase(), None),
            (
                good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
                None,
            ),
            (good.replace("00f067aa0ba902b7", "0000000000000000"), None),
            (good.replace("4bf92", "+bf92"), None),
            (good.replace("-01", "-1"), None),
            (String::new(), None),
            ("00".to_owned(), None),
        ] {
            let found = text.parse::<TraceParent>().ok();
            assert_eq!(
                found.map(|found| found.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
