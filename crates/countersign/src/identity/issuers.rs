//! The keys of whoever says which machine has a token.
//!
//! In scope: finding them by discovery, at an address or in the bundle; keeping them for a while.
//! Out of scope: believing a token ([`proving`](super::proving)).
//! Invariant: addresses are those of the configuration, or of the document of the issuer itself. Many
//! who come at once cause one question; a key that nobody knows causes one in half a minute.
//! Specification: OpenID Connect Discovery 1.0, section 4; RFC 7517.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use countersign_core::id::IssuerId;
use countersign_policy::{Issuer, machine::IssuerKeys, public_key::public_key};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{kept::Kept, signed};
use crate::outbound::{self, answer, good};

/// How long it is believed where the keys are.
const FRESH: Duration = Duration::from_secs(3_600);
/// How long keys are used: one that is taken back is gone after that.
const FRESH_KEYS: Duration = Duration::from_secs(300);
/// How soon keys are fetched again for one that is not known. Whoever has a token, good or not, can
/// name such a key.
const AGAIN: Duration = Duration::from_secs(30);
/// The most who wait for the keys of one issuer.
const WAITING: usize = 256;
/// The most keys of one issuer.
const MAX_KEYS: usize = 100;

/// Knows the keys of issuers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Issuers {
    config: Arc<PathBuf>,
    known: Arc<Mutex<BTreeMap<IssuerId, Arc<Source>>>>,
}

/// One issuer with its settings.
struct Source {
    settings: Issuer,
    address: Kept<Url>,
    keys: Kept<Arc<JwkSet>>,
    /// Places for those who wait for its keys.
    waiting: Semaphore,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    /// Issuers whose files are in `config`.
    pub(super) fn new(config: PathBuf) -> Self {
        Self {
            config: Arc::new(config),
            known: Arc::default(),
        }
    }

    /// The keys of an issuer, where nobody has to be asked for them.
    pub(super) fn known(
        &self,
        (id, issuer): (&IssuerId, &Issuer),
        token: &str,
    ) -> Option<Arc<JwkSet>> {
        let given = matches!(issuer.keys, IssuerKeys::Given(_));
        let source = self.source(id, issuer);
        source
            .keys
            .good(&|age, keys| given || is_good(token, age, keys))
    }

    /// The keys of an issuer, fetched again where a token names one that is not known.
    ///
    /// # Errors
    /// They can't be had.
    pub(super) async fn keys(
        &self,
        (id, issuer): (&IssuerId, &Issuer),
        token: &str,
    ) -> anyhow::Result<Arc<JwkSet>> {
        let source = self.source(id, issuer);
        let Ok(_place) = source.waiting.try_acquire() else {
            bail!("too many wait for them");
        };
        let given = matches!(issuer.keys, IssuerKeys::Given(_));
        let fetch = || self.fetch(&source);
        source
            .keys
            .get(|age, keys| given || is_good(token, age, keys), fetch)
            .await
    }

    fn source(&self, id: &IssuerId, issuer: &Issuer) -> Arc<Source> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(id).filter(|found| found.settings == *issuer) {
            return found.clone();
        }
        let made = Arc::new(Source {
            settings: issuer.clone(),
            address: Kept::default(),
            keys: Kept::default(),
            waiting: Semaphore::new(WAITING),
        });
        known.insert(id.clone(), made.clone());
        made
    }

    async fn fetch(&self, source: &Source) -> anyhow::Result<Arc<JwkSet>> {
        let address = match &source.settings.keys {
            IssuerKeys::Given(text) => return read(text.as_bytes()),
            IssuerKeys::At(address) => address.parse().context("`jwks_uri` is no address")?,
            IssuerKeys::Discovered => {
                let fresh = |age, _: &Url| age < FRESH;
                source
                    .address
                    .get(fresh, || self.discover(&source.settings))
                    .await?
            }
        };
        let http = self.client(&address, &source.settings)?;
        read(&good(answer(http.get(address)).await?)?)
    }

    async fn discover(&self, issuer: &Issuer) -> anyhow::Result<Url> {
        let below = issuer.issuer.trim_end_matches('/');
        let address: Url = format!("{below}/.well-known/openid-configuration").parse()?;
        let http = self.client(&address, issuer)?;
        let document = good(answer(http.get(address)).await?)?;
        let document: Document =
            serde_json::from_slice(&document).context("its discovery document can't be read")?;
        ensure!(
            document.issuer == issuer.issuer,
            "its discovery document is of another issuer"
        );
        document
            .jwks_uri
            .parse()
            .context("its `jwks_uri` is no address")
    }

    fn client(&self, address: &Url, issuer: &Issuer) -> anyhow::Result<Client> {
        outbound::client(address, issuer.ca.as_deref(), &self.config)
    }
}

/// Whether keys of that age are good for a token.
fn is_good(token: &str, age: Duration, keys: &Arc<JwkSet>) -> bool {
    let known = age < AGAIN || signed::names_one_of(token, keys);
    age < FRESH_KEYS && known
}

/// The keys of a set that can be read; others may be for something else.
fn read(text: &[u8]) -> anyhow::Result<Arc<JwkSet>> {
    #[derive(Deserialize)]
    struct Any {
        keys: Vec<Value>,
    }
    let any: Any = serde_json::from_slice(text).context("its keys can't be read")?;
    ensure!(
        any.keys.len() <= MAX_KEYS,
        "it has more than {MAX_KEYS} keys"
    );
    let keys = any.keys.into_iter();
    let keys = keys.filter(|key| public_key(key).is_ok());
    let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(Arc::new(JwkSet {
        keys: keys.collect(),
    }))
}
