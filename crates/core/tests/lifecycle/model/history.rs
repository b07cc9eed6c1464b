//! What has really happened, kept apart from the case: from events and from whether they were taken.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{
        ApprovalRule,
        vote::{Verdict, Vote},
    },
    id::{PersonId, RuleName},
    lifecycle::{Ballot, Event, Fact, Refusal, Step},
    request::Case,
    subject::SubjectId,
    time::Timestamp,
};

use super::{brute::Question, plan::Stage};

/// One life so far.
pub(super) struct History {
    /// The case at its beginning.
    pub(super) first: Case,
    /// Everybody who has ever been *self*.
    pub(super) myself: BTreeSet<PersonId>,
    /// Approvals that were given and not taken back.
    pub(super) votes: Vec<Vote>,
    /// Rules lifted, and by whom and when.
    pub(super) lifts: Vec<(RuleName, PersonId, Timestamp)>,
    pub(super) denied: bool,
    pub(super) permits: usize,
    pub(super) tampered: bool,
    pub(super) steps: u64,
    pub(super) facts: Vec<Fact>,
}

impl History {
    pub(super) fn new(case: &Case) -> Self {
        let request = &case.request;
        let members = request.chain.members();
        let mut myself: BTreeSet<_> = members.flat_map(|one| one.people().cloned()).collect();
        myself.extend(request.amends.iter().map(|amends| amends.editor.clone()));
        Self {
            first: case.clone(),
            myself,
            votes: Vec::new(),
            lifts: Vec::new(),
            denied: false,
            permits: 0,
            tampered: false,
            steps: 0,
            facts: Vec::new(),
        }
    }

    /// Notes who is *self* at an event, before it is handled.
    pub(super) fn meet(&mut self, stage: &Stage, event: &Event) {
        let chain = &self.first.request.chain;
        let machines = chain
            .members()
            .filter_map(|one| stage.town.directory.machine(&one.id));
        self.myself
            .extend(machines.filter_map(|machine| machine.owner.clone()));
        if let Event::SelfGrew { people } = event {
            self.myself.extend(people.iter().cloned());
        }
    }

    /// Notes what came of an event.
    pub(super) fn note(&mut self, event: &Event, result: &Result<Step, Refusal>, now: Timestamp) {
        let Ok(step) = result else { return };
        self.steps += 1;
        self.facts.extend(step.facts.iter().cloned());
        self.permits += usize::from(step.intent.is_some());
        if step.refused.is_some() {
            return;
        }
        match event {
            Event::Vote(ballot) if ballot.verdict == Verdict::Approve => {
                self.votes.retain(|vote| vote.voter != ballot.voter);
                self.votes.push(vote_of(ballot, &step.facts, now));
            }
            Event::Vote(_) => self.denied = true,
            Event::Withdraw { voter } => self.votes.retain(|vote| vote.voter != *voter),
            Event::BreakGlass { rule, ballot } => {
                self.lifts.push((rule.clone(), ballot.voter.clone(), now));
            }
            _ => {}
        }
    }

    /// Whether the rules, as they were and as they are, are satisfied by others.
    pub(super) fn is_satisfied(&self, stage: &Stage) -> bool {
        self.rule_sets(stage).iter().all(|rules| {
            let question = self.question(stage, rules);
            rules.is_empty() || question.is_satisfied(&self.votes)
        })
    }

    pub(super) fn question<'a>(
        &'a self,
        stage: &'a Stage,
        rules: &'a [ApprovalRule],
    ) -> Question<'a> {
        Question {
            request: &self.first.request,
            directory: &stage.town.directory,
            rules,
            myself: &self.myself,
        }
    }

    /// The rules not lifted, as they were and as they are.
    pub(super) fn rule_sets(&self, stage: &Stage) -> [Vec<ApprovalRule>; 2] {
        let rules = self.first.request.rules.iter();
        let was: Vec<_> = rules
            .filter(|rule| !self.is_lifted(stage, rule))
            .cloned()
            .collect();
        let is = was
            .iter()
            .filter_map(|rule| stage.town.rules.get(&rule.name));
        let is = is.cloned().collect();
        [was, is]
    }

    fn is_lifted(&self, stage: &Stage, rule: &ApprovalRule) -> bool {
        let question = self.question(stage, &[]);
        let allows = |rule: &ApprovalRule, by: &PersonId| {
            let person = &stage.town.directory.people[by];
            let from = rule.emergency.iter().flat_map(|emergency| &emergency.from);
            let asks = SubjectId::Person(by.clone()) == self.first.request.chain.requester.id;
            let behind = self.myself.contains(by) && !asks;
            !person.disabled && !behind && { from }.any(|one| question.names(one, by))
        };
        let was = self
            .first
            .request
            .rules
            .iter()
            .find(|one| one.name == rule.name)
            .unwrap();
        let is = stage.town.rules.get(&rule.name);
        self.lifts.iter().any(|(name, by, _)| {
            *name == rule.name && allows(was, by) && is.is_none_or(|is| allows(is, by))
        })
    }
}

/// The vote that a ballot is, by the right that it was taken for.
pub(super) fn vote_of(ballot: &Ballot, facts: &[Fact], at: Timestamp) -> Vote {
    let mut taken = facts.iter().filter_map(|fact| match fact {
        Fact::Voted { vote, .. } => vote.in_place_of.clone(),
        _ => None,
    });
    Vote {
        in_place_of: taken.next(),
        voter: ballot.voter.clone(),
        credential: ballot.credential.clone(),
        verdict: ballot.verdict,
        reason: ballot.reason.clone(),
        digest: ballot.digest,
        at,
        grant: None,
        signature: None,
    }
}
