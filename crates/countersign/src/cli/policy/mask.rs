//! `countersign policy mask`: what of a command would be masked as a secret.
//!
//! In scope: the well-known forms and the `[secret.NAME]` patterns of a directory, on one command.
//! Out of scope: what policy says of the command ([`explain`](super::explain)).
//! Invariant: nothing is sent anywhere, and no character of what would be masked is printed.

use std::{collections::BTreeMap, path::PathBuf};

use countersign_core::count::counted;
use countersign_policy::{Bundle, Problem};
use countersign_runner::quote::quote_argv;
use serde::Serialize;
use serde_json::{Value, json};

use super::check;
use crate::{
    api::types::MaskedSecret,
    cli::{
        failure::{Failure, GENERAL},
        output::Output,
        text::{Paint, shown},
    },
    secrets::shown::place,
};

const EXAMPLES: &str = "\
Examples:
  countersign policy mask -- curl -H 'X-Key: acme_0123456789abcdef0123456789abcdef' https://acme.example
  countersign policy mask /etc/countersign --env DB_PASSWORD=example -- ./migrate

It needs no gateway. Try patterns with made-up secrets: the shell and the list of processes see what
stands here. Exit status: 0 also where nothing would be masked.";

/// Arguments of `countersign policy mask`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The directory with countersign.toml
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// A variable of the command; give it again for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// A command as reviewers would see it.
#[derive(Debug, Serialize)]
struct Masked {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    masked: Vec<MaskedSecret>,
    /// Whether approving it needs the digest typed, because of its masks.
    needs_typed_digest: bool,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    let read = super::read(&args.directory)?;
    let bundle = match Bundle::from_files(&read.files) {
        Ok(bundle) => bundle,
        Err(problems) => {
            for problem in problems.iter().filter(|problem| problem.is_error()) {
                output.result(problem, |problem: &Problem, paint| {
                    check::line(problem, &args.directory, paint)
                })?;
            }
            return Ok(GENERAL);
        }
    };
    let env: BTreeMap<&str, &str> = args
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut arguments = json!({ "argv": args.argv, "env": env });
    let taken = bundle
        .masker()
        .take_out(&mut arguments)
        .map_err(|error| Failure::new("not_masked", format!("it would be refused: {error}")))?;
    let masked: Vec<_> = taken
        .into_iter()
        .map(|one| MaskedSecret {
            length: one.secret.chars().count(),
            at: one.at,
            start: one.start,
            kind: one.kind,
            verified: one.verified,
        })
        .collect();
    let field = |name: &str| arguments.get(name).cloned().unwrap_or(Value::Null);
    let found = Masked {
        argv: serde_json::from_value(field("argv")).unwrap_or_default(),
        env: serde_json::from_value(field("env")).unwrap_or_default(),
        needs_typed_digest: masked.iter().any(|one| !one.verified),
        masked,
    };
    output.result(&found, text)?;
    Ok(0)
}

fn text(found: &Masked, paint: Paint) -> String {
    let mut lines: Vec<_> = found
        .env
        .iter()
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect();
    lines.push(quote_argv(&found.argv));
    if found.masked.is_empty() {
        lines.push("Nothing would be masked.".into());
        return lines.join("\n");
    }
    for one in &found.masked {
        let doubt = match one.verified {
            true => "",
            false => "; it could be any text",
        };
        lines.push(format!(
            "  {} in {}: {}{doubt}",
            shown(&one.kind),
            place(&one.at),
            counted(one.length, "character", "characters")
        ));
    }
    if found.needs_typed_digest {
        let text = "One click is not enough to approve it: the digest's first digits are typed.";
        lines.push(paint.yellow(text));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{bundle_files, cli::output::capture::captured};

    const TOKEN: &str = "acme_0123456789abcdef0123456789abcdef";

    fn check(args: &Args, json: bool, expected: Expect) {
        let (mut output, out, err) = captured(json, false);
        assert_eq!(run(args, &mut output), Ok(0), "{}", err.text());
        expected.assert_eq(&out.text());
        assert!(!out.text().contains("0123456789"), "a secret was printed");
    }

    #[test]
    fn a_pattern_can_be_tried() {
        let mut all = bundle_files::example::GOOD.to_vec();
        let main = format!(
            "{}\n[secret.acme-token]\npattern = 'acme_[a-f0-9]{{32}}'\n",
            all.iter()
                .find(|(name, _)| *name == "countersign.toml")
                .unwrap()
                .1
        );
        all.retain(|(name, _)| *name != "countersign.toml");
        all.push(("countersign.toml", &main));
        let directory = bundle_files::example::directory(&all);
        let args = |words: &[&str], variables: &[(&str, &str)]| Args {
            directory: directory.path().to_owned(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let header = format!("X-Key: {TOKEN}");
        let both = args(&["curl", "-H", &header], &[("KEY", TOKEN)]);
        check(
            &both,
            false,
            expect![[r#"
            KEY=‹acme-token 37›
            curl -H 'X-Key: ‹acme-token 37›'
              acme-token in word 3: 37 characters; it could be any text
              acme-token in variable KEY: 37 characters; it could be any text
            One click is not enough to approve it: the digest's first digits are typed.
        "#]],
        );
        check(
            &both,
            true,
            expect![[r#"
            {"argv":["curl","-H","X-Key: ‹acme-token 37›"],"env":{"KEY":"‹acme-token 37›"},"masked":[{"at":"/argv/2","start":7,"kind":"acme-token","length":37,"verified":false},{"at":"/env/KEY","start":0,"kind":"acme-token","length":37,"verified":false}],"needs_typed_digest":true}
        "#]],
        );
        check(
            &args(&["df", "-h"], &[]),
            false,
            expect![[r#"
            df -h
            Nothing would be masked.
        "#]],
        );
    }

    #[test]
    fn a_directory_that_would_be_refused_is_said_to_be() {
        let mut all = bundle_files::example::GOOD.to_vec();
        all.push(("policies/broken.cedar", "permit ("));
        let directory = bundle_files::example::directory(&all);
        let args = Args {
            directory: directory.path().to_owned(),
            variables: Vec::new(),
            argv: vec!["df".into()],
        };
        let (mut output, out, _) = captured(false, false);
        assert_eq!(run(&args, &mut output), Ok(GENERAL));
        assert!(out.text().contains("broken.cedar"), "{}", out.text());
    }
}
