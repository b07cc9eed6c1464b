//! What could go on when an account is linked no more.
//!
//! In scope: what sessions through linked accounts, and what came from them, can't get; grants that were given in
//! them.
//! Out of scope: linking and voting (`linking_tests.rs`).
//! Invariant: see [`linking`](super::super).

use countersign_core::time::Span;

use super::*;
use crate::identity::Issue;

/// What it gives could be used when the account is theirs no more.
#[tokio::test]
async fn a_session_with_a_linked_account_gets_nothing_that_outlives_it() {
    let site = open("").await;
    let gateway = &site.gateway;
    link_uma(&site, "1").await;
    let (_, through) = sign_in(gateway, "1").await.unwrap();
    let uma = caller_of(&site, &site.sign_in(UMA).await).await;
    let until = gateway.clock.now().0 + 60_000;
    let own = json!({ "person": UMA, "stand_in": SAM, "from": until - 60_000, "until": until });
    for (operation, arguments) in [
        ("person-link", json!({ "person": UMA })),
        ("agent-token", json!({ "agent": "bot" })),
        ("absence-set", own),
    ] {
        let body = |arguments| {
            let body = json!({ "operation": operation, "arguments": arguments });
            serde_json::from_value::<ProposalBody>(body).unwrap()
        };
        let refused = Box::pin(propose(gateway, &through, body(arguments))).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("could outlive it"), "{operation}: {why}");
    }
    // Nor with a token for the command line that it made.
    let token = Issue {
        kind: CredentialKind::Token,
        holder: through.subject.id.clone(),
        issued_by: None,
        lineage: through.lineage(),
        parent: Some(through.credential.id.clone()),
        account: None,
        valid_for: Span::minutes(5),
    };
    let (secret, _) = gateway.identity.issue(&token).await.unwrap();
    let token = gateway
        .identity
        .caller(secret.text(), CredentialKind::Token);
    let token = token.await.unwrap();
    let body = json!({ "operation": "person-link", "arguments": { "person": UMA } });
    let body = serde_json::from_value::<ProposalBody>(body).unwrap();
    let refused = Box::pin(propose(gateway, &token, body)).await;
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("could outlive it"), "{why}");
    // Nor takes what was proposed in another session.
    let body = json!({ "operation": "person-link", "arguments": { "person": KIM } });
    let body = serde_json::from_value::<ProposalBody>(body).unwrap();
    let held = Box::pin(propose(gateway, &uma, body)).await.unwrap();
    assert_eq!(held.state, "held");
    approve(&site, &site.sign_in(SAM).await, &held.request)
        .await
        .is(303);
    let refused = claim(gateway, &through, &held.request).await;
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("could outlive it"), "{why}");
    assert_eq!(
        claim(gateway, &uma, &held.request).await.unwrap().state,
        "succeeded"
    );
}

/// Whoever is believed no more gave nothing that goes on.
#[tokio::test]
async fn a_grant_ends_with_the_provider_that_it_was_given_through() {
    let approvals = APPROVALS.replace(
        "count = 1 }]",
        "count = 1 }]\ngrants = { max = \"15m\", uses = 5 }",
    );
    let site = Site::open_files(PARTNER, &approvals, POLICIES).await;
    let gateway = &site.gateway;
    let kim_cookie = site.sign_in(KIM).await;
    let kim = caller_of(&site, &kim_cookie).await;
    let link = propose_further(gateway, &kim, linked(gateway, "1")).await;
    let link = link.unwrap().request;
    approve(&site, &site.sign_in(SAM).await, &link)
        .await
        .is(303);
    claim(gateway, &kim, &link).await.unwrap();
    let (secret, _) = sign_in(gateway, "1").await.unwrap();
    let cookie = kim_cookie.split_once('=').unwrap().0;
    let cookie = format!("{cookie}={}", secret.text());
    let held = site.held(&["/bin/echo", "a"], "why").await;
    let page = site.get(&format!("/requests/{held}"), &cookie).await;
    let terms = [
        ("grant", "shape"),
        ("grant_for", "15m"),
        ("grant_uses", "5"),
    ];
    let path = format!("/requests/{held}/approve");
    site.post(&path, &cookie, page.form(&terms)).await.is(303);
    site.claim(&held, 0).await;
    let lives = |case: &countersign_core::request::Case| {
        let grant = case.grant.as_ref().unwrap();
        grant.is_live(gateway.clock.now())
    };
    assert!(lives(&site.case(&held).await));
    let mut files = gateway.active().bundle.files().clone();
    let main = files.get_mut("countersign.toml").unwrap();
    *main = main.replace(PARTNER, "");
    let body = json!({ "operation": "bundle-apply", "arguments": { "files": files } });
    let body = serde_json::from_value::<ProposalBody>(body).unwrap();
    let olga = caller_of(&site, &site.sign_in(OLGA).await).await;
    let done = Box::pin(propose(gateway, &olga, body)).await.unwrap();
    assert_eq!(done.state, "succeeded");
    assert!(!opens(gateway, &secret).await && !lives(&site.case(&held).await));
}
