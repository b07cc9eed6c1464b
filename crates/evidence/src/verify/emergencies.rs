//! Emergencies and their reviews, as far as the log tells.
//!
//! In scope: who reviewed, what nobody reviewed, and what was lifted although it was suspended.
//! Out of scope: whether a lift carries a permit ([`quorum`](super::quorum)); whether whoever
//! reviewed was named by the rule, of which the log has no record.
//! Invariant: every lift leaves a finding until somebody else's review is recorded, also after its
//! request ended. Memory grows with the number of lifts.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{
    id::{RequestId, RuleName},
    time::{Span, Timestamp},
};

use super::{Problem, quorum::makers};
use crate::{
    body::{ApprovalDecided, EmergencyReviewed, RuleShape, Verdict},
    reference::Ref,
};

/// One lift.
#[derive(Debug)]
struct Use {
    rule: RuleName,
    voter: Ref,
    /// Until when it had to be reviewed, where the log says so.
    review_by: Option<Timestamp>,
    reviewed: bool,
}

/// What is kept of a request of which something was lifted.
#[derive(Debug, Default)]
struct Lifts {
    uses: Vec<Use>,
    /// Who is on the requester's side.
    myself: BTreeSet<Ref>,
}

/// Every lift seen so far.
#[derive(Debug, Default)]
pub(super) struct Emergencies {
    of: HashMap<RequestId, Lifts>,
    newest: Option<Timestamp>,
}

impl Emergencies {
    /// Notes the time of a record.
    pub(super) fn meet(&mut self, at: Timestamp) {
        self.newest = self.newest.max(Some(at));
    }

    /// Takes a lift, of a request held for these rules.
    pub(super) fn lifted(
        &mut self,
        request: &RequestId,
        (vote, at): (&ApprovalDecided, Timestamp),
        (rules, myself): (&[RuleShape], &BTreeSet<Ref>),
        problems: &mut Vec<Problem>,
    ) {
        if vote.verdict != Verdict::Approve {
            return;
        }
        let voter = vote.voter;
        for slot in &vote.slots {
            let rule = slot.rule.clone();
            if self.is_suspended(&rule, at) {
                let rule = rule.clone();
                problems.push(Problem::LiftedWhileSuspended { rule, voter });
            }
            let named = rules.iter().find(|shape| shape.name == rule);
            let within: Option<Span> = named.and_then(|shape| shape.review_within);
            let lifts = self.of.entry(request.clone()).or_default();
            lifts.myself.extend(myself);
            // Whoever had a hand in what it was lifted with could be who lifted it.
            lifts.myself.extend(makers(vote));
            lifts.uses.push(Use {
                rule,
                voter,
                review_by: within.map(|within| at.after(within)),
                reviewed: false,
            });
        }
    }

    /// Whether an earlier use of the rule was overdue.
    fn is_suspended(&self, rule: &RuleName, at: Timestamp) -> bool {
        let overdue = |one: &Use| {
            one.rule == *rule && !one.reviewed && one.review_by.is_some_and(|by| at > by)
        };
        self.of.values().any(|lifts| lifts.uses.iter().any(overdue))
    }

    /// More people are on the requester's side of a request.
    pub(super) fn grew(&mut self, request: &RequestId, people: &[Ref]) {
        if let Some(lifts) = self.of.get_mut(request) {
            lifts.myself.extend(people);
        }
    }

    /// Takes a review.
    pub(super) fn reviewed(
        &mut self,
        request: &RequestId,
        review: &EmergencyReviewed,
        problems: &mut Vec<Problem>,
    ) {
        let rule = || review.rule.clone();
        let Some(lifts) = self.of.get_mut(request) else {
            problems.push(Problem::ReviewOfNothing { rule: rule() });
            return;
        };
        let lifted = lifts.uses.iter().any(|one| one.voter == review.by);
        if lifted || lifts.myself.contains(&review.by) {
            let (rule, by) = (rule(), review.by);
            problems.push(Problem::OwnReview { rule, by });
            // It counts for nothing, so that what is due stays so.
            return;
        }
        let due = |one: &&mut Use| one.rule == review.rule && !one.reviewed;
        let mut found = false;
        for one in lifts.uses.iter_mut().filter(due) {
            one.reviewed = true;
            found = true;
        }
        if !found {
            problems.push(Problem::ReviewOfNothing { rule: rule() });
        }
    }

    /// What nobody has reviewed, in the order of the requests' names.
    pub(super) fn unreviewed(self) -> Vec<(RequestId, Problem)> {
        let newest = self.newest;
        let mut list = Vec::new();
        for (request, lifts) in self.of {
            let due = lifts.uses.into_iter().filter(|one| !one.reviewed);
            list.extend(due.map(|one| {
                let late = |by| newest.is_some_and(|newest| newest > by);
                let (rule, voter) = (one.rule, one.voter);
                let problem = match one.review_by.filter(|by| late(*by)) {
                    Some(by) => Problem::ReviewOverdue { rule, voter, by },
                    None => Problem::ReviewMissing { rule, voter },
                };
                (request.clone(), problem)
            }));
        }
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        list
    }
}
