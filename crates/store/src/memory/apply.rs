//! What each write does to the tables in memory.
//!
//! In scope: the same conflicts and refusals as the SQL schema's, under the same names.
//! Invariant: a case moves only forward; a use or a revocation is never taken back.

use std::collections::BTreeSet;

use countersign_core::{
    canonical::Hash,
    id::{CredentialId, PermitId, PersonId, RequestId},
    time::Timestamp,
};

use super::state::{Answer, Batch, Kept};
use crate::{
    ActiveBundle, CaseWrite, CredentialKind, Delivery, StoreError, StoredCredential, Write,
    row::{self, CaseRow, DANGLING, DELIVERIES_KEPT, IDEMPOTENCY_KEPT},
};

fn refused(name: &str) -> StoreError {
    StoreError::Refused(name.into())
}

impl Batch<'_> {
    pub(super) fn apply(&mut self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::InsertCase(write) => self.insert_case(*write),
            Write::SwapCase(write) => self.swap_case(*write),
            Write::InsertPermit {
                permit, request, ..
            } => self.insert_permit(permit, request),
            Write::Record(record) => {
                self.state.last_record += 1;
                self.insert(|s| &mut s.outbox, self.state.last_record, record)
            }
            Write::Acknowledge(seq) => {
                let reached: Vec<_> = self.state.outbox.range(..=seq).map(|(n, _)| *n).collect();
                for number in reached {
                    self.put(|s| &mut s.outbox, number, None);
                }
                Ok(())
            }
            Write::ActivateBundle { bundle, replaces } => self.activate(*bundle, replaces),
            Write::ChangeDirectory(entry) => {
                let last = self.state.changes.last_key_value();
                let next = last.map_or(0, |(number, _)| number + 1);
                self.insert(|s| &mut s.changes, next, entry)
            }
            Write::InsertCredential(credential) => self.insert_credential(*credential),
            Write::UseCredential { id, at } => self.use_credential(&id, at),
            Write::RevokeCredential { id, at } => self.revoke_tree(id, at),
            Write::RevokeHolder { holder, at } => {
                self.revoke_where(at, true, |credential| credential.holder == holder);
                Ok(())
            }
            Write::RememberUnknown { key, .. } => {
                self.put(|s| &mut s.unknown, key, Some(()));
                Ok(())
            }
            Write::ForgetUnknown { key } => {
                self.put(|s| &mut s.unknown, key, None);
                Ok(())
            }
            Write::PutCard(card) => {
                if !self.state.cases.contains_key(&card.request) {
                    return Err(refused(DANGLING));
                }
                let key = (
                    card.request.clone(),
                    card.channel.clone(),
                    card.place.clone(),
                );
                self.put(|s| &mut s.cards, key, Some(card));
                Ok(())
            }
            Write::PutDelivery(one) => self.put_delivery(one),
            Write::Provision { key, value } => {
                self.put(|s| &mut s.provisioned, key, value);
                Ok(())
            }
            Write::Set { key, value } => {
                self.put(|s| &mut s.settings, key, Some(value));
                Ok(())
            }
            Write::Idempotent {
                subject,
                key,
                body,
                answer,
                at,
            } => self.keep_answer((subject, key), Answer { body, answer, at }),
        }
    }

    fn put_delivery(&mut self, one: Delivery) -> Result<(), StoreError> {
        let key = (one.gate.clone(), one.key.clone());
        let before = self.state.deliveries.get(&key);
        if before.is_some_and(|before| before.done) {
            return Err(refused("delivery_was_answered"));
        }
        let at = before.map_or(one.at, |before| before.at);
        let oldest = one.at.0.saturating_sub(DELIVERIES_KEPT);
        let all = self.state.deliveries.iter();
        let old = all.filter(|(_, one)| one.done && one.at.0 < oldest);
        let old: Vec<_> = old.map(|(key, _)| key.clone()).collect();
        for key in old {
            self.put(|s| &mut s.deliveries, key, None);
        }
        let one = Delivery { at, ..one };
        self.put(|s| &mut s.deliveries, key, Some(one));
        Ok(())
    }

    fn insert_case(&mut self, write: CaseWrite) -> Result<(), StoreError> {
        let row = CaseRow::of(&write)?;
        row::encode_new(&write.case)?;
        if row.version != 0 {
            return Err(refused("case_begins_at_version_0"));
        }
        if self.state.cases.contains_key(&row.id) {
            return Err(StoreError::Conflict);
        }
        if row.is_attachable() {
            let id = row.id.clone();
            self.insert(|s| &mut s.attached, row.fixed.attach_key, id)?;
        }
        let kept = Kept {
            envelopes: joined(Vec::new(), write.envelopes)?,
            case: write.case,
            row,
        };
        self.insert(|s| &mut s.cases, kept.row.id.clone(), kept)
    }

    fn swap_case(&mut self, write: CaseWrite) -> Result<(), StoreError> {
        let row = CaseRow::of(&write)?;
        let stored = self.state.cases.get(&row.id);
        let before = stored.filter(|kept| kept.row.version.checked_add(1) == Some(row.version));
        let Kept {
            row: old,
            envelopes,
            ..
        } = before.ok_or(StoreError::Conflict)?;
        if old.fixed != row.fixed {
            return Err(refused("case_request_is_fixed"));
        }
        if !may_follow(old.phase, row.phase) {
            return Err(refused("case_phase_moves_forward"));
        }
        if old.permit.is_some() && old.permit != row.permit {
            return Err(refused("case_permit_is_fixed"));
        }
        let standing = envelopes
            .iter()
            .filter(|(voter, _)| row.voters.contains(voter));
        let kept = Kept {
            envelopes: joined(standing.cloned().collect(), write.envelopes)?,
            case: write.case,
            row,
        };
        if old.is_attachable() && !kept.row.is_attachable() {
            self.put(|s| &mut s.attached, kept.row.fixed.attach_key, None);
        }
        self.put(|s| &mut s.cases, kept.row.id.clone(), Some(kept));
        Ok(())
    }

    fn insert_permit(&mut self, permit: PermitId, request: RequestId) -> Result<(), StoreError> {
        self.insert(|s| &mut s.permits, permit.clone(), request.clone())?;
        self.insert(|s| &mut s.permitted, request, permit)
    }

    fn activate(&mut self, bundle: ActiveBundle, replaces: Option<Hash>) -> Result<(), StoreError> {
        if self.state.bundle.get(&()).map(|bundle| bundle.hash) != replaces {
            return Err(StoreError::Conflict);
        }
        let changes: Vec<_> = self.state.changes.keys().copied().collect();
        for number in changes {
            self.put(|s| &mut s.changes, number, None);
        }
        self.put(|s| &mut s.bundle, (), Some(bundle));
        Ok(())
    }

    fn insert_credential(&mut self, credential: StoredCredential) -> Result<(), StoreError> {
        let parent = credential.parent.as_ref();
        let parent = parent.and_then(|parent| self.state.credentials.get(parent));
        if parent.is_some_and(|parent| parent.revoked.is_some()) {
            return Err(refused("credential_parent_is_revoked"));
        }
        let kinds = ["person:", "agent:", "workload:"];
        if !kinds.iter().any(|kind| credential.holder.starts_with(kind)) {
            return Err(refused("credential_holder_has_a_kind"));
        }
        let of_people = [
            CredentialKind::Session,
            CredentialKind::Passkey,
            CredentialKind::Account,
        ];
        if of_people.contains(&credential.kind) && !credential.holder.starts_with("person:") {
            return Err(refused("session_is_a_persons"));
        }
        if credential.kind != CredentialKind::Link && credential.used.is_some() {
            return Err(refused("only_links_are_used"));
        }
        let id = credential.id.clone();
        self.insert(|s| &mut s.secrets, credential.secret, id.clone())?;
        self.insert(|s| &mut s.credentials, id, credential)
    }

    fn use_credential(&mut self, id: &CredentialId, at: Timestamp) -> Result<(), StoreError> {
        let stored = self.state.credentials.get(id);
        let fresh = stored.filter(|c| c.used.is_none() && c.revoked.is_none());
        let mut credential = fresh.cloned().ok_or(StoreError::Conflict)?;
        if credential.kind != CredentialKind::Link {
            return Err(refused("only_links_are_used"));
        }
        credential.used = Some(at);
        self.put(|s| &mut s.credentials, id.clone(), Some(credential));
        Ok(())
    }

    fn revoke_tree(&mut self, id: CredentialId, at: Timestamp) -> Result<(), StoreError> {
        if !self.state.credentials.contains_key(&id) {
            return Err(StoreError::Conflict);
        }
        let (mut tree, mut size) = (BTreeSet::from([id]), 0);
        while tree.len() > size {
            size = tree.len();
            let known = self.state.credentials.values();
            let parented = known.filter(|c| c.parent.as_ref().is_some_and(|p| tree.contains(p)));
            let children: Vec<_> = parented.map(|c| c.id.clone()).collect();
            tree.extend(children);
        }
        self.revoke_where(at, false, |credential| tree.contains(&credential.id));
        Ok(())
    }

    fn revoke_where(
        &mut self,
        at: Timestamp,
        with_holder: bool,
        wanted: impl Fn(&StoredCredential) -> bool,
    ) {
        let known = self.state.credentials.values();
        let standing: Vec<_> = known
            .filter(|credential| credential.revoked.is_none() && wanted(credential))
            .cloned()
            .collect();
        for mut credential in standing {
            credential.revoked = Some(at);
            credential.revoked_with_holder = with_holder;
            self.put(
                |s| &mut s.credentials,
                credential.id.clone(),
                Some(credential),
            );
        }
    }

    fn keep_answer(&mut self, key: (String, String), answer: Answer) -> Result<(), StoreError> {
        let oldest = answer.at.0.saturating_sub(IDEMPOTENCY_KEPT);
        let stored = self.state.answers.iter();
        let old = stored.filter(|(_, kept)| kept.at.0 < oldest);
        let old: Vec<_> = old.map(|(key, _)| key.clone()).collect();
        for key in old {
            self.put(|s| &mut s.answers, key, None);
        }
        self.insert(|s| &mut s.answers, key, answer)
    }

    /// Whether everything that these writes refer to is stored. Asked last, because one commit
    /// brings the running case and its permit in either order.
    pub(super) fn check_references(&self, touched: &Touched) -> Result<(), StoreError> {
        let state = &*self.state;
        let owns = |case: &RequestId| {
            let kept = state.cases.get(case);
            let permit = kept.and_then(|kept| kept.row.permit.as_ref());
            permit.is_none_or(|permit| state.permits.get(permit) == Some(case))
        };
        let sound = touched.cases.iter().all(owns)
            && touched
                .permitted
                .iter()
                .all(|id| state.cases.contains_key(id))
            && touched
                .parents
                .iter()
                .all(|id| state.credentials.contains_key(id));
        if sound {
            Ok(())
        } else {
            Err(refused(DANGLING))
        }
    }
}

/// What a commit refers to.
#[derive(Default)]
pub(super) struct Touched {
    cases: Vec<RequestId>,
    permitted: Vec<RequestId>,
    parents: Vec<CredentialId>,
}

impl Touched {
    pub(super) fn by(writes: &[Write]) -> Self {
        let mut touched = Self::default();
        for write in writes {
            match write {
                Write::InsertCase(write) | Write::SwapCase(write) => {
                    touched.cases.push(write.case.request.id.clone());
                }
                Write::InsertPermit { request, .. } => touched.permitted.push(request.clone()),
                Write::InsertCredential(credential) => {
                    touched.parents.extend(credential.parent.clone());
                }
                _ => {}
            }
        }
        touched
    }
}

/// Envelopes with further ones, one a voter.
fn joined(
    mut envelopes: Vec<(PersonId, Vec<u8>)>,
    new: Vec<(PersonId, Vec<u8>)>,
) -> Result<Vec<(PersonId, Vec<u8>)>, StoreError> {
    for (voter, envelope) in new {
        if envelopes.iter().any(|(other, _)| *other == voter) {
            return Err(StoreError::Conflict);
        }
        envelopes.push((voter, envelope));
    }
    Ok(envelopes)
}

/// Whether a case may go from one phase to another.
fn may_follow(before: &str, after: &str) -> bool {
    let finished = matches!(after, "succeeded" | "failed" | "unknown");
    match before {
        _ if before == after => true,
        "held" => !finished && after != "running",
        "approved" => !finished,
        "running" => finished,
        _ => false,
    }
}
