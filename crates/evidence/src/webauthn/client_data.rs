//! What the browser says of an act: which one, for which challenge, at which address.
//!
//! In scope: `clientDataJSON`.
//! Out of scope: what the authenticator says.
//! Invariant: a key that stands twice is refused, so that no two readers see different acts.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The most bytes; a browser writes about 200.
const MAX_BYTES: usize = 4096;

/// Why client data does not fit the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientData {
    /// It is not the JSON that a browser writes.
    #[error("the browser's part of the answer can't be read")]
    Form,
    /// It is another act, such as making a credential instead of using one.
    #[error("the browser did something else than was asked")]
    Type,
    /// It answers another challenge.
    #[error("the browser answers another question than was asked")]
    Challenge,
    /// It was done at another address.
    #[error("the browser did this at another address")]
    Origin,
    /// It was done in a frame of another site's page.
    #[error("the browser did this inside another site's page")]
    CrossOrigin,
}

#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<String>,
}

/// Checks that `bytes` tell of the act `kind` for `challenge` at `origin`.
///
/// # Errors
/// [`InvalidClientData`], see its variants.
pub(super) fn check(
    bytes: &[u8],
    kind: &str,
    challenge: &[u8],
    origin: &str,
) -> Result<(), InvalidClientData> {
    if bytes.len() > MAX_BYTES {
        return Err(InvalidClientData::Form);
    }
    // Other keys may follow: browsers add some to keep readers from comparing texts.
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| InvalidClientData::Form)?;
    if data.kind != kind {
        return Err(InvalidClientData::Type);
    }
    if data.challenge != URL_SAFE_NO_PAD.encode(challenge) {
        return Err(InvalidClientData::Challenge);
    }
    if data.origin != origin {
        return Err(InvalidClientData::Origin);
    }
    if data.cross_origin || data.top_origin.is_some() {
        return Err(InvalidClientData::CrossOrigin);
    }
    Ok(())
}
