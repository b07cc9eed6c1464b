//! Issuing credentials: recorded, then stored, then given out.
//!
//! In scope: links, sessions, tokens and delegations.
//! Out of scope: who may have one; passkeys, which their holders make.
//! Invariant: what is stored is sealed and was recorded before. Names and claims are in the evidence,
//! not in the leaf.

use countersign_core::{
    id::CredentialId,
    subject::{SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_evidence::body::{self, Body, CredentialIssued};
use countersign_store::{CredentialKind, StoredCredential, Write};
use serde_json::{Map, Value, json};

use super::{
    ACCOUNT, Identity, IdentityError, Issue, account_of, resolved, seal,
    secret::{Kind, Secret},
};
use crate::{engine::EngineError, ids, log::Record, vault::Of};

/// What is issued beside what every credential has.
#[derive(Debug, Default)]
pub(super) struct Further {
    /// Its name, where that is not a new one.
    pub(super) id: Option<CredentialId>,
    /// What it stands on, under its seal.
    pub(super) extra: Map<String, Value>,
    /// What is recorded of it.
    pub(super) evidence: Map<String, Value>,
    /// What is shown of its kind; a token where it is not said.
    pub(super) kind: Option<Kind>,
}

impl Identity {
    /// Makes a credential and the writes and record that issue it. Nothing is stored yet.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn prepare(
        &self,
        issue: &Issue,
    ) -> Result<(Secret, StoredCredential, Record), EngineError> {
        self.prepare_with(issue, Further::default())
    }

    fn prepare_with(
        &self,
        issue: &Issue,
        further: Further,
    ) -> Result<(Secret, StoredCredential, Record), EngineError> {
        let now = self.clock.now();
        let kind = further.kind.unwrap_or(match issue.kind {
            CredentialKind::Link => Kind::Link,
            CredentialKind::Session => Kind::Session,
            CredentialKind::Token | CredentialKind::Passkey | CredentialKind::Account => {
                Kind::Token
            }
        });
        let secret = Secret::new(kind).map_err(|error| EngineError::Internal(error.to_string()))?;
        let id = match further.id {
            Some(id) => id,
            None => CredentialId::from_bits(ids::bits(now)?),
        };
        let mut credential = StoredCredential {
            id,
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
        let mut extra = further.extra;
        extra.insert("lineage".into(), json!(issue.lineage));
        if let Some(account) = &issue.account {
            extra.insert(ACCOUNT.into(), json!(account));
        }
        seal::put(&self.keys, &mut credential, Value::Object(extra))
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let record = self.issued(&credential, &issue.holder, further.evidence, now);
        Ok((secret, credential, record))
    }

    fn issued(
        &self,
        credential: &StoredCredential,
        holder: &SubjectId,
        further: Map<String, Value>,
        at: Timestamp,
    ) -> Record {
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
                CredentialKind::Account => body::CredentialKind::Account,
            },
            passkey: None,
        });
        let mut evidence = json!({
            "holder": credential.holder,
            "issued_by": credential.issued_by,
            "parent": credential.parent,
            "expires": credential.expires,
            "provider": account_of(credential).map(|account| account.provider),
        });
        // What a machine's own issuer says of a run can name whoever started it.
        let of = match further.is_empty() {
            true => Of::default(),
            false => {
                let owner = resolved(&self.active.borrow(), holder).ok();
                owner.map_or_else(Of::default, |holder| Of::asked(&SubjectChain::of(holder)))
            }
        };
        if let Some(fields) = evidence.as_object_mut() {
            fields.extend(further);
        }
        Record {
            of,
            ..Record::control(at, body, evidence)
        }
    }

    /// Issues a credential: recorded, then stored, then given out.
    ///
    /// # Errors
    /// [`IdentityError`] when it could not be recorded or stored; then it does not exist.
    pub async fn issue(&self, issue: &Issue) -> Result<(Secret, StoredCredential), IdentityError> {
        let (secret, credential, record) = self.prepare(issue)?;
        self.log.record(record).await.map_err(EngineError::from)?;
        self.put(&credential).await?;
        Ok((secret, credential))
    }

    /// The same with what it stands on, which has to stand when it begins: nothing that ends it comes in
    /// between. A delegation is known before it exists: what its recipient asks from then on, its maker does
    /// not decide.
    ///
    /// # Errors
    /// [`IdentityError`] when it stands no more, or could not be recorded or stored; then it does not exist.
    pub(super) async fn issue_with(
        &self,
        issue: &Issue,
        further: Further,
    ) -> Result<(Secret, StoredCredential), IdentityError> {
        let (secret, credential, record) = self.prepare_with(issue, further)?;
        self.log.record(record).await.map_err(EngineError::from)?;
        let _unchanged = self.changing.read().await;
        self.standing(&credential, self.clock.now()).await?;
        self.delegations.add(&credential);
        let stored = self.put(&credential).await;
        if stored.is_err() {
            self.delegations.remove(&credential.id);
        }
        stored.map(|()| (secret, credential))
    }

    async fn put(&self, credential: &StoredCredential) -> Result<(), IdentityError> {
        let insert = Write::InsertCredential(Box::new(credential.clone()));
        self.store.commit(vec![insert]).await?;
        Ok(())
    }
}
