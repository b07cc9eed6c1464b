//! How a request begins: admitted, held or denied.

use std::collections::{BTreeMap, BTreeSet};

use super::{World, vote::rule_sets};
use crate::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::{Electorate, shortest},
    },
    decision::{Decision, DenyReason},
    id::RuleName,
    request::{Case, Phase, Request},
};

/// The rule that holds an identical action after one whose outcome is unknown (P7).
pub const REPEAT_AFTER_UNKNOWN: &str = "repeat-after-unknown";

/// What becomes of a decision when an identical action ended unknown before: a permit turns into
/// a hold for the rule [`REPEAT_AFTER_UNKNOWN`], or into a denial where no such rule exists.
#[must_use]
pub fn admit(
    decision: Decision,
    unknown_before: bool,
    rules: &BTreeMap<RuleName, ApprovalRule>,
) -> Decision {
    match decision {
        Decision::Permit { policies } if unknown_before => {
            match rules
                .keys()
                .find(|name| name.as_str() == REPEAT_AFTER_UNKNOWN)
            {
                Some(rule) => Decision::Hold {
                    rules: BTreeSet::from([rule.clone()]),
                    policies,
                },
                None => Decision::deny(DenyReason::QuorumUnreachable(format!(
                    "an identical action ended with an unknown outcome; repeating it needs the \
                     approval rule `{REPEAT_AFTER_UNKNOWN}`, which is not defined"
                ))),
            }
        }
        other => other,
    }
}

/// Begins a held case.
///
/// # Errors
/// [`DenyReason::QuorumUnreachable`] when even everybody who may sign could not satisfy the rules.
pub fn open(request: Request, world: World<'_>) -> Result<Case, DenyReason> {
    let expires = request
        .at
        .after(shortest(&request.rules, |rule| rule.expires));
    let case = Case {
        request,
        phase: Phase::Held { expires },
        votes: Vec::new(),
        conversation: Vec::new(),
        self_grown: BTreeSet::new(),
        lifted: Vec::new(),
        escalated: BTreeSet::new(),
        version: 0,
        claimed: None,
        exit: None,
        records: 0,
    };
    let unreachable = unreachable_rules(&case, world);
    if unreachable.is_empty() {
        return Ok(case);
    }
    let names: Vec<_> = unreachable.iter().map(RuleName::as_str).collect();
    Err(DenyReason::QuorumUnreachable(format!(
        "nobody is left who could satisfy `{}` without being on the requester's side; add people \
         to its groups or change the rule",
        names.join("`, `")
    )))
}

/// The rules that today's members, without *self*, could not satisfy as they were or as they are.
pub(super) fn unreachable_rules(case: &Case, world: World<'_>) -> BTreeSet<RuleName> {
    if case.request.rules.is_empty() {
        return BTreeSet::from_iter(RuleName::new("none").ok());
    }
    let myself = myself(case, world.directory);
    let unreachable = |rules: &Vec<ApprovalRule>| {
        let electorate = Electorate {
            request: &case.request,
            directory: world.directory,
            rules,
            myself: &myself,
        };
        electorate.unreachable()
    };
    rule_sets(case, world)
        .iter()
        .flat_map(unreachable)
        .map(|slot| slot.rule)
        .collect()
}
