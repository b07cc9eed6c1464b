//! Records of a request, for tests.

use std::sync::Arc;

use countersign_core::{
    canonical::Hash,
    digest::ActionDigest,
    id::{CredentialId, PermitId, RequestId},
    subject::SubjectId,
    time::{Span, Timestamp},
};
use countersign_evidence::{
    body::{
        self, Assurance, Body, CloseReason, CommentKind, Decision, OutcomeStatus, Phase, Verdict,
    },
    evidence::{Evidence, sealing::NoKeys},
    leaf::{InRequest, Leaf, NO_PREVIOUS, VERSION},
    reference::{Pseudonyms, Ref},
};
use serde_json::{Value, json};

use crate::streams::follow::{Entry, Place};

pub(super) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

pub(super) fn names() -> Pseudonyms {
    Pseudonyms::new([1; 32])
}

pub(super) fn dana() -> SubjectId {
    SubjectId::Person("dana@example.com".parse().unwrap())
}

fn by() -> Ref {
    names().of(&dana())
}

/// A record of the log, at `at` milliseconds; `of` is its request and its number there.
pub(super) fn entry(
    index: u64,
    at: i64,
    of: Option<(u128, u64)>,
    body: Body,
    more: Value,
) -> Entry {
    let evidence = Evidence::open_details([1; 32], &more).unwrap();
    let leaf = Leaf {
        at: Timestamp(at),
        digest: of.map(|_| ActionDigest(Hash::of(b"d"))),
        body,
        evidence: Some(evidence.commitment()),
        instance: "i-1".into(),
        prev: NO_PREVIOUS,
        request: of.map(|(id, seq)| InRequest {
            id: RequestId::from_bits(id),
            seq,
        }),
        seq: index,
        v: VERSION,
    };
    Entry {
        at: Place {
            index,
            offset: index * 1_000,
        },
        hash: Hash::of(&leaf.to_bytes().unwrap()),
        leaf,
        evidence: evidence.to_bytes(),
        keys: Arc::new(NoKeys),
    }
}

/// The records of one request, a second apart.
pub(super) fn request(id: u128, evidence: &Value, bodies: Vec<Body>) -> Vec<Entry> {
    let numbered = (0_u64..).zip(bodies);
    let entry = |(seq, body)| {
        let at = 1_790_000_000_000 + i64::try_from(seq).unwrap() * 1_000;
        let more = if seq == 0 {
            evidence.clone()
        } else {
            json!({})
        };
        entry(seq, at, Some((id, seq)), body, more)
    };
    numbered.map(entry).collect()
}

pub(super) fn asked() -> Body {
    Body::ActionRequested(body::ActionRequested {
        actions: vec!["exec:git-push".parse().unwrap()],
        amends: None,
        gate: "exec".into(),
        requester: by(),
        self_refs: vec![by()],
    })
}

pub(super) fn decided(decision: Decision, phase: Phase) -> Body {
    Body::PolicyDecided(body::PolicyDecided {
        approvals: Vec::new(),
        bundle: Hash::of(b"bundle"),
        decision,
        phase,
        policies: vec!["p".parse().unwrap()],
        rules: vec![body::RuleShape {
            assurance: Assurance::Session,
            confirmation: false,
            emergency: true,
            expires: Span::minutes(30),
            name: "dba".parse().unwrap(),
            reason_required: false,
            review_within: Some(Span::minutes(60)),
            stages: vec![1],
            valid_for: Span::minutes(10),
        }],
    })
}

pub(super) fn vote(verdict: Verdict) -> Body {
    Body::ApprovalDecided(body::ApprovalDecided {
        assurance: Assurance::Session,
        credential: CredentialId::from_bits(1),
        digest: ActionDigest(Hash::of(b"d")),
        emergency: false,
        envelope: Hash::of(b"envelope"),
        in_place_of: None,
        lineage: Vec::new(),
        issuer: None,
        slots: Vec::new(),
        verdict,
        voter: by(),
    })
}

pub(super) fn said() -> Body {
    Body::Commented(body::Commented {
        about: None,
        by: by(),
        kind: CommentKind::Comment,
    })
}

pub(super) fn permitted() -> Body {
    Body::ActionPermitted(body::ActionPermitted {
        approvals: Vec::new(),
        bundle: Hash::of(b"bundle"),
        digest: ActionDigest(Hash::of(b"d")),
        expires: Timestamp(1),
        fills: Vec::new(),
        permit: PermitId::from_bits(2),
        recovered: false,
    })
}

pub(super) fn outcome(status: OutcomeStatus, exit: Option<i32>) -> Body {
    Body::ActionOutcome(body::ActionOutcome {
        exit,
        permit: PermitId::from_bits(2),
        status,
    })
}

pub(super) fn closed(why: CloseReason) -> Body {
    Body::RequestClosed(body::RequestClosed {
        by: Some(by()),
        why,
    })
}
