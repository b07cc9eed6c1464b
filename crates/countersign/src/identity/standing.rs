//! Whether a credential is still worth something.
//!
//! In scope: what it came from, and whether that stands as the bundle and the directory are now.
//! Out of scope: finding it; expiry of what it came from, which it never outlives.
//! Invariant: a token is over with anything that it stands on: the proof of its machine, the key
//! that it must be bound to, whoever it acts for, their delegation, session and account. A session that
//! somebody began with a linked account is over with its link.

use countersign_core::{
    canonical::Hash,
    id::CredentialId,
    subject::{Subject, SubjectId},
    time::Timestamp,
};
use countersign_policy::{Provider, machine::SHORT_TOKEN};
use countersign_store::{CredentialKind, StoredCredential};
use serde::{Deserialize, Serialize};

use super::{
    ACCOUNT, Identity, IdentityError, SignedInWith, account_of,
    further::{self, Through},
    parse_subject, seal,
};
use crate::active::Active;

/// Where a token has what it was exchanged for.
pub(super) const GROUNDS: &str = "grounds";
/// Where a delegation has whom it is for. It is no token of its holder.
pub(super) const DELEGATES: &str = "delegates";
/// The most that a credential can have come from.
const MOST: usize = 12;

/// What a machine exchanged for its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// Who said which machine it is: an issuer's name, or `key`.
    pub by: String,
    /// The settings under which that was believed.
    pub settings: Hash,
    /// Whom it acts for, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_behalf_of: Vec<SubjectId>,
    /// The fingerprint of the key that every use must prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
}

/// What a delegation gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegates {
    /// Who may act.
    pub to: SubjectId,
    /// For whom, nearest first: its holder, and whom its holder acts for.
    pub on_behalf_of: Vec<SubjectId>,
}

/// What a token was exchanged for; `None` where it was simply issued.
#[must_use]
pub fn grounds_of(credential: &StoredCredential) -> Option<Grounds> {
    serde_json::from_value(credential.extra.get(GROUNDS)?.clone()).ok()
}

/// What a delegation gives; `None` for everything else.
#[must_use]
pub fn delegates_of(credential: &StoredCredential) -> Option<Delegates> {
    serde_json::from_value(credential.extra.get(DELEGATES)?.clone()).ok()
}

/// Whether a credential can be shown as a token; a delegation can't.
pub(super) fn is_delegation(credential: &StoredCredential) -> bool {
    credential.extra.get(DELEGATES).is_some()
}

/// Whether a token was issued to a machine for longer than a day, which its table must allow.
#[must_use]
pub fn is_long_lived(credential: &StoredCredential) -> bool {
    let lasts = credential.expires.millis_since(credential.issued);
    credential.kind == CredentialKind::Token && lasts > SHORT_TOKEN.as_millis()
}

/// Who has a credential, and whom they act for with it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) subject: Subject,
    pub(super) on_behalf_of: Vec<Subject>,
    /// The linked account through which what it came from began.
    pub(super) through: Option<Through>,
}

impl Identity {
    /// Who has a credential that counts at `now`.
    ///
    /// # Errors
    /// [`IdentityError`] when it does not.
    pub(super) async fn standing(
        &self,
        credential: &StoredCredential,
        now: Timestamp,
    ) -> Result<Standing, IdentityError> {
        let before = self.ancestors(credential).await?;
        let active = self.active.borrow().clone();
        judged(&active, credential, &before, now)
    }

    /// What a token came from and ends with, nearest first: delegations and tokens, the session that a
    /// person began with, and the link of the account that they began it with.
    async fn ancestors(
        &self,
        token: &StoredCredential,
    ) -> Result<Vec<StoredCredential>, IdentityError> {
        let mut found: Vec<StoredCredential> = Vec::new();
        while let Some(parent) = parent_of(found.last().unwrap_or(token)) {
            let parent = self.store.credential(parent).await?;
            let parent = parent.ok_or(IdentityError::Invalid)?;
            if is_first(&parent) {
                break;
            }
            if !seal::holds(&self.keys, &parent) {
                return Err(IdentityError::Forged);
            }
            if found.len() == MOST {
                return Err(IdentityError::Invalid);
            }
            found.push(parent);
        }
        Ok(found)
    }
}

/// The credential that one of this kind ends with.
fn parent_of(credential: &StoredCredential) -> Option<&CredentialId> {
    let parent = credential.parent.as_ref();
    let ends_with_it = credential.kind == CredentialKind::Token || further::is_through(credential);
    parent.filter(|_| ends_with_it)
}

/// Whether nothing ends with a credential: a link was used up for what came of it, a passkey signed in
/// once.
fn is_first(parent: &StoredCredential) -> bool {
    matches!(parent.kind, CredentialKind::Link | CredentialKind::Passkey)
}

/// What a token came from, like [`Identity::ancestors`], among credentials that were read already. Their
/// seals are not looked at: nobody is let in by this.
///
/// # Errors
/// One of them is missing, or they are too many.
pub(super) fn ancestors_in(
    token: &StoredCredential,
    find: impl Fn(&CredentialId) -> Option<StoredCredential>,
) -> Result<Vec<StoredCredential>, IdentityError> {
    let mut found: Vec<StoredCredential> = Vec::new();
    while let Some(parent) = parent_of(found.last().unwrap_or(token)) {
        let parent = find(parent).ok_or(IdentityError::Invalid)?;
        if is_first(&parent) {
            break;
        }
        if found.len() == MOST {
            return Err(IdentityError::Invalid);
        }
        found.push(parent);
    }
    Ok(found)
}

/// Who has a credential that came from these, as this is active.
///
/// # Errors
/// [`IdentityError`] when it does not count.
pub(super) fn judged(
    active: &Active,
    credential: &StoredCredential,
    before: &[StoredCredential],
    now: Timestamp,
) -> Result<Standing, IdentityError> {
    // Whoever has a credential that ended by itself learns nothing about its holder.
    if ended_by_itself(credential, now) || before.iter().any(revoked_by_itself) {
        return Err(IdentityError::Invalid);
    }
    let id = parse_subject(&credential.holder).ok_or(IdentityError::Invalid)?;
    let subject = resolved(active, &id)?;
    // Whoever goes on after a stop does so with new credentials.
    if ended(credential, now) || before.iter().any(|one| one.revoked.is_some()) {
        return Err(IdentityError::Invalid);
    }
    let chain = grounds_of(credential).map(|grounds| grounds.on_behalf_of);
    let chain = chain.unwrap_or_default();
    let on_behalf_of = chain.iter().map(|member| resolved(active, member));
    let on_behalf_of: Vec<Subject> = on_behalf_of.collect::<Result<_, _>>()?;
    if credential.extra.get(GROUNDS).is_some() {
        check_owners(active, std::iter::once(&subject).chain(&on_behalf_of))?;
    }
    let mut all = std::iter::once(credential).chain(before);
    let from = before.last().unwrap_or(credential);
    let stands = |one| machine_stands(active, one) && further::stands(active, one);
    if !all.all(stands) || !account_stands(active, from) {
        return Err(match credential.kind {
            CredentialKind::Link => IdentityError::HasAccount(id),
            _ => IdentityError::Invalid,
        });
    }
    let mut all = std::iter::once(credential).chain(before);
    Ok(Standing {
        subject,
        on_behalf_of,
        through: all.find_map(further::through_of),
    })
}

/// A subject that can act.
pub(super) fn resolved(active: &Active, id: &SubjectId) -> Result<Subject, IdentityError> {
    let directory = &active.directory;
    directory
        .resolve(id)
        .ok_or_else(|| match directory.knows(id) {
            true => IdentityError::Disabled(id.clone()),
            false => IdentityError::Removed(id.clone()),
        })
}

/// Refuses machines whose owner can do nothing any more.
pub(super) fn check_owners<'a>(
    active: &Active,
    all: impl Iterator<Item = &'a Subject>,
) -> Result<(), IdentityError> {
    for owner in all.filter_map(|one| one.owner.clone()) {
        resolved(active, &SubjectId::Person(owner))?;
    }
    Ok(())
}

/// Whether a machine's credential is one that its table allows now.
fn machine_stands(active: &Active, credential: &StoredCredential) -> bool {
    let Some(holder) = parse_subject(&credential.holder) else {
        return false;
    };
    if matches!(holder, SubjectId::Person(_)) {
        return credential.extra.get(GROUNDS).is_none();
    }
    if is_delegation(credential) {
        return true;
    }
    let settings = active.bundle.machines().get(&holder);
    let binds = settings.is_some_and(|settings| settings.require_dpop);
    if credential.extra.get(GROUNDS).is_none() {
        let most = settings.map_or(SHORT_TOKEN, |settings| settings.longest_token());
        let lasts = credential.expires.millis_since(credential.issued);
        return !binds && lasts <= most.as_millis();
    }
    let Some(grounds) = grounds_of(credential) else {
        return false;
    };
    let proofs = settings
        .map(|settings| settings.proofs.as_slice())
        .unwrap_or_default();
    let believed = proofs
        .iter()
        .any(|proof| proof.settings() == grounds.settings);
    believed && (!binds || grounds.bound_to.is_some())
}

/// Whether somebody who has an account signed in with it as it is now, and somebody who has none did
/// not. With anything else they would outlive what the provider says of them.
pub(super) fn account_stands(active: &Active, began_with: &StoredCredential) -> bool {
    let Some(SubjectId::Person(person)) = parse_subject(&began_with.holder) else {
        return true;
    };
    let Some(known) = active.directory.people.get(&person) else {
        return false;
    };
    let authority = active.bundle.authority();
    let says = |provider| authority.filter(|(id, _)| *id == provider);
    let mut accounts = known.accounts.iter();
    if began_with.extra.get(ACCOUNT).is_none() {
        return !accounts.any(|(provider, _)| says(provider).is_some());
    }
    let Some(with) = account_of(began_with) else {
        return false;
    };
    let believed = |provider: &Provider| {
        provider.settings() == Ok(with.settings) && (provider.creates_people || !known.provided)
    };
    says(&with.provider).is_some_and(|(_, provider)| believed(provider))
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
