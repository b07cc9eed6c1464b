//! Giving, using and ending grants.
//!
//! In scope: whether the approvers of a request agreed on a grant, whether another request may run under
//! it, who may end it.
//! Out of scope: what has the granted shape ([`approval::grant`](crate::approval::grant)).
//! Invariant: a grant brings votes, never permission: whoever runs under it goes through quorum, *self*
//! and policy as the rules and people are then. Emergencies and other grants give none.

use std::collections::BTreeSet;

use super::{
    Ballot, Fact, Refusal, World, open,
    step::Progress,
    vote::{is_satisfied, tally, tally_granting},
};
use crate::{
    approval::{
        ApprovalRule, Vote,
        grant::{Grant, GrantEnd, GrantOffer, GrantTerms, Granted, same_effects, shape},
        myself::myself,
        quorum::Electorate,
        vote::Verdict,
    },
    id::{PersonId, RequestId, RuleName},
    request::{Case, Outcome, Phase, Request},
    subject::SubjectId,
    time::Timestamp,
};

/// Why a request does not run under a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCovered {
    /// Over, used up, ended, or of something whose outcome nobody knows.
    #[error("the grant is over")]
    Over,
    /// The rules as they are offer less, or hold it for more than was granted.
    #[error("the rules that hold it now were not all granted")]
    Rules,
    /// Another subject, action or argument.
    #[error("the grant is for something else")]
    OtherShape,
    /// The votes do not satisfy the rules any more.
    #[error("the votes of the grant do not satisfy the rules any more")]
    Votes,
}

/// Whether what a ballot grants may be granted of this request.
pub(super) fn check(case: &Case, ballot: &Ballot) -> Result<(), Refusal> {
    let Some(terms) = &ballot.grant else {
        return Ok(());
    };
    if ballot.verdict != Verdict::Approve {
        return Err(Refusal::NotGrantable("a denial grants nothing"));
    }
    let request = &case.request;
    let offer = request.grants.as_deref();
    let offer = offer.filter(|_| !request.administrative && case.granted.is_none());
    let offer = offer.ok_or(Refusal::NotGrantable(
        "its rules, its actions or its secrets allow no grant",
    ))?;
    if !offer.allows(terms) {
        return Err(Refusal::NotGrantable(
            "it is longer, more often or wider than its rules allow",
        ));
    }
    match shape(&request.chain, &request.action, &terms.open) {
        Ok(Some(_)) => Ok(()),
        _ => Err(Refusal::NotGrantable(
            "no single value stands at a place left open",
        )),
    }
}

/// What a whole quorum grants, when all who fill its slots grant the same. Rules lifted in an emergency are
/// not approved by anybody, so nothing is granted beside them.
fn agreed(case: &Case, world: World<'_>) -> Option<Agreed> {
    let as_was = &case.request.rules;
    let as_is: Vec<_> = as_was
        .iter()
        .filter_map(|rule| world.rules.get(&rule.name))
        .cloned()
        .collect();
    let agree = |terms: &GrantTerms| {
        [as_was, &as_is]
            .into_iter()
            .all(|rules: &Vec<ApprovalRule>| {
                let tally = tally_granting(case, terms, rules, world);
                rules.iter().all(|rule| tally.satisfies(&rule.name))
            })
    };
    let filled = tally(case, as_was, world).filled;
    let givers: BTreeSet<_> = filled.into_values().collect();
    let votes = || lent_by(case, &givers);
    let terms = votes().next()?.grant.clone()?;
    let same = votes().all(|vote| vote.grant.as_ref() == Some(&terms));
    let last = votes().map(|vote| vote.at).max()?;
    (same && agree(&terms)).then_some(Agreed {
        terms,
        last,
        givers,
    })
}

/// What everybody who filled a slot of a request granted.
struct Agreed {
    terms: GrantTerms,
    /// When the last of them voted.
    last: Timestamp,
    givers: BTreeSet<PersonId>,
}

/// The votes of some people on the very action of a case.
fn lent_by<'a>(case: &'a Case, givers: &BTreeSet<PersonId>) -> impl Iterator<Item = &'a Vote> {
    let digest = case.request.digest;
    let lends = move |vote: &&Vote| vote.digest == digest && givers.contains(&vote.voter);
    case.votes.iter().filter(lends)
}

/// At the claim, which is the first use.
pub(super) fn give(progress: &mut Progress<'_>) {
    let case = &progress.case;
    if case.granted.is_some() || !case.lifted.is_empty() {
        return;
    }
    let Some(agreed) = agreed(case, progress.world) else {
        return;
    };
    let Agreed {
        terms,
        last,
        givers,
    } = agreed;
    let until = last.after(terms.time);
    progress.facts.push(Fact::GrantGiven {
        terms: terms.clone(),
        until,
    });
    progress.case.grant = Some(Box::new(Grant {
        terms,
        until,
        used: 1,
        givers,
        ended: None,
    }));
}

/// The votes under which `request` may run, when the grant of `granting` covers it.
fn covers(
    granting: &Case,
    request: &Request,
    world: World<'_>,
    now: Timestamp,
) -> Result<Granted, NotCovered> {
    let grant = live(granting, now).ok_or(NotCovered::Over)?;
    let offer = request.grants.as_deref().ok_or(NotCovered::Rules)?;
    let votes: Vec<_> = lent_by(granting, &grant.givers).cloned().collect();
    let last = votes
        .iter()
        .map(|vote| vote.at)
        .max()
        .ok_or(NotCovered::Votes)?;
    let names = |rules: &[ApprovalRule]| -> BTreeSet<RuleName> {
        rules.iter().map(|rule| rule.name.clone()).collect()
    };
    let granted = names(&granting.request.rules);
    let within = last.after(offer.max) > now && grant.used < offer.uses;
    if request.administrative
        || request.amends.is_some()
        || !within
        || !names(&request.rules).is_subset(&granted)
        || agreed(granting, world).is_none_or(|agreed| agreed.givers != grant.givers)
    {
        return Err(NotCovered::Rules);
    }
    if !has_shape(&granting.request, request, &grant.terms, offer) {
        return Err(NotCovered::OtherShape);
    }
    Ok(Granted {
        request: granting.request.id.clone(),
        digest: granting.request.digest,
        until: grant.until,
        votes,
    })
}

fn has_shape(granted: &Request, asked: &Request, terms: &GrantTerms, offer: &GrantOffer) -> bool {
    let exact = terms.open.is_empty();
    let of = |request: &Request| {
        shape(&request.chain, &request.action, &terms.open)
            .ok()
            .flatten()
    };
    let one = of(granted);
    one.is_some()
        && one == of(asked)
        && same_effects(&granted.effects, &asked.effects, exact)
        // What the gate took as a value then, it must take as one now.
        && terms.open.iter().all(|place| {
            let then = granted.grants.as_ref().and_then(|offer| offer.places.get(place));
            then.is_some() && then == offer.places.get(place)
        })
}

/// The grant of a case that can be used once more. After an outcome that nobody knows nothing more of
/// its kind is to run unseen.
fn live(case: &Case, now: Timestamp) -> Option<&Grant> {
    let known = match &case.phase {
        Phase::Running { .. } => true,
        Phase::Finished { outcome, .. } => *outcome != Outcome::Unknown,
        _ => false,
    };
    case.grant
        .as_deref()
        .filter(|grant| known && grant.is_live(now))
}

/// Begins a held case that the grant of `granting` covers, with the votes of that grant. It is approved
/// at once, and must be claimed like any other.
///
/// # Errors
/// [`NotCovered`]; then it is held like any other.
pub fn open_under(
    granting: &Case,
    request: Request,
    world: World<'_>,
    now: Timestamp,
) -> Result<(Case, Vec<Fact>), NotCovered> {
    let granted = covers(granting, &request, world, now)?;
    let mut case = open::open(request, world).map_err(|_| NotCovered::Votes)?;
    case.granted = Some(Box::new(granted.clone()));
    // Whoever became *self* of the granted action is so of its like.
    case.self_grown.extend(granting.self_grown.iter().cloned());
    if !is_satisfied(&case, world) {
        return Err(NotCovered::Votes);
    }
    let mut progress = Progress::new(case, world, now);
    if !progress.case.self_grown.is_empty() {
        let people = progress.case.self_grown.clone();
        progress.facts.push(Fact::SelfGrew { people });
    }
    progress.facts.push(Fact::Granted { granted });
    progress.settle();
    match progress.case.phase {
        Phase::Approved { .. } => Ok((progress.case, progress.facts)),
        _ => Err(NotCovered::Over),
    }
}

/// Counts one use.
pub(super) fn count(progress: &mut Progress<'_>, by: RequestId) -> Result<(), Refusal> {
    if live(&progress.case, progress.now).is_none() {
        return Err(Refusal::NoGrant);
    }
    let Some(grant) = &mut progress.case.grant else {
        return Err(Refusal::NoGrant);
    };
    grant.used += 1;
    let used = grant.used;
    progress.facts.push(Fact::GrantUsed { by, used });
    Ok(())
}

/// Whether somebody may end the grant of a case: who gave it, who could sign its rules, and the
/// requester's side.
#[must_use]
pub fn may_end(case: &Case, world: World<'_>, now: Timestamp, by: &SubjectId) -> bool {
    let on_its_side = case.request.chain.members().any(|member| member.id == *by);
    let SubjectId::Person(person) = by else {
        return on_its_side;
    };
    if world.directory.active_person(person).is_none() {
        return false;
    }
    let gave = case.votes.iter().any(|vote| vote.voter == *person);
    let side = myself(case, world.directory);
    on_its_side || gave || side.contains(person) || may_sign(case, world, now, person, &side)
}

fn may_sign(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    person: &PersonId,
    myself: &BTreeSet<PersonId>,
) -> bool {
    let electorate = Electorate {
        request: &case.request,
        directory: world.directory,
        rules: &case.request.rules,
        myself,
    };
    electorate.may_sign_any(person, now)
}

/// Ends what somebody gave who can't act any more: they may act again before its time is over.
pub(super) fn lose_givers(progress: &mut Progress<'_>) {
    let (now, directory) = (progress.now, progress.world.directory);
    let Some(grant) = progress.case.grant.as_mut() else {
        return;
    };
    let gone = grant
        .givers
        .iter()
        .find(|giver| directory.active_person(giver).is_none());
    if let Some(gone) = gone.filter(|_| grant.is_live(now)) {
        let by = SubjectId::Person(gone.clone());
        grant.ended = Some(GrantEnd {
            by: by.clone(),
            at: now,
        });
        progress.facts.push(Fact::GrantEnded { by });
    }
}

/// Ends it before its time; whoever `oversees` may end every grant.
pub(super) fn end(
    progress: &mut Progress<'_>,
    by: SubjectId,
    oversees: bool,
) -> Result<(), Refusal> {
    let (now, world) = (progress.now, progress.world);
    if !progress
        .case
        .grant
        .as_ref()
        .is_some_and(|grant| grant.is_live(now))
    {
        return Err(Refusal::NoGrant);
    }
    if !oversees && !may_end(&progress.case, world, now, &by) {
        return Err(Refusal::NotParticipant);
    }
    if let Some(grant) = &mut progress.case.grant {
        grant.ended = Some(GrantEnd {
            by: by.clone(),
            at: now,
        });
    }
    progress.facts.push(Fact::GrantEnded { by });
    Ok(())
}

/// Takes the votes of an ended grant away from a request that was not claimed yet.
pub(super) fn leave(progress: &mut Progress<'_>, by: SubjectId) -> Result<(), Refusal> {
    if !progress.case.phase.is_open() || progress.case.granted.take().is_none() {
        return Err(Refusal::NoGrant);
    }
    progress.facts.push(Fact::GrantEnded { by });
    progress.settle();
    Ok(())
}
