//! Edits by hand, damaged content, and disks that take no more.

use std::{path::Path, process::Command, sync::Arc};

use countersign_core::request::Outcome;
use countersign_store::{SqliteStore, StoreError, Write};

use super::{
    credentials::{credential, issue},
    fixture::*,
    sqlite_durable::edit,
};

/// One case in phase held, approved, running, succeeded and denied each, named 1 to 5.
async fn furnished(path: &Path) -> Any {
    let store: Any = Arc::new(SqliteStore::open(path).await.unwrap());
    let ask = |number, key| Ask {
        number,
        key,
        ..Ask::default()
    };
    let case = held(&ask(1, "1"));
    let next = voted(&case, &["dana"]);
    let writes = vec![insert(&case), swap_with(&next, &[("dana", b"d")])];
    store.commit(writes).await.unwrap();
    store_approved(&store, &ask(2, "2")).await;
    store_running(&store, &ask(3, "3"), 3).await;
    let run = store_running(&store, &ask(4, "4"), 4).await;
    let done = finished(&run, 4, Outcome::Succeeded);
    store.commit(vec![swap(&done)]).await.unwrap();
    let fifth = held(&ask(5, "5"));
    let gone = closed(&fifth, denied(), 9_000);
    store
        .commit(vec![insert(&fifth), swap(&gone)])
        .await
        .unwrap();
    let kind = countersign_store::CredentialKind::Link;
    let link = credential(1, kind, "person:dana@example.com");
    let session = credential(
        2,
        countersign_store::CredentialKind::Session,
        "person:dana@example.com",
    );
    let at = countersign_core::time::Timestamp(5);
    let writes = vec![
        issue(&link),
        issue(&session),
        Write::UseCredential {
            id: link.id.clone(),
            at,
        },
        Write::RevokeCredential { id: link.id, at },
        Write::Record(b"r".to_vec()),
    ];
    store.commit(writes).await.unwrap();
    store
}

/// Edits of cases by hand, and the rule each runs into.
const OF_CASES: &[(&str, &str)] = &[
    (
        "UPDATE cases SET phase = 'held', deadline = 1, permit = NULL, \
                 version = version + 1 WHERE phase = 'succeeded'",
        "case_phase_moves_forward",
    ),
    (
        "UPDATE cases SET phase = 'approved', deadline = 1, refuse_until = NULL, \
                 version = version + 1 WHERE phase = 'denied'",
        "case_phase_moves_forward",
    ),
    (
        "UPDATE cases SET phase = 'running', deadline = NULL, permit = 'p', \
                 version = version + 1 WHERE phase = 'held'",
        "case_phase_moves_forward",
    ),
    (
        "UPDATE cases SET phase = 'running', deadline = NULL, permit = 'p', \
                 version = version + 1 WHERE phase = 'approved'",
        "FOREIGN KEY",
    ),
    (
        "UPDATE cases SET phase = 'running', deadline = NULL, version = version + 1 \
                 WHERE phase = 'approved'",
        "case_permit_once_running",
    ),
    (
        "UPDATE cases SET permit = 'other', version = version + 1 WHERE phase = 'running'",
        "case_permit_is_fixed",
    ),
    (
        "UPDATE cases SET version = version",
        "case_version_counts_by_1",
    ),
    (
        "UPDATE cases SET version = version + 2",
        "case_version_counts_by_1",
    ),
    ("UPDATE cases SET version = -1", "case_version_counts_by_1"),
    (
        "UPDATE cases SET attach_key = zeroblob(32), version = version + 1",
        "case_request_is_fixed",
    ),
    (
        "UPDATE cases SET digest = zeroblob(32), version = version + 1",
        "case_request_is_fixed",
    ),
    (
        "UPDATE cases SET id = 'x', version = version + 1",
        "case_request_is_fixed",
    ),
    (
        "UPDATE cases SET at = 0, version = version + 1",
        "case_request_is_fixed",
    ),
    (
        "UPDATE cases SET phase = 'done', version = version + 1 WHERE phase = 'held'",
        "case_phase_is_known",
    ),
    (
        "UPDATE cases SET deadline = NULL, version = version + 1 WHERE phase = 'held'",
        "case_deadline_while_open",
    ),
    (
        "UPDATE cases SET refuse_until = NULL, version = version + 1 \
                 WHERE phase = 'denied'",
        "case_refuse_until_once_closed",
    ),
    ("DELETE FROM cases", "case_stays"),
];

/// Edits of everything else.
const OF_THE_REST: &[(&str, &str)] = &[
    ("DELETE FROM permits", "permit_stays"),
    ("UPDATE permits SET at = 0", "permit_is_fixed"),
    (
        "INSERT INTO permits SELECT 'again', request, 0 FROM permits",
        "UNIQUE",
    ),
    (
        "INSERT INTO permits VALUES ('p', 'absent', 0)",
        "FOREIGN KEY",
    ),
    ("UPDATE votes SET envelope = x'00'", "vote_is_fixed"),
    (
        "INSERT INTO votes (request, voter, envelope) SELECT request, 'eve', envelope FROM votes",
        "envelope_has_its_vote",
    ),
    (
        "INSERT INTO votes (request, voter, envelope) VALUES ('absent', 'eve', x'00')",
        "envelope_has_its_vote",
    ),
    (
        "INSERT INTO votes (request, voter, envelope) \
                 SELECT request, voter, envelope FROM votes",
        "UNIQUE",
    ),
    ("UPDATE outbox SET record = x'00'", "record_is_fixed"),
    (
        "UPDATE credentials SET used = NULL WHERE kind = 'link'",
        "link_is_used_once",
    ),
    (
        "UPDATE credentials SET used = 7 WHERE kind = 'link'",
        "link_is_used_once",
    ),
    (
        "UPDATE credentials SET used = 7 WHERE kind = 'session'",
        "only_links_are_used",
    ),
    (
        "UPDATE credentials SET revoked = NULL WHERE kind = 'link'",
        "revocation_stays",
    ),
    (
        "UPDATE credentials SET holder = 'person:eve' WHERE kind = 'session'",
        "credential_is_fixed",
    ),
    (
        "INSERT INTO credentials VALUES \
                 ('c', 'session', zeroblob(32), 'agent:a', NULL, NULL, 0, 0, NULL, NULL, 0, '{}')",
        "session_is_a_persons",
    ),
    (
        "INSERT INTO credentials VALUES \
                 ('c', 'key', zeroblob(32), 'agent:a', NULL, NULL, 0, 0, NULL, NULL, 0, '{}')",
        "credential_kind_is_known",
    ),
    (
        "UPDATE credentials SET revoked_with_holder = 1 WHERE kind = 'link'",
        "revocation_stays",
    ),
    (
        "UPDATE credentials SET revoked_with_holder = 1 WHERE revoked IS NULL",
        "holders_take_what_is_revoked",
    ),
    ("DELETE FROM credentials", "credential_stays"),
    (
        "INSERT INTO bundles VALUES (1, zeroblob(32), 0, NULL, 1, '{}', '{}'); \
                 INSERT INTO bundles VALUES (2, zeroblob(32), 0, NULL, 1, '{}', '{}')",
        "UNIQUE",
    ),
    (
        "UPDATE bundles SET files = '{\"evil\":1}'",
        "bundle_is_fixed",
    ),
    (
        "INSERT INTO cases SELECT * FROM cases",
        "case_begins_at_version_0",
    ),
];

#[tokio::test]
async fn edits_by_hand_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let _store = furnished(&path).await;
    for (statement, rule) in OF_CASES.iter().chain(OF_THE_REST) {
        let error = edit(&path, statement).await.expect_err(statement);
        let said = error.to_string();
        assert!(said.contains(rule), "{statement}: {said} is not {rule}");
    }
}

#[tokio::test]
async fn damaged_content_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = furnished(&path).await;
    let damages = [
        "UPDATE cases SET body = x'7b', version = version + 1 WHERE phase = 'held'",
        // The case itself still says what it said before.
        "UPDATE cases SET version = version + 1 WHERE phase = 'approved'",
        "UPDATE cases SET phase = 'failed', version = version + 1 WHERE phase = 'running'",
    ];
    for (number, damage) in (1..).zip(damages) {
        edit(&path, damage).await.unwrap();
        let result = store.case(&request_id(number)).await;
        assert!(
            matches!(result, Err(StoreError::Corrupt(_))),
            "{damage}: {result:?}"
        );
    }
    edit(
        &path,
        "INSERT INTO bundles VALUES (1, zeroblob(32), 0, NULL, 1, '{', '{}'); \
         INSERT INTO directory_changes VALUES (1, 'x', 0, 0)",
    )
    .await
    .unwrap();
    let result = store.active_bundle().await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    let result = store.directory_changes().await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    // The rest can still be read.
    assert!(store.case(&request_id(4)).await.unwrap().is_some());
}

/// A file system of its own, which only an administrator can make.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        mount(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            directory.path(),
        )
        .then_some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let mut command = Command::new("mount");
    let output = command.args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_recovered_from() {
    let Some(disk) = Disk::of("2m") else {
        eprintln!("not tested: making a small file system takes an administrator");
        return;
    };
    let path = disk.0.path().join("store.db");
    let store: Any = Arc::new(SqliteStore::open(&path).await.unwrap());
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 500_000]).unwrap();
    let mut kept: Vec<_> = Vec::new();
    let mut fill = async |from: u128| {
        for number in from.. {
            let key = number.to_string();
            let case = held(&Ask {
                number,
                key: &key,
                ..Ask::default()
            });
            let writes = vec![Write::Record(vec![7; 20_000]), insert(&case)];
            match store.commit(writes).await {
                Ok(_) => kept.push(case.request.id),
                Err(StoreError::Unwritable(_)) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(store.in_phase("held").await.unwrap(), kept);
        assert_eq!(store.outbox(9_999).await.unwrap().len(), kept.len());
        kept.len()
    };
    let first = fill(1).await;
    assert!(first > 5, "{first}");
    assert_eq!(fill(1_000).await, first, "still full");

    std::fs::remove_file(&ballast).unwrap();
    assert!(fill(2_000).await > first);
}

#[tokio::test]
async fn a_read_only_disk_is_reported() {
    let Some(disk) = Disk::of("4m") else {
        eprintln!("not tested: making a small file system takes an administrator");
        return;
    };
    let path = disk.0.path().join("store.db");
    SqliteStore::open(&path)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    assert!(mount(&["-o", "remount,ro"], disk.0.path()));
    let result = SqliteStore::open(&path).await.map(|_| ());
    assert!(
        matches!(result, Err(StoreError::Unwritable(_))),
        "{result:?}"
    );
    assert!(mount(&["-o", "remount,rw"], disk.0.path()));
    SqliteStore::open(&path).await.unwrap();
}
