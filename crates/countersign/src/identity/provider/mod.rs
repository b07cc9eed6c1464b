//! People signed in by a provider, with OpenID Connect.
//!
//! In scope: sending a browser there, taking it back, and what the provider vouches for.
//! Out of scope: who that is here, and what becomes of the directory (`admin`).
//! Invariant: whoever comes back was sent from the same browser, once, minutes ago, to the same
//! provider; what counts is an ID token that the provider signed for this gateway and this sign-in.
//! Specification: OpenID Connect Core 1.0, section 3.1 (code flow) with RFC 7636 (PKCE, S256) and
//! RFC 9207 (issuer in the answer); Discovery 1.0. One address to return to for each provider.

mod claims;
mod discovery;
mod id_token;
mod speaking;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use countersign_core::{
    directory::AccountId,
    id::{CredentialId, GroupId, PersonId, ProviderId},
    time::Timestamp,
};
use countersign_policy::Provider;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

pub use claims::Refused;
use speaking::Connection;

use super::{
    challenge::{Challenges, StaleChallenge},
    further::FurtherAccount,
};

/// Sign-ins that a provider is asked about at once. Strangers can begin any number.
const AT_ONCE: usize = 32;
/// What separates the parts of what a browser keeps.
const SEPARATOR: char = '~';
/// The last part, where it left to link an account.
const TO_LINK: &str = "link";

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The browser was not sent from here, or too long ago.
    #[error(transparent)]
    Stale(#[from] StaleChallenge),
    /// The provider signed nobody in.
    #[error("`{provider}` did not sign you in: {why}")]
    Declined {
        /// What people call it.
        provider: String,
        /// The code that it gave.
        why: String,
    },
    /// It can't be asked, or its answer can't be used.
    #[error("`{provider}` can't be asked")]
    Unreachable {
        /// What people call it.
        provider: String,
        /// What was met.
        #[source]
        why: anyhow::Error,
    },
    /// What it says is not believed.
    #[error("what `{provider}` said is not believed")]
    Disbelieved {
        /// What people call it.
        provider: String,
        /// What was wrong.
        #[source]
        why: anyhow::Error,
    },
    /// It says who it is, and they can't be anybody here.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too many at once.
    #[error("too many people sign in at once; try again in a moment")]
    Busy,
}

/// Whom a provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Their account there.
    pub account: AccountId,
    /// What they are called.
    pub person: PersonId,
    /// Their groups here, each with the provider's group that it stands for.
    pub groups: BTreeMap<GroupId, String>,
}

/// What a browser leaves for. An answer to one is none to another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// To sign in, and to go to this address then.
    SignIn(&'a str),
    /// To link an account to whoever has this session.
    Link(&'a CredentialId),
}

impl Purpose<'_> {
    /// What its challenge is made for: a return under other settings is none.
    fn text(&self, (id, provider): (&ProviderId, &Provider)) -> anyhow::Result<String> {
        let settings = provider.settings()?;
        Ok(match self {
            Self::SignIn(next) => format!("provider\0{id}\0{settings}\0{next}"),
            Self::Link(session) => format!("link\0{id}\0{settings}\0{session}"),
        })
    }

    /// What the browser keeps of it.
    fn kept(&self) -> String {
        match self {
            Self::SignIn(next) => encode(next.as_bytes()),
            Self::Link(_) => format!("{SEPARATOR}{TO_LINK}"),
        }
    }
}

/// Whether a browser that kept this left to link an account. Nothing is believed by it.
#[must_use]
pub fn is_to_link(kept: &str) -> bool {
    let mut parts = kept.split(SEPARATOR).skip(1);
    parts.next() == Some("") && parts.next() == Some(TO_LINK)
}

/// A browser that leaves for a provider.
#[derive(Debug)]
pub struct Leaving {
    /// Where it goes.
    pub to: String,
    /// What it keeps until it returns.
    pub keeps: String,
}

/// What a browser brings back.
#[derive(Debug, Default)]
pub struct Return<'a> {
    /// What it kept; empty for nothing.
    pub kept: &'a str,
    /// `state`.
    pub state: &'a str,
    /// `code`; empty for none.
    pub code: &'a str,
    /// `iss`; empty for none.
    pub issuer: &'a str,
    /// `error`; empty for none.
    pub error: &'a str,
}

/// Speaks to providers. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    config: Arc<PathBuf>,
    challenges: Arc<Challenges>,
    known: Arc<Mutex<BTreeMap<ProviderId, Arc<Connection>>>>,
    places: Arc<Semaphore>,
}

impl Providers {
    /// Providers whose files are in `config`.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn new(config: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            config: Arc::new(config),
            challenges: Arc::new(Challenges::new()?),
            known: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Sends a browser to a provider. `back` is the address that it returns to. With `again` the provider
    /// is to ask who it is, whoever is signed in there.
    ///
    /// # Errors
    /// [`SignInError`] when the provider can't be asked where.
    pub async fn leave(
        &self,
        (id, provider): (&ProviderId, &Provider),
        (back, wants, again): (&str, Purpose<'_>, bool),
        now: Timestamp,
    ) -> Result<Leaving, SignInError> {
        let unreachable = |why| SignInError::Unreachable {
            provider: provider.title.clone(),
            why,
        };
        let connection = self.connection(id, provider).map_err(unreachable)?;
        let metadata = connection.metadata().await.map_err(unreachable)?;
        let purpose = wants.text((id, provider)).map_err(unreachable)?;
        let made = self.challenges.make(&purpose, now).map_err(unreachable)?;
        let mut to = metadata.authorization_endpoint.0.clone();
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &scope(provider))
            .append_pair("state", &self.challenges.derived(&made, "state"))
            .append_pair("nonce", &self.challenges.derived(&made, "nonce"))
            .append_pair("code_challenge", &self.code_challenge(&made))
            .append_pair("code_challenge_method", "S256");
        if again {
            to.query_pairs_mut().append_pair("prompt", "login");
        }
        Ok(Leaving {
            to: to.into(),
            keeps: format!("{made}{SEPARATOR}{}", wants.kept()),
        })
    }

    /// Takes a browser back that left to sign in: whom the provider vouches for, and where it wants to go.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn take_back(
        &self,
        which: (&ProviderId, &Provider),
        back: &str,
        brought: &Return<'_>,
        now: Timestamp,
    ) -> Result<(Vouched, String), SignInError> {
        let next = wanted(brought)?;
        let wants = Purpose::SignIn(&next);
        let told = self.told(which, (back, wants), brought, now).await?;
        Ok((claims::vouched(&told, which.1)?, next))
    }

    /// Takes a browser back that left to sign in with a linked account: which one, and where it wants to
    /// go.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn take_linked(
        &self,
        which: (&ProviderId, &Provider),
        back: &str,
        brought: &Return<'_>,
        now: Timestamp,
    ) -> Result<(FurtherAccount, String), SignInError> {
        let next = wanted(brought)?;
        let wants = Purpose::SignIn(&next);
        let told = self.told(which, (back, wants), brought, now).await?;
        Ok((further_of(which, &told)?.0, next))
    }

    /// Takes a browser back that left to link an account to whoever has this session: which account, and
    /// what it is called there.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn take_to_link(
        &self,
        which: (&ProviderId, &Provider),
        (back, session): (&str, &CredentialId),
        brought: &Return<'_>,
        now: Timestamp,
    ) -> Result<(FurtherAccount, String), SignInError> {
        let wants = Purpose::Link(session);
        let told = self.told(which, (back, wants), brought, now).await?;
        further_of(which, &told)
    }

    /// What the provider says of whoever comes back.
    async fn told(
        &self,
        (id, provider): (&ProviderId, &Provider),
        (back, wants): (&str, Purpose<'_>),
        brought: &Return<'_>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, SignInError> {
        let (made, kept) = brought.kept.split_once(SEPARATOR).ok_or(StaleChallenge)?;
        if kept != wants.kept() {
            return Err(StaleChallenge.into());
        }
        let state = self.challenges.derived(made, "state");
        if !super::same_secret(&state, brought.state) {
            return Err(StaleChallenge.into());
        }
        let _place = self.places.try_acquire().map_err(|_| SignInError::Busy)?;
        let title = || provider.title.clone();
        let unreachable = |why| SignInError::Unreachable {
            provider: title(),
            why,
        };
        let disbelieved = |why| SignInError::Disbelieved {
            provider: title(),
            why,
        };
        let purpose = wants.text((id, provider)).map_err(unreachable)?;
        self.challenges.spend(made, &purpose, now)?;
        let connection = self.connection(id, provider).map_err(unreachable)?;
        let metadata = connection.metadata().await.map_err(unreachable)?;
        metadata.check_issuer(brought.issuer).map_err(disbelieved)?;
        if !brought.error.is_empty() || brought.code.is_empty() {
            return Err(SignInError::Declined {
                provider: title(),
                why: plain(brought.error),
            });
        }
        let verifier = self.challenges.derived(made, "verifier");
        let code = (brought.code, verifier.as_str(), back);
        let tokens = connection
            .exchange(&metadata, code)
            .await
            .map_err(unreachable)?;
        let nonce = self.challenges.derived(made, "nonce");
        let mut told = connection
            .verified(&tokens.id_token, &nonce, &metadata)
            .await
            .map_err(disbelieved)?;
        if claims::wants_more(&told, provider) {
            let more = connection.user_info(&metadata, &tokens).await;
            id_token::complete(&mut told, more.map_err(unreachable)?).map_err(disbelieved)?;
        }
        Ok(told)
    }

    /// Where people sign out of the provider, where it has such a page and has said so lately. Nobody
    /// waits for it.
    #[must_use]
    pub fn sign_out(&self, id: &ProviderId, provider: &Provider) -> Option<String> {
        self.connection(id, provider).ok()?.sign_out()
    }

    /// The connection to a provider with these settings.
    fn connection(&self, id: &ProviderId, provider: &Provider) -> anyhow::Result<Arc<Connection>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(id).filter(|found| found.is_of(provider)) {
            return Ok(found.clone());
        }
        let made = Connection::new(provider, &self.config).context("it can't be spoken to")?;
        let made = Arc::new(made);
        known.insert(id.clone(), made.clone());
        Ok(made)
    }

    fn code_challenge(&self, made: &str) -> String {
        let verifier = self.challenges.derived(made, "verifier");
        encode(&countersign_core::canonical::Hash::of(verifier.as_bytes()).0)
    }
}

/// Where a browser that left to sign in wants to go.
fn wanted(brought: &Return<'_>) -> Result<String, StaleChallenge> {
    let (_, next) = brought.kept.split_once(SEPARATOR).ok_or(StaleChallenge)?;
    decode(next).ok_or(StaleChallenge)
}

/// The account that is told of, and what it is called there.
fn further_of(
    (id, provider): (&ProviderId, &Provider),
    told: &Map<String, Value>,
) -> Result<(FurtherAccount, String), SignInError> {
    let (subject, called) = claims::account(told, provider)?;
    let settings = provider
        .settings()
        .map_err(|error| SignInError::Unreachable {
            provider: provider.title.clone(),
            why: error.into(),
        })?;
    let account = FurtherAccount {
        provider: id.clone(),
        issuer: provider.issuer.clone(),
        subject,
        settings,
    };
    Ok((account, called))
}

fn scope(provider: &Provider) -> String {
    let mut scope = String::from("openid");
    for one in &provider.scopes {
        scope.push(' ');
        scope.push_str(one);
    }
    scope
}

/// A code that somebody else gave, fit to be shown: what RFC 6749 has codes made of.
fn plain(code: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    let shown: String = code.chars().filter(good).take(60).collect();
    match shown.is_empty() {
        true => "no code came back".into(),
        false => shown,
    }
}

fn encode(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<String> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
