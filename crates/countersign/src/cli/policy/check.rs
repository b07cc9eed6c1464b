//! `countersign policy check`: what the gateway would say of a directory, without one.

use std::path::Path;

use countersign_policy::{
    bundle::{Bundle, MAIN_FILE},
    problem::Problem,
    target::exec::CredentialSource,
};

use super::{Directory, files};
use crate::cli::{
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, shown},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign policy check
  countersign policy check deploy/countersign --json   # one problem a line; for CI

Exit status: 0 if the gateway would take it, 1 if not.";

pub(super) fn run(args: &Directory, output: &mut Output) -> Result<u8, Failure> {
    match bundle(&args.directory, output)? {
        Some(bundle) => {
            for problem in missing_credentials(&bundle, &args.directory) {
                output.result(&problem, |problem, paint| {
                    line(problem, &args.directory, paint)
                })?;
            }
            let value = serde_json::json!({
                "hash": bundle.hash().to_hex(),
                "statements": bundle.statements().len(),
                "rules": bundle.rules().len(),
                "targets": bundle.targets().len(),
                "warnings": bundle.warnings().len(),
            });
            output.result(&value, |_, paint| {
                format!(
                    "{} {}, {}, {}; hash {}",
                    paint.green("Good:"),
                    counted(bundle.statements().len(), "statement"),
                    counted(bundle.rules().len(), "approval rule"),
                    counted(bundle.targets().len(), "target"),
                    bundle.hash()
                )
            })?;
            Ok(0)
        }
        None => Ok(GENERAL),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Credential files that are not there. The gateway may run elsewhere, so it is only a warning.
fn missing_credentials(bundle: &Bundle, directory: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, target) in bundle.targets() {
        let credentials = target.exec().map(|exec| exec.credentials.as_slice());
        for credential in credentials.unwrap_or_default() {
            let CredentialSource::File(file) = &credential.source else {
                continue;
            };
            // An absolute path stays what it is.
            if !directory.join(file).exists() {
                let message = format!(
                    "target `{name}` has its credential in `{file}`, which does not exist here"
                );
                let help = "write it before somebody runs something there: install -m 600 \
                            /dev/stdin FILE";
                problems.push(Problem::warning(MAIN_FILE, None, message, help));
            }
        }
    }
    problems
}

/// Reads and checks a directory, printing every problem; nothing when it can't be used.
pub(super) fn bundle(directory: &Path, output: &mut Output) -> Result<Option<Bundle>, Failure> {
    let read = files::read(directory)?;
    for skipped in &read.skipped {
        output.note(format!("{}: not part of a bundle, skipped", shown(skipped)));
    }
    let checked = Bundle::from_files(&read.files);
    let problems = match &checked {
        Ok(bundle) => bundle.warnings(),
        Err(problems) => problems,
    };
    for problem in problems {
        output.result(problem, |problem, paint| line(problem, directory, paint))?;
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if errors > 0 {
        let plural = if errors == 1 { "" } else { "s" };
        output.note(format!(
            "{errors} error{plural}: the gateway would refuse this directory."
        ));
    }
    Ok(checked.ok())
}

/// `file:line: error: message`, with a path that editors can open.
pub(super) fn line(problem: &Problem, directory: &Path, paint: Paint) -> String {
    let file = if directory == Path::new(".") {
        shown(&problem.file)
    } else {
        shown(&directory.join(&problem.file).display().to_string())
    };
    let line = problem
        .line
        .map_or_else(String::new, |line| format!(":{line}"));
    let kind = if problem.is_error() {
        paint.red("error")
    } else {
        paint.yellow("warning")
    };
    let mut text = format!("{file}{line}: {kind}: {}", shown(&problem.message));
    if !problem.help.is_empty() {
        text.push_str(&format!("\n  {}", shown(&problem.help)));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::output::capture::captured;

    #[test]
    fn problems_name_file_and_line() {
        let problem = Problem::error("policies/a.cedar", 3, "`x` is wrong", "write `y`");
        expect![[r#"
            conf/policies/a.cedar:3: error: `x` is wrong
              write `y`"#]]
        .assert_eq(&line(&problem, Path::new("conf"), Paint::plain()));
    }

    #[test]
    fn a_good_directory_is_taken() {
        let directory = files::example::directory(files::example::GOOD);
        let (mut output, out, _) = captured(false, false);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(run(&args, &mut output), Ok(0), "{}", out.text());
        assert!(out.text().contains("Good:"), "{}", out.text());
    }

    #[test]
    fn a_credential_file_that_is_not_there_is_warned_about() {
        let main = "[target.release]\nkind = \"exec\"\nenvironment = \"production\"\n\
                    credential = { file = \"release.token\", as = \"TOKEN\" }\n";
        let directory = files::example::directory(&[("countersign.toml", main)]);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        for (exists, warned) in [(false, true), (true, false)] {
            if exists {
                std::fs::write(directory.path().join("release.token"), "x").unwrap();
            }
            let (mut output, out, _) = captured(false, false);
            assert_eq!(run(&args, &mut output), Ok(0), "{}", out.text());
            assert_eq!(
                out.text().contains("`release.token`"),
                warned,
                "{}",
                out.text()
            );
        }
    }

    #[test]
    fn a_broken_directory_is_refused_with_status_1() {
        let directory = files::example::directory(&[("countersign.toml", "nonsense = [\n")]);
        let (mut output, out, _) = captured(true, false);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(run(&args, &mut output), Ok(1));
        assert!(
            out.text().contains(r#""file":"countersign.toml""#),
            "{}",
            out.text()
        );
    }
}
