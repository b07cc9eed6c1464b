//! Forgetting: what goes is gone, what stays stays, and the guards stand again.

use countersign_core::{canonical::Hash, request::Outcome, time::Timestamp};
use countersign_store::{
    ActiveBundle, Card, CredentialKind, DirectoryEntry, Forgetting, SqliteStore, Write,
};
use serde_json::json;

use super::{
    credentials::{credential, issue},
    fixture::*,
};

stores!(
    what_is_named_goes_and_nothing_else,
    places_go_by_how_they_begin,
    texts_are_found_in_capitals_or_not
);

fn ask(number: u128, title: &'static str) -> Ask<'static> {
    Ask {
        number,
        key: title,
        title,
        ..Ask::default()
    }
}

async fn ended(store: &Any, ask: &Ask<'_>) -> countersign_core::id::RequestId {
    let running = store_running(store, ask, ask.number).await;
    let done = finished(&running, ask.number, Outcome::Succeeded);
    store.commit(vec![swap(&done)]).await.unwrap();
    done.request.id
}

async fn what_is_named_goes_and_nothing_else(store: Any) {
    let gone = ended(&store, &ask(1, "walrus")).await;
    let kept = ended(&store, &ask(2, "pelican")).await;
    let (one, other) = (
        credential(1, CredentialKind::Link, "person:dana"),
        credential(2, CredentialKind::Link, "person:eli"),
    );
    let change = |name: &str| DirectoryEntry {
        change: json!({ "about": name }),
        at: Timestamp(1),
        countersigned: true,
    };
    let answer = |subject: &str| Write::Idempotent {
        subject: subject.into(),
        key: "k".into(),
        body: Hash::of(b"x"),
        answer: b"{}".to_vec(),
        at: Timestamp(1),
    };
    let provision = |key: &str| Write::Provision {
        key: key.into(),
        value: Some("{}".into()),
    };
    let writes = vec![
        issue(&one),
        issue(&other),
        Write::ChangeDirectory(change("dana")),
        Write::ChangeDirectory(change("eli")),
        answer("person:dana"),
        answer("person:eli"),
        provision("user/1"),
        provision("user/2"),
    ];
    store.commit(writes).await.unwrap();
    let what = Forgetting {
        cases: vec![gone.clone(), gone.clone()],
        credentials: vec![one.id.clone()],
        changes: Some(vec![change("eli")]),
        answers_with: Some("DANA".into()),
        provisioned: vec!["user/1".into()],
        places: Vec::new(),
    };
    for _ in 0..2 {
        store.forget(what.clone()).await.unwrap();
        assert_eq!(store.case(&gone).await.unwrap(), None);
        assert!(store.case(&kept).await.unwrap().is_some());
        assert_eq!(store.credential(&one.id).await.unwrap(), None);
        assert_eq!(store.credential_by_secret(&one.secret).await.unwrap(), None);
        let left = store.credentials(None).await.unwrap();
        assert_eq!(left, std::slice::from_ref(&other));
        assert_eq!(store.directory_changes().await.unwrap(), [change("eli")]);
        let provisioned = store.provisioned().await.unwrap();
        assert_eq!(provisioned.keys().collect::<Vec<_>>(), ["user/2"]);
        assert_eq!(store.idempotent("person:dana", "k").await.unwrap(), None);
        assert!(store.idempotent("person:eli", "k").await.unwrap().is_some());
    }
    // The store goes on as before.
    ended(&store, &ask(3, "walrus")).await;
}

async fn places_go_by_how_they_begin(store: Any) {
    let of = ended(&store, &ask(1, "walrus")).await;
    let told = |place: &str| {
        Write::PutCard(Card {
            channel: "mail".into(),
            request: of.clone(),
            place: place.into(),
            message: None,
            shown: None,
            done: true,
        })
    };
    let places = ["person:dana waits", "person:dana2 waits", "to:ops waits"];
    store.commit(places.map(told).into()).await.unwrap();
    let what = Forgetting {
        places: vec!["person:DANA ".into(), "person:%".into()],
        ..Forgetting::default()
    };
    for _ in 0..2 {
        store.forget(what.clone()).await.unwrap();
        let left = store.cards("mail", &of).await.unwrap();
        let left: Vec<_> = left.iter().map(|card| card.place.as_str()).collect();
        assert_eq!(left, ["person:dana2 waits", "to:ops waits"]);
    }
}

async fn texts_are_found_in_capitals_or_not(store: Any) {
    let one = ended(&store, &ask(1, "Ask Dana")).await;
    let other = held(&ask(2, "ask dana")).request.id;
    store
        .commit(vec![insert(&held(&ask(2, "ask dana")))])
        .await
        .unwrap();
    ended(&store, &ask(3, "ask eli")).await;
    assert_eq!(store.mentioning("dANA").await.unwrap(), [one, other]);
    assert_eq!(store.mentioning("ask d_na").await.unwrap(), []);
}

/// Nothing is left in the file, its free pages or its write-ahead log, and rows stay as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_forgotten_is_in_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store: Any = std::sync::Arc::new(SqliteStore::open(&path).await.unwrap());
    let bundle = |name: &str| ActiveBundle {
        hash: Hash::of(name.as_bytes()),
        files: json!({ "f": name }),
        directory: json!({}),
        activated: Timestamp(1),
        request: None,
    };
    for (name, before) in [
        ("walrus-bundle", None),
        ("pelican-bundle", Some("walrus-bundle")),
    ] {
        let activate = Write::ActivateBundle {
            bundle: Box::new(bundle(name)),
            replaces: before.map(|name| Hash::of(name.as_bytes())),
        };
        store.commit(vec![activate]).await.unwrap();
    }
    let gone = ended(&store, &ask(1, "walrus-case")).await;
    let kept = ended(&store, &ask(2, "pelican-case")).await;
    let has = |text: &str| {
        std::fs::read_dir(directory.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes
                .windows(text.len())
                .any(|some| some == text.as_bytes())
        })
    };
    assert!(has("walrus-case") && has("walrus-bundle"));
    let what = Forgetting {
        cases: vec![gone],
        changes: Some(Vec::new()),
        ..Forgetting::default()
    };
    store.forget(what).await.unwrap();
    assert!(!has("walrus"));
    assert!(has("pelican-case") && has("pelican-bundle"));
    let mut database = <sqlx::SqliteConnection as sqlx::Connection>::connect(&format!(
        "sqlite://{}",
        path.display()
    ))
    .await
    .unwrap();
    for guarded in ["DELETE FROM cases", "DELETE FROM permits"] {
        assert!(
            sqlx::query(guarded).execute(&mut database).await.is_err(),
            "{guarded}"
        );
    }
    assert!(store.case(&kept).await.unwrap().is_some());
}
