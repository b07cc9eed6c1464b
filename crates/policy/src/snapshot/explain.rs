//! Why a decision is what it is, for people and for programs.
//!
//! In scope: the statements that decided, where they stand and what they say.
//! Out of scope: proposing changes.

use std::{collections::BTreeSet, fmt};

use countersign_core::{
    decision::Decision,
    id::{PolicyId, RuleName},
    subject::SubjectId,
};
use serde::{Deserialize, Serialize};

use super::{Snapshot, question::Evaluation};

/// A decision with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The answer as a whole.
    pub decision: Decision,
    /// The answer in a sentence.
    pub summary: String,
    /// The answer for each member and effect.
    pub asks: Vec<ExplainedAsk>,
}

/// The answer for one member and one effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedAsk {
    /// The member of the chain.
    pub member: SubjectId,
    /// The effect, by its place in the question.
    pub effect: usize,
    /// `permit`, `hold` or `deny`.
    pub answer: String,
    /// The answer in a sentence.
    pub summary: String,
    /// The rules that have to be satisfied.
    pub rules: BTreeSet<RuleName>,
    /// The statements that decided.
    pub statements: Vec<ExplainedStatement>,
}

/// A statement that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedStatement {
    /// Its id.
    pub id: PolicyId,
    /// `permit` or `forbid`.
    pub effect: String,
    /// The file that holds it.
    pub file: String,
    /// The line on which it begins.
    pub line: u32,
    /// Its text as written.
    pub source: String,
    /// Its reason, for people.
    pub reason: Option<String>,
    /// The rules that lift it.
    pub approvals: BTreeSet<RuleName>,
    /// Whether it could not be evaluated.
    pub failed: bool,
}

impl Snapshot {
    /// Explains an evaluation of this snapshot.
    #[must_use]
    pub fn explain(&self, evaluation: &Evaluation) -> Explanation {
        let asks = evaluation
            .asks
            .iter()
            .map(|ask| ExplainedAsk {
                member: ask.member.clone(),
                effect: ask.effect,
                answer: ask.decision.name().to_owned(),
                summary: summary(&ask.decision),
                rules: rules(&ask.decision),
                statements: ask
                    .policies
                    .union(&ask.errors)
                    .filter_map(|id| self.explain_statement(id, ask.errors.contains(id)))
                    .collect(),
            })
            .collect();
        Explanation {
            decision: evaluation.decision.clone(),
            summary: summary(&evaluation.decision),
            asks,
        }
    }

    fn explain_statement(&self, id: &PolicyId, failed: bool) -> Option<ExplainedStatement> {
        let statement = self.statement(id)?;
        Some(ExplainedStatement {
            id: id.clone(),
            effect: if statement.forbids() {
                "forbid"
            } else {
                "permit"
            }
            .to_owned(),
            file: statement.file.to_string(),
            line: statement.line,
            source: statement.source.to_string(),
            reason: statement.reason.clone(),
            approvals: statement.approvals.clone(),
            failed,
        })
    }
}

fn rules(decision: &Decision) -> BTreeSet<RuleName> {
    match decision {
        Decision::Hold { rules, .. } => rules.clone(),
        Decision::Permit { .. } | Decision::Deny { .. } => BTreeSet::new(),
    }
}

fn summary(decision: &Decision) -> String {
    match decision {
        Decision::Permit { .. } => "it is permitted".into(),
        Decision::Deny { reason, .. } => format!("it is denied: {reason}"),
        Decision::Hold { rules, .. } => {
            let names = rules
                .iter()
                .map(|rule| format!("`{rule}`"))
                .collect::<Vec<_>>();
            format!("it waits until {} is satisfied", names.join(" and "))
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        for ask in &self.asks {
            writeln!(f, "  {} effect {}: {}", ask.member, ask.effect, ask.summary)?;
            for statement in &ask.statements {
                let (file, line) = (&statement.file, statement.line);
                write!(
                    f,
                    "    {} `{}` {file}:{line}",
                    statement.effect, statement.id
                )?;
                match &statement.reason {
                    Some(reason) => writeln!(f, ": {}", reason.escape_debug())?,
                    None => writeln!(f)?,
                }
            }
        }
        Ok(())
    }
}
