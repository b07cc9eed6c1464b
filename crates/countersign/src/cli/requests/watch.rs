//! `countersign requests watch`: what happens, as it happens.
//!
//! In scope: server-sent events, taken up again after a break.
//! Out of scope: showing a request; each line names it.
//! Invariant: a watched request whose end fell into a break is noticed after it.

use std::time::Duration;

use countersign_core::id::RequestId;
use reqwest::Response;
use serde::{Deserialize, Serialize};

use crate::{
    api::types::RequestDetail,
    cli::{
        answer::chain,
        client::{At, Client},
        config::Sources,
        failure::Failure,
        lines::{Events, Lines},
        output::Output,
        text::shown,
    },
};

/// The longest pause before connecting again.
const LONGEST: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  countersign requests watch
  countersign requests watch req_01j9…          # until it ends; exit status 0 if it succeeded
  countersign requests watch --json | jq .state";

/// Arguments of `countersign requests watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this request, until it ends
    #[arg(value_name = "REQUEST")]
    request: Option<RequestId>,
}

/// One event of a request.
#[derive(Debug, Serialize, Deserialize)]
struct Happened {
    id: RequestId,
    state: String,
    text: String,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let mut last = None;
    let mut pause = Duration::from_secs(1);
    let mut connected = false;
    loop {
        let why = match client.stream(At::new(&["events"]), last.as_deref()).await {
            Ok(stream) => {
                // The first look comes after the stream is open, so that no end falls between.
                if let Some(status) = already_over(&client, args.request.as_ref(), output).await? {
                    return Ok(status);
                }
                (connected, pause) = (true, Duration::from_secs(1));
                match follow(stream, args.request.as_ref(), &mut last, output).await? {
                    Followed::Ended(status) => return Ok(status),
                    Followed::Broken(why) => why,
                }
            }
            Err(failure) if !connected || failure.http.is_some_and(|status| status < 500) => {
                return Err(failure);
            }
            Err(failure) => failure.title,
        };
        output.note(format!("countersign: {}; connecting again", shown(&why)));
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST);
    }
}

enum Followed {
    Ended(u8),
    Broken(String),
}

async fn already_over(
    client: &Client,
    request: Option<&RequestId>,
    output: &mut Output,
) -> Result<Option<u8>, Failure> {
    let Some(request) = request else {
        return Ok(None);
    };
    let detail: RequestDetail = client.get(At::new(&["requests", request.as_str()])).await?;
    let line = detail.line;
    if !super::is_over(&line.state) {
        return Ok(None);
    }
    let event = Happened {
        id: line.id,
        state: line.state,
        text: line.title,
    };
    print(&event, output)?;
    Ok(Some(status_of(&event.state)))
}

async fn follow(
    mut stream: Response,
    request: Option<&RequestId>,
    last: &mut Option<String>,
    output: &mut Output,
) -> Result<Followed, Failure> {
    let (mut lines, mut events) = (Lines::default(), Events::default());
    loop {
        while let Some(line) = lines.next_line() {
            let Some(event) = events.line(&line) else {
                continue;
            };
            if event.id.is_some() {
                last.clone_from(&event.id);
            }
            if event.kind == "missed" {
                // Connecting again looks at the request's state.
                return Ok(Followed::Broken("some events were missed".into()));
            }
            let Ok(happened) = serde_json::from_str::<Happened>(&event.data) else {
                continue;
            };
            if event.kind != "request" || request.is_some_and(|wanted| *wanted != happened.id) {
                continue;
            }
            print(&happened, output)?;
            if request.is_some() && super::is_over(&happened.state) {
                return Ok(Followed::Ended(status_of(&happened.state)));
            }
        }
        let why = match stream.chunk().await {
            Ok(Some(bytes)) => match lines.push(&bytes) {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            },
            Ok(None) => "the gateway closed the connection".into(),
            Err(error) => chain(&error),
        };
        return Ok(Followed::Broken(why));
    }
}

fn print(event: &Happened, output: &mut Output) -> Result<(), Failure> {
    output.result(event, |event, paint| {
        format!(
            "{}  {}  {}",
            event.id,
            paint.state(&event.state),
            shown(&event.text)
        )
    })
}

fn status_of(state: &str) -> u8 {
    u8::from(state != "succeeded")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer, problem, stream_answer},
    };

    fn event(id: &str, state: &str) -> String {
        format!(
            "id: 9\nevent: request\ndata: {{\"id\":\"{id}\",\"state\":\"{state}\",\"text\":\"dana said\"}}\n"
        )
    }

    #[tokio::test]
    async fn one_request_is_followed_over_a_break_to_its_end() {
        let stub = Stub::start(vec![
            stream_answer(
                &[
                    ": hello\n",
                    &event("req_2", "held"),
                    &event("req_1", "held"),
                ],
                false,
            ),
            json_answer(&detail("held")),
            stream_answer(&[&event("req_1", "denied")], true),
            json_answer(&detail("held")),
        ])
        .await;
        let (mut output, out, _) = captured(false, false);
        let args = Args {
            request: "req_1".parse().ok(),
        };
        assert_eq!(run(args, &stub.sources(), &mut output).await, Ok(1));
        expect![[r#"
            req_1  held  dana said
            req_1  denied  dana said
        "#]]
        .assert_eq(&out.text());
        assert!(stub.seen()[2].contains("last-event-id: 9"));
    }

    #[tokio::test]
    async fn an_end_that_was_missed_is_noticed() {
        let stub = Stub::start(vec![
            stream_answer(&[], true),
            json_answer(&detail("succeeded")),
        ])
        .await;
        let (mut output, _, _) = captured(false, false);
        let args = Args {
            request: "req_1".parse().ok(),
        };
        assert_eq!(run(args, &stub.sources(), &mut output).await, Ok(0));
    }

    #[tokio::test]
    async fn a_bad_token_ends_it() {
        let stub = Stub::start(vec![problem(401, "bad_token", "no")]).await;
        let (mut output, _, _) = captured(false, false);
        let failure = run(Args { request: None }, &stub.sources(), &mut output)
            .await
            .unwrap_err();
        assert_eq!(failure.exit, 69);
    }
}
