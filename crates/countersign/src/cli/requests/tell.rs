//! `countersign requests comment`, `ask`, `answer`, `cancel` and `apply`.
//!
//! In scope: one write each, and what to do next.
//! Out of scope: who may do it; the gateway decides and says why not.

use countersign_core::id::{MessageId, RequestId};
use serde_json::{Value, json};

use crate::{
    api::types::{ProposalAnswer, RequestDetail, SayBody},
    cli::{
        client::{At, Client},
        config::Sources,
        failure::Failure,
        output::Output,
        proposal,
    },
};

pub(super) const COMMENT_EXAMPLES: &str = "\
Example:
  countersign requests comment req_01j9… 'the backup is done'";
pub(super) const ASK_EXAMPLES: &str = "\
Example:
  countersign requests ask req_01j9… 'which branch is this for?'";
const ANSWER_EXAMPLES: &str = "\
Examples:
  countersign requests answer req_01j9… 'branch main only'            # the latest open question
  countersign requests answer req_01j9… --to msg_01j9… 'branch main only'";
pub(super) const CANCEL_EXAMPLES: &str = "\
Example:
  countersign requests cancel req_01j9…";
pub(super) const APPLY_EXAMPLES: &str = "\
Example:
  countersign requests apply req_01j9…

An approved command runs when it is asked again: countersign run --claim req_01j9…";

/// A request and what to say about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Said {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// What to say, at most 4,096 bytes
    #[arg(value_name = "TEXT")]
    text: String,
}

/// A request and the answer to a question about it.
#[derive(Debug, clap::Args)]
#[command(after_help = ANSWER_EXAMPLES)]
pub(crate) struct Answered {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// The answer, at most 4,096 bytes
    #[arg(value_name = "TEXT")]
    text: String,
    /// The question; without it the latest that has no answer
    #[arg(long, value_name = "MESSAGE")]
    to: Option<MessageId>,
}

/// A request.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
}

/// Says something: `kind` is `comments` or `questions`.
pub(super) async fn say(
    args: Said,
    kind: &str,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let body = SayBody {
        text: args.text,
        to: None,
    };
    tell(&args.request, kind, &body, "Said.", sources, output).await
}

/// Answers a question.
pub(super) async fn answer(
    args: Answered,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let to = match args.to {
        Some(to) => to,
        None => open_question(&args.request, sources).await?,
    };
    let body = SayBody {
        text: args.text,
        to: Some(to),
    };
    tell(
        &args.request,
        "answers",
        &body,
        "Answered.",
        sources,
        output,
    )
    .await
}

async fn open_question(request: &RequestId, sources: &Sources) -> Result<MessageId, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let detail: RequestDetail = client.get(At::new(&["requests", request.as_str()])).await?;
    let said = &detail.conversation;
    let open = said.iter().rev().find(|message| {
        message.kind == "question"
            && said
                .iter()
                .all(|other| other.to.as_ref() != Some(&message.id))
    });
    open.map(|message| message.id.clone()).ok_or_else(|| {
        Failure::usage(format!("{request} has no question without an answer"))
            .next("name the question with `--to`, or say it with `countersign requests comment`")
            .about(request)
    })
}

/// Takes a request back.
pub(super) async fn cancel(
    args: Named,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    tell(
        &args.request,
        "cancel",
        &json!({}),
        "Cancelled. Nothing was run.",
        sources,
        output,
    )
    .await
}

/// Applies an approved change.
pub(super) async fn apply(
    args: Named,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let at = At::new(&["requests", args.request.as_str(), "claim"]);
    let answer: ProposalAnswer = client.post_once(at, &json!({})).await?;
    proposal::ended(&answer)?;
    proposal::print(&answer, output)?;
    Ok(0)
}

async fn tell(
    request: &RequestId,
    what: &str,
    body: &impl serde::Serialize,
    done: &str,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    client
        .tell(At::new(&["requests", request.as_str(), what]), body)
        .await?;
    let value: Value = json!({ "done": what, "request": request });
    output.result(&value, |_, _| done.to_owned())?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer},
    };

    #[tokio::test]
    async fn an_answer_goes_to_the_open_question() {
        let stub = Stub::start(vec![json_answer(&detail("held")), json_answer("{}")]).await;
        let (mut output, out, _) = captured(true, false);
        let args = Answered {
            request: "req_1".parse().unwrap(),
            text: "main".into(),
            to: None,
        };
        assert_eq!(answer(args, &stub.sources(), &mut output).await, Ok(0));
        let told = stub.seen().pop().unwrap();
        assert!(
            told.starts_with("POST /v1/requests/req_1/answers "),
            "{told}"
        );
        assert!(told.ends_with(r#"{"text":"main","to":"msg_1"}"#), "{told}");
        assert_eq!(out.text(), "{\"done\":\"answers\",\"request\":\"req_1\"}\n");
    }
}
