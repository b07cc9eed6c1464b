//! Records on their way to the log.

use countersign_store::Write;

use super::fixture::*;

stores!(records_keep_their_order, numbers_never_come_again);

fn record(text: &str) -> Write {
    Write::Record(text.into())
}

async fn records(store: &Any, limit: u32) -> Vec<(u64, String)> {
    let waiting = store.outbox(limit).await.unwrap().into_iter();
    waiting
        .map(|entry| (entry.seq, String::from_utf8(entry.record).unwrap()))
        .collect()
}

async fn records_keep_their_order(store: Any) {
    assert_eq!(records(&store, 9).await, []);
    store.commit(vec![record("a"), record("b")]).await.unwrap();
    let case = held(&Ask::default());
    let writes = vec![record("c"), insert(&case), record(""), record("e")];
    store.commit(writes).await.unwrap();
    let all = records(&store, 9).await;
    let texts: Vec<_> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["a", "b", "c", "", "e"]);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "{all:?}");
    assert_eq!(records(&store, 2).await, all[..2]);
    assert_eq!(records(&store, 0).await, []);

    store
        .commit(vec![Write::Acknowledge(all[1].0)])
        .await
        .unwrap();
    assert_eq!(records(&store, 9).await, all[2..]);
    // Acknowledging again, or nothing, changes nothing.
    let writes = vec![Write::Acknowledge(all[0].0), Write::Acknowledge(0)];
    store.commit(writes).await.unwrap();
    assert_eq!(records(&store, 9).await, all[2..]);
}

async fn numbers_never_come_again(store: Any) {
    store.commit(vec![record("a"), record("b")]).await.unwrap();
    let last = records(&store, 9).await[1].0;
    store
        .commit(vec![Write::Acknowledge(u64::MAX)])
        .await
        .unwrap();
    assert_eq!(records(&store, 9).await, []);
    store.commit(vec![record("c")]).await.unwrap();
    assert!(records(&store, 9).await[0].0 > last);
}
