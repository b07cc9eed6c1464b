//! `countersign policy apply`: proposes a directory as the new policy.
//!
//! In scope: checking it here first, showing what changes, proposing, waiting, claiming.
//! Out of scope: activating it; the gateway does, under the policy that is active now (P9).
//! Invariant: what is proposed is exactly what was checked and shown.

use countersign_core::time::Span;
use countersign_policy::{Bundle, bundle::diff::BundleDiff};

use super::{Directory, check, diff};
use crate::{
    api::types::BundleInfo,
    cli::{
        client::{At, Client},
        config::Sources,
        failure::{Failure, GENERAL},
        output::Output,
        proposal::{Waiting, carry_out},
    },
};

const EXAMPLES: &str = "\
Examples:
  countersign policy apply --reason 'releases need two people'
  countersign policy apply deploy/countersign --wait 0s    # propose only

Exit status: 0 activated or nothing to change, 1 the directory is wrong, 75 still held, 77 refused.";

/// Arguments of `countersign policy apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    directory: Directory,
    /// Why, for the people who decide
    #[arg(long, short, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for people
    #[arg(long, short, default_value = "30m", value_name = "TIME")]
    wait: Span,
}

pub(super) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let Some(bundle) = check::bundle(&args.directory.directory, output)? else {
        return Ok(GENERAL);
    };
    let client = Client::new(&sources.settings()?)?;
    let active: BundleInfo = client.get(At::new(&["policy"])).await?;
    let difference = BundleDiff::between(&active.files, bundle.files());
    let paint = output.note_paint();
    output.note(diff::page(&difference, paint));
    if difference.is_empty() {
        let value = serde_json::json!({ "state": "unchanged", "hash": active.hash });
        output.result(&value, |_, _| format!("Active already: {}", bundle.hash()))?;
        return Ok(0);
    }
    let before = Bundle::from_files(&active.files).ok();
    if before.is_some_and(|before| bundle.needs_restart(&before)) {
        output.note("`[server]` and `[store]` take effect when the gateway starts again.");
    }
    let arguments = serde_json::json!({ "files": bundle.files() });
    let waiting = Waiting {
        reason: args.reason,
        wait: args.wait,
    };
    carry_out("bundle-apply", arguments, waiting, sources, output).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        bundle_files::example,
        cli::{
            output::capture::captured,
            testing::{Stub, json_answer},
        },
    };

    async fn apply(files: &[(&str, &str)], answers: Vec<String>) -> (u8, Vec<String>, String) {
        let directory = example::directory(files);
        let stub = Stub::start(answers).await;
        let (mut output, _, err) = captured(false, false);
        let args = Args {
            directory: Directory {
                directory: directory.path().to_owned(),
            },
            reason: Some("two people".into()),
            wait: Span::from_millis(0),
        };
        let done = run(args, &stub.sources(), &mut output).await;
        (
            done.unwrap_or_else(|failure| failure.exit),
            stub.seen(),
            err.text(),
        )
    }

    fn active(text: &str) -> String {
        let mut files: serde_json::Map<String, Value> = serde_json::Map::new();
        for (path, good) in example::GOOD {
            let text = if text.is_empty() { *good } else { text };
            files.insert((*path).to_owned(), text.into());
        }
        let active = json!({ "hash": "ab", "files": files, "activated": 0, "request": null });
        json_answer(&active.to_string())
    }

    #[tokio::test]
    async fn what_was_checked_and_shown_is_proposed() {
        let answer = r#"{"request":"req_1","state":"succeeded","url":"u","message":"Active."}"#;
        let (status, seen, said) =
            apply(example::GOOD, vec![active("# old\n"), json_answer(answer)]).await;
        assert_eq!(status, 0);
        assert!(
            said.contains("-# old") && said.contains("+[group.agents]"),
            "{said}"
        );
        let (head, body) = seen.last().unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/proposals "), "{head}");
        let sent: Value = serde_json::from_str(body).unwrap();
        assert_eq!(sent["operation"], "bundle-apply");
        assert_eq!(sent["reason"], "two people");
        for (path, text) in example::GOOD {
            assert_eq!(sent["arguments"]["files"][*path], *text);
        }
    }

    #[tokio::test]
    async fn nothing_is_proposed_that_is_wrong_or_active_already() {
        let (status, seen, _) = apply(&[("countersign.toml", "[nonsense]\n")], vec![]).await;
        assert_eq!((status, seen.len()), (1, 0));
        let (status, seen, _) = apply(example::GOOD, vec![active("")]).await;
        assert_eq!((status, seen.len()), (0, 1));
    }
}
