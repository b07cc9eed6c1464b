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

use super::Problem;
use crate::{
    body::{ApprovalDecided, Body, CredentialKind},
    leaf::Leaf,
    reference::Ref,
};

/// How long a decision that was under way may rest on the bundle that was active before.
const UNDER_WAY: Span = Span::minutes(1);

#[derive(Debug)]
struct Credential {
    holder: Ref,
    issuer: Option<Ref>,
    votes: bool,
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
    pub(super) fn apply(&mut self, leaf: &Leaf, problems: &mut Vec<Problem>) {
        match &leaf.body {
            Body::CredentialIssued(issued) => {
                let credential = Credential {
                    holder: issued.holder,
                    issuer: issued.issuer,
                    votes: issued.kind == CredentialKind::Session,
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
            Body::PolicyActivated(activated) => {
                self.activations += 1;
                self.bundles.insert(activated.bundle, self.activations);
            }
            Body::PolicyDecided(decided) => self.decided(decided.bundle, leaf.at, problems),
            Body::ApprovalDecided(vote) => self.voted(vote, leaf.at, problems),
            _ => {}
        }
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

    fn voted(&self, vote: &ApprovalDecided, at: Timestamp, problems: &mut Vec<Problem>) {
        let credential = || vote.credential.clone();
        let Some(known) = self.credentials.get(&vote.credential) else {
            let credential = credential();
            problems.push(Problem::CredentialUnknown { credential });
            return;
        };
        if !known.votes {
            let credential = credential();
            problems.push(Problem::CredentialNeverVotes { credential });
        }
        if known.holder != vote.voter {
            let credential = credential();
            problems.push(Problem::CredentialOfOther { credential });
        }
        if known.issuer != vote.issuer {
            let credential = credential();
            problems.push(Problem::CredentialIssuerDiffers { credential });
        }
        if known.revoked.is_some_and(|revoked| at > revoked) {
            let credential = credential();
            problems.push(Problem::CredentialRevoked { credential });
        }
    }
}
