//! `countersign log verify URL`: whether a log that is published holds, from what it publishes to
//! everybody.
//!
//! In scope: the signed checkpoint, every tile of hashes, checkpoints that were kept earlier.
//! Out of scope: what the entries say, which is for auditors: they verify a copy of the files.
//! Invariant: nothing is believed that the log's key did not sign. Without a key that was given, that
//! is said.
//! Specification: <https://c2sp.org/tlog-tiles>; the address is the prefix, or a gateway's, whose
//! prefix is `/v1/log`.

use std::path::{Path, PathBuf};

use countersign_core::count::counted;
use countersign_evidence::{
    checkpoint::Checkpoint,
    key::VerifyingKey,
    merkle::proof::{consistency, verify_consistency},
    tile::{Kind, Name, TileCheck, all_of, subtrees_of},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Url;
use serde_json::json;

use super::keys::{kept_checkpoint, other_log};
use crate::cli::{
    answer::whole,
    client::{At, Client},
    failure::{Failure, GENERAL},
    output::Output,
    text::Paint,
};

/// The most bytes of a tile of hashes.
const MAX_TILE: u64 = 8_192;
/// Tiles fetched at once.
const AT_ONCE: usize = 8;
/// How many tiles are fetched between two signs of life.
const SIGN_OF_LIFE: u64 = 1_000;

/// A published log.
struct Published {
    client: Client,
}

/// What is verified against.
pub(super) struct Given<'a> {
    /// The log's key, unless it is to be taken from the log itself.
    pub(super) key: Option<VerifyingKey>,
    /// Checkpoints that were kept earlier.
    pub(super) kept: &'a [PathBuf],
    /// The certificate of the authority that vouches for the address.
    pub(super) ca: Option<&'a Path>,
}

/// The address, when that is what was given instead of a path.
pub(super) fn address(given: &Path) -> Option<Url> {
    let text = given.to_str()?;
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    is_address.then(|| text.parse().ok()).flatten()
}

/// Verifies a published log and prints what was found.
///
/// # Errors
/// The log can't be reached, or a kept checkpoint is none of this log.
pub(super) async fn verify(
    mut url: Url,
    given: Given<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    if let Some(base) = url.path().trim_end_matches('/').strip_suffix("/v1/log") {
        let base = base.to_owned();
        url.set_path(&base);
    }
    let log = Published {
        client: Client::anonymous(&url, given.ca)?,
    };
    let key = match &given.key {
        Some(key) => key.clone(),
        None => log.key().await.map_err(|failure| not_one(failure, &url))?,
    };
    let text = log.client.text(At::new(&["log", "checkpoint"])).await;
    let text = text.map_err(|failure| not_one(failure, &url))?;
    if Checkpoint::peek(text.as_bytes()).is_err() {
        return Err(no_log(&url, "what it gives as its checkpoint is none"));
    }
    let mut failures = Vec::new();
    let mut continued = Vec::new();
    let entries = match Checkpoint::open(text.as_bytes(), &key) {
        Err(error) => {
            // Another log at the address is a finding, whatever it says of itself.
            failures.push(match other_log(text.as_bytes(), &key) {
                Some((title, next)) => format!("the checkpoint was refused: {title}; {next}"),
                None => format!("the checkpoint was refused: {error}"),
            });
            None
        }
        Ok(checkpoint) => {
            if let Err(why) = log.tiles(&checkpoint, output).await? {
                failures.push(why);
            }
            for path in given.kept {
                let bytes = kept_checkpoint(path, &key)?;
                match log.continues(&bytes, &key, &checkpoint).await? {
                    Ok(size) => continued.push(size),
                    Err(why) => failures.push(format!("`{}`: {why}", path.display())),
                }
            }
            Some(checkpoint.size)
        }
    };
    let found = Found {
        entries,
        continued,
        failures,
        key_given: given.key.is_some(),
    };
    found.print(output)
}

/// Says what an address is that answers, and has no log.
fn not_one(failure: Failure, url: &Url) -> Failure {
    match failure.http {
        Some(status @ (400..=407 | 410..=428 | 501)) => {
            no_log(url, &format!("it answered with status {status}"))
        }
        _ => failure,
    }
}

fn no_log(url: &Url, why: &str) -> Failure {
    Failure::usage(format!("there is no published log at `{url}`: {why}")).next(
        "give the address of a gateway, or that of the log it publishes, which ends in /v1/log",
    )
}

impl Published {
    async fn key(&self) -> Result<VerifyingKey, Failure> {
        let text = self.client.text(At::new(&["log", "key"])).await?;
        text.trim().parse().map_err(|_| {
            Failure::usage("the log's own key can't be read: what came is no verifier key")
                .next("give the one you kept with `--key`")
        })
    }

    async fn fetch(&self, name: Name) -> Result<(Name, Vec<u8>), Failure> {
        let path = name.to_string();
        let mut segments = vec!["log"];
        segments.extend(path.split('/'));
        let answer = self.client.answer(&At::new(&segments)).await?;
        // Told before anything is read; what is longer all the same breaks off elsewhere.
        if answer
            .content_length()
            .is_some_and(|length| length > MAX_TILE)
        {
            return Err(Failure::new(
                "log",
                format!("`{name}` is too long for a tile"),
            ));
        }
        Ok((name, whole(answer).await?))
    }

    /// Whether every tile of hashes leads to the checkpoint's root.
    async fn tiles(
        &self,
        checkpoint: &Checkpoint,
        output: &mut Output,
    ) -> Result<Result<(), String>, Failure> {
        let of_hashes = |name: &Name| matches!(name.kind(), Kind::Hashes(_));
        let names = all_of(checkpoint.size).filter(of_hashes);
        let mut fetched = stream::iter(names)
            .map(|name| self.fetch(name))
            .buffered(AT_ONCE);
        let (mut check, mut count) = (TileCheck::default(), 0_u64);
        while let Some((name, bytes)) = fetched.try_next().await? {
            if let Err(error) = check.take(name, &bytes) {
                return Ok(Err(error.to_string()));
            }
            count += 1;
            if count.is_multiple_of(SIGN_OF_LIFE) {
                output.note(counted(count, "tile", "tiles"));
            }
        }
        Ok(match check.root(checkpoint.size) == checkpoint.root {
            true => Ok(()),
            false => Err("the tiles don't lead to the root that the checkpoint signs".into()),
        })
    }

    /// Whether the log of `newer` begins with that of a checkpoint that was kept.
    async fn continues(
        &self,
        kept: &[u8],
        key: &VerifyingKey,
        newer: &Checkpoint,
    ) -> Result<Result<u64, String>, Failure> {
        let kept = match Checkpoint::open(kept, key) {
            Ok(kept) => kept,
            Err(error) => return Ok(Err(format!("the checkpoint was refused: {error}"))),
        };
        if kept.size > newer.size {
            return Ok(Err(format!(
                "the log has {}, and the checkpoint {}: entries were cut off",
                counted(newer.size, "entry", "entries"),
                kept.size
            )));
        }
        let names = wanted(kept.size, newer.size);
        let fetched: Vec<(Name, Vec<u8>)> = stream::iter(names)
            .map(|name| self.fetch(name))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let read = |wanted: Name| {
            let found = fetched.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, bytes)| bytes.clone())
        };
        let proof = consistency(kept.size, newer.size, &subtrees_of(newer.size, read));
        let held = proof.map_err(|error| error.to_string()).and_then(|proof| {
            verify_consistency(kept.size, kept.root, newer.size, newer.root, &proof).map_err(|_| {
                "the log does not begin with what this checkpoint was signed over".into()
            })
        });
        Ok(held.map(|()| kept.size))
    }
}

/// The tiles that a proof of consistency is made of.
fn wanted(old: u64, new: u64) -> Vec<Name> {
    let names = std::cell::RefCell::new(Vec::new());
    let note = |name: Name| {
        let mut names = names.borrow_mut();
        if !names.contains(&name) {
            names.push(name);
        }
        // Any bytes of the right width do: only the names are of interest.
        Some(vec![0; usize::from(name.width()) * 32])
    };
    let _only_names = consistency(old, new, &subtrees_of(new, note));
    names.into_inner()
}

/// What was found.
struct Found {
    entries: Option<u64>,
    continued: Vec<u64>,
    failures: Vec<String>,
    key_given: bool,
}

impl Found {
    fn print(&self, output: &mut Output) -> Result<u8, Failure> {
        let verified = self.failures.is_empty();
        let summary = json!({
            "verified": verified,
            "entries": self.entries,
            "continues": self.continued,
            "failures": self.failures,
            "given": { "key": self.key_given },
        });
        output.result(&summary, |_, paint| self.text(paint))?;
        Ok(if verified { 0 } else { GENERAL })
    }

    fn text(&self, paint: Paint) -> String {
        let mut lines: Vec<_> = self
            .failures
            .iter()
            .map(|why| format!("{}: {why}", paint.red("failure")))
            .collect();
        if self.failures.is_empty() {
            let entries = counted(self.entries.unwrap_or(0), "entry", "entries");
            let holds = "The published log holds: its tiles lead to the root that was signed.";
            lines.push(format!("{entries}\n{}", paint.green(holds)));
        }
        for size in &self.continued {
            let text = format!(
                "It continues the checkpoint of {} that you kept.",
                counted(*size, "entry", "entries")
            );
            lines.push(paint.green(&text));
        }
        let title = paint.yellow("Not proven:");
        if !self.key_given {
            lines.push(format!(
                "{title} that this is the gateway's log.\n  The key came from the same address. \
                 Give a `--key` that was kept elsewhere."
            ));
        }
        if self.continued.is_empty() {
            lines.push(format!(
                "{title} that nothing older was rewritten.\n  Give a `--checkpoint` that was kept \
                 elsewhere."
            ));
        }
        lines.push(format!(
            "{title} what the entries say, and that the rules were kept.\n  Verify a copy of the \
             gateway's data directory."
        ));
        lines.join("\n")
    }
}
