//! Which passkeys the log has enrolled, for whom, and which of them were revoked.
//!
//! In scope: comparing a vote's signature with the enrolment before it.
//! Out of scope: who countersigned the enrolment; that request's own records show it.
//! Invariant: a passkey counts only for the person, the key and the site it was enrolled with.

use std::collections::HashMap;

use countersign_core::{approval::vote::PasskeySignature, id::CredentialId};

use super::Problem;
use crate::{
    approval,
    body::{ApprovalDecided, Assurance, Body, CredentialKind, EnrolledKey},
    reference::Ref,
    vote::VoteStatement,
};

#[derive(Debug)]
struct Enrolled {
    holder: Ref,
    key: EnrolledKey,
    revoked: bool,
}

/// Every passkey seen so far.
#[derive(Debug, Default)]
pub(super) struct Passkeys {
    known: HashMap<CredentialId, Enrolled>,
}

impl Passkeys {
    /// Takes an enrolment or a revocation.
    pub(super) fn apply(&mut self, body: &Body) {
        match body {
            Body::CredentialIssued(issued) => {
                let key = issued.passkey.clone();
                if let Some(key) = key.filter(|_| issued.kind == CredentialKind::Passkey) {
                    let holder = issued.holder;
                    let revoked = false;
                    // The first one stays: a second of that name can't take its place.
                    self.known
                        .entry(issued.credential.clone())
                        .or_insert(Enrolled {
                            holder,
                            key,
                            revoked,
                        });
                }
            }
            Body::CredentialRevoked(gone) => {
                if let Some(enrolled) = self.known.get_mut(&gone.credential) {
                    enrolled.revoked = true;
                }
            }
            _ => {}
        }
    }

    /// Whether a vote was cast with a passkey that is revoked by now.
    pub(super) fn is_revoked(&self, vote: &ApprovalDecided) -> bool {
        vote.assurance == Assurance::Passkey
            && self
                .known
                .get(&vote.credential)
                .is_some_and(|one| one.revoked)
    }

    /// Checks what the passkey of a vote signed, where one is said to have.
    pub(super) fn check(
        &self,
        vote: &VoteStatement,
        signature: Option<&PasskeySignature>,
        problems: &mut Vec<Problem>,
    ) {
        let voter = vote.voter;
        let signature = match (signature, vote.signature, vote.assurance) {
            (None, None, Assurance::Chat | Assurance::Session) => return,
            (None, _, _) => return problems.push(Problem::SignatureMissing { voter }),
            (Some(signature), _, _) => signature,
        };
        let refused = |why| Problem::SignatureRefused { voter, why };
        let hash = approval::hash_of(signature).ok();
        if hash.is_none() || hash != vote.signature {
            return problems.push(refused(approval::InvalidApproval::Differs("signature")));
        }
        if let Err(why) = approval::verify(signature, vote) {
            problems.push(refused(why));
        }
        let of_voter = self.known.get(&vote.credential).filter(|one| {
            one.holder == voter
                && approval::key_hash(signature).is_ok_and(|key| key == one.key.key)
                && one.key.site == signature.site
        });
        match of_voter {
            None => problems.push(Problem::PasskeyNotEnrolled {
                passkey: vote.credential.clone(),
                voter,
            }),
            Some(one) if one.revoked => problems.push(Problem::PasskeyRevoked { voter }),
            Some(_) => {}
        }
    }
}
