//! What source files look like, and what may occur where.

use super::repository::{files, none, text};

/// The most lines of a file, and the longest line.
const MAX_LINES: usize = 600;
const MAX_COLUMNS: usize = 120;

/// What opens sockets or starts processes.
const REACHES_OUT: &[&str] = &[
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "reqwest",
    "AsyncSmtpConnection",
    "Command::new",
    "std::process::Command",
    "tokio::process",
];
/// Where that may be.
const MAY_REACH_OUT: &[&str] = &[
    "crates/runner/",
    "crates/countersign/src/server.rs",
    "crates/countersign/src/server/",
    "crates/countersign/src/channels/email/smtp.rs",
    "crates/countersign/src/channels/slack/",
    "crates/countersign/src/channels/teams/",
    "crates/countersign/src/cli/",
    "crates/countersign/src/demo/",
    "crates/countersign/src/gates/deployments/github.rs",
    "crates/countersign/src/identity/issuers.rs",
    "crates/countersign/src/identity/provider/",
    "crates/countersign/src/outbound.rs",
    "crates/countersign/src/runner/",
    "crates/countersign/src/streams/delivery/",
    "crates/countersign/src/streams/otlp/",
    "crates/countersign/src/streams/webhook/",
];
/// What reads a clock, touches the machine or is random.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::fs",
    "std::net",
    "std::env",
    "tokio",
    "rand::",
];
/// Where that may never be.
const PURE: &[&str] = &[
    "crates/core/src/",
    "crates/policy/src/",
    "crates/evidence/src/",
];

fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    ["/tests/", "/examples/", "/benches/"]
        .iter()
        .any(|part| path.contains(part))
        || name == "tests.rs"
        || name == "testing.rs"
        || name.ends_with("_tests.rs")
}

/// The lines of a source file before its tests, without comments, numbered.
fn code(source: &str) -> Vec<(usize, &str)> {
    let lines = source.lines().enumerate();
    let before_tests = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    let lines = before_tests.map(|(number, line)| (number + 1, line));
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

/// Whether `word` occurs in `line` and does not begin inside of another word.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn findings(paths: impl Iterator<Item = String>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        let source = text(&path);
        for (number, line) in code(&source) {
            let hits = words.iter().filter(|word| mentions(line, word));
            found.extend(hits.map(|word| format!("{path}:{number}: `{word}`")));
        }
    }
    found
}

#[test]
fn every_module_says_what_it_is() {
    let sources = files("crates", ".rs")
        .into_iter()
        .filter(|path| path.contains("/src/"));
    let silent: Vec<_> = sources
        .filter(|path| !text(path).starts_with("//!"))
        .collect();
    none(
        &silent,
        "begin these files with `//!`: purpose, in scope, out of scope, invariant",
    );
}

#[test]
fn files_and_lines_have_limits() {
    let mut problems = Vec::new();
    for path in files("crates", ".rs") {
        let source = text(&path);
        let lines = source.lines().count();
        if lines > MAX_LINES {
            problems.push(format!("{path}: {lines} lines, at most {MAX_LINES}"));
        }
        // Texts and what they are compared with can't be broken without changing them.
        let is_text =
            |line: &str| line.contains('"') || line.trim_start().starts_with("countersign: ");
        let long = source
            .lines()
            .enumerate()
            .filter(|(_, line)| line.chars().count() > MAX_COLUMNS && !is_text(line));
        problems.extend(long.map(|(number, _)| format!("{path}:{}: too long", number + 1)));
    }
    none(&problems, "split these");
}

#[test]
fn sockets_and_processes_only_in_named_places() {
    let elsewhere = files("crates", ".rs").into_iter().filter(|path| {
        !is_test(path) && !MAY_REACH_OUT.iter().any(|place| path.starts_with(place))
    });
    none(
        &findings(elsewhere, REACHES_OUT),
        "move these to the runner, the listener or the client",
    );
}

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    let pure = files("crates", ".rs")
        .into_iter()
        .filter(|path| !is_test(path) && PURE.iter().any(|place| path.starts_with(place)));
    none(
        &findings(pure, IMPURE),
        "pass time, bytes and random bits as arguments",
    );
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX:", "XXX "];
    let mut problems = Vec::new();
    for path in files("crates", ".rs")
        .into_iter()
        .filter(|path| !path.starts_with("crates/tidy/"))
    {
        for (number, line) in text(&path).lines().enumerate() {
            let hits = words.iter().filter(|word| mentions(line, word));
            problems.extend(hits.map(|word| format!("{path}:{}: `{word}`", number + 1)));
        }
    }
    none(
        &problems,
        "do it, or say in a document that it is not available yet",
    );
}
