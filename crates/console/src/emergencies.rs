//! The emergencies: what nobody has reviewed in time, what is due, and what was reviewed.
//!
//! In scope: one page of them, the gravest first.
//! Out of scope: reviewing; the request's page has the form.
//! Invariant: a name or reason from outside is shown as text.

use askama::Template;

use crate::{part::Moment, shell::Shell};

/// The emergencies, at `GET /emergencies?after=…`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "emergencies.html", whitespace = "minimize")]
pub struct EmergenciesPage {
    /// The surroundings.
    pub shell: Shell,
    /// Nobody reviewed them in time.
    pub overdue: Vec<EmergencyRow>,
    /// Nobody has reviewed them yet.
    pub due: Vec<EmergencyRow>,
    /// Somebody else looked at them.
    pub reviewed: Vec<EmergencyRow>,
    /// The cursor of the next page of what was reviewed, for `after`.
    pub next: Option<String>,
    /// Whether this is a further page.
    pub further: bool,
}

/// One rule that was lifted.
#[derive(Debug, Clone, Default)]
pub struct EmergencyRow {
    /// The request.
    pub id: String,
    /// What, in one line.
    pub title: String,
    /// The rule.
    pub rule: String,
    /// Who lifted it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub at: Moment,
    /// Until when somebody else must have reviewed it.
    pub review_by: Moment,
    /// Whether the viewer may review it.
    pub mine: bool,
    /// Who reviewed it.
    pub reviewed: Option<Review>,
}

/// What somebody else found.
#[derive(Debug, Clone, Default)]
pub struct Review {
    /// Who.
    pub by: String,
    /// When.
    pub at: Moment,
    /// What, in their words.
    pub note: String,
}

impl EmergenciesPage {
    fn is_empty(&self) -> bool {
        self.overdue.is_empty() && self.due.is_empty() && self.reviewed.is_empty()
    }

    /// The lists with their names, the gravest first.
    fn lists(&self) -> [(&'static str, &'static str, &Vec<EmergencyRow>); 3] {
        [
            ("overdue", "Overdue", &self.overdue),
            ("due", "To be reviewed", &self.due),
            ("reviewed", "Reviewed", &self.reviewed),
        ]
    }
}
