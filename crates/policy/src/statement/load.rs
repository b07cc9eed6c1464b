//! Reading `policies/*.cedar`.
//!
//! In scope: from text to statements, with every refusal at its line.
//! Out of scope: which rules exist, which the bundle passes in.
//! Invariant: parsing and validating happen on a thread with a large stack, after the limits of
//! [`scan`](super::scan), so that no file can end the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Effect, EntityUid, Policy, PolicySet, Schema, ValidationMode, Validator, pst};
use countersign_core::id::{PolicyId, RuleName};

use super::{RESERVED_PREFIX, Statement, UNCLASSIFIED_STATEMENT, approval, line_of, scan, walk};
use crate::{
    problem::{Problem, line_at, shown},
    schema::report,
};

/// Enough for whatever the limits let through, many times over.
const STACK_BYTES: usize = 64 * 1024 * 1024;

const BUILT_IN: &str = "@id(\"countersign.unclassified\")\n\
    @reason(\"What could not be understood is not done.\")\n\
    forbid (principal, action == Action::\"unclassified\", resource);";

/// Statements and the set that stock Cedar evaluates.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) statements: Vec<Statement>,
    pub(crate) set: PolicySet,
}

/// Reads all policy files, path to text, noting every problem.
pub(crate) fn load(
    files: &[(&str, &str)],
    rules: &BTreeSet<RuleName>,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Option<Loaded> {
    let on_thread = || {
        let mut found = Vec::new();
        let loaded = load_here(files, rules, schema, &mut found);
        (loaded, found)
    };
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("policy-load".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, on_thread)
            .ok()?;
        thread.join().ok()
    });
    let Some((loaded, found)) = outcome else {
        let message = "the policies could not be read on this machine";
        problems.push(Problem::error(
            "policies",
            None,
            message,
            "free some memory and try again",
        ));
        return None;
    };
    problems.extend(found);
    loaded
}

fn load_here(
    files: &[(&str, &str)],
    rules: &BTreeSet<RuleName>,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Option<Loaded> {
    let before = problems.len();
    let mut statements = Vec::new();
    let mut first_seen: BTreeMap<PolicyId, (Arc<str>, u32)> = BTreeMap::new();
    for (path, text) in files {
        let file: Arc<str> = (*path).into();
        let pieces = match scan::split(text) {
            Ok(pieces) => pieces,
            Err(limit) => {
                problems.push(Problem::error(*path, limit.line, limit.message, limit.help));
                continue;
            }
        };
        for piece in pieces {
            let mut reading = Reading {
                file: &file,
                piece,
                rules,
                problems,
                unreadable: false,
            };
            let Some(statement) = reading.statement() else {
                // Where one statement ends is not known, nothing certain can be said of the next.
                if reading.unreadable {
                    break;
                }
                continue;
            };
            if let Some((other, line)) = first_seen.get(&statement.id) {
                let message = format!("the id `{}` is taken by {other}:{line}", statement.id);
                reading.error(message, "give each statement its own `@id`");
                continue;
            }
            first_seen.insert(statement.id.clone(), (Arc::clone(&file), piece.line));
            statements.push(statement);
        }
    }
    if problems.len() > before {
        return None;
    }
    statements.extend(built_in());
    let set = validate(&statements, schema, problems);
    if problems.len() > before {
        None
    } else {
        Some(Loaded {
            statements,
            set: set?,
        })
    }
}

fn built_in() -> Option<Statement> {
    let id: PolicyId = UNCLASSIFIED_STATEMENT.parse().ok()?;
    let parsed = Policy::parse(Some(cedar_policy::PolicyId::new(id.as_str())), BUILT_IN).ok()?;
    Some(Statement {
        id,
        file: "built in".into(),
        line: 1,
        source: BUILT_IN.into(),
        reason: parsed.annotation("reason").map(str::to_owned),
        approvals: BTreeSet::new(),
        unlifted: parsed.clone(),
        lifted: parsed,
        entities: BTreeSet::new(),
    })
}

/// One statement being read.
struct Reading<'a> {
    file: &'a Arc<str>,
    piece: scan::Piece<'a>,
    rules: &'a BTreeSet<RuleName>,
    problems: &'a mut Vec<Problem>,
    /// Whether it is no statement at all.
    unreadable: bool,
}

impl Reading<'_> {
    fn error(&mut self, message: impl Into<String>, help: &str) {
        let (file, line) = (self.file.to_string(), self.piece.line);
        self.problems
            .push(Problem::error(file, line, message, help));
    }

    /// Marks the last problem as one that may only follow from another error.
    fn last_follows(&mut self) {
        if let Some(last) = self.problems.pop() {
            self.problems.push(last.following());
        }
    }

    /// An error at the line where `needle` stands within the statement.
    fn error_at(&mut self, needle: &str, message: impl Into<String>, help: &str) {
        let offset = self.piece.text.find(needle).unwrap_or(0);
        let line = self
            .piece
            .line
            .saturating_add(line_at(self.piece.text, offset))
            - 1;
        self.problems
            .push(Problem::error(self.file.to_string(), line, message, help));
    }

    fn statement(&mut self) -> Option<Statement> {
        let before = self.problems.len();
        let parsed = self.parse()?;
        self.check_annotations(&parsed);
        let id = self.id(&parsed);
        let approvals = self.approvals(&parsed);
        let body = match parsed.to_pst() {
            Ok(pst::Policy::Static(policy)) => policy.body().clone(),
            Ok(_) => {
                self.error(
                    "the statement is a template",
                    "name the principal and the resource",
                );
                return None;
            }
            Err(error) => {
                self.error(report(&error), "simplify the statement");
                return None;
            }
        };
        let found = walk::walk(&body);
        for message in &found.refused {
            self.error_at("context", *message, "name the keys of `context` one by one");
        }
        let id = id?;
        let made = self.make(&id, &body, &approvals);
        if self.problems.len() > before {
            return None;
        }
        let (unlifted, lifted) = made?;
        let entities = found
            .entities
            .into_iter()
            .filter_map(|uid| entity_uid(&uid))
            .collect();
        Some(Statement {
            id,
            file: Arc::clone(self.file),
            line: self.piece.line,
            source: self.piece.text.into(),
            reason: parsed.annotation("reason").map(str::to_owned),
            approvals,
            unlifted,
            lifted,
            entities,
        })
    }

    fn parse(&mut self) -> Option<Policy> {
        match Policy::parse(None, self.piece.text) {
            Ok(policy) => Some(policy),
            Err(error) => {
                let within = line_of(&error, self.piece.text).unwrap_or(1);
                let line = self.piece.line.saturating_add(within) - 1;
                let template = self.piece.text.contains('?');
                let help = if template {
                    "correct the statement; templates are not supported"
                } else {
                    "correct the statement"
                };
                let problem = Problem::error(self.file.to_string(), line, report(&error), help);
                self.problems.push(problem);
                self.unreadable = true;
                None
            }
        }
    }

    fn check_annotations(&mut self, parsed: &Policy) {
        for (name, _) in parsed.annotations() {
            if !["id", "approval", "reason"].contains(&name) {
                let message = format!("unknown annotation `@{}`", shown(name));
                let help = "use `@id`, `@approval` or `@reason`";
                self.error_at(&format!("@{name}"), message, help);
            }
        }
    }

    fn id(&mut self, parsed: &Policy) -> Option<PolicyId> {
        let Some(text) = parsed.annotation("id") else {
            self.error(
                "the statement has no `@id`",
                "write `@id(\"NAME\")` before it",
            );
            return None;
        };
        if text.starts_with(RESERVED_PREFIX) {
            let message = format!("the id `{}` is reserved", shown(text));
            self.error_at(
                "@id",
                message,
                "choose an id that does not begin with `countersign.`",
            );
            return None;
        }
        match text.parse::<PolicyId>() {
            Ok(id) => Some(id),
            Err(error) => {
                self.error_at("@id", error.to_string(), "choose another id");
                None
            }
        }
    }

    fn approvals(&mut self, parsed: &Policy) -> BTreeSet<RuleName> {
        let mut approvals = BTreeSet::new();
        let Some(text) = parsed.annotation("approval") else {
            return approvals;
        };
        if parsed.effect() == Effect::Permit {
            let message = "`@approval` stands on a permit";
            self.error_at(
                "@approval",
                message,
                "write it on a forbid: an approval lifts a forbid",
            );
            return approvals;
        }
        for name in text.split(',').map(str::trim) {
            let rule = name.parse::<RuleName>().ok();
            match rule {
                Some(rule) if !self.rules.contains(&rule) => {
                    let message = format!("unknown approval rule `{rule}`");
                    self.error_at("@approval", message, "define it in `approvals.toml`");
                    self.last_follows();
                }
                Some(rule) => {
                    approvals.insert(rule);
                }
                None if name.is_empty() => {
                    let help = "write `@approval(\"RULE\")` or `@approval(\"RULE, RULE\")`";
                    self.error_at("@approval", "`@approval` names no rule", help);
                }
                None => {
                    let message = format!("`{}` cannot name a rule", shown(name));
                    self.error_at("@approval", message, "use a name from `approvals.toml`");
                }
            }
        }
        approvals
    }

    /// The statement without and with what lifts it. Both go through the syntax tree, which drops
    /// source positions: they would be copied at each step of an evaluation.
    fn make(
        &mut self,
        id: &PolicyId,
        body: &pst::Template,
        approvals: &BTreeSet<RuleName>,
    ) -> Option<(Policy, Policy)> {
        let named = body.clone().with_id(pst::PolicyID(id.as_str().into()));
        let make = |body: pst::Template| Policy::from_pst(pst::Policy::Static(body.try_into()?));
        let unlifted = make(named.clone());
        let lifted = approval::lift(named, approvals).and_then(make);
        match (unlifted, lifted) {
            (Ok(unlifted), Ok(lifted)) => Some((unlifted, lifted)),
            (Err(error), _) | (_, Err(error)) => {
                self.error(report(&error), "simplify the statement");
                None
            }
        }
    }
}

/// A syntax tree's entity as Cedar's public type.
pub(crate) fn entity_uid(uid: &pst::EntityUID) -> Option<EntityUid> {
    let kind = uid.ty.0.to_string().parse().ok()?;
    Some(EntityUid::from_type_name_and_id(
        kind,
        cedar_policy::EntityId::new(uid.eid.as_str()),
    ))
}

fn validate(
    statements: &[Statement],
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Option<PolicySet> {
    let lifted = statements.iter().map(|statement| statement.lifted.clone());
    let set = match PolicySet::from_policies(lifted) {
        Ok(set) => set,
        Err(error) => {
            let help = "give each statement its own `@id`";
            problems.push(Problem::error("policies", None, report(&error), help));
            return None;
        }
    };
    let lines: BTreeMap<&str, &Statement> = statements
        .iter()
        .map(|statement| (statement.id.as_str(), statement))
        .collect();
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let mut note = |id: &cedar_policy::PolicyId, message: String| {
        let id: &str = id.as_ref();
        let (file, line) = lines.get(id).map_or(("policies".to_owned(), None), |s| {
            (s.file.to_string(), Some(s.line))
        });
        let help = "correct the statement; `countersign policy schema` shows actions, types and attributes";
        problems.push(Problem::error(file, line, message, help).following());
    };
    for error in result.validation_errors() {
        note(error.policy_id(), report(error));
    }
    for warning in result.validation_warnings() {
        note(warning.policy_id(), report(warning));
    }
    Some(set)
}
