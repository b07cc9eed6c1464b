//! Votes that must not count.

use reqwest::{Method, header};
use serde_json::json;

use super::{act, digest, force};
use crate::support::{Answer, Caller, Lab};

/// Everybody who may not decide what the agent `bot` asks, each with the refusal.
#[tokio::test]
async fn nobody_but_an_uninvolved_person_in_their_own_session_votes() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let session = |name| lab.session(name);
    let disabled = lab
        .issue(
            countersign_store::CredentialKind::Session,
            "person:dan",
            None,
        )
        .await;
    let dan = Caller {
        secret: disabled.0,
        id: disabled.1,
        ..session("ann").await
    };
    let table: Vec<(&str, Caller, u16, &str)> = vec![
        ("the agent itself", bot.clone(), 403, "not_a_session"),
        (
            "a reviewer's token",
            lab.token("person:ann").await,
            403,
            "not_a_session",
        ),
        (
            "the owner's session",
            session("olga").await,
            403,
            "own_request",
        ),
        (
            "the owner's token",
            lab.token("person:olga").await,
            403,
            "not_a_session",
        ),
        (
            "another agent of the owner",
            lab.token("agent:twin").await,
            404,
            "no_such_request",
        ),
        (
            "a reviewer's session that the owner issued",
            lab.session_from("ann", Some("olga")).await,
            403,
            "credential_from_requester",
        ),
        ("a disabled reviewer", dan, 403, "disabled"),
        (
            "somebody of another group",
            session("sid").await,
            404,
            "no_such_request",
        ),
        (
            "an administrator",
            session("ada").await,
            403,
            "not_eligible",
        ),
    ];
    for (what, caller, status, kind) in table {
        force(&lab, &caller, &id, "approve")
            .await
            .refused(what, status, kind);
        assert_eq!(lab.state(&id).await, "held", "{what}");
    }
    let none = reqwest::Client::new().post(format!("{}/v1/requests/{id}/votes", lab.url));
    let none = Answer::of(none.json(&json!({})).send().await.unwrap()).await;
    none.refused("no credential", 401, "unauthenticated");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn people_do_not_decide_what_they_ask_themselves() {
    let lab = Lab::new().await;
    let (token, pat) = (lab.token("person:pat").await, lab.session("pat").await);
    let id = token.held("./tally one x").await;
    force(&lab, &pat, &id, "approve")
        .await
        .refused("the requester", 403, "own_request");
    // Through a second session, and through one asked for by somebody else.
    let other = lab.session_from("pat", Some("ray")).await;
    force(&lab, &other, &id, "approve")
        .await
        .refused("another session", 403, "own_request");
    // Asked by session rather than token is the same person.
    let by_session = pat.held("./tally one y").await;
    force(&lab, &pat, &by_session, "approve")
        .await
        .refused("session", 403, "own_request");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn administrators_have_no_exemption() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let proposed = ada.propose(
        "membership-add",
        json!({ "person": "ada", "group": "reviewers" }),
    );
    let id = proposed.await.text("request");
    force(&lab, &ada, &id, "approve")
        .await
        .refused("own proposal", 403, "own_request");
    let claim = ada
        .post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await;
    claim.refused("claim unapproved", 409, "not_approved");
    let person = lab.gateway.active().directory.people[&"ada".parse().unwrap()].clone();
    assert!(!person.groups.contains_key(&"reviewers".parse().unwrap()));
    lab.nothing_ran().await;
}

#[tokio::test]
async fn one_person_is_one_vote() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    // In both groups that two stages ask, and in a second session.
    let id = bot.held("./tally both x").await;
    let cyd = lab.session("cyd").await;
    cyd.approve(&id).await;
    force(&lab, &cyd, &id, "approve")
        .await
        .refused("second slot", 409, "already_voted");
    let again = lab.session("cyd").await;
    force(&lab, &again, &id, "approve")
        .await
        .refused("second session", 409, "already_voted");
    assert_eq!(lab.state(&id).await, "held");
    // Two accounts whose sessions come from one person, who may also be one of them.
    let id = bot.held("./tally two y").await;
    lab.session_from("ann", Some("ray"))
        .await
        .approve(&id)
        .await;
    for (what, person, issuer) in [
        ("two accounts", "bob", Some("ray")),
        ("account and issuer", "ray", None),
    ] {
        let other = lab.session_from(person, issuer).await;
        force(&lab, &other, &id, "approve")
            .await
            .refused(what, 403, "shared_credential");
    }
    // Two clicks at once.
    let id = bot.held("./tally two z").await;
    let ann = lab.session("ann").await;
    let seen = ann.see(&id).await;
    let (one, other) = tokio::join!(
        ann.vote_seen(&id, "approve", &seen),
        ann.vote_seen(&id, "approve", &seen)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(lab.state(&id).await, "held");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn stages_take_votes_in_order() {
    let lab = Lab::new().await;
    let id = lab.bot().await.held("./tally staged x").await;
    let sid = lab.session("sid").await;
    force(&lab, &sid, &id, "approve")
        .await
        .refused("too early", 409, "not_needed");
    lab.session("ann").await.approve(&id).await;
    let bob = lab.session("bob").await;
    force(&lab, &bob, &id, "approve")
        .await
        .refused("full stage", 409, "not_needed");
    sid.approve(&id).await;
    assert_eq!(lab.state(&id).await, "approved");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn a_confirmation_is_by_the_requesters_side_alone() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let id = bot.held("./tally confirm x").await;
    let ann = lab.session("ann").await;
    force(&lab, &ann, &id, "approve")
        .await
        .refused("a stranger", 404, "no_such_request");
    force(&lab, &bot, &id, "approve")
        .await
        .refused("the agent", 403, "not_a_session");
    lab.session("olga").await.approve(&id).await;
    let events = bot.run("./tally confirm x", 0).await;
    assert_eq!(events.last().unwrap()["status"], 0);
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// What a vote has to bring along besides a session.
#[tokio::test]
async fn a_vote_is_a_fresh_act_on_this_very_action() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let (id, other) = (
        bot.held("./tally one x").await,
        bot.held("./tally one y").await,
    );
    let (ann, bob) = (lab.session("ann").await, lab.session("bob").await);
    let second = lab.session("ann").await;
    let (mine, others) = (digest(&lab, &id).await, digest(&lab, &other).await);
    let too_old = 15 * 60_000 + 1_000;
    let table = [
        ("none", &mine, "none".to_owned(), 409, "stale_act"),
        ("empty", &mine, String::new(), 409, "stale_act"),
        (
            "of another person",
            &mine,
            act(&lab, &bob, &id, &mine, 0),
            409,
            "stale_act",
        ),
        (
            "of another session",
            &mine,
            act(&lab, &second, &id, &mine, 0),
            409,
            "stale_act",
        ),
        (
            "of another request",
            &mine,
            act(&lab, &ann, &other, &mine, 0),
            409,
            "stale_act",
        ),
        (
            "of another action",
            &mine,
            act(&lab, &ann, &id, &others, 0),
            409,
            "stale_act",
        ),
        (
            "too old",
            &mine,
            act(&lab, &ann, &id, &mine, too_old),
            409,
            "stale_act",
        ),
        (
            "from the future",
            &mine,
            act(&lab, &ann, &id, &mine, -60_000),
            409,
            "stale_act",
        ),
        (
            "another digest",
            &others,
            act(&lab, &ann, &id, &others, 0),
            409,
            "other_action",
        ),
        (
            "no digest",
            &"xyz".to_owned(),
            "none".to_owned(),
            400,
            "invalid_request",
        ),
    ];
    let path = format!("/v1/requests/{id}/votes");
    for (what, digest, act, status, kind) in table {
        let body = json!({ "verdict": "approve", "digest": digest, "act": act });
        ann.post(&path, &body).await.refused(what, status, kind);
    }
    assert_eq!(lab.state(&id).await, "held");
    lab.nothing_ran().await;
}

/// A cookie that a browser sends along is not enough for anything that changes.
#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let (ann, olga) = (lab.session("ann").await, lab.session("olga").await);
    let bob = lab.session("bob").await;
    let approved = bot.held("./tally one approved").await;
    ann.approve(&approved).await;
    let id = bot.held("./tally one x").await;
    let digest = digest(&lab, &id).await;
    let vote =
        json!({ "verdict": "approve", "digest": digest, "act": act(&lab, &ann, &id, &digest, 0) });
    let form = "application/x-www-form-urlencoded";
    let table = [
        (
            "vote",
            &ann,
            format!("/v1/requests/{id}/votes"),
            vote.to_string(),
        ),
        (
            "comment",
            &ann,
            format!("/v1/requests/{id}/comments"),
            r#"{"text":"hi"}"#.into(),
        ),
        (
            "withdraw",
            &ann,
            format!("/v1/requests/{approved}/withdraw"),
            String::new(),
        ),
        (
            "cancel",
            &olga,
            format!("/v1/requests/{id}/cancel"),
            String::new(),
        ),
        (
            "claim",
            &olga,
            format!("/v1/requests/{approved}/claim"),
            String::new(),
        ),
        ("inputs", &ann, "/v1/inputs".into(), String::new()),
        (
            "run",
            &ann,
            "/v1/run".into(),
            r#"{"target":"tools","argv":["./tally"],"wait_ms":0}"#.into(),
        ),
        (
            "proposal",
            &ann,
            "/v1/proposals".into(),
            r#"{"operation":"agent-stop","arguments":{"agent":"bot"}}"#.into(),
        ),
    ];
    for (what, caller, path, body) in &table {
        for (how, kind) in [
            ("json", "application/json"),
            ("form", form),
            ("plain", "text/plain"),
        ] {
            for csrf in [None, Some("wrong"), bob.csrf.as_deref()] {
                let request = caller
                    .http
                    .request(Method::POST, format!("{}{path}", lab.url));
                let cookie = format!("countersign_session={}", caller.secret);
                let mut request = request.header(header::COOKIE, cookie).body(body.clone());
                request = request.header(header::CONTENT_TYPE, kind);
                if let Some(csrf) = csrf {
                    request = request.header("x-csrf-token", csrf);
                }
                let answer = Answer::of(request.send().await.unwrap()).await;
                answer.refused(&format!("{what} as {how}"), 403, "csrf");
            }
        }
    }
    assert_eq!(lab.state(&id).await, "held");
    assert_eq!(lab.state(&approved).await, "approved");
    lab.nothing_ran().await;
}

/// A form counts when this session's own page sent it.
#[tokio::test]
async fn a_form_from_another_site_does_nothing() {
    let lab = Lab::new().await;
    let id = lab.bot().await.held("./tally one x").await;
    let (ann, bob) = (lab.session("ann").await, lab.session("bob").await);
    let own = ann.csrf.clone().unwrap();
    let digest = digest(&lab, &id).await;
    let act = act(&lab, &ann, &id, &digest, 0);
    let send = async |csrf: &str, site: &str| {
        let fields = [
            ("csrf", csrf),
            ("digest", digest.as_str()),
            ("act", act.as_str()),
        ];
        let request = ann
            .http
            .post(format!("{}/requests/{id}/approve", lab.url))
            .form(&fields);
        let cookie = format!("countersign_session={}", ann.secret);
        let request = request.header(header::COOKIE, cookie);
        request
            .header("sec-fetch-site", site)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for (csrf, site) in [
        (own.as_str(), "cross-site"),
        (own.as_str(), "same-site"),
        ("", "same-origin"),
        ("wrong", "same-origin"),
        (bob.csrf.as_deref().unwrap(), "same-origin"),
    ] {
        assert_eq!(send(csrf, site).await, 403, "{csrf} {site}");
        assert_eq!(lab.state(&id).await, "held", "{csrf} {site}");
    }
    send(&own, "same-origin").await;
    assert_eq!(lab.state(&id).await, "approved");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn verdicts_change_only_while_it_is_open() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let (ann, bob) = (lab.session("ann").await, lab.session("bob").await);
    // Withdrawn and given again: one approval, one run.
    let id = bot.held("./tally one again").await;
    ann.approve(&id).await;
    ann.post(&format!("/v1/requests/{id}/withdraw"), &json!({}))
        .await
        .expect(200);
    assert_eq!(lab.state(&id).await, "held");
    let nothing = ann
        .post(&format!("/v1/requests/{id}/withdraw"), &json!({}))
        .await;
    nothing.refused("nothing to withdraw", 409, "no_vote");
    let seen = ann.see(&id).await;
    ann.approve(&id).await;
    bot.run("./tally one again", 0).await;
    assert_eq!(lab.place.ran(), ["again"]);
    ann.vote_seen(&id, "approve", &seen)
        .await
        .refused("after it ran", 409, "not_open");
    let late = ann
        .post(&format!("/v1/requests/{id}/withdraw"), &json!({}))
        .await;
    late.refused("withdraw after it ran", 409, "not_open");
    // Approved, then denied by the same person: denied, whatever others say.
    let id = bot.held("./tally two changed").await;
    ann.approve(&id).await;
    force(&lab, &ann, &id, "deny").await.expect(200);
    assert_eq!(lab.state(&id).await, "denied");
    force(&lab, &bob, &id, "approve")
        .await
        .refused("after a denial", 409, "not_open");
    // Approved by one, denied by another before it ran.
    let id = bot.held("./tally one denied").await;
    ann.approve(&id).await;
    force(&lab, &bob, &id, "deny").await.expect(200);
    assert_eq!(lab.state(&id).await, "denied");
    let again = bot.run("./tally one denied", 0).await;
    assert_eq!(
        super::end(&again),
        ("refused".into(), "denied".into()),
        "{again:?}"
    );
    assert_eq!(lab.place.ran(), ["again"]);
    lab.verify().await;
}
