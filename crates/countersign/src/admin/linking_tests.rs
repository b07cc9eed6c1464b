//! Linking accounts with providers that only link, without a provider.
//!
//! In scope: who has to countersign, whose an account is, what a session through one is worth and when it ends.
//! Out of scope: what a provider says (`identity::provider`), and browsers (`integration/browser/provider.py`).
//! Invariant: see [`linking`](super).

#[path = "linking_outlives_tests.rs"]
mod outlives;

use countersign_core::{
    directory::AccountId,
    id::{PersonId, ProviderId},
};
use countersign_policy::{Bundle, DirectoryChange, Provider};
use serde_json::json;

use super::*;
use crate::{
    admin::{apply::change_directory, claim, consequences, propose, provide, replace_bundle},
    console::tests::{Answer, OLGA, SAM, Site, UMA, form},
    identity::{
        Secret,
        further::{NotLinked, linked_further},
        provider::Vouched,
    },
};

const KIM: &str = "kim@example.com";
const PARTNER: &str = r#"
[provider.partner]
title = "Partner"
issuer = "https://partner.example.net"
client_id = "countersign"
client_secret = { env = "SECRET" }
links_only = true
"#;
const CORP: &str = r#"
[provider.corp]
issuer = "https://login.example.com"
client_id = "countersign"
client_secret = { env = "SECRET" }
"#;
const APPROVALS: &str = r#"
[approval.ops]
stages = [{ from = ["group:ops"], count = 1 }]
"#;
const POLICIES: &str = r#"
@id("agents-run")
permit (principal in Group::"agents", action in Action::"execute", resource);
@id("ops-sign") @approval("ops")
forbid (principal is Agent, action in Action::"execute", resource);
@id("people-propose")
permit (principal is Person, action in Action::"admin", resource);
@id("links-are-signed") @approval("ops")
forbid (principal in Group::"ops", action == Action::"countersign:account-link", resource);
@id("ways-in-are-signed") @approval("ops")
forbid (principal, action == Action::"countersign:person-link", resource);
"#;

async fn open(more: &str) -> Site {
    Site::open_files(&format!("{PARTNER}{more}"), APPROVALS, POLICIES).await
}

fn provider(gateway: &Gateway, name: &str) -> (ProviderId, Provider) {
    let id: ProviderId = name.parse().unwrap();
    let provider = gateway.active().bundle.providers()[&id].clone();
    (id, provider)
}

fn account(gateway: &Gateway, subject: &str) -> FurtherAccount {
    let (id, provider) = provider(gateway, "partner");
    FurtherAccount {
        provider: id,
        issuer: provider.issuer.clone(),
        subject: subject.into(),
        settings: provider.settings().unwrap(),
    }
}

fn linked(gateway: &Gateway, subject: &str) -> LinkedFurther {
    LinkedFurther {
        account: account(gateway, subject),
        called: format!("{subject}@partner.example.net"),
        countersigned: false,
    }
}

async fn caller_of(site: &Site, cookie: &str) -> Caller {
    let (_, secret) = cookie.split_once('=').unwrap();
    let identity = &site.gateway.identity;
    identity
        .caller(secret, CredentialKind::Session)
        .await
        .unwrap()
}

async fn sign_in(gateway: &Gateway, subject: &str) -> Result<(Secret, Caller), NotLinked> {
    let (_, provider) = provider(gateway, "partner");
    let account = account(gateway, subject);
    let links = provider.links.unwrap();
    gateway
        .identity
        .sign_in_linked((&provider, links), &account)
        .await
}

async fn opens(gateway: &Gateway, secret: &Secret) -> bool {
    let identity = &gateway.identity;
    let caller = identity
        .caller(secret.text(), CredentialKind::Session)
        .await;
    caller.is_ok()
}

/// Approves a request as somebody with a page of theirs.
async fn approve(site: &Site, cookie: &str, id: &countersign_core::id::RequestId) -> Answer {
    let path = format!("/requests/{id}");
    let page = site.get(&path, cookie).await;
    let form = page.form(&[]);
    site.post(&format!("{path}/approve"), cookie, form).await
}

/// Links an account to Uma, who can sign for nobody.
async fn link_uma(site: &Site, subject: &str) -> Caller {
    let uma = caller_of(site, &site.sign_in(UMA).await).await;
    let gateway = &site.gateway;
    let answer = propose_further(gateway, &uma, linked(gateway, subject)).await;
    assert_eq!(answer.unwrap().state, "succeeded");
    uma
}

async fn replace(gateway: &Gateway, change: impl FnOnce(&str) -> String) {
    let mut files = gateway.active().bundle.files().clone();
    let main = files.get_mut("countersign.toml").unwrap();
    *main = change(main);
    let bundle = Bundle::from_files(&files).map_err(|all| format!("{all:#?}"));
    let (by, now) = (
        countersign_evidence::body::ActivatedBy::Request,
        gateway.clock.now(),
    );
    let done = replace_bundle(gateway, bundle.unwrap(), None, now, true, by).await;
    done.unwrap();
}

#[tokio::test]
async fn whoever_can_approve_needs_a_second_person_and_then_signs_in_and_votes() {
    let site = open("").await;
    let gateway = &site.gateway;
    let (kim_cookie, sam) = (site.sign_in(KIM).await, site.sign_in(SAM).await);
    let kim = caller_of(&site, &kim_cookie).await;
    let answer = propose_further(gateway, &kim, linked(gateway, "248"))
        .await
        .unwrap();
    assert_eq!(answer.state, "held");
    assert!(matches!(
        sign_in(gateway, "248").await,
        Err(NotLinked::Nobody(_))
    ));
    // Nobody signs it for themselves, and whoever signs it reads whose account it is.
    let page = site
        .get(&format!("/requests/{}", answer.request), &kim_cookie)
        .await;
    assert!(!page.text.contains("/approve\""), "{}", page.text);
    site.get(&format!("/requests/{}", answer.request), &sam)
        .await
        .says("Link an account with `partner` to kim@example.com")
        .says("&#34;248&#34;")
        .says("https://partner.example.net")
        .says("248@partner.example.net");
    approve(&site, &sam, &answer.request).await.is(303);
    let applied = claim(gateway, &kim, &answer.request).await.unwrap();
    assert_eq!(applied.state, "succeeded");
    let (secret, through) = sign_in(gateway, "248").await.unwrap();
    assert_eq!(through.person(), kim.person());
    assert!(through.through.as_ref().unwrap().countersigned && through.assurance().is_some());
    assert!(through.account().is_none());
    let cookie = kim_cookie.split_once('=').unwrap().0;
    let cookie = format!("{cookie}={}", secret.text());
    let held = site.held(&["/bin/echo", "a"], "why").await;
    approve(&site, &cookie, &held).await.is(303);
    // Unlinked by an administrator, it signs nobody in, and who is signed in with it is out.
    let unlink = ProposalBody {
        operation: "account-unlink".into(),
        arguments: json!({ "person": KIM, "provider": "partner" }),
        reason: None,
    };
    let olga = caller_of(&site, &site.sign_in(OLGA).await).await;
    let done = Box::pin(propose(gateway, &olga, unlink)).await.unwrap();
    assert_eq!(done.state, "succeeded");
    assert!(!opens(gateway, &secret).await && !gateway.identity.is_current(&through).await);
    site.get("/inbox", &cookie).await.is(401);
    assert!(sign_in(gateway, "248").await.is_err());
    // Nothing else of hers ended, and the account can be linked again.
    site.get("/inbox", &kim_cookie).await.is(200);
    check_further(gateway, kim.person().unwrap(), &account(gateway, "248"))
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_made_the_session_that_an_account_was_linked_in_is_in_every_vote_with_it() {
    let site = open("").await;
    let gateway = &site.gateway;
    let uma = caller_of(&site, &site.sign_in_by(UMA, Some(OLGA)).await).await;
    let answer = propose_further(gateway, &uma, linked(gateway, "1")).await;
    assert_eq!(answer.unwrap().state, "succeeded");
    let (_, through) = sign_in(gateway, "1").await.unwrap();
    assert!(through.lineage().contains(&OLGA.parse().unwrap()));
}

#[tokio::test]
async fn what_nobody_countersigned_signs_in_and_approves_nothing() {
    let site = open("").await;
    let gateway = &site.gateway;
    link_uma(&site, "1").await;
    let (secret, through) = sign_in(gateway, "1").await.unwrap();
    assert_eq!(through.assurance(), None);
    // Also once she could.
    let join = DirectoryChange::AddMembership {
        person: UMA.parse().unwrap(),
        group: "ops".parse().unwrap(),
    };
    let now = gateway.clock.now();
    change_directory(gateway, &join, now, true, Vec::new())
        .await
        .unwrap();
    let name = site.sign_in(UMA).await;
    let name = name.split_once('=').unwrap().0;
    let cookie = format!("{name}={}", secret.text());
    let held = site.held(&["/bin/echo", "b"], "why").await;
    site.get(&format!("/requests/{held}"), &cookie)
        .await
        .says("nobody countersigned when you linked it");
    let path = format!("/v1/requests/{held}/votes");
    let csrf = site.get("/accounts", &cookie).await.field("csrf");
    let case = site.case(&held).await;
    let act = gateway.identity.acts().act(
        &through.credential.id,
        &held,
        &case.request.digest,
        gateway.clock.now(),
    );
    let vote = json!({ "verdict": "approve", "digest": case.request.digest, "act": act });
    site.json(&path, (&cookie, &csrf), &vote.to_string())
        .await
        .is(403)
        .says("linked_alone");
}

#[tokio::test]
async fn an_account_is_one_persons_also_when_two_propose_it_at_once() {
    let site = open(CORP).await;
    let gateway = &site.gateway;
    let (kim_cookie, sam_cookie) = (site.sign_in(KIM).await, site.sign_in(SAM).await);
    let kim = caller_of(&site, &kim_cookie).await;
    let sam = caller_of(&site, &sam_cookie).await;
    let olga = site.sign_in(OLGA).await;
    let mut held = Vec::new();
    for one in [&kim, &sam] {
        let answer = propose_further(gateway, one, linked(gateway, "7")).await;
        held.push(answer.unwrap().request);
    }
    for id in &held {
        approve(&site, &olga, id).await.is(303);
    }
    assert_eq!(
        claim(gateway, &kim, &held[0]).await.unwrap().state,
        "succeeded"
    );
    let second = claim(gateway, &sam, &held[1]).await.unwrap_err();
    assert!(
        second.to_string().contains("somebody's already"),
        "{second}"
    );
    let (_, through) = sign_in(gateway, "7").await.unwrap();
    assert_eq!(through.person(), kim.person());
    let uma = caller_of(&site, &site.sign_in(UMA).await).await;
    let taken = propose_further(gateway, &uma, linked(gateway, "7")).await;
    assert!(taken.unwrap_err().to_string().contains("already"));
    let another = propose_further(gateway, &kim, linked(gateway, "8")).await;
    let another = another.unwrap_err().to_string();
    assert!(
        another.contains("another account with this provider"),
        "{another}"
    );
}

#[tokio::test]
async fn other_settings_of_the_provider_end_links_for_good() {
    for (from, to) in [
        (PARTNER, String::new()),
        (
            PARTNER,
            format!("{PARTNER}require = {{ tenant = \"t\" }}\n"),
        ),
        (PARTNER, PARTNER.replace("links_only = true\n", "")),
    ] {
        let site = open("").await;
        let gateway = &site.gateway;
        link_uma(&site, "1").await;
        let (secret, _) = sign_in(gateway, "1").await.unwrap();
        let kept = account(gateway, "1");
        replace(gateway, |main| format!("{main}# nothing\n")).await;
        assert!(opens(gateway, &secret).await);
        replace(gateway, |main| main.replace(from, &to)).await;
        assert!(!opens(gateway, &secret).await, "{to}");
        assert!(
            check_further(gateway, &UMA.parse().unwrap(), &kept)
                .await
                .is_err()
        );
        replace(gateway, |main| match to.is_empty() {
            true => format!("{main}{PARTNER}"),
            false => main.replace(&to, from),
        })
        .await;
        assert!(!opens(gateway, &secret).await, "{to}");
        assert!(matches!(
            sign_in(gateway, "1").await,
            Err(NotLinked::Nobody(_))
        ));
    }
}

#[tokio::test]
async fn reviewers_read_who_is_believed_and_what_ends() {
    let site = open("").await;
    let gateway = &site.gateway;
    link_uma(&site, "1").await;
    let lines = async |change: &dyn Fn(&str) -> String| {
        let mut files = gateway.active().bundle.files().clone();
        let main = files.get_mut("countersign.toml").unwrap();
        *main = change(main);
        let replaces = gateway.active().bundle.files_hash().unwrap();
        let proposal = Proposal::Bundle { files, replaces };
        consequences::of(gateway, &proposal, true).await
    };
    let over = "with whatever was signed in with: 1 linked account with `partner`.";
    let believed = "People can link an account with `partner`, and sign in with it then for 12h";
    let says_who = "says who people are";
    for (to, said) in [
        (String::new(), [true, false, false]),
        (format!("{PARTNER}session = \"5m\"\n"), [true, false, false]),
        (
            PARTNER.replace("links_only = true\n", ""),
            [true, false, true],
        ),
        (
            format!("{PARTNER}require = {{ tenant = \"t\" }}\n"),
            [true, true, false],
        ),
        (PARTNER.replace("\"Partner\"", "\"P\""), [false; 3]),
    ] {
        let told = lines(&|main| main.replace(PARTNER, &to)).await;
        let found = [over, believed, says_who].map(|line| told.contains(line));
        assert_eq!(found, said, "{to}: {told}");
    }
    let others = PARTNER.replace("partner", "other");
    let told = lines(&|main| format!("{main}{others}")).await;
    assert!(
        told.contains(
            "Whoever administers `https://other.example.net` can be anybody who has linked"
        )
    );
}

#[tokio::test]
async fn whoever_is_disabled_has_no_account() {
    let site = open("").await;
    let gateway = &site.gateway;
    link_uma(&site, "1").await;
    let (secret, _) = sign_in(gateway, "1").await.unwrap();
    for change in [
        DirectoryChange::DisablePerson {
            person: UMA.parse().unwrap(),
        },
        DirectoryChange::EnablePerson {
            person: UMA.parse().unwrap(),
        },
    ] {
        let now = gateway.clock.now();
        change_directory(gateway, &change, now, true, Vec::new())
            .await
            .unwrap();
        assert!(!opens(gateway, &secret).await);
        assert!(sign_in(gateway, "1").await.is_err());
    }
}

#[tokio::test]
async fn nobody_outlives_what_their_own_provider_says() {
    let within = "signed_in_within = \"2s\"\n";
    let site = open(&format!("{within}{CORP}")).await;
    let gateway = &site.gateway;
    let corp = provider(gateway, "corp");
    let new: PersonId = "new@example.com".parse().unwrap();
    let vouched = || Vouched {
        account: AccountId::of("https://login.example.com", "1"),
        person: new.clone(),
        groups: std::collections::BTreeMap::new(),
    };
    let own = async || {
        let signed_in = provide::sign_in(gateway, (&corp.0, &corp.1), vouched()).await;
        signed_in.unwrap().1
    };
    let by_corp = own().await;
    let answer = propose_further(gateway, &by_corp, linked(gateway, "1")).await;
    assert_eq!(answer.unwrap().state, "succeeded");
    let (secret, through) = sign_in(gateway, "1").await.unwrap();
    assert_eq!(through.person(), Some(&new));
    // It lasts no longer than the sign-in with the other counts.
    let lasts = through.credential.expires.millis_since(gateway.clock.now());
    assert!(lasts <= 2_000, "{lasts}");
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    assert!(!opens(gateway, &secret).await);
    // Signing in with the linked account is no sign-in with the other.
    let again = sign_in(gateway, "1").await.unwrap_err();
    assert!(matches!(again, NotLinked::SignInAgain { .. }), "{again}");
    own().await;
    let (secret, _) = sign_in(gateway, "1").await.unwrap();
    assert!(opens(gateway, &secret).await);
    // With that account another's, so may this one be.
    let unlink = DirectoryChange::UnlinkAccount {
        person: new.clone(),
        provider: corp.0.clone(),
    };
    let now = gateway.clock.now();
    change_directory(gateway, &unlink, now, true, Vec::new())
        .await
        .unwrap();
    assert!(!opens(gateway, &secret).await);
    assert!(sign_in(gateway, "1").await.is_err());
}

#[tokio::test]
async fn a_provider_that_links_makes_nobody_a_person_or_a_member() {
    let site = open("").await;
    let gateway = &site.gateway;
    let (id, partner) = provider(gateway, "partner");
    let vouched = Vouched {
        account: account(gateway, "1").id(),
        person: UMA.parse().unwrap(),
        groups: [("ops".parse().unwrap(), "ops".to_owned())].into(),
    };
    let before = gateway.active().directory.clone();
    assert!(
        provide::sign_in(gateway, (&id, &partner), vouched)
            .await
            .is_err()
    );
    assert!(matches!(
        sign_in(gateway, "1").await,
        Err(NotLinked::Nobody(_))
    ));
    assert_eq!(gateway.active().directory, before);
}

#[tokio::test]
async fn nothing_is_added_in_a_session_through_a_linked_account() {
    let site = open("").await;
    let gateway = &site.gateway;
    link_uma(&site, "1").await;
    let (secret, through) = sign_in(gateway, "1").await.unwrap();
    let more = propose_further(gateway, &through, linked(gateway, "2")).await;
    assert!(more.unwrap_err().to_string().contains("could outlive it"));
    let name = site.sign_in(UMA).await;
    let cookie = format!("{}={}", name.split_once('=').unwrap().0, secret.text());
    let page = site.get("/accounts", &cookie).await;
    page.is(200).says("sign in in another way");
    assert!(!page.text.contains("/accounts/link/"));
    let csrf = form(&[("csrf", &page.field("csrf"))]);
    for path in ["/accounts/code", "/accounts/link/partner"] {
        site.post(path, &cookie, csrf.clone())
            .await
            .is(422)
            .says("could outlive it");
    }
    // Her own unlinking ends this very session.
    let all = gateway.store.credentials(None).await.unwrap();
    let link = all
        .iter()
        .find(|one| linked_further(one).is_some())
        .unwrap();
    let unlink = form(&[
        ("csrf", &page.field("csrf")),
        ("credential", link.id.as_str()),
    ]);
    site.post("/accounts/remove", &cookie, unlink).await.is(303);
    site.get("/inbox", &cookie).await.is(401);
}

#[tokio::test]
async fn the_page_of_accounts_leads_to_providers_that_link_and_nothing_comes_back_by_itself() {
    let site = open(CORP).await;
    let cookie = site.sign_in(UMA).await;
    let page = site.get("/accounts", &cookie).await;
    page.is(200)
        .says("Link an account with <bdi>Partner</bdi>")
        .says("action=\"/accounts/link/partner\"");
    assert!(!page.text.contains("/accounts/link/corp"));
    site.get("/sign-in", "")
        .await
        .says("/sign-in/with/partner")
        .says("with an account that you linked");
    let csrf = page.field("csrf");
    site.post("/accounts/link/partner", &cookie, form(&[("csrf", "x")]))
        .await
        .is(403);
    for name in ["corp", "nobody"] {
        let path = format!("/accounts/link/{name}");
        let sent = site.post(&path, &cookie, form(&[("csrf", &csrf)])).await;
        sent.is(404);
    }
    let path = "/accounts/from/partner?state=x&code=y";
    site.get(path, "").await.is(401);
    for kept in ["", "a~", "a~~link", "1.2.3~~link"] {
        let cookies = format!("{cookie}; __Host-countersign_leaving={kept}");
        site.get(path, &cookies).await.is(401).says("begin again");
    }
    // What came back to link goes on to where a session is asked for, and signs nobody in.
    let back = site
        .get(
            "/sign-in/from/partner?state=s&code=c%26d&iss=i",
            "__Host-countersign_leaving=a~~link",
        )
        .await;
    back.is(200);
    let to = "0; url=/accounts/from/partner?state=s&code=c%26d&iss=i&error=";
    assert_eq!(back.header("refresh"), to);
    assert_eq!(back.header("set-cookie"), "");
    link_uma(&site, "1").await;
    let page = site.get("/accounts", &cookie).await;
    page.says("signs in")
        .says("approves nothing")
        .says("1@partner.example.net");
    assert!(!page.text.contains("/accounts/link/partner"));
    site.get("/people", &cookie).await.says("partner");
}
