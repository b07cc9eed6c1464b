//! Claiming an approved action: the moment at which approval turns into permission.
//!
//! In scope: every condition of P4 that is not policy's own.
//! Invariant: an approval is consumed by moving to `Running` in the same step that mints the
//! intent, so no later claim finds it.

use std::collections::BTreeSet;

use super::{Claim, Fact, Refusal, World, emergency::standing_lifts, grant, step::Progress, vote};
use crate::{
    decision::Decision,
    digest::action_digest,
    id::{PermitId, RuleName},
    permit::Intent,
    request::{Case, Closure, Outcome, Phase},
};

/// The rules that the standing votes satisfy as they were and as they are; what policy is given
/// as approvals at the claim.
#[must_use]
pub fn satisfied_rules(case: &Case, world: World<'_>) -> BTreeSet<RuleName> {
    let [as_was, as_is] = vote::rule_sets(case, world);
    let was = vote::tally(case, &as_was, world);
    let is = vote::tally(case, &as_is, world);
    let still = |name: &RuleName| !world.rules.contains_key(name) || is.satisfies(name);
    let lifted = standing_lifts(case, world).map(|lift| lift.rule.clone());
    let signed = as_was
        .iter()
        .map(|rule| &rule.name)
        .filter(|name| was.satisfies(name) && still(name));
    signed.cloned().chain(lifted).collect()
}

pub(super) fn claim(progress: &mut Progress<'_>, claim: Claim) -> Result<(), Refusal> {
    let (case, world, now) = (&progress.case, progress.world, progress.now);
    if !matches!(case.phase, Phase::Approved { .. }) {
        return Err(match case.phase {
            Phase::Held { .. } => Refusal::NotApproved(case.phase.name()),
            Phase::Closed {
                closure: Closure::Unclaimed,
                at,
                ..
            } => Refusal::Lapsed(at),
            _ => Refusal::NotOpen(case.phase.name()),
        });
    }
    let request = &case.request;
    if claim.by != request.chain.requester.id {
        return Err(Refusal::NotRequester);
    }
    let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce);
    if digest.as_ref() != Ok(&request.digest) {
        return Err(Refusal::StoredActionChanged);
    }
    progress.settle();
    let (case, request) = (&progress.case, &progress.case.request);
    if !matches!(case.phase, Phase::Approved { .. }) {
        progress.refuse(match case.phase {
            Phase::Closed {
                closure: Closure::Unclaimed,
                at,
                ..
            } => Refusal::Lapsed(at),
            _ => Refusal::NoLongerSatisfied,
        });
        return Ok(());
    }
    progress.facts.push(Fact::Redecided {
        decided: claim.decided.clone(),
    });
    if let Some(detail) = objection(&claim, &satisfied_rules(case, world)) {
        progress.refuse(Refusal::PolicyChanged(detail.clone()));
        progress.close(Closure::PolicyChanged { detail });
        return Ok(());
    }
    let filled = vote::progress(case, world).filled.into_iter().collect();
    let intent = Intent::mint(
        claim.permit.clone(),
        request.id.clone(),
        request.digest,
        now,
    );
    progress.facts.push(Fact::Permitted {
        permit: claim.permit.clone(),
        expires: intent.expires(),
        filled,
        approvals: claim.decided.approvals,
    });
    grant::give(progress);
    progress.case.phase = Phase::Running {
        permit: claim.permit,
        since: now,
    };
    progress.intent = Some(intent);
    Ok(())
}

/// What stands against running, by the decision made at the claim.
fn objection(claim: &Claim, satisfied: &BTreeSet<RuleName>) -> Option<String> {
    let decided = &claim.decided;
    if decided.approvals != *satisfied {
        return Some("it was asked with other approvals than were given".into());
    }
    match &decided.decision {
        Decision::Permit { .. } => None,
        Decision::Deny { reason, .. } => Some(reason.to_string()),
        Decision::Hold { rules, .. } => {
            let names: Vec<_> = rules.iter().map(RuleName::as_str).collect();
            Some(format!(
                "it now also needs `{}`; ask again",
                names.join("`, `")
            ))
        }
    }
}

pub(super) fn end(
    progress: &mut Progress<'_>,
    permit: PermitId,
    outcome: Outcome,
) -> Result<(), Refusal> {
    match &progress.case.phase {
        Phase::Running {
            permit: running, ..
        } if *running == permit => {
            progress.case.phase = Phase::Finished {
                permit: permit.clone(),
                outcome,
                at: progress.now,
            };
            progress.facts.push(Fact::Ended { permit, outcome });
            Ok(())
        }
        Phase::Running { .. } => Err(Refusal::OtherPermit),
        other => Err(Refusal::NotOpen(other.name())),
    }
}
