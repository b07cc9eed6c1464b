//! The connection behind a run: opened, followed, and taken up again while the action is held.
//!
//! In scope: the stream of events, signals, breaks.
//! Out of scope: what events mean ([`watch`](super::watch)).
//! Invariant: the action is asked for again only after the gateway said that it is still held or
//! approved, so a break never runs it twice.

use std::time::Duration;

use countersign_core::id::RequestId;
use reqwest::Response;
use tokio::time::Instant;

use super::{
    local::{self, Here, Permitted},
    watch::{Phase, Watch},
};
use crate::{
    api::types::{RequestDetail, RunEvent, RunRequest},
    cli::{
        answer::chain,
        client::{At, Client, NO_ANSWER, UNREACHABLE},
        clock::now,
        failure::{Failure, REFUSED, UNKNOWN},
        lines::Lines,
        output::Output,
        signals::Signals,
    },
};

/// Asks for the action and follows it to its end; gives the command's exit status. `pauses` are
/// those before a wait is taken up again after its connection broke. With `here` the command runs
/// on this machine, once the gateway permits it.
pub(super) async fn follow(
    client: &Client,
    mut request: RunRequest,
    here: Option<Here>,
    pauses: &[Duration],
    signals: &mut Signals,
    output: &mut Output,
) -> Result<u8, Failure> {
    let wait = Duration::from_millis(request.wait_ms);
    let end = Instant::now().checked_add(wait);
    let mut watch = Watch::new();
    let mut pauses = pauses.iter();
    loop {
        let broken = tokio::select! {
            ended = attend(client, &request, &mut watch, output) => match ended? {
                Ended::Exited(status) => return Ok(status),
                Ended::Permitted(permitted) => {
                    let Some(here) = here else {
                        return Err(watch.broken("it permits what was not asked for"));
                    };
                    return local::run(client, here, *permitted, signals, output).await;
                }
                Ended::Broken(why) => why,
            },
            status = signals.next() => return Err(watch.interrupted(status)),
        };
        let Phase::Held(held) = watch.phase().clone() else {
            return Err(watch.broken(&broken));
        };
        tokio::select! {
            taken_up = take_up(client, &held, &mut pauses) => match taken_up {
                Some(state) => check(&held, &state)?,
                None => return Err(watch.broken(&broken)),
            },
            status = signals.next() => return Err(watch.interrupted(status)),
        }
        let left = end.map_or(wait, |end| end.saturating_duration_since(Instant::now()));
        request.wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    }
}

enum Ended {
    Exited(u8),
    Permitted(Box<Permitted>),
    Broken(String),
}

/// The events of a run, one after the other.
pub(super) struct Events {
    stream: Response,
    lines: Lines,
}

impl Events {
    /// The next event; nothing at the end.
    ///
    /// # Errors
    /// Why the connection broke, or what was not understood.
    pub(super) async fn next(&mut self) -> Result<Option<RunEvent>, EventError> {
        loop {
            while let Some(line) = self.lines.next_line() {
                if line.is_empty() {
                    continue;
                }
                return serde_json::from_str(&line).map(Some).map_err(|error| {
                    EventError::Strange(format!("an event is not understood: {error}"))
                });
            }
            match self.stream.chunk().await {
                Ok(Some(bytes)) => self
                    .lines
                    .push(&bytes)
                    .map_err(|error| EventError::Strange(error.to_string()))?,
                Ok(None) => return Ok(None),
                Err(error) => return Err(EventError::Broken(chain(&error))),
            }
        }
    }
}

/// Why there are no more events.
pub(super) enum EventError {
    /// The connection broke.
    Broken(String),
    /// The gateway says something else than it should.
    Strange(String),
}

async fn attend(
    client: &Client,
    request: &RunRequest,
    watch: &mut Watch,
    output: &mut Output,
) -> Result<Ended, Failure> {
    let opened = client
        .stream_of_write(At::new(&["run"]), request, request.trace)
        .await;
    let stream = match opened {
        Ok(stream) => stream,
        // Of what was sent nobody knows what it did; of what was not sent one knows only on the first try.
        Err(failure)
            if failure.kind == NO_ANSWER
                || (failure.kind == UNREACHABLE && *watch.phase() != Phase::Asked) =>
        {
            return Ok(Ended::Broken(failure.title));
        }
        Err(failure) => return Err(failure),
    };
    let lines = Lines::default();
    let mut events = Events { stream, lines };
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Ended::Broken("the gateway closed it".into())),
            Err(EventError::Broken(why)) => return Ok(Ended::Broken(why)),
            Err(EventError::Strange(what)) => return Err(watch.broken(&what)),
        };
        if let (RunEvent::Refused { code, .. }, Phase::Held(_)) = (&event, watch.phase())
            && code == "unauthenticated"
            && client.renew().await
        {
            return Ok(Ended::Broken("its token ended".into()));
        }
        let permitted = match &event {
            RunEvent::Permitted {
                request, permit, ..
            } => Some((request.clone(), permit.clone())),
            _ => None,
        };
        if let Some(status) = watch.event(event, now(), output)? {
            return Ok(Ended::Exited(status));
        }
        if let Some((request, permit)) = permitted {
            return Ok(Ended::Permitted(Box::new(Permitted {
                request,
                permit,
                events,
            })));
        }
    }
}

/// Asks for the state of a held request until the gateway answers; nothing when it stays away.
async fn take_up<'p>(
    client: &Client,
    request: &RequestId,
    pauses: &mut impl Iterator<Item = &'p Duration>,
) -> Option<String> {
    for pause in pauses {
        tokio::time::sleep(*pause).await;
        let detail = client
            .get::<RequestDetail>(At::new(&["requests", request.as_str()]))
            .await;
        match detail {
            Ok(detail) => return Some(detail.line.state),
            Err(failure) if failure.http.is_some_and(|status| status < 500) => return None,
            Err(_) => {}
        }
    }
    None
}

/// Passes when asking again attaches to the request instead of asking anew.
fn check(request: &RequestId, state: &str) -> Result<(), Failure> {
    let (kind, title, exit) = match state {
        "held" | "approved" => return Ok(()),
        "running" | "succeeded" | "failed" | "unknown" => (
            "broken",
            format!("{request} started while the connection was broken and is now {state}"),
            UNKNOWN,
        ),
        _ => (
            "refused",
            format!("refused: {request} is now {state}"),
            REFUSED,
        ),
    };
    Err(Failure::new(kind, title)
        .next(format!(
            "see what happened: countersign requests show {request}"
        ))
        .about(request)
        .exit(exit))
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
