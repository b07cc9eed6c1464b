//! Believing that something comes from Teams.
//!
//! In scope: the token beside an activity, and the keys that sign such tokens.
//! Out of scope: what is in the activity ([`incoming`](super::incoming)).
//! Invariant: a token counts when the configured issuer made it for this bot, about the address that
//! the activity names, with RS256 and a key that the issuer endorses for Teams. Nobody is asked for keys
//! on account of a token that could not count anyhow.
//! Specification: <https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication>

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use countersign_core::time::Timestamp;
use countersign_policy::Teams;
use jsonwebtoken::{Algorithm, jwk::Jwk};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    identity::{kept::Kept, signed::Token},
    outbound::{self, answer, good},
};

/// How far clocks may differ, in milliseconds, as Microsoft says.
const SKEW: i64 = 300_000;
/// How long it is believed where the keys are.
const FRESH: Duration = Duration::from_secs(3_600);
/// How long keys are used: one that is taken back is gone after that.
const FRESH_KEYS: Duration = Duration::from_secs(3_600);
/// How soon keys are fetched again for one that is not known: whoever can make a token can name one.
const AGAIN: Duration = Duration::from_secs(30);
/// The most keys of the issuer.
const MAX_KEYS: usize = 100;
/// The claims that name the address of the activity: as they are sent, and as they are documented.
const ADDRESS: [&str; 2] = ["serviceurl", "serviceUrl"];

/// What a token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven {
    /// The address of the activity.
    pub(super) service: String,
    /// The channels that the key is endorsed for.
    pub(super) endorsements: Vec<String>,
}

/// A key of the issuer.
struct Key {
    jwk: Jwk,
    endorsements: Vec<String>,
}

/// Believes tokens of one issuer for one bot.
pub(super) struct Gatekeeper {
    teams: Teams,
    service: Url,
    config: Arc<Path>,
    address: Kept<Url>,
    keys: Kept<Arc<Vec<Key>>>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Gatekeeper {
    /// For a bot with these settings.
    ///
    /// # Errors
    /// An address is none.
    pub(super) fn new(teams: &Teams, config: Arc<Path>) -> anyhow::Result<Self> {
        Ok(Self {
            service: teams.service.parse()?,
            teams: teams.clone(),
            config,
            address: Kept::default(),
            keys: Kept::default(),
        })
    }

    /// What a token proves.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) async fn check(&self, text: &str, now: Timestamp) -> anyhow::Result<Proven> {
        let token = Token::read(text)?;
        let service = self.claims(&token, now)?;
        let kid = token.header.kid.clone().unwrap_or_default();
        let of = |key: &&Key| key.jwk.common.key_id.as_deref() == Some(kid.as_str());
        let fresh = |age, keys: &Arc<Vec<Key>>| {
            let known = age < AGAIN || keys.iter().any(|key| of(&key));
            age < FRESH_KEYS && known
        };
        let keys = self.keys.get(fresh, || self.fetch()).await;
        let keys = keys.context("the issuer's keys can't be had")?;
        let mut found = keys.iter().filter(of);
        let key = found
            .next()
            .context("none of the issuer's keys signed it")?;
        ensure!(found.next().is_none(), "two keys have the name of its key");
        token.check_signature(std::slice::from_ref(&key.jwk))?;
        Ok(Proven {
            service,
            endorsements: key.endorsements.clone(),
        })
    }

    /// Everything about a token but its signature. The address that it is about.
    fn claims(&self, token: &Token<'_>, now: Timestamp) -> anyhow::Result<String> {
        ensure!(
            token.header.alg == Algorithm::RS256,
            "it is not signed with RS256"
        );
        ensure!(
            ["", "jwt"].contains(&token.kind().as_str()),
            "its `typ` says that it is made for something else"
        );
        let kid = token.header.kid.as_deref().unwrap_or_default();
        ensure!(!kid.is_empty(), "it does not say which key signed it");
        ensure!(
            token.text("iss") == Some(self.teams.issuer.as_str()),
            "it is of another issuer"
        );
        ensure!(
            token.is_only_for(&[&self.teams.app]),
            "it is for another bot"
        );
        holds(token, now)?;
        let mut told = ADDRESS
            .iter()
            .filter_map(|claim| token.claims.get(*claim))
            .map(|value| value.as_str().unwrap_or_default());
        let service = told.next().context("it names no `serviceurl`")?;
        ensure!(told.all(|other| other == service), "it names two addresses");
        let url: Url = service.parse().context("its `serviceurl` is no address")?;
        ensure!(
            url.origin() == self.service.origin() && url.username().is_empty(),
            "its `serviceurl` is elsewhere than `service_url`"
        );
        Ok(service.to_owned())
    }

    async fn fetch(&self) -> anyhow::Result<Arc<Vec<Key>>> {
        let fresh = |age, _: &Url| age < FRESH;
        let address = self.address.get(fresh, || self.discover()).await?;
        read(&self.ask(address).await?)
    }

    async fn discover(&self) -> anyhow::Result<Url> {
        let document = self.ask(self.teams.metadata.parse()?).await?;
        let document: Document =
            serde_json::from_slice(&document).context("the metadata can't be read")?;
        ensure!(
            document.issuer == self.teams.issuer,
            "the metadata are of another issuer"
        );
        document
            .jwks_uri
            .parse()
            .context("`jwks_uri` is no address")
    }

    async fn ask(&self, address: Url) -> anyhow::Result<Vec<u8>> {
        let http = outbound::client(&address, None, &self.config)?;
        good(answer(http.get(address)).await?)
    }
}

/// Whether a token holds now, give or take what clocks differ.
fn holds(token: &Token<'_>, now: Timestamp) -> anyhow::Result<()> {
    let until = token.moment("exp")?;
    let until = until.context("it does not say when it ends (`exp`)")?;
    ensure!(until.0.saturating_add(SKEW) > now.0, "it is over (`exp`)");
    for claim in ["nbf", "iat"] {
        let begins = token.moment(claim)?;
        ensure!(
            begins.is_none_or(|at| at.0 <= now.0.saturating_add(SKEW)),
            "it begins in the future (`{claim}`)"
        );
    }
    Ok(())
}

/// The keys of a set that can be read; others may be for something else.
fn read(text: &[u8]) -> anyhow::Result<Arc<Vec<Key>>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).context("the keys can't be read")?;
    ensure!(
        set.keys.len() <= MAX_KEYS,
        "there are more than {MAX_KEYS} keys"
    );
    let keys = set.keys.into_iter().filter_map(|key| {
        let endorsements = key.get("endorsements").and_then(Value::as_array);
        let texts = endorsements.into_iter().flatten().filter_map(Value::as_str);
        let endorsements = texts.map(str::to_owned).collect();
        let jwk = serde_json::from_value(key).ok()?;
        Some(Key { jwk, endorsements })
    });
    Ok(Arc::new(keys.collect()))
}
