//! `countersign log verify`.
//!
//! In scope: what is verified against which keys, and printing what the verifier found.
//! Invariant: the exit status is 0 only when nothing failed.

use std::{fs, path::PathBuf};

use countersign_evidence::{
    receipt::{FIRST_LINE, Receipt},
    verify::{Area, Finding, Report, Severity, Trust, Verifier, verify_receipt},
};
use serde_json::{Value, json};

use super::files::{PIECE, folder, frames, key, missing, read};
use crate::cli::{
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, shown},
};

const EXAMPLES: &str = "\
Examples:
  countersign log verify data
  countersign log verify data --key gate.example.com+1a2b3c4d+AQ…       # a key you kept yourself
  countersign log verify data --checkpoint last-week.txt --json         # nothing older was rewritten

Keys and checkpoints from the directory itself show that it agrees with itself. Only a key and a
checkpoint that you kept elsewhere show that nobody replaced the whole of it.
Exit status: 0 verified, 1 not verified.";
/// Arguments of `countersign log verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway's data directory, its `log` directory, or the journal in it
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The verifier key of the log instead of the one in the directory
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A verifier key of votes instead of the one in the directory
    #[arg(long = "vote-key", value_name = "KEY")]
    vote_keys: Vec<String>,
    /// A checkpoint kept earlier, that this record must continue
    #[arg(long = "checkpoint", value_name = "FILE")]
    others: Vec<PathBuf>,
}

pub(super) fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    let folder = folder(&args.path);
    let key_file = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let log_key = match &args.key {
        Some(key) => key.clone(),
        None => key_file("key.pub").ok_or_else(|| missing(&folder, "key.pub", "--key"))?,
    };
    let vote_keys = if args.vote_keys.is_empty() {
        key_file("vote-key.pub").map(|text| text.lines().map(str::to_owned).collect())
    } else {
        Some(args.vote_keys)
    };
    let trust = Trust {
        log: key(&log_key)?,
        votes: vote_keys
            .map(|keys| {
                keys.iter()
                    .filter(|k| !k.trim().is_empty())
                    .map(|k| key(k))
                    .collect()
            })
            .transpose()?,
    };
    let checkpoint = read(&folder.join("checkpoint"))?;
    let others = args
        .others
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let mut verifier = Verifier::new(trust, &checkpoint, &others);
    let journal = if args.path.is_file() {
        args.path
    } else {
        folder.join("journal")
    };
    feed(&journal, PIECE, &mut verifier)?;
    print(&verifier.finish(), output)
}

fn feed(journal: &Path, piece: usize, verifier: &mut Verifier) -> Result<(), Failure> {
    let mut end = None;
    frames(journal, piece, |frame| verifier.entry(frame), |step| end = Some(ending(step)))?;
    verifier.ended(end.unwrap_or(Step::End));
    Ok(())
}

fn print(report: &Report, output: &mut Output) -> Result<u8, Failure> {
    for finding in &report.findings {
        output.result(&finding_json(finding), |_, paint| {
            finding_line(finding, paint)
        })?;
    }
    output.result(&summary_json(report), |_, paint| summary(report, paint))?;
    Ok(if report.passed() { 0 } else { GENERAL })
}

fn finding_line(finding: &Finding, paint: Paint) -> String {
    let kind = match finding.problem.severity() {
        Severity::Note => paint.yellow("note"),
        Severity::Failure => paint.red("failure"),
    };
    format!("{kind}: {}", shown(&finding.to_string()))
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "entry": finding.entry,
        "request": finding.request,
        "severity": match finding.problem.severity() {
            Severity::Note => "note",
            Severity::Failure => "failure",
        },
        "area": match finding.problem.area() {
            Area::Integrity => "integrity",
            Area::Completeness => "completeness",
            Area::Rules => "rules",
        },
        "problem": finding.problem.to_string(),
    })
}

fn summary_json(report: &Report) -> Value {
    json!({
        "verified": report.passed(),
        "entries": report.entries,
        "requests": report.requests,
        "integrity": report.holds(Area::Integrity),
        "completeness": report.holds(Area::Completeness),
        "rules": report.holds(Area::Rules),
        "unlisted_failures": report.unlisted_failures,
    })
}

/// The two verdicts: whether the record can be believed, and whether what it says kept the rules.
fn summary(report: &Report, paint: Paint) -> String {
    let whole = report.holds(Area::Integrity) && report.holds(Area::Completeness);
    let record = if whole {
        paint.green("The record holds: nothing was changed, cut off or left out.")
    } else {
        paint.red("The record does not hold: it was changed, cut off or has gaps.")
    };
    let rules = match (report.holds(Area::Rules), whole) {
        (true, true) => paint.green("The rules were kept in everything it records."),
        (true, false) => paint.yellow("Of what can be read, everything kept the rules."),
        (false, _) => paint.red("The rules were broken."),
    };
    let unlisted = match report.unlisted_failures {
        0 => String::new(),
        more => format!("\n{more} more failures are not listed."),
    };
    format!(
        "{} entries, {} requests{unlisted}\n{record}\n{rules}",
        report.entries, report.requests
    )
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
