//! Lines of OCSF JSON in a file, for systems that collect files.
//!
//! In scope: following the record into the file, and noting how far it got.
//! Out of scope: the events ([`event`]) and the file ([`file`](mod@file)).
//! Invariant: the place moves on only when the lines before it are on the disk. So a crash repeats
//! lines and loses none; `metadata.uid`, the record's number, tells repetitions.

mod about;
mod event;
mod file;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use countersign_policy::{TargetKind, deployment::GITHUB_DEPLOY, stream::OcsfFile};
use serde::{Deserialize, Serialize};

use self::{about::Open, event::Around, file::Lines};
use super::{
    Own, Parts, blocking,
    follow::{Before, Entry, Journal, Place},
    keep,
    view::View,
};
use crate::{active::Active, log::End};

/// How long records gather before they are written.
const GATHER: Duration = Duration::from_millis(200);

/// What is kept of the stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The next record.
    next: Place,
    /// The one before it.
    before: Option<Before>,
    /// Where the oldest request began that was open then.
    about_from: Place,
}

/// The stream at work.
struct Tail {
    journal: Journal,
    lines: Lines,
    open: Open,
    state: State,
    path: PathBuf,
    view: View,
    parts: Parts,
}

/// Follows the record until told to stop.
///
/// # Errors
/// Journal or file can't be used; trying again is safe.
pub(super) async fn follow(parts: &Parts, own: &Own, file: &OcsfFile) -> anyhow::Result<()> {
    let mut ends = parts.log.end();
    let mut tail = {
        let (parts, file) = (parts.clone(), file.clone());
        let (name, stream) = (own.name.clone(), own.stream.clone());
        let end = *ends.borrow();
        blocking(move || Tail::open(parts, &name, &file, &stream, end)).await?
    };
    loop {
        let end = *ends.borrow_and_update();
        let stopping = own.stop.is_cancelled();
        let written;
        (tail, written) = blocking(move || {
            let written = tail.step(end)?;
            Ok((tail, written))
        })
        .await?;
        own.status
            .delivered(tail.state.next.index, written.events, parts.clock.now());
        if stopping {
            return Ok(());
        }
        if written.more {
            continue;
        }
        tokio::select! {
            changed = ends.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    () = own.stop.cancelled() => {}
                }
            }
            () = own.stop.cancelled() => {}
        }
    }
}

/// What one step did.
struct Written {
    events: u64,
    /// Whether there was anything to read.
    more: bool,
}

impl Tail {
    fn open(
        parts: Parts,
        name: &str,
        file: &OcsfFile,
        stream: &countersign_policy::Stream,
        end: End,
    ) -> anyhow::Result<Self> {
        let own = keep::directory(&parts.data, name)?;
        let files = own.join("files");
        std::fs::create_dir_all(&files)?;
        let path = files.join(Path::new(&file.path));
        let lines = Lines::open(&path, &own, &parts.data, file.max_bytes, file.keep)?;
        let mut journal = Journal::open(&parts.log_dir, &parts.keys)?;
        let path = own.join("ocsf.json");
        let state = match keep::read::<State>(&path)? {
            Some(state) => state,
            None => {
                let next = super::beginning(stream.start, end);
                let state = State {
                    next,
                    before: None,
                    about_from: next,
                };
                keep::replace(&path, &state)?;
                state
            }
        };
        journal.check(state.next, state.before.as_ref(), end.bytes)?;
        let mut tail = Self {
            open: Open::default(),
            view: View::new(stream.details),
            journal,
            lines,
            state,
            path,
            parts,
        };
        tail.remember()?;
        Ok(tail)
    }

    /// Reads the requests again that were open where the stream goes on.
    fn remember(&mut self) -> anyhow::Result<()> {
        let mut from = self.state.about_from;
        while from < self.state.next {
            let (entries, next) = self.journal.read(from, self.state.next.offset)?;
            for entry in &entries {
                self.open.begin(entry);
                self.open.end(entry);
            }
            from = next;
        }
        Ok(())
    }

    /// Writes what has become durable, some MiB at the most.
    fn step(&mut self, end: End) -> anyhow::Result<Written> {
        let (entries, next) = self.journal.read(self.state.next, end.bytes)?;
        let Some(last) = entries.last() else {
            return Ok(Written {
                events: 0,
                more: false,
            });
        };
        let before = Some(Before::of(last));
        let (bytes, events) = self.events(&entries)?;
        if events > 0 {
            self.lines.append(&bytes)?;
        }
        // A crash here repeats these lines.
        self.state = State {
            next,
            before,
            about_from: self.open.oldest().unwrap_or(next),
        };
        keep::replace(&self.path, &self.state)?;
        Ok(Written { events, more: true })
    }

    fn events(&mut self, entries: &[Entry]) -> anyhow::Result<(Vec<u8>, u64)> {
        let active = self.parts.active.borrow().clone();
        let names = &self.parts.keys.pseudonyms;
        self.view.refresh(&active.directory, names);
        let groups = groups(&active);
        let (mut bytes, mut events) = (Vec::new(), 0);
        for entry in entries {
            self.open.begin(entry);
            let around = Around {
                origin: self.parts.keys.log.verifying().name(),
                view: &self.view,
                groups: &groups,
                about: self.open.of(entry),
            };
            if let Some(event) = event::event(entry, &around) {
                serde_json::to_writer(&mut bytes, &event)?;
                bytes.push(b'\n');
                events += 1;
            }
            self.open.end(entry);
        }
        Ok((bytes, events))
    }
}

/// The shared group of every action that a target names.
fn groups(active: &Active) -> BTreeMap<String, String> {
    let targets = active.bundle.targets().values();
    let commands = targets.flat_map(|target| match &target.kind {
        TargetKind::Exec(exec) => exec.commands.as_slice(),
        TargetKind::Deployment => &[],
    });
    let named = commands.map(|command| (command.action.to_string(), command.group.clone()));
    let deploys = (GITHUB_DEPLOY.to_owned(), "execute".to_owned());
    named.chain([deploys]).collect()
}
