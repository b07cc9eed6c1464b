//! Settings, idempotency keys, actions of unknown outcome.

use countersign_core::{canonical::Hash, request::Case, time::Timestamp};
use countersign_store::{Card, CredentialKind, Delivery, Forgetting, Write};

use super::{
    credentials::{credential, issue},
    fixture::*,
};

stores!(
    settings_are_set,
    deliveries_are_answered_once,
    rows_are_provisioned,
    an_answer_is_kept_for_a_day,
    unknown_actions_are_remembered,
    cards_are_noted_and_go_with_their_request,
    cards_of_somebody_go_with_their_credential
);

fn case(number: u128) -> Case {
    let key = format!("k{number}");
    held(&Ask {
        number,
        key: &key,
        ..Ask::default()
    })
}

async fn cards_are_noted_and_go_with_their_request(store: Any) {
    let card = |number: u128, channel: &str, place: &str| Card {
        channel: channel.into(),
        request: case(number).request.id,
        place: place.into(),
        message: None,
        shown: None,
        done: false,
    };
    let orphan = store.commit(vec![Write::PutCard(card(1, "slack", "C1"))]);
    assert_refused(orphan.await, "it refers to something");
    let cases = [1, 2].map(|number| insert(&case(number)));
    store.commit(cases.into()).await.unwrap();
    let request = |number| case(number).request.id;
    let first = card(1, "slack", "C1");
    let sent = Card {
        message: Some("1.2".into()),
        shown: Some(Hash::of(b"shown")),
        ..first.clone()
    };
    let done = Card {
        done: true,
        ..card(1, "slack", "C2")
    };
    let others = [card(1, "teams", "C1"), card(2, "slack", "C1")];
    let cards = [first, sent.clone(), done.clone()]
        .into_iter()
        .chain(others);
    store
        .commit(cards.map(Write::PutCard).collect())
        .await
        .unwrap();
    let kept = store.cards("slack", &request(1)).await.unwrap();
    assert_eq!(kept, [sent.clone(), done.clone()]);
    assert_eq!(store.carded("slack", "1.2").await.unwrap(), [request(1)]);
    assert_eq!(store.carded("teams", "1.2").await.unwrap(), []);
    let mut changing = store.changing_cards("slack").await.unwrap();
    changing.sort();
    assert_eq!(changing, [request(1), request(2)]);
    let over = Card { done: true, ..sent };
    store.commit(vec![Write::PutCard(over)]).await.unwrap();
    assert_eq!(store.changing_cards("slack").await.unwrap(), [request(2)]);
    let what = Forgetting {
        cases: vec![request(1)],
        ..Forgetting::default()
    };
    store.forget(what).await.unwrap();
    assert_eq!(store.cards("slack", &request(1)).await.unwrap(), []);
    assert_eq!(store.cards("teams", &request(1)).await.unwrap(), []);
    assert_eq!(store.changing_cards("slack").await.unwrap(), [request(2)]);
}

async fn cards_of_somebody_go_with_their_credential(store: Any) {
    let account = credential(1, CredentialKind::Account, "person:dana@example.com");
    let writes = vec![insert(&case(1)), issue(&account)];
    store.commit(writes).await.unwrap();
    let card = |place: String| Card {
        channel: "slack".into(),
        request: case(1).request.id,
        place,
        message: None,
        shown: None,
        done: true,
    };
    let id = &account.id;
    let cards = [
        format!("{id}"),
        format!("{id}!"),
        format!("{id}#1"),
        "C1".into(),
    ];
    let writes = cards.map(|place| Write::PutCard(card(place)));
    store.commit(writes.into()).await.unwrap();
    let what = Forgetting {
        credentials: vec![id.clone()],
        ..Forgetting::default()
    };
    store.forget(what).await.unwrap();
    let left = store.cards("slack", &case(1).request.id).await.unwrap();
    assert_eq!(left, [card("C1".into())]);
}

async fn deliveries_are_answered_once(store: Any) {
    let one = |gate: &str, key: &str, at: i64, done| Delivery {
        gate: gate.into(),
        key: key.into(),
        at: Timestamp(at),
        state: format!("{key} {done}"),
        done,
    };
    let (late, early) = (one("a", "1", 20, false), one("a", "2", 10, false));
    let other = one("b", "1", 5, false);
    let writes = [&late, &early, &other].map(|one| Write::PutDelivery(one.clone()));
    store.commit(writes.into()).await.unwrap();
    assert_eq!(store.owed_deliveries("a").await.unwrap(), [early, late]);
    let done = one("a", "1", 20, true);
    let put = |one: &Delivery| vec![Write::PutDelivery(one.clone())];
    store.commit(put(&done)).await.unwrap();
    assert_eq!(store.delivery("a", "1").await.unwrap(), Some(done.clone()));
    assert_eq!(store.delivery("a", "3").await.unwrap(), None);
    assert_eq!(store.owed_deliveries("a").await.unwrap().len(), 1);
    // What was answered is not owed again, and is forgotten only long after.
    let again = store.commit(put(&one("a", "1", 20, false))).await;
    assert_refused(again, "delivery_was_answered");
    let days = 86_400_000;
    store
        .commit(put(&one("a", "4", 89 * days, false)))
        .await
        .unwrap();
    assert!(store.delivery("a", "1").await.unwrap().is_some());
    store
        .commit(put(&one("a", "5", 91 * days, false)))
        .await
        .unwrap();
    assert_eq!(store.delivery("a", "1").await.unwrap(), None);
    assert_eq!(store.owed_deliveries("a").await.unwrap().len(), 3);
    assert_eq!(store.owed_deliveries("b").await.unwrap(), [other]);
}

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
