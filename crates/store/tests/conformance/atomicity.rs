//! A commit happens whole or not at all.

use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_store::{
    ActiveBundle, CaseFilter, CredentialKind, DirectoryEntry, Store, StoreError, Write,
};
use serde_json::json;

use super::{
    credentials::{credential, issue},
    fixture::*,
};

stores!(a_late_conflict_undoes_every_write, an_empty_commit_is_fine);

/// Everything that can be read, as text.
async fn everything(store: &Any) -> String {
    let filter = CaseFilter {
        limit: 200,
        ..CaseFilter::default()
    };
    let list = store.list(&filter).await.unwrap();
    let mut seen = format!("{list:?}");
    for line in &list.items {
        seen += &format!("{:?}", store.case(&line.id).await.unwrap());
    }
    for name in ["a", "b", "new"] {
        let found = store.find_attachable(&key(name), Timestamp(0)).await;
        seen += &format!("{:?}", found.unwrap());
        seen += &format!("{:?}", store.unknown().await.unwrap().contains(&key(name)));
        seen += &format!("{:?}", store.setting(name).await.unwrap());
        seen += &format!("{:?}", store.idempotent("s", name).await.unwrap());
    }
    seen += &format!("{:?}", store.outbox(99).await.unwrap());
    seen += &format!("{:?}", store.active_bundle().await.unwrap());
    seen += &format!("{:?}", store.directory_changes().await.unwrap());
    seen += &format!("{:?}", store.provisioned().await.unwrap());
    seen + &format!("{:?}", store.credentials(None).await.unwrap())
}

fn bundle(name: &str, replaces: Option<&str>) -> Write {
    Write::ActivateBundle {
        bundle: Box::new(ActiveBundle {
            hash: Hash::of(name.as_bytes()),
            files: json!({}),
            directory: json!({}),
            activated: Timestamp(1),
            request: None,
        }),
        replaces: replaces.map(|name| Hash::of(name.as_bytes())),
    }
}

fn answer(key: &str, at: i64) -> Write {
    Write::Idempotent {
        subject: "s".into(),
        key: key.into(),
        body: Hash::of(b"body"),
        answer: b"answer".to_vec(),
        at: Timestamp(at),
    }
}

fn set(key: &str, value: &str) -> Write {
    let (key, value) = (key.into(), value.into());
    Write::Set { key, value }
}

async fn fill(store: &Any) {
    let link = credential(1, CredentialKind::Link, "person:dana@example.com");
    let token = credential(2, CredentialKind::Token, "agent:bot");
    let change = DirectoryEntry {
        change: json!({ "n": 1 }),
        at: Timestamp(1),
        countersigned: true,
    };
    let case = held(&Ask::default());
    let writes = vec![
        insert(&case),
        swap_with(&voted(&case, &["dana"]), &[("dana", b"d")]),
        Write::Record(b"one".to_vec()),
        bundle("a", None),
        Write::ChangeDirectory(change),
        Write::Provision {
            key: "user/usr_1".into(),
            value: Some("{}".into()),
        },
        issue(&link),
        issue(&token),
        Write::RememberUnknown {
            key: key("a"),
            request: request_id(1),
            at: Timestamp(1),
        },
        set("a", "1"),
        answer("a", 1),
    ];
    store.commit(writes).await.unwrap();
}

async fn a_late_conflict_undoes_every_write(store: Any) {
    fill(&store).await;
    let before = everything(&store).await;
    let stored = stored(&store, &request_id(1)).await;
    let approved = approved(&voted(&stored, &[]), 9_000);
    let approved = countersign_core::request::Case {
        version: 2,
        ..approved
    };
    let run = running(&approved, 1);
    let new = Ask {
        number: 2,
        key: "new",
        ..Ask::default()
    };
    let id = |number| countersign_core::id::CredentialId::from_bits(number);
    let changes = vec![
        swap(&approved),
        permit(1, &run),
        swap(&run),
        insert(&held(&new)),
        Write::Record(b"two".to_vec()),
        Write::Acknowledge(u64::MAX),
        bundle("b", Some("a")),
        Write::UseCredential {
            id: id(1),
            at: Timestamp(2),
        },
        issue(&credential(3, CredentialKind::Token, "agent:bot")),
        Write::RevokeCredential {
            id: id(1),
            at: Timestamp(2),
        },
        Write::RevokeHolder {
            holder: "agent:bot".into(),
            at: Timestamp(2),
        },
        Write::ForgetUnknown { key: key("a") },
        Write::RememberUnknown {
            key: key("b"),
            request: request_id(2),
            at: Timestamp(1),
        },
        set("a", "2"),
        set("b", "2"),
        answer("b", i64::MAX),
    ];
    let last = [
        insert(&held(&Ask::default())),
        swap(&run),
        permit(2, &run),
        bundle("c", None),
        answer("b", i64::MAX),
    ];
    for conflicting in last {
        let mut writes = changes.clone();
        writes.push(conflicting);
        assert_conflict(store.commit(writes).await);
        assert_eq!(everything(&store).await, before);
    }
    // What is found only when all is written undoes it too.
    let mut writes = changes.clone();
    writes.push(permit(7, &held(&Ask { number: 7, ..new })));
    let result = store.commit(writes).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
    assert_eq!(everything(&store).await, before);

    store.commit(changes).await.unwrap();
    assert_ne!(everything(&store).await, before);
}

async fn an_empty_commit_is_fine(store: Any) {
    Store::commit(&*store, Vec::new()).await.unwrap();
}
