//! Lifting a rule in an emergency, and reviewing that somebody did.
//!
//! In scope: who may lift which rule, and for how long a lift stands.
//! Out of scope: overdue reviews; whoever keeps all cases says which rules they suspend.
//! Invariant: like a vote, a lift counts only while its author may still lift the rule, as it was
//! and as it is. Of the requester's side nobody lifts but the person who asks, for themselves.

use super::{
    Ballot, Fact, Refusal, World,
    step::Progress,
    vote::{check_form, check_issuer, check_typed, rule_sets},
};
use crate::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::Electorate,
        rule::{Assurance, Emergency},
        vote::Verdict,
    },
    id::{PersonId, RuleName},
    request::{Case, Lifted},
    subject::SubjectId,
    time::Span,
};

/// The lifts whose authors may still lift their rule.
pub(super) fn standing_lifts<'a>(
    case: &'a Case,
    world: World<'a>,
) -> impl Iterator<Item = &'a Lifted> {
    case.lifted.iter().filter(move |lift| {
        let may = |emergency: &Emergency| may_lift(case, world, emergency, &lift.by);
        let allows = |emergencies: Option<Vec<Emergency>>| {
            emergencies.is_some_and(|emergencies| emergencies.iter().all(may))
        };
        allows(emergencies(&case.request.rules, &lift.rule))
            && world
                .rules
                .get(&lift.rule)
                .is_none_or(|rule| allows(emergencies(std::slice::from_ref(rule), &lift.rule)))
    })
}

/// The emergencies of every rule of that name; `None` when there is no such rule or one has none.
fn emergencies(rules: &[ApprovalRule], name: &RuleName) -> Option<Vec<Emergency>> {
    let named = rules.iter().filter(|rule| rule.name == *name);
    let all: Option<Vec<_>> = named.map(|rule| rule.emergency.clone()).collect();
    all.filter(|all| !all.is_empty())
}

/// Whether somebody is *self* for another reason than that they ask: they own, issued or edited
/// something of it. Whoever asks takes it upon themselves openly; for whoever stands behind
/// somebody else's request an emergency would be a way to approve it.
fn is_behind(case: &Case, world: World<'_>, person: &PersonId) -> bool {
    let asks = case.request.chain.requester.id == SubjectId::Person(person.clone());
    !asks && myself(case, world.directory).contains(person)
}

fn may_lift(case: &Case, world: World<'_>, emergency: &Emergency, person: &PersonId) -> bool {
    if is_behind(case, world, person) {
        return false;
    }
    let electorate = Electorate {
        request: &case.request,
        directory: world.directory,
        rules: &[],
        myself: &myself(case, world.directory),
    };
    let named = |from| electorate.is_one_of(person, from);
    world.directory.active_person(person).is_some() && emergency.from.iter().any(named)
}

/// Lifts one rule in an emergency: for people acting for themselves, by a passkey, by one of them or
/// by somebody on nobody's side, never for administration, never while an earlier use awaits its
/// review.
pub(super) fn break_glass(
    progress: &mut Progress<'_>,
    rule: RuleName,
    ballot: Ballot,
) -> Result<(), Refusal> {
    let (case, world) = (&progress.case, progress.world);
    check_circumstances(case, world, &rule)?;
    check_ballot(case, world, &ballot)?;
    let emergencies = rule_sets(case, world)
        .iter()
        .map(|rules| emergencies(rules, &rule))
        .collect::<Option<Vec<_>>>()
        .ok_or(Refusal::NoEmergency(
            "the rule has no emergency, or is not asked for",
        ))?
        .concat();
    if is_behind(case, world, &ballot.voter) {
        return Err(Refusal::OwnRequest(ballot.voter));
    }
    let may = |emergency: &Emergency| may_lift(case, world, emergency, &ballot.voter);
    if !emergencies.iter().all(may) {
        return Err(Refusal::NotEligible(ballot.voter));
    }
    let within = emergencies.iter().map(|one| one.review_within).min();
    let review_by = progress.now.after(within.unwrap_or(Span::from_millis(0)));
    let vote = ballot.cast(progress.now);
    progress.case.lifted.push(Lifted {
        rule: rule.clone(),
        by: vote.voter.clone(),
        assurance: vote.credential.assurance,
        reason: vote.reason.clone().unwrap_or_default(),
        at: vote.at,
        review_by,
        reviewed: None,
    });
    progress.facts.push(Fact::GlassBroken {
        rule,
        vote,
        review_by,
    });
    progress.settle();
    Ok(())
}

fn check_circumstances(case: &Case, world: World<'_>, rule: &RuleName) -> Result<(), Refusal> {
    if !case.phase.is_open() {
        return Err(Refusal::NotOpen(case.phase.name()));
    }
    if case.request.administrative {
        return Err(Refusal::NoEmergency("it changes Countersign itself"));
    }
    let mut members = case.request.chain.members();
    if !members.all(|member| matches!(member.id, SubjectId::Person(_))) {
        return Err(Refusal::NoEmergency(
            "only people break the glass, not agents or workloads",
        ));
    }
    if world.suspended_emergencies.contains(rule) {
        return Err(Refusal::NoEmergency(
            "an earlier use awaits its overdue review",
        ));
    }
    Ok(())
}

fn check_ballot(case: &Case, world: World<'_>, ballot: &Ballot) -> Result<(), Refusal> {
    check_form(case, ballot)?;
    if ballot.grant.is_some() {
        return Err(Refusal::NotGrantable("an emergency lifts one rule once"));
    }
    if ballot.verdict != Verdict::Approve {
        return Err(Refusal::NoEmergency("a denial lifts nothing"));
    }
    check_issuer(ballot, &myself(case, world.directory))?;
    let given = ballot.credential.assurance;
    if given < Assurance::Passkey {
        let needed = Assurance::Passkey;
        return Err(Refusal::AssuranceTooLow { needed, given });
    }
    let reason = ballot.reason.as_ref();
    if reason.is_none_or(|text| text.trim().is_empty()) {
        return Err(Refusal::ReasonRequired);
    }
    check_typed(case, ballot)
}

/// Notes that somebody else looked at an emergency.
pub(super) fn review(
    progress: &mut Progress<'_>,
    rule: RuleName,
    by: PersonId,
) -> Result<(), Refusal> {
    if myself(&progress.case, progress.world.directory).contains(&by) {
        return Err(Refusal::OwnRequest(by));
    }
    if progress.world.directory.active_person(&by).is_none() {
        return Err(Refusal::NotEligible(by));
    }
    let lift = progress
        .case
        .lifted
        .iter_mut()
        .find(|lift| lift.rule == rule && lift.reviewed.is_none() && lift.by != by)
        .ok_or(Refusal::NothingToReview)?;
    lift.reviewed = Some(by.clone());
    progress.facts.push(Fact::Reviewed { rule, by });
    Ok(())
}
