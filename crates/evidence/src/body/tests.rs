//! One record of every kind, for this crate's tests.

use std::collections::BTreeSet;

use super::*;

fn rule() -> RuleName {
    "dba".parse().unwrap()
}

fn reference() -> Ref {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn epoch(root: Hash) -> Body {
    Body::EpochStarted(EpochStarted {
        checkpoint: Some(Head { root, size: 50 }),
        dropped: 2,
        former: "log.example".into(),
        found: "short".into(),
        kept: Head { root, size: 40 },
        missing: 10,
        unknown: 1,
        unrecorded: 0,
    })
}

pub(crate) fn one_of_each() -> Vec<Body> {
    let (by, digest, hash) = (reference(), ActionDigest(Hash::of(b"d")), Hash::of(b"h"));
    let (credential, permit) = (CredentialId::from_bits(1), PermitId::from_bits(2));
    let request = Some(RequestId::from_bits(3));
    let slots = vec![Slot {
        rule: rule(),
        stage: 1,
    }];
    let text = || "text".to_owned();
    let counters = Counters {
        denied: 1,
        executed: 2,
        held: 3,
        permitted: 4,
        seen: 5,
    };
    let mut all = vec![
        Body::InstanceStarted(InstanceStarted {
            build: text(),
            checkpoint_size: 7,
        }),
        Body::Heartbeat(counters),
        epoch(hash),
        Body::KeyRotated(KeyRotated {
            current: text(),
            previous: Some(text()),
            purpose: KeyPurpose::Vote,
        }),
        Body::ActionRequested(ActionRequested {
            actions: vec!["write".parse().unwrap()],
            amends: request.clone(),
            gate: text(),
            requester: by,
            self_refs: vec![by],
        }),
        Body::SelfGrew(SelfGrew {
            refs: vec![by],
            why: text(),
        }),
        Body::ApprovalDecided(ApprovalDecided {
            assurance: Assurance::Passkey,
            credential: credential.clone(),
            digest,
            emergency: false,
            envelope: hash,
            in_place_of: None,
            lineage: Vec::new(),
            issuer: Some(by),
            slots,
            verdict: Verdict::Approve,
            voter: by,
        }),
        Body::ApprovalWithdrawn(ApprovalWithdrawn { voter: by }),
        Body::Commented(Commented {
            about: request,
            by,
            kind: CommentKind::Amendment,
        }),
        Body::Opened(Opened { by, page: text() }),
    ];
    all.push(decision(hash));
    all.extend(endings(by, digest, hash, permit));
    all.extend(controls(by, hash, credential));
    all
}

fn decision(hash: Hash) -> Body {
    Body::PolicyDecided(PolicyDecided {
        approvals: vec![rule()],
        bundle: hash,
        decision: Decision::Hold,
        phase: Phase::Claim,
        policies: vec!["prod-writes".parse().unwrap()],
        rules: vec![RuleShape {
            assurance: Assurance::Session,
            confirmation: true,
            emergency: false,
            expires: Span::minutes(30),
            name: rule(),
            reason_required: true,
            review_within: Some(Span::minutes(60)),
            stages: vec![1, 2],
            valid_for: Span::minutes(90),
        }],
    })
}

fn endings(by: Ref, digest: ActionDigest, hash: Hash, permit: PermitId) -> Vec<Body> {
    vec![
        Body::ActionPermitted(ActionPermitted {
            approvals: vec![rule()],
            bundle: hash,
            digest,
            expires: Timestamp(9),
            fills: vec![Fill {
                rule: rule(),
                stage: 0,
                voter: by,
            }],
            permit: permit.clone(),
            recovered: false,
        }),
        Body::ActionOutcome(ActionOutcome {
            exit: Some(-1),
            permit,
            status: OutcomeStatus::Failed,
        }),
        Body::RequestClosed(RequestClosed {
            by: Some(by),
            why: CloseReason::PolicyChanged,
        }),
        Body::GrantGiven(GrantGiven {
            until: Timestamp(9),
            uses: 20,
        }),
        Body::GrantUsed(GrantUsed {
            grant: RequestId::from_bits(7),
        }),
        Body::GrantEnded(GrantEnded { by }),
        Body::RequestEscalated(RequestEscalated { rule: rule() }),
        Body::EmergencyReviewed(EmergencyReviewed {
            by,
            credential: CredentialId::from_bits(5),
            rule: rule(),
        }),
        Body::EmergencyOverdue(EmergencyOverdue {
            review_by: Timestamp(5),
            rule: rule(),
        }),
    ]
}

fn controls(by: Ref, hash: Hash, credential: CredentialId) -> Vec<Body> {
    vec![
        Body::Refused(Refused {
            by: Some(by),
            code: "own_request".into(),
        }),
        Body::PolicyActivated(PolicyActivated {
            bundle: hash,
            by: ActivatedBy::FirstStart,
            previous: Some(hash),
        }),
        Body::CredentialIssued(CredentialIssued {
            credential: credential.clone(),
            holder: by,
            issuer: Some(by),
            kind: CredentialKind::Passkey,
            passkey: Some(EnrolledKey {
                key: hash,
                site: "gate.example.com".into(),
                countersigned: true,
            }),
        }),
        Body::CredentialRevoked(CredentialRevoked { credential }),
        Body::DirectoryChanged(DirectoryChanged {
            subject: by,
            what: "joined".into(),
        }),
        Body::ChangeStored(ChangeStored {
            what: "people_and_policies".into(),
        }),
        Body::Recovered(Recovered {
            what: "administrator".into(),
        }),
        Body::SecurityEvent(SecurityEvent {
            code: "clock_jump".into(),
        }),
        Body::EvidenceErased(EvidenceErased {
            keys: vec![KeyId([1; 8])],
            subject: Some(by),
            why: Erasure::Person,
        }),
    ]
}

#[test]
fn the_names_of_kinds_are_fixed() {
    let names: Vec<String> = one_of_each()
        .iter()
        .map(|body| {
            let value = serde_json::to_value(body).unwrap();
            value.as_object().unwrap().keys().next().unwrap().clone()
        })
        .collect();
    let known: Vec<_> = one_of_each().iter().map(Body::kind).collect();
    assert_eq!(names, known);
    assert_eq!(
        BTreeSet::from_iter(known),
        Body::KINDS.iter().copied().collect()
    );
    expect_test::expect![[r#"
        instance.started
        heartbeat
        epoch.started
        key.rotated
        action.requested
        self.grew
        approval.decided
        approval.withdrawn
        commented
        opened
        policy.decided
        action.permitted
        action.outcome
        request.closed
        grant.given
        grant.used
        grant.ended
        request.escalated
        emergency.reviewed
        emergency.overdue
        refused
        policy.activated
        credential.issued
        credential.revoked
        directory.changed
        change.stored
        recovered
        security.event
        evidence.erased"#]]
    .assert_eq(&names.join("\n"));
}

#[test]
fn counters_count_what_their_names_say() {
    let mut counters = Counters::default();
    for body in one_of_each() {
        counters.count(&body);
    }
    // The one decision among them is made at a claim and counts nowhere.
    assert_eq!(
        counters,
        Counters {
            executed: 1,
            seen: 1,
            ..Counters::default()
        }
    );
}
