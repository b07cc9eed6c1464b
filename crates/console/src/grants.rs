//! The grants that can be used: what runs without being asked about.
//!
//! In scope: one page of them, those that end first at the top.
//! Out of scope: giving and ending one; the request's page has the forms.
//! Invariant: a name or value from outside is shown as text.

use askama::Template;

use crate::{part::Deadline, shell::Shell};

/// The grants, at `GET /grants`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "grants.html", whitespace = "minimize")]
pub struct GrantsPage {
    /// The surroundings.
    pub shell: Shell,
    /// Each.
    pub rows: Vec<GrantRow>,
}

/// One grant.
#[derive(Debug, Clone, Default)]
pub struct GrantRow {
    /// The request that it was given with.
    pub id: String,
    /// What that does, in one line.
    pub title: String,
    /// What may run, in words.
    pub words: String,
    /// How much of it was used: `3 of 20 uses`.
    pub used: String,
    /// Its end.
    pub until: Deadline,
    /// Whether the viewer may end it.
    pub can_end: bool,
}
