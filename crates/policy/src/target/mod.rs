//! What stands behind the gates.
//!
//! In scope: targets as the bundle describes them.
//! Out of scope: reaching them; the gateway's runner does.

pub mod exec;
pub mod pattern;

use std::collections::BTreeSet;

use countersign_core::id::{EnvironmentId, PersonId, TargetId};

pub use exec::ExecTarget;

/// A target: something that only the gateway can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub id: TargetId,
    /// The environment it belongs to.
    pub environment: EnvironmentId,
    /// Labels for policies to refer to.
    pub labels: BTreeSet<String>,
    /// The person that `owner-of:resource` means.
    pub owner: Option<PersonId>,
    /// Whether callers may run the action themselves after asking.
    pub advisory: bool,
    /// What kind of target it is, with its settings.
    pub kind: TargetKind,
    /// The line of `countersign.toml` that defines it.
    pub line: u32,
}

/// The kinds of target, with what each needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetKind {
    /// Runs commands.
    Exec(Box<ExecTarget>),
    /// An environment elsewhere that holds deployments until the gateway answers.
    Deployment,
}

impl Target {
    /// The settings, when the target runs commands.
    #[must_use]
    pub fn exec(&self) -> Option<&ExecTarget> {
        match &self.kind {
            TargetKind::Exec(exec) => Some(exec),
            TargetKind::Deployment => None,
        }
    }
}

impl TargetKind {
    /// The kind as the configuration writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Deployment => "deployment",
        }
    }
}
