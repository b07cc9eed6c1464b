//! Passkeys of people: enrolling them, signing in with them, and what they sign of a vote.
//!
//! In scope: which passkeys a person has, the site they are for, checking what they sign.
//! Out of scope: who countersigns an enrolment (admin); counting votes (core).
//! Invariant: a passkey in the database is believed only under a seal that the database can't make;
//! one that was revoked, or whose holder is disabled, signs nothing from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use axum::http::Uri;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    approval::vote::{PasskeySignature, Vote},
    canonical::Hash,
    id::{CredentialId, PersonId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::{
    approval::ApprovalStatement,
    body::{self, Body, CredentialIssued, EnrolledKey},
    webauthn::{self, Assertion, NotHeld, RelyingParty},
};
use countersign_store::{CredentialKind, Store, StoreError, StoredCredential, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Caller, Identity, IdentityError, Issue, SESSION, Secret,
    challenge::{self, StaleChallenge},
    ended, seal,
};
use crate::{engine::EngineError, ids, keys::Keys, log::Record};

/// Passkeys don't end by themselves; a database wants a moment nevertheless.
pub(super) const FOR_EVER: Span = Span::from_millis(200 * 365 * 24 * 3_600_000);
/// The most bytes of a part of an answer of a browser, in base64url.
const MAX_PART: usize = 16 << 10;

/// Why a passkey was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// The gateway's address has no name.
    #[error(
        "passkeys need an address with a name and TLS, or `localhost`; set `public_url` in `[server]`"
    )]
    NoSite,
    /// The challenge.
    #[error(transparent)]
    Stale(#[from] StaleChallenge),
    /// A part is not base64url or far too long.
    #[error("`{0}` can't be read")]
    Form(&'static str),
    /// What was signed.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// Nobody has it, or not any more.
    #[error("this passkey is not enrolled here, or was revoked")]
    Unknown,
    /// Nobody else vouched for it.
    #[error(
        "this passkey signs in only: nobody countersigned it when it was added. Remove it, and add it again under a rule"
    )]
    Alone,
    /// Its holder signs in elsewhere.
    #[error(
        "you sign in with your account, {0}, which is how it is known that you still have one; your \
         passkey signs what you decide"
    )]
    SignsOnly(PersonId),
    /// Its counter went back.
    #[error("this passkey counts fewer uses than before: there may be a copy of it; revoke it")]
    Copied,
    /// Anything else.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What is kept of a passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The authenticator's name for it, in base64url.
    pub passkey: String,
    /// The public key (COSE), in base64url.
    pub public_key: String,
    /// Whether it can leave the device that made it.
    pub backup_eligible: bool,
    /// How often it had signed when it was enrolled.
    pub counter: u32,
    /// The host name it is for.
    pub site: String,
    /// What its holder calls it.
    pub label: String,
    /// Whether somebody else vouched for it; only then it signs votes.
    #[serde(default)]
    pub countersigned: bool,
}

/// What a browser gives of a passkey that signed. Bytes are base64url without padding.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The challenge, as it was given.
    pub challenge: String,
    /// The authenticator's name for the passkey.
    pub passkey: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// The signature.
    pub signature: String,
}

/// How often passkeys have signed, since the gateway started.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<CredentialId, u32>>);

impl Counts {
    /// Notes a use. A counter that does not grow belongs to a copy; one that stays 0 is none.
    fn note(&self, id: &CredentialId, before: u32, now: u32) -> Result<(), PasskeyError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.get(id).copied().unwrap_or(before);
        if now <= known && (now, known) != (0, 0) {
            return Err(PasskeyError::Copied);
        }
        counts.insert(id.clone(), now);
        Ok(())
    }
}

/// The site that passkeys of a gateway at `url` are for.
///
/// # Errors
/// [`PasskeyError::NoSite`] for addresses that browsers make no passkeys for.
pub fn site(url: &str) -> Result<RelyingParty, PasskeyError> {
    let url: Uri = url.parse().map_err(|_| PasskeyError::NoSite)?;
    let (scheme, host) = match (url.scheme_str(), url.host()) {
        (Some(scheme), Some(host)) => (scheme, host.to_ascii_lowercase()),
        _ => return Err(PasskeyError::NoSite),
    };
    let local = host == "localhost" || host.ends_with(".localhost");
    let address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    if address || (scheme != "https" && !local) {
        return Err(PasskeyError::NoSite);
    }
    // As browsers write it: without the port that the scheme has by itself.
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = url.port_u16().filter(|port| *port != usual);
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Ok(RelyingParty {
        origin: format!("{scheme}://{host}{port}"),
        id: host,
    })
}

/// The enrolment of a stored passkey; `None` for other credentials.
#[must_use]
pub fn enrolled(credential: &StoredCredential) -> Option<Enrolled> {
    if credential.kind != CredentialKind::Passkey {
        return None;
    }
    serde_json::from_value(credential.extra.get("enrolled")?.clone()).ok()
}

/// The first 16 digits of the hash of a public key, by which two people can compare it.
#[must_use]
pub fn fingerprint(enrolled: &Enrolled) -> String {
    let key = URL_SAFE_NO_PAD.decode(&enrolled.public_key);
    let digits = Hash::of(&key.unwrap_or_default()).to_hex();
    let groups: Vec<String> = digits
        .as_bytes()
        .chunks(4)
        .take(4)
        .map(|four| String::from_utf8_lossy(four).into_owned())
        .collect();
    groups.join(" ")
}

fn part(text: &str, what: &'static str) -> Result<Vec<u8>, PasskeyError> {
    if text.len() > MAX_PART {
        return Err(PasskeyError::Form(what));
    }
    let read = URL_SAFE_NO_PAD.decode(text);
    read.map_err(|_| PasskeyError::Form(what))
}

fn internal(error: impl std::fmt::Display) -> IdentityError {
    EngineError::Internal(error.to_string()).into()
}

impl Identity {
    /// A challenge for a purpose, and until when it is good.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn challenge(&self, purpose: &str) -> Result<(String, Timestamp), IdentityError> {
        let now = self.clock.now();
        let made = self.challenges.make(purpose, now).map_err(internal)?;
        Ok((made, Timestamp(now.0.saturating_add(challenge::FRESH))))
    }

    /// The passkeys of a person that are good now, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn passkeys(&self, person: &PersonId) -> Result<Vec<StoredCredential>, StoreError> {
        good(self.store.as_ref(), &self.keys, person, self.clock.now()).await
    }

    /// Takes up a new passkey of the caller, which is not enrolled yet.
    ///
    /// # Errors
    /// [`PasskeyError`] when the answer is not one to this challenge on this site.
    pub fn take_up(
        &self,
        party: &RelyingParty,
        (purpose, challenge): (&str, &str),
        (client_data, authenticator_data): (&str, &str),
        label: String,
    ) -> Result<Enrolled, PasskeyError> {
        self.challenges
            .spend(challenge, purpose, self.clock.now())?;
        let made = webauthn::register(
            party,
            &challenge::value(challenge).0,
            &part(client_data, "client_data")?,
            &part(authenticator_data, "authenticator_data")?,
        )?;
        Ok(Enrolled {
            passkey: URL_SAFE_NO_PAD.encode(&made.id),
            public_key: URL_SAFE_NO_PAD.encode(&made.public_key),
            backup_eligible: made.backup_eligible,
            counter: made.counter,
            site: party.id.clone(),
            label,
            countersigned: false,
        })
    }

    /// Enrols a passkey: recorded, then stored. Whoever had a hand in the session it was made in
    /// counts as its holder in votes.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be recorded or stored, or is enrolled already.
    pub async fn enrol(
        &self,
        person: &PersonId,
        enrolled: &Enrolled,
        lineage: BTreeSet<PersonId>,
    ) -> Result<StoredCredential, IdentityError> {
        let now = self.clock.now();
        let secret = Hash::of(enrolled.passkey.as_bytes());
        if self.store.credential_by_secret(&secret).await?.is_some() {
            return Err(IdentityError::Invalid);
        }
        let holder = SubjectId::Person(person.clone());
        let mut credential = StoredCredential {
            id: CredentialId::from_bits(ids::bits(now)?),
            kind: CredentialKind::Passkey,
            secret,
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
        let extra = json!({ "enrolled": enrolled, "lineage": lineage });
        seal::put(&self.keys, &mut credential, extra).map_err(internal)?;
        let key = URL_SAFE_NO_PAD.decode(&enrolled.public_key);
        let body = Body::CredentialIssued(CredentialIssued {
            credential: credential.id.clone(),
            holder: self.keys.pseudonyms.of(&holder),
            issuer: None,
            kind: body::CredentialKind::Passkey,
            passkey: Some(EnrolledKey {
                key: Hash::of(&key.unwrap_or_default()),
                site: enrolled.site.clone(),
                countersigned: enrolled.countersigned,
            }),
        });
        let record = Record::control(
            now,
            body,
            json!({ "holder": credential.holder, "passkey": enrolled }),
        );
        self.log.record(record).await.map_err(EngineError::from)?;
        let write = Write::InsertCredential(Box::new(credential.clone()));
        self.store.commit(vec![write]).await?;
        Ok(credential)
    }

    /// Begins a session of whoever has the passkey that signed.
    ///
    /// # Errors
    /// [`PasskeyError`] when nobody has it, or it signed something else.
    pub async fn sign_in(
        &self,
        party: &RelyingParty,
        purpose: &str,
        signed: &Signed,
    ) -> Result<(Secret, Caller), PasskeyError> {
        let secret = Hash::of(signed.passkey.as_bytes());
        let found = self.store.credential_by_secret(&secret).await;
        let found = found.map_err(IdentityError::from)?;
        let passkey =
            found.filter(|one| !ended(one, self.clock.now()) && seal::holds(&self.keys, one));
        let passkey = passkey.ok_or(PasskeyError::Unknown)?;
        let known = enrolled(&passkey).ok_or(PasskeyError::Unknown)?;
        let holder = super::parse_subject(&passkey.holder);
        if let Some(SubjectId::Person(person)) = holder
            && let Some(known) = self.active.borrow().directory.people.get(&person)
            && (known.provided || !known.accounts.is_empty())
        {
            return Err(PasskeyError::SignsOnly(person));
        }
        // What strangers spend is kept for a while; whoever names no passkey spends nothing.
        self.challenges
            .spend(&signed.challenge, purpose, self.clock.now())?;
        let challenge = challenge::value(&signed.challenge);
        self.check(party, &passkey.id, &known, &challenge, signed)?;
        Ok(self.begin_session(&passkey).await?)
    }

    async fn begin_session(
        &self,
        passkey: &StoredCredential,
    ) -> Result<(Secret, Caller), IdentityError> {
        let holder = super::parse_subject(&passkey.holder).ok_or(IdentityError::Invalid)?;
        let directory = self.active.borrow().directory.clone();
        let subject = directory
            .resolve(&holder)
            .ok_or_else(|| IdentityError::Disabled(holder.clone()))?;
        let issue = Issue {
            kind: CredentialKind::Session,
            holder,
            issued_by: None,
            lineage: super::lineage_of(passkey),
            parent: Some(passkey.id.clone()),
            account: None,
            valid_for: SESSION,
        };
        let (secret, credential) = self.issue(&issue).await?;
        let passkeys = vec![passkey.clone()];
        Ok((
            secret,
            Caller {
                subject,
                on_behalf_of: Vec::new(),
                through: None,
                credential,
                passkeys,
            },
        ))
    }

    /// What a passkey of the caller signed of a vote, with that passkey.
    ///
    /// # Errors
    /// [`PasskeyError`] when it is not one of the caller's, the challenge is stale, or the signature
    /// is not over this statement. The engine compares the statement with the vote it records.
    pub fn signature<'a>(
        &self,
        party: &RelyingParty,
        caller: &'a Caller,
        (purpose, signed): (&str, &Signed),
        statement: impl FnOnce(Hash, Timestamp) -> ApprovalStatement,
    ) -> Result<(PasskeySignature, &'a StoredCredential), PasskeyError> {
        let mine = |one: &&StoredCredential| {
            enrolled(one).is_some_and(|known| known.passkey == signed.passkey)
        };
        let passkey = caller.passkeys.iter().find(mine);
        let passkey = passkey.ok_or(PasskeyError::Unknown)?;
        let known = enrolled(passkey).ok_or(PasskeyError::Unknown)?;
        if !known.countersigned {
            return Err(PasskeyError::Alone);
        }
        let now = self.clock.now();
        let until = self.challenges.spend(&signed.challenge, purpose, now)?;
        let nonce = challenge::value(&signed.challenge);
        let statement = statement(nonce, until);
        let text = statement.to_text().map_err(internal)?;
        let challenge = statement.challenge().map_err(internal)?;
        self.check(party, &passkey.id, &known, &challenge, signed)?;
        let signature = PasskeySignature {
            statement: text,
            passkey: known.passkey.clone(),
            public_key: known.public_key.clone(),
            backup_eligible: known.backup_eligible,
            site: party.id.clone(),
            origin: party.origin.clone(),
            client_data: signed.client_data.clone(),
            authenticator_data: signed.authenticator_data.clone(),
            signature: signed.signature.clone(),
        };
        Ok((signature, passkey))
    }

    /// Checks that a passkey signed this challenge on this site, and counts the use.
    fn check(
        &self,
        party: &RelyingParty,
        id: &CredentialId,
        known: &Enrolled,
        challenge: &Hash,
        signed: &Signed,
    ) -> Result<(), PasskeyError> {
        let assertion = Assertion {
            client_data: part(&signed.client_data, "client_data")?,
            authenticator_data: part(&signed.authenticator_data, "authenticator_data")?,
            signature: part(&signed.signature, "signature")?,
        };
        let credential = webauthn::Credential {
            id: part(&known.passkey, "passkey")?,
            public_key: part(&known.public_key, "public_key")?,
            counter: known.counter,
            backup_eligible: known.backup_eligible,
        };
        let asserted = webauthn::verify(party, &challenge.0, &credential, &assertion)?;
        self.counts.note(id, known.counter, asserted.counter)
    }
}

/// The passkeys of a person that are good at `now`, newest first.
///
/// # Errors
/// The store can't be read.
pub async fn good(
    store: &dyn Store,
    keys: &Keys,
    person: &PersonId,
    now: Timestamp,
) -> Result<Vec<StoredCredential>, StoreError> {
    let holder = SubjectId::Person(person.clone()).to_string();
    let mut all = store.credentials(Some(&holder)).await?;
    let is_passkey = |one: &StoredCredential| one.kind == CredentialKind::Passkey;
    all.retain(|one| is_passkey(one) && !ended(one, now) && seal::holds(keys, one));
    Ok(all)
}

/// Whether the passkey of a stored vote is still its voter's.
///
/// # Errors
/// The store can't be read.
pub async fn still_signs(
    store: &dyn Store,
    keys: &Keys,
    vote: &Vote,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(signature) = &vote.signature else {
        return Ok(false);
    };
    let passkeys = good(store, keys, &vote.voter, now).await?;
    Ok(passkeys.iter().any(|one| {
        one.id == vote.credential.id
            && enrolled(one).is_some_and(|known| {
                known.countersigned
                    && known.public_key == signature.public_key
                    && known.site == signature.site
            })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_name_under_tls_or_this_machine() {
        let id = |url: &str| site(url).map(|party| (party.id, party.origin)).ok();
        let named = |id: &str, origin: &str| Some((id.to_owned(), origin.to_owned()));
        let gate = "https://gate.example.com";
        assert_eq!(id(gate), named("gate.example.com", gate));
        let port = "https://gate.example.com:8443";
        assert_eq!(id(port), named("gate.example.com", port));
        let local = "http://localhost:7070";
        assert_eq!(id(local), named("localhost", local));
        let usual = "https://Gate.example.com:443";
        assert_eq!(id(usual), named("gate.example.com", gate));
        for url in [
            "http://gate.example.com",
            "https://10.0.0.1",
            "http://127.0.0.1:7",
            "https://[::1]",
            "x",
            "",
        ] {
            assert_eq!(id(url), None, "{url}");
        }
    }

    #[test]
    fn a_counter_that_does_not_grow_tells_of_a_copy() {
        let (counts, id) = (Counts::default(), CredentialId::from_bits(1));
        for (now, good) in [(5, false), (6, true), (6, false), (9, true), (0, false)] {
            assert_eq!(counts.note(&id, 5, now).is_ok(), good, "{now}");
        }
        let other = CredentialId::from_bits(2);
        for _ in 0..2 {
            assert!(counts.note(&other, 0, 0).is_ok());
        }
    }
}
