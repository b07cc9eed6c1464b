//! Short-lived tokens for what machines have already, and for whom they act.
//!
//! In scope: what is presented, the chain that comes of it, how long the token lasts.
//! Out of scope: believing a proof ([`proving`](super::proving)), HTTP.
//! Invariant: a token lasts no longer than what it was exchanged for, and ends with it. Whoever acts for
//! somebody was named by them, proves who it is by itself, and has no more than each of the chain.
//! Specification: RFC 8693; RFC 6749, section 4.4 with RFC 7523.

use std::{collections::BTreeSet, num::NonZeroU32};

use countersign_core::{
    id::PersonId,
    subject::{Subject, SubjectId},
    time::{Span, Timestamp},
};
use countersign_store::{CredentialKind, StoredCredential};
use governor::{DefaultKeyedRateLimiter, Quota};
use serde_json::{Map, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Caller, Identity, IdentityError, Issue, delegations,
    dpop::{NotProven, Request},
    issuing::Further,
    lineage_of,
    proving::{BY_KEY, Proven},
    seal,
    secret::{Kind, Secret},
    standing::{self, DELEGATES, Delegates, GROUNDS, Grounds, delegates_of},
};
use crate::admin::vouching;

/// The most members of a chain: who acts, and three for whom.
pub const MAX_CHAIN: usize = 4;
/// How long a delegation can be used when nobody says.
pub const DELEGATION: Span = Span::minutes(60);
/// The longest that one can be used.
pub const MAX_DELEGATION: Span = Span::minutes(12 * 60);

/// Tokens a second that one machine is given, and how many at once: a matrix of jobs begins together.
const RATE: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
const BURST: NonZeroU32 = NonZeroU32::new(200).expect("not zero");

/// How many tokens each machine is given.
pub(super) fn rates() -> DefaultKeyedRateLimiter<String> {
    DefaultKeyedRateLimiter::keyed(Quota::per_second(RATE).allow_burst(BURST))
}

/// How a machine shows who it is.
#[derive(Debug, Clone, Copy)]
pub enum Showing<'a> {
    /// A token of an issuer.
    Token(&'a str),
    /// An assertion that it signed.
    Assertion(&'a str),
}

/// What a machine asks a token for.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Who it is.
    pub machine: Showing<'a>,
    /// Who it says it is, beside an assertion.
    pub client: Option<&'a str>,
    /// A delegation to it.
    pub delegation: Option<&'a str>,
    /// A proof of the key that the token is to be bound to.
    pub proof: Option<&'a str>,
    /// This gateway's address.
    pub url: &'a str,
    /// The address where tokens are asked for.
    pub here: &'a str,
}

/// A place among those who are answered at once.
#[derive(Debug)]
pub struct Turn<'a> {
    places: &'a Semaphore,
    place: Option<SemaphorePermit<'a>>,
}

impl<'a> Turn<'a> {
    /// Waits for a place. `None` when there are none any more.
    pub async fn at(places: &'a Semaphore) -> Option<Self> {
        let place = Some(places.acquire().await.ok()?);
        Some(Self { places, place })
    }

    /// Lets somebody else have it, while waiting for something else.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }

    /// Waits for one again.
    pub(super) async fn take(&mut self) {
        self.place = self.places.acquire().await.ok();
    }
}

/// A token that was given for a proof.
#[derive(Debug)]
pub struct Exchanged {
    /// The token.
    pub secret: Secret,
    /// What is stored of it.
    pub credential: StoredCredential,
    /// Whether every use must prove a key.
    pub bound: bool,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// What is shown as a machine's is not believed.
    #[error("{0:#}")]
    Disbelieved(anyhow::Error),
    /// It is a machine's, which can do nothing.
    #[error("`{machine}` gets no token: {why}")]
    Stopped {
        /// Which machine.
        machine: SubjectId,
        /// Why.
        why: String,
    },
    /// It is a machine's; the delegation is not one to it.
    #[error("the delegation does not count for `{machine}`: {why}")]
    Delegation {
        /// Which machine.
        machine: SubjectId,
        /// Why.
        why: String,
    },
    /// The proof of a key.
    #[error(transparent)]
    Proof(#[from] NotProven),
    /// It asks for tokens all the time.
    #[error("`{0}` asks for too many tokens; use one until it ends")]
    TooMany(SubjectId),
    /// It could not be stored or recorded.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why somebody can't have a machine act for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelegated {
    /// There is no such machine, or it can do nothing.
    #[error("there is no agent or workload `{0}` that can act; write it like `agent:NAME`")]
    NoMachine(String),
    /// It is part of the chain already.
    #[error("`{0}` is part of the chain already")]
    Member(SubjectId),
    /// The chain is too long.
    #[error("a chain has at most {MAX_CHAIN} members")]
    TooLong,
    /// They make delegations all the time.
    #[error("too many delegations; use one until it ends")]
    TooMany,
    /// Many of them can still be used.
    #[error(
        "{most} delegations to `{0}` can be used already; use one of them, or wait until some have ended",
        most = delegations::MOST
    )]
    Many(SubjectId),
    /// How long it is to be used.
    #[error("a delegation lasts at most {MAX_DELEGATION}")]
    TooLate,
}

impl Identity {
    /// A token for a machine that shows who it is.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(
        &self,
        presented: &Presented<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Exchanged, ExchangeError> {
        let now = self.clock.now();
        let active = self.active.borrow().clone();
        let Presented { url, here, .. } = *presented;
        let proven = match presented.machine {
            Showing::Token(text) => self.by_token(&active, text, (url, turn), now).await,
            Showing::Assertion(text) => self.by_assertion(&active, text, (url, here), now).await,
        };
        let proven = proven.map_err(ExchangeError::Disbelieved)?;
        let machine = proven.machine.clone();
        // Its issuer may have taken its time: what holds now counts.
        let active = self.active.borrow().clone();
        let settings = active.bundle.machines().get(&machine);
        let believed = settings.filter(|one| {
            let mut proofs = one.proofs.iter();
            proofs.any(|proof| proof.settings() == proven.settings)
        });
        let Some(settings) = believed else {
            let why = anyhow::anyhow!("what it is believed by was changed just now");
            return Err(ExchangeError::Disbelieved(why));
        };
        let says = presented.client.filter(|_| proven.by == BY_KEY);
        if says.is_some_and(|says| says != machine.to_string()) {
            let why = anyhow::anyhow!("it is not of `client_id`");
            return Err(ExchangeError::Disbelieved(why));
        }
        if self.rates.check_key(&machine.to_string()).is_err() {
            return Err(ExchangeError::TooMany(machine));
        }
        let request = Request {
            method: "POST",
            address: here,
            token: None,
        };
        let bound_to = match presented.proof {
            Some(proof) => Some(self.proofs.spend(proof, &request, now)?),
            None => None,
        };
        if bound_to.is_none() && settings.require_dpop {
            return Err(NotProven::Missing.into());
        }
        // Only now: what is not answered can be shown again, and takes no room.
        if let Some(once) = &proven.once {
            let spent = self.spend(once, now);
            spent.map_err(|again| ExchangeError::Disbelieved(again.into()))?;
        }
        let stopped = |error: IdentityError| ExchangeError::Stopped {
            machine: machine.clone(),
            why: error.to_string(),
        };
        let subject = standing::resolved(&active, &machine).map_err(stopped)?;
        standing::check_owners(&active, std::iter::once(&subject)).map_err(stopped)?;
        let delegation = match presented.delegation {
            Some(secret) => Some(self.delegation(&machine, secret, now).await?),
            None => None,
        };
        let until = delegation.as_ref().map(|(found, _)| found.expires);
        let ends = [proven.until, until].into_iter().flatten().min();
        let left = ends.map_or(i64::MAX, |ends| ends.millis_since(now));
        let valid_for = settings.token_lifetime.min(Span::from_millis(left));
        let proposed = vouching::behind(&active, &machine, proven.settings, &self.keys);
        self.give(proven, delegation, bound_to, (valid_for, proposed))
            .await
    }

    async fn give(
        &self,
        proven: Proven,
        delegation: Option<(StoredCredential, Delegates)>,
        bound_to: Option<String>,
        (valid_for, proposed): (Span, BTreeSet<PersonId>),
    ) -> Result<Exchanged, ExchangeError> {
        let (parent, on_behalf_of, lineage) = match delegation {
            Some((found, gives)) => (
                Some(found.id.clone()),
                gives.on_behalf_of,
                lineage_of(&found),
            ),
            None => (None, Vec::new(), BTreeSet::new()),
        };
        // Whoever brought in what it is believed by could be it.
        let lineage = lineage.into_iter().chain(proposed).collect();
        let evidence = json!({
            "proven_by": proven.by,
            "proof": proven.told,
            "on_behalf_of": on_behalf_of,
            "bound_to": bound_to,
        });
        let bound = bound_to.is_some();
        let grounds = Grounds {
            by: proven.by,
            settings: proven.settings,
            on_behalf_of,
            bound_to,
        };
        let issue = Issue {
            kind: CredentialKind::Token,
            holder: proven.machine,
            issued_by: None,
            lineage,
            parent,
            account: None,
            valid_for,
        };
        let further = Further {
            id: proven.once.map(|once| once.id),
            extra: Map::from_iter([(GROUNDS.to_owned(), json!(grounds))]),
            evidence: evidence.as_object().cloned().unwrap_or_default(),
            kind: None,
        };
        let issued = self.issue_with(&issue, further).await;
        let (secret, credential) = issued.map_err(|error| match error {
            // It was good a moment ago.
            IdentityError::Disabled(_) | IdentityError::Removed(_) | IdentityError::Invalid => {
                ExchangeError::Stopped {
                    machine: issue.holder.clone(),
                    why: format!("something it stands on ended just now: {error}"),
                }
            }
            error => error.into(),
        })?;
        Ok(Exchanged {
            secret,
            credential,
            bound,
        })
    }

    /// A delegation to a machine that counts now.
    async fn delegation(
        &self,
        machine: &SubjectId,
        secret: &str,
        now: Timestamp,
    ) -> Result<(StoredCredential, Delegates), ExchangeError> {
        let refused = |why: &str| ExchangeError::Delegation {
            machine: machine.clone(),
            why: why.to_owned(),
        };
        let unknown = || refused("it is unknown, over or revoked");
        let hash = Secret::hash_of(secret).ok_or_else(unknown)?;
        let found = self.store.credential_by_secret(&hash).await;
        let found = found.map_err(IdentityError::from)?.ok_or_else(unknown)?;
        if !seal::holds(&self.keys, &found) {
            return Err(IdentityError::Forged.into());
        }
        let gives = delegates_of(&found).ok_or_else(unknown)?;
        if gives.to != *machine {
            return Err(refused("it is for another machine"));
        }
        let standing = self.standing(&found, now).await;
        standing.map_err(|error| match error {
            IdentityError::Store(error) => IdentityError::Store(error).into(),
            error => refused(&error.to_string()),
        })?;
        let active = self.active.borrow().clone();
        let mut members = Vec::new();
        for id in &gives.on_behalf_of {
            let member = standing::resolved(&active, id);
            members.push(member.map_err(|error| refused(&error.to_string()))?);
        }
        let owners = standing::check_owners(&active, members.iter());
        owners.map_err(|error| refused(&error.to_string()))?;
        Ok((found, gives))
    }

    /// Lets a machine act for the caller, and for whom the caller acts. What it gets counts for nothing
    /// but to be exchanged by that machine.
    ///
    /// # Errors
    /// [`NotDelegated`], or it could not be stored or recorded.
    pub async fn delegate(
        &self,
        caller: &Caller,
        to: &str,
        valid_for: Option<Span>,
    ) -> Result<Result<(Secret, StoredCredential, Delegates), NotDelegated>, IdentityError> {
        if self.rates.check_key(&caller.credential.holder).is_err() {
            return Ok(Err(NotDelegated::TooMany));
        }
        let gives = match self.may_delegate(caller, to) {
            Ok(gives) => gives,
            Err(refused) => return Ok(Err(refused)),
        };
        let valid_for = valid_for.unwrap_or(DELEGATION);
        if valid_for > MAX_DELEGATION {
            return Ok(Err(NotDelegated::TooLate));
        }
        let by = &caller.subject.id;
        if self.delegations.count(by, &gives.to, self.clock.now()) >= delegations::MOST {
            return Ok(Err(NotDelegated::Many(gives.to)));
        }
        let left = caller.credential.expires.millis_since(self.clock.now());
        let issue = Issue {
            kind: CredentialKind::Token,
            holder: caller.subject.id.clone(),
            issued_by: caller.credential.issued_by.clone(),
            lineage: caller.lineage(),
            parent: Some(caller.credential.id.clone()),
            account: None,
            valid_for: valid_for.min(Span::from_millis(left)),
        };
        let further = Further {
            id: None,
            extra: Map::from_iter([(DELEGATES.to_owned(), json!(gives))]),
            evidence: Map::from_iter([(DELEGATES.to_owned(), json!(gives))]),
            kind: Some(Kind::Delegation),
        };
        let (secret, credential) = self.issue_with(&issue, further).await?;
        Ok(Ok((secret, credential, gives)))
    }

    fn may_delegate(&self, caller: &Caller, to: &str) -> Result<Delegates, NotDelegated> {
        let no_machine = || NotDelegated::NoMachine(to.chars().take(200).collect());
        let to = super::parse_subject(to).filter(|id| !matches!(id, SubjectId::Person(_)));
        let to = to.ok_or_else(no_machine)?;
        let active = self.active.borrow().clone();
        standing::resolved(&active, &to).map_err(|_| no_machine())?;
        let chain = std::iter::once(&caller.subject).chain(&caller.on_behalf_of);
        let on_behalf_of: Vec<SubjectId> =
            chain.map(|member: &Subject| member.id.clone()).collect();
        if on_behalf_of.contains(&to) {
            return Err(NotDelegated::Member(to));
        }
        match on_behalf_of.len() < MAX_CHAIN {
            true => Ok(Delegates { to, on_behalf_of }),
            false => Err(NotDelegated::TooLong),
        }
    }
}
