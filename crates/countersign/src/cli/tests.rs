//! The command line itself: what is accepted, refused and documented.

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
    line().debug_assert();
}

#[test]
fn words_of_other_programs_lead_to_ours() {
    let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    for (line, found) in [
        ("countersign serve", Some("up")),
        ("countersign --json approve req_1", Some("requests approve")),
        ("countersign up", None),
        ("countersign", None),
    ] {
        assert_eq!(meant(&args(line)), found, "{line}");
    }
    for (theirs, ours) in MEANT {
        let refused = parse(&format!("countersign {theirs}")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidSubcommand, "{theirs}");
        let help = parse(&format!("countersign {ours} --help")).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp, "{ours}");
    }
}

#[test]
fn accepted_lines() {
    for line in [
        "countersign run --target t -- ls -la --help",
        "countersign run -t t --bind a --bind b=c --env X --env Y=1 -r why --wait 0s --claim req_1 -- x",
        "countersign --json run -t t -- x",
        "countersign run -t t --json --url https://a.example -- x",
        "countersign login",
        "countersign login -",
        "countersign login https://gate.example.com/sign-in/abc",
        "countersign logout",
        "countersign whoami --json",
        "countersign requests list --state held --since 2h --mine --all",
        "countersign requests show req_1",
        "countersign requests watch",
        "countersign requests watch req_1",
        "countersign requests approve req_1 --no-open",
        "countersign requests deny req_1",
        "countersign requests comment req_1 hello",
        "countersign requests ask req_1 why",
        "countersign requests answer req_1 because --to msg_1",
        "countersign requests amend req_1",
        "countersign requests cancel req_1",
        "countersign requests withdraw req_1",
        "countersign requests apply req_1",
        "countersign policy check",
        "countersign policy check dir",
        "countersign policy explain agent:bot --target t -- git push",
        "countersign policy diff dir",
        "countersign policy apply dir --reason why --wait 5m",
        "countersign policy show --file countersign.toml",
        "countersign log verify data --key k --checkpoint c",
        "countersign log verify data --key gate.key --vote-key vote.key",
        "countersign log list",
        "countersign log list data --kind policy.decided --kind refused --since 2h --last 5",
        "countersign log list data --request req_1",
        "countersign log checkpoint",
        "countersign log key",
        "countersign log key --votes",
        "countersign agent add bot --owner olga@example.com --group a --group b",
        "countersign agent list",
        "countersign agent token bot --expires 7d",
        "countersign agent stop bot --reason runaway",
        "countersign agent start agent:bot",
        "countersign agent revoke cred_1",
        "countersign people add lea@example.com --group dba --manager dana@example.com",
        "countersign people list",
        "countersign people disable lea@example.com",
        "countersign people enable lea@example.com",
        "countersign people link lea@example.com",
        "countersign people join lea@example.com dba",
        "countersign people leave lea@example.com dba",
        "countersign doctor",
        "countersign completions zsh",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn refused_lines() {
    for line in [
        "countersign",
        "countersign run --target t",
        "countersign run --target t --",
        "countersign run --target t ls",
        "countersign run --target t --wait soon -- x",
        "countersign run --target t --local --bind src -- x",
        "countersign run --local --claim req_1",
        "countersign run --target t --claim a`b -- x",
        "countersign --token secret whoami",
        "countersign whoami --token secret",
        "countersign requests show",
        "countersign requests show a`b",
        "countersign requests list --since yesterday",
        "countersign requests list --limit 0",
        "countersign requests amend req_1 -- git push",
        "countersign agent add bot",
        "countersign agent add workload:nightly --owner olga@example.com",
        "countersign people join lea@example.com",
        "countersign completions tcsh",
    ] {
        let error = parse(line).map(|_| ()).unwrap_err();
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn arguments_of_a_command_are_its_own() {
    let cli = parse("countersign run -t t -- cmd --json -- --wait").unwrap();
    let Command::Run(args) = cli.command else {
        panic!("not a run")
    };
    assert_eq!(args.argv, ["cmd", "--json", "--", "--wait"]);
    assert!(!cli.json);
    assert_eq!(args.wait.to_string(), "30m");
}

/// Commands without arguments have nothing to show an example of.
#[test]
fn every_command_has_help_with_examples() {
    let plain = ["logout", "whoami", "doctor", "list", "help"];
    let mut todo = vec![Cli::command()];
    while let Some(command) = todo.pop() {
        let name = command.get_name().to_owned();
        assert!(command.get_about().is_some(), "{name} has no help");
        if command.has_subcommands() {
            todo.extend(command.get_subcommands().cloned());
        } else if !plain.contains(&name.as_str()) {
            let examples = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(examples.contains("Example"), "{name} has no examples");
            assert!(
                examples.contains(&format!("countersign {name}"))
                    || examples.contains(&format!(" {name} ")),
                "{name}: {examples}"
            );
        }
    }
}

#[test]
fn usage_errors_have_a_status_of_their_own() {
    let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert_eq!(
        main(line("countersign completions tcsh")),
        ExitCode::from(64)
    );
    assert_eq!(main(line("countersign --version")), ExitCode::SUCCESS);
}

#[test]
fn nobody_is_offered_what_means_nothing() {
    let help = |path: &[&str]| {
        let words = ["countersign"].iter().chain(path).chain(&["--help"]);
        line().try_get_matches_from(words).unwrap_err().to_string()
    };
    for path in WITHOUT_GATEWAY {
        assert!(!help(path).contains("--url"), "{path:?}");
    }
    for path in [&["whoami"][..], &["policy", "diff"], &["log", "key"]] {
        assert!(help(path).contains("--url"), "{path:?}");
    }
}
