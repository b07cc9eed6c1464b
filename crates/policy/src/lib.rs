//! The decision point: Cedar policies, approval rules and directory as one validated bundle.
//!
//! In scope: reading and checking a bundle, the schema it implies, deciding a question, explaining
//! the decision, and recording it so that any Cedar engine reproduces it.
//! Out of scope: files, clocks and sockets; who may change a bundle; counting votes.
//! Invariant: strictest wins; no rule means no; an error means no; what cannot be resolved or
//! understood means no. Nothing a caller sends reaches entities or `context.approvals`.
//! Specification: <https://docs.cedarpolicy.com/>; what stock Cedar lets through is listed in
//! [`snapshot`].

pub mod bundle;
pub mod channel;
pub mod deployment;
pub mod machine;
pub mod masking;
pub mod problem;
pub mod provider;
pub mod public_key;
pub mod schema;
pub mod snapshot;
pub mod statement;
pub mod stream;
pub mod strict;
pub mod target;
mod vouched;

pub use bundle::{
    Bundle,
    diff::BundleDiff,
    people::{DirectoryChange, RefusedChange, assembled},
    provided::holder,
    provisioned::gives,
    retention::Retention,
    settings::{ServerSettings, StoreSettings},
};
pub use channel::{Channel, Email, Notify, Slack, Teams};
pub use deployment::GitHub;
pub use machine::{Issuer, MachineSettings, Proof};
pub use masking::Masker;
pub use problem::{Problem, Severity};
pub use provider::{Links, Provider, Scim};
pub use snapshot::{
    Snapshot, Unreachable,
    explain::{ExplainedAsk, Explanation},
    fast::Prepared,
    question::{Ask, Evaluation, Question},
};
pub use statement::Statement;
pub use stream::{Details, Stream, StreamKind};
pub use target::{Target, TargetKind, exec::ExecTarget};
