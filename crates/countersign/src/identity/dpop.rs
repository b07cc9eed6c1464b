//! Proofs that a caller has the key that its token is bound to.
//!
//! In scope: believing one proof, for one request, once.
//! Out of scope: which tokens are bound, and to which key.
//! Invariant: a proof counts for one method and address, with one token, within a minute, and no second
//! time; also not after this process started again: what could be of before then must say this process's
//! nonce.
//! Specification: RFC 9449, sections 4, 7, 8 and 9; RFC 7638.

use axum::http::Uri;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_policy::public_key::public_key;
use jsonwebtoken::{Algorithm, jwk::Jwk};

use super::{
    replay::{Again, Shown},
    signed::Token,
};
use crate::keys::random_bytes;

/// Signatures of proofs that are believed.
pub const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "PS256", "RS256"];
const SIGNATURES: [Algorithm; 4] = [
    Algorithm::ES256,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::RS256,
];
/// How old a proof may be, in milliseconds.
const AGE: i64 = 60_000;
/// How far the clock of whoever made it may be ahead, in milliseconds.
const AHEAD: i64 = 5_000;
/// The longest name of a proof, in bytes.
const MAX_NAME: usize = 200;

/// Why a proof does not count.
#[derive(Debug, thiserror::Error)]
pub enum NotProven {
    /// There is none where one is needed.
    #[error(
        "the token is bound to a key: send it as `Authorization: DPoP` with a proof in the header `DPoP`"
    )]
    Missing,
    /// The token is bound to none.
    #[error("the token is bound to no key; send it as `Authorization: Bearer`")]
    NotBound,
    /// It is of another key.
    #[error("the proof was made with another key than the token is bound to")]
    OtherKey,
    /// It could have been shown before this process started. Holds what a new one must say.
    #[error(
        "the gateway has just started: send a new proof that says the nonce in the header `DPoP-Nonce`"
    )]
    NeedsNonce(String),
    /// It is not believed.
    #[error("the proof in the header `DPoP` is not believed: {0}")]
    Disbelieved(String),
    /// It was used before, or too many were.
    #[error("the proof in the header `DPoP` does not count: {0}")]
    Again(#[from] Again),
}

/// What a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its address as its sender sees it, without a query.
    pub address: &'a str,
    /// The token that comes with it; none where one is asked for.
    pub token: Option<&'a str>,
}

/// Believes proofs.
#[derive(Debug)]
pub(super) struct Proofs {
    shown: Shown,
    /// What was shown before can't be told from what was not.
    since: Timestamp,
    /// Whoever says it made their proof after this process started, whatever their clock says.
    nonce: String,
}

impl Proofs {
    /// For proofs that are made after this.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub(super) fn new(now: Timestamp) -> anyhow::Result<Self> {
        Ok(Self {
            shown: Shown::default(),
            since: now,
            nonce: encode(&random_bytes::<16>()?),
        })
    }

    /// The fingerprint of the key with which a proof was made for this request. It is used up.
    ///
    /// # Errors
    /// [`NotProven`].
    pub(super) fn spend(
        &self,
        proof: &str,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<String, NotProven> {
        let read = read(proof, request, now)
            .map_err(|error| NotProven::Disbelieved(format!("{error:#}")))?;
        // Clocks may be ahead, so that what was made a little later could have been shown before.
        let later = read.made.0 > self.since.0.saturating_add(AHEAD);
        if !later && read.nonce.as_deref() != Some(&self.nonce) {
            return Err(NotProven::NeedsNonce(self.nonce.clone()));
        }
        let until = now.0.saturating_add(AGE + AHEAD);
        self.shown.once(read.what, Timestamp(until), now)?;
        Ok(read.key)
    }
}

/// What a proof says that is believed.
struct Read {
    /// The fingerprint of its key.
    key: String,
    /// What is remembered of it.
    what: Hash,
    made: Timestamp,
    nonce: Option<String>,
}

fn read(proof: &str, request: &Request<'_>, now: Timestamp) -> anyhow::Result<Read> {
    use anyhow::{Context, ensure};
    let token = Token::read(proof)?;
    ensure!(token.kind() == "dpop+jwt", "its `typ` is not `dpop+jwt`");
    ensure!(
        SIGNATURES.contains(&token.header.alg),
        "it is signed with {:?}; use {}",
        token.header.alg,
        ALGORITHMS.join(", ")
    );
    let jwk = token.head.get("jwk").context("its header has no `jwk`")?;
    let identity = public_key(jwk).map_err(anyhow::Error::msg)?;
    let key: Jwk = serde_json::from_value(jwk.clone()).context("its `jwk` can't be read")?;
    // It is the one key that there is, whatever it is called.
    let mut named = key;
    named.common.key_id.clone_from(&token.header.kid);
    token.check_signature(&[named])?;
    ensure!(
        token.text("htm") == Some(request.method),
        "it is for another method (`htm`)"
    );
    ensure!(
        token
            .text("htu")
            .is_some_and(|address| is_same(address, request.address)),
        "it is for another address (`htu`) than {}",
        request.address
    );
    let made = token
        .moment("iat")?
        .context("it does not say when it was made (`iat`)")?;
    ensure!(
        made.0 <= now.0.saturating_add(AHEAD),
        "it was made in the future (`iat`)"
    );
    ensure!(
        made.0 >= now.0.saturating_sub(AGE),
        "it is older than a minute (`iat`)"
    );
    let hash = request
        .token
        .map(|token| encode(&Hash::of(token.as_bytes()).0));
    match (&hash, token.claims.get("ath")) {
        (None, None) => {}
        (None, Some(_)) => anyhow::bail!("it is for a token (`ath`), and none is sent"),
        (Some(hash), told) => ensure!(
            told.and_then(serde_json::Value::as_str) == Some(hash),
            "it is for another token (`ath`)"
        ),
    }
    let name = token.text("jti").unwrap_or_default();
    ensure!(
        !name.is_empty() && name.len() <= MAX_NAME,
        "its name (`jti`) is missing or too long"
    );
    Ok(Read {
        key: encode(&Hash::of(identity.as_bytes()).0),
        what: Hash::of_parts(&[identity.as_bytes(), b"\0", name.as_bytes()]),
        made,
        nonce: token.text("nonce").map(str::to_owned),
    })
}

/// Whether two addresses are the same but for query and fragment, and for how a host is spelt.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let address: Uri = text.split(['?', '#']).next()?.parse().ok()?;
        let scheme = address.scheme_str()?.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "https" => 443,
            _ => 80,
        };
        let authority = address.authority()?;
        let bare = !authority.as_str().contains('@');
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(port);
        bare.then(|| (scheme, host, port, address.path().to_owned()))
    };
    plain(one).is_some_and(|one| plain(other) == Some(one))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
