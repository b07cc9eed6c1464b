//! Granting more than one action: the part of the approval's form, and what was granted.
//!
//! In scope: what the page offers, shows and ends.
//! Out of scope: what is granted; the handler builds it from the form, the core checks it.

use crate::part::Moment;

/// What an approval can grant beside the one action.
#[derive(Debug, Clone, Default)]
pub struct GrantForm {
    /// The times to choose from, the longest last, for example `15m`.
    pub times: Vec<String>,
    /// The one that is chosen at first.
    pub time: String,
    /// The most uses.
    pub most: u32,
    /// The uses that are there at first.
    pub uses: u32,
    /// The values that can be left open.
    pub places: Vec<OpenPlace>,
    /// What others who approved granted, in words: `dana@example.com: …`.
    pub proposed: Vec<String>,
}

/// A value that a grant can leave open.
#[derive(Debug, Clone, Default)]
pub struct OpenPlace {
    /// Where it is.
    pub place: String,
    /// What the target calls it.
    pub name: String,
    /// What it is in this request.
    pub value: String,
    /// Whether it is open at first.
    pub open: bool,
}

/// A grant, on the page of the request that it was given with.
#[derive(Debug, Clone, Default)]
pub struct GrantShown {
    /// What may run, in words.
    pub words: String,
    /// The same as Cedar.
    pub cedar: String,
    /// Its end.
    pub until: Moment,
    /// How many uses were made, for example `3 of 20 uses`.
    pub used: String,
    /// Whether it can be used now.
    pub live: bool,
    /// Who ended it; empty where nobody did.
    pub ended_by: String,
    /// `POST /requests/ID/end-grant`.
    pub can_end: bool,
}
