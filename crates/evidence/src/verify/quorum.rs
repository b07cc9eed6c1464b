//! Whether a permit rests on a decision and on enough people who are not *self*.
//!
//! In scope: everything that must hold at the moment of the permit.
//! Out of scope: whether the voters were eligible by group, which the signed slots of their votes
//! state.
//! Invariant: a slot counts only with a standing, signed approval that names it, by a person who
//! fills no other slot, and whose right no other fills; nothing that the permit alone states is believed.

use std::collections::BTreeSet;

use countersign_core::{id::RuleName, time::Timestamp};

use super::{
    Problem,
    requests::{Decided, Open, Standing},
};
use crate::{
    body::{ActionPermitted, ApprovalDecided, Assurance, Decision, Fill, RuleShape, Verdict},
    reference::Ref,
};

/// A confirmation without stages needs one person.
const ONE: &[u32] = &[1];

fn stages(rule: &RuleShape) -> &[u32] {
    if rule.confirmation && rule.stages.is_empty() {
        ONE
    } else {
        &rule.stages
    }
}

/// Checks a permit recorded `at`.
pub(super) fn check(
    open: &Open,
    permit: &ActionPermitted,
    at: Timestamp,
    problems: &mut Vec<Problem>,
) {
    let Some(first) = &open.first else {
        problems.push(Problem::PermittedBeforeDecision);
        return;
    };
    let last = open.claim.as_ref().unwrap_or(first);
    if open.denied_by_policy {
        problems.push(Problem::PermittedDespitePolicy);
    } else if last.body.decision != Decision::Permit {
        problems.push(Problem::ClaimMissing);
    }
    if permit.bundle != last.body.bundle {
        problems.push(Problem::BundleMismatch);
    }
    let given: BTreeSet<_> = last.body.approvals.iter().collect();
    let counted: BTreeSet<_> = permit.approvals.iter().collect();
    if given != counted {
        problems.push(Problem::ApprovalsMismatch);
    }
    let denials = open
        .votes
        .iter()
        .filter(|standing| standing.vote.verdict == Verdict::Deny);
    problems.extend(denials.map(|standing| {
        let voter = standing.vote.voter;
        Problem::PermittedDespiteDenial { voter }
    }));
    let rules = match first.body.decision {
        Decision::Hold => first.body.rules.as_slice(),
        Decision::Permit | Decision::Deny => &[],
    };
    let (lifted, emergencies) = lifted(open, rules, &counted, problems);
    check_rules(rules, permit, &counted, &lifted, problems);
    let fills = check_fills(open, rules, permit, problems);
    check_times(
        open,
        permit,
        at,
        fills.into_iter().chain(emergencies),
        problems,
    );
}

/// The rules lifted in an emergency, with the votes that did.
fn lifted<'a>(
    open: &'a Open,
    rules: &[RuleShape],
    counted: &BTreeSet<&RuleName>,
    problems: &mut Vec<Problem>,
) -> (BTreeSet<RuleName>, Vec<&'a Standing>) {
    let mut names = BTreeSet::new();
    let mut votes = Vec::new();
    for rule in rules
        .iter()
        .filter(|rule| rule.emergency && counted.contains(&rule.name))
    {
        let lifts = |standing: &&Standing| {
            let vote = &standing.vote;
            vote.emergency
                && vote.verdict == Verdict::Approve
                && vote.assurance == Assurance::Passkey
                && vote.slots.iter().any(|slot| slot.rule == rule.name)
        };
        if let Some(standing) = open.votes.iter().find(lifts) {
            let voter = standing.vote.voter;
            problems.push(Problem::EmergencyUsed {
                rule: rule.name.clone(),
                voter,
            });
            // Of the requester's side only the person who asks may lift, and openly so.
            if open.requester != Some(voter) {
                check_not_self(open, standing, problems);
            }
            names.insert(rule.name.clone());
            votes.push(standing);
        }
    }
    (names, votes)
}

fn check_rules(
    rules: &[RuleShape],
    permit: &ActionPermitted,
    counted: &BTreeSet<&RuleName>,
    lifted: &BTreeSet<RuleName>,
    problems: &mut Vec<Problem>,
) {
    for name in counted
        .iter()
        .filter(|name| !rules.iter().any(|rule| rule.name == ***name))
    {
        problems.push(Problem::RuleUnknown {
            rule: (**name).clone(),
        });
    }
    for rule in rules {
        if !counted.contains(&rule.name) {
            problems.push(Problem::RuleNotApproved {
                rule: rule.name.clone(),
            });
        }
        if lifted.contains(&rule.name) {
            continue;
        }
        for (stage, needed) in (0u32..).zip(stages(rule)) {
            let fills = |fill: &&Fill| fill.rule == rule.name && fill.stage == stage;
            let found = permit.fills.iter().filter(fills).count();
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            if found < *needed {
                let (rule, needed) = (rule.name.clone(), *needed);
                problems.push(Problem::StageNotFilled {
                    rule,
                    stage,
                    needed,
                    found,
                });
            }
        }
    }
}

/// Checks every fill and returns the votes behind them.
fn check_fills<'a>(
    open: &'a Open,
    rules: &[RuleShape],
    permit: &ActionPermitted,
    problems: &mut Vec<Problem>,
) -> Vec<&'a Standing> {
    let mut voters: BTreeSet<Ref> = BTreeSet::new();
    let mut rights: BTreeSet<Ref> = BTreeSet::new();
    let mut votes: Vec<&Standing> = Vec::new();
    for fill in &permit.fills {
        let Fill { rule, stage, voter } = fill.clone();
        let once = voters.insert(voter);
        if !once {
            problems.push(Problem::VoterCountedTwice { voter });
        }
        let has_stage = |shape: &&RuleShape| {
            shape.name == rule && usize::try_from(stage).is_ok_and(|n| n < stages(shape).len())
        };
        let Some(shape) = rules.iter().find(has_stage) else {
            problems.push(Problem::FillOutsideRule { rule, stage });
            continue;
        };
        let Some(standing) = open.votes.iter().find(|standing| backs(standing, fill)) else {
            if !open.granted_elsewhere {
                problems.push(Problem::FillWithoutVote { rule, stage, voter });
            }
            continue;
        };
        let right = standing.vote.in_place_of.unwrap_or(voter);
        if !rights.insert(right) && once {
            problems.push(Problem::RightUsedTwice { holder: right });
        }
        check_vote(open, shape, standing, problems);
        if votes.iter().any(|other| shares_credential(other, standing)) {
            problems.push(Problem::SharedCredential { voter });
        }
        votes.push(standing);
    }
    votes
}

fn backs(standing: &Standing, fill: &Fill) -> bool {
    let vote = &standing.vote;
    vote.voter == fill.voter
        && vote.verdict == Verdict::Approve
        && !vote.emergency
        && vote
            .slots
            .iter()
            .any(|slot| slot.rule == fill.rule && slot.stage == fill.stage)
}

fn check_vote(open: &Open, rule: &RuleShape, standing: &Standing, problems: &mut Vec<Problem>) {
    let vote = &standing.vote;
    let (voter, name) = (vote.voter, || rule.name.clone());
    if rule.confirmation {
        if !open.myself.contains(&voter) {
            problems.push(Problem::ConfirmedByOther { voter });
        }
    } else {
        check_not_self(open, standing, problems);
    }
    if vote.assurance < rule.assurance {
        problems.push(Problem::AssuranceTooLow {
            rule: name(),
            voter,
        });
    }
    if rule.reason_required && !standing.has_reason {
        problems.push(Problem::ReasonMissing {
            rule: name(),
            voter,
        });
    }
}

fn check_not_self(open: &Open, standing: &Standing, problems: &mut Vec<Problem>) {
    let voter = standing.vote.voter;
    if open.myself.contains(&voter) {
        problems.push(Problem::SelfApproval { voter });
    }
    if let Some(away) = standing.vote.in_place_of
        && open.myself.contains(&away)
    {
        problems.push(Problem::InPlaceOfSelf { voter, away });
    }
    if makers(&standing.vote).any(|maker| open.myself.contains(maker)) {
        problems.push(Problem::SelfIssuedCredential { voter });
    }
}

/// Everybody who had a hand in the credential of a vote.
pub(super) fn makers(vote: &ApprovalDecided) -> impl Iterator<Item = &Ref> {
    vote.issuer.iter().chain(&vote.lineage)
}

/// Whether one of two voters had a hand in the other's credential, or one person in both.
fn shares_credential(one: &Standing, other: &Standing) -> bool {
    let (one, other) = (&one.vote, &other.vote);
    one.voter != other.voter
        && (makers(one).any(|maker| *maker == other.voter)
            || makers(other)
                .any(|maker| *maker == one.voter || makers(one).any(|own| own == maker)))
}

fn check_times<'a>(
    open: &Open,
    permit: &ActionPermitted,
    at: Timestamp,
    counted: impl Iterator<Item = &'a Standing> + Clone,
    problems: &mut Vec<Problem>,
) {
    let (Some(claim), Some(valid_for)) = (&open.claim, open.shortest(|rule| rule.valid_for)) else {
        return;
    };
    let after = |standing: &Standing, claim: &Decided| standing.seq > claim.seq;
    if counted.clone().any(|standing| after(standing, claim)) {
        problems.push(Problem::ClaimBeforeVotes);
    }
    let Some(last) = counted.clone().map(|standing| standing.at).max() else {
        return;
    };
    // A permit that was recorded again after a crash is later than the claim it belongs to.
    let claimed = if permit.recovered {
        claim.at
    } else {
        claim.at.max(at)
    };
    let granted_until = open.granted_until.filter(|_| {
        let mut counted = counted.clone();
        counted.any(|standing| standing.granted)
    });
    if claimed > last.after(valid_for) || granted_until.is_some_and(|until| claimed > until) {
        problems.push(Problem::ClaimTooLate);
    }
}
