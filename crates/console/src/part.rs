//! Small values that several pages show: moments, deadlines, parties, phases.
//!
//! In scope: their text and their markup.
//! Out of scope: clocks; ages and times left are numbers that the caller computes.
//! Invariant: each part escapes its own fields, so it can stand anywhere in a page.

use askama::{Template, filters::HtmlSafe};

/// A moment, shown as its age where that is known and exactly otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Template)]
#[template(path = "part/moment.html")]
pub struct Moment {
    /// RFC 3339 in UTC, for example `2026-11-03T14:02:11.512Z`.
    pub iso: String,
    /// How many seconds ago it was.
    pub seconds_ago: Option<i64>,
}

impl HtmlSafe for Moment {}

impl Moment {
    /// A moment shown exactly.
    #[must_use]
    pub fn new(iso: impl Into<String>) -> Self {
        Self {
            iso: iso.into(),
            seconds_ago: None,
        }
    }

    /// A moment shown by its age.
    #[must_use]
    pub fn ago(iso: impl Into<String>, seconds: i64) -> Self {
        Self {
            iso: iso.into(),
            seconds_ago: Some(seconds),
        }
    }

    /// The same moment shown exactly.
    #[must_use]
    pub fn exact(&self) -> Self {
        Self::new(self.iso.clone())
    }

    /// `2026-11-03 14:02:11 UTC`; text of another form stays as it is.
    #[must_use]
    pub fn utc(&self) -> String {
        let parts = self.iso.strip_suffix('Z').and_then(|text| {
            let (date, time) = text.split_once('T')?;
            let time = time.split('.').next()?;
            Some(format!("{date} {time} UTC"))
        });
        parts.unwrap_or_else(|| self.iso.clone())
    }

    fn text(&self) -> String {
        match self.seconds_ago {
            Some(seconds) if seconds < 10 => "just now".into(),
            Some(seconds) => format!("{} ago", rough_span(seconds)),
            None => self.utc(),
        }
    }
}

/// A moment by which something ends, with the time left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Template)]
#[template(path = "part/deadline.html")]
pub struct Deadline {
    /// RFC 3339 in UTC.
    pub iso: String,
    /// Seconds until then; zero or less means it is over.
    pub seconds_left: i64,
}

impl HtmlSafe for Deadline {}

impl Deadline {
    /// A deadline so many seconds from now.
    #[must_use]
    pub fn new(iso: impl Into<String>, seconds_left: i64) -> Self {
        Self {
            iso: iso.into(),
            seconds_left,
        }
    }

    fn utc(&self) -> String {
        Moment::new(self.iso.clone()).utc()
    }

    fn text(&self) -> String {
        if self.seconds_left <= 0 {
            "time is up".into()
        } else {
            span(self.seconds_left)
        }
    }

    /// The class in the style sheet: how urgent it is.
    pub(crate) fn urgency(&self) -> &'static str {
        match self.seconds_left {
            ..=0 => "over",
            1..=60 => "now",
            61..=300 => "soon",
            _ => "calm",
        }
    }
}

/// A span in its two largest units: `42 s`, `12 min 4 s`, `3 h 12 min`, `2 d 3 h`.
#[must_use]
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (large, large_unit, small, small_unit) = match seconds {
        0..=59 => return format!("{seconds} s"),
        60..=3_599 => (seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => (seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => (seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    };
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// A span in its largest unit: `42 s`, `12 min`, `3 h`, `2 d`.
fn rough_span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min", seconds / 60),
        3_600..=86_399 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// What somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PartyKind {
    /// A human being.
    #[default]
    Person,
    /// An AI agent.
    Agent,
    /// A pipeline or service.
    Workload,
}

impl PartyKind {
    /// Reads `person`, `agent` or `workload`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "person" => Some(Self::Person),
            "agent" => Some(Self::Agent),
            "workload" => Some(Self::Workload),
            _ => None,
        }
    }

    /// `person`, `agent` or `workload`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Agent => "agent",
            Self::Workload => "workload",
        }
    }
}

/// Somebody who asks, acts, owns or signs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Template)]
#[template(path = "part/party.html")]
pub struct Party {
    /// What it is.
    pub kind: PartyKind,
    /// Its name.
    pub name: String,
    /// The person answerable for an agent or workload.
    pub owner: Option<String>,
}

impl HtmlSafe for Party {}

impl Party {
    /// A person.
    #[must_use]
    pub fn person(name: impl Into<String>) -> Self {
        Self {
            kind: PartyKind::Person,
            name: name.into(),
            owner: None,
        }
    }

    /// An agent and its owner.
    #[must_use]
    pub fn agent(name: impl Into<String>, owner: impl Into<String>) -> Self {
        Self {
            kind: PartyKind::Agent,
            name: name.into(),
            owner: Some(owner.into()),
        }
    }

    pub(crate) fn is_machine(&self) -> bool {
        self.kind != PartyKind::Person
    }
}

/// Where a request stands, by the names that the core and the interface use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Template)]
#[template(path = "part/phase.html")]
pub enum Phase {
    /// Waiting for people.
    #[default]
    Held,
    /// Satisfied and waiting for its requester to claim it.
    Approved,
    /// Claimed; a permit is out.
    Running,
    /// Executed, and it did what it should.
    Succeeded,
    /// Executed, and it reported failure.
    Failed,
    /// Nobody knows whether it ran.
    Unknown,
    /// An eligible person said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Approved, but not claimed in time.
    Unclaimed,
    /// The requester's side took it back.
    Cancelled,
    /// A reviewer proposed another action.
    Amended,
    /// The quorum can no longer be reached.
    Unreachable,
    /// At the claim, current policy said otherwise.
    PolicyChanged,
    /// Whoever asked, or somebody they act for, was stopped, disabled or removed.
    RequesterStopped,
}

impl HtmlSafe for Phase {}

impl Phase {
    /// Every phase, in the order in which filters offer them.
    pub const ALL: [Self; 14] = [
        Self::Held,
        Self::Approved,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Unknown,
        Self::Denied,
        Self::Expired,
        Self::Unclaimed,
        Self::Cancelled,
        Self::Amended,
        Self::Unreachable,
        Self::PolicyChanged,
        Self::RequesterStopped,
    ];

    /// Reads the name that the core gives a phase.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// The name in the interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Approved => "approved",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Unclaimed => "unclaimed",
            Self::Cancelled => "cancelled",
            Self::Amended => "amended",
            Self::Unreachable => "unreachable",
            Self::PolicyChanged => "policy_changed",
            Self::RequesterStopped => "requester_stopped",
        }
    }

    /// The word on the badge.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "outcome unknown",
            Self::Unclaimed => "not claimed",
            Self::Unreachable => "quorum unreachable",
            Self::PolicyChanged => "policy changed",
            Self::RequesterStopped => "requester stopped",
            other => other.name(),
        }
    }

    /// What it means, in one sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Held => "The action has not run. It waits until people decide.",
            Self::Approved => {
                "Every rule is satisfied. The action has not run; it runs when the requester claims it."
            }
            Self::Running => "A permit is out and the action runs now.",
            Self::Succeeded => "The action ran once and succeeded.",
            Self::Failed => "The action ran once and reported failure.",
            Self::Unknown => {
                "The gateway stopped while the action ran. Check the target; an identical call will be held."
            }
            Self::Denied => "The action did not run. It was denied.",
            Self::Expired => "The action did not run. Nobody decided in time.",
            Self::Unclaimed => "The action did not run. The approval lapsed before it was claimed.",
            Self::Cancelled => "The action did not run. The requester's side took it back.",
            Self::Amended => "The action did not run. A reviewer proposed another one instead.",
            Self::Unreachable => {
                "The action did not run. Too few people are left who may countersign it."
            }
            Self::PolicyChanged => {
                "The action did not run. When it was claimed, current policy no longer allowed it."
            }
            Self::RequesterStopped => {
                "The action did not run. Its requester, or somebody it acts for, was stopped or disabled."
            }
        }
    }

    /// Whether people or the requester can still do something about it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Approved)
    }

    /// The class in the style sheet.
    pub(crate) fn tone(self) -> &'static str {
        match self {
            Self::Held => "hold",
            Self::Approved | Self::Running | Self::Succeeded => "good",
            Self::Failed | Self::Unknown | Self::Denied => "bad",
            _ => "quiet",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (42, "42 s"),
            (60, "1 min"),
            (724, "12 min 4 s"),
            (11_520, "3 h 12 min"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn moments_show_utc_and_leave_other_text_alone() {
        for (iso, expected) in [
            ("2026-11-03T14:02:11.512Z", "2026-11-03 14:02:11 UTC"),
            ("2026-11-03T14:02:11Z", "2026-11-03 14:02:11 UTC"),
            ("12 ms after 1970", "12 ms after 1970"),
        ] {
            assert_eq!(Moment::new(iso).utc(), expected);
        }
        assert_eq!(Moment::ago("x", 185).text(), "3 min ago");
    }

    #[test]
    fn phases_are_read_back_from_their_names() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
        assert_eq!(Phase::from_name("pending"), None);
    }
}
