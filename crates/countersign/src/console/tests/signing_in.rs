//! Links, cookies, signing out.

use axum::{body::Body, http::Request};

use super::{SAM, Site, form};

#[tokio::test]
async fn a_link_signs_in_once_and_a_preview_does_not_use_it() {
    let site = Site::open().await;
    let link = site.link(SAM).await;
    for _ in 0..3 {
        let preview = site.get(&link, "").await;
        preview.is(200).says(SAM).says("It works once");
        assert_eq!(preview.header("referrer-policy"), "no-referrer");
        assert_eq!(preview.header("cache-control"), "no-store");
        assert_eq!(preview.header("set-cookie"), "");
    }
    let head = Request::head(&link).body(Body::empty()).unwrap();
    site.send(head).await.is(200);

    let signed_in = site.post(&link, "", String::new()).await;
    signed_in.is(303);
    assert_eq!(signed_in.header("location"), "/");
    let cookie = signed_in.header("set-cookie").to_owned();
    for part in [
        "__Host-countersign_session=css_",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Secure",
    ] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    let lasts: i64 = cookie
        .split("Max-Age=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let whole = crate::identity::SESSION.as_millis() / 1_000;
    assert!((whole - 10..=whole).contains(&lasts), "{lasts}");

    let session = cookie.split(';').next().unwrap();
    site.get("/", session)
        .await
        .is(200)
        .says("Signed in as")
        .says(SAM);
    site.post(&link, "", String::new())
        .await
        .is(401)
        .says("can&#39;t be used");
    site.get(&link, "").await.is(401);
    site.get("/sign-in/csl_nothing", "").await.is(401);
}

#[tokio::test]
async fn a_link_that_another_site_sends_is_refused_and_stays() {
    let site = Site::open().await;
    let link = site.link(SAM).await;
    for from in ["cross-site", "same-site", "anything"] {
        let request = Request::post(&link).header("sec-fetch-site", from);
        site.send(request.body(Body::empty()).unwrap())
            .await
            .is(403)
            .says("another site");
    }
    site.post(&link, "", String::new()).await.is(303);
}

#[tokio::test]
async fn nobody_signed_in_gets_a_page_that_says_so_and_never_a_loop() {
    let site = Site::open().await;
    let stale = "__Host-countersign_session=css_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let session = site.sign_in(SAM).await;
    let token = session.replace(
        "__Host-countersign_session=css_",
        "__Host-countersign_session=csl_",
    );
    for cookie in ["", "__Host-countersign_session=x", stale, &token] {
        for path in ["/", "/inbox?tab=mine", "/people", "/requests/req_1"] {
            let answer = site.get(path, cookie).await;
            answer.is(401).says("Sign in first");
            assert_eq!(
                (answer.header("location"), answer.header("refresh")),
                ("", "")
            );
        }
    }
    site.post("/people/add", "", String::new()).await.is(401);
    site.post("/sign-out", "", String::new()).await.is(401);

    // A link in a chat comes without the cookie: asked again once, by the page itself.
    let from_chat = |path: &str| {
        let request = Request::get(path)
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate");
        request.body(Body::empty()).unwrap()
    };
    let first = site.send(from_chat("/requests/req_1?a=b")).await;
    assert_eq!(
        first.is(401).header("refresh"),
        "0; url=/requests/req_1?a=b&again=1"
    );
    let second = site.send(from_chat("/requests/req_1?a=b&again=1")).await;
    assert_eq!(second.is(401).header("refresh"), "");
}

#[tokio::test]
async fn a_bearer_token_gets_no_page() {
    let site = Site::open().await;
    let link = site.link(SAM).await;
    let link = link.trim_start_matches("/sign-in/");
    let kind = countersign_store::CredentialKind::Token;
    let valid_for = crate::identity::TOKEN;
    let (token, _) = site
        .gateway
        .identity
        .use_link(link, kind, valid_for)
        .await
        .unwrap();
    let request = Request::get("/").header("authorization", format!("Bearer {}", token.text()));
    site.send(request.body(Body::empty()).unwrap())
        .await
        .is(401);
    site.get("/", &format!("__Host-countersign_session={}", token.text()))
        .await
        .is(401);
}

#[tokio::test]
async fn signing_out_ends_the_session_for_good() {
    let site = Site::open().await;
    let session = site.sign_in(SAM).await;
    let csrf = site.get("/", &session).await.field("csrf");
    site.post("/sign-out", &session, String::new())
        .await
        .is(403);
    site.get("/", &session).await.is(200);
    let out = site
        .post("/sign-out", &session, form(&[("csrf", &csrf)]))
        .await;
    out.is(200).says("You are signed out");
    assert!(
        out.header("set-cookie")
            .starts_with("__Host-countersign_session=; Path=/; Max-Age=0;")
    );
    site.get("/", &session).await.is(401);
}

#[tokio::test]
async fn a_session_makes_a_token_that_is_weaker_and_ends_with_it() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let session = site.sign_in_by(SAM, Some(super::OLGA)).await;
    let csrf = site.get("/people", &session).await.field("csrf");
    site.post("/command-line", &session, form(&[("csrf", "x")]))
        .await
        .is(403);
    let page = site
        .post("/command-line", &session, form(&[("csrf", &csrf)]))
        .await;
    page.is(200)
        .says("Shown once.")
        .says("countersign login --url https://gate.example.com");
    let token = page.text.split("data-value=\"cst_").nth(1).unwrap();
    let token = format!("cst_{}", token.split('"').next().unwrap());
    let ask = |method: &str, path: String, body: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        site.send(request.body(Body::from(body.to_owned())).unwrap())
    };
    ask("GET", "/v1/whoami".into(), "")
        .await
        .is(200)
        .says("person:sam@example.com")
        .says("\"token\"");
    // It never votes, whatever the session could.
    let digest = site.case(&id).await.request.digest;
    let vote = format!(r#"{{"verdict":"approve","digest":"{digest}","act":"x"}}"#);
    ask("POST", format!("/v1/requests/{id}/votes"), &vote)
        .await
        .is(403)
        .says("not_a_session");
    // Whoever had a hand in the session had one in the token.
    let kind = countersign_store::CredentialKind::Token;
    let caller = site.gateway.identity.caller(&token, kind).await.unwrap();
    assert!(
        caller
            .lineage()
            .iter()
            .any(|one| one.as_str() == super::OLGA)
    );
    site.post("/sign-out", &session, form(&[("csrf", &csrf)]))
        .await
        .is(200);
    ask("GET", "/v1/whoami".into(), "").await.is(401);
}
