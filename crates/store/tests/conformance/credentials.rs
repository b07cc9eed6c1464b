//! Credentials: issuing, using once, revoking.

use countersign_core::{canonical::Hash, id::CredentialId, time::Timestamp};
use countersign_store::{CredentialKind, StoredCredential, Write};
use serde_json::json;

use super::fixture::*;

stores!(
    credentials_read_back,
    secrets_and_names_are_unique,
    only_people_have_sessions,
    a_link_is_used_once,
    revoking_cascades,
    a_revoked_parent_has_no_more_children,
    a_holder_is_revoked_whole,
    an_unknown_credential_is_not_revoked,
);

fn id(number: u128) -> CredentialId {
    CredentialId::from_bits(number)
}

pub(crate) fn credential(number: u128, kind: CredentialKind, holder: &str) -> StoredCredential {
    StoredCredential {
        id: id(number),
        kind,
        secret: Hash::of(&number.to_be_bytes()),
        holder: holder.into(),
        issued_by: None,
        parent: None,
        issued: Timestamp(1_000),
        expires: Timestamp(2_000),
        used: None,
        revoked: None,
        revoked_with_holder: false,
        extra: json!({}),
    }
}

fn child(number: u128, parent: u128) -> StoredCredential {
    StoredCredential {
        parent: Some(id(parent)),
        ..credential(number, CredentialKind::Session, "person:dana@example.com")
    }
}

pub(crate) fn issue(credential: &StoredCredential) -> Write {
    Write::InsertCredential(Box::new(credential.clone()))
}

fn revoke(number: u128, at: i64) -> Write {
    Write::RevokeCredential {
        id: id(number),
        at: Timestamp(at),
    }
}

fn use_once(number: u128, at: i64) -> Write {
    Write::UseCredential {
        id: id(number),
        at: Timestamp(at),
    }
}

fn link(number: u128) -> StoredCredential {
    credential(number, CredentialKind::Link, "person:dana@example.com")
}

async fn credentials_read_back(store: Any) {
    let one = StoredCredential {
        issued_by: Some(person("olga")),
        extra: json!({ "csrf": "x", "n": [1, null] }),
        ..credential(1, CredentialKind::Token, "agent:deploy-bot")
    };
    let two = StoredCredential {
        issued: Timestamp(3_000),
        ..link(2)
    };
    let three = StoredCredential {
        issued: Timestamp(2_000),
        ..child(3, 2)
    };
    let writes = vec![issue(&one), issue(&two), issue(&three)];
    store.commit(writes).await.unwrap();
    let found = store.credential(&id(1)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&one));
    let found = store.credential_by_secret(&one.secret).await.unwrap();
    assert_eq!(found.as_ref(), Some(&one));
    assert_eq!(store.credential(&id(4)).await.unwrap(), None);
    let none = store.credential_by_secret(&Hash::of(b"none")).await;
    assert_eq!(none.unwrap(), None);
    let all = store.credentials(None).await.unwrap();
    assert_eq!(all, [two.clone(), three.clone(), one.clone()]);
    let danas = store.credentials(Some("person:dana@example.com")).await;
    assert_eq!(danas.unwrap(), [two, three]);
    let nobody = store.credentials(Some("person:nobody")).await.unwrap();
    assert_eq!(nobody, []);
}

async fn secrets_and_names_are_unique(store: Any) {
    store.commit(vec![issue(&link(1))]).await.unwrap();
    assert_conflict(store.commit(vec![issue(&link(1))]).await);
    let same_secret = StoredCredential {
        secret: link(1).secret,
        ..link(2)
    };
    assert_conflict(store.commit(vec![issue(&same_secret)]).await);
    let orphan = store.commit(vec![issue(&child(3, 99))]).await;
    assert_refused(orphan, "it refers to something");
}

async fn only_people_have_sessions(store: Any) {
    let session = |holder| credential(1, CredentialKind::Session, holder);
    for holder in ["agent:deploy-bot", "workload:ci"] {
        let result = store.commit(vec![issue(&session(holder))]).await;
        assert_refused(result, "session_is_a_persons");
        for kind in [CredentialKind::Passkey, CredentialKind::Account] {
            let result = store
                .commit(vec![issue(&credential(1, kind, holder))])
                .await;
            assert_refused(result, "session_is_a_persons");
        }
    }
    let passkey = credential(2, CredentialKind::Passkey, "person:dana@example.com");
    store.commit(vec![issue(&passkey)]).await.unwrap();
    let found = store.credential(&passkey.id).await.unwrap();
    assert_eq!(found, Some(passkey));
    let result = store.commit(vec![issue(&session("PERSON:dana"))]).await;
    assert_refused(result, "credential_holder_has_a_kind");
    let used = StoredCredential {
        used: Some(Timestamp(1)),
        ..credential(1, CredentialKind::Token, "agent:a")
    };
    assert_refused(
        store.commit(vec![issue(&used)]).await,
        "only_links_are_used",
    );
}

async fn a_link_is_used_once(store: Any) {
    let token = credential(2, CredentialKind::Token, "agent:a");
    let writes = vec![issue(&link(1)), issue(&token), issue(&link(3))];
    store.commit(writes).await.unwrap();
    assert_conflict(store.commit(vec![use_once(99, 1_500)]).await);
    let result = store.commit(vec![use_once(2, 1_500)]).await;
    assert_refused(result, "only_links_are_used");

    let writes = vec![use_once(1, 1_500), issue(&child(4, 1))];
    store.commit(writes).await.unwrap();
    let used = store.credential(&id(1)).await.unwrap().unwrap();
    assert_eq!(used.used, Some(Timestamp(1_500)));
    let writes = vec![use_once(1, 1_600), issue(&child(5, 1))];
    assert_conflict(store.commit(writes).await);
    assert_eq!(store.credential(&id(5)).await.unwrap(), None);

    store.commit(vec![revoke(3, 1_500)]).await.unwrap();
    assert_conflict(store.commit(vec![use_once(3, 1_600)]).await);
}

async fn revoking_cascades(store: Any) {
    let family = [link(1), child(2, 1), child(3, 2), child(4, 1), link(5)];
    store
        .commit(family.iter().map(issue).collect())
        .await
        .unwrap();
    store.commit(vec![revoke(3, 1_100)]).await.unwrap();
    store.commit(vec![revoke(1, 1_200)]).await.unwrap();
    store.commit(vec![revoke(1, 1_300)]).await.unwrap();
    let moments = [Some(1_200), Some(1_200), Some(1_100), Some(1_200), None];
    for (number, moment) in (1..).zip(moments) {
        let found = store.credential(&id(number)).await.unwrap().unwrap();
        assert_eq!(found.revoked, moment.map(Timestamp), "{number}");
        assert!(!found.revoked_with_holder, "{number}");
    }
}

async fn a_revoked_parent_has_no_more_children(store: Any) {
    let writes = vec![issue(&link(1)), revoke(1, 1_100)];
    store.commit(writes).await.unwrap();
    let result = store.commit(vec![issue(&child(2, 1))]).await;
    assert_refused(result, "credential_parent_is_revoked");
}

async fn a_holder_is_revoked_whole(store: Any) {
    let one = credential(1, CredentialKind::Token, "agent:a");
    let two = credential(2, CredentialKind::Token, "agent:a");
    let other = credential(3, CredentialKind::Token, "agent:ab");
    let writes = vec![issue(&one), issue(&two), issue(&other), revoke(1, 1_100)];
    store.commit(writes).await.unwrap();
    let stop = |at| Write::RevokeHolder {
        holder: "agent:a".into(),
        at: Timestamp(at),
    };
    store.commit(vec![stop(1_200)]).await.unwrap();
    store
        .commit(vec![stop(1_300), revoke(2, 1_400)])
        .await
        .unwrap();
    for (number, moment) in [(1, Some(1_100)), (2, Some(1_200)), (3, None)] {
        let found = store.credential(&id(number)).await.unwrap().unwrap();
        assert_eq!(found.revoked, moment.map(Timestamp), "{number}");
        assert_eq!(found.revoked_with_holder, number == 2, "{number}");
    }
}

async fn an_unknown_credential_is_not_revoked(store: Any) {
    assert_conflict(store.commit(vec![revoke(99, 1_100)]).await);
}
