//! Many at once, and exactly one wins.

use countersign_core::time::Timestamp;
use countersign_store::{CredentialKind, StoreError, Write};

use super::{
    credentials::{credential, issue},
    fixture::*,
};

stores!(
    one_swap_of_a_version_wins,
    one_permit_wins,
    one_use_of_a_link_wins,
    one_of_identical_calls_opens_a_case,
    reads_see_what_was_committed,
);

const RACERS: u128 = 64;

/// Commits all at once, and counts those that did not conflict.
async fn winners(store: &Any, commits: impl Iterator<Item = Vec<Write>>) -> usize {
    let racers: Vec<_> = commits
        .map(|writes| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(writes).await })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(StoreError::Conflict) => {}
            Err(other) => panic!("{other}"),
        }
    }
    won
}

async fn one_swap_of_a_version_wins(store: Any) {
    let mut case = held(&Ask::default());
    store.commit(vec![insert(&case)]).await.unwrap();
    for round in 1..=8_usize {
        let swaps = (0..RACERS).map(|racer| {
            let mut next = case.clone();
            next.version += 1;
            next.self_grown.insert(person(&format!("p{round}-{racer}")));
            vec![Write::Record(racer.to_string().into()), swap(&next)]
        });
        assert_eq!(winners(&store, swaps).await, 1);
        case = stored(&store, &case.request.id).await;
        assert_eq!(case.self_grown.len(), round);
        assert_eq!(store.outbox(999).await.unwrap().len(), round);
    }
}

async fn one_permit_wins(store: Any) {
    let case = store_approved(&store, &Ask::default()).await;
    let claims = (0..RACERS).map(|racer| {
        let run = running(&case, racer);
        vec![permit(racer, &run), swap(&run)]
    });
    assert_eq!(winners(&store, claims).await, 1);

    let ask = Ask {
        number: 2,
        key: "b",
        ..Ask::default()
    };
    let bare = store_approved(&store, &ask).await;
    let permits = (RACERS..2 * RACERS).map(|racer| vec![permit(racer, &bare)]);
    assert_eq!(winners(&store, permits).await, 1);
}

async fn one_use_of_a_link_wins(store: Any) {
    let link = credential(1, CredentialKind::Link, "person:dana@example.com");
    store.commit(vec![issue(&link)]).await.unwrap();
    let uses = (0..RACERS).map(|racer| {
        let mut session = credential(
            racer + 2,
            CredentialKind::Session,
            "person:dana@example.com",
        );
        session.parent = Some(link.id.clone());
        let (id, at) = (link.id.clone(), Timestamp(1_500));
        vec![Write::UseCredential { id, at }, issue(&session)]
    });
    assert_eq!(winners(&store, uses).await, 1);
    assert_eq!(store.credentials(None).await.unwrap().len(), 2);
}

async fn one_of_identical_calls_opens_a_case(store: Any) {
    let calls = (0..RACERS).map(|number| {
        let ask = Ask {
            number,
            ..Ask::default()
        };
        vec![insert(&held(&ask))]
    });
    assert_eq!(winners(&store, calls).await, 1);
    assert_eq!(store.in_phase("held").await.unwrap().len(), 1);
}

async fn reads_see_what_was_committed(store: Any) {
    let tasks: Vec<_> = (0..8_u128)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = number.to_string();
                let mut case = held(&Ask {
                    number,
                    key: &key,
                    ..Ask::default()
                });
                store.commit(vec![insert(&case)]).await.unwrap();
                for _ in 0..20 {
                    case.version += 1;
                    store.commit(vec![swap(&case)]).await.unwrap();
                    assert_eq!(stored(&store, &case.request.id).await, case);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
