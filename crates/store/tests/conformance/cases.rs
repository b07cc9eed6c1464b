//! Cases: inserting, swapping, envelopes, permits.

use countersign_core::{
    canonical::Hash,
    id::RequestId,
    request::{Case, Outcome},
};
use countersign_store::{CaseWrite, Write};
use serde_json::json;

use super::fixture::*;

stores!(
    a_case_reads_back,
    one_open_case_per_attach_key,
    a_swap_needs_the_version_before,
    a_new_case_begins_at_version_0,
    envelopes_follow_the_votes,
    an_envelope_needs_its_vote,
    one_vote_a_person,
    one_permit_a_request,
    a_permit_and_its_case_need_each_other,
    numbers_and_depth_survive,
);

async fn a_case_reads_back(store: Any) {
    assert_eq!(store.case(&request_id(1)).await.unwrap(), None);
    let case = held(&Ask {
        reason: Some("ticket 7 \u{1f512} \0 ' \" \\"),
        behalf: Some("bea"),
        ..Ask::default()
    });
    store.commit(vec![insert(&case)]).await.unwrap();
    let read = store.case(&case.request.id).await.unwrap().unwrap();
    assert_eq!(read.case, case);
    assert_eq!(read.envelopes, []);
    assert_conflict(store.commit(vec![insert(&case)]).await);
}

async fn one_open_case_per_attach_key(store: Any) {
    let first = store_running(&store, &Ask::default(), 1).await;
    let again = |number| {
        held(&Ask {
            number,
            ..Ask::default()
        })
    };
    assert_conflict(store.commit(vec![insert(&again(2))]).await);

    let done = finished(&first, 1, Outcome::Succeeded);
    store.commit(vec![swap(&done)]).await.unwrap();
    store.commit(vec![insert(&again(3))]).await.unwrap();
    assert_conflict(store.commit(vec![insert(&again(4))]).await);

    // In one commit the old one can make way for the new.
    let third = stored(&store, &request_id(3)).await;
    let gone = closed(&third, denied(), 4_000);
    let writes = vec![swap(&gone), insert(&again(5))];
    store.commit(writes).await.unwrap();
}

async fn a_swap_needs_the_version_before(store: Any) {
    let case = held(&Ask::default());
    assert_conflict(store.commit(vec![swap(&approved(&case, 9_000))]).await);
    store.commit(vec![insert(&case)]).await.unwrap();
    for version in [0, 2, 3, u64::MAX >> 1] {
        let other = Case {
            version,
            ..case.clone()
        };
        assert_conflict(store.commit(vec![swap(&other)]).await);
    }
    let next = approved(&case, 9_000);
    store.commit(vec![swap(&next)]).await.unwrap();
    assert_conflict(store.commit(vec![swap(&next)]).await);
    assert_eq!(stored(&store, &case.request.id).await, next);
}

async fn a_new_case_begins_at_version_0(store: Any) {
    let case = approved(&held(&Ask::default()), 9_000);
    let result = store.commit(vec![insert(&case)]).await;
    assert_refused(result, "case_begins_at_version_0");
}

async fn envelopes_follow_the_votes(store: Any) {
    let case = held(&Ask::default());
    store.commit(vec![insert(&case)]).await.unwrap();
    let envelopes = async || {
        let read = store.case(&case.request.id).await.unwrap().unwrap();
        let voters = read.envelopes.into_iter();
        voters
            .map(|(voter, bytes)| format!("{voter} {}", String::from_utf8(bytes).unwrap()))
            .collect::<Vec<_>>()
    };
    let two = voted(&case, &["zoe", "dana"]);
    let writes = swap_with(&two, &[("zoe", b"z1"), ("dana", b"d1")]);
    store.commit(vec![writes]).await.unwrap();
    assert_eq!(
        envelopes().await,
        ["zoe@example.com z1", "dana@example.com d1"]
    );

    let withdrawn = voted(&two, &["dana"]);
    store.commit(vec![swap(&withdrawn)]).await.unwrap();
    assert_eq!(envelopes().await, ["dana@example.com d1"]);

    let again = voted(&withdrawn, &["dana", "zoe"]);
    let write = swap_with(&again, &[("zoe", b"z2")]);
    store.commit(vec![write]).await.unwrap();
    assert_eq!(
        envelopes().await,
        ["dana@example.com d1", "zoe@example.com z2"]
    );
}

async fn an_envelope_needs_its_vote(store: Any) {
    let case = held(&Ask::default());
    store.commit(vec![insert(&case)]).await.unwrap();
    let write = swap_with(&voted(&case, &["dana"]), &[("zoe", b"z")]);
    assert_refused(store.commit(vec![write]).await, "envelope_has_its_vote");
}

async fn one_vote_a_person(store: Any) {
    let case = held(&Ask::default());
    let first = voted(&case, &["dana"]);
    let writes = vec![insert(&case), swap_with(&first, &[("dana", b"d1")])];
    store.commit(writes).await.unwrap();
    let second = voted(&first, &["dana"]);
    for envelopes in [
        &[("dana", b"d2".as_slice())][..],
        &[("dana", b"d2"), ("dana", b"d3")],
    ] {
        assert_conflict(store.commit(vec![swap_with(&second, envelopes)]).await);
    }
    let read = store.case(&case.request.id).await.unwrap().unwrap();
    assert_eq!(read.case, first);
    assert_eq!(read.envelopes, [(person("dana"), b"d1".to_vec())]);
}

async fn one_permit_a_request(store: Any) {
    let one = store_approved(&store, &Ask::default()).await;
    let other = Ask {
        number: 2,
        key: "b",
        ..Ask::default()
    };
    let two = store_approved(&store, &other).await;
    store.commit(vec![permit(1, &one)]).await.unwrap();
    assert_conflict(store.commit(vec![permit(1, &one)]).await);
    assert_conflict(store.commit(vec![permit(2, &one)]).await);
    assert_conflict(store.commit(vec![permit(1, &two)]).await);
    store.commit(vec![permit(2, &two)]).await.unwrap();
}

async fn a_permit_and_its_case_need_each_other(store: Any) {
    let case = store_approved(&store, &Ask::default()).await;
    let absent = held(&Ask {
        number: 7,
        ..Ask::default()
    });
    let dangling = "it refers to something";
    assert_refused(store.commit(vec![permit(1, &absent)]).await, dangling);
    let run = running(&case, 1);
    assert_refused(store.commit(vec![swap(&run)]).await, dangling);

    // Another request's permit doesn't do.
    let other = Ask {
        number: 2,
        key: "b",
        ..Ask::default()
    };
    let other = store_approved(&store, &other).await;
    let writes = vec![permit(1, &other), swap(&run)];
    assert_refused(store.commit(writes).await, dangling);

    store
        .commit(vec![swap(&run), permit(1, &run)])
        .await
        .unwrap();
    assert_eq!(stored(&store, &run.request.id).await, run);
}

async fn numbers_and_depth_survive(store: Any) {
    let mut case = held(&Ask::default());
    let from_bits = |seed: u32| {
        let Hash([a, b, c, d, e, f, g, h, ..]) = Hash::of(&seed.to_be_bytes());
        f64::from_bits(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    };
    // Most of these lose their last digit to a reader that takes a faster path.
    let numbers = (0..1_000)
        .map(from_bits)
        .filter(|number| number.is_finite());
    let edges = [0.1, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    let numbers: Vec<_> = numbers.chain(edges).collect();
    case.request.action.arguments = json!([numbers, i64::MIN, u64::MAX]);
    store.commit(vec![insert(&case)]).await.unwrap();
    let read = stored(&store, &case.request.id).await;
    assert_eq!(read.request.action, case.request.action);

    let mut deep = held(&Ask {
        number: 2,
        key: "deep",
        ..Ask::default()
    });
    for _ in 0..150 {
        let inner = deep.request.action.arguments.take();
        deep.request.action.arguments = json!([inner]);
    }
    let result = store.commit(vec![insert(&deep)]).await;
    assert_refused(result, "case_reads_back");
    assert!(
        store
            .case(&RequestId::from_bits(2))
            .await
            .unwrap()
            .is_none()
    );

    let far = Write::SwapCase(Box::new(CaseWrite {
        case: Case {
            version: u64::MAX,
            ..case
        },
        envelopes: Vec::new(),
    }));
    assert!(store.commit(vec![far]).await.is_err());
}
