//! Whether what decisions and votes rest on is on record itself: bundles of policy, credentials.
//!
//! In scope: that a bundle was activated before it decided, and that a credential was issued to the
//! voter, and not revoked, before it voted.
//! Out of scope: what a bundle says, and who is in which group, of which the log has no record.
//! Invariant: a bundle or a credential that was put into the database by hand leaves a finding as soon
//! as it is used. Memory grows with the number of credentials and bundles.

use std::collections::HashMap;

use countersign_core::{
    canonical::Hash,
    id::CredentialId,
    time::{Span, Timestamp},
};

use super::{Problem, votes::Cast};
use crate::{
    body::{ApprovalDecided, Assurance, Body, CredentialKind, EmergencyReviewed, EnrolledKey},
    leaf::Leaf,
    reference::Ref,
};

/// How long a decision that was under way may rest on the bundle that was active before.
const UNDER_WAY: Span = Span::minutes(1);

/// Changes with which everything ends that its subject had to prove who they are.
const ENDS_CREDENTIALS: [&str; 3] = ["disable_", "stop_", "unlink_"];

#[derive(Debug)]
struct Credential {
    holder: Ref,
    issuer: Option<Ref>,
    /// The most that a vote with it can say of its voter; `None` for what never votes.
    votes: Option<Assurance>,
    passkey: Option<EnrolledKey>,
    revoked: Option<Timestamp>,
}

/// The newest bundle that decided something.
#[derive(Debug, Clone, Copy)]
struct InUse {
    activation: u64,
    since: Timestamp,
}

/// Every bundle and credential seen so far.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    credentials: HashMap<CredentialId, Credential>,
    /// The number of each bundle's last activation.
    bundles: HashMap<Hash, u64>,
    activations: u64,
    in_use: Option<InUse>,
}

impl Grounds {
    pub(super) fn apply(&mut self, leaf: &Leaf, cast: &Cast, problems: &mut Vec<Problem>) {
        self.note(leaf);
        match &leaf.body {
            Body::PolicyDecided(decided) => self.decided(decided.bundle, leaf.at, problems),
            Body::ApprovalDecided(vote) => self.voted(vote, cast, leaf.at, problems),
            Body::EmergencyReviewed(review) => self.reviewed(review, leaf.at, problems),
            _ => {}
        }
    }

    /// Takes what was issued, revoked or activated.
    pub(super) fn note(&mut self, leaf: &Leaf) {
        match &leaf.body {
            Body::CredentialIssued(issued) => {
                let credential = Credential {
                    holder: issued.holder,
                    issuer: issued.issuer,
                    votes: match issued.kind {
                        CredentialKind::Account => Some(Assurance::Chat),
                        CredentialKind::Session => Some(Assurance::Session),
                        CredentialKind::Passkey => Some(Assurance::Passkey),
                        CredentialKind::Link | CredentialKind::Token => None,
                    },
                    passkey: issued.passkey.clone(),
                    revoked: None,
                };
                let id = issued.credential.clone();
                self.credentials.entry(id).or_insert(credential);
            }
            Body::CredentialRevoked(revoked) => {
                if let Some(known) = self.credentials.get_mut(&revoked.credential) {
                    known.revoked.get_or_insert(leaf.at);
                }
            }
            Body::DirectoryChanged(changed)
                if ENDS_CREDENTIALS
                    .iter()
                    .any(|what| changed.what.starts_with(what)) =>
            {
                // What they had is void for good, also once they may act again.
                let of_theirs = |one: &&mut Credential| one.holder == changed.subject;
                for known in self.credentials.values_mut().filter(of_theirs) {
                    known.revoked.get_or_insert(leaf.at);
                }
            }
            Body::PolicyActivated(activated) => {
                self.activations += 1;
                self.bundles.insert(activated.bundle, self.activations);
            }
            _ => {}
        }
    }

    /// Whether a vote was cast with a passkey that is revoked by now.
    pub(super) fn is_revoked(&self, vote: &ApprovalDecided) -> bool {
        let known = self.credentials.get(&vote.credential);
        vote.assurance == Assurance::Passkey && known.is_some_and(|one| one.revoked.is_some())
    }

    /// An activation counts from the first decision that rests on it: a crash can leave it recorded
    /// and the bundle before it active.
    fn decided(&mut self, bundle: Hash, at: Timestamp, problems: &mut Vec<Problem>) {
        let Some(activation) = self.bundles.get(&bundle).copied() else {
            problems.push(Problem::BundleNotActive { bundle });
            return;
        };
        match self.in_use {
            Some(newest) if activation < newest.activation => {
                if at > newest.since.after(UNDER_WAY) {
                    problems.push(Problem::BundleNotActive { bundle });
                }
            }
            Some(newest) if activation == newest.activation => {}
            _ => {
                let since = at;
                self.in_use = Some(InUse { activation, since });
            }
        }
    }

    /// Whether the key that signed a vote is the one that was enrolled as the voter's passkey.
    pub(super) fn signed(&self, vote: &ApprovalDecided, cast: &Cast, problems: &mut Vec<Problem>) {
        let Some(key) = &cast.signed else {
            // A signature that is missing or does not hold is a finding of its own.
            return;
        };
        let voter = vote.voter;
        let known = self.credentials.get(&vote.credential);
        let enrolled = known.filter(|one| one.holder == voter);
        if enrolled.and_then(|one| one.passkey.as_ref()) != Some(key) {
            problems.push(Problem::PasskeyNotEnrolled { voter });
        }
    }

    /// A review needs a session of whoever reviews, which nobody had revoked.
    fn reviewed(&self, review: &EmergencyReviewed, at: Timestamp, problems: &mut Vec<Problem>) {
        let known = self.credentials.get(&review.credential);
        let theirs = known.is_some_and(|known| {
            known.holder == review.by
                && known.votes >= Some(Assurance::Session)
                && known.revoked.is_none_or(|revoked| at <= revoked)
        });
        if !theirs {
            let credential = review.credential.clone();
            problems.push(Problem::ReviewCredential { credential });
        }
    }

    fn voted(
        &self,
        vote: &ApprovalDecided,
        cast: &Cast,
        at: Timestamp,
        problems: &mut Vec<Problem>,
    ) {
        let credential = || vote.credential.clone();
        let Some(known) = self.credentials.get(&vote.credential) else {
            let credential = credential();
            problems.push(Problem::CredentialUnknown { credential });
            return;
        };
        match known.votes {
            None => {
                let credential = credential();
                problems.push(Problem::CredentialNeverVotes { credential });
            }
            Some(most) if vote.assurance > most => {
                let credential = credential();
                problems.push(Problem::CredentialTooWeak { credential });
            }
            Some(_) => {}
        }
        if known.holder != vote.voter {
            let credential = credential();
            problems.push(Problem::CredentialOfOther { credential });
        }
        // With a passkey, whoever made the session possible is named, too.
        let of_session = known.passkey.is_some() && known.issuer.is_none();
        if known.issuer != vote.issuer && !of_session {
            let credential = credential();
            problems.push(Problem::CredentialIssuerDiffers { credential });
        }
        if known.revoked.is_some_and(|revoked| at > revoked) {
            let credential = credential();
            problems.push(Problem::CredentialRevoked { credential });
        }
        self.signed(vote, cast, problems);
    }
}
