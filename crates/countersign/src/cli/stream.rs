//! `countersign stream`: what of the record is told to other systems, and what was not.
//!
//! In scope: listing, and having everything tried again.
//! Out of scope: adding and changing streams; they are part of the policy bundle.
//! Invariant: nothing here changes where the record goes.

use clap::Subcommand;
use countersign_core::count::counted;
use serde_json::{Value, json};

use super::{
    client::{At, Client},
    clock::now,
    config::Sources,
    failure::{Failure, GENERAL},
    output::Output,
    text::{self, Paint, Table, shown},
};
use crate::api::types::{StreamInfo, StreamList};

const LIST_EXAMPLES: &str = "\
Examples:
  countersign stream list
  countersign stream list --json | jq .dead_letters

Exit status: 0 if every stream goes on, 1 if not.";
const RETRY_EXAMPLES: &str = "\
Example:
  countersign stream retry siem       # once its receiver works again";

/// Subcommands of `countersign stream`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the streams stand, and what they gave up
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Have a stream try everything again at once, what it gave up included
    #[command(after_help = RETRY_EXAMPLES)]
    Retry {
        /// The stream
        #[arg(value_name = "STREAM")]
        name: String,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// When the gateway can't be reached or refuses.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let at = At::new(&["streams"]);
    match command {
        Command::List => {
            let list: StreamList = client.get(at).await?;
            show(&list, output)?;
            let wrong = |one: &StreamInfo| one.fault.is_some() || one.dead > 0;
            Ok(if list.streams.iter().any(wrong) {
                GENERAL
            } else {
                0
            })
        }
        Command::Retry { name } => {
            let at = At::new(&["streams", &name, "retry"]);
            let _list: StreamList = client.post(at, &json!({})).await?;
            output.result(&json!({ "retried": name }), |_: &Value, _| {
                format!("Stream {} tries everything again.", shown(&name))
            })?;
            Ok(0)
        }
    }
}

fn show(list: &StreamList, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        for line in &list.streams {
            output.result(line, |_, _| String::new())?;
        }
    }
    output.people(|paint| describe(&list.streams, paint))
}

/// A line for each stream, then what is wrong.
fn describe(streams: &[StreamInfo], paint: Paint) -> String {
    if streams.is_empty() {
        return "No streams: add a `[stream.NAME]` table to countersign.toml.".into();
    }
    let mut table = Table::new(&["STREAM", "KIND", "TO", "BEHIND", "GIVEN UP", "LAST"]);
    for one in streams {
        let last = one.last.map(|last| text::relative(last, now()));
        table.row(&[
            &one.name,
            &one.kind,
            &one.to,
            &one.lag.to_string(),
            &one.dead.to_string(),
            last.as_deref().unwrap_or("-"),
        ]);
    }
    let mut said = table.to_text(paint);
    for one in streams {
        if let Some(fault) = &one.fault {
            let line = format!("{} does not go on: {}", one.name, shown(fault));
            said.push_str(&format!("\n{}", paint.red(&line)));
        }
        for letter in &one.dead_letters {
            let request = match letter.request.as_str() {
                "" => String::new(),
                request => format!(" of {}", shown(request)),
            };
            said.push_str(&format!(
                "\n{} gave up record {}{request} after {}: {}",
                one.name,
                letter.index,
                counted(letter.attempts, "attempt", "attempts"),
                shown(&letter.why)
            ));
        }
        if one.dead > 0 {
            said.push_str(&format!(
                "\nTry them again: countersign stream retry {}",
                one.name
            ));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{
        cli::{
            output::capture::captured,
            testing::{Stub, json_answer},
        },
        streams::DeadLetter,
    };

    fn info(name: &str, fault: Option<&str>, dead: u64) -> StreamInfo {
        let letter = DeadLetter {
            index: 7,
            offset: 900,
            request: "req_1".into(),
            at: 5,
            attempts: 12,
            why: "status 500".into(),
        };
        StreamInfo {
            name: name.into(),
            kind: "webhook".into(),
            to: "https://siem.example.com/in".into(),
            next: 9,
            lag: 3,
            delivered: 4,
            failed: 12,
            last: None,
            fault: fault.map(str::to_owned),
            dead,
            dead_letters: std::iter::repeat_n(letter, usize::try_from(dead).unwrap()).collect(),
        }
    }

    #[tokio::test]
    async fn streams_are_listed_with_what_is_wrong() {
        let list = StreamList {
            streams: vec![info("siem", Some("status 500"), 1), info("well", None, 0)],
        };
        let stub = Stub::start(vec![json_answer(&serde_json::to_string(&list).unwrap())]).await;
        let (mut output, out, _) = captured(false, false);
        assert_eq!(
            run(Command::List, &stub.sources(), &mut output).await,
            Ok(1)
        );
        expect![[r#"
            STREAM  KIND     TO                           BEHIND  GIVEN UP  LAST
            siem    webhook  https://siem.example.com/in  3       1         -
            well    webhook  https://siem.example.com/in  3       0         -
            siem does not go on: status 500
            siem gave up record 7 of req_1 after 12 attempts: status 500
            Try them again: countersign stream retry siem
        "#]]
        .assert_eq(&out.text());
    }

    #[tokio::test]
    async fn a_retry_names_the_stream() {
        let stub = Stub::start(vec![json_answer(r#"{"streams":[]}"#)]).await;
        let (mut output, out, _) = captured(false, false);
        let retry = Command::Retry {
            name: "siem".into(),
        };
        assert_eq!(run(retry, &stub.sources(), &mut output).await, Ok(0));
        assert!(
            stub.seen()
                .remove(0)
                .starts_with("POST /v1/streams/siem/retry ")
        );
        assert_eq!(out.text(), "Stream siem tries everything again.\n");
    }
}
