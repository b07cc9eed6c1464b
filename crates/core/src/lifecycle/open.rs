//! How a request begins: admitted, held or denied.

use std::collections::{BTreeMap, BTreeSet};

use super::{World, emergency::may_be_lifted, vote::rule_sets};
use crate::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::{Electorate, shortest},
    },
    decision::{Decision, DenyReason},
    id::RuleName,
    request::{Case, Phase, Request},
    time::Timestamp,
};

/// The rule that holds an identical action after one whose outcome is unknown (P7).
pub const REPEAT_AFTER_UNKNOWN: &str = "repeat-after-unknown";

/// How many denials of one subject's requests at one target end its asking for a while.
pub const MAX_DENIALS: usize = 5;

/// Until when nothing more of a subject is held at a target, because people denied too much of it.
///
/// `refused_until` has, for each request of the subject there that a person denied, until when an
/// identical call is refused, which is the rule's `expires` after the denial. As long as
/// [`MAX_DENIALS`] of them are still to come at `now`, asking people again would wear them down,
/// however the calls are spelt.
#[must_use]
pub fn refused_for_denials(refused_until: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let mut to_come: Vec<_> = refused_until.iter().filter(|at| **at > now).collect();
    to_come.sort_unstable_by(|one, other| other.cmp(one));
    to_come.get(MAX_DENIALS - 1).map(|at| **at)
}

/// What becomes of a decision when an identical action ended unknown before: a permit turns into
/// a hold for the rule [`REPEAT_AFTER_UNKNOWN`], or into a denial where no such rule exists. What is
/// held anyway is held for its own rules: people look at it, and are told.
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
        grant: None,
        granted: None,
        version: 0,
        claimed: None,
        exit: None,
        records: 0,
        seal: None,
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

/// The rules that today's members, without *self*, could not satisfy as they were or as they are, and
/// that nobody could lift in an emergency.
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
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|rule| !may_be_lifted(case, world, rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_add_up_until_enough_of_them_are_over() {
        for (until, now, expected) in [
            (&[][..], 0, None),
            (&[10, 20, 30, 40], 0, None),
            (&[10, 20, 30, 40, 50], 0, Some(10)),
            (&[50, 40, 30, 20, 10], 9, Some(10)),
            (&[10, 20, 30, 40, 50], 10, None),
            (&[10, 20, 30, 40, 50, 60, 70], 0, Some(30)),
            (&[10, 20, 30, 40, 50, 60, 70], 29, Some(30)),
            (&[10, 20, 30, 40, 50, 60, 70], 30, None),
        ] {
            let until: Vec<_> = until.iter().copied().map(Timestamp).collect();
            let refused = refused_for_denials(&until, Timestamp(now));
            assert_eq!(refused, expected.map(Timestamp), "{until:?} at {now}");
        }
    }
}
