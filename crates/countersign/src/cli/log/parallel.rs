//! A journal verified by all processors.
//!
//! In scope: reading pieces, examining their entries in several threads, taking them in order.
//! Out of scope: what verifying is, which is the evidence crate's.
//! Invariant: every byte is read by [`Decoder`], as in one thread, and entries are taken in their
//! order; where the pieces are cut changes nothing but who examines what. Memory is bounded: a few
//! pieces for each thread.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use countersign_evidence::{
    frame::{Corrupt, Decoder, Step, end_of_first},
    verify::{Examined, Examiner, Verifier},
};

use super::named::{open, unreadable};
use crate::cli::failure::Failure;

/// How much one thread examines at once, unless a single entry is longer.
pub(super) const PIECE: usize = 1 << 18;

/// The most that room is made for before it is read.
const MOST: usize = 4 << 20;

/// Bytes of the journal from a place where a frame begins.
struct Piece {
    bytes: Vec<u8>,
    offset: u64,
    /// Where the result goes.
    to: SyncSender<Done>,
}

/// A piece, examined.
struct Done {
    entries: Vec<Examined>,
    end: End,
    /// Where the piece was, for another.
    room: Vec<u8>,
}

/// What came after the last whole frame of a piece.
#[derive(Clone, Copy)]
enum End {
    Clean,
    Incomplete(u64),
    Corrupt(Corrupt),
}

impl End {
    fn step(self) -> Step<'static> {
        match self {
            Self::Clean => Step::End,
            Self::Incomplete(at) => Step::Incomplete { at },
            Self::Corrupt(corrupt) => Step::Corrupt(corrupt),
        }
    }
}

/// Gives a verifier every entry of a journal and what comes after the last one.
///
/// # Errors
/// The journal can't be read.
pub(super) fn verify(journal: &Path, piece: usize, verifier: &mut Verifier) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unreadable(journal, &error);
    let file = open(journal)?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let examiner = verifier.examiner();
    thread::scope(|scope| {
        // In the order of the journal, and no more than a few ahead.
        let (ordered, results) = sync_channel::<Receiver<Done>>(threads * 4);
        let (work, jobs) = sync_channel::<Piece>(threads);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let (jobs, examiner) = (jobs.clone(), examiner.clone());
            scope.spawn(move || examine_all(&jobs, &examiner));
        }
        drop(jobs);
        let (free, rooms) = sync_channel(threads * 4);
        let reading = scope.spawn(move || {
            let out = Out {
                work,
                ordered,
                rooms,
            };
            read(file, piece, &out)
        });
        let mut end = End::Clean;
        for result in results {
            let Ok(done) = result.recv() else {
                return Err(stopped());
            };
            done.entries
                .into_iter()
                .for_each(|entry| verifier.take(entry));
            end = done.end;
            let _enough_are_free = free.try_send(done.room);
            // Nothing counts behind damage; the threads end because nobody listens any more.
            if !matches!(end, End::Clean) {
                break;
            }
        }
        verifier.ended(end.step());
        match reading.join() {
            Ok(read) => read.map_err(failed),
            Err(_) => Err(stopped()),
        }
    })
}

fn stopped() -> Failure {
    Failure::new("internal", "reading the journal ended unexpectedly")
}

fn examine_all(jobs: &Mutex<Receiver<Piece>>, examiner: &Examiner) {
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return,
        };
        let Ok(Piece { bytes, offset, to }) = job else {
            return;
        };
        let mut decoder = Decoder::new(&bytes, offset);
        let mut entries = Vec::new();
        let end = loop {
            match decoder.step() {
                Step::Frame(frame) => entries.push(examiner.examine(frame)),
                Step::End => break End::Clean,
                Step::Incomplete { at } => break End::Incomplete(at),
                Step::Corrupt(corrupt) => break End::Corrupt(corrupt),
            }
        };
        let done = Done {
            entries,
            end,
            room: bytes,
        };
        let _nobody_listens = to.send(done);
    }
}

/// Where pieces go, and where room for the next comes from.
struct Out {
    work: SyncSender<Piece>,
    ordered: SyncSender<Receiver<Done>>,
    rooms: Receiver<Vec<u8>>,
}

impl Out {
    /// The piece with everything up to `cut` in front, the rest in `pending` in other room.
    fn cut(&self, pending: &mut Vec<u8>, cut: usize) -> Vec<u8> {
        let mut rest = self.rooms.try_recv().unwrap_or_default();
        rest.clear();
        rest.extend_from_slice(pending.get(cut..).unwrap_or_default());
        pending.truncate(cut);
        std::mem::replace(pending, rest)
    }

    /// Gives a piece to be examined; `false` when nobody listens any more.
    fn send(&self, bytes: Vec<u8>, offset: u64) -> bool {
        let (to, result) = sync_channel(1);
        let piece = Piece { bytes, offset, to };
        self.ordered.send(result).is_ok() && self.work.send(piece).is_ok()
    }
}

/// Cuts the journal where frames begin, as their headers say. The last piece has whatever is left.
fn read(mut file: File, piece: usize, out: &Out) -> std::io::Result<()> {
    let (mut pending, mut offset, mut wanted) = (Vec::new(), 0_u64, piece);
    loop {
        let more = u64::try_from(wanted.saturating_sub(pending.len())).unwrap_or(u64::MAX);
        pending.reserve(wanted.saturating_sub(pending.len()).min(MOST));
        let read = Read::by_ref(&mut file)
            .take(more)
            .read_to_end(&mut pending)?;
        let at_end = u64::try_from(read).unwrap_or(u64::MAX) < more;
        let mut cut = 0;
        while let Some(end) = pending.get(cut..).and_then(end_of_first) {
            cut += end;
        }
        if at_end {
            cut = pending.len();
        } else if cut == 0 {
            // One frame is longer than the piece, or damaged: then all the rest is the last piece.
            wanted = wanted.saturating_mul(2);
            if wanted <= piece.max(super::PIECE) * 2 {
                continue;
            }
            cut = pending.len();
        }
        let bytes = out.cut(&mut pending, cut);
        let begins = offset;
        offset = offset.saturating_add(u64::try_from(cut).unwrap_or(u64::MAX));
        wanted = piece.max(pending.len());
        let sent = bytes.is_empty() || out.send(bytes, begins);
        if at_end || !sent {
            return Ok(());
        }
    }
}
