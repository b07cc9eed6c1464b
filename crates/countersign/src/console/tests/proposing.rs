//! The people page and its forms.

use super::{APPROVALS, Answer, OLGA, POLICIES, SAM, Site, UMA, form};

fn with_token(page: &Answer, fields: &[(&str, &str)]) -> String {
    let csrf = page.field("csrf");
    form(&[&[("csrf", csrf.as_str())], fields].concat())
}

/// The request that an answer leads to.
fn led_to(answer: &Answer) -> String {
    let location = answer.is(303).header("location");
    let (path, query) = location.split_once('?').unwrap();
    assert!(query.starts_with("done=proposed&seal="), "{location}");
    path.to_owned()
}

#[tokio::test]
async fn everybody_signed_in_reads_the_directory() {
    let site = Site::open().await;
    let uma = site.sign_in(UMA).await;
    let page = site.get("/people?pick=bot", &uma).await;
    page.is(200)
        .says(SAM)
        .says("owned by")
        .says("Chosen below: <bdi>bot</bdi>");
    page.says("Becomes a request that others countersign.");
    let refused = with_token(&page, &[("person", "new@example.com"), ("groups", "ops")]);
    let refused = site.post("/people/add", &uma, refused).await;
    refused
        .is(403)
        .says("no policy permits it")
        .says("People and agents");
}

#[tokio::test]
async fn a_form_becomes_a_held_request_that_another_countersigns() {
    let site = Site::open().await;
    let (olga, sam) = (site.sign_in(OLGA).await, site.sign_in(SAM).await);
    let page = site.get("/people", &olga).await;
    let fields = [
        ("person", "new@example.com"),
        ("groups", " ops "),
        ("reason", "joins us"),
    ];
    let path = led_to(
        &site
            .post("/people/add", &olga, with_token(&page, &fields))
            .await,
    );
    site.get(&path, &olga)
        .await
        .says("joins us")
        .says("person   new@example.com")
        .says("groups   ops")
        .says("They can sign in once somebody has asked for a link for them.")
        .says("This changes Countersign itself.");
    site.get("/people", &sam)
        .await
        .says("waits for you")
        .says("Add the person new@example.com");
    let review = site.get(&path, &sam).await;
    site.post(&format!("{path}/approve"), &sam, review.form(&[]))
        .await
        .is(303);
    let mine = site.get(&path, &olga).await;
    mine.says("Apply this change")
        .says("whoever proposed it applies it");
    assert!(!mine.text.contains("You can't decide this") && !mine.text.contains("Run…"));
    // It waits for whoever proposed it, and for nobody else.
    site.get("/", &olga)
        .await
        .says("Approved: apply it")
        .says("<title>(1) ");
    site.get("/", &sam).await.says("Nothing waits for you");
    let early = form(&[
        ("csrf", &mine.field("csrf")),
        ("act", "1.x"),
        ("digest", &mine.field("digest")),
    ]);
    site.post(&format!("{path}/claim"), &olga, early)
        .await
        .is(409);
    site.post(&format!("{path}/claim"), &sam, review.form(&[]))
        .await
        .is(403);
    let applied = site
        .post(&format!("{path}/claim"), &olga, mine.form(&[]))
        .await;
    assert!(applied.is(303).header("location").contains("done=applied"));
    site.get("/people", &olga).await.says("new@example.com");
    site.get(&path, &olga).await.says("Outcome: succeeded.");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_by_nothing() {
    let site = Site::open().await;
    let (olga, sam) = (site.sign_in(OLGA).await, site.sign_in(SAM).await);
    let page = site.get("/people", &olga).await;
    // Policy permits links at once.
    let link = with_token(&page, &[("person", UMA)]);
    let link = site.post("/people/sign-in-link", &olga, link).await;
    link.is(200)
        .says("Sign-in link for uma@example.com")
        .says("https://gate.example.com/sign-in/csl_")
        .says("uma@example.com, signed in with it, can&#39;t approve what you ask");
    assert_eq!(link.header("cache-control"), "no-store");
    assert!(!link.text.contains("data-page="));
    // A token waits for a second administrator.
    let token = with_token(&page, &[("machine", "agent:bot"), ("expires", "24h")]);
    let path = led_to(&site.post("/agents/token", &olga, token).await);
    let review = site.get(&path, &sam).await;
    site.post(&format!("{path}/approve"), &sam, review.form(&[]))
        .await
        .is(303);
    let mine = site.get(&path, &olga).await;
    let shown = site
        .post(&format!("{path}/claim"), &olga, mine.form(&[]))
        .await;
    shown
        .is(200)
        .says("Token for agent bot")
        .says("cst_")
        .says("COUNTERSIGN_URL=https://gate.example.com");
    assert_eq!(shown.header("cache-control"), "no-store");
    site.post(&format!("{path}/claim"), &olga, mine.form(&[]))
        .await
        .is(409);
    assert!(!site.get(&path, &olga).await.text.contains("cst_"));
    site.get("/people", &olga).await.says("cred_");
}

#[tokio::test]
async fn what_policy_permits_is_applied_at_once() {
    let site = Site::open().await;
    let olga = site.sign_in(OLGA).await;
    let page = site.get("/people", &olga).await;
    let stop = with_token(&page, &[("machine", "agent:bot")]);
    let stopped = site.post("/agents/stop", &olga, stop).await;
    let location = stopped.is(303).header("location").to_owned();
    assert!(location.starts_with("/people?done=applied"), "{location}");
    site.get(&location, &olga)
        .await
        .says("The change was applied.")
        .says("stopped");
    // Nobody else is told so by the same address.
    let sam = site.sign_in(SAM).await;
    assert!(
        !site
            .get(&location, &sam)
            .await
            .text
            .contains("The change was applied.")
    );
}

#[tokio::test]
async fn a_form_that_makes_no_sense_is_refused_with_its_reason() {
    let site = Site::open().await;
    let olga = site.sign_in(OLGA).await;
    let page = site.get("/people", &olga).await;
    for (path, fields, status, says) in [
        ("/people/add", vec![("person", SAM)], 422, "exists already"),
        (
            "/people/add",
            vec![("person", "a b")],
            422,
            "not a valid person",
        ),
        (
            "/people/membership/add",
            vec![("member", "person:sam@example.com"), ("group", "none")],
            422,
            "no group",
        ),
        (
            "/people/membership/add",
            vec![("member", "agent:bot"), ("group", "ops")],
            422,
            "policy apply",
        ),
        (
            "/agents/add",
            vec![("kind", "workload"), ("name", "ci"), ("owner", SAM)],
            422,
            "policy apply",
        ),
        (
            "/agents/token",
            vec![("machine", "agent:bot"), ("expires", "soon")],
            422,
            "not a span",
        ),
        ("/agents/token", vec![("machine", "")], 400, "Choose who"),
        ("/people/nothing", vec![], 404, "no such form"),
    ] {
        let answer = site.post(path, &olga, with_token(&page, &fields)).await;
        answer.is(status).says("Refused.").says(says);
    }
    site.post("/people/add", &olga, form(&[("person", "x@example.com")]))
        .await
        .is(403)
        .says("own page");
    assert!(
        site.gateway
            .store
            .in_phase("held")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_stand_in_reads_in_whose_place_they_sign() {
    let held = "@id(\"absences\") @approval(\"admin\")
        forbid (principal, action == Action::\"countersign:absence-set\", resource);";
    let site = Site::open_with(APPROVALS, &format!("{POLICIES}\n{held}")).await;
    let (olga, sam) = (site.sign_in(OLGA).await, site.sign_in(SAM).await);
    let page = site.get("/people", &olga).await;
    let tomorrow = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let tomorrow = tomorrow.tomorrow().unwrap().date().to_string();
    let away = [
        ("person", "kim@example.com"),
        ("stand_in", UMA),
        ("until", tomorrow.as_str()),
    ];
    let away = with_token(&page, &away);
    let path = led_to(&site.post("/people/absence/set", &olga, away).await);
    let end = format!("through {tomorrow} (UTC)");
    let review = site.get(&path, &sam).await;
    review.says(&end);
    site.post(&format!("{path}/approve"), &sam, review.form(&[]))
        .await
        .is(303);
    let mine = site.get(&path, &olga).await;
    site.post(&format!("{path}/claim"), &olga, mine.form(&[]))
        .await
        .is(303);
    let people = site.get("/people", &olga).await;
    people
        .says(&format!("away {end}; <bdi>uma@example.com</bdi> signs"))
        .says("Say that somebody is back");
    // What was asked after that can be signed by either, and says so to both.
    let id = site.held(&["true"], "why").await;
    let uma = site.sign_in(UMA).await;
    let page = site.get(&format!("/requests/{id}"), &uma).await;
    page.says("sign this in the place of <bdi>kim@example.com</bdi>.")
        .says("<bdi>uma@example.com in the place of kim@example.com</bdi>");
    site.post(
        &format!("/requests/{id}/approve"),
        &uma,
        page.form(&[("reason", "read")]),
    )
    .await
    .is(303);
    let signed = site.get(&format!("/requests/{id}"), &sam).await;
    signed.says("</strong> in the place of <bdi>kim@example.com</bdi>");
}
