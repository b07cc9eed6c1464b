//! `countersign policy check`: what the gateway would say of a directory, without one.

use std::path::Path;

use countersign_core::{
    approval::{ApprovalRule, rule::Assurance},
    count::counted,
};
use countersign_policy::{
    Provider, StreamKind,
    bundle::{Bundle, MAIN_FILE},
    problem::Problem,
    target::exec::CredentialSource,
};
use countersign_runner::vault::{Secret, Source};

use super::Directory;
use crate::{
    cli::{
        failure::{Failure, GENERAL},
        output::Output,
        text::{Paint, shown},
    },
    gateway::opening,
    identity::passkey,
    outbound,
    scim::MIN_TOKEN,
    server,
};

/// What is done about what only this machine has.
const PUT_RIGHT: &str = "put it right where the gateway runs; here it may stay as it is";

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign policy check
  countersign policy check deploy/countersign --json   # one problem a line; for CI

Exit status: 0 if the gateway would take it, 1 if not.";

pub(super) async fn run(args: &Directory, output: &mut Output) -> Result<u8, Failure> {
    let Some(bundle) = bundle(&args.directory, output)? else {
        return Ok(GENERAL);
    };
    let mut problems = of_this_machine(&bundle, &args.directory).await;
    problems.extend(of_deployments(&bundle, &args.directory).await);
    for problem in &problems {
        output.result(problem, |problem, paint| {
            line(problem, &args.directory, paint)
        })?;
    }
    let value = serde_json::json!({
        "hash": bundle.hash().to_hex(),
        "statements": bundle.statements().len(),
        "rules": bundle.rules().len(),
        "targets": bundle.targets().len(),
        "warnings": bundle.warnings().len() + problems.len(),
    });
    output.result(&value, |_, paint| {
        format!(
            "{} {}, {}, {}; hash {}",
            paint.green("Good:"),
            counted(bundle.statements().len(), "statement", "statements"),
            counted(bundle.rules().len(), "approval rule", "approval rules"),
            counted(bundle.targets().len(), "target", "targets"),
            bundle.hash()
        )
    })?;
    Ok(0)
}

/// Why nobody could provision as a provider, as far as a file tells.
async fn of_provisioning(provider: &Provider, directory: &Path) -> Option<anyhow::Error> {
    let CredentialSource::File(file) = &provider.scim.as_ref()?.token else {
        return None;
    };
    let token = Source::File(directory.join(file)).fetch().await;
    let length = token.and_then(|token| token.header().map(<[u8]>::len));
    match length {
        Ok(length) if length >= MIN_TOKEN => None,
        Ok(_) => Some(anyhow::anyhow!(
            "the token has fewer than {MIN_TOKEN} characters"
        )),
        Err(error) => Some(error.into()),
    }
}

/// Files beside the configuration that the gateway would refuse to use. It may run elsewhere, so
/// these are only warnings.
async fn of_this_machine(bundle: &Bundle, directory: &Path) -> Vec<Problem> {
    let warning = |message: String| Problem::warning(MAIN_FILE, None, message, PUT_RIGHT);
    let mut problems = Vec::new();
    if let Some(files) = &bundle.server().tls
        && let Err(error) = server::check_tls(files, directory)
    {
        problems.push(warning(format!("the gateway would not start: {error:#}")));
    }
    problems.extend(no_passkeys(bundle));
    for (name, target) in bundle.targets() {
        let credentials = target.exec().map(|exec| exec.credentials.as_slice());
        for credential in credentials.unwrap_or_default() {
            let CredentialSource::File(file) = &credential.source else {
                continue;
            };
            // An absolute path stays what it is.
            let source = Source::File(directory.join(file));
            if let Err(error) = source.fetch().await {
                let error = anyhow::Error::from(error);
                problems.push(warning(format!(
                    "nothing would run at target `{name}`: {error:#}"
                )));
            }
        }
    }
    for (name, provider) in bundle.providers() {
        let failed = |error: anyhow::Error| {
            warning(format!("nobody could sign in with `{name}`: {error:#}"))
        };
        if let CredentialSource::File(file) = &provider.client_secret
            && let Err(error) = Source::File(directory.join(file)).fetch().await
        {
            problems.push(failed(error.into()));
        }
        if let Some(error) = of_provisioning(provider, directory).await {
            let why = format!("nobody could provision as `{name}`: {error:#}");
            problems.push(warning(why));
        }
        let reached = provider
            .issuer
            .parse::<reqwest::Url>()
            .map_err(anyhow::Error::from);
        let ca = provider.ca.as_deref();
        let reached = reached.and_then(|issuer| outbound::client(&issuer, ca, directory));
        problems.extend(reached.err().map(failed));
    }
    for (name, stream) in bundle.streams() {
        let (secret, check): (_, fn(&Secret) -> _) = match &stream.kind {
            StreamKind::Webhook(webhook) => (Some(&webhook.secret), Secret::check_webhook),
            StreamKind::Otlp(collector) => (collector.secret.as_ref(), Secret::check_header),
            StreamKind::Ocsf(_) => continue,
        };
        let Some(CredentialSource::File(file)) = secret else {
            continue;
        };
        let secret = Source::File(directory.join(file)).fetch().await;
        if let Err(error) = secret.and_then(|secret| check(&secret)) {
            let error = anyhow::Error::from(error);
            problems.push(warning(format!(
                "stream `{name}` would send nothing: {error:#}"
            )));
        }
    }
    problems
}

/// The key and the secret of each App that could not be used.
async fn of_deployments(bundle: &Bundle, directory: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, github) in bundle.deployments() {
        let key: (_, fn(&Secret) -> _) = (&github.private_key, Secret::check_rsa);
        let hook: (_, fn(&Secret) -> _) = (&github.webhook_secret, Secret::check_long);
        for (source, check) in [key, hook] {
            let CredentialSource::File(file) = source else {
                continue;
            };
            let secret = Source::File(directory.join(file)).fetch().await;
            if let Err(error) = secret.and_then(|secret| check(&secret)) {
                let error = anyhow::Error::from(error);
                let message = format!("deployments `{name}` would get no answer: {error:#}");
                problems.push(Problem::warning(MAIN_FILE, None, message, PUT_RIGHT));
            }
        }
    }
    problems
}

/// Rules that ask for passkeys, to sign or to be lifted, at an address for which browsers make none.
fn no_passkeys(bundle: &Bundle) -> Vec<Problem> {
    let url = opening::url(None, bundle.server());
    if passkey::site(&url).is_ok() {
        return Vec::new();
    }
    let first = |asks: fn(&&ApprovalRule) -> bool, what: &str| {
        let rule = bundle.rules().values().find(asks)?;
        let message = format!(
            "rule `{}` {what}, and browsers make none for {url}",
            rule.name
        );
        let help =
            "give `[server]` a `public_url` with a name and TLS, or `http://localhost` to try it";
        Some(Problem::warning(MAIN_FILE, None, message, help))
    };
    let signs = first(
        |rule| rule.assurance == Assurance::Passkey,
        "asks for passkeys",
    );
    let lifts = first(
        |rule| rule.emergency.is_some(),
        "can be lifted in an emergency only with a passkey",
    );
    signs.into_iter().chain(lifts).collect()
}

/// Reads and checks a directory, printing every problem; nothing when it can't be used.
pub(super) fn bundle(directory: &Path, output: &mut Output) -> Result<Option<Bundle>, Failure> {
    let read = super::read(directory)?;
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
        let errors = counted(errors, "error", "errors");
        output.note(format!(
            "{errors}: the gateway would refuse this directory."
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

    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::bundle_files;
    use crate::cli::output::capture::captured;

    #[test]
    fn problems_name_file_and_line() {
        let problem = Problem::error("policies/a.cedar", 3, "`x` is wrong", "write `y`");
        expect![[r#"
            conf/policies/a.cedar:3: error: `x` is wrong
              write `y`"#]]
        .assert_eq(&line(&problem, Path::new("conf"), Paint::plain()));
    }

    #[tokio::test]
    async fn a_good_directory_is_taken() {
        let directory = bundle_files::example::directory(bundle_files::example::GOOD);
        let (mut output, out, _) = captured(false, false);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(run(&args, &mut output).await, Ok(0), "{}", out.text());
        assert!(out.text().contains("Good:"), "{}", out.text());
    }

    #[tokio::test]
    async fn a_credential_file_that_the_gateway_would_refuse_is_warned_about() {
        let main = "[target.release]\nkind = \"exec\"\nenvironment = \"production\"\n\
                    credential = { file = \"release.token\", as = \"TOKEN\" }\n";
        let directory = bundle_files::example::directory(&[("countersign.toml", main)]);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        for (mode, warned) in [(None, true), (Some(0o644), true), (Some(0o600), false)] {
            if let Some(mode) = mode {
                let file = directory.path().join("release.token");
                std::fs::write(&file, "x").unwrap();
                std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            }
            let (mut output, out, _) = captured(false, false);
            assert_eq!(run(&args, &mut output).await, Ok(0), "{}", out.text());
            assert_eq!(
                out.text().contains("release.token`"),
                warned,
                "{}",
                out.text()
            );
        }
    }

    #[tokio::test]
    async fn a_provider_whose_files_can_not_be_used_is_warned_about() {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let main = "[provider.corp]\nissuer = \"https://login.example.com\"\nclient_id = \"c\"\n\
                    client_secret = { file = \"corp.secret\" }\nca = \"corp.pem\"\n";
        let directory = bundle_files::example::directory(&[("countersign.toml", main)]);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        let (mut output, out, _) = captured(false, false);
        assert_eq!(run(&args, &mut output).await, Ok(0), "{}", out.text());
        for missing in ["corp.secret", "corp.pem"] {
            assert!(out.text().contains(missing), "{}", out.text());
        }
        assert_eq!(out.text().matches("nobody could sign in").count(), 2);
    }

    #[tokio::test]
    async fn passkeys_need_an_address_that_has_them() {
        let rule = "[approval.two]\nstages = [{ from = [\"group:admins\"], count = 1 }]\n\
                    assurance = \"passkey\"\n\
                    emergency = { from = [\"group:admins\"], review_within = \"1d\" }\n";
        let groups = "[group.admins]\n";
        let named = format!("[server]\npublic_url = \"http://localhost:7780\"\n{groups}");
        for (main, warned) in [(groups, true), (named.as_str(), false)] {
            let files = [("countersign.toml", main), ("approvals.toml", rule)];
            let directory = bundle_files::example::directory(&files);
            let args = Directory {
                directory: directory.path().to_owned(),
            };
            let (mut output, out, _) = captured(false, false);
            assert_eq!(run(&args, &mut output).await, Ok(0), "{}", out.text());
            let text = out.text();
            for what in ["asks for passkeys", "only with a passkey"] {
                assert_eq!(text.contains(what), warned, "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_broken_directory_is_refused_with_status_1() {
        let rule = "[approval.two]\nstages = [{ from = [\"group:admins\"], count = 2 }]\n\
                    expires = \"1h\"\n";
        let directory = bundle_files::example::directory(&[
            ("countersign.toml", "nonsense = [\n"),
            ("approvals.toml", rule),
        ]);
        let (mut output, out, _) = captured(true, false);
        let args = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(run(&args, &mut output).await, Ok(1));
        assert!(
            out.text().contains(r#""file":"countersign.toml""#),
            "{}",
            out.text()
        );
        assert_eq!(
            out.text().lines().count(),
            1,
            "causes alone: {}",
            out.text()
        );
    }
}
