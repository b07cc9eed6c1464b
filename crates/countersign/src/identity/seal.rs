//! Seals on credentials: what shows that this installation issued one.
//!
//! In scope: making and checking them.
//! Out of scope: whether a credential is used, revoked or over, which changes after it was issued.
//! Invariant: a credential that was written into the database, or changed there, has no seal that
//! holds; the key is not in the database.

use countersign_core::canonical::{Hash, NotCanonical, to_canonical};
use countersign_store::StoredCredential;
use serde_json::{Value, json};

use crate::keys::Keys;

const NAME: &str = "seal";

fn of(keys: &Keys, credential: &StoredCredential, extra: &Value) -> Result<Hash, NotCanonical> {
    let sealed = to_canonical(&(
        ("credential", &credential.id, credential.kind),
        (&credential.secret, &credential.holder),
        (&credential.issued_by, &credential.parent),
        (credential.issued, credential.expires),
        extra,
    ))?;
    Ok(Hash::keyed(&keys.act, &sealed))
}

/// Gives a credential its further data, an object, under a seal.
///
/// # Errors
/// The data have no canonical form.
pub(super) fn put(
    keys: &Keys,
    credential: &mut StoredCredential,
    mut extra: Value,
) -> Result<(), NotCanonical> {
    let seal = of(keys, credential, &extra)?;
    if let Some(fields) = extra.as_object_mut() {
        fields.insert(NAME.into(), json!(seal));
    }
    credential.extra = extra;
    Ok(())
}

/// Whether a stored credential is as it was issued.
#[must_use]
pub(super) fn holds(keys: &Keys, credential: &StoredCredential) -> bool {
    let mut extra = credential.extra.clone();
    let seal = extra.as_object_mut().and_then(|fields| fields.remove(NAME));
    let seal = seal.and_then(|seal| serde_json::from_value::<Hash>(seal).ok());
    let made = of(keys, credential, &extra).ok();
    made.is_some() && made == seal
}
