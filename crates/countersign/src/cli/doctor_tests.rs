//! Checks and what they advise.

use expect_test::{Expect, expect};

use super::*;
use crate::cli::{
    output::capture::captured,
    testing::{Stub, json_answer, problem},
};

const HEALTH: &str = r#"{"status":"ok","version":"0.1.0","log_size":7,"held":1,"notices":["one person decides alone"]}"#;
const WHO: &str = r#"{"subject":"agent:bot","groups":[],"owner":"olga@example.com","credential":"token","expires":9000000000000}"#;
const POLICY: &str =
    r#"{"hash":"abcdefabcdefabcdef","files":{},"activated":9000000000000,"request":null}"#;

async fn check(answers: Vec<String>, exit: u8, said: Expect) {
    let stub = Stub::start(answers).await;
    let (mut output, out, _) = captured(false, false);
    assert_eq!(run(&stub.sources(), &mut output).await, Ok(exit));
    let text = out.text().replace(stub.settings().url.as_str(), "URL/");
    let later = text::relative(Timestamp(9_000_000_000_000), now());
    said.assert_eq(&text.replace(&later, "LATER"));
}

#[tokio::test]
async fn a_good_set_up_passes() {
    check(
        vec![json_answer(HEALTH), json_answer(WHO), json_answer(POLICY)],
        0,
        expect![[r#"
            ok    configuration  URL/ from --url or COUNTERSIGN_URL
            ok    connection     without TLS, to this machine only
            ok    gateway        ok, version 0.1.0, 7 log entries, 1 waiting
            warn  notice         one person decides alone
                                 every page of the console shows this, too; tell whoever runs the gateway
            warn  clock          the gateway does not say what time it has
                                 a proxy may drop its `Date` header; compare the clocks by hand
            ok    token          agent:bot from COUNTERSIGN_TOKEN, ends LATER
            ok    policy         abcdefabcdef… activated LATER
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_bad_token_and_a_missing_gateway_fail() {
    check(
        vec![
            json_answer(HEALTH),
            problem(401, "bad_token", "the token is over"),
        ],
        1,
        expect![[r#"
            ok    configuration  URL/ from --url or COUNTERSIGN_URL
            ok    connection     without TLS, to this machine only
            ok    gateway        ok, version 0.1.0, 7 log entries, 1 waiting
            warn  notice         one person decides alone
                                 every page of the console shows this, too; tell whoever runs the gateway
            warn  clock          the gateway does not say what time it has
                                 a proxy may drop its `Date` header; compare the clocks by hand
            fail  token          the token is over
                                 run `countersign login` with a token from the console, or set COUNTERSIGN_TOKEN
        "#]],
    )
    .await;
    check(
        vec![json_answer("{}")],
        1,
        expect![[r#"
            ok    configuration  URL/ from --url or COUNTERSIGN_URL
            ok    connection     without TLS, to this machine only
            fail  gateway        what answers is not a Countersign gateway
                                 check the address: `countersign up` prints it, by default http://127.0.0.1:7780
        "#]],
    )
    .await;
    let (mut output, out, _) = captured(true, false);
    assert_eq!(run(&Sources::default(), &mut output).await, Ok(1));
    expect![[r#"
        {"check":"configuration","verdict":"fail","text":"no gateway is configured","next":"run `countersign login --url http://127.0.0.1:7780`, or wherever the gateway is, or set COUNTERSIGN_URL and COUNTERSIGN_TOKEN"}
    "#]].assert_eq(&out.text());
}

/// What fails sends nobody back to where they are.
#[tokio::test]
async fn advice_is_never_to_ask_the_doctor() {
    for answers in [
        vec![],
        vec![json_answer("{}")],
        vec![json_answer(HEALTH), json_answer("1")],
    ] {
        let stub = Stub::start(answers).await;
        let (mut output, out, err) = captured(false, false);
        assert_eq!(run(&stub.sources(), &mut output).await, Ok(1));
        let text = format!("{}{}", out.text(), err.text());
        assert!(!text.contains("countersign doctor"), "{text}");
        assert!(text.contains("1 check failed"), "{text}");
    }
}

#[test]
fn clocks_may_differ_by_five_seconds() {
    let date = Some("Thu, 01 Jan 1970 00:01:00 GMT");
    for (now, verdict) in [
        (60_500, Verdict::Ok),
        (65_500, Verdict::Ok),
        (55_500, Verdict::Ok),
        (65_501, Verdict::Fail),
        (55_499, Verdict::Fail),
    ] {
        assert_eq!(clock(date, Timestamp(now)).verdict, verdict, "{now}");
    }
    assert_eq!(clock(None, Timestamp(0)).verdict, Verdict::Warn);
    assert_eq!(clock(Some("noon"), Timestamp(0)).verdict, Verdict::Warn);
}

#[test]
fn tokens_without_owner_or_time_are_noticed() {
    const DAY: i64 = 86_400_000;
    let who = |owner: Option<&str>, expires| WhoAmI {
        on_behalf_of: Vec::new(),
        issued: Some(Timestamp(expires - 10 * DAY)),
        subject: "agent:bot".into(),
        groups: vec![],
        owner: owner.map(str::to_owned),
        credential: "token".into(),
        expires: Timestamp(expires),
    };
    for (who, verdict) in [
        (who(Some("olga"), DAY), Verdict::Ok),
        (who(Some("olga"), DAY - 1), Verdict::Warn),
        (who(None, DAY), Verdict::Fail),
    ] {
        assert_eq!(token_check(&who, "x", Timestamp(0)).verdict, verdict);
    }
    // A person's token lasts a day at most; a fresh one is no reason to warn.
    for (left, verdict) in [(DAY, Verdict::Ok), (DAY / 10 - 1, Verdict::Warn)] {
        let fresh = WhoAmI {
            issued: Some(Timestamp(left - DAY)),
            subject: "person:olga".into(),
            ..who(None, left)
        };
        assert_eq!(token_check(&fresh, "x", Timestamp(0)).verdict, verdict);
    }
}
