//! Frames of the append-only journal: one leaf and its evidence each.
//!
//! In scope: encoding a frame, decoding a byte stream, telling a torn tail from damage.
//! Out of scope: files, and what leaf and evidence say.
//! Invariant: only bytes that end before a whole frame does are [`Step::Incomplete`]. The header
//! carries its own check, so that a damaged length in the middle of a journal is
//! [`Corrupt`] and is never taken for a torn tail and cut off.
//! Specification, all numbers big-endian:
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | `0xC1`, magic and version |
//! | 4 | leaf length `m`, at most 65,535 |
//! | 4 | evidence length `n`, at most 16 MiB |
//! | 4 | first bytes of SHA-256 over the 9 bytes before |
//! | m | leaf |
//! | n | evidence |
//! | 8 | first bytes of SHA-256 over everything before in this frame |

use countersign_core::canonical::Hash;

/// The longest leaf in bytes, so that it fits an entry of a tile
/// (<https://c2sp.org/tlog-tiles>).
pub const MAX_LEAF_BYTES: usize = 65_535;

/// The longest evidence in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 16 << 20;

/// What a frame takes beside leaf and evidence, in bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TRAILER_BYTES;

const MAGIC: u8 = 0xC1;
const LENGTHS_BYTES: usize = 9;
const HEADER_BYTES: usize = LENGTHS_BYTES + 4;
const TRAILER_BYTES: usize = 8;

/// Why a frame cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {part} has {found} bytes; a frame holds at most {limit}, so shorten what is recorded")]
pub struct TooLarge {
    part: &'static str,
    found: usize,
    limit: usize,
}

/// One entry of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The leaf's bytes.
    pub leaf: &'a [u8],
    /// The evidence's bytes; empty when there is none or it was erased.
    pub evidence: &'a [u8],
}

/// What comes next in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// The bytes end cleanly after the last frame.
    End,
    /// The bytes end inside a frame that starts at `at`: read more, or at the end of the file cut
    /// the torn tail off here.
    Incomplete {
        /// Where the unfinished frame starts, in bytes.
        at: u64,
    },
    /// The bytes are damaged.
    Corrupt(Corrupt),
}

/// Damage in a journal. Nothing after it can be read, and nothing may be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is damaged in the frame at byte {at}: {what}; restore it from a copy")]
pub struct Corrupt {
    /// Where the damaged frame starts, in bytes.
    pub at: u64,
    /// What does not fit.
    pub what: Damage,
}

/// What does not fit in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It starts with another byte.
    #[error("its first byte is not that of a frame of a known version")]
    Magic,
    /// Its lengths do not fit their check, or exceed the limits.
    #[error("its header is wrong")]
    Header,
    /// Its content does not fit the check at its end.
    #[error("its content does not fit its check")]
    Content,
}

/// Appends a frame to `out`.
///
/// # Errors
/// [`TooLarge`], with `out` unchanged, when leaf or evidence exceeds its limit.
pub fn encode(frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let leaf = length("leaf", frame.leaf, MAX_LEAF_BYTES)?;
    let evidence = length("evidence", frame.evidence, MAX_EVIDENCE_BYTES)?;
    let mut lengths = [MAGIC, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in lengths
        .iter_mut()
        .skip(1)
        .zip(leaf.into_iter().chain(evidence))
    {
        *to = from;
    }
    let header_check = first::<4>(Hash::of(&lengths));
    let begin = out.len();
    out.reserve(OVERHEAD_BYTES.saturating_add(frame.leaf.len() + frame.evidence.len()));
    out.extend_from_slice(&lengths);
    out.extend_from_slice(&header_check);
    out.extend_from_slice(frame.leaf);
    out.extend_from_slice(frame.evidence);
    let check = Hash::of(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&first::<8>(check));
    Ok(())
}

fn length(part: &'static str, bytes: &[u8], limit: usize) -> Result<[u8; 4], TooLarge> {
    let found = bytes.len();
    let too_large = TooLarge { part, found, limit };
    match u32::try_from(found) {
        Ok(length) if found <= limit => Ok(length.to_be_bytes()),
        _ => Err(too_large),
    }
}

fn first<const N: usize>(hash: Hash) -> [u8; N] {
    hash.0.first_chunk().copied().unwrap_or([0; N])
}

/// Where the frame at the start of `bytes` ends if its header is right, for handing parts of a journal
/// to several readers: nothing of the frame is checked but the header. `None` where it ends beyond the
/// bytes or the header is damaged, which [`Decoder`] says.
#[must_use]
pub fn end_of_first(bytes: &[u8]) -> Option<usize> {
    let (lengths, rest) = bytes.split_first_chunk::<LENGTHS_BYTES>()?;
    let [MAGIC, a, b, c, d, e, f, g, h] = *lengths else {
        return None;
    };
    if first::<4>(Hash::of(lengths)) != *rest.first_chunk::<4>()? {
        return None;
    }
    let leaf = limited([a, b, c, d], MAX_LEAF_BYTES).ok()?;
    let evidence = limited([e, f, g, h], MAX_EVIDENCE_BYTES).ok()?;
    let end = OVERHEAD_BYTES + leaf + evidence;
    (end <= bytes.len()).then_some(end)
}

/// Reads frame after frame from bytes in memory.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Decoder<'a> {
    /// Reads `bytes`, which start at byte `offset` of the journal and at the start of a frame.
    #[must_use]
    pub fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self {
            rest: bytes,
            at: offset,
        }
    }

    /// Where the next frame starts, in bytes of the journal.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next frame, or why there is none. After anything but a frame the answer stays the same.
    pub fn step(&mut self) -> Step<'a> {
        if self.rest.is_empty() {
            return Step::End;
        }
        match self.read() {
            Ok(Some((frame, rest))) => {
                let used = self.rest.len().saturating_sub(rest.len());
                self.at = self
                    .at
                    .saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
                self.rest = rest;
                Step::Frame(frame)
            }
            Ok(None) => Step::Incomplete { at: self.at },
            Err(what) => Step::Corrupt(Corrupt { at: self.at, what }),
        }
    }

    fn read(&self) -> Result<Option<(Frame<'a>, &'a [u8])>, Damage> {
        if self.rest.first().is_some_and(|byte| *byte != MAGIC) {
            return Err(Damage::Magic);
        }
        let Some((lengths, rest)) = self.rest.split_first_chunk::<LENGTHS_BYTES>() else {
            return Ok(None);
        };
        let Some((check, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        if first::<4>(Hash::of(lengths)) != *check {
            return Err(Damage::Header);
        }
        let [_, a, b, c, d, e, f, g, h] = *lengths;
        let leaf_length = limited([a, b, c, d], MAX_LEAF_BYTES)?;
        let evidence_length = limited([e, f, g, h], MAX_EVIDENCE_BYTES)?;
        let Some((leaf, rest)) = rest.split_at_checked(leaf_length) else {
            return Ok(None);
        };
        let Some((evidence, rest)) = rest.split_at_checked(evidence_length) else {
            return Ok(None);
        };
        let Some((trailer, rest)) = rest.split_first_chunk::<TRAILER_BYTES>() else {
            return Ok(None);
        };
        // All of it lies behind each other, so that it is hashed in one go.
        let content = self.rest.get(..HEADER_BYTES + leaf.len() + evidence.len());
        if content.map(|content| first::<8>(Hash::of(content))) != Some(*trailer) {
            return Err(Damage::Content);
        }
        Ok(Some((Frame { leaf, evidence }, rest)))
    }
}

fn limited(length: [u8; 4], limit: usize) -> Result<usize, Damage> {
    match usize::try_from(u32::from_be_bytes(length)) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(Damage::Header),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn journal(frames: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (leaf, evidence) in frames {
            encode(Frame { leaf, evidence }, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn a_frame_is_laid_out_as_specified() {
        let bytes = journal(&[(b"leaf".to_vec(), b"ev".to_vec())]);
        assert_eq!(bytes[..9], [0xC1, 0, 0, 0, 4, 0, 0, 0, 2]);
        assert_eq!(bytes[9..13], Hash::of(&bytes[..9]).0[..4]);
        assert_eq!(&bytes[13..19], b"leafev");
        assert_eq!(bytes[19..], Hash::of(&bytes[..19]).0[..8]);
        assert_eq!(bytes.len(), 6 + OVERHEAD_BYTES);
    }

    #[test]
    fn limits_are_exact() {
        let mut out = Vec::new();
        for (leaf, evidence, fits) in [
            (MAX_LEAF_BYTES, MAX_EVIDENCE_BYTES, true),
            (MAX_LEAF_BYTES + 1, 0, false),
            (0, MAX_EVIDENCE_BYTES + 1, false),
        ] {
            out.clear();
            let (leaf, evidence) = (vec![1; leaf], vec![2; evidence]);
            let frame = Frame {
                leaf: &leaf,
                evidence: &evidence,
            };
            assert_eq!(encode(frame, &mut out).is_ok(), fits);
            assert_eq!(out.is_empty(), !fits);
            let expected = if fits { Step::Frame(frame) } else { Step::End };
            assert_eq!(Decoder::new(&out, 0).step(), expected);
        }
        let mut lengths = vec![0xC1, 0, 1, 0, 0, 0, 0, 0, 0];
        lengths.extend(&Hash::of(&lengths).0[..4]);
        let corrupt = Step::Corrupt(Corrupt {
            at: 7,
            what: Damage::Header,
        });
        assert_eq!(Decoder::new(&lengths, 7).step(), corrupt);
    }

    /// Every way to cut a journal is a torn tail, every way to change it is damage.
    #[test]
    fn a_torn_tail_is_told_from_damage() {
        let first = journal(&[(vec![1; 20], vec![])]);
        let whole = journal(&[(vec![1; 20], vec![]), (vec![2; 30], vec![3; 40])]);
        for end in first.len() + 1..whole.len() {
            let mut decoder = Decoder::new(&whole[..end], 0);
            assert!(matches!(decoder.step(), Step::Frame(_)));
            assert_eq!(
                decoder.step(),
                Step::Incomplete {
                    at: first.len() as u64
                }
            );
        }
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::new(&changed, 0);
            let mut step = decoder.step();
            while let Step::Frame(_) = step {
                step = decoder.step();
            }
            let at = if bit / 8 < first.len() {
                0
            } else {
                first.len() as u64
            };
            assert!(
                matches!(step, Step::Corrupt(found) if found.at == at),
                "bit {bit}: {step:?}"
            );
        }
    }

    #[test]
    fn a_header_tells_where_a_frame_ends() {
        let first = journal(&[(vec![1; 20], vec![2; 5])]);
        let whole = journal(&[(vec![1; 20], vec![2; 5]), (vec![], vec![])]);
        assert_eq!(end_of_first(&whole), Some(first.len()));
        assert_eq!(end_of_first(&whole[first.len()..]), Some(OVERHEAD_BYTES));
        assert_eq!(end_of_first(&first[..first.len() - 1]), None);
        assert_eq!(end_of_first(&[]), None);
        for bit in 0..HEADER_BYTES * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(end_of_first(&changed), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn journals_read_back(
            frames in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..80), prop::collection::vec(any::<u8>(), 0..80)),
                0..6,
            ),
        ) {
            let bytes = journal(&frames);
            let mut decoder = Decoder::new(&bytes, 5);
            for (leaf, evidence) in &frames {
                prop_assert_eq!(decoder.step(), Step::Frame(Frame { leaf, evidence }));
            }
            prop_assert_eq!(decoder.step(), Step::End);
            prop_assert_eq!(decoder.offset(), 5 + bytes.len() as u64);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(&bytes, 0);
            while let Step::Frame(_) = decoder.step() {}
        }
    }
}
