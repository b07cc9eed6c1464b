//! The active bundle and the directory changes since.

use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_store::{ActiveBundle, DirectoryEntry, Write};
use serde_json::json;

use super::fixture::*;

stores!(
    a_bundle_replaces_the_one_it_names,
    changes_last_until_the_next_bundle
);

fn bundle(name: &str, request: Option<u128>) -> ActiveBundle {
    ActiveBundle {
        hash: Hash::of(name.as_bytes()),
        files: json!({ "policies/main.cedar": "permit (principal, action, resource);\n" }),
        directory: json!({ "people": { "dana@example.com": { "groups": {} } } }),
        activated: Timestamp(1_000),
        request: request.map(request_id),
    }
}

fn activate(bundle: &ActiveBundle, replaces: Option<&str>) -> Write {
    Write::ActivateBundle {
        bundle: Box::new(bundle.clone()),
        replaces: replaces.map(|name| Hash::of(name.as_bytes())),
    }
}

async fn a_bundle_replaces_the_one_it_names(store: Any) {
    assert_eq!(store.active_bundle().await.unwrap(), None);
    let (a, b) = (bundle("a", None), bundle("b", Some(1)));
    assert_conflict(store.commit(vec![activate(&b, Some("a"))]).await);
    store.commit(vec![activate(&a, None)]).await.unwrap();
    assert_eq!(store.active_bundle().await.unwrap().as_ref(), Some(&a));
    assert_conflict(store.commit(vec![activate(&b, None)]).await);
    assert_conflict(store.commit(vec![activate(&b, Some("x"))]).await);
    assert_eq!(store.active_bundle().await.unwrap().as_ref(), Some(&a));
    store.commit(vec![activate(&b, Some("a"))]).await.unwrap();
    assert_eq!(store.active_bundle().await.unwrap().as_ref(), Some(&b));
    assert_conflict(store.commit(vec![activate(&b, Some("a"))]).await);
    // Going back to an earlier bundle is a change like any other.
    store.commit(vec![activate(&a, Some("b"))]).await.unwrap();
    assert_eq!(store.active_bundle().await.unwrap().as_ref(), Some(&a));
}

async fn changes_last_until_the_next_bundle(store: Any) {
    let change = |number: i64| DirectoryEntry {
        change: json!({ "add": number }),
        at: Timestamp(number),
        countersigned: number % 2 == 0,
    };
    let write = |number| Write::ChangeDirectory(change(number));
    let first = vec![activate(&bundle("a", None), None), write(3), write(2)];
    store.commit(first).await.unwrap();
    store.commit(vec![write(1)]).await.unwrap();
    let changes = store.directory_changes().await.unwrap();
    assert_eq!(changes, [change(3), change(2), change(1)]);

    let lost = vec![write(4), activate(&bundle("c", None), Some("x"))];
    assert_conflict(store.commit(lost).await);
    let changes = store.directory_changes().await.unwrap();
    assert_eq!(changes, [change(3), change(2), change(1)]);

    let next = vec![activate(&bundle("b", None), Some("a")), write(5)];
    store.commit(next).await.unwrap();
    assert_eq!(store.directory_changes().await.unwrap(), [change(5)]);
}
