//! `countersign requests approve`, `deny`, `amend` and `withdraw`: lead to the page where a person
//! does it.
//!
//! In scope: whether the caller can vote at all, the page's address, opening it on a desktop.
//! Out of scope: the vote, which takes a fresh act in a browser session; a token never votes (P3).
//! Invariant: nothing here changes a request.

use std::process::{Command, Stdio};

use countersign_core::id::RequestId;

use crate::{
    api::types::RequestDetail,
    cli::{
        client::{At, Client},
        config::Sources,
        failure::{Failure, REFUSED},
        output::Output,
        text::shown,
    },
};

pub(super) const APPROVE_EXAMPLES: &str = "\
Example:
  countersign requests approve req_01j9…

A vote needs a fresh act of yours in the browser: this command shows and opens the page.";
pub(super) const DENY_EXAMPLES: &str = "\
Example:
  countersign requests deny req_01j9…

A vote needs a fresh act of yours in the browser: this command shows and opens the page.";

pub(super) const AMEND_EXAMPLES: &str = "\
Example:
  countersign requests amend req_01j9…

Proposing another command ends the request, as a denial does, so it takes your session in the
browser: this command shows and opens the page.";
pub(super) const WITHDRAW_EXAMPLES: &str = "\
Example:
  countersign requests withdraw req_01j9…

A vote is taken back in the browser: this command shows and opens the page.";

/// Arguments of `countersign requests approve`, `deny`, `amend` and `withdraw`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// Only show the address
    #[arg(long)]
    no_open: bool,
}

pub(super) async fn run(
    args: Args,
    verb: &str,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let at = At::new(&["requests", args.request.as_str()]);
    let detail: RequestDetail = client.get(at).await?;
    if super::is_over(&detail.line.state) {
        let state = shown(&detail.line.state);
        return Err(
            Failure::new("over", format!("{} is {state} already", args.request))
                .next(format!(
                    "see how it ended: countersign requests show {}",
                    args.request
                ))
                .about(&args.request)
                .exit(REFUSED),
        );
    }
    let confirms = !detail.rules.is_empty() && detail.rules.iter().all(|rule| rule.confirmation);
    let act = if confirms && verb == "approve" {
        "confirm"
    } else {
        verb
    };
    output.result(&detail, |detail, paint| {
        let typed = match detail.needs_typed_digest && verb == "approve" {
            true => format!(
                "\nThere you type the first 8 digits of its digest, {}, once you checked all of it.",
                shown(&detail.digest)
            ),
            false => String::new(),
        };
        format!(
            "{}\n  by {}\nTo {act} it, open\n  {}{typed}",
            paint.bold(&shown(&detail.line.title)),
            shown(&detail.chain.join(", for ")),
            paint.bold(&shown(&detail.url))
        )
    })?;
    if let Some(why) = &detail.why_not_vote {
        output.note(format!(
            "As who you are signed in here, you can't vote: {}",
            shown(why)
        ));
    }
    lead_to(&detail.url, args.no_open, output);
    Ok(0)
}

/// Opens a page that was shown, where a person watches and has a desktop.
pub(super) fn lead_to(url: &str, no_open: bool, output: &Output) {
    if !no_open && output.is_watched() && has_desktop() {
        open(url);
    }
}

fn has_desktop() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Opens a page in the caller's browser. That there is none is no failure: the address was shown.
fn open(url: &str) {
    // Whatever else the address is, it must not be read as an option or a local file.
    if !is_page(url) {
        return;
    }
    let _ = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn is_page(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::{
        output::capture::captured,
        testing::{Stub, detail, json_answer},
    };

    #[tokio::test]
    async fn the_page_is_shown_while_there_is_something_to_decide() {
        let args = || Args {
            request: "req_1".parse().unwrap(),
            no_open: true,
        };
        let stub = Stub::start(vec![
            json_answer(&detail("held")),
            json_answer(&detail("denied")),
        ])
        .await;
        let (mut output, out, _) = captured(false, false);
        assert_eq!(
            run(args(), "approve", &stub.sources(), &mut output).await,
            Ok(0)
        );
        expect![[r#"
            git push origin main
              by agent:bot (owner olga@example.com)
            To approve it, open
              https://gate.example.com/requests/req_1
        "#]]
        .assert_eq(&out.text());
        let failure = run(args(), "approve", &stub.sources(), &mut output)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.exit, failure.title.as_str()),
            (77, "req_1 is denied already")
        );
    }

    #[tokio::test]
    async fn who_approves_is_told_what_to_type() {
        for (verb, told) in [("approve", true), ("deny", false)] {
            let text = detail("held").replace(
                r#""needs_typed_digest":false"#,
                r#""needs_typed_digest":true"#,
            );
            let stub = Stub::start(vec![json_answer(&text)]).await;
            let (mut output, out, _) = captured(false, false);
            let args = Args {
                request: "req_1".parse().unwrap(),
                no_open: true,
            };
            assert_eq!(run(args, verb, &stub.sources(), &mut output).await, Ok(0));
            let said = "type the first 8 digits of its digest, ab12";
            assert_eq!(out.text().contains(said), told, "{verb}");
        }
    }

    #[test]
    fn only_pages_are_opened() {
        for (url, page) in [
            ("https://gate.example.com/requests/req_1", true),
            ("http://127.0.0.1:1/", true),
            ("file:///etc/passwd", false),
            ("--help", false),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(is_page(url), page, "{url}");
        }
    }
}
