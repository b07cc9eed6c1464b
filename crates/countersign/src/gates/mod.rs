//! Enforcement points: each serves its protocol, classifies, and refuses in its own terms.

pub mod advisory;
pub mod deployments;
pub mod exec;
