//! The `[retention]` table: how long what is recorded can be read.
//!
//! In scope: the settings, and refusing those that can't be meant.
//! Out of scope: applying them; the gateway does that.
//! Invariant: part of the bundle's hash, so that it changes only through a request. What is not set is
//! kept.

use countersign_core::time::Span;
use serde::Deserialize;

use super::reading::{Entry, Reader};

/// How long each class of evidence is kept; `None` keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// What was asked for, and what came of it.
    pub payload: Option<Span>,
    /// What people said: reasons, comments, votes.
    pub words: Option<Span>,
    /// Who is meant where others mention somebody.
    pub names: Option<Span>,
}

/// Less is a mistake: approvals and their evidence are looked at for days.
const LEAST: Span = Span::minutes(7 * 24 * 60);

impl Retention {
    /// The shortest of all; what waits longer in the database goes with it.
    #[must_use]
    pub fn shortest(&self) -> Option<Span> {
        [self.payload, self.words, self.names]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Reads the table.
pub(super) fn read(reader: &mut Reader<'_>, entry: Entry<Retention>) -> Retention {
    let found = entry.value;
    if found.shortest().is_some_and(|span| span < LEAST) {
        reader.error(
            entry.line,
            format!("`retention` below {LEAST} would destroy what people still look at"),
            "write a longer time, such as `90d`",
        );
    }
    found
}
