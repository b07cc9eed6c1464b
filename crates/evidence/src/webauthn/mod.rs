//! Passkeys: what a browser and an authenticator sign, and whether it holds.
//!
//! In scope: new credentials ([`register`]) and assertions ([`verify`]) of WebAuthn, with any
//! challenge that the caller has made.
//! Out of scope: making challenges, keeping credentials, and what an assertion allows.
//! Invariant: an assertion holds only for this relying party, this origin, this challenge and this
//! key, of a person who was present and verified. Nothing is skipped that a text does not name.
//! Specification: <https://www.w3.org/TR/webauthn-3/>, sections 6.1, 7.1 and 7.2. The attestation of
//! a new credential is neither asked for nor believed.

mod authenticator;
mod client_data;
mod cose;
#[cfg(test)]
pub(crate) mod tests;

use aws_lc_rs::digest::{SHA256, digest};

pub use self::{
    authenticator::{AuthenticatorData, InvalidAuthenticatorData, MAX_CREDENTIAL_ID_BYTES},
    client_data::InvalidClientData,
    cose::{InvalidPublicKey, PublicKey},
};

/// Whom a credential is for: the site, and the address at which a browser shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// A host name without port, such as `gate.example.com`.
    pub id: String,
    /// Scheme, host and port as a browser writes them, such as `https://gate.example.com`.
    pub origin: String,
}

/// A passkey that was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The authenticator's name for it.
    pub id: Vec<u8>,
    /// The public key, as the authenticator wrote it (COSE).
    pub public_key: Vec<u8>,
    /// How often it had signed; 0 where the authenticator does not count.
    pub counter: u32,
    /// Whether it can leave the device that made it.
    pub backup_eligible: bool,
}

/// What an authenticator signed, as the browser hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// `clientDataJSON`, to the byte.
    pub client_data: Vec<u8>,
    /// `authenticatorData`, to the byte.
    pub authenticator_data: Vec<u8>,
    /// The signature over both.
    pub signature: Vec<u8>,
}

/// What an assertion that holds says beside its challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asserted {
    /// How often the credential has signed; 0 where the authenticator does not count.
    pub counter: u32,
}

/// Why a registration or an assertion does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// What the browser says of the act.
    #[error(transparent)]
    ClientData(#[from] InvalidClientData),
    /// What the authenticator says of itself.
    #[error(transparent)]
    AuthenticatorData(#[from] InvalidAuthenticatorData),
    /// The credential's key.
    #[error(transparent)]
    PublicKey(#[from] InvalidPublicKey),
    /// The credential is for another site.
    #[error("the authenticator answered for another site")]
    RelyingParty,
    /// Nobody touched the authenticator.
    #[error("the authenticator does not say that a person was present")]
    Absent,
    /// The person was not verified by PIN, fingerprint or the like.
    #[error("the authenticator does not say that it verified the person")]
    Unverified,
    /// It was not a credential that was made.
    #[error("the authenticator's answer holds no new credential")]
    NoCredential,
    /// The credential's kind differs from the one that was registered.
    #[error(
        "the authenticator says that the credential is of another kind than the registered one"
    )]
    Kind,
    /// The signature is wrong.
    #[error("the signature does not belong to this credential and these bytes")]
    Signature,
}

/// Takes up a new credential, made with `challenge` for `party`.
///
/// # Errors
/// [`NotHeld`], see its variants.
pub fn register(
    party: &RelyingParty,
    challenge: &[u8],
    client_data: &[u8],
    authenticator_data: &[u8],
) -> Result<Credential, NotHeld> {
    client_data::check(client_data, "webauthn.create", challenge, &party.origin)?;
    let data = AuthenticatorData::parse(authenticator_data)?;
    check_person(&data, party)?;
    let credential = data.credential.ok_or(NotHeld::NoCredential)?;
    PublicKey::parse(credential.public_key)?;
    Ok(Credential {
        id: credential.id.to_vec(),
        public_key: credential.public_key.to_vec(),
        counter: data.counter,
        backup_eligible: data.backup_eligible,
    })
}

/// Checks that `credential` signed `challenge` for `party`. Whether its counter went on, where it
/// counts, is for the caller to judge.
///
/// # Errors
/// [`NotHeld`], see its variants.
pub fn verify(
    party: &RelyingParty,
    challenge: &[u8],
    credential: &Credential,
    assertion: &Assertion,
) -> Result<Asserted, NotHeld> {
    client_data::check(
        &assertion.client_data,
        "webauthn.get",
        challenge,
        &party.origin,
    )?;
    let data = AuthenticatorData::parse(&assertion.authenticator_data)?;
    check_person(&data, party)?;
    if data.backup_eligible != credential.backup_eligible {
        return Err(NotHeld::Kind);
    }
    let mut signed = assertion.authenticator_data.clone();
    signed.extend_from_slice(digest(&SHA256, &assertion.client_data).as_ref());
    if !PublicKey::parse(&credential.public_key)?.verifies(&signed, &assertion.signature) {
        return Err(NotHeld::Signature);
    }
    Ok(Asserted {
        counter: data.counter,
    })
}

fn check_person(data: &AuthenticatorData<'_>, party: &RelyingParty) -> Result<(), NotHeld> {
    if data.relying_party != digest(&SHA256, party.id.as_bytes()).as_ref() {
        return Err(NotHeld::RelyingParty);
    }
    if !data.present {
        return Err(NotHeld::Absent);
    }
    if !data.verified {
        return Err(NotHeld::Unverified);
    }
    Ok(())
}
