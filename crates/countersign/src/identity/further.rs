//! People's accounts with providers that only link: further ways to sign in as who they are.
//!
//! In scope: which account is whose, and the session that somebody begins with one.
//! Out of scope: believing the provider ([`provider`](super::provider)); who countersigns a link (admin).
//! Invariant: an account is one person's, by its issuer's name for it and never by what it is called. It
//! gives nobody anything but a session, which ends with its link, and with whatever the link stands on:
//! its holder, the provider's settings, and what the provider who says who people are says of them.

use countersign_core::{
    canonical::Hash,
    directory::AccountId,
    id::{PersonId, ProviderId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_policy::{Links, Provider};
use countersign_store::{CredentialKind, StoredCredential};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::{
    Caller, Identity, IdentityError, Issue, Secret, account::LinkedBy, account_of,
    issuing::Further, lineage_of, parse_subject, seal, secret::Kind,
};
use crate::active::Active;

/// Where a credential has its account with a provider.
const FURTHER: &str = "further";
/// Where a session has what it began with.
const THROUGH: &str = "through";

/// An account with a provider that only links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FurtherAccount {
    /// The provider.
    pub provider: ProviderId,
    /// Its address.
    pub issuer: String,
    /// The account, as the provider identifies it.
    pub subject: String,
    /// The settings under which the provider was believed.
    pub settings: Hash,
}

impl FurtherAccount {
    /// Which account it is, whatever its provider is called here.
    #[must_use]
    pub fn id(&self) -> AccountId {
        AccountId::of(&self.issuer, &self.subject)
    }

    /// What it is found by when it is linked for the `nth` time.
    fn key(&self, nth: u32) -> Hash {
        Hash::of_parts(&[
            b"countersign/further-account/v1\0",
            &self.id().0.0,
            &nth.to_be_bytes(),
        ])
    }
}

/// What is kept of a linked account with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkedFurther {
    /// Which.
    pub account: FurtherAccount,
    /// What it was called when it was linked. Nothing is decided by it.
    pub called: String,
    /// Whether somebody else vouched for it; only then votes count that are cast through it.
    #[serde(default)]
    pub countersigned: bool,
}

/// The linked account through which a session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Through {
    /// Its provider.
    pub provider: ProviderId,
    /// Whether somebody else vouched for it.
    pub countersigned: bool,
}

/// The link of a stored account with a provider; `None` for other credentials.
#[must_use]
pub fn linked_further(credential: &StoredCredential) -> Option<LinkedFurther> {
    if credential.kind != CredentialKind::Account {
        return None;
    }
    serde_json::from_value(credential.extra.get(FURTHER)?.clone()).ok()
}

/// Whether a session began with a linked account.
pub(super) fn is_through(credential: &StoredCredential) -> bool {
    credential.kind == CredentialKind::Session && credential.extra.get(THROUGH).is_some()
}

/// The linked account through which a session began; `None` for other credentials.
pub(super) fn through_of(credential: &StoredCredential) -> Option<Through> {
    if credential.kind != CredentialKind::Session {
        return None;
    }
    serde_json::from_value(credential.extra.get(THROUGH)?.clone()).ok()
}

/// Whether an account is with a provider that is believed as it was when the account was linked. Other
/// credentials have none.
pub(super) fn stands(active: &Active, credential: &StoredCredential) -> bool {
    if credential.kind != CredentialKind::Account || credential.extra.get(FURTHER).is_none() {
        return true;
    }
    linked_further(credential).is_some_and(|known| is_believed(active, &known.account))
}

/// Whether its provider links accounts, under the settings of then.
#[must_use]
pub fn is_believed(active: &Active, account: &FurtherAccount) -> bool {
    let provider = active.bundle.providers().get(&account.provider);
    provider.is_some_and(|provider| {
        provider.links.is_some()
            && provider.issuer == account.issuer
            && provider.settings() == Ok(account.settings)
    })
}

/// Why nobody was signed in with an account.
#[derive(Debug, thiserror::Error)]
pub enum NotLinked {
    /// It is nobody's.
    #[error("this account with `{0}` is linked to nobody here")]
    Nobody(String),
    /// What it stood on is gone.
    #[error("the link of this account with `{0}` does not count any more")]
    Over(String),
    /// Its holder has not signed in for too long.
    #[error("you have not signed in with `{with}` for more than {within}")]
    SignInAgain {
        /// What people call whoever says who they are.
        with: String,
        /// How long ago it may be.
        within: Span,
    },
    /// Anything else.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Identity {
    /// Whether somebody has this account already.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn is_linked_further(&self, account: &FurtherAccount) -> Result<bool, IdentityError> {
        self.is_taken(|nth| account.key(nth)).await
    }

    /// Links an account with a provider: recorded, then stored. Whoever had a hand in the session that it
    /// was linked in counts as its holder in votes.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be recorded or stored, or is somebody's already.
    pub async fn link_further(
        &self,
        person: &PersonId,
        linked: &LinkedFurther,
        by: LinkedBy,
    ) -> Result<StoredCredential, IdentityError> {
        let key = |nth| linked.account.key(nth);
        self.keep_link(person, key, (FURTHER, json!(linked)), by)
            .await
    }

    /// Begins a session of whoever has an account with a provider that only links.
    ///
    /// # Errors
    /// [`NotLinked`] when nobody has it, or they may not sign in with it now.
    pub async fn sign_in_linked(
        &self,
        (provider, links): (&Provider, Links),
        account: &FurtherAccount,
    ) -> Result<(Secret, Caller), NotLinked> {
        let title = || provider.title.clone();
        let (found, _) = self.link_of(|nth| account.key(nth)).await?;
        let link = found.ok_or_else(|| NotLinked::Nobody(title()))?;
        if !seal::holds(&self.keys, &link) {
            return Err(IdentityError::Forged.into());
        }
        let known = linked_further(&link).ok_or(IdentityError::Forged)?;
        let now = self.clock.now();
        let standing = self.standing(&link, now).await;
        let standing = standing.map_err(|error| match error {
            IdentityError::Invalid => NotLinked::Over(title()),
            error => error.into(),
        })?;
        // Under another name of the provider it is another link.
        if known.account != *account {
            return Err(NotLinked::Over(title()));
        }
        let through = Through {
            provider: account.provider.clone(),
            countersigned: known.countersigned,
        };
        let issue = Issue {
            kind: CredentialKind::Session,
            holder: SubjectId::clone(&standing.subject.id),
            issued_by: None,
            lineage: lineage_of(&link),
            parent: Some(link.id.clone()),
            account: None,
            valid_for: self.lasts(&link, (provider.session, links), now).await?,
        };
        let further = Further {
            extra: Map::from_iter([(THROUGH.into(), json!(through))]),
            evidence: Map::from_iter([("through".into(), json!(through.provider))]),
            kind: Some(Kind::Session),
            ..Further::default()
        };
        let (secret, _) = self.issue_with(&issue, further).await?;
        let caller = self.caller(secret.text(), CredentialKind::Session).await?;
        Ok((secret, caller))
    }

    /// How long a session lasts: nobody outlives by it what the provider who says who people are says of
    /// them.
    async fn lasts(
        &self,
        link: &StoredCredential,
        (session, links): (Span, Links),
        now: Timestamp,
    ) -> Result<Span, NotLinked> {
        if account_of(link).is_none() {
            return Ok(session);
        }
        let within = links.signed_in_within;
        let last = self.signed_in_last(&link.holder).await?;
        let until = last.map_or(now, |last| last.after(within));
        let left = until.millis_since(now);
        if left <= 0 {
            let active = self.active.borrow().clone();
            let authority = active.bundle.authority();
            let with = authority.map_or_else(String::new, |(_, one)| one.title.clone());
            return Err(NotLinked::SignInAgain { with, within });
        }
        Ok(Span::from_millis(left.min(session.as_millis())))
    }

    /// The live links of accounts with providers, of one person or of all, with whose they are.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn further_accounts(
        &self,
        holder: Option<&PersonId>,
    ) -> Result<Vec<(PersonId, StoredCredential, LinkedFurther)>, IdentityError> {
        let holder = holder.map(|person| SubjectId::Person(person.clone()).to_string());
        let all = self.store.credentials(holder.as_deref()).await?;
        let live = all.into_iter().filter(|one| one.revoked.is_none());
        let found = live.filter_map(|one| match parse_subject(&one.holder)? {
            SubjectId::Person(person) => {
                let known = linked_further(&one)?;
                Some((person, one, known))
            }
            SubjectId::Agent(_) | SubjectId::Workload(_) => None,
        });
        Ok(found.collect())
    }
}
