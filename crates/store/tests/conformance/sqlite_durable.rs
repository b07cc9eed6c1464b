//! The SQLite file: what it keeps, whom it lets in, which files it takes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use countersign_store::{SqliteStore, Store, StoreError, Write};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::fixture::*;

async fn open(path: &Path) -> Any {
    Arc::new(SqliteStore::open(path).await.unwrap())
}

/// A connection such as an operator's shell would have.
pub(crate) async fn by_hand(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.foreign_keys(true).connect().await.unwrap()
}

pub(crate) async fn edit(path: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = by_hand(path).await;
    let result = sqlx::raw_sql(statement).execute(&mut connection).await;
    connection.close().await.unwrap();
    result.map(|_| ())
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let case = held(&Ask::default());
    let next = voted(&case, &["dana"]);
    let writes = vec![
        insert(&case),
        swap_with(&next, &[("dana", b"d")]),
        Write::Record(b"one".to_vec()),
        Write::Record(b"two".to_vec()),
        Write::Acknowledge(2),
    ];
    store.commit(writes).await.unwrap();
    store.close().await.unwrap();
    assert!(!directory.path().join("store.db-wal").exists());

    let store = open(&path).await;
    let read = store.case(&case.request.id).await.unwrap().unwrap();
    assert_eq!(read.case, next);
    assert_eq!(read.envelopes, [(person("dana"), b"d".to_vec())]);
    store
        .commit(vec![Write::Record(b"three".to_vec())])
        .await
        .unwrap();
    assert_eq!(store.outbox(9).await.unwrap()[0].seq, 3);
}

#[tokio::test]
async fn a_process_that_vanishes_loses_no_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = open(&path).await;
    let case = held(&Ask::default());
    store.commit(vec![insert(&case)]).await.unwrap();
    // What a killed process leaves: the files as they are, with nothing merged.
    let copy = directory.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = directory.path().join(format!("store.db{suffix}"));
        fs::copy(from, directory.path().join(format!("copy.db{suffix}"))).unwrap();
    }
    let survivor = open(&copy).await;
    assert_eq!(stored(&survivor, &case.request.id).await, case);
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let store = open(&path).await;
    store
        .commit(vec![Write::Record(b"x".to_vec())])
        .await
        .unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = directory.path().join(format!("store.db{suffix}"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    // Bytes 68 to 71 are what `file` looks at.
    assert_eq!(fs::read(&path).unwrap()[68..72], *b"CSGN");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    SqliteStore::open(&path)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    edit(&path, "PRAGMA user_version = 7").await.unwrap();
    let before = fs::read(&path).unwrap();
    match SqliteStore::open(&path).await.map(|_| ()) {
        Err(StoreError::Refused(text)) => {
            assert!(text.contains("schema version 7"), "{text}");
            assert!(text.contains("newer program"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.db");
    fs::write(&other, b"").unwrap();
    edit(&other, "CREATE TABLE theirs (x)").await.unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::read(&other).unwrap();
    let result = SqliteStore::open(&other).await.map(|_| ());
    assert_refused(result, "the file is another program's database");
    assert_eq!(fs::read(&other).unwrap(), before);
    let mode = fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let text = directory.path().join("notes.txt");
    fs::write(
        &text,
        "not a database, but long enough to look at".repeat(99),
    )
    .unwrap();
    let result = SqliteStore::open(&text).await.map(|_| ());
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");

    let nowhere = directory.path().join("absent/store.db");
    let result = SqliteStore::open(&nowhere).await.map(|_| ());
    assert!(
        matches!(result, Err(StoreError::Unwritable(_))),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = open(&path).await;
    let mut other = by_hand(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE; INSERT INTO settings VALUES ('theirs', '1')")
        .execute(&mut other)
        .await
        .unwrap();
    let commit = tokio::spawn({
        let store = store.clone();
        async move { store.commit(vec![insert(&held(&Ask::default()))]).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(store.in_phase("held").await.unwrap(), []);
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    commit.await.unwrap().unwrap();
    assert_eq!(store.in_phase("held").await.unwrap().len(), 1);
    assert!(store.setting("theirs").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_waits_for_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = open(&path).await;
    let mut kept = 0;
    for number in 0..60_u128 {
        let writes: Vec<_> = (0..10)
            .map(|part| {
                let key = format!("{number} {part}");
                insert(&held(&Ask {
                    number: number * 100 + part,
                    key: &key,
                    ..Ask::default()
                }))
            })
            .collect();
        let patience = std::time::Duration::from_micros(u64::try_from(number * 50).unwrap());
        let _ = tokio::time::timeout(patience, store.commit(writes)).await;
        // The next commit waits until the one given up is decided.
        store.commit(Vec::new()).await.unwrap();
        let now = store.in_phase("held").await.unwrap().len();
        assert!(now == kept || now == kept + 10, "{now} after {kept}");
        kept = now;
    }
}
