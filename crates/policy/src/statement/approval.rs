//! From `@approval("dba") forbid …` to plain Cedar.
//!
//! In scope: the clause that lifts a forbid once its approvals are there.
//! Out of scope: deciding which approvals are there.
//! Invariant: the clause cannot fail. Without its `has` guard a missing `context.approvals` would
//! make the forbid err, Cedar would skip it, and the answer would be Allow.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, NonEmpty, Template, Var};
use countersign_core::id::RuleName;

/// The key of the context that only the core writes.
pub(crate) const APPROVALS: &str = "approvals";

/// Adds `unless { context has approvals && context.approvals.contains("…") }`.
pub(crate) fn lift(
    mut body: Template,
    rules: &BTreeSet<RuleName>,
) -> Result<Template, cedar_policy::pst::PstConstructionError> {
    if !rules.is_empty() {
        body.try_add_clause(Clause::Unless(Arc::new(lifted_by(rules))))?;
    }
    Ok(body)
}

fn lifted_by(rules: &BTreeSet<RuleName>) -> Expr {
    let context = || Arc::new(Expr::Var(Var::Context));
    let guard = Expr::HasAttr {
        expr: context(),
        attrs: NonEmpty::new(APPROVALS.into()),
    };
    let given = Expr::GetAttr {
        expr: context(),
        attr: APPROVALS.into(),
    };
    let mut names = rules
        .iter()
        .map(|rule| Arc::new(Expr::Literal(Literal::String(rule.as_str().into()))))
        .collect::<Vec<_>>();
    let (op, needed) = match (names.pop(), names.is_empty()) {
        (Some(only), true) => (BinaryOp::Contains, only),
        (last, _) => {
            names.extend(last);
            (BinaryOp::ContainsAll, Arc::new(Expr::Set(names)))
        }
    };
    let has_all = Expr::BinaryOp {
        op,
        left: Arc::new(given),
        right: needed,
    };
    Expr::BinaryOp {
        op: BinaryOp::And,
        left: Arc::new(guard),
        right: Arc::new(has_all),
    }
}
