//! Who is calling: tokens, sessions, single-use links.
//!
//! In scope: issuing credentials, telling callers apart, proving fresh acts.
//! Out of scope: what a caller may do; policy and the core decide that.
//! Invariant: a secret is kept only as a hash and shown once. Whoever is unknown, disabled,
//! expired or revoked is nobody; only whoever has a credential that a stop of its holder
//! ended is told that. Tokens never vote: only a [`Caller`] with a session has an
//! [`Assurance`].

mod act;
pub mod challenge;
pub mod passkey;
pub mod provider;
mod seal;
mod secret;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use countersign_core::{
    approval::rule::Assurance,
    canonical::Hash,
    directory::{Account, AccountId},
    id::{CredentialId, PersonId, ProviderId},
    subject::{Subject, SubjectId},
    time::{Span, Timestamp},
};
use countersign_evidence::body::{self, Body, CredentialIssued};
use countersign_policy::Provider;
use countersign_store::{CredentialKind, Store, StoreError, StoredCredential, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use act::{Acts, StaleAct};
use challenge::Challenges;
use provider::Providers;
pub use secret::{Kind, Secret};

use crate::{
    active::{Active, ActivePolicy},
    clock::Clock,
    engine::EngineError,
    ids,
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
/// The longest a token can last.
pub const MAX_TOKEN: Span = Span::from_millis(90 * 24 * 3_600_000);

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
    /// With what.
    pub credential: StoredCredential,
    /// The passkeys that they can sign votes with; only sessions have any.
    pub passkeys: Vec<StoredCredential>,
}

impl Caller {
    /// How strongly the caller is identified for votes; `None` for tokens, which never vote.
    #[must_use]
    pub fn assurance(&self) -> Option<Assurance> {
        match self.credential.kind {
            CredentialKind::Session => Some(Assurance::Session),
            CredentialKind::Link | CredentialKind::Token | CredentialKind::Passkey => None,
        }
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
    counts: Arc<passkey::Counts>,
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
        config: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            store,
            log,
            clock,
            keys,
            active,
            challenges: Arc::new(Challenges::new()?),
            providers: Providers::new(config.into())?,
            counts: Arc::default(),
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
        let now = self.clock.now();
        let session = self.session_of(&credential).await?;
        // Whoever has a credential that ended by itself learns nothing about its holder.
        if ended_by_itself(&credential, now) || session.as_ref().is_some_and(revoked_by_itself) {
            return Err(IdentityError::Invalid);
        }
        let id = parse_subject(&credential.holder).ok_or(IdentityError::Invalid)?;
        let active = self.active.borrow().clone();
        let directory = &active.directory;
        let Some(subject) = directory.resolve(&id) else {
            return Err(match directory.knows(&id) {
                true => IdentityError::Disabled(id),
                false => IdentityError::Removed(id),
            });
        };
        // Whoever goes on after a stop does so with new credentials.
        if ended(&credential, now) || session.as_ref().is_some_and(|one| one.revoked.is_some()) {
            return Err(IdentityError::Invalid);
        }
        if !account_stands(&active, session.as_ref().unwrap_or(&credential)) {
            return Err(match kind {
                CredentialKind::Link => IdentityError::HasAccount(id),
                _ => IdentityError::Invalid,
            });
        }
        let passkeys = match (&subject.id, kind) {
            (SubjectId::Person(person), CredentialKind::Session) => self.passkeys(person).await?,
            _ => Vec::new(),
        };
        Ok(Caller {
            subject,
            credential,
            passkeys,
        })
    }

    /// The session that a token was made out of, and with which it ends.
    async fn session_of(
        &self,
        token: &StoredCredential,
    ) -> Result<Option<StoredCredential>, StoreError> {
        let parent = token.parent.as_ref();
        let Some(parent) = parent.filter(|_| token.kind == CredentialKind::Token) else {
            return Ok(None);
        };
        let session = self.store.credential(parent).await?;
        Ok(session.filter(|one| one.kind == CredentialKind::Session))
    }

    /// Whether a caller who came earlier is still who they were: for connections that last.
    pub async fn is_current(&self, caller: &Caller) -> bool {
        let stored = self.store.credential(&caller.credential.id).await;
        let Ok(Some(stored)) = stored else {
            return false;
        };
        // What can't be read is not relied on.
        let Ok(session) = self.session_of(&stored).await else {
            return false;
        };
        let active = self.active.borrow().clone();
        session.as_ref().is_none_or(|one| one.revoked.is_none())
            && account_stands(&active, session.as_ref().unwrap_or(&stored))
            && !ended(&stored, self.clock.now())
            && active.directory.resolve(&caller.subject.id).is_some()
    }

    /// Makes a credential and the writes and record that issue it. Nothing is stored yet.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn prepare(
        &self,
        issue: &Issue,
    ) -> Result<(Secret, StoredCredential, Record), EngineError> {
        let now = self.clock.now();
        let secret = Secret::new(match issue.kind {
            CredentialKind::Link => Kind::Link,
            CredentialKind::Session => Kind::Session,
            CredentialKind::Token | CredentialKind::Passkey => Kind::Token,
        })
        .map_err(|error| EngineError::Internal(error.to_string()))?;
        let mut credential = StoredCredential {
            id: CredentialId::from_bits(ids::bits(now)?),
            kind: issue.kind,
            secret: secret.hash(),
            holder: issue.holder.to_string(),
            issued_by: issue.issued_by.clone(),
            parent: issue.parent.clone(),
            issued: now,
            expires: now.after(issue.valid_for),
            used: None,
            revoked: None,
            revoked_with_holder: false,
            extra: json!({}),
        };
        let mut extra = json!({ "lineage": issue.lineage });
        if let (Some(account), Some(fields)) = (&issue.account, extra.as_object_mut()) {
            fields.insert(ACCOUNT.into(), json!(account));
        }
        seal::put(&self.keys, &mut credential, extra)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let record = self.issued(&credential, &issue.holder, now);
        Ok((secret, credential, record))
    }

    fn issued(&self, credential: &StoredCredential, holder: &SubjectId, at: Timestamp) -> Record {
        let names = &self.keys.pseudonyms;
        let body = Body::CredentialIssued(CredentialIssued {
            credential: credential.id.clone(),
            holder: names.of(holder),
            issuer: credential
                .issued_by
                .as_ref()
                .map(|person| names.of_person(person)),
            kind: match credential.kind {
                CredentialKind::Link => body::CredentialKind::Link,
                CredentialKind::Session => body::CredentialKind::Session,
                CredentialKind::Token => body::CredentialKind::Token,
                CredentialKind::Passkey => body::CredentialKind::Passkey,
            },
            passkey: None,
        });
        let evidence = json!({
            "holder": credential.holder,
            "issued_by": credential.issued_by,
            "parent": credential.parent,
            "expires": credential.expires,
            "provider": account_of(credential).map(|account| account.provider),
        });
        Record::control(at, body, evidence)
    }

    /// Issues a credential: recorded, then stored, then given out.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be recorded or stored; then it does not exist.
    pub async fn issue(&self, issue: &Issue) -> Result<(Secret, StoredCredential), IdentityError> {
        let (secret, credential, record) = self.prepare(issue)?;
        self.log.record(record).await.map_err(EngineError::from)?;
        self.store
            .commit(vec![Write::InsertCredential(Box::new(credential.clone()))])
            .await?;
        Ok((secret, credential))
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

/// Whether somebody who has an account signed in with it as it is now, and somebody who has none did
/// not. With anything else they would outlive what the provider says of them.
fn account_stands(active: &Active, began_with: &StoredCredential) -> bool {
    let Some(SubjectId::Person(person)) = parse_subject(&began_with.holder) else {
        return true;
    };
    let Some(known) = active.directory.people.get(&person) else {
        return false;
    };
    let providers = active.bundle.providers();
    let mut accounts = known.accounts.iter();
    if began_with.extra.get(ACCOUNT).is_none() {
        return !accounts.any(|(provider, _)| providers.contains_key(provider));
    }
    let Some(with) = account_of(began_with) else {
        return false;
    };
    let believed = |provider: &Provider| {
        provider.settings() == Ok(with.settings) && (provider.creates_people || !known.provided)
    };
    providers.get(&with.provider).is_some_and(believed)
        && accounts.any(|(provider, account)| SignedInWith::of(provider, account) == with)
}

/// Whether a credential is over.
#[must_use]
pub fn ended(credential: &StoredCredential, now: Timestamp) -> bool {
    credential.used.is_some() || credential.revoked.is_some() || credential.expires <= now
}

/// Whether a credential would be over even if its holder had not been stopped.
fn ended_by_itself(credential: &StoredCredential, now: Timestamp) -> bool {
    credential.used.is_some() || revoked_by_itself(credential) || credential.expires <= now
}

fn revoked_by_itself(credential: &StoredCredential) -> bool {
    credential.revoked.is_some() && !credential.revoked_with_holder
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
