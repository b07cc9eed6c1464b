//! Which phase may follow which, and what never changes.

use countersign_core::{
    canonical::Hash,
    request::{Case, Closure, Outcome},
    time::Timestamp,
};

use countersign_store::CaseFilter;

use super::fixture::*;

stores!(
    phases_only_move_forward,
    a_closed_case_can_still_be_talked_about,
    the_request_is_fixed,
    the_permit_is_fixed,
);

const PHASES: [&str; 14] = [
    "held",
    "approved",
    "running",
    "succeeded",
    "failed",
    "unknown",
    "denied",
    "expired",
    "unclaimed",
    "cancelled",
    "amended",
    "unreachable",
    "policy_changed",
    "requester_stopped",
];

fn in_phase(case: &Case, name: &str, permit: u128) -> Case {
    let closure = match name {
        "held" => return stepped(case, held(&Ask::default()).phase),
        "approved" => return approved(case, 9_000),
        "running" => return running(case, permit),
        "succeeded" => return finished(case, permit, Outcome::Succeeded),
        "failed" => return finished(case, permit, Outcome::Failed),
        "unknown" => return finished(case, permit, Outcome::Unknown),
        "denied" => denied(),
        "expired" => Closure::Expired,
        "unclaimed" => Closure::Unclaimed,
        "cancelled" => Closure::Cancelled {
            by: case.request.chain.requester.id.clone(),
        },
        "amended" => Closure::Amended {
            by: person("dana"),
            into: request_id(99),
        },
        "unreachable" => Closure::Unreachable {
            rules: ["dba".parse().unwrap()].into(),
        },
        "policy_changed" => Closure::PolicyChanged {
            detail: "no".into(),
        },
        "requester_stopped" => Closure::RequesterStopped {
            who: case.request.chain.requester.id.clone(),
        },
        other => panic!("{other}"),
    };
    closed(case, closure, 4_000)
}

/// How to get to a phase.
fn way(name: &str) -> &[&str] {
    match name {
        "held" => &[],
        "approved" => &["approved"],
        "running" => &["approved", "running"],
        "succeeded" => &["approved", "running", "succeeded"],
        "failed" => &["approved", "running", "failed"],
        "unknown" => &["approved", "running", "unknown"],
        "denied" => &["denied"],
        "expired" => &["expired"],
        "unclaimed" => &["approved", "unclaimed"],
        "cancelled" => &["cancelled"],
        "amended" => &["amended"],
        "unreachable" => &["unreachable"],
        "policy_changed" => &["approved", "policy_changed"],
        "requester_stopped" => &["requester_stopped"],
        other => panic!("{other}"),
    }
}

fn may_follow(before: &str, after: &str) -> bool {
    let finished = ["succeeded", "failed", "unknown"].contains(&after);
    before == after
        || match before {
            "held" => after != "running" && !finished,
            "approved" => !finished,
            "running" => finished,
            _ => false,
        }
}

async fn phases_only_move_forward(store: Any) {
    let pairs = PHASES
        .iter()
        .flat_map(|before| PHASES.iter().map(move |after| (*before, *after)));
    for (number, (before, after)) in (1..).zip(pairs) {
        let key = number.to_string();
        let mut case = held(&Ask {
            number,
            key: &key,
            ..Ask::default()
        });
        let writes = vec![insert(&case), permit(number, &case)];
        store.commit(writes).await.unwrap();
        for phase in way(before) {
            case = in_phase(&case, phase, number);
            store.commit(vec![swap(&case)]).await.unwrap();
        }
        let next = in_phase(&case, after, number);
        let result = store.commit(vec![swap(&next)]).await;
        if may_follow(before, after) {
            assert!(result.is_ok(), "{before} → {after}: {result:?}");
            let filter = CaseFilter {
                phases: vec![after.into()],
                limit: 200,
                ..CaseFilter::default()
            };
            let listed = store.list(&filter).await.unwrap().items;
            assert!(listed.iter().any(|line| line.id == request_id(number)));
        } else {
            assert_refused(result, "case_phase_moves_forward");
            assert_eq!(stored(&store, &case.request.id).await, case);
        }
    }
}

async fn a_closed_case_can_still_be_talked_about(store: Any) {
    let case = held(&Ask::default());
    let over = closed(&case, denied(), 4_000);
    let more = Case {
        self_grown: [person("bea")].into(),
        version: over.version + 1,
        ..over.clone()
    };
    let writes = vec![insert(&case), swap(&over), swap(&more)];
    store.commit(writes).await.unwrap();
    assert_eq!(stored(&store, &case.request.id).await, more);
}

async fn the_request_is_fixed(store: Any) {
    let case = held(&Ask::default());
    store.commit(vec![insert(&case)]).await.unwrap();
    let next = approved(&case, 9_000);
    let changes: [fn(&mut Case); 7] = [
        |case| case.request.attach_key = key("other"),
        |case| case.request.digest.0 = Hash::of(b"other"),
        |case| case.request.at = Timestamp(1_001),
        |case| case.request.reason = Some("because".into()),
        |case| case.request.presentation.title = "SELECT 1".into(),
        |case| case.request.action.target = "billing".parse().unwrap(),
        |case| {
            case.request.chain.requester.id =
                countersign_core::subject::SubjectId::Agent("other".parse().unwrap())
        },
    ];
    for change in changes {
        let mut changed = next.clone();
        change(&mut changed);
        let result = store.commit(vec![swap(&changed)]).await;
        assert_refused(result, "case_request_is_fixed");
    }
    store.commit(vec![swap(&next)]).await.unwrap();
}

async fn the_permit_is_fixed(store: Any) {
    let run = store_running(&store, &Ask::default(), 1).await;
    let other = finished(&run, 2, Outcome::Succeeded);
    let result = store.commit(vec![swap(&other)]).await;
    assert_refused(result, "case_permit_is_fixed");
}
