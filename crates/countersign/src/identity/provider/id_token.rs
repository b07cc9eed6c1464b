//! Believing an ID token.
//!
//! In scope: its signature and what it must say of itself.
//! Out of scope: whom it means ([`claims`](super::claims)).
//! Invariant: only asymmetric signatures by a key of the provider's set count, each key for its own
//! kind of signature; issuer, audience, lifetime and nonce must all be there and be ours.
//! Specification: OpenID Connect Core 1.0, sections 3.1.3.7 and 5.3.2.

use anyhow::{Context, bail, ensure};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Map, Value};

use crate::identity::signed::{self, SIGNATURES};

/// How far clocks may differ, in seconds.
const SKEW: u64 = 60;
/// The longest ID token, in bytes.
const MAX_TOKEN: usize = 64 << 10;
/// The longest name of an account, in bytes (Core, section 2).
const MAX_SUBJECT: usize = 255;

/// An address, and whether it was verified.
pub(super) const EMAIL: &str = "email";
pub(super) const VERIFIED: &str = "email_verified";

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
}

/// The claims of a token that holds.
///
/// # Errors
/// What does not hold, without anything of the token.
pub(super) fn verify(
    token: &str,
    keys: &JwkSet,
    expected: &Expected<'_>,
) -> anyhow::Result<Map<String, Value>> {
    ensure!(token.len() <= MAX_TOKEN, "its ID token is too long");
    let header = decode_header(token).context("its ID token can't be read")?;
    ensure!(
        SIGNATURES.contains(&header.alg),
        "its ID token is signed with {:?}, which is not believed",
        header.alg
    );
    ensure!(header.crit.is_none(), "its ID token asks for an extension");
    let mut validation = Validation::new(header.alg);
    validation.leeway = SKEW;
    validation.validate_nbf = true;
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = signed::key_of(&header, &keys.keys).context("about the ID token")?;
    let key = DecodingKey::from_jwk(key).context("its key can't be used")?;
    let told = decode::<Map<String, Value>>(token, &key, &validation);
    let told = told.context("its ID token does not hold")?.claims;
    check(&told, expected)?;
    Ok(told)
}

/// What the library leaves open.
fn check(told: &Map<String, Value>, expected: &Expected<'_>) -> anyhow::Result<()> {
    let text = |claim: &str| told.get(claim).and_then(Value::as_str);
    ensure!(
        text("iss") == Some(expected.issuer),
        "its ID token names another issuer"
    );
    ensure!(
        text("nonce") == Some(expected.nonce),
        "its ID token is not for this sign-in"
    );
    let several = told
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|all| all.len() > 1);
    match told.get("azp") {
        Some(party) if party.as_str() != Some(expected.client) => {
            bail!("its ID token was made for another client")
        }
        None if several => bail!("its ID token was made for several, and not for one of them"),
        _ => {}
    }
    let issued = told.get("iat").and_then(Value::as_f64);
    let issued = issued.context("its ID token does not say when it was made")?;
    let now = jsonwebtoken::get_current_timestamp().saturating_add(SKEW);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
    let ahead = issued > now as f64;
    ensure!(!ahead, "its ID token was made in the future");
    let subject = text("sub").unwrap_or_default();
    ensure!(
        !subject.is_empty() && subject.len() <= MAX_SUBJECT,
        "its ID token names no account"
    );
    Ok(())
}

/// Adds what a provider said beside a token, of the same account and only where the token is silent.
///
/// # Errors
/// It is of somebody else.
pub(super) fn complete(
    told: &mut Map<String, Value>,
    more: Map<String, Value>,
) -> anyhow::Result<()> {
    ensure!(
        more.is_empty() || more.get("sub") == told.get("sub"),
        "its user info is of another account"
    );
    // Which address was verified, one of the two says and not both together.
    let same = told
        .get(EMAIL)
        .is_none_or(|email| more.get(EMAIL) == Some(email));
    if !told.contains_key(EMAIL) {
        told.remove(VERIFIED);
    }
    for (claim, value) in more {
        if same || claim != VERIFIED {
            told.entry(claim).or_insert(value);
        }
    }
    Ok(())
}
