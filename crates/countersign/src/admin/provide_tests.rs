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
    // The session of before is good neither for the account of now, nor once the old one is back.
    assert!(!opens(gateway, &secret).await);
    let now = gateway.clock.now();
    change_directory(gateway, &unlink, now, true, Vec::new())
        .await
        .unwrap();
    sign_in(gateway, (&id, &provider), vouched(new, "1"))
        .await
        .unwrap();
    assert!(!opens(gateway, &secret).await && !token_opens().await);
}

/// Makes a bundle with other text in its main file the active one, countersigned.
async fn apply(gateway: &Gateway, change: impl FnOnce(&str) -> String) {
    let mut files = gateway.active().bundle.files().clone();
    let main = files.get_mut("countersign.toml").unwrap();
    *main = change(main);
    let bundle = countersign_policy::Bundle::from_files(&files);
    let bundle = bundle
        .map_err(|all| bundle_files::problems_error(&all))
        .unwrap();
    let (by, now) = (
        countersign_evidence::body::ActivatedBy::Request,
        gateway.clock.now(),
    );
    let done = crate::admin::apply::replace_bundle(gateway, bundle, None, now, true, by).await;
    done.unwrap();
}

fn groups_of(gateway: &Gateway, person: &str) -> String {
    let active = gateway.active();
    let Some(person) = active
        .directory
        .people
        .get(&person.parse::<PersonId>().unwrap())
    else {
        return "nobody".into();
    };
    let groups: Vec<_> = person.groups.keys().map(ToString::to_string).collect();
    groups.join(" ")
}

const NEW: &str = "new@example.com";
const KIM: &str = "kim@example.com";

#[tokio::test]
async fn other_settings_sign_everybody_out_and_give_nothing() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    for more in [
        "require = { tenant = \"t-1\" }\n",
        "session = \"5m\"\n",
        "groups_claim = \"roles\"\n",
        "creates_people = false\n",
    ] {
        let (id, provider) = corp(gateway);
        let (secret, _) = sign_in(gateway, (&id, &provider), vouched(NEW, "1"))
            .await
            .unwrap();
        assert_eq!(groups_of(gateway, NEW), "ops");
        apply(gateway, |main| format!("{main}# nothing\n")).await;
        assert!(opens(gateway, &secret).await, "{more}");
        apply(gateway, |main| {
            main.replace(PROVIDER, &format!("{PROVIDER}{more}"))
        })
        .await;
        assert!(!opens(gateway, &secret).await, "{more}");
        assert_eq!(groups_of(gateway, NEW), "", "{more}");
        // Back again, what was signed in with before is not good again.
        apply(gateway, |main| main.replace(more, "")).await;
        assert_eq!(groups_of(gateway, NEW), "", "{more}");
        assert!(!opens(gateway, &secret).await, "{more}");
        let (again, _) = sign_in(gateway, corp_ref(&corp(gateway)), vouched(NEW, "1"))
            .await
            .unwrap();
        assert!(opens(gateway, &again).await && !opens(gateway, &secret).await);
    }
}

fn corp_ref(corp: &(ProviderId, Provider)) -> (&ProviderId, &Provider) {
    (&corp.0, &corp.1)
}

#[tokio::test]
async fn without_the_provider_its_people_have_nothing_and_keep_their_names() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let gone = "gone@example.com";
    let (secret, _) = sign_in(gateway, (&id, &provider), vouched(NEW, "1"))
        .await
        .unwrap();
    sign_in(gateway, (&id, &provider), vouched(gone, "2"))
        .await
        .unwrap();
    let (known, _) = sign_in(gateway, (&id, &provider), vouched(KIM, "3"))
        .await
        .unwrap();
    let disable = DirectoryChange::DisablePerson {
        person: gone.parse().unwrap(),
    };
    let now = gateway.clock.now();
    change_directory(gateway, &disable, now, true, Vec::new())
        .await
        .unwrap();
    apply(gateway, |main| main.replace(PROVIDER, "")).await;
    assert_eq!(groups_of(gateway, NEW), "");
    assert!(!opens(gateway, &secret).await && !opens(gateway, &known).await);
    let refused = sign_in(gateway, (&id, &provider), vouched(NEW, "1"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("changed in the meantime"),
        "{refused}"
    );
    // With it back, who was disabled stays so, and an account is still whose it was.
    apply(gateway, |main| format!("{main}{PROVIDER}")).await;
    let refused = sign_in(gateway, (&id, &provider), vouched(gone, "2"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("stopped or disabled"),
        "{refused}"
    );
    let refused = sign_in(gateway, (&id, &provider), vouched(NEW, "9"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("another account"), "{refused}");
    sign_in(gateway, (&id, &provider), vouched(NEW, "1"))
        .await
        .unwrap();
    assert!(!opens(gateway, &secret).await && !opens(gateway, &known).await);
}

#[tokio::test]
async fn whom_the_files_drop_goes_where_strangers_are_not_made_people() {
    let more = format!("{PROVIDER}creates_people = false\n[person.\"dana@example.com\"]\n");
    let site = Site::open_with_more(&more).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let dana = || vouched("dana@example.com", "1");
    let (secret, _) = sign_in(gateway, (&id, &provider), dana()).await.unwrap();
    assert_eq!(groups_of(gateway, "dana@example.com"), "ops");
    apply(gateway, |main| {
        main.replace("[person.\"dana@example.com\"]\n", "")
    })
    .await;
    assert_eq!(groups_of(gateway, "dana@example.com"), "");
    assert!(!opens(gateway, &secret).await);
    let refused = sign_in(gateway, (&id, &provider), dana())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("adds you first"), "{refused}");
}

/// Whatever else they have, people with an account act with it: or they would outlive it.
#[tokio::test]
async fn people_with_an_account_sign_in_with_it_and_with_nothing_else() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    let before = site.sign_in(KIM).await;
    site.get("/inbox", &before).await.is(200);
    let link = site.link(KIM).await;
    sign_in(gateway, (&id, &provider), vouched(KIM, "1"))
        .await
        .unwrap();
    site.get("/inbox", &before).await.is(401);
    site.get(&link, "")
        .await
        .is(403)
        .says("signs in with their account");
    // Whoever has the machine can undo that, where the provider is in the way.
    assert!(let_in(gateway, &KIM.parse().unwrap()).await.unwrap());
    let link = site.link(KIM).await;
    site.get(&link, "").await.is(200);
    site.get("/inbox", &before).await.is(401);
}

#[tokio::test]
async fn a_passkey_signs_in_whoever_has_no_account() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let (id, provider) = corp(gateway);
    sign_in(gateway, (&id, &provider), vouched(NEW, "1"))
        .await
        .unwrap();
    sign_in(gateway, (&id, &provider), vouched(KIM, "2"))
        .await
        .unwrap();
    for (at, person) in [NEW, KIM, "uma@example.com"].into_iter().enumerate() {
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
        let who = person.parse().unwrap();
        gateway
            .identity
            .enrol(&who, &enrolled, lineage)
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
        let by_account = refused
            .to_string()
            .contains("you sign in with your account");
        assert_eq!(by_account, person != "uma@example.com", "{refused}");
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
    // Nor by a change, nor by the files that name somebody whom the provider made a person before.
    let twin = DirectoryChange::AddPerson {
        person: "DANA@example.com".parse().unwrap(),
        groups: BTreeSet::new(),
        manager: None,
    };
    let now = gateway.clock.now();
    let refused = change_directory(gateway, &twin, now, true, Vec::new()).await;
    assert!(refused.unwrap_err().to_string().contains("exists already"));
    assert_eq!(gateway.active().directory.people.len(), before);
    apply(gateway, |main| main.replace("creates_people = false\n", "")).await;
    let corp = corp(gateway);
    sign_in(gateway, corp_ref(&corp), vouched(NEW, "2"))
        .await
        .unwrap();
    apply(gateway, |main| {
        format!("{main}[person.\"New@example.com\"]\n")
    })
    .await;
    assert_eq!(gateway.active().directory.people.len(), before + 1);
    let (_, new) = sign_in(gateway, corp_ref(&corp), vouched(NEW, "2"))
        .await
        .unwrap();
    assert_eq!(new.subject.id.name(), "New@example.com");
}

/// Taken out of a group here, somebody is in it anew once the provider gives it again.
#[tokio::test]
async fn what_was_taken_away_begins_anew() {
    let site = Site::open_with_more(PROVIDER).await;
    let gateway = &site.gateway;
    let corp = corp(gateway);
    let since = || {
        let active = gateway.active();
        let kim = active.directory.people[&KIM.parse::<PersonId>().unwrap()].clone();
        kim.groups
            .get(&"ops".parse().unwrap())
            .map(|of| (of.since, of.provided))
    };
    let (first, _) = since().unwrap();
    sign_in(gateway, corp_ref(&corp), vouched(KIM, "1"))
        .await
        .unwrap();
    assert_eq!(since(), Some((first, false)));
    let leave = DirectoryChange::RemoveMembership {
        person: KIM.parse().unwrap(),
        group: "ops".parse().unwrap(),
    };
    let now = gateway.clock.now();
    change_directory(gateway, &leave, now, true, Vec::new())
        .await
        .unwrap();
    assert_eq!(since(), None);
    apply(gateway, |main| {
        main.replace(
            "[person.\"kim@example.com\"]\ngroups = [\"ops\"]",
            "[person.\"kim@example.com\"]",
        )
    })
    .await;
    assert_eq!(since(), None);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    sign_in(gateway, corp_ref(&corp), vouched(KIM, "1"))
        .await
        .unwrap();
    let (anew, provided) = since().unwrap();
    assert!(anew > now && provided);
    // What only the provider gives is not proposed to be taken away.
    assert!(leave.check_proposed(&gateway.active().directory).is_err());
}
