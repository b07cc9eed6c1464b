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
    let text = regexless(&text);
    said.assert_eq(&text);
}

/// Times that depend on the day of the test.
fn regexless(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let digits = word.trim_end().trim_end_matches('d');
        let is_days = word.trim_end().ends_with('d') && digits.parse::<u32>().is_ok();
        if is_days {
            word.replace(digits, "N")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_good_set_up_passes() {
    check(
        vec![json_answer(HEALTH), json_answer(WHO), json_answer(POLICY)],
        0,
        expect![[r#"X"#]],
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
        expect![[r#"X"#]],
    )
    .await;
    check(vec![json_answer("{}")], 1, expect![[r#"X"#]]).await;
    let (mut output, out, _) = captured(true, false);
    assert_eq!(run(&Sources::default(), &mut output).await, Ok(1));
    expect![[r#"X"#]].assert_eq(&out.text());
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
    let who = |owner: Option<&str>, expires| WhoAmI {
        subject: "agent:bot".into(),
        groups: vec![],
        owner: owner.map(str::to_owned),
        credential: "token".into(),
        expires: Timestamp(expires),
    };
    for (who, verdict) in [
        (who(Some("olga"), SOON), Verdict::Ok),
        (who(Some("olga"), SOON - 1), Verdict::Warn),
        (who(None, SOON), Verdict::Fail),
    ] {
        assert_eq!(token_check(&who, "x", Timestamp(0)).verdict, verdict);
    }
}
