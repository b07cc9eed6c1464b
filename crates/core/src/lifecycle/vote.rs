//! Taking, counting and withdrawing votes.
//!
//! In scope: every condition under which a person's verdict counts.
//! Invariant: what counts is computed afresh from all votes each time, under the rules as they
//! were and as they are, so nothing stale is ever relied on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ballot, Fact, Refusal, World, emergency::standing_lifts, grant, step::Progress};
use crate::{
    approval::{
        ApprovalRule,
        grant::GrantTerms,
        myself::myself,
        quorum::{Electorate, Signer, Slot, Tally},
        rule::{Assurance, ReasonRequirement},
        vote::{Credential, Verdict, Vote},
    },
    id::{PersonId, RuleName},
    request::{Case, Closure, MAX_TEXT_BYTES},
    time::Timestamp,
};

/// How many of the digest's first digits a reviewer types where one click is not enough.
const TYPED_DIGITS: usize = 8;

/// The rules to satisfy, without those lifted in an emergency: as they were when it was asked,
/// and as they are.
pub(super) fn rule_sets(case: &Case, world: World<'_>) -> [Vec<ApprovalRule>; 2] {
    let standing =
        |rule: &&ApprovalRule| !standing_lifts(case, world).any(|lift| lift.rule == rule.name);
    let as_was: Vec<_> = case
        .request
        .rules
        .iter()
        .filter(standing)
        .cloned()
        .collect();
    let as_is = as_was
        .iter()
        .filter_map(|rule| world.rules.get(&rule.name))
        .cloned()
        .collect();
    [as_was, as_is]
}

/// Counts the approvals that stand, under one set of rules.
pub(super) fn tally(case: &Case, rules: &[ApprovalRule], world: World<'_>) -> Tally {
    tally_of(case, votes(case), rules, world)
}

/// Every vote on this very action, and those of the grant it runs under.
fn votes(case: &Case) -> impl Iterator<Item = &Vote> {
    let granted = case.granted.iter();
    let granted = granted.flat_map(|granted| {
        let of_it = |vote: &&Vote| vote.digest == granted.digest;
        granted.votes.iter().filter(of_it)
    });
    granted.chain(own_votes(case))
}

fn own_votes(case: &Case) -> impl Iterator<Item = &Vote> {
    let of_it = |vote: &&Vote| vote.digest == case.request.digest;
    case.votes.iter().filter(of_it)
}

/// Counts the approvals that agree on what is granted.
pub(super) fn tally_granting(
    case: &Case,
    terms: &GrantTerms,
    rules: &[ApprovalRule],
    world: World<'_>,
) -> Tally {
    let agree = own_votes(case).filter(|vote| vote.grant.as_ref() == Some(terms));
    tally_of(case, agree, rules, world)
}

fn tally_of<'a>(
    case: &Case,
    votes: impl Iterator<Item = &'a Vote>,
    rules: &[ApprovalRule],
    world: World<'_>,
) -> Tally {
    let myself = myself(case, world.directory);
    let electorate = Electorate {
        request: &case.request,
        directory: world.directory,
        rules,
        myself: &myself,
    };
    let stands = |vote: &&Vote| {
        vote.verdict == Verdict::Approve
            && rules.iter().all(|rule| meets(vote, rule))
            && (myself.contains(&vote.voter) || vote.credential.maker_among(&myself).is_none())
    };
    let standing = votes.filter(stands);
    electorate.tally(standing.map(|vote| (vote.signer(), vote.at)))
}

/// Whether a vote was strong enough, reasoned and in time for a rule.
fn meets(vote: &Vote, rule: &ApprovalRule) -> bool {
    vote.credential.assurance >= rule.assurance
        && (rule.reason == ReasonRequirement::Optional || has_reason(vote.reason.as_deref()))
        && rule
            .hours
            .as_ref()
            .is_none_or(|hours| hours.contains(vote.at))
}

pub(super) fn has_reason(reason: Option<&str>) -> bool {
    reason.is_some_and(|text| !text.trim().is_empty())
}

/// Whether every rule is satisfied as it was and as it is.
pub(super) fn is_satisfied(case: &Case, world: World<'_>) -> bool {
    let [as_was, as_is] = rule_sets(case, world);
    let all_lifted = as_was.is_empty() && !case.request.rules.is_empty();
    let satisfied = |rules: &[ApprovalRule]| {
        let tally = tally(case, rules, world);
        rules.iter().all(|rule| tally.satisfies(&rule.name))
    };
    all_lifted || (!as_was.is_empty() && satisfied(&as_was) && satisfied(&as_is))
}

/// How far the case is: filled and empty slots under the rules as they were.
#[must_use]
pub fn progress(case: &Case, world: World<'_>) -> Tally {
    let [as_was, _] = rule_sets(case, world);
    tally(case, &as_was, world)
}

/// The people who could sign an open stage at `now`, for showing and telling, each with the person in
/// whose place they would.
#[must_use]
pub fn eligible_voters(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
) -> BTreeMap<PersonId, Option<PersonId>> {
    let people = world.directory.people.keys();
    eligible_of(case, world, now, people)
}

/// Whether one person could sign an open stage at `now`.
#[must_use]
pub fn is_eligible(case: &Case, world: World<'_>, now: Timestamp, person: &PersonId) -> bool {
    !eligible_of(case, world, now, std::iter::once(person)).is_empty()
}

fn eligible_of<'p>(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    people: impl Iterator<Item = &'p PersonId>,
) -> BTreeMap<PersonId, Option<PersonId>> {
    let [as_was, _] = rule_sets(case, world);
    let myself = myself(case, world.directory);
    let electorate = Electorate {
        request: &case.request,
        directory: world.directory,
        rules: &as_was,
        myself: &myself,
    };
    // Whoever may sign nothing is told apart cheaply; the rest takes a look at every vote.
    let people: Vec<_> = people
        .filter(|person| electorate.may_sign_any(person, now))
        .collect();
    let so_far = (!people.is_empty()).then(|| tally(case, &as_was, world));
    let helps = |person: &PersonId| {
        let mut so_far = so_far.clone().unwrap_or_default();
        let signer = electorate.count_any(&mut so_far, person, now)?;
        Some((person.clone(), signer.in_place_of.cloned()))
    };
    people.into_iter().filter_map(helps).collect()
}

/// What the rules name as approvers, for showing: `group:dba`, `user:dana@example.com`, …
#[must_use]
pub fn electorate_names(rules: &[ApprovalRule]) -> BTreeSet<String> {
    let stages = rules.iter().flat_map(|rule| &rule.stages);
    let mut names: BTreeSet<_> = stages
        .flat_map(|stage| &stage.from)
        .map(ToString::to_string)
        .collect();
    if rules.iter().any(|rule| rule.confirmation) {
        names.insert("the person it acts for".into());
    }
    names
}

/// Why a verdict of this person with this session would be refused now, whatever they type with
/// it; `None` when it would be taken. For telling them before they try.
#[must_use]
pub fn would_refuse(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    (voter, credential): (&PersonId, &Credential),
    verdict: Verdict,
) -> Option<Refusal> {
    let ballot = Ballot {
        voter: voter.clone(),
        credential: credential.clone(),
        verdict,
        reason: None,
        digest: case.request.digest,
        typed_digest: None,
        grant: None,
        signature: None,
    };
    check_standing(case, world, now, &ballot).err()
}

/// Takes a verdict.
pub(super) fn cast(progress: &mut Progress<'_>, ballot: Ballot) -> Result<(), Refusal> {
    let Progress {
        case, world, now, ..
    } = progress;
    check_form(case, &ballot)?;
    let Right {
        in_place_of,
        could_fill,
    } = check_standing(case, *world, *now, &ballot)?;
    if ballot.verdict == Verdict::Approve {
        check_reason(&ballot, &rule_sets(case, *world))?;
        check_typed(case, &ballot)?;
    }
    grant::check(case, &ballot)?;
    let vote = ballot.cast(*now, in_place_of);
    if case.votes.iter().any(|earlier| earlier.voter == vote.voter) {
        case.votes.retain(|earlier| earlier.voter != vote.voter);
        let voter = vote.voter.clone();
        progress.facts.push(Fact::Withdrawn { voter });
    }
    progress.case.votes.push(vote.clone());
    let denial = (vote.verdict == Verdict::Deny).then(|| Closure::Denied {
        by: vote.voter.clone(),
        reason: vote.reason.clone(),
    });
    progress.facts.push(Fact::Voted { vote, could_fill });
    match denial {
        Some(closure) => progress.close(closure),
        None => progress.settle(),
    }
    Ok(())
}

pub(super) fn check_form(case: &Case, ballot: &Ballot) -> Result<(), Refusal> {
    if ballot
        .reason
        .as_ref()
        .is_some_and(|text| text.len() > MAX_TEXT_BYTES)
    {
        return Err(Refusal::TextTooLong);
    }
    if ballot.digest != case.request.digest {
        return Err(Refusal::OtherAction);
    }
    Ok(())
}

/// By what right somebody votes.
struct Right {
    /// The person who is away, where they vote in their place.
    in_place_of: Option<PersonId>,
    /// The slots an approval could fill.
    could_fill: BTreeSet<Slot>,
}

/// Everything but what is typed: the state of the request, the person, their session, the time.
fn check_standing(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    ballot: &Ballot,
) -> Result<Right, Refusal> {
    if !case.phase.is_open() {
        return Err(Refusal::NotOpen(case.phase.name()));
    }
    let rules = rule_sets(case, world);
    let right = check_eligible(case, world, now, ballot, &rules)?;
    if ballot.verdict == Verdict::Approve {
        // Whoever may only stop something needs no more than a session for it.
        check_strength(ballot, rules.iter().flatten())?;
        check_hours(now, rules.iter().flatten())?;
    }
    Ok(right)
}

/// Whether this person may decide at all and, when approving, whether it fills a slot that no
/// earlier vote of theirs fills.
fn check_eligible(
    case: &Case,
    world: World<'_>,
    now: Timestamp,
    ballot: &Ballot,
    rules: &[Vec<ApprovalRule>; 2],
) -> Result<Right, Refusal> {
    let voter = &ballot.voter;
    let myself = myself(case, world.directory);
    let electorates = rules.each_ref().map(|rules| Electorate {
        request: &case.request,
        directory: world.directory,
        rules,
        myself: &myself,
    });
    let signers = electorates.iter().flat_map(|one| one.signers(voter, now));
    let may_sign = |signer: &Signer<'_>| electorates.iter().any(|one| one.signs_any(*signer, now));
    let mut signers = signers.filter(may_sign).peekable();
    let first = signers.peek().copied();
    if myself.contains(voter) && first.is_none() {
        return Err(Refusal::OwnRequest(voter.clone()));
    }
    check_issuer(ballot, &myself)?;
    let first = first.ok_or_else(|| Refusal::NotEligible(voter.clone()))?;
    let right = |signer: Signer<'_>, could_fill| Right {
        in_place_of: signer.in_place_of.cloned(),
        could_fill,
    };
    if ballot.verdict == Verdict::Deny {
        return Ok(right(first, BTreeSet::new()));
    }
    if let Some(other) = shares_credential(case, ballot) {
        return Err(Refusal::SharedCredential(other));
    }
    let others = || votes(case).filter(|vote| vote.voter != *voter);
    let has_voted = others().count() < case.votes.len();
    let gains = |electorate: &Electorate<'_>, signer| {
        let so_far = tally(case, electorate.rules, world);
        if so_far.could_fill.contains_key(voter) {
            return None;
        }
        let mut tally = tally_of(case, others(), electorate.rules, world);
        electorate.count(&mut tally, signer, now);
        tally.could_fill.remove(voter)
    };
    let gained = signers.find_map(|signer| {
        let mut each = electorates.iter();
        Some(right(signer, each.find_map(|one| gains(one, signer))?))
    });
    gained.ok_or(if has_voted {
        Refusal::AlreadyVoted
    } else {
        Refusal::NotNeeded
    })
}

/// A session that the requester's side issued to somebody else does not speak for them.
pub(super) fn check_issuer(ballot: &Ballot, myself: &BTreeSet<PersonId>) -> Result<(), Refusal> {
    match ballot.credential.maker_among(myself) {
        Some(issuer) if !myself.contains(&ballot.voter) => {
            Err(Refusal::CredentialFromRequester(issuer.clone()))
        }
        _ => Ok(()),
    }
}

/// Another voter with this very session, or who had a hand in it, or in whose session this voter or
/// somebody else had who had a hand in this one: the two could be one person.
fn shares_credential(case: &Case, ballot: &Ballot) -> Option<PersonId> {
    let linked = |vote: &&Vote| {
        let (one, other) = (&ballot.credential, &vote.credential);
        one.id == other.id
            || one.makers().any(|maker| *maker == vote.voter)
            || other
                .makers()
                .any(|maker| *maker == ballot.voter || one.makers().any(|own| own == maker))
    };
    let mut others = case.votes.iter().filter(|vote| vote.voter != ballot.voter);
    others.find(linked).map(|vote| vote.voter.clone())
}

fn check_strength<'a>(
    ballot: &Ballot,
    rules: impl Iterator<Item = &'a ApprovalRule>,
) -> Result<(), Refusal> {
    let given = ballot.credential.assurance;
    let needed = rules
        .map(|rule| rule.assurance)
        .max()
        .unwrap_or(Assurance::Passkey);
    if given < needed {
        Err(Refusal::AssuranceTooLow { needed, given })
    } else {
        Ok(())
    }
}

fn check_hours<'a>(
    now: Timestamp,
    mut rules: impl Iterator<Item = &'a ApprovalRule>,
) -> Result<(), Refusal> {
    let closed = rules.find_map(|rule| {
        let hours = rule.hours.as_ref().filter(|hours| !hours.contains(now))?;
        let (rule, hours): (RuleName, _) = (rule.name.clone(), hours.to_string());
        Some(Refusal::OutsideHours { rule, hours })
    });
    closed.map_or(Ok(()), Err)
}

fn check_reason(ballot: &Ballot, rules: &[Vec<ApprovalRule>; 2]) -> Result<(), Refusal> {
    let required = |rule: &ApprovalRule| rule.reason == ReasonRequirement::Required;
    match rules.iter().flatten().any(required) && !has_reason(ballot.reason.as_deref()) {
        true => Err(Refusal::ReasonRequired),
        false => Ok(()),
    }
}

/// An action that can't be shown whole is not approved with one click (P8).
pub(super) fn check_typed(case: &Case, ballot: &Ballot) -> Result<(), Refusal> {
    if case.request.presentation.allows_one_click() {
        return Ok(());
    }
    let digest = case.request.digest.to_string();
    match ballot.typed_digest.as_deref() {
        None | Some("") => Err(Refusal::DigestNotTyped),
        typed if typed == digest.get(..TYPED_DIGITS) => Ok(()),
        Some(_) => Err(Refusal::OtherDigestTyped),
    }
}

/// Takes an approval back.
pub(super) fn withdraw(progress: &mut Progress<'_>, voter: PersonId) -> Result<(), Refusal> {
    let case = &mut progress.case;
    if !case.phase.is_open() {
        return Err(Refusal::NotOpen(case.phase.name()));
    }
    let before = case.votes.len();
    case.votes.retain(|vote| vote.voter != voter);
    if case.votes.len() == before {
        return Err(Refusal::NoVote);
    }
    progress.facts.push(Fact::Withdrawn { voter });
    progress.settle();
    Ok(())
}
