//! Voting, talking, cancelling, amending.

use axum::{
    body::Body,
    http::{Request, header},
};
use countersign_core::request::{MessageKind, Phase};

use super::{OLGA, SAM, Site, UMA, form};

#[tokio::test]
async fn whoever_the_rule_names_approves_and_that_decides_it() {
    let site = Site::open().await;
    let id = site.held(&["true"], "the disk is full").await;
    let sam = site.sign_in(SAM).await;
    site.get("/", &sam)
        .await
        .is(200)
        .says("Your signature: rule ops")
        .says("(1) ");
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    page.is(200)
        .says("the disk is full")
        .says("You can sign")
        .says("ops-sign")
        .says("Approve this action");
    let form = page.form(&[("reason", "looked\r\nat it")]);
    let done = site
        .post(&format!("/requests/{id}/approve"), &sam, form)
        .await;
    done.is(303);
    let location = done.header("location").to_owned();
    assert!(
        location.starts_with(&format!("/requests/{id}?done=approved&seal=")),
        "{location}"
    );
    let after = site.get(&location, &sam).await;
    after
        .is(200)
        .says("Your approval is recorded.")
        .says("Every rule is satisfied.");
    after.says("Withdraw my approval");
    let case = site.case(&id).await;
    assert!(matches!(case.phase, Phase::Approved { .. }));
    assert_eq!(case.votes[0].reason.as_deref(), Some("looked\nat it"));
    site.get("/", &sam).await.says("Nothing waits for you");

    let back = site
        .post(&format!("/requests/{id}/withdraw"), &sam, after.form(&[]))
        .await;
    back.is(303);
    assert!(matches!(site.case(&id).await.phase, Phase::Held { .. }));
}

#[tokio::test]
async fn a_denial_ends_it_and_nothing_more_can_be_decided() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let sam = site.sign_in(SAM).await;
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    let deny = || page.form(&[("reason", "not today")]);
    site.post(&format!("/requests/{id}/deny"), &sam, deny())
        .await
        .is(303);
    assert_eq!(site.case(&id).await.phase.name(), "denied");
    let late = site
        .post(&format!("/requests/{id}/approve"), &sam, deny())
        .await;
    late.is(409)
        .says("Refused.")
        .says("nothing more can be decided");
    site.get("/inbox?tab=decided", &sam)
        .await
        .says("sam@example.com denied");
}

#[tokio::test]
async fn the_owner_is_refused_with_the_reason_and_offered_no_vote() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let olga = site.sign_in(OLGA).await;
    let page = site.get(&format!("/requests/{id}"), &olga).await;
    page.is(200)
        .says("You own agent:bot")
        .says("Cancel this request");
    assert!(!page.text.contains("Approve this action") && !page.text.contains("Deny this action"));
    site.get("/", &olga).await.says("Nothing waits for you");
    for verdict in ["approve", "deny"] {
        let path = format!("/requests/{id}/{verdict}");
        let refused = site.post(&path, &olga, page.form(&[])).await;
        refused
            .is(403)
            .says("Refused.")
            .says("on the requester&#39;s side");
    }
    assert_eq!(site.case(&id).await.phase.name(), "held");
    site.post(&format!("/requests/{id}/cancel"), &olga, page.form(&[]))
        .await
        .is(303);
    assert_eq!(site.case(&id).await.phase.name(), "cancelled");
}

#[tokio::test]
async fn a_form_without_its_sessions_token_does_nothing() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    let (act, digest) = (page.field("act"), page.field("digest"));
    let foreign = site.get(&path, &olga).await.field("csrf");
    for csrf in ["", "x", &foreign] {
        let fields = [
            ("csrf", csrf),
            ("act", &act),
            ("digest", &digest),
            ("reason", "filled in"),
        ];
        let refused = site
            .post(&format!("{path}/approve"), &sam, form(&fields))
            .await;
        refused.is(403).says("own page");
        assert!(!refused.text.contains("filled in"));
    }
    let twice = format!("{}&csrf=x", page.form(&[]));
    site.post(&format!("{path}/approve"), &sam, twice)
        .await
        .is(400)
        .says("twice");
    let json = Request::post(format!("{path}/approve"))
        .header(header::COOKIE, &sam)
        .header(header::CONTENT_TYPE, "application/json");
    site.send(json.body(Body::from("{}")).unwrap())
        .await
        .is(415);
    let elsewhere = Request::post(format!("{path}/approve"))
        .header(header::COOKIE, &sam)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site");
    site.send(elsewhere.body(page.form(&[]).into()).unwrap())
        .await
        .is(403)
        .says("another site");
    assert!(site.case(&id).await.votes.is_empty());
}

#[tokio::test]
async fn an_act_of_another_session_time_or_action_is_refused() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let other = site.held(&["true", "other"], "why").await;
    let (sam, again) = (site.sign_in(SAM).await, site.sign_in(SAM).await);
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    let (csrf, digest) = (page.field("csrf"), page.field("digest"));
    let session = site
        .gateway
        .store
        .credentials(Some("person:sam@example.com"))
        .await
        .unwrap();
    let session = session
        .iter()
        .find(|one| sam.ends_with(&secret_of(one, &sam)))
        .unwrap();
    let case = site.case(&id).await;
    let now = site.gateway.clock.now();
    let long_ago = countersign_core::time::Timestamp(now.0 - 16 * 60_000);
    let acts = site.gateway.identity.acts();
    let stale = acts.act(&session.id, &id, &case.request.digest, long_ago);
    let cross = site.get(&path, &again).await.field("act");
    let of_other = site
        .get(&format!("/requests/{other}"), &sam)
        .await
        .field("act");
    for act in ["", "1.x", &stale, &cross, &of_other] {
        let fields = [
            ("csrf", csrf.as_str()),
            ("act", act),
            ("digest", &digest),
            ("reason", "kept & safe"),
        ];
        let refused = site
            .post(&format!("{path}/approve"), &sam, form(&fields))
            .await;
        refused
            .is(409)
            .says("reload it, look, and decide again")
            .says("kept &#38; safe");
    }
    let other_digest = site.case(&other).await.request.digest.to_string();
    let fields = [
        ("csrf", csrf.as_str()),
        ("act", &page.field("act")),
        ("digest", &other_digest),
    ];
    site.post(&format!("{path}/approve"), &sam, form(&fields))
        .await
        .is(409);
    assert!(site.case(&id).await.votes.is_empty());
}

/// The cookie's secret if this credential is the one behind it.
fn secret_of(credential: &countersign_store::StoredCredential, cookie: &str) -> String {
    let secret = cookie.split_once('=').unwrap().1;
    match crate::identity::Secret::hash_of(secret) == Some(credential.secret) {
        true => secret.into(),
        false => "another".into(),
    }
}

#[tokio::test]
async fn questions_are_asked_answered_and_commented_on() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    let ask = page.form(&[("text", "is the backup done?")]);
    site.post(&format!("{path}/ask"), &sam, ask).await.is(303);
    let mine = site.get(&path, &olga).await;
    mine.says("is the backup done?").says("Your answer");
    // Whoever is asked finds it first, and counted.
    site.get("/", &olga)
        .await
        .says("sam@example.com waits for your answer")
        .says("asks you</span>")
        .says("<title>(1) ");
    let note = page.form(&[("text", "no hurry")]);
    site.post(&format!("{path}/comment"), &sam, note)
        .await
        .is(303);
    let sams = site.get("/inbox?tab=waiting", &sam).await;
    sams.says("question open");
    let question = mine.field("question");
    let answer = mine.form(&[("text", "yes"), ("question", &question)]);
    site.post(&format!("{path}/answer"), &olga, answer)
        .await
        .is(303);
    let note = mine.form(&[("text", "go ahead")]);
    site.post(&format!("{path}/comment"), &olga, note)
        .await
        .is(303);
    let case = site.case(&id).await;
    assert!(matches!(
        case.conversation[2].kind,
        MessageKind::Answer { .. }
    ));
    assert_eq!(case.conversation[3].text, "go ahead");
    site.get("/", &olga).await.says("Nothing waits for you");
    site.post(
        &format!("{path}/comment"),
        &olga,
        mine.form(&[("text", " ")]),
    )
    .await
    .is(400);
    // Asking is for reviewers.
    site.post(&format!("{path}/ask"), &olga, mine.form(&[("text", "?")]))
        .await
        .is(403);
    site.post(&format!("{path}/dance"), &olga, mine.form(&[]))
        .await
        .is(404);
}

#[tokio::test]
async fn an_amendment_becomes_a_request_that_its_editor_can_not_sign() {
    let site = Site::open().await;
    let id = site
        .held(&["echo", "", "two\nlines", r"C:\x", "\u{202e}"], "why")
        .await;
    let sam = site.sign_in(SAM).await;
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    page.says("Propose another action instead")
        .says("\\e\ntwo\\nlines\nC:\\\\x\n\\u{202e}");
    let bad = page.form(&[("arguments", "echo\r\n\\q"), ("text", "")]);
    let refused = site.post(&format!("{path}/amend"), &sam, bad).await;
    refused
        .is(400)
        .says("Line 2 has <code>\\q</code>")
        .says("echo\n\\q");
    let good = page.form(&[
        ("arguments", "echo\r\n\\e\r\nbetter\\nso\r\n"),
        ("text", "safer"),
    ]);
    site.post(&format!("{path}/amend"), &sam, good)
        .await
        .is(303);
    let case = site.case(&id).await;
    assert_eq!(case.phase.name(), "amended");
    let MessageKind::Amendment { request } = &case.conversation[0].kind else {
        panic!("{case:?}")
    };
    let amended = site.case(request).await;
    assert_eq!(
        amended.request.action.arguments["argv"],
        serde_json::json!(["echo", "", "better\nso"])
    );
    let page = site.get(&format!("/requests/{request}"), &sam).await;
    page.says("Edited by sam@example.com, it replaces");
    assert!(!page.text.contains("Approve this action"));
}

#[tokio::test]
async fn a_request_is_seen_by_those_it_concerns_only() {
    let site = Site::open().await;
    let id = site.held(&["true"], "secret reason").await;
    let (uma, ada) = (site.sign_in(UMA).await, site.sign_in(super::ADA).await);
    let path = format!("/requests/{id}");
    for session in [&uma] {
        for page in [
            &path,
            "/requests/req_00000000000000000000000000",
            "/requests/%20",
            "/requests/x",
        ] {
            let answer = site.get(page, session).await;
            answer.is(404).says("404");
            assert!(!answer.text.contains("secret reason"));
        }
        let csrf = site.get("/", session).await.field("csrf");
        let act = form(&[("csrf", &csrf), ("text", "hello")]);
        site.post(&format!("{path}/comment"), session, act)
            .await
            .is(404);
        assert!(
            !site
                .get("/inbox?tab=decided", session)
                .await
                .text
                .contains(id.as_str())
        );
    }
    // An auditor reads it and decides nothing.
    let seen = site.get(&path, &ada).await;
    seen.is(200).says("secret reason").says("reads everything");
    assert!(!seen.text.contains("Approve this action"));
}

#[tokio::test]
async fn whoever_would_be_refused_is_told_so_instead_of_being_offered_a_button() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    // Olga owns the agent, and had the link made that Sam signs in with.
    let sam = site.sign_in_by(SAM, Some(OLGA)).await;
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    page.is(200)
        .says("olga@example.com, who is on the requester&#39;s side, had a hand in the link");
    for offered in ["Approve this action", "Deny this action"] {
        assert!(!page.text.contains(offered), "{offered}");
    }
    for verdict in ["approve", "deny"] {
        let path = format!("/requests/{id}/{verdict}");
        site.post(&path, &sam, page.form(&[])).await.is(403);
    }
    // Through another link he can.
    let sam = site.sign_in(SAM).await;
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    page.says("Approve this action").says("Deny this action");
    // Possible voters are people who are not on the requester's side.
    assert!(
        page.text.contains("<bdi>kim@example.com</bdi>"),
        "{}",
        page.text
    );
    let named = page
        .text
        .split("class=\"slot open")
        .nth(1)
        .unwrap_or_default();
    let named = named.split("</li>").next().unwrap_or_default();
    assert!(!named.contains(OLGA), "{named}");
}

#[tokio::test]
async fn the_timeline_has_the_decision_at_the_claim_and_the_exit_status() {
    let site = Site::open().await;
    let id = site.held(&["false"], "why").await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    site.post(&format!("{path}/approve"), &sam, page.form(&[]))
        .await
        .is(303);
    site.claim(&id, 3).await;
    site.get(&path, &olga)
        .await
        .says("At the claim, policy decided again:")
        .says("permit")
        .says("given rule ops")
        .says("Exit status 3, under ");
}

#[tokio::test]
async fn more_requests_than_fit_on_many_pages_are_counted() {
    let site = Site::open().await;
    let sam = site.sign_in(SAM).await;
    for number in 0..60 {
        site.held(&["echo", &number.to_string()], "why").await;
    }
    let first = site.get("/", &sam).await;
    first.says("<title>(60) ").says("Next page");
    let next = first.text.split("rel=\"next\" href=\"").nth(1).unwrap();
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    let second = site.get(&next, &sam).await;
    assert_eq!(second.text.matches("class=\"row-title\"").count(), 10);
    let filtered = site.get("/inbox?tab=waiting&q=echo%2059", &sam).await;
    assert_eq!(filtered.text.matches("class=\"row-title\"").count(), 1);
}

#[tokio::test]
async fn an_amendment_that_leaves_nobody_says_so() {
    let site = Site::open().await;
    // Only Sam could sign; as its editor nobody could.
    let id = site.held(&["true"], "why").await;
    let olga = site.sign_in(OLGA).await;
    let csrf = site.get("/people", &olga).await.field("csrf");
    let leaves = form(&[("csrf", &csrf), ("person", "kim@example.com")]);
    site.post("/people/disable", &olga, leaves).await.is(303);
    let sam = site.sign_in(SAM).await;
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    let other = page.form(&[("arguments", "echo\r\nx"), ("text", "")]);
    site.post(&format!("{path}/amend"), &sam, other)
        .await
        .is(400)
        .says("No quorum can be reached")
        .says("joins the requester&#39;s side");
    assert_eq!(site.case(&id).await.phase.name(), "held");
}

#[tokio::test]
async fn nobody_is_told_that_they_can_sign_in_a_session_that_would_be_refused() {
    let site = Site::open().await;
    // Olga owns the agent and had Sam's link made.
    let sam = site.sign_in_by(SAM, Some(OLGA)).await;
    let id = site.held(&["true"], "now").await;
    let path = format!("/requests/{id}");
    let page = site.get(&path, &sam).await;
    page.says("had a hand in the link you signed in with")
        .says("sam@example.com is signed in by a link that olga@example.com had a hand in");
    for said in ["You can sign this", "id=\"waiting\"", "id=\"approve\""] {
        assert!(!page.text.contains(said), "{said}: {}", page.text);
    }
    let tried = site
        .post(&format!("{path}/approve"), &sam, page.form(&[]))
        .await;
    tried.is(403).says("asked for the link that your session");
    let own = site.sign_in(SAM).await;
    site.get(&path, &own).await.says("You can sign this");
    // With a session that would do somewhere, Sam is among those who can sign.
    let page = site.get(&path, &sam).await;
    assert!(
        !page.text.contains("is signed in by a link"),
        "{}",
        page.text
    );
}
