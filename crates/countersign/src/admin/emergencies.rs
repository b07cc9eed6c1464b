//! What a change of the rules means for emergencies.
//!
//! In scope: who may break the glass from then on that may not now, reviews that are due later, and
//! rules that leave without the review of their last use.
//! Out of scope: what is suspended (core).
//! Invariant: whoever can lift more than before, or is reviewed later, has a line.

use std::{collections::BTreeMap, fmt::Write as _};

use countersign_core::{approval::ApprovalRule, id::RuleName, time::Timestamp};
use countersign_policy::Bundle;

/// The lines of a change of the bundle. `due` has the rules with a use that nobody has reviewed.
pub(super) fn lines(
    before: &Bundle,
    after: &Bundle,
    due: &BTreeMap<RuleName, Timestamp>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rule) in after.rules() {
        lines.extend(more(name, before.rules().get(name), rule));
    }
    let without = |name: &&RuleName| {
        let rule = after.rules().get(*name);
        rule.is_none_or(|rule| rule.emergency.is_none())
    };
    for name in due.keys().filter(without) {
        lines.push(format!(
            "Nobody has reviewed an emergency use of the rule `{name}`, which has no emergency any more. \
             If that becomes overdue, no rule can be lifted until somebody does."
        ));
    }
    lines
}

/// What can be lifted by more people, or is reviewed later.
fn more(name: &RuleName, before: Option<&ApprovalRule>, rule: &ApprovalRule) -> Option<String> {
    let emergency = rule.emergency.as_ref()?;
    let known = before.and_then(|rule| rule.emergency.as_ref());
    let new = emergency.from.iter().filter(|entry| {
        let had = known.is_some_and(|known| known.from.contains(entry));
        !had
    });
    let new: Vec<_> = new.map(ToString::to_string).collect();
    let later = known.is_some_and(|known| known.review_within < emergency.review_within);
    if new.is_empty() && !later {
        return None;
    }
    let mut line = format!("The rule `{name}` can be lifted in an emergency");
    if !new.is_empty() {
        let _a_string_takes_it = write!(line, " by {}", new.join(", "));
    }
    let within = emergency.review_within;
    let _a_string_takes_it = write!(
        line,
        ", without a countersignature; somebody else looks at it within {within}."
    );
    Some(line)
}
