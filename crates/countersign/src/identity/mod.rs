//! Who is calling: tokens, sessions, single-use links.
//!
//! In scope: issuing credentials, telling callers apart, proving fresh acts.
//! Out of scope: what a caller may do; policy and the core decide that.
//! Invariant: a secret is kept only as a hash and shown once. Whoever is unknown, disabled,
//! expired or revoked is nobody; only whoever has a credential that a stop of its holder
//! ended is told that. Tokens never vote: only a [`Caller`] with a session, or with a linked account
//! in a chat, has an [`Assurance`].

pub mod account;
mod act;
pub mod challenge;
pub mod delegations;
pub mod dpop;
mod ending;
pub mod exchange;
pub mod further;
mod issuers;
mod issuing;
pub(crate) mod kept;
pub mod passkey;
pub mod provider;
mod proving;
mod replay;
mod seal;
mod secret;
pub(crate) mod signed;
mod standing;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use countersign_core::{
    approval::rule::Assurance,
    canonical::Hash,
    directory::{Account, AccountId},
    id::{CredentialId, PersonId, ProviderId},
    subject::{Origin, Subject, SubjectChain, SubjectId},
    time::{Span, Timestamp},
};
use countersign_evidence::body::{self, Body};
use countersign_store::{CredentialKind, Store, StoreError, StoredCredential, Write};
use governor::DefaultKeyedRateLimiter;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;

pub use act::{Acts, StaleAct};
use challenge::Challenges;
use delegations::Delegations;
use dpop::{NotProven, Proofs, Request};
use further::Through;
use issuers::Issuers;
use provider::Providers;
use replay::Shown;
pub use secret::{Kind, Secret};
use standing::resolved;
pub use standing::{Delegates, Grounds, delegates_of, ended, grounds_of, is_long_lived};

use crate::{
    active::ActivePolicy,
    clock::Clock,
    engine::EngineError,
    keys::Keys,
    log::{Log, Record},
};

/// How long a session lasts: long enough that somebody has one when the next sign-in link must
/// be countersigned.
pub const SESSION: Span = Span::from_millis(7 * 24 * 3_600_000);
/// How long a sign-in link can be used.
pub const LINK: Span = Span::from_millis(24 * 3_600_000);
/// How long a token lasts when nobody says.
pub const TOKEN: Span = Span::from_millis(24 * 3_600_000);

/// Why a caller is nobody.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No credential came along.
    #[error("no credential was sent")]
    Missing,
    /// It is not one of ours, or over. The reasons are not told apart to strangers.
    #[error("the credential is unknown, used, expired or revoked")]
    Invalid,
    /// It is in the database, and this installation did not issue it so.
    #[error("the credential is unknown, used, expired or revoked")]
    Forged,
    /// It would be good if its holder had not been stopped or disabled.
    #[error("`{0}` is stopped or disabled")]
    Disabled(SubjectId),
    /// It would be good if there still were its holder.
    #[error("`{0}` was removed")]
    Removed(SubjectId),
    /// It would be good if its holder did not sign in elsewhere.
    #[error("`{0}` signs in with their account, and not with a link")]
    HasAccount(SubjectId),
    /// Whoever sends it does not prove the key that it is bound to.
    #[error(transparent)]
    Key(#[from] NotProven),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that must be recorded could not be.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who, with the owner as the directory has it now.
    pub subject: Subject,
    /// Whom they act for, nearest first.
    pub on_behalf_of: Vec<Subject>,
    /// With what.
    pub credential: StoredCredential,
    /// The linked account through which their session began, or the one that a token of theirs came from.
    pub through: Option<Through>,
    /// The passkeys that they can sign votes with; only sessions have any.
    pub passkeys: Vec<StoredCredential>,
}

impl Caller {
    /// How strongly the caller is identified for votes; `None` for tokens, which never vote, and for
    /// sessions through a linked account that nobody else vouched for.
    #[must_use]
    pub fn assurance(&self) -> Option<Assurance> {
        match self.credential.kind {
            CredentialKind::Session => {
                let through = self.through.as_ref();
                let alone = through.is_some_and(|through| !through.countersigned);
                (!alone).then_some(Assurance::Session)
            }
            CredentialKind::Account => Some(Assurance::Chat),
            CredentialKind::Link | CredentialKind::Token | CredentialKind::Passkey => None,
        }
    }

    /// Who asks, and for whom.
    #[must_use]
    pub fn chain(&self) -> SubjectChain {
        SubjectChain {
            requester: self.subject.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            origin: Origin::default(),
        }
    }

    /// Who acts for whom, in one line: what one chain was answered is no answer for another.
    #[must_use]
    pub fn line(&self) -> String {
        let all = self
            .on_behalf_of
            .iter()
            .map(|member| format!(" for {}", member.id));
        std::iter::once(self.subject.id.to_string())
            .chain(all)
            .collect()
    }

    /// Whether the caller acts for the same people and machines as a chain that it began: nobody takes
    /// up for one what was asked for another.
    #[must_use]
    pub fn is_of(&self, chain: &SubjectChain) -> bool {
        let mine = self.on_behalf_of.iter().map(|member| &member.id);
        self.subject.id == chain.requester.id
            && mine.eq(chain.on_behalf_of.iter().map(|member| &member.id))
    }

    /// Everybody who had a hand in this credential: who issued it, the link it came from, the
    /// session in which that was proposed, and so on. Any of them could have used it.
    #[must_use]
    pub fn lineage(&self) -> BTreeSet<PersonId> {
        lineage_of(&self.credential)
    }

    /// The account that they signed in with, if it was with one.
    #[must_use]
    pub fn account(&self) -> Option<SignedInWith> {
        account_of(&self.credential)
    }

    /// The person, when the caller is one.
    #[must_use]
    pub fn person(&self) -> Option<&PersonId> {
        match &self.subject.id {
            SubjectId::Person(id) => Some(id),
            SubjectId::Agent(_) | SubjectId::Workload(_) => None,
        }
    }
}

/// Everybody who had a hand in a credential.
#[must_use]
pub fn lineage_of(credential: &StoredCredential) -> BTreeSet<PersonId> {
    let kept = credential.extra.get("lineage").cloned();
    let kept: BTreeSet<PersonId> = kept
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default();
    kept.into_iter()
        .chain(credential.issued_by.clone())
        .collect()
}

/// Knows callers. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    store: Arc<dyn Store>,
    log: Log,
    clock: Arc<Clock>,
    keys: Arc<Keys>,
    active: ActivePolicy,
    challenges: Arc<Challenges>,
    providers: Providers,
    issuers: Issuers,
    assertions: Arc<Shown>,
    proofs: Arc<Proofs>,
    rates: Arc<DefaultKeyedRateLimiter<String>>,
    delegations: Delegations,
    /// Written to by whoever changes what credentials stand on.
    changing: Arc<RwLock<()>>,
    counts: Arc<passkey::Counts>,
    codes: Arc<account::Codes>,
}

/// What to issue.
#[derive(Debug, Clone)]
pub struct Issue {
    /// What.
    pub kind: CredentialKind,
    /// For whom.
    pub holder: SubjectId,
    /// The person who has it issued; `None` for the installation.
    pub issued_by: Option<PersonId>,
    /// Everybody who had a hand in it.
    pub lineage: BTreeSet<PersonId>,
    /// The credential it comes from.
    pub parent: Option<CredentialId>,
    /// The account that its holder signed in with; it ends with it.
    pub account: Option<SignedInWith>,
    /// How long it lasts.
    pub valid_for: Span,
}

/// An account with a provider that somebody signed in with, and how it was believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInWith {
    /// The provider.
    pub provider: ProviderId,
    /// The account there.
    pub account: AccountId,
    /// The provider's settings.
    pub settings: Hash,
    /// Since when it is theirs, and believed under these settings.
    pub believed: Timestamp,
}

impl SignedInWith {
    /// An account as it is now.
    #[must_use]
    pub fn of(provider: &ProviderId, account: &Account) -> Self {
        Self {
            provider: provider.clone(),
            account: account.id,
            settings: account.settings,
            believed: account.believed,
        }
    }
}

impl Identity {
    /// Identity over a store. Files that providers need are in `config`.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn new(
        store: Arc<dyn Store>,
        log: Log,
        clock: Arc<Clock>,
        keys: Arc<Keys>,
        active: ActivePolicy,
        (config, delegations, changing): (&Path, Delegations, Arc<RwLock<()>>),
    ) -> anyhow::Result<Self> {
        Ok(Self {
            proofs: Arc::new(Proofs::new(clock.now())?),
            assertions: Arc::default(),
            delegations,
            changing,
            rates: Arc::new(exchange::rates()),
            issuers: Issuers::new(config.into()),
            store,
            log,
            clock,
            keys,
            active,
            challenges: Arc::new(Challenges::new()?),
            providers: Providers::new(config.into())?,
            counts: Arc::default(),
            codes: Arc::default(),
        })
    }

    /// Who sends this secret as a credential of `kind`.
    ///
    /// # Errors
    /// [`IdentityError`] when nobody does.
    pub async fn caller(
        &self,
        secret: &str,
        kind: CredentialKind,
    ) -> Result<Caller, IdentityError> {
        let hash = Secret::hash_of(secret).ok_or(IdentityError::Invalid)?;
        let found = self.store.credential_by_secret(&hash).await?;
        let credential = found
            .filter(|one| one.kind == kind)
            .ok_or(IdentityError::Invalid)?;
        if !seal::holds(&self.keys, &credential) {
            return Err(IdentityError::Forged);
        }
        // Whoever it is for shows it together with who they are.
        if standing::is_delegation(&credential) {
            return Err(IdentityError::Invalid);
        }
        let standing = self.standing(&credential, self.clock.now()).await?;
        let subject = standing.subject;
        let passkeys = match (&subject.id, kind) {
            (SubjectId::Person(person), CredentialKind::Session) => self.passkeys(person).await?,
            _ => Vec::new(),
        };
        Ok(Caller {
            subject,
            on_behalf_of: standing.on_behalf_of,
            through: standing.through,
            credential,
            passkeys,
        })
    }

    /// Whether a caller who came earlier is still who they were: for connections that last.
    pub async fn is_current(&self, caller: &Caller) -> bool {
        // What can't be read is not relied on.
        let Ok(Some(stored)) = self.store.credential(&caller.credential.id).await else {
            return false;
        };
        self.standing(&stored, self.clock.now()).await.is_ok()
    }

    /// Checks that whoever sends a token has the key that it is bound to, and that nobody sends a proof
    /// for one that is bound to none.
    ///
    /// # Errors
    /// [`NotProven`].
    pub fn check_key(
        &self,
        caller: &Caller,
        proof: Option<&str>,
        request: &Request<'_>,
    ) -> Result<(), NotProven> {
        let bound = grounds_of(&caller.credential).and_then(|grounds| grounds.bound_to);
        match (bound, proof) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(NotProven::NotBound),
            (Some(_), None) => Err(NotProven::Missing),
            (Some(key), Some(proof)) => {
                match self.proofs.spend(proof, request, self.clock.now())? == key {
                    true => Ok(()),
                    false => Err(NotProven::OtherKey),
                }
            }
        }
    }

    /// Uses a single-use link up and gives a credential of `kind` for it.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] when the link was used before, by whomever.
    pub async fn use_link(
        &self,
        secret: &str,
        kind: CredentialKind,
        valid_for: Span,
    ) -> Result<(Secret, Caller), IdentityError> {
        // Nothing that would end the session comes in between.
        let _unchanged = self.changing.read().await;
        let link = self.caller(secret, CredentialKind::Link).await?;
        let issue = Issue {
            kind,
            holder: link.subject.id.clone(),
            // Whoever issued the link could have used it: the session is theirs as well (P3).
            issued_by: link.credential.issued_by.clone(),
            lineage: link.lineage(),
            parent: Some(link.credential.id.clone()),
            account: None,
            valid_for,
        };
        let (secret, credential, record) = self.prepare(&issue)?;
        let used = Write::UseCredential {
            id: link.credential.id,
            at: self.clock.now(),
        };
        let issued = Write::InsertCredential(Box::new(credential.clone()));
        match self.store.commit(vec![used, issued]).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => return Err(IdentityError::Invalid),
            Err(error) => return Err(error.into()),
        }
        // A crash here leaves a credential that nobody was given.
        self.log.record(record).await.map_err(EngineError::from)?;
        Ok((
            secret,
            Caller {
                subject: link.subject,
                on_behalf_of: Vec::new(),
                through: None,
                credential,
                passkeys: Vec::new(),
            },
        ))
    }

    /// Ends a session or token at once.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be stored or recorded.
    pub async fn revoke(&self, id: &CredentialId) -> Result<(), IdentityError> {
        let at = self.clock.now();
        let holder = self.store.credential(id).await?.map(|one| one.holder);
        self.store
            .commit(vec![Write::RevokeCredential { id: id.clone(), at }])
            .await?;
        let revoked = body::CredentialRevoked {
            credential: id.clone(),
        };
        let evidence = json!({ "holder": holder });
        let record = Record::control(at, Body::CredentialRevoked(revoked), evidence);
        self.log.record(record).await.map_err(EngineError::from)?;
        Ok(())
    }

    /// Who signs people in.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Proofs of fresh acts.
    #[must_use]
    pub fn acts(&self) -> Acts<'_> {
        Acts::new(&self.keys.act)
    }
}

/// Where a credential has the account it came from.
const ACCOUNT: &str = "account";

fn account_of(credential: &StoredCredential) -> Option<SignedInWith> {
    serde_json::from_value(credential.extra.get(ACCOUNT)?.clone()).ok()
}

/// Reads `agent:deploy-bot`.
#[must_use]
pub fn parse_subject(text: &str) -> Option<SubjectId> {
    match text.split_once(':')? {
        ("person", name) => name.parse().ok().map(SubjectId::Person),
        ("agent", name) => name.parse().ok().map(SubjectId::Agent),
        ("workload", name) => name.parse().ok().map(SubjectId::Workload),
        _ => None,
    }
}

/// Compares in time that does not depend on where two texts differ.
#[must_use]
pub fn same_secret(one: &str, other: &str) -> bool {
    Hash::of(one.as_bytes()) == Hash::of(other.as_bytes())
}
