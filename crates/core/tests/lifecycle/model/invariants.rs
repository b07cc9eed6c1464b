//! What must hold after every event, whatever happened before.

use std::collections::BTreeSet;

use countersign_core::{
    approval::vote::{Credential, Verdict, Vote},
    decision::Decision,
    id::{PersonId, RuleName},
    lifecycle::{Event, Fact, deadline, progress},
    request::{Case, Closure, Lifted, Outcome, Phase},
    subject::SubjectId,
    time::Timestamp,
};

use super::{Observation, brute::right, history::vote_of, is_over};

type Invariant = (&'static str, fn(&Observation) -> bool);

/// Every invariant with the name by which a fault is reported.
pub(super) const INVARIANTS: [Invariant; 20] = [
    (
        "quorum of others",
        invariant_no_permit_without_quorum_of_others,
    ),
    ("at most one permit", invariant_at_most_one_permit),
    ("self never counts", invariant_self_never_counts),
    ("one person one slot", invariant_one_person_one_slot),
    ("own sessions", invariant_sessions_are_their_voters_own),
    ("eligible voters", invariant_only_the_eligible_decide),
    ("deny is final", invariant_deny_is_final),
    ("terminal is terminal", invariant_terminal_is_terminal),
    ("facts explain", invariant_facts_explain_the_case),
    ("deadline", invariant_deadline_is_in_the_future_or_acted_on),
    ("policy decides again", invariant_policy_decides_again),
    ("requester claims", invariant_only_the_requester_claims),
    (
        "what was approved",
        invariant_what_was_approved_is_what_runs,
    ),
    ("approvals lapse", invariant_approvals_lapse),
    ("restart", invariant_a_restart_is_never_silent),
    ("same result", invariant_same_input_same_result),
    (
        "approved means satisfied",
        invariant_approved_means_satisfied,
    ),
    (
        "satisfied means approved",
        invariant_satisfied_means_approved,
    ),
    ("stages in order", invariant_stages_run_in_order),
    ("emergencies", invariant_emergencies_are_for_people),
];

/// The names of the invariants that do not hold.
pub(super) fn broken(seen: &Observation) -> BTreeSet<&'static str> {
    let failing = INVARIANTS.iter().filter(|(_, holds)| !holds(seen));
    failing.map(|(name, _)| *name).collect()
}

fn intent_implies(seen: &Observation, holds: impl FnOnce() -> bool) -> bool {
    seen.step().is_none_or(|step| step.intent.is_none()) || holds()
}

fn facts<'a>(seen: &'a Observation) -> impl Iterator<Item = &'a Fact> {
    seen.step().into_iter().flat_map(|step| &step.facts)
}

fn is_permitted(fact: &&Fact) -> bool {
    matches!(fact, Fact::Permitted { .. })
}

fn invariant_no_permit_without_quorum_of_others(seen: &Observation) -> bool {
    let has_rules = !seen.history.first.request.rules.is_empty();
    intent_implies(seen, || has_rules && seen.history.is_satisfied(seen.stage))
}

fn invariant_at_most_one_permit(seen: &Observation) -> bool {
    let recorded = seen.history.facts.iter().filter(is_permitted).count();
    seen.history.permits <= 1 && recorded == seen.history.permits
}

fn invariant_self_never_counts(seen: &Observation) -> bool {
    let [was, is] = seen.history.rule_sets(seen.stage);
    let confirms = |vote: &Vote| {
        let confirmation = was.iter().chain(&is).any(|rule| rule.confirmation);
        confirmation
            && seen
                .history
                .question(seen.stage, &was)
                .is_represented(&vote.voter)
    };
    let is_self = |vote: &Vote| seen.history.myself.contains(&vote.voter);
    let voted = facts(seen).all(|fact| match fact {
        Fact::Voted { vote, .. } => {
            let for_self = seen.history.myself.contains(right(vote));
            !(is_self(vote) || for_self) || confirms(vote)
        }
        _ => true,
    });
    let rules = &seen.history.first.request.rules;
    let confirmation = |name: &RuleName| {
        rules
            .iter()
            .any(|rule| rule.name == *name && rule.confirmation)
    };
    let filled = progress(seen.after(), seen.world()).filled;
    let mut others = filled
        .iter()
        .map(|(slot, person)| confirmation(&slot.rule) || !seen.history.myself.contains(person));
    voted && (!seen.after().phase.is_open() || others.all(|counts| counts))
}

fn invariant_one_person_one_slot(seen: &Observation) -> bool {
    let after = seen.after();
    let voters: BTreeSet<_> = after.votes.iter().map(|vote| &vote.voter).collect();
    let filled = progress(after, seen.world()).filled;
    let once: BTreeSet<_> = filled.values().collect();
    let counted = after.votes.iter().filter(|vote| once.contains(&vote.voter));
    let rights: BTreeSet<_> = counted.map(right).collect();
    let on_permit = facts(seen).all(|fact| match fact {
        Fact::Permitted { filled, .. } => {
            let people: BTreeSet<_> = filled.iter().map(|(_, person)| person).collect();
            people.len() == filled.len()
        }
        _ => true,
    });
    let once = once.len() == filled.len() && rights.len() == filled.len();
    voters.len() == after.votes.len() && once && on_permit
}

fn linked(one: &Credential, of: &Vote, other: &Vote) -> bool {
    let issuers = [&one.issued_by, &other.credential.issued_by];
    one.id == other.credential.id
        || issuers[0].as_ref() == Some(&other.voter)
        || issuers[1].as_ref() == Some(&of.voter)
        || (issuers[0].is_some() && issuers[0] == issuers[1])
}

fn invariant_sessions_are_their_voters_own(seen: &Observation) -> bool {
    let votes = &seen.history.votes;
    let shared = votes.iter().any(|one| {
        let mut others = votes.iter().filter(|other| other.voter != one.voter);
        others.any(|other| linked(&one.credential, one, other))
    });
    let foreign = facts(seen).any(|fact| match fact {
        Fact::Voted { vote, .. } | Fact::GlassBroken { vote, .. } => {
            let issuer = vote.credential.issued_by.as_ref();
            issuer.is_some_and(|issuer| seen.history.myself.contains(issuer))
                && !seen.history.myself.contains(&vote.voter)
        }
        _ => false,
    });
    !shared && !foreign
}

fn invariant_only_the_eligible_decide(seen: &Observation) -> bool {
    let Event::Vote(ballot) = seen.event else {
        return true;
    };
    let facts = seen.step().map_or(&[][..], |step| &step.facts);
    let vote = vote_of(ballot, facts, seen.now);
    let sets = seen.history.rule_sets(seen.stage);
    let may = |rules| seen.history.question(seen.stage, rules).may_any(&vote);
    let first = &seen.history.first.request;
    let shown = first.presentation.allows_one_click()
        || ballot.typed_digest.as_deref() == Some(&first.digest.to_string()[..8])
        || ballot.verdict == Verdict::Deny;
    let proper = shown && ballot.digest == first.digest && sets.iter().any(|rules| may(rules));
    !seen.is_taken() || proper
}

fn invariant_deny_is_final(seen: &Observation) -> bool {
    let denied = matches!(
        seen.after().phase,
        Phase::Closed {
            closure: Closure::Denied { .. },
            ..
        }
    );
    seen.history.denied == denied
}

fn invariant_terminal_is_terminal(seen: &Observation) -> bool {
    let (before, after) = (&seen.before.phase, &seen.after().phase);
    !is_over(before) || (before == after && seen.before.votes == seen.after().votes)
}

/// Replays the facts alone; times of phases that no fact carries are the case's own.
fn invariant_facts_explain_the_case(seen: &Observation) -> bool {
    let after = seen.after();
    let mut told = seen.history.first.clone();
    let held = told.phase.clone();
    for fact in &seen.history.facts {
        replay(&mut told, fact, &held, after);
    }
    let lifted = |case: &Case| -> Vec<_> {
        let lifts = case.lifted.iter();
        lifts
            .map(|l| {
                (
                    l.rule.clone(),
                    l.vote.clone(),
                    l.overdue,
                    l.reviewed.clone(),
                )
            })
            .collect()
    };
    told.phase == after.phase
        && told.votes == after.votes
        && told.conversation == after.conversation
        && told.self_grown == after.self_grown
        && lifted(&told) == lifted(after)
        && after.version == seen.history.steps
}

/// The first lift of a rule by somebody of which this was not told yet.
fn lift_of<'a>(
    told: &'a mut Case,
    (rule, by): (&RuleName, &PersonId),
    is_new: fn(&Lifted) -> bool,
) -> &'a mut Lifted {
    let of = |lift: &&mut Lifted| lift.rule == *rule && lift.by() == by && is_new(lift);
    told.lifted.iter_mut().find(of).unwrap()
}

fn replay(told: &mut Case, fact: &Fact, held: &Phase, real: &Case) {
    match fact.clone() {
        Fact::Voted { vote, .. } => told.votes.push(vote),
        Fact::Withdrawn { voter } => told.votes.retain(|vote| vote.voter != voter),
        Fact::Said { message } => told.conversation.push(message),
        Fact::Approved { until } => told.phase = Phase::Approved { until },
        Fact::Reopened => told.phase = held.clone(),
        Fact::SelfGrew { people } => told.self_grown.extend(people),
        Fact::GlassBroken {
            rule,
            vote,
            review_by,
        } => {
            told.lifted.push(Lifted {
                rule,
                vote,
                review_by,
                envelope: None,
                overdue: false,
                reviewed: None,
            });
        }
        Fact::Reviewed {
            rule,
            lifter,
            review,
        } => {
            let lift = lift_of(told, (&rule, &lifter), |lift| lift.reviewed.is_none());
            lift.reviewed = Some(review);
        }
        Fact::ReviewOverdue { rule, lifter, .. } => {
            lift_of(told, (&rule, &lifter), |lift| !lift.overdue).overdue = true;
        }
        Fact::GrantGiven { .. }
        | Fact::Granted { .. }
        | Fact::GrantUsed { .. }
        | Fact::GrantEnded { .. } => unreachable!("the model grants nothing"),
        Fact::Permitted { permit, .. } => {
            let since = match real.phase {
                Phase::Running { since, .. } => since,
                _ => Timestamp(0),
            };
            told.phase = Phase::Running { permit, since };
        }
        Fact::Ended { permit, outcome } => {
            let at = match real.phase {
                Phase::Finished { at, .. } => at,
                _ => Timestamp(0),
            };
            told.phase = Phase::Finished {
                permit,
                outcome,
                at,
            };
        }
        Fact::Closed { closure } => {
            let (at, refuse_until) = match real.phase {
                Phase::Closed {
                    at, refuse_until, ..
                } => (at, refuse_until),
                _ => (Timestamp(0), Timestamp(0)),
            };
            told.phase = Phase::Closed {
                closure,
                at,
                refuse_until,
            };
        }
        Fact::Escalated { .. } | Fact::Redecided { .. } => {}
    }
}

fn invariant_deadline_is_in_the_future_or_acted_on(seen: &Observation) -> bool {
    deadline(seen.after()).is_none_or(|at| at > seen.now)
}

fn invariant_policy_decides_again(seen: &Observation) -> bool {
    let rules = seen.history.first.request.rules.iter();
    let names: BTreeSet<_> = rules.map(|rule| rule.name.clone()).collect();
    intent_implies(seen, || match seen.event {
        Event::Claim(claim) => {
            let permits = matches!(claim.decided.decision, Decision::Permit { .. });
            permits && claim.decided.approvals == names
        }
        _ => false,
    })
}

fn invariant_only_the_requester_claims(seen: &Observation) -> bool {
    let requester = &seen.history.first.request.chain.requester.id;
    intent_implies(
        seen,
        || matches!(seen.event, Event::Claim(claim) if claim.by == *requester),
    )
}

fn invariant_what_was_approved_is_what_runs(seen: &Observation) -> bool {
    let first = &seen.history.first.request;
    let intent = seen.step().and_then(|step| step.intent.as_ref());
    intent.is_none_or(|intent| {
        intent.digest() == first.digest && *intent.request() == first.id && !seen.history.tampered
    })
}

fn invariant_approvals_lapse(seen: &Observation) -> bool {
    let first = &seen.history.first.request.rules;
    let now = &seen.stage.town.rules;
    let valid = first.iter().map(|rule| rule.valid_for).min();
    let lifts = seen.history.lifts.iter().map(|(_, _, at)| *at);
    let last = seen
        .history
        .votes
        .iter()
        .map(|vote| vote.at)
        .chain(lifts)
        .max();
    let of_now = first.iter().filter_map(|rule| now.get(&rule.name));
    let strictest = of_now.map(|rule| rule.valid_for).chain(valid).min();
    intent_implies(seen, || {
        last.zip(strictest)
            .is_some_and(|(last, valid)| seen.now <= last.after(valid))
    })
}

fn invariant_a_restart_is_never_silent(seen: &Observation) -> bool {
    let was_running = matches!(seen.before.phase, Phase::Running { .. });
    let unknown = |fact: &Fact| {
        let outcome = Outcome::Unknown;
        matches!(fact, Fact::Ended { outcome: ended, .. } if *ended == outcome)
    };
    !(was_running && *seen.event == Event::Restarted)
        || (seen.after().phase.name() == "unknown" && facts(seen).any(unknown))
}

fn invariant_same_input_same_result(seen: &Observation) -> bool {
    let stored = serde_json::to_string(seen.after()).unwrap();
    seen.result == seen.again && serde_json::from_str::<Case>(&stored).unwrap() == *seen.after()
}

/// Whether the event brought the phase in line with the town.
fn is_settled(seen: &Observation) -> bool {
    let settles = match seen.event {
        Event::Vote(ballot) => ballot.verdict == Verdict::Approve,
        Event::Withdraw { .. } | Event::WorldChanged | Event::BreakGlass { .. } => true,
        _ => false,
    };
    settles && seen.is_taken()
}

fn invariant_approved_means_satisfied(seen: &Observation) -> bool {
    let approved = matches!(seen.after().phase, Phase::Approved { .. });
    !is_settled(seen) || !approved || seen.history.is_satisfied(seen.stage)
}

/// With stages in order a vote can come too early, so that only single stages are compared.
fn invariant_satisfied_means_approved(seen: &Observation) -> bool {
    let sets = seen.history.rule_sets(seen.stage);
    let staged = sets.iter().flatten().any(|rule| rule.stages.len() > 1);
    let held = matches!(seen.after().phase, Phase::Held { .. });
    !is_settled(seen) || staged || !held || !seen.history.is_satisfied(seen.stage)
}

fn invariant_stages_run_in_order(seen: &Observation) -> bool {
    let [was, _] = seen.history.rule_sets(seen.stage);
    let question = seen.history.question(seen.stage, &was);
    let votes = &seen.history.votes;
    let filled = progress(seen.after(), seen.world()).filled;
    !seen.after().phase.is_open()
        || filled.iter().all(|(slot, person)| {
            let place = votes.iter().position(|vote| vote.voter == *person);
            let stage = usize::try_from(slot.stage).unwrap();
            place.is_some_and(|place| question.fills_below(&slot.rule, stage, &votes[..place]))
        })
}

fn invariant_emergencies_are_for_people(seen: &Observation) -> bool {
    let request = &seen.history.first.request;
    let person = |id: &SubjectId| matches!(id, SubjectId::Person(_));
    let people = request.chain.members().all(|member| person(&member.id));
    facts(seen).all(|fact| match fact {
        Fact::GlassBroken { rule, vote, .. } => {
            people
                && !request.administrative
                && !seen.stage.town.due.contains_key(rule)
                && vote.verdict == Verdict::Approve
                && is_strong(vote)
        }
        // Somebody else, who is on nobody's side.
        Fact::Reviewed { review, .. } => {
            let lifts = &seen.history.lifts;
            !seen.history.myself.contains(&review.by)
                && !lifts.iter().any(|(_, by, _)| *by == review.by)
        }
        _ => true,
    })
}

fn is_strong(vote: &Vote) -> bool {
    use countersign_core::approval::rule::Assurance;
    vote.credential.assurance == Assurance::Passkey && vote.reason.is_some()
}
