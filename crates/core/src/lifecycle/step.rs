//! The one function that moves a case.

use std::collections::BTreeSet;

use super::{
    Event, Fact, Refusal, Step, World, claim, converse, emergency, grant, open::unreachable_rules,
    vote,
};
use crate::{
    approval::{myself::new_owners, quorum::shortest},
    id::PersonId,
    permit::Intent,
    request::{Case, Closure, Outcome, Phase},
    time::{Span, Timestamp},
};

/// A step in the making.
pub(super) struct Progress<'a> {
    pub(super) case: Case,
    pub(super) world: World<'a>,
    pub(super) now: Timestamp,
    pub(super) facts: Vec<Fact>,
    pub(super) intent: Option<Intent>,
    pub(super) refused: Option<Refusal>,
}

/// Handles one event at `now`.
///
/// Takes the case as stored and gives the case to store, with the facts to record in order.
///
/// # Errors
/// A [`Refusal`] when nothing changes. A refusal that does change the case, such as a claim after
/// the approval lapsed, comes back in [`Step::refused`].
pub fn step(case: Case, event: Event, world: World<'_>, now: Timestamp) -> Result<Step, Refusal> {
    let mut progress = Progress::new(case, world, now);
    progress.let_time_pass();
    progress.remember_owners();
    // Time alone may have ended the case; what that changed stays even if the event is refused.
    if let Err(refusal) = progress.handle(event) {
        if progress.facts.is_empty() {
            return Err(refusal);
        }
        progress.refused = Some(refusal);
    }
    let Progress {
        mut case,
        facts,
        intent,
        refused,
        ..
    } = progress;
    case.version += 1;
    Ok(Step {
        case,
        facts,
        intent,
        refused,
    })
}

/// When the case next needs a [`Event::Tick`]; `None` when never.
#[must_use]
pub fn deadline(case: &Case) -> Option<Timestamp> {
    match &case.phase {
        Phase::Held { expires } => {
            let pending = pending_escalations(case).map(|(_, _, at)| at);
            pending.chain([*expires]).min()
        }
        Phase::Approved { until } => Some(until.after(Span::from_millis(1))),
        Phase::Running { .. } | Phase::Finished { .. } | Phase::Closed { .. } => None,
    }
}

fn pending_escalations(
    case: &Case,
) -> impl Iterator<Item = (&crate::id::RuleName, u32, Timestamp)> {
    case.request.rules.iter().flat_map(move |rule| {
        (0u32..)
            .zip(&rule.escalate)
            .filter_map(move |(index, escalation)| {
                let announced = case.escalated.contains(&(rule.name.clone(), index));
                (!announced).then(|| (&rule.name, index, case.request.at.after(escalation.after)))
            })
    })
}

impl<'a> Progress<'a> {
    pub(super) fn new(case: Case, world: World<'a>, now: Timestamp) -> Self {
        Self {
            case,
            world,
            now,
            facts: Vec::new(),
            intent: None,
            refused: None,
        }
    }
}

impl Progress<'_> {
    fn handle(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Vote(ballot) => vote::cast(self, ballot),
            Event::Withdraw { voter } => vote::withdraw(self, voter),
            Event::Say(message) => converse::say(self, message),
            Event::Amend {
                editor,
                into,
                message,
            } => converse::amend(self, editor, into, message),
            Event::Cancel { by } => converse::cancel(self, by),
            Event::Claim(claim) => claim::claim(self, claim),
            Event::Ended { permit, outcome } => claim::end(self, permit, outcome),
            Event::BreakGlass { rule, ballot } => emergency::break_glass(self, rule, ballot),
            Event::Review {
                rule,
                by,
                credential,
                note,
            } => emergency::review(self, rule, by, credential, note),
            Event::UseGrant { by } => grant::count(self, by),
            Event::EndGrant { by, oversees } => grant::end(self, by, oversees),
            Event::GrantEnded { by } => grant::leave(self, by),
            Event::SelfGrew { people } => {
                self.grow_self(people);
                Ok(())
            }
            Event::Restarted => {
                self.mark_unknown();
                Ok(())
            }
            Event::WorldChanged => {
                grant::lose_givers(self);
                self.end_if_stopped();
                self.settle();
                Ok(())
            }
            Event::Tick => Ok(()),
        }
    }

    /// Expiry, lapse and escalation that are due.
    fn let_time_pass(&mut self) {
        match self.case.phase {
            Phase::Held { expires } if self.now >= expires => self.close(Closure::Expired),
            Phase::Approved { until } if self.now > until => self.close(Closure::Unclaimed),
            Phase::Held { .. } | Phase::Approved { .. } => self.escalate(),
            Phase::Running { .. } | Phase::Finished { .. } | Phase::Closed { .. } => {}
        }
        emergency::note_overdue(self);
    }

    fn escalate(&mut self) {
        let now = self.now;
        let due: Vec<_> = pending_escalations(&self.case)
            .filter(|(_, _, at)| *at <= now)
            .map(|(rule, index, _)| (rule.clone(), index))
            .collect();
        for (rule, index) in due {
            self.case.escalated.insert((rule.clone(), index));
            self.facts.push(Fact::Escalated { rule });
        }
    }

    /// Ends an open case when a member of its chain was stopped, disabled or removed, or the person who
    /// answers for one was.
    fn end_if_stopped(&mut self) {
        let directory = self.world.directory;
        let gone = {
            let mut members = self.case.request.chain.members();
            members.find_map(|member| {
                let Some(found) = directory.resolve(&member.id) else {
                    return Some(member.id.clone());
                };
                let owner = found.owner.map(crate::subject::SubjectId::Person);
                owner.filter(|owner| directory.resolve(owner).is_none())
            })
        };
        if let Some(who) = gone.filter(|_| self.case.phase.is_open()) {
            self.close(Closure::RequesterStopped { who });
        }
    }

    /// Ends the case without running it.
    pub(super) fn close(&mut self, closure: Closure) {
        let wait = match closure {
            Closure::Denied { .. } => shortest(&self.case.request.rules, |rule| rule.expires),
            _ => Span::from_millis(0),
        };
        self.facts.push(Fact::Closed {
            closure: closure.clone(),
        });
        let refuse_until = self.now.after(wait);
        self.case.phase = Phase::Closed {
            closure,
            at: self.now,
            refuse_until,
        };
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused = Some(refusal);
    }

    /// Brings the phase in line with what the votes now satisfy.
    pub(super) fn settle(&mut self) {
        let satisfied = vote::is_satisfied(&self.case, self.world);
        match self.case.phase {
            Phase::Held { .. } if satisfied => self.approve(self.lapses()),
            Phase::Approved { until } if satisfied => {
                let lapses = self.lapses();
                if lapses < until {
                    self.approve(lapses);
                }
            }
            Phase::Approved { .. } => {
                let expires = self
                    .case
                    .request
                    .at
                    .after(shortest(&self.case.request.rules, |r| r.expires));
                self.case.phase = Phase::Held { expires };
                self.facts.push(Fact::Reopened);
                if self.now >= expires {
                    self.close(Closure::Expired);
                }
            }
            _ => {}
        }
        if matches!(self.case.phase, Phase::Held { .. }) {
            let rules = unreachable_rules(&self.case, self.world);
            if !rules.is_empty() {
                self.close(Closure::Unreachable { rules });
            }
        }
    }

    fn approve(&mut self, until: Timestamp) {
        if self.now > until {
            self.close(Closure::Unclaimed);
        } else {
            self.case.phase = Phase::Approved { until };
            self.facts.push(Fact::Approved { until });
        }
    }

    /// When the approval lapses: the last vote or emergency plus the shortest validity, by the
    /// rules as they were and as they are.
    fn lapses(&self) -> Timestamp {
        let votes = self.case.votes.iter().map(|vote| vote.at);
        let lifts = emergency::standing_lifts(&self.case, self.world);
        // A grant's votes count as cast when it was used; the grant's own end comes on top.
        let granted = self.case.granted.as_ref();
        let used = granted.map(|_| self.case.request.at);
        let last = votes
            .chain(lifts.map(|lift| lift.vote.at))
            .chain(used)
            .max();
        let [as_was, as_is] = vote::rule_sets(&self.case, self.world);
        let every: Vec<_> = self
            .case
            .request
            .rules
            .iter()
            .chain(&as_was)
            .chain(&as_is)
            .cloned()
            .collect();
        let lapses = last
            .unwrap_or(self.now)
            .after(shortest(&every, |rule| rule.valid_for));
        granted.map_or(lapses, |granted| lapses.min(granted.until))
    }

    fn remember_owners(&mut self) {
        let people = new_owners(&self.case, self.world.directory);
        if !people.is_empty() && self.may_count_votes() {
            self.case.self_grown.extend(people.iter().cloned());
            self.facts.push(Fact::SelfGrew { people });
        }
    }

    fn grow_self(&mut self, people: BTreeSet<PersonId>) {
        let new: BTreeSet<_> = people.difference(&self.case.self_grown).cloned().collect();
        if new.is_empty() || !self.may_count_votes() {
            return;
        }
        self.case.self_grown.extend(new.iter().cloned());
        self.facts.push(Fact::SelfGrew { people: new });
        if self.case.phase.is_open() {
            self.settle();
        }
    }

    /// Whether its votes may still let something run: itself, or what is granted with it.
    fn may_count_votes(&self) -> bool {
        let grant = self.case.grant.as_ref();
        self.case.phase.is_open() || grant.is_some_and(|grant| grant.is_live(self.now))
    }

    fn mark_unknown(&mut self) {
        if let Phase::Running { permit, .. } = &self.case.phase {
            let (permit, outcome) = (permit.clone(), Outcome::Unknown);
            self.facts.push(Fact::Ended {
                permit: permit.clone(),
                outcome,
            });
            self.case.phase = Phase::Finished {
                permit,
                outcome,
                at: self.now,
            };
        }
    }
}
