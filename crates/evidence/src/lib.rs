//! The record: leaves, Merkle log, signed checkpoints, proofs and the offline verifier.
//!
//! In scope: every byte of the record, how it is hashed and signed, and whether it keeps the rules.
//! Out of scope: files, clocks, randomness and networks. Bytes come in, values go out; the gateway
//! appends frames, keeps keys and publishes checkpoints.
//! Invariant: whatever is read is either exactly what was written or refused. An auditor needs
//! only this crate and `countersign-core`.
//! Specification: RFC 6962, RFC 8785, WebAuthn, <https://c2sp.org/signed-note>,
//! <https://c2sp.org/tlog-checkpoint>, <https://github.com/secure-systems-lab/dsse>.

pub mod approval;
pub mod body;
pub mod checkpoint;
pub mod envelope;
pub mod evidence;
pub mod frame;
mod hex;
pub mod key;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod receipt;
pub mod reference;
pub mod tile;
pub mod verify;
pub mod vote;
pub mod webauthn;
