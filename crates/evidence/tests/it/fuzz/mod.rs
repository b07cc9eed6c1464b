//! What is tried with bytes that anybody may have written.
//!
//! In scope: one function a format, for libFuzzer (`script/fuzz`, `fuzz/fuzz_targets`) and for the
//! bounded run in [`super::fuzzing`]. Each says whether the bytes were accepted.
//! Out of scope: where the bytes come from.
//! Invariant: a function asserts more than that nothing panics: what reads is written again as it
//! was, and what holds does not hold with a bit turned in a part that is covered.

mod formats;
mod proofs;
mod signed;
pub(crate) mod webauthn;

use countersign_core::canonical::Hash;
use countersign_evidence::{key::SigningKey, verify::Trust};

/// Takes bytes and says whether they were accepted.
pub(crate) type Target = fn(&[u8]) -> bool;

/// Every target by name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("assertion", webauthn::assertion),
    ("bundle", formats::bundle),
    ("checkpoint", signed::checkpoint),
    ("envelope", signed::envelope),
    ("evidence", formats::evidence),
    ("frame", formats::frame),
    ("journal", proofs::journal),
    ("key", signed::key),
    ("leaf", formats::leaf),
    ("note", signed::note),
    ("proof", proofs::proof),
    ("receipt", proofs::receipt),
    ("registration", webauthn::registration),
    ("tile", formats::tile),
];

/// Runs a target.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    target(bytes)
}

/// How many bits of what was accepted are turned.
const TURNS: u8 = 8;

/// `bytes` with one bit turned, a few times; which bits follows from the bytes, so that a finding is
/// found again.
fn turned(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let bits = u64::try_from(bytes.len()).expect("a length") * 8;
    let turns = if bits == 0 { 0 } else { TURNS };
    let seed = Hash::of(bytes).0;
    (0..turns).map(move |turn| {
        let Hash(pick) = Hash::of_parts(&[&seed, &[turn]]);
        let pick = u64::from_be_bytes(*pick.first_chunk().expect("32 bytes"));
        let bit = usize::try_from(pick % bits).expect("a length");
        let mut changed = bytes.to_vec();
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        changed
    })
}

/// The first part of `bytes`, with its length in two bytes before it, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The key that signs logs in seeds.
fn log_key() -> SigningKey {
    SigningKey::from_seed("log.example", &[1; 32]).expect("a key")
}

/// The key that signs votes in seeds.
fn vote_key() -> SigningKey {
    SigningKey::from_seed("votes.example", &[2; 32]).expect("a key")
}

fn trust() -> Trust {
    Trust {
        log: log_key().verifying().clone(),
        votes: Some(vec![vote_key().verifying().clone()]),
    }
}
