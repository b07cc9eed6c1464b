//! Looking through a statement's expressions.
//!
//! In scope: finding uses of `context` that could reach `context.approvals`, and the entities that
//! a condition looks into.
//! Out of scope: types; Cedar's validator checks those.
//! Invariant: every expression Cedar can parse is either walked completely or refused.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, EntityUID, Expr, Literal, Template, Var};

use super::approval::APPROVALS;
use crate::schema::STATIC_TYPES;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What is wrong, as messages.
    pub(crate) refused: BTreeSet<&'static str>,
    /// Entities of the bundle and the directory that are named.
    pub(crate) entities: Vec<EntityUID>,
}

const NAMES_APPROVALS: &str = "the condition names `context.approvals`, which only `@approval` may";
const BARE_CONTEXT: &str = "the condition uses `context` as a whole";
const UNKNOWN: &str = "the condition holds an expression that cannot be checked";
const LOOKS_INTO: &str = "the condition looks into a resource that it names itself";

/// Walks all conditions of a statement.
pub(crate) fn walk(body: &Template) -> Found {
    let mut found = Found::default();
    for clause in body.clauses() {
        match clause {
            Clause::When(expr) | Clause::Unless(expr) => found.expr(expr, false),
        }
    }
    found
}

impl Found {
    /// `looked_into` is set below an operator that reads attributes, tags or ancestors.
    fn expr(&mut self, expr: &Expr, looked_into: bool) {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.entity(uid, looked_into),
            Expr::Literal(_) => {}
            Expr::Var(Var::Context) => {
                self.refused.insert(BARE_CONTEXT);
            }
            Expr::Var(_) => {}
            Expr::GetAttr { expr, attr } => self.attribute(expr, attr),
            Expr::HasAttr { expr, attrs } => self.attribute(expr, attrs.first()),
            Expr::UnaryOp { expr, .. } => self.expr(expr, looked_into),
            Expr::BinaryOp { op, left, right } => {
                let into = matches!(op, BinaryOp::In | BinaryOp::GetTag | BinaryOp::HasTag);
                self.expr(left, looked_into || into);
                self.expr(right, looked_into);
            }
            Expr::Like { expr, .. } => self.expr(expr, looked_into),
            Expr::Is { expr, in_expr, .. } => {
                self.expr(expr, looked_into || in_expr.is_some());
                if let Some(parent) = in_expr {
                    self.expr(parent, looked_into);
                }
            }
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                for part in [cond, then_expr, else_expr] {
                    self.expr(part, looked_into);
                }
            }
            Expr::Set(items) => items.iter().for_each(|item| self.expr(item, looked_into)),
            Expr::Record(fields) => {
                fields
                    .values()
                    .for_each(|field| self.expr(field, looked_into));
            }
            // Slots are refused with templates; unknowns are not Cedar. Later kinds stay refused
            // until somebody has thought about them.
            _ => {
                self.refused.insert(UNKNOWN);
            }
        }
    }

    fn attribute(&mut self, expr: &Expr, attr: &str) {
        if !matches!(expr, Expr::Var(Var::Context)) {
            self.expr(expr, true);
        } else if attr == APPROVALS {
            self.refused.insert(NAMES_APPROVALS);
        }
    }

    fn entity(&mut self, uid: &EntityUID, looked_into: bool) {
        let kind = uid.ty.0.to_string();
        if STATIC_TYPES.contains(&kind.as_str()) {
            self.entities.push(uid.clone());
        } else if looked_into {
            self.refused.insert(LOOKS_INTO);
        }
    }
}
