//! Who asks: the requester, everyone it acts for, and what it says about where it comes from.
//!
//! In scope: subjects, delegation chains, stated origin.
//! Out of scope: proving an identity (the gateway's `identity` does) and group membership
//! ([`directory`](crate::directory)).
//! Invariant: an agent or workload without an owner exists as a value but is refused by policy,
//! so its chain can still be recorded.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, PersonId, WorkloadId};

/// A subject's kind and name, written `person:dana@example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type", content = "id")]
pub enum SubjectId {
    /// A human being.
    Person(PersonId),
    /// An AI agent.
    Agent(AgentId),
    /// A pipeline or service.
    Workload(WorkloadId),
}

impl SubjectId {
    /// `person`, `agent` or `workload`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Agent(_) => "agent",
            Self::Workload(_) => "workload",
        }
    }

    /// The name without its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Person(id) => id.as_str(),
            Self::Agent(id) => id.as_str(),
            Self::Workload(id) => id.as_str(),
        }
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.name())
    }
}

/// One member of a delegation chain, with its owner as the directory had it when it asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Kind and name.
    #[serde(flatten)]
    pub id: SubjectId,
    /// The person answerable for an agent or workload; `None` for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<PersonId>,
}

impl Subject {
    /// A person, who owns themselves.
    #[must_use]
    pub fn person(id: PersonId) -> Self {
        Self {
            id: SubjectId::Person(id),
            owner: None,
        }
    }

    /// The people this subject stands for: the person, or the owner.
    pub fn people(&self) -> impl Iterator<Item = &PersonId> {
        let itself = match &self.id {
            SubjectId::Person(id) => Some(id),
            SubjectId::Agent(_) | SubjectId::Workload(_) => None,
        };
        itself.into_iter().chain(&self.owner)
    }

    /// Whether somebody is answerable: a person is; an agent or workload needs an owner.
    #[must_use]
    pub fn is_accountable(&self) -> bool {
        matches!(self.id, SubjectId::Person(_)) || self.owner.is_some()
    }
}

/// What the caller says about itself. Never trusted, always shown as stated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The model that produced the call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// The agent's own session.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// The task the agent works on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<String>,
}

/// Who asks, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectChain {
    /// Who calls the gate and alone may claim.
    pub requester: Subject,
    /// Whom the requester acts for, nearest first.
    #[serde(default)]
    pub on_behalf_of: Vec<Subject>,
    /// What the requester says of its origin.
    #[serde(default)]
    pub origin: Origin,
}

impl SubjectChain {
    /// A chain of one.
    #[must_use]
    pub fn of(requester: Subject) -> Self {
        Self {
            requester,
            on_behalf_of: Vec::new(),
            origin: Origin::default(),
        }
    }

    /// Every member, the requester first.
    pub fn members(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.requester).chain(&self.on_behalf_of)
    }
}
