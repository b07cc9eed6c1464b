//! Approval is not permission: what must hold when the requester claims.

use countersign_core::{
    id::PermitId,
    lifecycle::{Event, Fact},
    permit::{LogIndex, PERMIT_LIFETIME, PermitMismatch},
    request::Outcome,
    time::Span,
};

use crate::scene::{START, Scene, bot, check, permit, someone};

const ONE: &[&str] = &["r: 1 group:dba"];

#[test]
fn who_when_and_how_often() {
    check(&[
        (ONE, "claim", "not_approved"),
        (
            ONE,
            "ann+ claim:olga claim:rita claim",
            "approved not_requester not_requester running",
        ),
        (ONE, "ann+ claim claim", "approved running not_open"),
        (
            ONE,
            "ann+ claim done claim",
            "approved running succeeded not_open",
        ),
        (
            ONE,
            "ann+ claim failed claim",
            "approved running failed not_open",
        ),
        (
            ONE,
            "ann+ claim restart claim done",
            "approved running unknown not_open not_open",
        ),
        (ONE, "ann+ restart claim", "approved approved running"),
        (
            ONE,
            "ann+ claim ann~ ann- olgax",
            "approved running not_open not_open not_open",
        ),
        (
            ONE,
            "ann+ claim ann=0 olga^ +30d",
            "approved running running running running",
        ),
        (ONE, "done", "not_open"),
    ]);
}

#[test]
fn policy_decides_again() {
    check(&[
        (
            ONE,
            "ann+ claim:deny claim",
            "approved policy_changed/policy_changed not_open",
        ),
        (
            ONE,
            "ann+ claim:hold claim",
            "approved policy_changed/policy_changed not_open",
        ),
        (
            ONE,
            "claim:deny ann+ claim",
            "not_approved approved running",
        ),
    ]);
}

#[test]
fn policy_was_asked_with_exactly_the_approvals_given() {
    for approvals in [vec![], vec!["s"], vec!["r", "s"]] {
        let mut scene = Scene::new(ONE);
        scene.play("ann+");
        let Event::Claim(mut claim) = scene.claim(bot(), permit()) else {
            unreachable!()
        };
        claim.decided.approvals = approvals.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(
            scene.tell(Event::Claim(claim)),
            "policy_changed/policy_changed"
        );
        assert!(scene.intents.is_empty(), "{approvals:?}");
    }
}

#[test]
fn an_action_edited_in_the_store_does_not_run() {
    type Edit = fn(&mut countersign_core::request::Request);
    let edits: [Edit; 6] = [
        |request| request.action.arguments = serde_json::json!({ "argv": ["drop", "users"] }),
        |request| request.action.operation.push('x'),
        |request| request.action.session = serde_json::json!({ "role": "admin" }),
        |request| request.chain.requester.owner = None,
        |request| request.id = countersign_core::id::RequestId::from_bits(2),
        |request| request.nonce.0.0[0] ^= 1,
    ];
    for edit in edits {
        let mut scene = Scene::new(ONE);
        scene.play("ann+");
        edit(&mut scene.case.request);
        assert!(scene.play("claim").starts_with("stored_action_changed"));
        assert!(scene.intents.is_empty());
    }
}

#[test]
fn votes_for_another_digest_count_for_nothing() {
    let mut scene = Scene::new(ONE);
    scene.play("ann+");
    let argv = serde_json::json!({ "argv": ["drop", "users"] });
    scene.case.request.action.arguments = argv;
    let chain = scene.case.request.chain.clone();
    crate::scene::asked_by(&mut scene.case.request, chain);
    assert_eq!(scene.play("claim"), "no_longer_satisfied/held");
}

#[test]
fn an_outcome_names_its_permit() {
    let mut scene = Scene::new(ONE);
    scene.play("ann+ claim");
    let other = Event::Ended {
        permit: PermitId::from_bits(8),
        outcome: Outcome::Succeeded,
    };
    assert_eq!(scene.tell(other), "other_permit");
    assert_eq!(scene.play("done done"), "succeeded not_open");
}

#[test]
fn the_permit_is_for_this_digest_for_seconds() {
    let intent = || {
        let mut scene = Scene::new(ONE);
        scene.play("ann+ claim");
        (scene.case.request.digest, scene.intents.pop().unwrap())
    };
    let end = START.after(PERMIT_LIFETIME);
    let late = end.after(Span::from_millis(1));
    let (digest, one) = intent();
    assert_eq!((one.digest(), one.expires()), (digest, end));
    assert!(one.recorded(LogIndex(3)).spend(digest, end).is_ok());
    let lapsed = intent().1.recorded(LogIndex(3)).spend(digest, late);
    assert_eq!(lapsed, Err(PermitMismatch::Lapsed));
    let other = countersign_core::digest::ActionDigest(countersign_core::canonical::Hash::of(b""));
    let wrong = intent().1.recorded(LogIndex(3)).spend(other, START);
    assert_eq!(wrong, Err(PermitMismatch::OtherAction));
}

#[test]
fn the_facts_of_a_claim_are_in_order() {
    let mut scene = Scene::by_rita(ONE);
    scene.play("ann+ claim claim:rita");
    let names: Vec<_> = scene
        .facts
        .iter()
        .map(|fact| match fact {
            Fact::Voted { .. } => "voted",
            Fact::Approved { .. } => "approved",
            Fact::Redecided { .. } => "redecided",
            Fact::Permitted { .. } => "permitted",
            _ => "other",
        })
        .collect();
    assert_eq!(names, ["voted", "approved", "redecided", "permitted"]);
    let again = scene.claim(someone("rita"), permit());
    assert_eq!(scene.tell(again), "not_open");
}
