//! `countersign requests list`.

use clap::builder::PossibleValuesParser;
use countersign_core::{
    id::RequestId,
    time::{Span, Timestamp},
};
use countersign_store::PHASES;

use crate::{
    api::types::{RequestLine, RequestList},
    cli::{
        client::{At, Client},
        clock::now,
        config::Sources,
        failure::Failure,
        output::Output,
        text::{self, Paint, Table},
    },
    days::{DAY, start_of},
};

const EXAMPLES: &str = "\
Examples:
  countersign requests list --state held
  countersign requests list --mine --since 7d
  countersign requests list --agent deploy-bot --text 'git push' --all --json";

/// Arguments of `countersign requests list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(PHASES))]
    state: Option<String>,
    /// Only those of this agent, workload or person
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only those for this target
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only those whose action or reason has this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only those asked since then: `2h` ago, a day like 2026-03-01, or 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Only those asked before then, or until the end of a day
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Timestamp>,
    /// Only your own
    #[arg(long)]
    mine: bool,
    /// At most this many a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200), value_name = "NUMBER")]
    limit: u16,
    /// Go on after this request
    #[arg(long, value_name = "REQUEST")]
    after: Option<RequestId>,
    /// Every page
    #[arg(long)]
    all: bool,
}

/// Reads where a list begins: a span before now, a day, or a moment.
pub(in crate::cli) fn since(text: &str) -> Result<Timestamp, String> {
    start_of(text).map_or_else(|| moment(text), Ok)
}

fn until(text: &str) -> Result<Timestamp, String> {
    let end = start_of(text).map(|start| start.after(DAY));
    end.map_or_else(|| moment(text), Ok)
}

/// A span before now, or a moment in RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(Timestamp(now().0.saturating_sub(span.as_millis())));
    }
    text.parse::<jiff::Timestamp>()
        .map(|moment| Timestamp(moment.as_millisecond()))
        .map_err(|_| {
            "write a span like `2h`, a day like `2026-03-01` or a time like `2026-03-01T12:00:00Z`"
                .into()
        })
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let mut after = args.after.clone();
    let mut shown = Vec::new();
    loop {
        let page: RequestList = client.get(at(&args, after.as_ref())).await?;
        if output.is_json() {
            for line in &page.items {
                output.result(line, |_, _| String::new())?;
            }
        } else {
            shown.extend(page.items);
        }
        // A page that leads to itself would never end.
        let moved = page.next.is_some() && page.next != after;
        after = page.next;
        if !args.all || !moved {
            break;
        }
    }
    output.people(|paint| table(&shown, now(), paint))?;
    if let Some(next) = after {
        output.note(format!("More: add `--after {next}`, or `--all`."));
    }
    Ok(0)
}

fn at<'a>(args: &'a Args, after: Option<&'a RequestId>) -> At<'a> {
    At::new(&["requests"])
        .with("state", args.state.as_ref())
        .with("agent", args.agent.as_ref())
        .with("target", args.target.as_ref())
        .with("text", args.text.as_ref())
        .with("since", args.since.map(|at| at.0))
        .with("until", args.until.map(|at| at.0))
        .with("mine", args.mine.then_some("true"))
        .with("after", after)
        .with("limit", Some(args.limit))
}

fn table(lines: &[RequestLine], now: Timestamp, paint: Paint) -> String {
    if lines.is_empty() {
        return "No requests match.".into();
    }
    let mut table = Table::new(&[
        "REQUEST", "STATE", "ASKED", "CHANGES", "BY", "TARGET", "ACTION",
    ]);
    for line in lines {
        let changes = line
            .deadline
            .map_or_else(String::new, |at| text::relative(at, now));
        table.row(&[
            line.id.as_str(),
            &line.state,
            &text::relative(line.at, now),
            &changes,
            &line.requester,
            &line.target,
            &line.title,
        ]);
    }
    table.to_text(paint)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer},
    };

    fn page(next: &str) -> String {
        let item = detail("held");
        json_answer(&format!(r#"{{"items":[{item}],"next":{next}}}"#))
    }

    #[tokio::test]
    async fn pages_follow_each_other() {
        let stub = Stub::start(vec![page("\"req_1\""), page("null")]).await;
        let (mut output, out, err) = captured(false, true);
        let args = Args {
            state: Some("held".into()),
            agent: None,
            target: None,
            text: Some("a b".into()),
            since: Some(Timestamp(5)),
            until: None,
            mine: true,
            limit: 1,
            after: None,
            all: true,
        };
        assert_eq!(run(args, &stub.sources(), &mut output).await, Ok(0));
        let first = |request: &String| request.split(' ').nth(1).unwrap().to_owned();
        let seen: Vec<String> = stub.seen().iter().map(first).collect();
        assert_eq!(
            seen,
            [
                "/v1/requests?state=held&text=a+b&since=5&mine=true&limit=1",
                "/v1/requests?state=held&text=a+b&since=5&mine=true&after=req_1&limit=1"
            ]
        );
        assert_eq!((out.text().lines().count(), err.text().as_str()), (3, ""));
    }

    #[test]
    fn requests_stand_in_a_table() {
        let line: RequestLine = serde_json::from_str(&detail("held")).unwrap();
        expect![[r#"
            REQUEST  STATE  ASKED   CHANGES  BY         TARGET   ACTION
            req_1    held   2m ago  in 28m   agent:bot  release  git push origin main"#]]
        .assert_eq(&table(&[line], Timestamp(1_120_000), Paint::plain()));
        assert_eq!(
            table(&[], Timestamp(0), Paint::plain()),
            "No requests match."
        );
    }

    #[test]
    fn moments_are_spans_or_times() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
        assert!(moment("2h").unwrap() < now());
        assert!(since("yesterday").is_err());
        assert_eq!(since("1970-01-02"), Ok(Timestamp(DAY.as_millis())));
        assert_eq!(until("1970-01-02"), Ok(Timestamp(2 * DAY.as_millis())));
        assert_eq!(until("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
    }
}
