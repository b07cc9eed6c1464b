//! Steps that are wrong on purpose: every invariant must report the fault it is there for.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use countersign_core::{
    approval::vote::Verdict,
    lifecycle::{Event, Fact, Refusal, Step, World, step},
    permit::Intent,
    request::{Case, Lifted, Phase},
    time::Timestamp,
};
use proptest::test_runner::TestRunner;

use super::{StepFn, history::vote_of, invariants::INVARIANTS, is_over, plan::sample, play};
use crate::scene::permit;

type Result = std::result::Result<Step, Refusal>;

/// The name of the invariant and a step that breaks it.
const FAULTS: [(&str, StepFn); 23] = [
    ("quorum of others", permits_what_is_only_held),
    ("at most one permit", permits_again),
    ("self never counts", counts_self),
    ("self never counts", counts_who_stands_in_for_self),
    ("one person one slot", counts_twice),
    ("own sessions", counts_shared_sessions),
    ("own sessions", counts_sessions_from_the_requester),
    ("eligible voters", counts_anybody),
    ("eligible voters", counts_unread_ballots),
    ("deny is final", forgets_a_denial),
    ("terminal is terminal", reopens),
    ("facts explain", loses_a_fact),
    ("deadline", never_ticks),
    ("policy decides again", ignores_policy),
    ("requester claims", lets_anybody_claim),
    ("what was approved", runs_what_was_edited),
    ("approvals lapse", never_lapses),
    ("restart", forgets_what_ran),
    ("same result", rolls_dice),
    ("approved means satisfied", ignores_withdrawal),
    ("satisfied means approved", never_approves),
    ("stages in order", takes_stages_in_any_order),
    ("emergencies", lets_anybody_break_the_glass),
];

#[test]
fn every_invariant_reports_its_fault() {
    for (name, faulty) in FAULTS {
        let mut runner = TestRunner::deterministic();
        let mut plans = (0..20_000).map(|_| sample(&mut runner));
        let found = plans.any(|plan| play(&plan, faulty).broken.contains(name));
        assert!(found, "no play breaks `{name}`");
    }
    let covered: BTreeSet<_> = FAULTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, INVARIANTS.iter().map(|(name, _)| *name).collect());
}

/// Changes what the real step gave.
fn after(
    case: Case,
    event: Event,
    world: World<'_>,
    now: Timestamp,
    change: impl FnOnce(&mut Step),
) -> Result {
    let mut done = step(case, event, world, now)?;
    change(&mut done);
    Ok(done)
}

/// Takes an event that the real step refuses for a reason that `is_ignored`.
fn despite(
    is_ignored: fn(&Refusal) -> bool,
    take: fn(&mut Step, &Event, Timestamp),
    (case, event, world, now): (Case, Event, World<'_>, Timestamp),
) -> Result {
    let done = step(case.clone(), event.clone(), world, now);
    let refusal = match &done {
        Ok(done) => done.refused.as_ref(),
        Err(refusal) => Some(refusal),
    };
    if !refusal.is_some_and(is_ignored) {
        return done;
    }
    let nothing = Step {
        case,
        facts: Vec::new(),
        intent: None,
        refused: None,
    };
    let mut taken = done.unwrap_or(nothing);
    taken.refused = None;
    take(&mut taken, &event, now);
    taken.case.version += 1;
    Ok(taken)
}

fn take_vote(step: &mut Step, event: &Event, now: Timestamp) {
    let Event::Vote(ballot) = event else { return };
    let vote = vote_of(ballot, &[], now);
    step.case.votes.push(vote.clone());
    step.facts.push(Fact::Voted {
        vote,
        could_fill: BTreeSet::new(),
    });
}

fn take_vote_for_the_requester(step: &mut Step, event: &Event, now: Timestamp) {
    take_vote(step, event, now);
    let requester = step.case.request.chain.requester.people().next().cloned();
    for fact in &mut step.facts {
        if let Fact::Voted { vote, .. } = fact {
            vote.in_place_of.clone_from(&requester);
        }
    }
}

fn take_claim(step: &mut Step, event: &Event, now: Timestamp) {
    let Event::Claim(claim) = event else { return };
    let (id, digest) = (claim.permit.clone(), step.case.request.digest);
    let request = step.case.request.id.clone();
    step.intent = Intent::of_permitted(&permit(), id.clone(), request, digest, now);
    step.case.phase = Phase::Running {
        permit: id.clone(),
        since: now,
    };
    step.facts.push(Fact::Permitted {
        permit: id,
        expires: now,
        filled: Vec::new(),
        approvals: claim.decided.approvals.clone(),
    });
}

pub(crate) fn permits_what_is_only_held(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::NotApproved(_)),
        take_claim,
        (c, e, w, now),
    )
}

pub(crate) fn counts_who_stands_in_for_self(
    c: Case,
    e: Event,
    w: World<'_>,
    now: Timestamp,
) -> Result {
    despite(
        |why| matches!(why, Refusal::NotEligible(_)),
        take_vote_for_the_requester,
        (c, e, w, now),
    )
}

pub(crate) fn permits_again(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| *why == Refusal::NotOpen("running"),
        take_claim,
        (c, e, w, now),
    )
}

pub(crate) fn counts_self(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::OwnRequest(_)),
        take_vote,
        (c, e, w, now),
    )
}

pub(crate) fn counts_twice(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| *why == Refusal::AlreadyVoted,
        take_vote,
        (c, e, w, now),
    )
}

fn counts_shared_sessions(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::SharedCredential(_)),
        take_vote,
        (c, e, w, now),
    )
}

fn counts_sessions_from_the_requester(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::CredentialFromRequester(_)),
        take_vote,
        (c, e, w, now),
    )
}

fn counts_anybody(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::NotEligible(_)),
        take_vote,
        (c, e, w, now),
    )
}

fn counts_unread_ballots(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::DigestNotTyped | Refusal::OtherDigestTyped),
        take_vote,
        (c, e, w, now),
    )
}

fn lets_anybody_claim(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| *why == Refusal::NotRequester,
        take_claim,
        (c, e, w, now),
    )
}

fn runs_what_was_edited(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| *why == Refusal::StoredActionChanged,
        take_claim,
        (c, e, w, now),
    )
}

pub(crate) fn ignores_policy(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::PolicyChanged(_)),
        take_claim,
        (c, e, w, now),
    )
}

fn never_lapses(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    despite(
        |why| matches!(why, Refusal::Lapsed(_)),
        take_claim,
        (c, e, w, now),
    )
}

fn lets_anybody_break_the_glass(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let take = |step: &mut Step, event: &Event, now| {
        let Event::BreakGlass { rule, ballot } = event else {
            return;
        };
        let (vote, review_by) = (vote_of(ballot, &[], now), now);
        step.case.lifted.push(Lifted {
            rule: rule.clone(),
            vote: vote.clone(),
            review_by,
            envelope: None,
            overdue: false,
            reviewed: None,
        });
        let rule = rule.clone();
        step.facts.push(Fact::GlassBroken {
            rule,
            vote,
            review_by,
        });
    };
    despite(
        |why| matches!(why, Refusal::NoEmergency(_)),
        take,
        (c, e, w, now),
    )
}

pub(crate) fn forgets_a_denial(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let phase = c.phase.clone();
    let denial = matches!(&e, Event::Vote(ballot) if ballot.verdict == Verdict::Deny);
    after(c, e, w, now, |step| {
        if denial {
            step.case.phase = phase;
            step.facts
                .retain(|fact| !matches!(fact, Fact::Closed { .. }));
        }
    })
}

pub(crate) fn reopens(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let over = is_over(&c.phase);
    after(c, e, w, now, |step| {
        if over {
            step.case.phase = Phase::Held {
                expires: Timestamp(i64::MAX),
            };
            step.facts.push(Fact::Reopened);
        }
    })
}

fn loses_a_fact(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    after(c, e, w, now, |step| drop(step.facts.pop()))
}

pub(crate) fn never_ticks(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    if e != Event::Tick {
        return step(c, e, w, now);
    }
    let before = c.clone();
    after(c, e, w, now, |step| {
        step.case = Case {
            version: before.version + 1,
            ..before
        };
        step.facts.clear();
    })
}

fn forgets_what_ran(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let event = if e == Event::Restarted {
        Event::Tick
    } else {
        e
    };
    step(c, event, w, now)
}

fn rolls_dice(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    static DICE: AtomicU64 = AtomicU64::new(0);
    after(c, e, w, now, |step| {
        step.case.version += DICE.fetch_add(1, Ordering::Relaxed)
    })
}

fn ignores_withdrawal(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let phase = c.phase.clone();
    after(c, e, w, now, |step| {
        if step.facts.contains(&Fact::Reopened) {
            step.case.phase = phase;
            step.facts.retain(|fact| *fact != Fact::Reopened);
        }
    })
}

fn never_approves(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let phase = c.phase.clone();
    after(c, e, w, now, |step| {
        if matches!(step.case.phase, Phase::Approved { .. }) {
            step.case.phase = phase;
            step.facts
                .retain(|fact| !matches!(fact, Fact::Approved { .. }));
        }
    })
}

/// Keeps votes that come too early and counts them as if they had come last.
fn takes_stages_in_any_order(c: Case, e: Event, w: World<'_>, now: Timestamp) -> Result {
    let early = |why: &Refusal| *why == Refusal::NotNeeded;
    let mut done = despite(early, take_vote, (c, e, w, now))?;
    let votes = &mut done.case.votes;
    let last = votes.pop();
    votes.splice(..0, last);
    Ok(done)
}
