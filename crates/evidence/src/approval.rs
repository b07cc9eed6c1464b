//! Votes that people sign themselves, with a passkey; and rules that they lift in an emergency.
//!
//! In scope: the statement that is signed, the challenge made of it, and whether a signature is
//! that of a vote.
//! Out of scope: whose passkey it is; the log's enrolments say so. What the screen showed, which no
//! passkey proves: `shown` is what the gateway sent to be shown.
//! Invariant: a signature is only that of the vote whose every field stands in its statement. What lifts
//! a rule says which, so that a signed vote lifts nothing, and what lifts is no vote.
//! Specification: the statement is RFC 8785 JSON; the challenge is
//! `SHA-256("countersign/approval/v1\0" ‖ nonce ‖ SHA-256(statement))`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    approval::{grant::GrantTerms, vote::PasskeySignature},
    canonical::{Hash, NotCanonical, hash_in_domain, to_canonical},
    digest::ActionDigest,
    id::{RequestId, RuleName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    body::Verdict,
    leaf::safe,
    reference::Ref,
    vote::VoteStatement,
    webauthn::{self, Asserted, Assertion, Credential, NotHeld, RelyingParty},
};

const DOMAIN: &[u8] = b"countersign/approval/v1\0";
const VERSION: u32 = 1;
/// The longest that a statement is good, in milliseconds.
const MAX_VALID: i64 = 10 * 60_000;

/// How the text that `shown` is the hash of was made.
pub const RENDERER: &str = "presentation/1";

/// What a person signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalStatement {
    /// The bundle that was active when it was signed.
    pub bundle: Hash,
    /// The action.
    pub digest: ActionDigest,
    /// Until when the request can be decided.
    #[serde(with = "safe")]
    pub expires: Timestamp,
    /// What an approval grants beside the one action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantTerms>,
    /// The rule that it lifts in an emergency; a vote lifts nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifts: Option<RuleName>,
    /// 32 bytes that the gateway made for this one signature.
    pub nonce: Hash,
    /// Why, in the voter's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// [`RENDERER`].
    pub renderer: String,
    /// The request.
    pub request: RequestId,
    /// SHA-256 of the text that was shown.
    pub shown: Hash,
    /// 1.
    pub v: u32,
    /// For or against.
    pub verdict: Verdict,
    /// Who.
    pub voter: Ref,
}

/// The one rule that a vote lifts in an emergency. One that lifts none or several is signed by nobody.
fn lifted(vote: &VoteStatement) -> Option<&RuleName> {
    match vote.slots.as_slice() {
        [slot] if vote.emergency => Some(&slot.rule),
        _ => None,
    }
}

/// Why a signature is not that of a vote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApproval {
    /// A part is not base64url, or the statement is not one.
    #[error("its {0} can't be read")]
    Form(&'static str),
    /// The statement is about another vote.
    #[error("its statement says another {0} than the vote")]
    Differs(&'static str),
    /// It was signed for a page that is not the site's.
    #[error("the page it was signed on is not of the passkey's site")]
    Origin,
    /// The assertion.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

impl ApprovalStatement {
    /// The version that is written.
    pub const VERSION: u32 = VERSION;

    /// The text that is signed and kept.
    ///
    /// # Errors
    /// [`NotCanonical`] when the time is beyond ±(2^53 - 1) milliseconds.
    pub fn to_text(&self) -> Result<String, NotCanonical> {
        let bytes = to_canonical(self)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What the passkey is asked to sign.
    ///
    /// # Errors
    /// [`NotCanonical`] as for [`to_text`](Self::to_text).
    pub fn challenge(&self) -> Result<Hash, NotCanonical> {
        let statement = Hash::of(self.to_text()?.as_bytes());
        Ok(Hash::of_parts(&[DOMAIN, &self.nonce.0, &statement.0]))
    }

    /// Reads a statement that was written by [`to_text`](Self::to_text), and nothing else.
    ///
    /// # Errors
    /// [`InvalidApproval::Form`].
    pub fn parse(text: &str) -> Result<Self, InvalidApproval> {
        let form = || InvalidApproval::Form("statement");
        let read: Self = serde_json::from_str(text).map_err(|_| form())?;
        match read.to_text() {
            Ok(again) if again == text && read.v == VERSION && read.renderer == RENDERER => {
                Ok(read)
            }
            _ => Err(form()),
        }
    }

    /// The first field in which a vote differs from this statement.
    fn difference(&self, vote: &VoteStatement) -> Option<&'static str> {
        let is_lift = self.lifts.is_some();
        let fields = [
            ("purpose", is_lift == vote.emergency),
            ("action", self.digest == vote.digest),
            ("request", self.request == vote.request),
            ("verdict", self.verdict == vote.verdict),
            ("voter", self.voter == vote.voter),
            ("reason", self.reason == vote.reason),
            ("grant", self.grant == vote.grant),
            ("text shown", Some(self.shown) == vote.shown),
            ("lifted rule", self.lifts.as_ref() == lifted(vote)),
            (
                "time",
                (0..=MAX_VALID).contains(&(self.expires.0 - vote.at.0)),
            ),
        ];
        fields.iter().find(|(_, same)| !same).map(|(name, _)| *name)
    }
}

/// What a vote's signed envelope says of a signature.
///
/// # Errors
/// [`NotCanonical`] never for a signature that was read.
pub fn hash_of(signature: &PasskeySignature) -> Result<Hash, NotCanonical> {
    hash_in_domain("passkey-signature", signature)
}

/// The hash under which a passkey's public key is enrolled.
///
/// # Errors
/// [`InvalidApproval::Form`].
pub fn key_hash(signature: &PasskeySignature) -> Result<Hash, InvalidApproval> {
    Ok(Hash::of(&bytes(&signature.public_key, "public key")?))
}

/// Checks that `signature` is that of `vote`, by the passkey it names, and gives its statement.
/// Whether that passkey is the voter's is for the caller to know.
///
/// # Errors
/// [`InvalidApproval`], see its variants.
pub fn verify(
    signature: &PasskeySignature,
    vote: &VoteStatement,
) -> Result<(ApprovalStatement, Asserted), InvalidApproval> {
    let statement = ApprovalStatement::parse(&signature.statement)?;
    if let Some(field) = statement.difference(vote) {
        return Err(InvalidApproval::Differs(field));
    }
    let challenge = statement
        .challenge()
        .map_err(|_| InvalidApproval::Form("statement"))?;
    if !is_of_site(&signature.origin, &signature.site) {
        return Err(InvalidApproval::Origin);
    }
    let party = RelyingParty {
        id: signature.site.clone(),
        origin: signature.origin.clone(),
    };
    let credential = Credential {
        id: bytes(&signature.passkey, "passkey's name")?,
        public_key: bytes(&signature.public_key, "public key")?,
        counter: 0,
        backup_eligible: signature.backup_eligible,
    };
    let assertion = Assertion {
        client_data: bytes(&signature.client_data, "client data")?,
        authenticator_data: bytes(&signature.authenticator_data, "authenticator data")?,
        signature: bytes(&signature.signature, "signature")?,
    };
    let asserted = webauthn::verify(&party, &challenge.0, &credential, &assertion)?;
    Ok((statement, asserted))
}

/// Whether a page at `origin` may use passkeys of `site`, as browsers have it.
fn is_of_site(origin: &str, site: &str) -> bool {
    let local = site == "localhost" || site.ends_with(".localhost");
    let rest = origin.strip_prefix("https://");
    let rest = rest.or_else(|| origin.strip_prefix("http://").filter(|_| local));
    let host = rest.map(|rest| rest.split_once(':').map_or(rest, |(host, _)| host));
    host.is_some_and(|host| {
        let before = host.strip_suffix(site);
        !site.is_empty() && before.is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    })
}

fn bytes(text: &str, what: &'static str) -> Result<Vec<u8>, InvalidApproval> {
    let read = URL_SAFE_NO_PAD.decode(text);
    read.map_err(|_| InvalidApproval::Form(what))
}

#[cfg(test)]
pub(crate) mod tests;
