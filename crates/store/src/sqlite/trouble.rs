//! Tests of a writer in trouble that need its insides: a full file, a read-only connection, a
//! commit cut off half-way.

use std::{path::Path, task::Poll};

use sqlx::sqlite::SqliteConnectOptions;

use super::{SqliteStore, open, writer::Writer};
use crate::{Store, StoreError, Write};

async fn with(
    path: &Path,
    change: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
) -> SqliteStore {
    let sound = SqliteStore::open(path).await.unwrap();
    let writer = Writer::connect(change(open::options(path))).await.unwrap();
    SqliteStore {
        writer,
        readers: sound.readers,
    }
}

fn record(size: usize) -> Vec<Write> {
    vec![Write::Record(vec![7; size])]
}

fn set(number: i32) -> Write {
    Write::Set {
        key: number.to_string(),
        value: "x".into(),
    }
}

#[tokio::test]
async fn a_full_file_is_unwritable_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = with(&directory.path().join("store.db"), |options| {
        options.pragma("max_page_count", "120")
    })
    .await;
    let mut kept = 0;
    let fill = async || {
        let mut added = 0;
        loop {
            let mut writes = record(10);
            writes.extend(record(20_000));
            match store.commit(writes).await {
                Ok(_) => added += 2,
                Err(StoreError::Unwritable(_)) => return added,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    for _ in 0..3 {
        kept += fill().await;
        let waiting = store.outbox(999).await.unwrap();
        assert_eq!(waiting.len(), kept);
        assert!(kept > 4);
        assert!(fill().await == 0, "still full");
        // Room is made by what needs none.
        let half = waiting[kept / 2].seq;
        store.commit(vec![Write::Acknowledge(half)]).await.unwrap();
        kept = store.outbox(999).await.unwrap().len();
    }
}

#[tokio::test]
async fn a_read_only_connection_is_unwritable() {
    let directory = tempfile::tempdir().unwrap();
    let store = with(&directory.path().join("store.db"), |options| {
        options.pragma("query_only", "ON")
    })
    .await;
    let result = store.commit(record(1)).await;
    assert!(
        matches!(result, Err(StoreError::Unwritable(_))),
        "{result:?}"
    );
    assert_eq!(store.outbox(9).await.unwrap(), []);
}

#[tokio::test]
async fn a_commit_cut_off_half_way_leaves_the_old_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.commit(record(1)).await.unwrap();
    let many = (0..500).flat_map(|n| [set(n), Write::Record(vec![7; 9_000])]);
    let many = many.collect::<Vec<_>>();
    for polls in [1, 2, 10, 100, 400] {
        let mut commit = store.commit(many.clone());
        let mut left = polls;
        // Dropped after a number of steps, always before `COMMIT`.
        std::future::poll_fn(|context| {
            left -= 1;
            let poll = commit.as_mut().poll(context);
            assert!(poll.is_pending(), "it ended first");
            match left {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        drop(commit);
        assert_eq!(store.outbox(9_999).await.unwrap().len(), 1);
        assert_eq!(store.setting("0").await.unwrap(), None);
        store.commit(vec![set(-1)]).await.unwrap();
        assert_eq!(store.outbox(9_999).await.unwrap().len(), 1);
    }
}
