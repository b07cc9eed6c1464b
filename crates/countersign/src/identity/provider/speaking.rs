//! The exchanges with one provider.
//!
//! In scope: fetching its document and keys and keeping them for a while, exchanging a code, asking
//! who somebody is.
//! Out of scope: believing what comes back ([`id_token`](super::id_token)).
//! Invariant: the client's secret goes to the token endpoint alone, an access token to the user info
//! alone. A key that is not known has the keys fetched again, but not for everybody who names one.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use countersign_policy::Provider;
use jsonwebtoken::jwk::JwkSet;
use reqwest::{
    Client, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    discovery::{self, Metadata},
    id_token::{self, Expected},
};
use crate::{
    identity::{kept::Kept, signed},
    outbound::{self, FreshSecret, answer, good},
};

/// How long what a provider says of itself is used.
const FRESH: Duration = Duration::from_secs(3_600);
/// How long its keys are used: one that it takes back is gone after that.
const FRESH_KEYS: Duration = Duration::from_secs(300);
/// How soon keys are fetched again for one that is not known.
const AGAIN: Duration = Duration::from_secs(5);

/// What came for a code.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: String,
    #[serde(default)]
    access_token: AccessToken,
}

/// What asks for the user info. It is overwritten when it is dropped.
#[derive(Default, Deserialize)]
#[serde(from = "Option<String>")]
struct AccessToken(Option<Zeroizing<String>>);

impl From<Option<String>> for AccessToken {
    fn from(text: Option<String>) -> Self {
        Self(text.map(Zeroizing::new))
    }
}

/// Why a provider gave nothing for a code (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A provider with its settings.
pub(super) struct Connection {
    settings: Provider,
    http: Client,
    secret: FreshSecret,
    metadata: Kept<Metadata>,
    keys: Kept<Arc<JwkSet>>,
}

impl Connection {
    /// A provider with these settings; relative paths start at `config`.
    ///
    /// # Errors
    /// Address, authorities or TLS can't be used.
    pub(super) fn new(settings: &Provider, config: &Path) -> anyhow::Result<Self> {
        let address = discovery::address(&settings.issuer)?;
        Ok(Self {
            http: outbound::client(&address, settings.ca.as_deref(), config)?,
            secret: FreshSecret::of(&settings.client_secret, config),
            settings: settings.clone(),
            metadata: Kept::default(),
            keys: Kept::default(),
        })
    }

    /// Whether these are its settings.
    pub(super) fn is_of(&self, settings: &Provider) -> bool {
        self.settings == *settings
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It can't be had, or is somebody else's.
    pub(super) async fn metadata(&self) -> anyhow::Result<Metadata> {
        let fresh = |age, _: &Metadata| age < FRESH;
        self.metadata.get(fresh, || self.discover()).await
    }

    async fn discover(&self) -> anyhow::Result<Metadata> {
        let address = discovery::address(&self.settings.issuer)?;
        let document = good(answer(self.http.get(address)).await?)?;
        Metadata::read(&document, &self.settings.issuer)
    }

    async fn fetch_keys(&self, metadata: &Metadata) -> anyhow::Result<Arc<JwkSet>> {
        let keys = answer(self.http.get(metadata.jwks_uri.0.clone())).await?;
        let keys = serde_json::from_slice(&good(keys)?).context("its keys can't be read")?;
        Ok(Arc::new(keys))
    }

    /// Where people sign out of it, as far as that is known.
    pub(super) fn sign_out(&self) -> Option<String> {
        let mut address = self.metadata.fresh(FRESH)?.end_session_endpoint?.0;
        address
            .query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id);
        Some(address.into())
    }

    /// What it gives for a code, with the verifier of the challenge that it was asked with and the
    /// address that the browser returned to.
    ///
    /// # Errors
    /// It gives nothing.
    pub(super) async fn exchange(
        &self,
        metadata: &Metadata,
        (code, verifier, back): (&str, &str, &str),
    ) -> anyhow::Result<Tokens> {
        let secret = self
            .secret
            .get(|_| Ok(()))
            .await
            .context("the client's secret")?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", verifier),
            ("client_id", &self.settings.client_id),
        ];
        let form = Form::of(&fields);
        let post = self.http.post(metadata.token_endpoint.0.clone());
        let post = match metadata.proves_in_form() {
            true => post.body(form.and(&secret.client_form())),
            false => {
                let proof = secret.client_basic(&self.settings.client_id);
                post.header(AUTHORIZATION, proof.as_str()).body(form.0)
            }
        };
        let post = post.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, body) = answer(post).await?;
        if status != StatusCode::OK {
            let said = serde_json::from_slice::<Refusal>(&body);
            let said = said.map_or_else(|_| "nothing".into(), |said| super::plain(&said.error));
            bail!("it gave nothing for the code (status {status}, `{said}`)");
        }
        serde_json::from_slice(&body).context("it gave no ID token for the code")
    }

    /// The claims of an ID token, verified.
    ///
    /// # Errors
    /// It is not believed, or the keys can't be had.
    pub(super) async fn verified(
        &self,
        token: &str,
        nonce: &str,
        metadata: &Metadata,
    ) -> anyhow::Result<Map<String, Value>> {
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client_id,
            nonce,
        };
        let good = |age, keys: &Arc<JwkSet>| {
            let known = age < AGAIN || signed::names_one_of(token, keys);
            age < FRESH_KEYS && known
        };
        let keys = self.keys.get(good, || self.fetch_keys(metadata)).await?;
        id_token::verify(token, &keys, &expected)
    }

    /// What it says more of whom it signed in; nothing where it has no place to ask.
    ///
    /// # Errors
    /// It can't be asked.
    pub(super) async fn user_info(
        &self,
        metadata: &Metadata,
        tokens: &Tokens,
    ) -> anyhow::Result<Map<String, Value>> {
        let (Some(address), Some(token)) = (&metadata.userinfo_endpoint, &tokens.access_token.0)
        else {
            return Ok(Map::new());
        };
        let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let get = self.http.get(address.0.clone());
        let answer = answer(get.header(AUTHORIZATION, bearer.as_str())).await?;
        serde_json::from_slice(&good(answer)?).context("its user info can't be read")
    }
}

/// A form that is posted.
struct Form(String);

impl Form {
    fn of(fields: &[(&str, &str)]) -> Self {
        let mut address = reqwest::Url::parse("http://localhost/").ok();
        let pairs = address.as_mut().map(|address| {
            address.query_pairs_mut().extend_pairs(fields);
            address.query().unwrap_or_default().to_owned()
        });
        Self(pairs.unwrap_or_default())
    }

    fn and(self, field: &str) -> String {
        format!("{}&{field}", self.0)
    }
}
