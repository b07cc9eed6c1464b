//! Absences: who is away until when, and who signs in their place.
//!
//! In scope: an absence as a value.
//! Out of scope: what a stand-in may sign ([`quorum`](crate::approval::quorum)); who may say that
//! somebody is away, which the admin gate asks policy.
//! Invariant: a stand-in is a person, and another one; what they may sign is what the absent person may,
//! never more, and their own absence hands nothing on.

use serde::{Deserialize, Serialize};

use crate::{
    id::PersonId,
    time::{Span, Timestamp},
};

/// The longest time for which somebody can be said to be away.
pub const LONGEST: Span = Span::from_millis(180 * 24 * 60 * 60 * 1000);

/// That somebody is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Who signs in their place.
    pub stand_in: PersonId,
    /// From when.
    pub from: Timestamp,
    /// Until when; then they are back.
    pub until: Timestamp,
    /// Whether somebody else countersigned it; else nobody signs in their place.
    pub countersigned: bool,
}

impl Absence {
    /// Whether they are away at a time.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}
