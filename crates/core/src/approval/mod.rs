//! Who must countersign, who may, and whether enough did.
//!
//! In scope: rules, votes, *self*, matching of votes to slots, hours, grants.
//! Out of scope: when these questions are asked; the [`lifecycle`](crate::lifecycle) does that.

pub mod grant;
pub mod hours;
pub mod myself;
pub mod quorum;
pub mod rule;
pub mod vote;

pub use rule::ApprovalRule;
pub use vote::Vote;
