//! What a provider says of itself.
//!
//! In scope: the fields that signing in needs, and refusing a document of somebody else.
//! Out of scope: fetching it.
//! Invariant: every address is spoken to over TLS, or is this machine's.
//! Specification: OpenID Connect Discovery 1.0, sections 3 and 4.3.

use anyhow::{Context, bail};
use reqwest::Url;
use serde::Deserialize;

use crate::outbound;

/// Where the document is, below the issuer.
const PATH: &str = "/.well-known/openid-configuration";

/// An address that is spoken to over TLS, or is this machine's.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(pub(super) Url);

impl TryFrom<String> for Address {
    type Error = anyhow::Error;
    fn try_from(text: String) -> anyhow::Result<Self> {
        let url: Url = text
            .parse()
            .context("it names something that is no address")?;
        outbound::check(&url)?;
        Ok(Self(url))
    }
}

/// A provider's addresses and ways.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: Address,
    pub(super) token_endpoint: Address,
    pub(super) jwks_uri: Address,
    pub(super) userinfo_endpoint: Option<Address>,
    pub(super) end_session_endpoint: Option<Address>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default = "basic")]
    token_endpoint_auth_methods_supported: Vec<String>,
}

fn basic() -> Vec<String> {
    vec!["client_secret_basic".into()]
}

/// The address of an issuer's document.
///
/// # Errors
/// The issuer is no address.
pub(super) fn address(issuer: &str) -> anyhow::Result<Url> {
    let text = format!("{}{PATH}", issuer.trim_end_matches('/'));
    text.parse().context("the issuer is no address")
}

impl Metadata {
    /// Reads the document of an issuer.
    ///
    /// # Errors
    /// It is somebody else's, or names addresses that are not spoken to.
    pub(super) fn read(document: &[u8], issuer: &str) -> anyhow::Result<Self> {
        let read: Self =
            serde_json::from_slice(document).context("its discovery document can't be read")?;
        if read.issuer != issuer {
            let shown: String = read.issuer.chars().take(200).collect();
            bail!("its discovery document has the `issuer` {shown:?}; write exactly that one");
        }
        Ok(read)
    }

    /// Whether client and secret go into the form, because it takes them nowhere else.
    pub(super) fn proves_in_form(&self) -> bool {
        let takes = |way: &str| {
            let ways = &self.token_endpoint_auth_methods_supported;
            ways.iter().any(|one| one == way)
        };
        takes("client_secret_post") && !takes("client_secret_basic")
    }

    /// Refuses an answer that another provider gave (RFC 9207).
    ///
    /// # Errors
    /// It names another, or none where this one always names itself.
    pub(super) fn check_issuer(&self, named: &str) -> anyhow::Result<()> {
        let missing = named.is_empty() && self.authorization_response_iss_parameter_supported;
        if missing || (!named.is_empty() && named != self.issuer) {
            bail!("the answer came from another provider");
        }
        Ok(())
    }
}
