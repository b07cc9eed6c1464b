//! Where mails to people go.
//!
//! In scope: which address is somebody's.
//! Out of scope: whether they read what arrives there.
//! Invariant: an address comes from the files, the provider who provisions people, or a person's own
//! name, never from whoever asks for something.

use countersign_core::{id::PersonId, provisioning::User};
use countersign_policy::channel::is_address;

use crate::active::Active;

/// The address of a person: as the files have it, as it is provisioned, or their name, where that is
/// one.
pub(super) fn of(active: &Active, person: &PersonId) -> Option<String> {
    let provisioned = || {
        let provisioning = active.directory.provisioning.as_ref()?;
        let (_, user) = provisioning.user_of(person)?;
        primary(user).filter(|address| is_address(address))
    };
    let named = || Some(person.as_str()).filter(|name| is_address(name));
    let found = active.bundle.email_of(person);
    found.or_else(provisioned).or_else(named).map(str::to_owned)
}

/// The primary address of a user, or the only one.
fn primary(user: &User) -> Option<&str> {
    let primary = user.emails.iter().find(|email| email.primary == Some(true));
    let only = || user.emails.first().filter(|_| user.emails.len() == 1);
    primary.or_else(only).map(|email| email.value.as_str())
}
