//! The list: filters and paging.

use countersign_core::time::Timestamp;
use countersign_store::{CaseFilter, StoreError};

use super::fixture::*;

stores!(
    filters_narrow,
    filters_narrow_together,
    pages_join,
    lines_say_what_the_case_says,
    a_lost_cursor_is_refused
);

fn everything() -> CaseFilter {
    CaseFilter {
        limit: 200,
        ..CaseFilter::default()
    }
}

async fn fill(store: &Any) {
    let asks = [
        Ask {
            number: 1,
            title: "DROP TABLE Übergabe",
            at: 1_000,
            ..Ask::default()
        },
        Ask {
            number: 2,
            agent: "other-bot",
            owner: "pia",
            target: "billing",
            reason: Some("100% of_it \\ ÜBERGABE"),
            at: 2_000,
            ..Ask::default()
        },
        Ask {
            number: 3,
            agent: "other-bot",
            owner: "pia",
            behalf: Some("olga"),
            at: 3_000,
            ..Ask::default()
        },
        Ask {
            number: 4,
            title: "SELECT 100",
            at: 3_000,
            ..Ask::default()
        },
    ];
    for ask in &asks {
        let key = ask.number.to_string();
        let ask = Ask {
            key: &key,
            ..ask.clone()
        };
        store.commit(vec![insert(&held(&ask))]).await.unwrap();
    }
    let second = stored(store, &request_id(2)).await;
    let third = stored(store, &request_id(3)).await;
    let writes = vec![
        swap(&approved(&second, 9_000)),
        swap(&closed(&third, denied(), 4_000)),
    ];
    store.commit(writes).await.unwrap();
}

async fn assert_lists(store: &Any, table: &[(CaseFilter, &[u128])]) {
    for (filter, expected) in table {
        let page = store.list(filter).await.unwrap();
        let found: Vec<_> = page.items.iter().map(|line| line.id.clone()).collect();
        let expected: Vec<_> = expected.iter().copied().map(request_id).collect();
        assert_eq!(found, expected, "{filter:?}");
        assert_eq!(page.next, None, "{filter:?}");
    }
}

async fn filters_narrow(store: Any) {
    fill(&store).await;
    let text = |text: &str| CaseFilter {
        text: Some(text.into()),
        ..everything()
    };
    let phases = |phases: &[&str]| CaseFilter {
        phases: phases.iter().map(ToString::to_string).collect(),
        ..everything()
    };
    let side = |name| CaseFilter {
        side_of: Some(person(name)),
        ..everything()
    };
    let between = |since, until| CaseFilter {
        since: Some(Timestamp(since)),
        until: Some(Timestamp(until)),
        ..everything()
    };
    let table: Vec<(CaseFilter, &[u128])> = vec![
        (everything(), &[4, 3, 2, 1]),
        (phases(&["held"]), &[4, 1]),
        (phases(&["held", "denied", "held", "nonsense"]), &[4, 3, 1]),
        (phases(&["held", "approved", "denied"]), &[4, 3, 2, 1]),
        (phases(&["nonsense"]), &[]),
        (phases(&["nonsense"; 600]), &[]),
        (text("übergabe"), &[2, 1]),
        (text("100%"), &[2]),
        (text("f_i"), &[2]),
        (text("\\"), &[2]),
        (text("OTHER-bot"), &[3, 2]),
        (text("delete"), &[3, 2]),
        (text("' OR 1=1 --"), &[]),
        (side("olga"), &[4, 3, 1]),
        (side("pia"), &[3, 2]),
        (side("dana"), &[]),
        (between(2_000, 3_000), &[2]),
        (between(2_000, 3_001), &[4, 3, 2]),
    ];
    assert_lists(&store, &table).await;
}

async fn filters_narrow_together(store: Any) {
    fill(&store).await;
    let side = |name| CaseFilter {
        side_of: Some(person(name)),
        ..everything()
    };
    let table: Vec<(CaseFilter, &[u128])> = vec![
        (
            CaseFilter {
                phases: vec!["held".into(), "denied".into()],
                ..side("pia")
            },
            &[3],
        ),
        (
            CaseFilter {
                phases: vec!["approved".into()],
                target: Some("billing".into()),
                ..side("pia")
            },
            &[2],
        ),
        (
            CaseFilter {
                requester: Some("agent:other-bot".into()),
                ..everything()
            },
            &[3, 2],
        ),
        (
            CaseFilter {
                target: Some("billing".into()),
                ..everything()
            },
            &[2],
        ),
        (
            CaseFilter {
                requester: Some("agent:other-bot".into()),
                target: Some("orders".into()),
                text: Some("delete".into()),
                phases: vec!["denied".into(), "approved".into()],
                since: Some(Timestamp(1)),
                until: Some(Timestamp(9_999)),
                ..everything()
            },
            &[3],
        ),
    ];
    assert_lists(&store, &table).await;
}

async fn pages_join(store: Any) {
    // Several cases share a moment, so that the page must also go on within it.
    let mut expected = Vec::new();
    for number in 1..=23_u128 {
        let at = i64::try_from(number / 4).unwrap() * 1_000;
        let (key, agent) = (number.to_string(), ["a", "b"][usize::from(number % 2 == 0)]);
        let case = held(&Ask {
            number,
            at,
            agent,
            key: &key,
            ..Ask::default()
        });
        let mut writes = vec![insert(&case)];
        if number % 3 == 0 {
            writes.push(swap(&approved(&case, 9_000)));
        }
        store.commit(writes).await.unwrap();
        expected.push(request_id(number));
    }
    expected.reverse();
    let two_phases = vec!["held".to_owned(), "approved".to_owned()];
    for (phases, side) in [
        (vec![], None),
        (two_phases.clone(), None),
        (vec![], Some("olga")),
        (two_phases, Some("olga")),
    ] {
        for limit in [1, 2, 5, 22, 23, 200] {
            let mut filter = CaseFilter {
                phases: phases.clone(),
                side_of: side.map(person),
                limit,
                ..CaseFilter::default()
            };
            let mut found = Vec::new();
            loop {
                let page = store.list(&filter).await.unwrap();
                assert!(page.items.len() <= usize::try_from(limit).unwrap());
                found.extend(page.items.into_iter().map(|line| line.id));
                filter.after = page.next;
                if filter.after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{phases:?} {side:?} {limit}");
        }
    }
    for (limit, size) in [(0, 1), (1_000, 23)] {
        let filter = CaseFilter {
            limit,
            ..CaseFilter::default()
        };
        assert_eq!(store.list(&filter).await.unwrap().items.len(), size);
    }
}

async fn lines_say_what_the_case_says(store: Any) {
    fill(&store).await;
    let page = store.list(&everything()).await.unwrap();
    for line in page.items {
        let case = stored(&store, &line.id).await;
        assert_eq!(line.phase, case.phase.name());
        assert_eq!(line.requester, case.request.chain.requester.id.to_string());
        assert_eq!(line.target, case.request.action.target.as_str());
        assert_eq!(line.title, case.request.presentation.title);
        assert_eq!(line.reason, case.request.reason);
        assert_eq!(line.at, case.request.at);
        let deadline = countersign_core::lifecycle::deadline(&case);
        assert_eq!(line.deadline, deadline);
    }
}

async fn a_lost_cursor_is_refused(store: Any) {
    let filter = CaseFilter {
        after: Some(request_id(77)),
        ..everything()
    };
    let result = store.list(&filter).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}
