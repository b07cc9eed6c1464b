//! Lifting a rule in an emergency, and reviewing that somebody did.
//!
//! In scope: who may lift which rule, for how long a lift stands, who may review it, what an overdue
//! review suspends.
//! Out of scope: which reviews of other cases are due; whoever keeps all cases says so.
//! Invariant: like a vote, a lift counts only while its author may still lift the rule, as it was
//! and as it is. Of the requester's side nobody lifts but the person who asks, for themselves. Nobody
//! who lifted something of a case, or is on its requester's side, reviews anything of it.

use std::collections::BTreeSet;

use super::{
    Ballot, Fact, Refusal, World,
    step::Progress,
    vote::{check_form, check_issuer, check_typed, has_reason, rule_sets},
};
use crate::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::Electorate,
        rule::{Assurance, Emergency},
        vote::{Credential, Verdict},
    },
    id::{PersonId, RuleName},
    request::{Case, Lifted, MAX_TEXT_BYTES, Reviewed},
    subject::SubjectId,
    time::{Span, Timestamp},
};

const SUSPENDED: &str = "an earlier use awaits its overdue review";

/// The lifts whose authors may still lift their rule.
pub(super) fn standing_lifts<'a>(
    case: &'a Case,
    world: World<'a>,
) -> impl Iterator<Item = &'a Lifted> {
    case.lifted.iter().filter(move |lift| {
        let may = |emergency: &Emergency| may_lift(case, world, emergency, lift.by());
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

/// The emergencies of a rule that is still to be satisfied, as it was and as it is.
fn open_emergencies(
    case: &Case,
    world: World<'_>,
    rule: &RuleName,
) -> Result<Vec<Emergency>, Refusal> {
    let sets = rule_sets(case, world);
    let each = sets.iter().map(|rules| emergencies(rules, rule));
    let all: Option<Vec<_>> = each.collect();
    let all = all.ok_or(Refusal::NoEmergency(
        "the rule has no emergency, or is not asked for",
    ))?;
    Ok(all.concat())
}

/// Whether an overdue review suspends the emergencies of a rule: one of this rule, or one of a rule
/// that has no emergency any more. Whoever renames a rule takes the suspension along to all.
fn is_suspended(world: World<'_>, rule: &RuleName, now: Timestamp) -> bool {
    let is_gone = |name: &RuleName| {
        let found = world.rules.get(name);
        found.is_none_or(|found| found.emergency.is_none())
    };
    world.due_reviews.is_none_or(|due| {
        let mut overdue = due.iter().filter(|(_, review_by)| now > **review_by);
        overdue.any(|(name, _)| name == rule || is_gone(name))
    })
}

/// The rules that somebody could lift now with a passkey, each with the time by which that would
/// have to be reviewed; for showing.
#[must_use]
pub fn liftable(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    person: &PersonId,
) -> Vec<(RuleName, Timestamp)> {
    let open = |rule: &ApprovalRule| {
        check_circumstances(case, world, now, &rule.name).ok()?;
        let emergencies = open_emergencies(case, world, &rule.name).ok()?;
        let may = |emergency: &Emergency| may_lift(case, world, emergency, person);
        let all = emergencies.iter().all(may);
        all.then(|| (rule.name.clone(), review_by(&emergencies, now)))
    };
    case.request.rules.iter().filter_map(open).collect()
}

/// Whether anybody could lift a rule, were it not suspended.
pub(super) fn may_be_lifted(case: &Case, world: World<'_>, rule: &RuleName) -> bool {
    let Ok(emergencies) = open_emergencies(case, world, rule) else {
        return false;
    };
    let may = |person: &PersonId| {
        let may = |emergency: &Emergency| may_lift(case, world, emergency, person);
        emergencies.iter().all(may)
    };
    check_kind(case).is_ok() && world.directory.people.keys().any(may)
}

fn review_by(emergencies: &[Emergency], now: Timestamp) -> Timestamp {
    let within = emergencies.iter().map(|one| one.review_within).min();
    now.after(within.unwrap_or(Span::from_millis(0)))
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
    check_circumstances(case, world, progress.now, &rule)?;
    check_ballot(case, world, &ballot)?;
    let emergencies = open_emergencies(case, world, &rule)?;
    if is_behind(case, world, &ballot.voter) {
        return Err(Refusal::OwnRequest(ballot.voter));
    }
    let may = |emergency: &Emergency| may_lift(case, world, emergency, &ballot.voter);
    if !emergencies.iter().all(may) {
        return Err(Refusal::NotEligible(ballot.voter));
    }
    let review_by = review_by(&emergencies, progress.now);
    let vote = ballot.cast(progress.now, None);
    progress.case.lifted.push(Lifted {
        rule: rule.clone(),
        vote: vote.clone(),
        review_by,
        envelope: None,
        overdue: false,
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

/// Whether it is a request whose rules can be lifted at all.
fn check_kind(case: &Case) -> Result<(), Refusal> {
    if case.request.administrative {
        return Err(Refusal::NoEmergency("it changes Countersign itself"));
    }
    let mut members = case.request.chain.members();
    match members.all(|member| matches!(member.id, SubjectId::Person(_))) {
        true => Ok(()),
        false => Err(Refusal::NoEmergency(
            "only people break the glass, not agents or workloads",
        )),
    }
}

fn check_circumstances(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    rule: &RuleName,
) -> Result<(), Refusal> {
    if !case.phase.is_open() {
        return Err(Refusal::NotOpen(case.phase.name()));
    }
    check_kind(case)?;
    match is_suspended(world, rule, now) {
        true => Err(Refusal::NoEmergency(SUSPENDED)),
        false => Ok(()),
    }
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
    if !has_reason(ballot.reason.as_deref()) {
        return Err(Refusal::ReasonRequired);
    }
    check_typed(case, ballot)
}

/// Everybody whose review of this case would be their own: the requester's side, whoever lifted a rule of
/// it, and whoever had a hand in what they lifted it with.
#[must_use]
pub fn involved(case: &Case, world: World<'_>) -> BTreeSet<PersonId> {
    let mut involved = myself(case, world.directory);
    for lift in &case.lifted {
        involved.insert(lift.by().clone());
        involved.extend(lift.vote.credential.makers().cloned());
    }
    involved
}

/// Whether somebody may review the emergency use of a rule of this case: an active person whom the
/// rule names, as it was or as it is, to sign or to lift it, and who is not involved.
#[must_use]
pub fn may_review(case: &Case, world: World<'_>, rule: &RuleName, person: &PersonId) -> bool {
    let electorate = Electorate {
        request: &case.request,
        directory: world.directory,
        rules: &[],
        myself: &BTreeSet::new(),
    };
    let names = |found: &ApprovalRule| {
        let stages = found.stages.iter().flat_map(|stage| &stage.from);
        let later = found.escalate.iter().flat_map(|escalation| &escalation.to);
        let lifters = found.emergency.iter().flat_map(|emergency| &emergency.from);
        let mut named = stages.chain(later).chain(lifters);
        named.any(|approver| electorate.is_one_of(person, approver))
    };
    let was = case.request.rules.iter().filter(|one| one.name == *rule);
    world.directory.active_person(person).is_some()
        && !involved(case, world).contains(person)
        && was.chain(world.rules.get(rule)).any(names)
}

/// Whether somebody is concerned with emergencies of a case, so that they see it: they lifted
/// something of it, a rule names them to lift it, or they may review what was lifted.
#[must_use]
pub fn is_of_emergency(case: &Case, world: World<'_>, person: &PersonId) -> bool {
    let lifter = |lift: &Lifted| lift.by() == person || may_review(case, world, &lift.rule, person);
    let names = |rule: &ApprovalRule| {
        let emergency = rule.emergency.as_ref();
        emergency.is_some_and(|emergency| may_lift(case, world, emergency, person))
    };
    case.lifted.iter().any(lifter)
        || (check_kind(case).is_ok() && case.request.rules.iter().any(names))
}

/// The rules whose emergency use awaits a review that somebody may make.
#[must_use]
pub fn reviewable(case: &Case, world: World<'_>, person: &PersonId) -> BTreeSet<RuleName> {
    let due = case.lifted.iter().filter(|lift| lift.reviewed.is_none());
    let may = |rule: &&RuleName| may_review(case, world, rule, person);
    due.map(|lift| &lift.rule).filter(may).cloned().collect()
}

/// Everybody who may review the emergency use of a rule, for telling them.
#[must_use]
pub fn reviewers(case: &Case, world: World<'_>, rule: &RuleName) -> BTreeSet<PersonId> {
    let people = world.directory.people.keys();
    let may = |person: &&PersonId| may_review(case, world, rule, person);
    people.filter(may).cloned().collect()
}

/// Notes that somebody else looked at an emergency, and what they found.
pub(super) fn review(
    progress: &mut Progress<'_>,
    rule: RuleName,
    by: PersonId,
    credential: Credential,
    note: String,
) -> Result<(), Refusal> {
    let (case, world) = (&progress.case, progress.world);
    let involved = involved(case, world);
    if case.lifted.iter().any(|lift| *lift.by() == by) {
        return Err(Refusal::OwnEmergency(by));
    }
    if involved.contains(&by) {
        return Err(Refusal::OwnRequest(by));
    }
    if let Some(issuer) = credential.maker_among(&involved) {
        return Err(Refusal::CredentialFromRequester(issuer.clone()));
    }
    if credential.assurance < Assurance::Session {
        let (needed, given) = (Assurance::Session, credential.assurance);
        return Err(Refusal::AssuranceTooLow { needed, given });
    }
    if note.len() > MAX_TEXT_BYTES {
        return Err(Refusal::TextTooLong);
    }
    if !has_reason(Some(&note)) {
        return Err(Refusal::ReasonRequired);
    }
    let due = |lift: &Lifted| lift.rule == rule && lift.reviewed.is_none();
    if !case.lifted.iter().any(due) {
        return Err(Refusal::NothingToReview);
    }
    if !may_review(case, world, &rule, &by) {
        return Err(Refusal::NotEligible(by));
    }
    let review = Reviewed {
        by,
        credential,
        note,
        at: progress.now,
    };
    let lifted = progress.case.lifted.iter_mut();
    for lift in lifted.filter(|lift| lift.rule == rule && lift.reviewed.is_none()) {
        lift.reviewed = Some(review.clone());
        progress.facts.push(Fact::Reviewed {
            rule: rule.clone(),
            lifter: lift.by().clone(),
            review: review.clone(),
        });
    }
    Ok(())
}

/// Notes, once each, emergencies that nobody reviewed in time. The suspension does not wait for it.
pub(super) fn note_overdue(progress: &mut Progress<'_>) {
    let now = progress.now;
    let lifted = progress.case.lifted.iter_mut();
    for lift in lifted.filter(|lift| lift.is_overdue(now) && !lift.overdue) {
        lift.overdue = true;
        progress.facts.push(Fact::ReviewOverdue {
            rule: lift.rule.clone(),
            lifter: lift.by().clone(),
            review_by: lift.review_by,
        });
    }
}
