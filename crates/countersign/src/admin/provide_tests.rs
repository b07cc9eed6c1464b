//! What signing in with a provider changes here, without a provider.

use countersign_core::directory::AccountId;
use countersign_policy::Provider;
use countersign_store::CredentialKind;

use super::*;
use crate::{bundle_files, console::tests::Site, identity::passkey::Enrolled};

const PROVIDER: &str = r#"
[provider.corp]
issuer = "https://login.example.com"
client_id = "countersign"
client_secret = { env = "SECRET" }
groups = { "db admins" = "ops" }
"#;

fn corp(gateway: &Gateway) -> (ProviderId, Provider) {
    let (id, provider) = gateway
        .active()
        .bundle
        .providers()
        .iter()
        .next()
        .map(|(id, one)| (id.clone(), one.clone()))
        .unwrap();
    (id, provider)
}

fn vouched(person: &str, account: &str) -> Vouched {
    Vouched {
        account: AccountId::of("https://login.example.com", account),
        person: person.parse().unwrap(),
        groups: [("ops".parse().unwrap(), "db admins".to_owned())].into(),
    }
}

async fn opens(gateway: &Gateway, secret: &Secret) -> bool {
    let caller = gateway
        .identity
        .caller(secret.text(), CredentialKind::Session)
        .await;
    caller.is_ok()
}

#[tokio::test]
async fn a_session_ends_with_the_account_it_came_from() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let new = "new@example.com";
    let (secret, caller) = sign_in(gateway, (&id, &provider), vouched(new, "1"))
        .await
        .unwrap();
    assert_eq!(
        caller.person().map(ToString::to_string).as_deref(),
        Some(new)
    );
    assert!(caller.account().is_some() && opens(gateway, &secret).await);
    assert!(gateway.identity.is_current(&caller).await);
    // A token for the command line out of that session goes with it.
    let token = Issue {
        kind: CredentialKind::Token,
        holder: caller.subject.id.clone(),
        issued_by: None,
        lineage: BTreeSet::new(),
        parent: Some(caller.credential.id.clone()),
        account: None,
        valid_for: provider.session,
    };
    let (token, _) = gateway.identity.issue(&token).await.unwrap();
    let token_opens = async || {
        let caller = gateway
            .identity
            .caller(token.text(), CredentialKind::Token)
            .await;
        caller.is_ok()
    };
    assert!(token_opens().await);
    // Nobody else comes in under that name, and nothing of what they say is taken over.
    let before = gateway.active().directory.clone();
    let other = sign_in(gateway, (&id, &provider), vouched(new, "2"))
        .await
        .unwrap_err();
    assert!(other.to_string().contains("another account"), "{other}");
    assert_eq!(gateway.active().directory, before);
    let unlink = DirectoryChange::UnlinkAccount {
        person: new.parse().unwrap(),
        provider: id.clone(),
    };
    let now = gateway.clock.now();
    assert!(
        change_directory(gateway, &unlink, now, true, Vec::new())
            .await
            .unwrap()
    );
    assert!(!opens(gateway, &secret).await && !token_opens().await);
    assert!(!gateway.identity.is_current(&caller).await);
    sign_in(gateway, (&id, &provider), vouched(new, "2"))
        .await
        .unwrap();
    // The session of before is not good for the account of now.
    assert!(!opens(gateway, &secret).await);
}

#[tokio::test]
async fn without_the_provider_its_people_are_nobody() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let (new, gone) = ("new@example.com", "gone@example.com");
    let (secret, _) = sign_in(gateway, (&id, &provider), vouched(new, "1"))
        .await
        .unwrap();
    sign_in(gateway, (&id, &provider), vouched(gone, "2"))
        .await
        .unwrap();
    let (known, _) = sign_in(gateway, (&id, &provider), vouched("kim@example.com", "3"))
        .await
        .unwrap();
    let disable = DirectoryChange::DisablePerson {
        person: gone.parse().unwrap(),
    };
    let now = gateway.clock.now();
    change_directory(gateway, &disable, now, true, Vec::new())
        .await
        .unwrap();
    let mut files = gateway.active().bundle.files().clone();
    let main = files.get_mut("countersign.toml").unwrap();
    let with = main.clone();
    *main = main.replace(PROVIDER, "");
    let apply = async |files| {
        let bundle = countersign_policy::Bundle::from_files(&files)
            .map_err(|all| bundle_files::problems_error(&all))
            .unwrap();
        let by = countersign_evidence::body::ActivatedBy::Request;
        let now = gateway.clock.now();
        crate::admin::apply::replace_bundle(gateway, bundle, None, now, true, by)
            .await
            .unwrap();
    };
    apply(files.clone()).await;
    let knows = |person: &str| {
        let subject = SubjectId::Person(person.parse().unwrap());
        gateway.active().directory.knows(&subject)
    };
    assert!(!knows(new) && knows("kim@example.com"));
    assert!(!opens(gateway, &secret).await && !opens(gateway, &known).await);
    let refused = sign_in(gateway, (&id, &provider), vouched(new, "1"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("changed in the meantime"),
        "{refused}"
    );
    // Whoever was disabled does not come back with it.
    files.insert("countersign.toml".into(), with);
    apply(files).await;
    let refused = sign_in(gateway, (&id, &provider), vouched(gone, "2"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("stopped or disabled"),
        "{refused}"
    );
    sign_in(gateway, (&id, &provider), vouched(new, "1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_passkey_signs_in_whom_the_files_know() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    for (at, person) in ["new@example.com", "kim@example.com"]
        .into_iter()
        .enumerate()
    {
        sign_in(gateway, (&id, &provider), vouched(person, person))
            .await
            .unwrap();
        let enrolled = Enrolled {
            passkey: format!("AAA{at}"),
            public_key: "AAAA".into(),
            backup_eligible: false,
            counter: 0,
            site: "localhost".into(),
            label: "laptop".into(),
            countersigned: true,
        };
        let lineage = BTreeSet::new();
        gateway
            .identity
            .enrol(&person.parse().unwrap(), &enrolled, lineage)
            .await
            .unwrap();
        let signed = crate::identity::passkey::Signed {
            challenge: String::new(),
            passkey: enrolled.passkey,
            client_data: String::new(),
            authenticator_data: String::new(),
            signature: String::new(),
        };
        let party = crate::identity::passkey::site("http://localhost").unwrap();
        let refused = gateway
            .identity
            .sign_in(&party, "x", &signed)
            .await
            .unwrap_err();
        let by_account = refused.to_string().contains("signs in with their account");
        assert_eq!(by_account, person == "new@example.com", "{refused}");
    }
}

#[tokio::test]
async fn nobody_is_two_people_by_their_spelling() {
    let more = format!("{PROVIDER}creates_people = false\n[person.\"Dana@example.com\"]\n");
    let site = Site::open_with_more(&more).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let before = gateway.active().directory.people.len();
    let (_, dana) = sign_in(gateway, (&id, &provider), vouched("dana@example.com", "1"))
        .await
        .unwrap();
    assert_eq!(dana.subject.id.name(), "Dana@example.com");
    let unknown = sign_in(gateway, (&id, &provider), vouched("new@example.com", "2")).await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("adds you first"), "{unknown}");
    let twin = DirectoryChange::AddPerson {
        person: "DANA@example.com".parse().unwrap(),
        groups: BTreeSet::new(),
        manager: None,
    };
    let now = gateway.clock.now();
    change_directory(gateway, &twin, now, true, Vec::new())
        .await
        .unwrap();
    // The account is hers already; another one could be either's.
    sign_in(gateway, (&id, &provider), vouched("dana@example.com", "1"))
        .await
        .unwrap();
    let either = sign_in(gateway, (&id, &provider), vouched("dana@example.com", "3")).await;
    let either = either.unwrap_err().to_string();
    assert!(either.contains("more than one person"), "{either}");
    assert_eq!(gateway.active().directory.people.len(), before + 1);
}
