//! Emergencies: what awaits its review is found, and is not forgotten.
//!
//! In scope: the rows beside cases, the filter of lists, the guard against forgetting.
//! Out of scope: what is due when; the engine says so.
//! Invariant: both stores agree, also about a case that ended.

use countersign_core::{
    id::RequestId,
    request::{Case, Lifted, Reviewed},
    time::Timestamp,
};
use countersign_store::{CaseFilter, Forgetting, ReviewFilter};

use super::fixture::*;

stores!(
    what_awaits_its_review_is_found_and_stays,
    lists_tell_how_reviews_stand
);

/// The case of which somebody lifted the rule, to be reviewed by then.
fn lifted(case: &Case, review_by: i64) -> Case {
    let mut after = stepped(case, case.phase.clone());
    after.lifted.push(Lifted {
        rule: case.request.rules[0].name.clone(),
        vote: vote(case, "dana"),
        review_by: Timestamp(review_by),
        envelope: None,
        overdue: false,
        reviewed: None,
    });
    after
}

fn reviewed(case: &Case, nth: usize) -> Case {
    let mut after = stepped(case, case.phase.clone());
    let vote = vote(case, "erin");
    after.lifted[nth].reviewed = Some(Reviewed {
        by: vote.voter,
        credential: vote.credential,
        note: "as they say".into(),
        at: Timestamp(9),
    });
    after
}

async fn held_and_lifted(store: &Any, number: u128, review_by: i64) -> Case {
    let title = format!("action {number}");
    let case = held(&Ask {
        number,
        key: &title,
        title: &title,
        ..Ask::default()
    });
    let after = lifted(&case, review_by);
    store.commit(vec![insert(&case)]).await.unwrap();
    store.commit(vec![swap(&after)]).await.unwrap();
    after
}

async fn what_awaits_its_review_is_found_and_stays(store: Any) {
    let first = held_and_lifted(&store, 1, 200).await;
    let second = held_and_lifted(&store, 2, 100).await;
    let id = |case: &Case| case.request.id.clone();
    let awaiting = async || store.awaiting_review().await.unwrap();
    let due = |case: &Case, at| (id(case), Timestamp(at));
    assert_eq!(awaiting().await, [due(&second, 100), due(&first, 200)]);
    // Two of one case: the earlier counts until it is reviewed.
    let both = lifted(&first, 50);
    store.commit(vec![swap(&both)]).await.unwrap();
    assert_eq!(awaiting().await, [due(&first, 50), due(&second, 100)]);
    let one = reviewed(&both, 1);
    store.commit(vec![swap(&one)]).await.unwrap();
    assert_eq!(awaiting().await, [due(&second, 100), due(&first, 200)]);
    // Its end changes nothing about it.
    let over = closed(&one, denied(), 0);
    store.commit(vec![swap(&over)]).await.unwrap();
    assert_eq!(awaiting().await.len(), 2);
    let forget = |cases: Vec<RequestId>| Forgetting {
        cases,
        ..Forgetting::default()
    };
    let refused = store.forget(forget(vec![id(&first)])).await;
    assert_refused(refused, "emergency_awaits_its_review");
    assert!(store.case(&id(&first)).await.unwrap().is_some());
    assert_eq!(awaiting().await.len(), 2);
    let all = reviewed(&over, 0);
    store.commit(vec![swap(&all)]).await.unwrap();
    assert_eq!(awaiting().await, [due(&second, 100)]);
    store.forget(forget(vec![id(&first)])).await.unwrap();
    assert_eq!(store.case(&id(&first)).await.unwrap(), None);
    assert_eq!(awaiting().await, [due(&second, 100)]);
}

async fn lists_tell_how_reviews_stand(store: Any) {
    held_and_lifted(&store, 1, 100).await;
    held_and_lifted(&store, 2, 200).await;
    let third = held_and_lifted(&store, 3, 100).await;
    store
        .commit(vec![swap(&reviewed(&third, 0))])
        .await
        .unwrap();
    let other = Ask {
        number: 4,
        key: "other",
        ..Ask::default()
    };
    store_running(&store, &other, 9).await;
    let list = async |filter: ReviewFilter, limit: u32, after: Option<RequestId>| {
        let filter = CaseFilter {
            emergency: Some(filter),
            limit,
            after,
            ..CaseFilter::default()
        };
        let page = store.list(&filter).await.unwrap();
        let ids: Vec<_> = page.items.into_iter().map(|line| line.id).collect();
        (ids, page.next)
    };
    let ids = |numbers: &[u128]| {
        numbers
            .iter()
            .map(|one| request_id(*one))
            .collect::<Vec<_>>()
    };
    for (filter, expected) in [
        (ReviewFilter::Any, &[3_u128, 2, 1][..]),
        (ReviewFilter::Due(Timestamp(100)), &[2, 1][..]),
        (ReviewFilter::Due(Timestamp(101)), &[2][..]),
        (ReviewFilter::Overdue(Timestamp(100)), &[][..]),
        (ReviewFilter::Overdue(Timestamp(101)), &[1][..]),
        (ReviewFilter::Reviewed, &[3][..]),
    ] {
        assert_eq!(list(filter, 9, None).await.0, ids(expected), "{filter:?}");
    }
    let (page, next) = list(ReviewFilter::Any, 2, None).await;
    assert_eq!((page, &next), (ids(&[3, 2]), &Some(request_id(2))));
    assert_eq!(list(ReviewFilter::Any, 2, next).await.0, ids(&[1]));
    // With phases, each of which is read by itself.
    let both = CaseFilter {
        phases: vec!["held".into(), "denied".into()],
        emergency: Some(ReviewFilter::Any),
        limit: 9,
        ..CaseFilter::default()
    };
    assert_eq!(store.list(&both).await.unwrap().items.len(), 3);
}
