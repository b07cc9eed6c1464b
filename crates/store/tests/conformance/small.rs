//! Settings, idempotency keys, actions of unknown outcome.

use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_store::Write;

use super::fixture::*;

stores!(
    settings_are_set,
    rows_are_provisioned,
    an_answer_is_kept_for_a_day,
    unknown_actions_are_remembered
);

async fn settings_are_set(store: Any) {
    let set = |value: &str| Write::Set {
        key: "instance".into(),
        value: value.into(),
    };
    assert_eq!(store.setting("instance").await.unwrap(), None);
    store.commit(vec![set("a")]).await.unwrap();
    store.commit(vec![set("b"), set("")]).await.unwrap();
    assert_eq!(
        store.setting("instance").await.unwrap().as_deref(),
        Some("")
    );
    assert_eq!(store.setting("other").await.unwrap(), None);
}

async fn rows_are_provisioned(store: Any) {
    let set = |key: &str, value: Option<&str>| Write::Provision {
        key: key.into(),
        value: value.map(str::to_owned),
    };
    let rows = async || {
        let rows = store.provisioned().await.unwrap().into_iter();
        let rows: Vec<_> = rows.map(|(key, value)| key + "=" + &value).collect();
        rows.join(" ")
    };
    assert_eq!(rows().await, "");
    let writes = vec![set("user/1", Some("1")), set("group/1", Some("2"))];
    store.commit(writes).await.unwrap();
    assert_eq!(rows().await, "group/1=2 user/1=1");
    let writes = vec![
        set("user/1", Some("3")),
        set("group/1", None),
        set("group/2", None),
    ];
    store.commit(writes).await.unwrap();
    assert_eq!(rows().await, "user/1=3");
}

async fn an_answer_is_kept_for_a_day(store: Any) {
    const DAY: i64 = 86_400_000;
    let answer = |subject: &str, key: &str, answer: &str, at| Write::Idempotent {
        subject: subject.into(),
        key: key.into(),
        body: Hash::of(answer.as_bytes()),
        answer: answer.into(),
        at: Timestamp(at),
    };
    let kept = async |subject: &str, key: &str| {
        let found = store.idempotent(subject, key).await.unwrap();
        found.map(|(body, answer)| {
            assert_eq!(body, Hash::of(&answer));
            String::from_utf8(answer).unwrap()
        })
    };
    store
        .commit(vec![answer("a", "k", "one", 1_000)])
        .await
        .unwrap();
    assert_eq!(kept("a", "k").await.as_deref(), Some("one"));
    assert_eq!(kept("a", "j").await, None);
    assert_eq!(kept("b", "k").await, None);
    assert_conflict(store.commit(vec![answer("a", "k", "two", 1_001)]).await);
    store
        .commit(vec![answer("b", "k", "three", 1_002)])
        .await
        .unwrap();

    let later = DAY + 1_000;
    assert_conflict(store.commit(vec![answer("a", "k", "four", later)]).await);
    store
        .commit(vec![answer("a", "k", "five", later + 1)])
        .await
        .unwrap();
    assert_eq!(kept("a", "k").await.as_deref(), Some("five"));
    assert_eq!(kept("b", "k").await.as_deref(), Some("three"));
    store
        .commit(vec![answer("c", "k", "six", later + 3)])
        .await
        .unwrap();
    assert_eq!(kept("b", "k").await, None);
}

async fn unknown_actions_are_remembered(store: Any) {
    let remember = |number| Write::RememberUnknown {
        key: key("a"),
        request: request_id(number),
        at: Timestamp(1),
    };
    assert!(!store.unknown().await.unwrap().contains(&key("a")));
    store.commit(vec![remember(1)]).await.unwrap();
    store.commit(vec![remember(2)]).await.unwrap();
    assert!(store.unknown().await.unwrap().contains(&key("a")));
    assert!(!store.unknown().await.unwrap().contains(&key("b")));
    let forget = Write::ForgetUnknown { key: key("a") };
    store.commit(vec![forget.clone()]).await.unwrap();
    assert!(!store.unknown().await.unwrap().contains(&key("a")));
    store.commit(vec![forget]).await.unwrap();
}
