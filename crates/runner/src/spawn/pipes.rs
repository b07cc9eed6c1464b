//! The streams of a command: read, bounded, masked, counted, passed on.
//!
//! In scope: one direction of one pipe at a time.
//! Out of scope: ending the command; this only says that the limit was passed.
//! Invariant: what is counted and hashed is exactly what the receiver gets or would have got, in
//! order; nothing is sent that was not masked.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Output, Stream};
use crate::sha256::Sha256;
use crate::vault::Masker;

/// How long an open pipe may stay silent after everybody who should hold it has ended.
const SILENCE: Duration = Duration::from_millis(500);
/// How long after its deadline the output of a command that has ended is still read.
const LAST_WORDS: Duration = Duration::from_secs(5);
const PIECE: usize = 16 * 1024;

/// What both streams and their supervisor share.
pub(super) struct Flow {
    /// Bytes that may still be read.
    budget: AtomicU64,
    /// The limit was passed.
    pub(super) over: CancellationToken,
    /// All processes that are known have ended.
    pub(super) ended: CancellationToken,
    /// The run was cancelled.
    pub(super) cancel: CancellationToken,
    /// When the receiver's patience ends.
    pub(super) deadline: Instant,
}

impl Flow {
    pub(super) fn new(limit: u64, cancel: CancellationToken, deadline: Instant) -> Self {
        Self {
            budget: AtomicU64::new(limit),
            over: CancellationToken::new(),
            ended: CancellationToken::new(),
            cancel,
            deadline,
        }
    }

    /// Takes up to `wanted` bytes from the budget.
    fn take(&self, wanted: usize) -> usize {
        let wanted_bytes = u64::try_from(wanted).unwrap_or(u64::MAX);
        let before = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted_bytes))
            })
            .unwrap_or(0);
        usize::try_from(before).unwrap_or(usize::MAX).min(wanted)
    }
}

/// A stream that ended.
pub(super) struct Pumped {
    pub(super) stream: Stream,
    /// Somebody still holds the other end.
    pub(super) still_open: bool,
}

/// Passes on what comes from `pipe` until its end, the limit, or silence after the end of the
/// command.
pub(super) async fn pump(
    pipe: Option<OwnedFd>,
    wrap: fn(Bytes) -> Output,
    masker: Masker,
    output: Sender<Output>,
    flow: &Flow,
) -> Pumped {
    let mut delivery = Delivery {
        output: Some(output),
        wrap,
        hash: Sha256::new(),
        bytes: 0,
        undelivered: 0,
    };
    let still_open = match pipe.map(pipe::Receiver::from_owned_fd) {
        Some(Ok(pipe)) => read_all(pipe, masker, &mut delivery, flow).await,
        _ => false,
    };
    let stream = Stream {
        bytes: delivery.bytes,
        sha256: delivery.hash.finish(),
        undelivered: delivery.undelivered,
    };
    Pumped { stream, still_open }
}

async fn read_all(
    mut pipe: pipe::Receiver,
    mut masker: Masker,
    delivery: &mut Delivery,
    flow: &Flow,
) -> bool {
    let mut buffer = vec![0; PIECE];
    let mut still_open = false;
    loop {
        let silent = async {
            flow.ended.cancelled().await;
            sleep(SILENCE).await;
        };
        let too_late = async {
            flow.ended.cancelled().await;
            sleep_until(flow.deadline + LAST_WORDS).await;
        };
        let read = tokio::select! {
            biased;
            () = too_late => {
                still_open = true;
                break;
            }
            read = pipe.read(&mut buffer) => read.unwrap_or(0),
            () = silent => {
                still_open = true;
                break;
            }
        };
        if read == 0 {
            break;
        }
        let allowed = flow.take(read);
        if allowed < read {
            // First, so that a slow receiver doesn't let the command go on.
            flow.over.cancel();
        }
        let piece = masker.push(buffer.get(..allowed).unwrap_or_default());
        delivery.give(piece, flow).await;
        if allowed < read {
            break;
        }
    }
    delivery.give(masker.finish(), flow).await;
    still_open
}

struct Delivery {
    /// None when the receiver has gone.
    output: Option<Sender<Output>>,
    wrap: fn(Bytes) -> Output,
    hash: Sha256,
    bytes: u64,
    undelivered: u64,
}

impl Delivery {
    /// Counts `piece` and waits until the receiver takes it, has gone, or is out of time.
    async fn give(&mut self, piece: Bytes, flow: &Flow) {
        if piece.is_empty() {
            return;
        }
        self.hash.update(&piece);
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        let Some(output) = &self.output else {
            self.undelivered = self.undelivered.saturating_add(length);
            return;
        };
        let delivered = match output.try_send((self.wrap)(piece)) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(piece)) => tokio::select! {
                sent = output.send(piece) => sent.is_ok(),
                () = sleep_until(flow.deadline) => false,
                () = flow.cancel.cancelled() => false,
            },
        };
        if !delivered {
            // Not again: pieces after a gap would look like the whole.
            self.output = None;
            self.undelivered = self.undelivered.saturating_add(length);
        }
    }
}

/// Writes all of standard input; a command that doesn't read it is free to.
pub(super) async fn feed(pipe: Option<OwnedFd>, input: Option<Bytes>, flow: &Flow) {
    let (Some(pipe), Some(input)) = (pipe, input) else {
        return;
    };
    let Ok(mut pipe) = pipe::Sender::from_owned_fd(pipe) else {
        return;
    };
    tokio::select! {
        _ = pipe.write_all(&input) => {}
        () = flow.ended.cancelled() => {}
    }
}
