//! People's accounts in chats: whose one is, and who clicks with it.
//!
//! In scope: which account is whose, whether it may speak for them now, the codes that link one.
//! Out of scope: who countersigns a link (admin); believing the chat (`channels`).
//! Invariant: an account is one person's, by its ids and never by a name. In the database it is
//! believed only under a seal that the database can't make. It ends with its holder, and with what
//! their provider says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use countersign_core::{
    canonical::Hash,
    id::{CredentialId, PersonId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::body::{self, Body, CredentialIssued};
use countersign_store::{CredentialKind, StoredCredential, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ACCOUNT, Caller, Identity, IdentityError, SignedInWith, account_of, passkey::FOR_EVER, seal,
    standing::account_stands,
};
use crate::{engine::EngineError, ids, keys, log::Record};

/// How long a code that links an account can be used.
pub const CODE: Span = Span::minutes(10);
/// Codes that wait at once.
const MAX_CODES: usize = 10_000;
/// What codes are written in: no letter that looks like another sign.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// How often one account can have been linked and unlinked.
const MAX_LINKS: u32 = 100;

/// Where a credential has its account in a chat.
const LINKED: &str = "linked";

/// Whoever had a hand in a link, and what its holder was signed in with.
pub type LinkedBy = (BTreeSet<PersonId>, Option<SignedInWith>);

/// An account in a chat.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatAccount {
    /// The channel it is in.
    pub channel: String,
    /// The workspace or tenant, by its id.
    pub team: String,
    /// The account, by its id.
    pub user: String,
}

impl ChatAccount {
    /// What it is found by when it is linked for the `nth` time: one that was unlinked stays. It is one
    /// account, through however many channels its workspace is reached.
    fn key(&self, nth: u32) -> Hash {
        Hash::of_parts(&[
            b"countersign/chat-account/v1\0",
            self.team.as_bytes(),
            b"\0",
            self.user.as_bytes(),
            b"\0",
            &nth.to_be_bytes(),
        ])
    }
}

/// What is kept of a linked account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linked {
    /// Which.
    pub account: ChatAccount,
    /// What it was called when it was linked. Names change hands; nothing is decided by it.
    pub called: String,
    /// Whether somebody else vouched for it; only then it votes.
    #[serde(default)]
    pub countersigned: bool,
}

/// The link of a stored account; `None` for other credentials.
#[must_use]
pub fn linked(credential: &StoredCredential) -> Option<Linked> {
    if credential.kind != CredentialKind::Account {
        return None;
    }
    serde_json::from_value(credential.extra.get(LINKED)?.clone()).ok()
}

/// Why nobody clicked.
#[derive(Debug, thiserror::Error)]
pub enum NoAccount {
    /// It is nobody's.
    #[error("this account is not linked to anybody")]
    Unlinked,
    /// Its holder has not signed in for too long.
    #[error("you have not signed in for more than {0}")]
    SignInAgain(Span),
    /// Anything else.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Codes that people read in the console and write in the chat, by what they hash to. They end with
/// the process.
#[derive(Default)]
pub struct Codes(Mutex<BTreeMap<Hash, (Timestamp, Caller)>>);

impl Codes {
    fn make(&self, caller: &Caller, now: Timestamp) -> anyhow::Result<String> {
        let random = keys::random()?;
        let letter = |byte: &u8| {
            let place = usize::from(byte % 32);
            ALPHABET.get(place).copied().map_or('A', char::from)
        };
        let text: String = random.iter().take(12).map(letter).collect();
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = &caller.credential.id;
        codes.retain(|_, (until, other)| *until > now && other.credential.id != *session);
        if codes.len() >= MAX_CODES {
            anyhow::bail!("too many codes wait; try again in a few minutes");
        }
        codes.insert(hash_of(&text), (now.after(CODE), caller.clone()));
        let groups: Vec<_> = text
            .as_bytes()
            .chunks(4)
            .map(String::from_utf8_lossy)
            .collect();
        Ok(groups.join("-"))
    }

    fn spend(&self, code: &str, now: Timestamp) -> Option<Caller> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, caller) = codes.remove(&hash_of(code))?;
        (until > now).then_some(caller)
    }
}

/// A code without what people write between its letters.
fn hash_of(code: &str) -> Hash {
    let letters = code.chars().filter(char::is_ascii_alphanumeric);
    let text: String = letters.map(|one| one.to_ascii_uppercase()).collect();
    Hash::of(text.as_bytes())
}

fn internal(error: impl std::fmt::Display) -> IdentityError {
    EngineError::Internal(error.to_string()).into()
}

impl Identity {
    /// A code with which an account is linked to the caller, who has a session.
    ///
    /// # Errors
    /// Too many wait, or the system's random generator failed.
    pub fn link_code(&self, caller: &Caller) -> Result<String, IdentityError> {
        let made = self.codes.make(caller, self.clock.now());
        made.map_err(internal)
    }

    /// Whose session a code was made in; it is used up. `None` when there is none, or their session
    /// ended.
    pub async fn use_code(&self, code: &str) -> Option<Caller> {
        let caller = self.codes.spend(code, self.clock.now())?;
        self.is_current(&caller).await.then_some(caller)
    }

    /// The live link of an account that has these keys, and how often it was linked before.
    pub(super) async fn link_of(
        &self,
        key: impl Fn(u32) -> Hash + Send + Sync,
    ) -> Result<(Option<StoredCredential>, u32), IdentityError> {
        for nth in 0..MAX_LINKS {
            let found = self.store.credential_by_secret(&key(nth)).await?;
            match found {
                Some(gone) if gone.revoked.is_some() => {}
                found => return Ok((found, nth)),
            }
        }
        Ok((None, MAX_LINKS))
    }

    /// Who clicks with an account. Whoever signs in with a provider has to have done so within
    /// `signed_in`.
    ///
    /// # Errors
    /// [`NoAccount`] when nobody does.
    pub async fn who_clicks(
        &self,
        account: &ChatAccount,
        signed_in: Span,
    ) -> Result<Caller, NoAccount> {
        let (found, _) = self.link_of(|nth| account.key(nth)).await?;
        let credential = found.ok_or(NoAccount::Unlinked)?;
        let now = self.clock.now();
        let known = linked(&credential);
        if !seal::holds(&self.keys, &credential) || known.is_none() {
            return Err(IdentityError::Forged.into());
        }
        // Linked through another channel.
        if known.is_none_or(|known| known.account != *account) {
            return Err(NoAccount::Unlinked);
        }
        let standing = self.standing(&credential, now).await;
        let standing = standing.map_err(|error| match error {
            IdentityError::Invalid => NoAccount::Unlinked,
            error => error.into(),
        })?;
        if account_of(&credential).is_some() {
            let last = self.signed_in_last(&credential.holder).await?;
            let oldest = Timestamp(now.0.saturating_sub(signed_in.as_millis()));
            if last.is_none_or(|last| last < oldest) {
                return Err(NoAccount::SignInAgain(signed_in));
            }
        }
        Ok(Caller {
            subject: standing.subject,
            on_behalf_of: standing.on_behalf_of,
            through: standing.through,
            credential,
            passkeys: Vec::new(),
        })
    }

    /// When somebody signed in last with whoever says who people are, with what stands now.
    pub(super) async fn signed_in_last(
        &self,
        holder: &str,
    ) -> Result<Option<Timestamp>, IdentityError> {
        let all = self.store.credentials(Some(holder)).await?;
        let active = self.active.borrow().clone();
        let sessions = all.iter().filter(|one| {
            one.kind == CredentialKind::Session
                && account_of(one).is_some()
                && account_stands(&active, one)
        });
        Ok(sessions.map(|one| one.issued).max())
    }

    /// Whether somebody has this account already.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn is_linked(&self, account: &ChatAccount) -> Result<bool, IdentityError> {
        self.is_taken(|nth| account.key(nth)).await
    }

    /// Whether an account that has these keys is somebody's, or was too often.
    pub(super) async fn is_taken(
        &self,
        key: impl Fn(u32) -> Hash + Send + Sync,
    ) -> Result<bool, IdentityError> {
        let (found, nth) = self.link_of(key).await?;
        Ok(found.is_some() || nth == MAX_LINKS)
    }

    /// Links an account: recorded, then stored. Whoever had a hand in the session that it was linked
    /// in counts as its holder in votes.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be recorded or stored, or is somebody's already.
    pub async fn link(
        &self,
        person: &PersonId,
        linked: &Linked,
        by: LinkedBy,
    ) -> Result<StoredCredential, IdentityError> {
        let key = |nth| linked.account.key(nth);
        self.keep_link(person, key, (LINKED, json!(linked)), by)
            .await
    }

    /// Keeps the link of an account that has these keys, as what it is called.
    pub(super) async fn keep_link(
        &self,
        person: &PersonId,
        key: impl Fn(u32) -> Hash + Send + Sync,
        (name, linked): (&str, Value),
        (lineage, signed_in): LinkedBy,
    ) -> Result<StoredCredential, IdentityError> {
        let now = self.clock.now();
        let (found, nth) = self.link_of(&key).await?;
        if found.is_some() || nth == MAX_LINKS {
            return Err(IdentityError::Invalid);
        }
        let holder = SubjectId::Person(person.clone());
        let mut credential = StoredCredential {
            id: CredentialId::from_bits(ids::bits(now)?),
            kind: CredentialKind::Account,
            secret: key(nth),
            holder: holder.to_string(),
            issued_by: None,
            parent: None,
            issued: now,
            expires: now.after(FOR_EVER),
            used: None,
            revoked: None,
            revoked_with_holder: false,
            extra: json!({}),
        };
        let mut extra = json!({ name: linked, "lineage": lineage });
        if let (Some(signed_in), Some(fields)) = (&signed_in, extra.as_object_mut()) {
            fields.insert(ACCOUNT.into(), json!(signed_in));
        }
        seal::put(&self.keys, &mut credential, extra).map_err(internal)?;
        let body = Body::CredentialIssued(CredentialIssued {
            credential: credential.id.clone(),
            holder: self.keys.pseudonyms.of(&holder),
            issuer: None,
            kind: body::CredentialKind::Account,
            passkey: None,
        });
        let evidence = json!({ "holder": credential.holder, name: linked });
        let record = Record::control(now, body, evidence);
        self.log.record(record).await.map_err(EngineError::from)?;
        let write = Write::InsertCredential(Box::new(credential.clone()));
        self.store.commit(vec![write]).await?;
        Ok(credential)
    }
}
