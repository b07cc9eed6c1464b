//! The domain of Countersign: what is asked, who may countersign it, and what happens next.
//!
//! In scope: requests and their digests, decisions, approval rules, votes, the lifecycle of a held
//! action as one pure [`step`](lifecycle::step), and the [`Permit`](permit::Permit) that alone
//! opens the way to a target.
//! Out of scope: I/O, clocks, randomness, storage, policy evaluation and cryptographic signatures;
//! all of them arrive as arguments or events.
//! Invariant: the same state, event and time give the same result, in every process and on every
//! machine. Promises P1 to P5 and P7 of the design hold by type or by a named invariant here.

pub mod absence;
pub mod action;
pub mod approval;
pub mod canonical;
pub mod count;
pub mod decision;
pub mod digest;
pub mod directory;
pub mod hex;
pub mod id;
pub mod lifecycle;
pub mod masking;
pub mod permit;
pub mod provisioning;
pub mod request;
pub mod subject;
pub mod time;
pub mod trace;
