//! The viewer's own passkeys.
//!
//! In scope: which they have, adding one, removing one.
//! Out of scope: other people's, and making one, which the browser does.
//! Invariant: nothing of a passkey is shown but what its holder called it and when it came.

use askama::Template;

use crate::{
    part::Moment,
    shell::{Link, Shell},
};

/// `/passkeys`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "passkeys.html", whitespace = "minimize")]
pub struct PasskeysPage {
    /// The surroundings.
    pub shell: Shell,
    /// The passkeys that are good now, newest first.
    pub passkeys: Vec<PasskeyRow>,
    /// Passkeys that wait for a countersignature, or for being applied.
    pub pending: Vec<PendingPasskey>,
    /// Why none can be added here, in words; empty where one can.
    pub cannot_add: String,
    /// The only address at which browsers make and use them.
    pub origin: String,
}

/// A passkey that is not enrolled yet.
#[derive(Debug, Clone, Default)]
pub struct PendingPasskey {
    /// What its holder called it.
    pub label: String,
    /// Digits by which two people can compare its key.
    pub fingerprint: String,
    /// Its request.
    pub link: Link,
    /// Whether it was countersigned and only has to be applied.
    pub approved: bool,
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
    /// Whether it signs nothing, because nobody countersigned it.
    pub only_signs_in: bool,
    /// Whether this session was begun with it.
    pub current: bool,
}
