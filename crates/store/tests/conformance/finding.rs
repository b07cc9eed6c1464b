//! Finding the case to attach to, the cases that are due, and those to take up after a restart.

use std::collections::BTreeSet;

use countersign_core::{
    approval::grant::{Grant, GrantEnd, GrantTerms},
    id::{RequestId, TargetId},
    request::{Closure, Phase},
    subject::SubjectId,
    time::{Span, Timestamp},
};

use countersign_store::Forgetting;

use super::fixture::*;

stores!(
    an_identical_call_attaches,
    a_closed_case_refuses_for_a_while,
    due_cases_come_earliest_first,
    phases_are_found_oldest_first,
    open_cases_are_counted_by_requester,
    denials_are_found_by_requester_and_target,
    denials_are_found_by_every_member_of_the_chain,
    grants_in_use_are_found_until_they_are_over,
);

async fn an_identical_call_attaches(store: Any) {
    let find = async |now| {
        let found = store.find_attachable(&key("a"), Timestamp(now)).await;
        found.unwrap()
    };
    assert_eq!(find(0).await, None);
    let case = held(&Ask::default());
    let id = Some(case.request.id.clone());
    store.commit(vec![insert(&case)]).await.unwrap();
    assert_eq!(find(0).await, id);
    let next = approved(&case, 9_000);
    store.commit(vec![swap(&next)]).await.unwrap();
    // Past its deadline it is still open until a tick closes it.
    assert_eq!(find(i64::MAX).await, id);
    let run = running(&next, 1);
    store
        .commit(vec![permit(1, &run), swap(&run)])
        .await
        .unwrap();
    assert_eq!(find(0).await, id);
    let done = finished(&run, 1, countersign_core::request::Outcome::Unknown);
    store.commit(vec![swap(&done)]).await.unwrap();
    assert_eq!(find(0).await, None);
    let other = store.find_attachable(&key("b"), Timestamp(0)).await;
    assert_eq!(other.unwrap(), None);
}

async fn a_closed_case_refuses_for_a_while(store: Any) {
    let find = async |now| {
        let found = store.find_attachable(&key("a"), Timestamp(now)).await;
        found.unwrap()
    };
    // The later-ending refusal counts, whichever was asked first.
    for (number, refuse_until) in [(1, 20_000), (2, 30_000), (3, 10_000)] {
        let case = held(&Ask {
            number,
            ..Ask::default()
        });
        let writes = vec![insert(&case), swap(&closed(&case, denied(), refuse_until))];
        store.commit(writes).await.unwrap();
    }
    for (now, expected) in [
        (0, Some(2)),
        (29_999, Some(2)),
        (30_000, None),
        (30_001, None),
    ] {
        assert_eq!(find(now).await, expected.map(request_id), "{now}");
    }
    let case = held(&Ask {
        number: 4,
        ..Ask::default()
    });
    store.commit(vec![insert(&case)]).await.unwrap();
    assert_eq!(find(0).await, Some(request_id(4)));
}

async fn due_cases_come_earliest_first(store: Any) {
    assert_eq!(store.next_deadline().await.unwrap(), None);
    let mut deadlines = Vec::new();
    for (number, at) in [(1, 3_000), (2, 1_000), (3, 2_000), (4, 2_000)] {
        let case = held(&Ask {
            number,
            at,
            key: &number.to_string(),
            ..Ask::default()
        });
        deadlines.push(deadline(&case));
        store.commit(vec![insert(&case)]).await.unwrap();
    }
    let due = async |now: Timestamp, limit| store.due(now, limit).await.unwrap();
    let ids = |numbers: &[u128]| numbers.iter().copied().map(request_id).collect::<Vec<_>>();
    let [last, first, middle, _] = deadlines[..] else {
        panic!("four cases")
    };
    assert_eq!(store.next_deadline().await.unwrap(), Some(first));
    assert_eq!(due(Timestamp(first.0 - 1), 9).await, []);
    assert_eq!(due(first, 9).await, ids(&[2]));
    assert_eq!(due(middle, 9).await, ids(&[2, 3, 4]));
    assert_eq!(due(last, 9).await, ids(&[2, 3, 4, 1]));
    assert_eq!(due(last, 2).await, ids(&[2, 3]));
    assert_eq!(due(last, 0).await, []);

    let case = stored(&store, &request_id(2)).await;
    let over = closed(&case, Closure::Expired, 4_000);
    store.commit(vec![swap(&over)]).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), Some(middle));
    assert_eq!(due(last, 9).await, ids(&[3, 4, 1]));
}

async fn phases_are_found_oldest_first(store: Any) {
    for (number, at) in [(1, 3_000), (2, 1_000), (3, 2_000)] {
        let case = held(&Ask {
            number,
            at,
            key: &number.to_string(),
            ..Ask::default()
        });
        store.commit(vec![insert(&case)]).await.unwrap();
    }
    let ask = Ask {
        number: 4,
        key: "run",
        ..Ask::default()
    };
    store_running(&store, &ask, 1).await;
    for (phase, expected) in [
        ("held", &[2, 3, 1][..]),
        ("running", &[4]),
        ("approved", &[]),
        ("nonsense", &[]),
    ] {
        let found = store.in_phase(phase).await.unwrap();
        let expected: Vec<_> = expected.iter().copied().map(request_id).collect();
        assert_eq!(found, expected, "{phase}");
    }
}

async fn open_cases_are_counted_by_requester(store: Any) {
    let ask = |number, agent| Ask {
        number,
        agent,
        ..Ask::default()
    };
    let numbered = [(1, "one"), (2, "one"), (3, "one"), (4, "two")];
    for (number, agent) in numbered {
        let case = held(&Ask {
            key: &number.to_string(),
            ..ask(number, agent)
        });
        store.commit(vec![insert(&case)]).await.unwrap();
    }
    let run = Ask {
        key: "run",
        ..ask(5, "one")
    };
    store_running(&store, &run, 1).await;
    let first = stored(&store, &request_id(1)).await;
    let second = stored(&store, &request_id(2)).await;
    let writes = vec![
        swap(&closed(&first, denied(), 4_000)),
        swap(&approved(&second, 9_000)),
    ];
    store.commit(writes).await.unwrap();
    for (who, expected) in [("agent:one", 2), ("agent:two", 1), ("agent:none", 0)] {
        let count = store.open_of_requester(who).await.unwrap();
        assert_eq!(count, expected, "{who}");
    }
    assert_eq!(store.open_in_all().await.unwrap(), 3);
}

async fn denials_are_found_by_requester_and_target(store: Any) {
    let cases = [
        (1, "one", "db", Some(denied()), 10_000),
        (2, "one", "db", Some(denied()), 30_000),
        (3, "one", "db", Some(denied()), 20_000),
        (4, "one", "web", Some(denied()), 20_000),
        (5, "two", "db", Some(denied()), 20_000),
        (6, "one", "db", Some(Closure::Expired), 20_000),
        (7, "one", "db", None, 0),
    ];
    for (number, agent, target, closure, until) in cases {
        let key = number.to_string();
        let mut case = held(&Ask {
            number,
            agent,
            key: &key,
            ..Ask::default()
        });
        case.request.action.target = target.parse().unwrap();
        let mut writes = vec![insert(&case)];
        writes.extend(closure.map(|closure| swap(&closed(&case, closure, until))));
        store.commit(writes).await.unwrap();
    }
    for (who, target, now, limit, expected) in [
        ("agent:one", "db", 0, 9, &[30_000, 20_000, 10_000][..]),
        ("agent:one", "db", 0, 2, &[30_000, 20_000]),
        ("agent:one", "db", 9_999, 9, &[30_000, 20_000, 10_000]),
        ("agent:one", "db", 10_000, 9, &[30_000, 20_000]),
        ("agent:one", "web", 0, 9, &[20_000]),
        ("agent:two", "db", 0, 9, &[20_000]),
        ("agent:none", "db", 0, 9, &[]),
    ] {
        let target = target.parse().unwrap();
        let found = store.refused_until(who, &target, Timestamp(now), limit);
        let expected: Vec<_> = expected.iter().copied().map(Timestamp).collect();
        assert_eq!(found.await.unwrap(), expected, "{who} {target} {now}");
        let found = store.denied(who, &target, Timestamp(now), limit).await;
        let mut until = Vec::new();
        for id in found.unwrap() {
            let case = store.case(&id).await.unwrap().unwrap().case;
            let Phase::Closed { refuse_until, .. } = case.phase else {
                panic!("{who} {target} {now}: not denied");
            };
            assert_eq!(case.request.chain.requester.id.to_string(), who);
            until.push(refuse_until);
        }
        assert_eq!(until, expected, "{who} {target} {now}");
    }
}

async fn denials_are_found_by_every_member_of_the_chain(store: Any) {
    for (number, behalf, until) in [(1, Some("pat"), 20_000), (2, None, 10_000)] {
        let case = held(&Ask {
            number,
            agent: "one",
            behalf,
            key: &number.to_string(),
            target: "db",
            ..Ask::default()
        });
        let over = closed(&case, denied(), until);
        store
            .commit(vec![insert(&case), swap(&over)])
            .await
            .unwrap();
        // A word about it later is no second denial.
        let later = stepped(&over, over.phase.clone());
        store.commit(vec![swap(&later)]).await.unwrap();
    }
    let target = "db".parse().unwrap();
    for (who, expected) in [
        ("agent:one", &[20_000, 10_000][..]),
        ("person:pat@example.com", &[20_000]),
        ("person:olga@example.com", &[]),
        ("agent:two", &[]),
    ] {
        let found = store.refused_until(who, &target, Timestamp(0), 9);
        let expected: Vec<_> = expected.iter().copied().map(Timestamp).collect();
        assert_eq!(found.await.unwrap(), expected, "{who}");
        let found = store.denied(who, &target, Timestamp(0), 9).await.unwrap();
        assert_eq!(found.len(), expected.len(), "{who}");
    }
    let what = Forgetting {
        cases: vec![request_id(1)],
        ..Forgetting::default()
    };
    store.forget(what).await.unwrap();
    let left = store.refused_until("person:pat@example.com", &target, Timestamp(0), 9);
    assert!(left.await.unwrap().is_empty());
}

async fn grants_in_use_are_found_until_they_are_over(store: Any) {
    for (number, agent, target, until, used, ended) in [
        (1, "one", "db", 30, 1, false),
        (2, "one", "db", 20, 2, false),
        (3, "one", "web", 40, 1, false),
        (4, "two", "db", 50, 1, false),
        // Used up, and ended.
        (5, "one", "db", 60, 3, false),
        (6, "one", "db", 60, 1, true),
    ] {
        let key = number.to_string();
        let mut case = held(&Ask {
            number,
            agent,
            key: &key,
            ..Ask::default()
        });
        case.request.action.target = target.parse().unwrap();
        store.commit(vec![insert(&case)]).await.unwrap();
        let until_then = approved(&case, 100_000);
        store.commit(vec![swap(&until_then)]).await.unwrap();
        let mut run = running(&until_then, number);
        run.grant = Some(Box::new(grant(until, used, ended)));
        store
            .commit(vec![swap(&run), permit(number, &run)])
            .await
            .unwrap();
    }
    let db: TargetId = "db".parse().unwrap();
    for (of, now, expected) in [
        (None, 0, &[2, 1, 3, 4][..]),
        (None, 20, &[1, 3, 4]),
        (Some(("agent:one", &db)), 0, &[2, 1]),
        (Some(("agent:one", &db)), 19, &[2, 1]),
        (Some(("agent:one", &db)), 20, &[1]),
        (Some(("agent:one", &db)), 30, &[]),
        (Some(("agent:two", &db)), 30, &[4]),
        (Some(("agent:none", &db)), 0, &[]),
    ] {
        let found = store.granting(of, Timestamp(now)).await.unwrap();
        let expected: Vec<_> = expected.iter().copied().map(RequestId::from_bits).collect();
        assert_eq!(found, expected, "{of:?} {now}");
    }
}

fn grant(until: i64, used: u32, ended: bool) -> Grant {
    Grant {
        terms: GrantTerms {
            time: Span::minutes(15),
            open: BTreeSet::new(),
            uses: 3,
        },
        until: Timestamp(until),
        used,
        givers: std::collections::BTreeSet::new(),
        ended: ended.then(|| GrantEnd {
            by: SubjectId::Agent("one".parse().unwrap()),
            at: Timestamp(1),
        }),
    }
}
