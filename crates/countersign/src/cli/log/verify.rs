//! `countersign log verify`: whether a record holds.
//!
//! In scope: journal, tiles, checkpoint and keys from disk; printing what the verifier found, and what
//! the keys and checkpoints that it was given can show at all.
//! Out of scope: the verification itself, which is the evidence crate's; receipts ([`receipt`]).
//! Invariant: the exit status is 0 only when nothing failed.

use std::path::{Path, PathBuf};

use countersign_core::count::counted;
use countersign_evidence::{
    checkpoint::Checkpoint,
    key::VerifyingKey,
    verify::{Area, Finding, Problem, Report, Rotation, Severity, Trust, Verifier},
};
use serde_json::{Value, json};

use super::{
    folder, former, journal,
    keys::{
        check_same_log, evidence_keys, given_keys, kept_beside, kept_checkpoint, one,
        rotations_from,
    },
    named, parallel, published, read, receipt,
};
use crate::cli::{
    config::Sources,
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, shown},
};

const EXAMPLES: &str = "\
Examples:
  countersign log verify data
  countersign log verify data --key gate.example.com.key                # a key you kept yourself
  countersign log verify data --checkpoint last-week.txt --json         # nothing older was rewritten
  countersign log verify https://gate.example.com --key gate.example.com.key --checkpoint last-week.txt
  countersign log verify req_01j9….receipt --key gate.example.com.key   # one request, without the log

Keys and checkpoints from the directory itself show that it agrees with itself. Only a key and a
checkpoint that you kept elsewhere show that nobody replaced the whole of it.
Exit status: 0 verified, 1 not verified, 64 what was named is no record, key or checkpoint, 69 not reached.";

/// Arguments of `countersign log verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway's data directory, its `log` directory, the journal in it, a receipt, or a gateway's
    /// address, where what it publishes to everybody is verified
    #[arg(value_name = "DIR|FILE|URL")]
    path: PathBuf,
    /// The verifier key of the log, or a file with it, instead of the one in the directory
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// A verifier key of votes, or a file with some, instead of the one in the directory
    #[arg(long = "vote-key", value_name = "KEY|FILE")]
    vote_keys: Vec<String>,
    /// A checkpoint kept earlier, that this record must continue
    #[arg(long = "checkpoint", value_name = "FILE")]
    others: Vec<PathBuf>,
}

/// What of it all was given by the auditor, rather than taken from beside the record.
#[derive(Debug, Clone, Copy)]
struct Kept {
    log_key: bool,
    /// `None` when there were no keys of votes at all.
    vote_keys: Option<bool>,
    checkpoint: bool,
}

/// Verifies a record and prints what was found.
///
/// # Errors
/// When the files can't be read or are not what they were given as.
pub(super) async fn verify(
    args: Args,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let Some(url) = published::address(&args.path) else {
        return verify_files(&args, output);
    };
    let ca = sources.ca(&url)?;
    let given = published::Given {
        key: given_key(&args)?,
        kept: &args.others,
        ca: ca.as_deref(),
    };
    published::verify(url, given, output).await
}

/// The log's key that was given.
fn given_key(args: &Args) -> Result<Option<VerifyingKey>, Failure> {
    let given = args.key.as_ref();
    let Some(given) = given else {
        return Ok(None);
    };
    let key = one(given_keys("--key", given)?, "--key")?;
    match key.name().ends_with("/votes") {
        true => Err(Failure::usage(format!(
            "`--key` is the key of votes, `{}`, and not that of the log",
            key.name()
        ))
        .next("give it with `--vote-key`; `countersign log key` prints the log's")),
        false => Ok(Some(key)),
    }
}

/// Keys of votes that were given.
fn given_vote_keys(given: &str) -> Result<Vec<VerifyingKey>, Failure> {
    let keys = given_keys("--vote-key", given)?;
    match keys.iter().find(|key| !key.name().ends_with("/votes")) {
        Some(other) => Err(Failure::usage(format!(
            "`--vote-key` is the key of the log, `{}`, and not that of its votes",
            other.name()
        ))
        .next("give it with `--key`; `countersign log key --votes` prints that of the votes")),
        None => Ok(keys),
    }
}

fn verify_files(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    named::record(&args.path)?;
    let given = given_key(args)?;
    let mut votes = Vec::new();
    for given in &args.vote_keys {
        votes.extend(given_vote_keys(given)?);
    }
    let votes = (!votes.is_empty()).then_some(votes);
    if let Some(receipt) = receipt::read(&args.path)? {
        return receipt::verify(&receipt, given, votes, output);
    }
    let folder = folder(&args.path);
    let log_key = match given {
        Some(key) => key,
        None => {
            let path = folder.join("key.pub");
            let keys = kept_beside(&path)?.ok_or_else(|| missing(&path))?;
            one(keys, &path.display().to_string())?
        }
    };
    let votes = match votes {
        Some(votes) => Some(votes),
        None => kept_beside(&folder.join("vote-key.pub"))?,
    };
    let checkpoint = read(&folder.join("checkpoint"))?;
    if args.key.is_some() {
        check_same_log(&checkpoint, &log_key)?;
    }
    let rotations = rotations_from(&folder, &log_key)?;
    let newest = rotations.last().map_or(&log_key, |last| &last.to).clone();
    let mut others = Vec::new();
    let mut earlier = Vec::new();
    for path in &args.others {
        let bytes = kept_checkpoint(path, &log_key)?;
        let open = |rotation: &Rotation| Checkpoint::open(&bytes, &rotation.from).ok();
        match rotations.iter().find_map(open) {
            Some(opened) => earlier.push(opened),
            None => others.push(bytes),
        }
    }
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let kept = Kept {
        log_key: args.key.is_some(),
        vote_keys: votes.as_ref().map(|_| !args.vote_keys.is_empty()),
        checkpoint: !args.others.is_empty(),
    };
    let trust = Trust { log: newest, votes };
    let mut verifier = Verifier::new(trust, &checkpoint, &others);
    for opened in &earlier {
        verifier = verifier.with_checkpoint(opened);
    }
    for rotation in rotations {
        verifier = verifier.after(rotation);
    }
    // A journal that was copied without keys or tiles holds all the same.
    if let Some(keys) = evidence_keys(&args.path)? {
        let later = former::erased_later(&folder)?;
        verifier = verifier.with_keys(keys).with_erased(later);
    }
    if folder.join("tile").is_dir() {
        verifier = verifier.with_tiles(move |name| read(&folder.join(name.to_string())).ok());
    }
    parallel::verify(&journal(&args.path), parallel::PIECE, &mut verifier)?;
    print(
        &verifier.finish(),
        kept,
        &former::beside(&args.path),
        output,
    )
}

fn missing(path: &Path) -> Failure {
    Failure::usage(format!(
        "there is no key beside the record: `{}` does not exist",
        path.display()
    ))
    .next("name the gateway's data directory, or give the key with `--key`")
}

/// Prints what was found, one line each.
pub(super) fn print_findings(report: &Report, output: &mut Output) -> Result<(), Failure> {
    for finding in &report.findings {
        output.result(&finding_json(finding), |_, paint| {
            finding_line(finding, paint)
        })?;
    }
    Ok(())
}

fn print(
    report: &Report,
    kept: Kept,
    formers: &[PathBuf],
    output: &mut Output,
) -> Result<u8, Failure> {
    print_findings(report, output)?;
    let mut json = summary_json(report, kept);
    if let Some(fields) = json.as_object_mut().filter(|_| !formers.is_empty()) {
        fields.insert("former_logs".into(), json!(formers));
    }
    output.result(&json, |_, paint| {
        let former = |path: &PathBuf| {
            let path = shown(&path.display().to_string());
            format!("\nA former log is kept: countersign log verify {path}")
        };
        let formers: String = formers.iter().map(former).collect();
        summary(report, kept, paint) + &formers
    })?;
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

fn summary_json(report: &Report, kept: Kept) -> Value {
    let limits = not_proven(report, kept);
    let limits: Vec<_> = limits.iter().map(|limit| limit.join(" ")).collect();
    json!({
        "verified": report.passed(),
        "entries": report.entries,
        "requests": report.requests,
        "integrity": report.holds(Area::Integrity),
        "completeness": report.holds(Area::Completeness),
        "rules": report.holds(Area::Rules),
        "unlisted_failures": report.unlisted_failures,
        "given": {
            "key": kept.log_key,
            "vote_key": kept.vote_keys == Some(true),
            "checkpoint": kept.checkpoint,
        },
        "not_proven": limits,
    })
}

/// The two verdicts: whether the record can be believed, and whether what it says kept the rules.
/// Where it holds, also what that does not show.
fn summary(report: &Report, kept: Kept, paint: Paint) -> String {
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
        more => format!(
            "\n{} not listed.",
            counted(more, "more failure is", "more failures are")
        ),
    };
    let limits: String = not_proven(report, kept)
        .iter()
        .filter(|_| whole)
        .map(|[what, why, give]| {
            let title = paint.yellow("Not proven:");
            format!("\n{title} {what}\n  {why}\n  {give}")
        })
        .collect();
    format!(
        "{}, {}{unlisted}\n{record}\n{rules}{limits}",
        counted(report.entries, "entry", "entries"),
        counted(report.requests, "request", "requests")
    )
}

/// What even a record that holds does not show: what, why, and what would show it.
fn not_proven(report: &Report, kept: Kept) -> Vec<[&'static str; 3]> {
    let has = |is: fn(&Problem) -> bool| report.findings.iter().any(|found| is(&found.problem));
    let sealed = has(|problem| matches!(problem, Problem::EvidenceClosed { .. })).then_some([
        "that votes and actions which are sealed kept the rules.",
        "The keys of their evidence are not here.",
        "Verify beside `keys/evidence.keys`, or ask for receipts of single requests.",
    ]);
    let erased = has(|problem| matches!(problem, Problem::EvidenceErased { .. })).then_some([
        "that votes and actions which were erased kept the rules.",
        "Their keys were destroyed, as the log says.",
        "Receipts that were made before still show it.",
    ]);
    let log = match (kept.log_key, kept.checkpoint) {
        (false, false) => Some([
            "that this is the gateway's record.",
            "Key and checkpoint lay beside it and were trusted on sight: another record with its own \
             looks the same.",
            "Give `--key` and `--checkpoint` that were kept elsewhere.",
        ]),
        (false, true) => Some([
            "that the gateway signed what follows the checkpoint you gave.",
            "The key lay beside the record and was trusted on sight.",
            "Give a `--key` that was kept elsewhere.",
        ]),
        (true, false) => Some([
            "that this is the newest record, and the only one.",
            "An older copy, or another record by whoever has the gateway's key, looks the same.",
            "Give a `--checkpoint` that was kept elsewhere.",
        ]),
        (true, true) => None,
    };
    let votes = (kept.vote_keys == Some(false)).then_some([
        "that people's votes were signed by the gateway.",
        "The key of votes lay beside the record and was trusted on sight.",
        "Give a `--vote-key` that was kept elsewhere.",
    ]);
    [log, votes, sealed, erased].into_iter().flatten().collect()
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
