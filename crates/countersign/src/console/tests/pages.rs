//! What pages show, headers, assets, filters, live updates.

use axum::{
    body::Body,
    http::{Request, header},
};

use super::{OLGA, SAM, Site};

#[tokio::test]
async fn hostile_text_is_shown_as_text() {
    let site = Site::open().await;
    let hostile = "<script>alert(1)</script>\" onload=x \u{202e}gnp.exe";
    let id = site
        .held(&["echo", "<img src=x>", "</code>"], hostile)
        .await;
    let sam = site.sign_in(SAM).await;
    for path in [
        format!("/requests/{id}"),
        "/".into(),
        "/inbox?tab=waiting&q=%3Cimg".into(),
    ] {
        let page = site.get(&path, &sam).await;
        page.is(200)
            .says("&#60;script&#62;alert(1)")
            .says("⟨U+202E⟩");
        for raw in ["<script>alert", "<img", "</code>'", "\u{202e}"] {
            assert!(!page.text.contains(raw), "{raw} in {path}");
        }
    }
    let page = site
        .get(
            "/inbox?q=%3Cb%3E%22&target=%3Ci%3E&done=approved&seal=1.x",
            &sam,
        )
        .await;
    page.is(200)
        .says("&#60;b&#62;&#34;")
        .says("Nothing matches this filter");
    assert!(
        !page.text.contains("Done."),
        "a forged address says nothing"
    );
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let site = Site::open().await;
    let sam = site.sign_in(SAM).await;
    let id = site.held(&["true"], "why").await;
    for (path, session, status) in [
        ("/", sam.as_str(), 200),
        ("/inbox", &sam, 200),
        ("/people", &sam, 200),
        (&format!("/requests/{id}"), &sam, 200),
        ("/requests/nothing", &sam, 404),
        ("/", "", 401),
        ("/sign-in/x", "", 401),
        ("/sign-out", &sam, 405),
        (&format!("/requests/{id}/approve"), &sam, 303),
        ("/people/add", &sam, 303),
        ("/assets/none.js", "", 404),
    ] {
        let answer = site.get(path, session).await;
        answer.is(status);
        for (name, value) in [
            (
                "content-security-policy",
                countersign_console::CONTENT_SECURITY_POLICY,
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {path}");
        }
    }
}

#[tokio::test]
async fn addresses_do_not_come_from_the_host_header() {
    let site = Site::open().await;
    let link = site.link(SAM).await;
    let request = Request::get(&link).header(header::HOST, "evil.example");
    let page = site.send(request.body(Body::empty()).unwrap()).await;
    page.is(200).says("gate.example.com");
    assert!(!page.text.contains("evil.example"));
}

#[tokio::test]
async fn assets_are_kept_by_their_hash_only() {
    let site = Site::open().await;
    let sam = site.sign_in(SAM).await;
    let page = site.get("/", &sam).await;
    for name in ["console.css", "console.js", "logo.svg"] {
        let start = format!("/assets/{name}?v=");
        let version = page
            .text
            .split(&start)
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let kept = site.get(&format!("{start}{version}"), "").await;
        kept.is(200);
        assert_eq!(
            kept.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(kept.header("x-content-type-options"), "nosniff");
        let asked = site.get(&format!("{start}0000"), "").await;
        assert_eq!(asked.header("cache-control"), "no-cache");
        let known =
            Request::get(format!("/assets/{name}")).header("if-none-match", kept.header("etag"));
        let known = site.send(known.body(Body::empty()).unwrap()).await;
        assert!(known.is(304).text.is_empty());
    }
    site.get("/assets/../Cargo.toml", "").await.is(404);
}

#[tokio::test]
async fn a_head_is_no_visit_and_a_page_is_one() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let sam = site.sign_in(SAM).await;
    let path = format!("/requests/{id}");
    let records = |case: countersign_core::request::Case| case.records;
    let before = records(site.case(&id).await);
    let head = Request::head(&path).header(header::COOKIE, &sam);
    let head = site.send(head.body(Body::empty()).unwrap()).await;
    assert!(head.is(200).text.is_empty());
    assert_eq!(records(site.case(&id).await), before);
    for _ in 0..3 {
        site.get(&path, &sam).await.is(200);
    }
    assert_eq!(records(site.case(&id).await), before + 1);
}

#[tokio::test]
async fn tabs_filter_and_turn_pages() {
    let site = Site::open().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    for number in 0..52 {
        site.held(&["echo", &format!("number-{number:02}")], "why")
            .await;
    }
    let first = site.get("/", &sam).await;
    first.says("(52) ").says("number-51").says("Next page");
    assert!(!first.text.contains("number-01"));
    let next = first
        .text
        .split("rel=\"next\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    let second = site.get(&next, &sam).await;
    second
        .is(200)
        .says("number-01")
        .says("number-00")
        .says("First page");
    assert!(!second.text.contains("number-51") && !second.text.contains("Next page"));

    let mine = site
        .get("/inbox?tab=mine&agent=bot&q=number-07&state=held", &olga)
        .await;
    mine.says("number-07");
    assert!(!mine.text.contains("number-08"));
    for nothing in [
        "/inbox?tab=decided",
        "/inbox?tab=waiting&agent=sam@example.com",
        "/inbox?tab=waiting&state=denied",
        "/inbox?tab=mine&to=2020-01-01",
        "/inbox?tab=mine&target=orders",
    ] {
        assert!(
            !site
                .get(nothing, &sam)
                .await
                .is(200)
                .text
                .contains("number-"),
            "{nothing}"
        );
    }
    let odd = "/inbox?tab=odd&from=x&after=req_none&state=odd&limit=9&tab=mine&%zz";
    site.get(odd, &sam).await.is(200).says("number-51");
}

#[tokio::test]
async fn the_page_names_a_stream_that_takes_the_cookie() {
    let site = Site::open().await;
    let id = site.held(&["true"], "why").await;
    let sam = site.sign_in(SAM).await;
    let page = site.get(&format!("/requests/{id}"), &sam).await;
    page.says("data-events=\"/v1/events\"")
        .says(&format!("data-page=\"/requests/{id}\""));
    let request = |cookie: &str| {
        Request::get("/v1/events")
            .header(header::COOKIE, cookie)
            .body(Body::empty())
            .unwrap()
    };
    let mut stream = site.stream(request(&sam)).await;
    site.held(&["true", "2"], "why").await;
    let text = stream.next().await;
    assert!(text.contains("event: request"), "{text}");
    site.send(request("")).await.is(401);
}

#[tokio::test]
async fn a_browser_that_is_lost_gets_a_page_and_a_program_a_problem() {
    let site = Site::open().await;
    let ask = |path: &str, accept: &str| {
        let request = Request::get(path).header(header::ACCEPT, accept);
        site.send(request.body(Body::empty()).unwrap())
    };
    let page = ask("/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    page.is(404).says("<!doctype html>").says("Go to the inbox");
    assert!(
        page.header("content-security-policy")
            .contains("default-src")
    );
    for (path, accept) in [
        ("/nowhere", "*/*"),
        ("/nowhere", "application/json"),
        ("/v1/nowhere", "text/html"),
    ] {
        let problem = ask(path, accept).await;
        problem.is(404).says("\"type\":\"not_found\"");
        assert_eq!(problem.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn a_list_refuses_filters_that_mean_nothing() {
    let site = Site::open().await;
    site.held(&["true"], "why").await;
    let sam = site.sign_in(super::SAM).await;
    for (query, says) in [
        ("state=hold", "held, approved, running"),
        ("limit=0", "use 1 to 200"),
        ("limit=201", "use 1 to 200"),
        ("since=5&until=5", "before `until`"),
        ("agent=nobody", "nobody has that name"),
        ("agent=robot:x", "nobody has that name"),
        ("target=tool", "no such target"),
        ("color=red", "color"),
    ] {
        let answer = site.get(&format!("/v1/requests?{query}"), &sam).await;
        answer.is(400).says(says);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    for query in [
        "state=held",
        "state=denied",
        "agent=bot",
        "agent=agent:bot",
        "agent=kim@example.com",
        "target=tools&text=nothing",
        "target=countersign",
    ] {
        site.get(&format!("/v1/requests?{query}"), &sam)
            .await
            .is(200);
    }
}

#[tokio::test]
async fn what_reads_as_something_else_is_pointed_out() {
    let site = Site::open().await;
    let plain = site.held(&["true"], "a plain reason").await;
    let odd = site
        .held(
            &["echo", "x"],
            "see \u{ff52}\u{ff4d} or p\u{430}y\u{200b}pal",
        )
        .await;
    let sam = site.sign_in(super::SAM).await;
    let warning = "Contains invisible or look-alike characters.";
    let page = site.get(&format!("/requests/{plain}"), &sam).await;
    assert!(!page.text.contains(warning));
    site.get(&format!("/requests/{odd}"), &sam)
        .await
        .says(warning)
        .says("full-width or styled letters")
        .says("invisible characters")
        .says("letters that look alike");
}
