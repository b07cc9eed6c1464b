//! `countersign log`: whether a record holds, without asking whoever wrote it.
//!
//! In scope: reading journal, checkpoint and keys from disk, one frame at a time, and printing
//! what the verifier found; fetching a checkpoint or key to keep.
//! Out of scope: the verification itself, which is the evidence crate's.
//! Invariant: the exit status is 0 only when nothing failed.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use countersign_evidence::{
    frame::{Decoder, MAX_EVIDENCE_BYTES, MAX_LEAF_BYTES, OVERHEAD_BYTES, Step},
    key::VerifyingKey,
    verify::{Area, Finding, Report, Severity, Trust, Verifier},
};
use serde_json::{Value, json};

use super::{
    client::{At, Client},
    config::Sources,
    failure::{Failure, GENERAL},
    output::Output,
    text::{Paint, shown},
};

/// How much is read at once; at least one whole frame fits.
const PIECE: usize = MAX_LEAF_BYTES + MAX_EVIDENCE_BYTES + OVERHEAD_BYTES;

const EXAMPLES: &str = "\
Examples:
  countersign log verify data
  countersign log verify data --key gate.example.com+1a2b3c4d+AQ…       # a key you kept yourself
  countersign log verify data --checkpoint last-week.txt --json         # nothing older was rewritten

Keys and checkpoints from the directory itself show that it agrees with itself. Only a key and a
checkpoint that you kept elsewhere show that nobody replaced the whole of it.
Exit status: 0 verified, 1 not verified.";
const CHECKPOINT_EXAMPLES: &str = "\
Example:
  countersign log checkpoint > 2026-03-01.checkpoint    # keep it where the gateway can't write";
const KEY_EXAMPLES: &str = "\
Example:
  countersign log key > gate.example.com.key            # keep it where the gateway can't write";

/// Subcommands of `countersign log`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify a gateway's record from its files; needs no gateway
    Verify(Args),
    /// Print the latest signed checkpoint, to keep
    #[command(after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint,
    /// Print the log's verifier key, to keep
    #[command(after_help = KEY_EXAMPLES)]
    Key,
}

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

/// Runs a subcommand.
///
/// # Errors
/// When the files can't be read, or the gateway can't be reached.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::Verify(args) => verify(args, output),
        Command::Checkpoint => fetch("checkpoint", sources, output).await,
        Command::Key => fetch("key", sources, output).await,
    }
}

async fn fetch(what: &str, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let text = client.text(At::new(&["log", what])).await?;
    if output.is_json() {
        output.result(&json!({ what: text }), |_, _| String::new())?;
    } else {
        // Signatures hold over these very bytes.
        output.bytes(text.as_bytes())?;
    }
    Ok(0)
}

fn verify(args: Args, output: &mut Output) -> Result<u8, Failure> {
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

/// The directory with the log's files.
fn folder(path: &Path) -> PathBuf {
    if path.is_file() {
        return path
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_owned);
    }
    let inside = path.join("log");
    if inside.is_dir() {
        inside
    } else {
        path.to_owned()
    }
}

fn missing(folder: &Path, name: &str, option: &str) -> Failure {
    Failure::usage(format!("`{}` can't be read", folder.join(name).display())).next(format!(
        "name the gateway's data directory, or give the key with `{option}`"
    ))
}

fn key(text: &str) -> Result<VerifyingKey, Failure> {
    text.trim()
        .parse()
        .map_err(|error| Failure::usage(format!("a key can't be used: {error}")))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::usage(format!("`{}` can't be read: {error}", path.display()))
            .next("name the gateway's data directory, its `log` directory or the journal in it")
    })
}

/// Gives every frame of the journal to the verifier, holding at most two pieces in memory.
fn feed(journal: &Path, piece: usize, verifier: &mut Verifier) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("`{}` can't be read: {error}", journal.display()))
    };
    let mut file = File::open(journal).map_err(failed)?;
    let (mut bytes, mut offset) = (Vec::new(), 0_u64);
    let limit = u64::try_from(piece).unwrap_or(u64::MAX);
    loop {
        let read = (&mut file)
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let mut decoder = Decoder::new(&bytes, offset);
        let end = loop {
            match decoder.step() {
                Step::Frame(frame) => verifier.entry(frame),
                end => break end,
            }
        };
        let more_could_follow = matches!(end, Step::Incomplete { .. } | Step::End);
        if read == 0 || !more_could_follow {
            verifier.ended(end);
            return Ok(());
        }
        let used = decoder.offset().saturating_sub(offset);
        offset = decoder.offset();
        bytes.drain(..usize::try_from(used).unwrap_or(usize::MAX).min(bytes.len()));
    }
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
#[path = "log_tests.rs"]
mod tests;
