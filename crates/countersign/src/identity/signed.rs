//! JSON Web Tokens whose signature holds.
//!
//! In scope: reading one without ambiguity, and finding the one key that can have signed it.
//! Out of scope: what its claims must be.
//! Invariant: only asymmetric signatures count, each key for its own kind of signature. Of a header,
//! the algorithm and the name of the key count; keys and addresses in it do not.
//! Specification: RFC 7515, RFC 7519, RFC 8725.

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::time::Timestamp;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Header, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse},
};
use serde_json::{Map, Value};

use countersign_policy::strict;

/// Signatures that are believed. None with a shared secret: who can check those can make them.
pub(super) const SIGNATURES: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far clocks may differ, in milliseconds.
const SKEW: i64 = 60_000;
/// The longest token of a machine, in bytes.
pub(super) const MAX_TOKEN: usize = 16 << 10;

/// What SPIFFE calls the use of its keys.
const JWT_SVID: &str = "jwt-svid";

/// A token that was read; nothing of it is believed yet.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    text: &'a str,
    pub(crate) header: Header,
    /// The whole header.
    pub(super) head: Map<String, Value>,
    /// What it claims.
    pub(crate) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// It is none, says a thing twice, or is signed in a way that is not believed.
    pub(crate) fn read(text: &'a str) -> anyhow::Result<Self> {
        ensure!(text.len() <= MAX_TOKEN, "it is longer than 16 KiB");
        let parts: Vec<&str> = text.split('.').collect();
        let [head, claims, _signature] = parts.as_slice() else {
            bail!("it is no JSON Web Token");
        };
        let object = |part: &str| -> anyhow::Result<Map<String, Value>> {
            let bytes = URL_SAFE_NO_PAD
                .decode(part)
                .context("it is no JSON Web Token")?;
            strict::from_slice(&bytes).context("it can't be read in one way only")
        };
        let (head, claims) = (object(head)?, object(claims)?);
        let header = decode_header(text).context("it is signed in a way that is not believed")?;
        ensure!(
            SIGNATURES.contains(&header.alg),
            "it is signed with {:?}, which is not believed",
            header.alg
        );
        ensure!(!head.contains_key("crit"), "it asks for an extension");
        Ok(Self {
            text,
            header,
            head,
            claims,
        })
    }

    /// Its type, in small letters; empty for none.
    pub(crate) fn kind(&self) -> String {
        let kind = self.header.typ.as_deref().unwrap_or_default();
        kind.to_ascii_lowercase()
    }

    /// Whether the one key that can have signed it did.
    ///
    /// # Errors
    /// It did not, or it is not said which key it is.
    pub(crate) fn check_signature(&self, keys: &[Jwk]) -> anyhow::Result<()> {
        let key = key_of(&self.header, keys)?;
        let key = DecodingKey::from_jwk(key).context("its key can't be used")?;
        // What it claims is for the caller to check.
        let mut validation = Validation::new(self.header.alg);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims::<&str>(&[]);
        let checked = decode::<Map<String, Value>>(self.text, &key, &validation);
        checked.context("its signature does not hold").map(drop)
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// Whether it is for one of these, and for nobody else.
    pub(crate) fn is_only_for(&self, audiences: &[&str]) -> bool {
        let audience = match self.claims.get("aud") {
            Some(Value::Array(all)) if all.len() == 1 => all.first().and_then(Value::as_str),
            one => one.and_then(Value::as_str),
        };
        audience.is_some_and(|audience| audiences.contains(&audience))
    }

    /// A moment that it names.
    ///
    /// # Errors
    /// It names something else there.
    pub(crate) fn moment(&self, claim: &str) -> anyhow::Result<Option<Timestamp>> {
        let Some(value) = self.claims.get(claim) else {
            return Ok(None);
        };
        let whole = value.as_i64();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seconds, and far ones are refused alike"
        )]
        let seconds = whole.or_else(|| value.as_f64().map(|seconds| seconds as i64));
        let seconds = seconds.with_context(|| format!("its `{claim}` is no number"))?;
        Ok(Some(Timestamp(seconds.saturating_mul(1_000))))
    }

    /// When it ends, where it holds now.
    ///
    /// # Errors
    /// It is over, does not hold yet, or does not say so.
    pub(super) fn holds_until(&self, now: Timestamp) -> anyhow::Result<Timestamp> {
        let until = self
            .moment("exp")?
            .context("it does not say when it ends (`exp`)")?;
        ensure!(until > now, "it is over (`exp`)");
        let soon = Timestamp(now.0.saturating_add(SKEW));
        for claim in ["nbf", "iat"] {
            let ahead = self.moment(claim)?.is_some_and(|at| at > soon);
            ensure!(!ahead, "it begins in the future (`{claim}`)");
        }
        Ok(until)
    }
}

/// The one key among these that can have made a signature.
///
/// # Errors
/// There is none, or it is not said which.
pub(super) fn key_of<'k>(header: &Header, keys: &'k [Jwk]) -> anyhow::Result<&'k Jwk> {
    let fits = |key: &&Jwk| {
        let named = match &header.kid {
            Some(kid) => key.common.key_id.as_ref() == Some(kid),
            None => true,
        };
        named && signs(key, header.alg)
    };
    let mut found = keys.iter().filter(fits);
    let key = found.next().context("none of the keys signed it")?;
    ensure!(
        found.next().is_none(),
        "it does not say which of the keys signed it"
    );
    Ok(key)
}

/// Whether a token names a key of these, or none.
pub(super) fn names_one_of(token: &str, keys: &JwkSet) -> bool {
    let kid = decode_header(token).ok().and_then(|header| header.kid);
    kid.is_none_or(|kid| keys.find(&kid).is_some())
}

/// Whether a key is one for such signatures.
pub(super) fn signs(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let named = common.key_algorithm.as_ref();
    let of_use = match common.public_key_use.as_ref() {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Other(other)) => other == JWT_SVID,
        Some(_) => false,
    };
    let operations = common.key_operations.as_ref();
    named.is_none_or(|named| named.to_string().parse() == Ok(algorithm))
        && of_use
        && operations.is_none_or(|all| all.contains(&KeyOperations::Verify))
        && is_of_kind(&key.algorithm, algorithm)
}

/// Whether a key is of the kind that such signatures are made with.
fn is_of_kind(key: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    use EllipticCurve::{Ed25519, P256, P384};
    match (key, algorithm) {
        (AlgorithmParameters::RSA(_), algorithm) => algorithm.family() == AlgorithmFamily::Rsa,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == P256,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => key.curve == P384,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == Ed25519,
        _ => false,
    }
}
