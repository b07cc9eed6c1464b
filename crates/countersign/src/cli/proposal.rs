//! Changes of Countersign itself: proposed, countersigned like any other action, then claimed.
//!
//! In scope: propose, wait, claim, print.
//! Out of scope: which changes there are; each command names its own.
//! Invariant: nothing here changes anything without the gateway's decision (P9).

use std::time::Duration;

use countersign_core::{
    id::RequestId,
    time::{Span, Timestamp},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    client::{At, Client},
    config::Sources,
    failure::{Failure, HELD, REFUSED},
    output::Output,
    signals::Signals,
    text::{self, Paint, shown},
};
use crate::api::types::{ProposalAnswer, ProposalBody, RequestDetail};

/// How often the gateway is asked whether a proposal is decided.
const PAUSE: Duration = Duration::from_secs(2);

/// Arguments that every change takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Waiting {
    /// Why, for the people who decide
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How long to wait for people
    #[arg(long, short, default_value = "30m", value_name = "TIME")]
    pub(crate) wait: Span,
}

/// Proposes a change, waits for it to be decided, applies it and prints the result.
///
/// # Errors
/// When it is refused, still held when the time is over, or the gateway can't be reached.
pub(crate) async fn carry_out(
    operation: &str,
    arguments: Value,
    waiting: Waiting,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let mut signals = Signals::listen()?;
    let body = ProposalBody {
        operation: operation.to_owned(),
        arguments,
        reason: waiting.reason,
    };
    let mut answer: ProposalAnswer = client.post_once(At::new(&["proposals"]), &body).await?;
    if answer.state == "held" || answer.state == "approved" {
        tell_held(&answer, output)?;
        tokio::select! {
            approved = approved(&client, &answer.request, waiting.wait, PAUSE) => approved?,
            status = signals.next() => return Err(goes_on(&answer.request, "interrupted", status)),
        }
        let at = At::new(&["requests", answer.request.as_str(), "claim"]);
        answer = client.post_once(at, &json!({})).await?;
    }
    ended(&answer)?;
    print(&answer, output)?;
    Ok(0)
}

/// Waits until a request is approved.
async fn approved(
    client: &Client,
    request: &RequestId,
    wait: Span,
    pause: Duration,
) -> Result<(), Failure> {
    let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(0));
    let end = Instant::now().checked_add(wait);
    loop {
        let detail = client
            .get::<RequestDetail>(At::new(&["requests", request.as_str()]))
            .await;
        match detail {
            Ok(detail) => match detail.line.state.as_str() {
                "approved" => return Ok(()),
                "held" => {}
                state => return Err(refused(request, state, &detail)),
            },
            // A gateway that restarts keeps its requests.
            Err(failure) if failure.http.is_some_and(|status| status < 500) => return Err(failure),
            Err(_) => {}
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(goes_on(request, "still_held", HELD));
        }
        tokio::time::sleep(pause).await;
    }
}

fn refused(request: &RequestId, state: &str, detail: &RequestDetail) -> Failure {
    let reasons = detail.votes.iter().filter_map(|vote| {
        let reason = vote.reason.as_ref()?;
        Some(format!("{}: {reason}", vote.voter))
    });
    let said = reasons.collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() {
        said
    } else {
        format!(" ({said})")
    };
    Failure::new(
        "refused",
        format!("{request} is {state}{said}; nothing was changed"),
    )
    .next(format!("see why: countersign requests show {request}"))
    .about(request)
    .exit(REFUSED)
}

fn goes_on(request: &RequestId, kind: &str, exit: u8) -> Failure {
    Failure::new(
        kind,
        format!("{request} still waits for people; nothing was changed yet"),
    )
    .next(format!(
        "once it is approved: countersign requests apply {request}\n\
             take it back:        countersign requests cancel {request}"
    ))
    .about(request)
    .exit(exit)
}

fn tell_held(answer: &ProposalAnswer, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.result(answer, |_, _| String::new());
    }
    let paint = output.note_paint();
    let who = answer.approvers.clone().unwrap_or_default();
    let values = [
        ("page", shown(&answer.url)),
        ("can sign", shown(&who.to_string())),
    ];
    let state = paint.yellow(&format!("{}:", shown(&answer.state)));
    output.note(format!(
        "{state} {}\n{}{}",
        answer.request,
        text::pairs(2, &values, paint),
        warnings(answer, paint)
    ));
    Ok(())
}

/// What to know about a change, each on a line of its own.
fn warnings(answer: &ProposalAnswer, paint: Paint) -> String {
    let line = |warning: &String| format!("\n{} {}", paint.yellow("careful:"), shown(warning));
    answer.warnings.iter().map(line).collect()
}

/// Passes only what succeeded.
///
/// # Errors
/// When the change is held or was refused.
pub(crate) fn ended(answer: &ProposalAnswer) -> Result<(), Failure> {
    match answer.state.as_str() {
        "succeeded" => Ok(()),
        "held" | "approved" => Err(goes_on(&answer.request, "still_held", HELD)),
        state => Err(Failure::new(state, answer.message.clone())
            .next(format!(
                "see why: countersign requests show {}",
                answer.request
            ))
            .about(&answer.request)
            .exit(REFUSED)),
    }
}

/// Prints what a change gave.
///
/// # Errors
/// When it can't be written.
pub(crate) fn print(answer: &ProposalAnswer, output: &mut Output) -> Result<(), Failure> {
    output.result(answer, applied)
}

fn applied(answer: &ProposalAnswer, paint: Paint) -> String {
    let changed = answer
        .result
        .as_ref()
        .and_then(|result| result.get("changed"));
    let word = match changed.and_then(Value::as_bool) {
        Some(false) => paint.yellow("Nothing changed:"),
        _ => paint.green("Done:"),
    };
    let mut parts = vec![format!("{word} {}", text::shown_lines(&answer.message))];
    let field = |name: &str| {
        answer
            .result
            .as_ref()
            .and_then(|result| result.get(name))
            .and_then(Value::as_str)
    };
    if let Some(token) = field("token") {
        let revoke = field("credential").map_or_else(String::new, |name| {
            format!("\nEnd it early: countersign agent revoke {}", shown(name))
        });
        parts.push(format!(
            "{}{}\n  {}\n\
             This is shown once. Give it to the agent as COUNTERSIGN_TOKEN, through its secret store.{revoke}",
            paint.bold("Token"),
            until(answer),
            shown(token)
        ));
    } else if let Some(link) = field("link") {
        parts.push(format!(
            "{}{}\n  {}\n\
             This is shown once and works once. Send it to that person, and nobody else.{}",
            paint.bold("Sign-in link"),
            until(answer),
            shown(link),
            warnings(answer, paint)
        ));
    } else if let Some(result) = &answer.result
        && changed.is_none()
    {
        parts.push(text::outline(result, paint));
    }
    parts.join("\n\n")
}

/// When a secret ends, if the result says so.
fn until(answer: &ProposalAnswer) -> String {
    let expires = answer
        .result
        .as_ref()
        .and_then(|result| result.get("expires"));
    expires
        .and_then(Value::as_i64)
        .map_or_else(String::new, |at| format!(", until {}", Timestamp(at)))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer},
    };

    fn answer(state: &str, result: &str) -> String {
        json_answer(&format!(
            r#"{{"request":"req_1","state":"{state}","url":"https://gate.example.com/requests/req_1","approvers":{{"count":1,"people":[],"from":["group:admins"]}},"result":{result},"message":"agent:bot has a new token."}}"#
        ))
    }

    async fn check(answers: Vec<String>, wait: &str, exit: u8, said: Expect) {
        let stub = Stub::start(answers).await;
        let (mut output, out, err) = captured(false, true);
        let waiting = Waiting {
            reason: Some("new pipeline".into()),
            wait: wait.parse().unwrap(),
        };
        let arguments = json!({ "agent": "bot" });
        let done = carry_out(
            "agent-token",
            arguments,
            waiting,
            &stub.sources(),
            &mut output,
        )
        .await;
        let status = done.unwrap_or_else(|failure| {
            output.failure(&failure);
            failure.exit
        });
        said.assert_eq(&format!("{}{}", err.text(), out.text()));
        assert_eq!(status, exit);
    }

    #[tokio::test]
    async fn an_approved_change_is_claimed_and_its_secret_shown_once() {
        check(
            vec![
                answer("held", "null"),
                json_answer(&detail("approved")),
                answer("succeeded", r#"{"token":"cst_secret","credential":"cred_1","holder":"agent:bot","expires":0}"#),
            ],
            "1m",
            0,
            expect![[r#"
                held: req_1
                  page      https://gate.example.com/requests/req_1
                  can sign  group:admins (1 person now)
                Done: agent:bot has a new token.

                Token, until 1970-01-01T00:00:00.000Z
                  cst_secret
                This is shown once. Give it to the agent as COUNTERSIGN_TOKEN, through its secret store.
                End it early: countersign agent revoke cred_1
            "#]],
        )
        .await;
    }

    #[tokio::test]
    async fn a_link_is_for_one_person() {
        check(
            vec![answer(
                "succeeded",
                r#"{"link":"https://gate.example.com/sign-in/abc"}"#,
            )],
            "1m",
            0,
            expect![[r#"
                Done: agent:bot has a new token.

                Sign-in link
                  https://gate.example.com/sign-in/abc
                This is shown once and works once. Send it to that person, and nobody else.
            "#]],
        )
        .await;
    }

    #[tokio::test]
    async fn what_was_so_already_is_no_change() {
        for (result, said) in [
            (
                r#"{"changed":true}"#,
                expect![[r#"
                    Done: agent:bot has a new token.
                "#]],
            ),
            (
                r#"{"changed":false}"#,
                expect![[r#"
                    Nothing changed: agent:bot has a new token.
                "#]],
            ),
        ] {
            check(vec![answer("succeeded", result)], "1m", 0, said).await;
        }
    }

    #[tokio::test]
    async fn what_is_not_approved_is_not_claimed() {
        check(
            vec![answer("held", "null"), json_answer(&detail("held"))],
            "0s",
            75,
            expect![[r#"
                held: req_1
                  page      https://gate.example.com/requests/req_1
                  can sign  group:admins (1 person now)
                countersign: req_1 still waits for people; nothing was changed yet
                  once it is approved: countersign requests apply req_1
                  take it back:        countersign requests cancel req_1
            "#]],
        )
        .await;
        check(
            vec![answer("held", "null"), json_answer(&detail("denied"))],
            "1m",
            77,
            expect![[r#"
                held: req_1
                  page      https://gate.example.com/requests/req_1
                  can sign  group:admins (1 person now)
                countersign: req_1 is denied (dana@example.com: fine); nothing was changed
                  see why: countersign requests show req_1
            "#]],
        )
        .await;
    }
}
