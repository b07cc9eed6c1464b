//! Receipts in `countersign log`: making one for a request, and verifying one without the log.
//!
//! In scope: finding a request's entries in the journal, the file, what it can show.
//! Out of scope: proofs and rules, which are the evidence crate's.
//! Invariant: a receipt that would not hold is never written. Without a key that the auditor gives
//! nothing is said about a receipt: it holds none of its own.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use countersign_core::{
    count::counted,
    id::{CredentialId, RequestId},
};
use countersign_evidence::{
    body::Body,
    checkpoint::Checkpoint,
    evidence::{
        Evidence,
        sealing::{KeySource, NoKeys},
    },
    frame::{Frame, Step},
    key::VerifyingKey,
    leaf::Leaf,
    receipt::Receipt,
    tile,
    verify::{Area, Report, Severity, Trust, verify_receipt},
};
use serde_json::{Value, json};

use super::{
    PIECE, folder, journal,
    keys::{check_same_log, evidence_keys, kept_beside, one},
    named, steps, unreadable,
    verify::print_findings,
};
use crate::cli::{
    failure::{Failure, GENERAL},
    output::Output,
    text::Paint,
};

const EXAMPLES: &str = "\
Examples:
  countersign log prove req_01j9… data > req_01j9….receipt
  countersign log prove req_01j9… data --without-evidence --output req_01j9….receipt

The receipt shows request, decision, votes, permit and outcome in the log, to whoever has the log's
key: `countersign log verify req_01j9….receipt --key KEY`. It holds what was asked and who decided;
with --without-evidence it holds only digests and pseudonyms of it.";

/// How a receipt begins.
pub(super) const FIRST_LINE: &[u8] = b"c2sp.org/tlog-proof@v1\n";
/// The most bytes of a receipt that are read: a request with very many entries, evidence included.
const MAX_BYTES: u64 = 256 << 20;

/// Arguments of `countersign log prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The request
    #[arg(value_name = "REQUEST")]
    request: RequestId,
    /// The gateway's data directory, or its `log` directory
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Write to a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave out what was asked, by whom and why
    #[arg(long)]
    without_evidence: bool,
}

/// Place, leaf, evidence.
type Entry = (u64, String, Option<String>);

/// What a journal has of a request.
#[derive(Default)]
struct Found {
    /// Entries below the checkpoint.
    covered: Vec<Entry>,
    /// How many are not below it yet.
    newer: u64,
}

/// Makes a receipt.
///
/// # Errors
/// The log has nothing of the request under a signed checkpoint, can't be read, or does not hold.
pub(super) fn prove(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    named::record(&args.path)?;
    let folder = folder(&args.path);
    let key = folder.join("key.pub");
    let none = || unreadable(&key, &ErrorKind::NotFound.into());
    let log = one(
        kept_beside(&key)?.ok_or_else(none)?,
        &key.display().to_string(),
    )?;
    let text = folder.join("checkpoint");
    let text = String::from_utf8_lossy(&named::read(&text)?).into_owned();
    let checkpoint = Checkpoint::open(text.as_bytes(), &log)
        .map_err(|error| damaged(format!("the log's checkpoint does not hold: {error}")))?;
    let found = entries(args, checkpoint.size)?;
    if found.covered.is_empty() {
        return Err(nothing(&args.request, found.newer));
    }
    let read = |name: tile::Name| named::read(&folder.join(name.to_string())).ok();
    let receipt = Receipt::prove(
        args.request.clone(),
        found.covered,
        (text, checkpoint.size),
        &tile::subtrees_of(checkpoint.size, read),
    )
    .map_err(|error| damaged(format!("the log's tiles can't prove it: {error}")))?;
    let trust = Trust {
        log,
        votes: kept_beside(&folder.join("vote-key.pub"))?,
    };
    if !verify_receipt(&receipt, &trust).holds(Area::Integrity) {
        return Err(damaged("the log's tiles do not fit its journal".into()));
    }
    let text = receipt.to_text().unwrap_or_default();
    write(args, &text, output)?;
    if found.newer > 0 {
        output.note(format!(
            "{} under no signed checkpoint yet; make the receipt again in a moment to have it whole",
            counted(found.newer, "newer entry is", "newer entries are")
        ));
    }
    output.note(format!(
        "{} of {}, proven under a checkpoint of {}",
        counted(receipt.entries.len(), "entry", "entries"),
        args.request,
        counted(checkpoint.size, "entry", "entries")
    ));
    Ok(0)
}

fn damaged(what: String) -> Failure {
    Failure::new("log", what).next("see what is wrong: countersign log verify DIR")
}

fn nothing(request: &RequestId, newer: u64) -> Failure {
    match newer {
        0 => Failure::new(
            "no_such_request",
            format!("the log has nothing of {request}"),
        )
        .next("see what it has: countersign log list DIR"),
        _ => Failure::new(
            "too_new",
            format!("what the log has of {request} is under no signed checkpoint yet"),
        )
        .next("a running gateway signs one every second; try again"),
    }
}

/// Reads what the journal has of the request, and of the passkeys that voted on it.
fn entries(args: &Args, size: u64) -> Result<Found, Failure> {
    let (mut found, mut index) = (Found::default(), 0_u64);
    let mut passkeys = Passkeys::default();
    let keys = evidence_keys(&args.path)?.unwrap_or_else(|| Arc::new(NoKeys));
    steps(&journal(&args.path), PIECE, |step| {
        let frame = match step {
            Step::Frame(frame) => frame,
            Step::Corrupt(corrupt) => return Err(damaged(corrupt.to_string())),
            // The beginning of a record that is being written.
            Step::End | Step::Incomplete { .. } => return Ok(()),
        };
        let place = index;
        index += 1;
        let leaf = Leaf::parse(frame.leaf).map_err(|error| damaged(error.to_string()))?;
        if leaf.request.is_some_and(|of| of.id == args.request) {
            if let Body::ApprovalDecided(vote) = &leaf.body {
                passkeys.voted.insert(vote.credential.clone());
            }
            match place < size {
                true => found
                    .covered
                    .push(entry(place, frame, args, keys.as_ref())?),
                false => found.newer += 1,
            }
        } else if let Some(credential) = of_passkey(&leaf.body) {
            let entry = entry(place, frame, args, keys.as_ref())?;
            passkeys.entries.push((credential.clone(), entry));
        }
        Ok(())
    })?;
    let last = found.covered.last().map_or(0, |(place, ..)| *place);
    let Passkeys { voted, entries } = passkeys;
    let beside = entries
        .into_iter()
        .filter(|(credential, (place, ..))| voted.contains(credential) && *place < last)
        .map(|(_, entry)| entry);
    found.covered.extend(beside);
    found.covered.sort_by_key(|(place, ..)| *place);
    Ok(found)
}

/// Enrolments and revocations of passkeys, and which credentials voted.
#[derive(Default)]
struct Passkeys {
    voted: BTreeSet<CredentialId>,
    entries: Vec<(CredentialId, Entry)>,
}

fn of_passkey(body: &Body) -> Option<&CredentialId> {
    match body {
        Body::CredentialIssued(issued) if issued.passkey.is_some() => Some(&issued.credential),
        Body::CredentialRevoked(revoked) => Some(&revoked.credential),
        _ => None,
    }
}

fn entry(
    place: u64,
    frame: Frame<'_>,
    args: &Args,
    keys: &dyn KeySource,
) -> Result<Entry, Failure> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| damaged(format!("entry {place} of the journal is not text")))
    };
    let evidence = (!args.without_evidence && !frame.evidence.is_empty())
        .then(|| {
            let evidence = Evidence::parse(frame.evidence);
            let disclosed = evidence.and_then(|evidence| evidence.disclosed(keys));
            let disclosed = disclosed
                .map_err(|error| damaged(format!("entry {place} of the journal: {error}")))?;
            text(&disclosed.to_bytes())
        })
        .transpose()?;
    Ok((place, text(frame.leaf)?, evidence))
}

fn write(args: &Args, text: &str, output: &mut Output) -> Result<(), Failure> {
    let Some(path) = &args.output else {
        if output.is_json() {
            return output.result(&json!({ "receipt": text }), |_, _| String::new());
        }
        return Ok(output.bytes(text.as_bytes())?);
    };
    let failed = |error: std::io::Error| {
        Failure::usage(format!("`{}` can't be written: {error}", path.display()))
            .next("name a file that does not exist yet")
    };
    // What was asked, and by whom, is for whoever is given the file.
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// The receipt in a file; `None` for anything else.
///
/// # Errors
/// It begins like a receipt and is none.
pub(super) fn read(path: &Path) -> Result<Option<Receipt>, Failure> {
    if !path.is_file() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| unreadable(path, &error);
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?;
    let first = u64::try_from(FIRST_LINE.len()).unwrap_or(u64::MAX);
    (&mut file)
        .take(first)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes != FIRST_LINE {
        return Ok(None);
    }
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let refused = |why: String| {
        Failure::new(
            "receipt",
            format!(
                "`{}` begins like a receipt and is none: {why}",
                path.display()
            ),
        )
        .next("it was changed or cut off; have it made again: countersign log prove")
    };
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not text".into()))?;
    let receipt = Receipt::parse(&text).map_err(|error| refused(error.to_string()))?;
    Ok(Some(receipt))
}

/// Verifies a receipt and prints what was found.
///
/// # Errors
/// There is no key to verify it with.
pub(super) fn verify(
    receipt: &Receipt,
    log: Option<VerifyingKey>,
    votes: Option<Vec<VerifyingKey>>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let log = log.ok_or_else(|| {
        Failure::usage("a receipt is verified with the key of its log").next(
            "give `--key` what `countersign log key` prints, from somebody other than whoever gave \
             you the receipt",
        )
    })?;
    check_same_log(receipt.checkpoint.as_bytes(), &log)?;
    let has_key = votes.is_some();
    let report = verify_receipt(receipt, &Trust { log, votes });
    let unchecked = unchecked(receipt, &report, has_key);
    print_findings(&report, output)?;
    output.result(&summary_json(receipt, &report, &unchecked), |_, paint| {
        summary(receipt, &report, &unchecked, paint)
    })?;
    Ok(if report.passed() { 0 } else { GENERAL })
}

/// Votes whose signatures nothing was compared with.
#[derive(Debug, PartialEq, Eq)]
struct Unchecked {
    votes: usize,
    /// Why.
    why: &'static str,
}

fn unchecked(receipt: &Receipt, report: &Report, has_key: bool) -> Unchecked {
    let is_vote = |leaf: &str| {
        Leaf::parse(leaf.as_bytes()).is_ok_and(|leaf| matches!(leaf.body, Body::ApprovalDecided(_)))
    };
    let votes = receipt.entries.iter().filter(|entry| is_vote(&entry.leaf));
    // What could not be opened is a note, and nothing that failed.
    let noted = |index| {
        let mut findings = report.findings.iter();
        findings.any(|one| one.entry == Some(index) && one.problem.severity() == Severity::Note)
    };
    match has_key {
        false => Unchecked {
            votes: votes.count(),
            why: "Give `--vote-key` what `countersign log key --votes` prints.",
        },
        true => Unchecked {
            votes: votes
                .filter(|entry| entry.evidence.is_none() || noted(entry.index))
                .count(),
            why: "Their evidence is not in the receipt; have one made with it, if it is still there.",
        },
    }
}

fn summary_json(receipt: &Receipt, report: &Report, unchecked: &Unchecked) -> Value {
    json!({
        "verified": report.passed(),
        "request": receipt.request,
        "entries": report.entries,
        "integrity": report.holds(Area::Integrity),
        "completeness": report.holds(Area::Completeness),
        "rules": report.holds(Area::Rules),
        "votes_checked": unchecked.votes == 0,
        "unlisted_failures": report.unlisted_failures,
    })
}

fn summary(receipt: &Receipt, report: &Report, unchecked: &Unchecked, paint: Paint) -> String {
    let whole = report.holds(Area::Integrity) && report.holds(Area::Completeness);
    let record = match whole {
        true => paint.green("The receipt holds: all of it is in the log, as it was recorded."),
        false => paint.red("The receipt does not hold: it was changed or cut off."),
    };
    let rules = match report.holds(Area::Rules) {
        true if unchecked.votes > 0 => format!(
            "{}\n{} {} of its votes: whether the people named signed them.\n  {}",
            paint.green("The rules were kept, if the votes are what it says."),
            paint.yellow("Not checked:"),
            unchecked.votes,
            unchecked.why
        ),
        true => paint.green("The rules were kept in everything it shows."),
        false => paint.red("The rules were broken."),
    };
    format!(
        "{} of {}\n{record}\n{rules}\n{} what came after its last entry, if anything did.\n  \
         Have a newer receipt made, or verify the whole log.",
        counted(report.entries, "entry", "entries"),
        receipt.request,
        paint.yellow("Not shown:")
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::{
        log::testing::{data, signer},
        output::capture::captured,
    };

    #[test]
    fn what_begins_like_a_receipt_is_one_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for (text, refused) in [
            ("c2sp.org/tlog-proof@v1\nindex 0\n", true),
            ("c2sp.org/tlog-proof@v2\n", false),
            ("", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).is_err(), refused, "{text}");
        }
        assert_eq!(read(folder.path()), Ok(None));
    }

    #[test]
    fn without_a_key_nothing_is_said() {
        let receipt = Receipt {
            request: RequestId::from_bits(1),
            entries: Vec::new(),
            checkpoint: String::new(),
        };
        let (mut output, out, _) = captured(false, false);
        let failure = verify(&receipt, None, None, &mut output).unwrap_err();
        assert!(
            failure.title.contains("with the key of its log"),
            "{failure}"
        );
        assert_eq!(out.text(), "");
        let key = signer(7).verifying().clone();
        assert_eq!(verify(&receipt, Some(key), None, &mut output), Ok(GENERAL));
    }

    #[test]
    fn what_the_log_does_not_have_is_not_proven() {
        let data = data(&[]);
        let args = Args {
            request: RequestId::from_bits(1),
            path: data.path().to_owned(),
            output: None,
            without_evidence: false,
        };
        let (mut output, out, _) = captured(false, false);
        let failure = prove(&args, &mut output).unwrap_err();
        assert_eq!(failure.kind, "no_such_request");
        assert_eq!(out.text(), "");
    }
}
