//! `countersign requests emergencies`, `emergency` and `review`: what was lifted, and the pages where
//! people lift and review.
//!
//! In scope: the list, and leading to the page.
//! Out of scope: lifting, which takes a passkey in a browser, and reviewing, which takes a session.
//! Invariant: nothing here changes a request.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use countersign_core::{
    id::{RequestId, RuleName},
    time::Timestamp,
};

use super::decide::lead_to;
use crate::{
    api::types::{EmergencyLine, EmergencyList, LiftLine, RequestDetail},
    cli::{
        client::{At, Client},
        clock::now,
        config::Sources,
        failure::{Failure, REFUSED},
        output::Output,
        text::{self, Paint, Table, shown},
    },
};

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  countersign requests emergencies --state overdue
  countersign requests emergencies --json";
pub(super) const LIFT_EXAMPLES: &str = "\
Examples:
  countersign requests emergency req_01j9…
  countersign requests emergency req_01j9… --rule dba    # where several rules can be lifted

Lifting a rule takes your passkey and a reason, on the request's page: this command says what it
means, and opens the page.";
pub(super) const REVIEW_EXAMPLES: &str = "\
Example:
  countersign requests review req_01j9…

A review takes your session in the browser: this command shows and opens the page.";

/// Arguments of `countersign requests emergencies`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only those whose review is due, overdue, or done
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(["due", "overdue", "reviewed"]))]
    state: Option<String>,
    /// At most this many requests a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200), value_name = "NUMBER")]
    limit: u16,
    /// Go on after this request
    #[arg(long, value_name = "REQUEST")]
    after: Option<RequestId>,
}

/// Arguments of `countersign requests emergency` and `review`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// The rule, where there is more than one
    #[arg(long, value_name = "RULE")]
    rule: Option<RuleName>,
    /// Only show the address
    #[arg(long)]
    no_open: bool,
}

pub(super) async fn list(
    args: ListArgs,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let at = At::new(&["emergencies"])
        .with("state", args.state.as_ref())
        .with("after", args.after.as_ref())
        .with("limit", Some(args.limit));
    let page: EmergencyList = client.get(at).await?;
    if output.is_json() {
        for line in &page.items {
            output.result(line, |_, _| String::new())?;
        }
    }
    output.people(|paint| table(&page.items, now(), paint))?;
    if let Some(next) = page.next {
        output.note(format!("More: add `--after {next}`."));
    }
    Ok(0)
}

fn table(lines: &[EmergencyLine], now: Timestamp, paint: Paint) -> String {
    if lines.is_empty() {
        return "No emergencies.".into();
    }
    let mut table = Table::new(&["REQUEST", "RULE", "LIFTED BY", "WHEN", "REVIEW", "WHY"]);
    for line in lines {
        for lift in &line.lifted {
            table.row(&[
                line.line.id.as_str(),
                &lift.rule,
                &lift.by,
                &text::relative(lift.at, now),
                &standing(lift, now, paint),
                &lift.reason,
            ]);
        }
    }
    table.to_text(paint)
}

/// How the review of a lift stands, in a few words.
pub(super) fn standing(lift: &LiftLine, now: Timestamp, paint: Paint) -> String {
    let by = text::relative(lift.review_by, now);
    match &lift.reviewed {
        Some(review) => format!("reviewed by {}", shown(&review.by)),
        None if lift.review == "overdue" => paint.red(&format!("OVERDUE since {by}")),
        None => format!("due {by}"),
    }
}

/// What was lifted, as a part of a request.
pub(super) fn lift(lift: &LiftLine, now: Timestamp, paint: Paint) -> String {
    let found = lift.reviewed.as_ref().map_or_else(String::new, |review| {
        format!(":\n{}", text::indent(4, &text::quoted(&review.note)))
    });
    format!(
        "  {} rule {} by {} {}, with a passkey:\n{}\n    {}{found}",
        paint.red("LIFTED"),
        shown(&lift.rule),
        shown(&lift.by),
        text::relative(lift.at, now),
        text::indent(4, &text::quoted(&lift.reason)),
        standing(lift, now, paint),
    )
}

pub(super) async fn break_glass(
    args: Args,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let detail = detail(&args, sources).await?;
    let rules = detail.rules.iter();
    let can = rules.filter_map(|one| Some((&one.name, (one, one.emergency.as_ref()?))));
    let Some((found, terms)) = only(&args, can)? else {
        let title = match &args.rule {
            Some(rule) => format!("rule {rule} of {} has no emergency", args.request),
            None => format!("no rule of {} has an emergency", args.request),
        };
        return Err(Failure::new("no_emergency", title)
            .next(format!(
                "see its rules: countersign requests show {}",
                args.request
            ))
            .about(&args.request)
            .exit(REFUSED));
    };
    if super::is_over(&detail.line.state) {
        let title = format!("{} is {} already", args.request, shown(&detail.line.state));
        let failure = Failure::new("over", title).about(&args.request);
        return Err(failure.exit(REFUSED));
    }
    output.result(&detail, |detail, paint| {
        format!(
            "{}\n  by {}\n{}\n{}\nTo lift rule {} with a passkey, open\n  {}",
            paint.bold(&shown(&detail.line.title)),
            shown(&detail.chain.join(", for ")),
            paint.red("This is an emergency, and no approval: it is recorded for good and told to everybody."),
            format_args!(
                "It is for {}, and somebody else reviews it within {}; overdue, nobody can lift the rule again.",
                text::list(&terms.from),
                shown(&terms.review_within)
            ),
            shown(&found.name),
            paint.bold(&shown(&page(detail, "emergency")))
        )
    })?;
    lead_to(&page(&detail, "emergency"), args.no_open, output);
    Ok(0)
}

pub(super) async fn review(
    args: Args,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let detail = detail(&args, sources).await?;
    let due = detail.lifted.iter().filter(|one| one.reviewed.is_none());
    let Some(of) = only(&args, due.map(|one| (&one.rule, one)))?.cloned() else {
        let of = args.rule.as_ref().map(|rule| format!("rule {rule} of "));
        let of = of.unwrap_or_default();
        let title = format!("no emergency use of {of}{} is due", args.request);
        let failure = Failure::new("nothing_to_review", title).next(
            "see what is due: countersign requests emergencies --state due (or overdue)".to_owned(),
        );
        return Err(failure.about(&args.request).exit(REFUSED));
    };
    output.result(&detail, |detail, paint| {
        format!(
            "{}\n{}\nTo review it, open\n  {}",
            paint.bold(&shown(&detail.line.title)),
            lift(&of, now(), paint),
            paint.bold(&shown(&page(detail, "review")))
        )
    })?;
    lead_to(&page(&detail, "review"), args.no_open, output);
    Ok(0)
}

/// The one that is meant: of the rule that is named, or the only one there is.
fn only<'a, T>(
    args: &Args,
    found: impl Iterator<Item = (&'a String, T)>,
) -> Result<Option<T>, Failure> {
    let named = |rule: &String| {
        args.rule
            .as_ref()
            .is_none_or(|wanted| rule == wanted.as_str())
    };
    let found: BTreeMap<_, _> = found.filter(|(rule, _)| named(rule)).collect();
    if found.len() > 1 {
        let names: Vec<_> = found.into_keys().cloned().collect();
        let title = format!("{} has several: {}", args.request, text::list(&names));
        return Err(Failure::usage(title).next("name one with --rule"));
    }
    Ok(found.into_values().next())
}

async fn detail(args: &Args, sources: &Sources) -> Result<RequestDetail, Failure> {
    let client = Client::new(&sources.settings()?)?;
    client
        .get(At::new(&["requests", args.request.as_str()]))
        .await
}

/// The place of a form on the request's page.
fn page(detail: &RequestDetail, form: &str) -> String {
    format!("{}#{form}", detail.url)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer},
    };

    const LIFTED: &str = r#""lifted":[{"rule":"dba","by":"sam@example.com","reason":"checkout is down",
        "at":1060000,"review_by":1180000,"review":"due"}],"votes":["#;

    fn args(rule: &str) -> Args {
        Args {
            request: "req_1".parse().unwrap(),
            rule: rule.parse().ok(),
            no_open: true,
        }
    }

    #[test]
    fn how_reviews_stand_is_said() {
        let text = detail("succeeded").replacen(r#""votes":["#, LIFTED, 1);
        let detail: RequestDetail = serde_json::from_str(&text).unwrap();
        let mut line = detail.lifted[0].clone();
        let said = |line: &LiftLine| lift(line, Timestamp(1_120_000), Paint::plain());
        let lines = [
            "  LIFTED rule dba by sam@example.com 60s ago, with a passkey:",
            "    │ checkout is down",
            "    due in 60s",
        ];
        assert_eq!(said(&line), lines.join("\n"));
        line.review = "overdue".into();
        assert!(said(&line).contains("OVERDUE"));
        line.reviewed = Some(crate::api::types::ReviewLine {
            by: "ann@example.com".into(),
            at: Timestamp(1_100_000),
            note: "as they say".into(),
        });
        assert!(said(&line).contains("reviewed by ann@example.com:\n    │ as they say"));
    }

    #[tokio::test]
    async fn the_page_is_shown_where_there_is_something_to_lift_or_review() {
        let terms =
            r#""confirmation":false,"emergency":{"from":["group:sre"],"review_within":"24h"}"#;
        let with = detail("held").replacen(r#""confirmation":false"#, terms, 1);
        let lifted = detail("succeeded").replacen(r#""votes":["#, LIFTED, 1);
        let stub = Stub::start(vec![
            json_answer(&with),
            json_answer(&detail("held")),
            json_answer(&lifted),
            json_answer(&detail("succeeded")),
        ])
        .await;
        let (mut output, out, _) = captured(false, false);
        let sources = stub.sources();
        assert_eq!(break_glass(args("dba"), &sources, &mut output).await, Ok(0));
        expect![[r#"
            git push origin main
              by agent:bot (owner olga@example.com)
            This is an emergency, and no approval: it is recorded for good and told to everybody.
            It is for group:sre, and somebody else reviews it within 24h; overdue, nobody can lift the rule again.
            To lift rule dba with a passkey, open
              https://gate.example.com/requests/req_1#emergency
        "#]]
        .assert_eq(&out.text());
        let refused = break_glass(args("dba"), &sources, &mut output).await;
        assert_eq!(refused.unwrap_err().exit, REFUSED);
        assert_eq!(review(args("dba"), &sources, &mut output).await, Ok(0));
        assert!(out.text().contains("requests/req_1#review"));
        let nothing = review(args("dba"), &sources, &mut output).await;
        assert_eq!(nothing.unwrap_err().exit, REFUSED);
    }
}
