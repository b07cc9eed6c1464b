//! What of an entry can be verified without any other, so that many are at once.
//!
//! In scope: its form, its hash, its evidence, the signature of a vote.
//! Out of scope: order, and everything that rests on earlier entries, which
//! [`Verifier::take`](super::Verifier::take) has.
//! Invariant: examining and taking is all of [`Verifier::entry`](super::Verifier::entry), which does
//! just that.

use std::sync::Arc;

use countersign_core::canonical::Hash;

use super::{
    Problem, check_evidence,
    votes::{self, Cast},
};
use crate::{
    body::Body,
    evidence::sealing::{KeyId, KeySource, NoKeys},
    frame::Frame,
    key::VerifyingKey,
    leaf::{InvalidLeaf, Leaf},
    merkle::leaf_hash,
};

/// Examines entries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Examiner {
    pub(super) votes: Option<Arc<[VerifyingKey]>>,
    /// Whether the entry's bytes are needed afterwards.
    pub(super) for_tiles: bool,
    pub(super) keys: Option<Arc<dyn KeySource>>,
}

/// An entry, examined by itself.
#[derive(Debug)]
pub struct Examined {
    pub(super) hash: Hash,
    pub(super) leaf: Result<Leaf, InvalidLeaf>,
    /// The leaf's bytes; none where no tiles are compared.
    pub(super) entry: Box<[u8]>,
    pub(super) cast: Cast,
    pub(super) problems: Vec<Problem>,
    pub(super) of_vote: Vec<Problem>,
    /// The keys of parts of the evidence that stayed closed.
    pub(super) closed: Vec<Option<KeyId>>,
}

impl Examiner {
    /// Verifies what needs no other entry.
    #[must_use]
    pub fn examine(&self, frame: Frame<'_>) -> Examined {
        let entry = if self.for_tiles { frame.leaf } else { b"" };
        let mut examined = Examined {
            hash: leaf_hash(frame.leaf),
            leaf: Leaf::parse(frame.leaf),
            entry: entry.into(),
            cast: Cast::default(),
            problems: Vec::new(),
            of_vote: Vec::new(),
            closed: Vec::new(),
        };
        let Ok(leaf) = &examined.leaf else {
            return examined;
        };
        let keys = self.keys.as_deref().unwrap_or(&NoKeys);
        let opened = check_evidence(leaf, frame.evidence, keys, &mut examined.problems);
        match (&leaf.body, &leaf.request) {
            (Body::ApprovalDecided(vote), Some(place)) => {
                let (known, problems) = (self.votes.as_deref(), &mut examined.of_vote);
                examined.cast = votes::check(leaf, place, vote, opened.as_ref(), known, problems);
            }
            (Body::ActionRequested(_), _) => examined.cast = Cast::asked(opened.as_ref()),
            _ => {}
        }
        examined.closed = opened.map(|opened| opened.closed).unwrap_or_default();
        examined
    }
}
