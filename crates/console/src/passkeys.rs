//! The viewer's own passkeys.
//!
//! In scope: which they have, adding one, removing one.
//! Out of scope: other people's, and making one, which the browser does.
//! Invariant: nothing of a passkey is shown but what its holder called it and when it came.

use askama::Template;

use crate::{part::Moment, shell::Shell};

/// `/passkeys`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "passkeys.html", whitespace = "minimize")]
pub struct PasskeysPage {
    /// The surroundings.
    pub shell: Shell,
    /// The passkeys that are good now, newest first.
    pub passkeys: Vec<PasskeyRow>,
    /// Why none can be added here, in words; empty where one can.
    pub cannot_add: String,
}

/// A passkey.
#[derive(Debug, Clone, Default)]
pub struct PasskeyRow {
    /// Its name in the record, for example `crd_01k9…`.
    pub id: String,
    /// What its holder called it.
    pub label: String,
    /// Digits by which two people can compare its key.
    pub fingerprint: String,
    /// When it was enrolled.
    pub enrolled: Moment,
    /// Whether it can leave the device that made it.
    pub synced: bool,
}
