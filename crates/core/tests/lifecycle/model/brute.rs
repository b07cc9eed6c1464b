//! Quorums the slow way: try every assignment of votes to slots.

use std::collections::BTreeSet;

use countersign_core::{
    approval::{
        ApprovalRule,
        rule::{Approver, ReasonRequirement},
        vote::Vote,
    },
    directory::Directory,
    id::{PersonId, RuleName},
    request::Request,
    subject::SubjectId,
};

/// Who decides about what, for one set of rules.
pub(super) struct Question<'a> {
    pub(super) request: &'a Request,
    pub(super) directory: &'a Directory,
    pub(super) rules: &'a [ApprovalRule],
    pub(super) myself: &'a BTreeSet<PersonId>,
}

/// One signature that is asked for: the rule's name and the stage.
type Place = (RuleName, usize);

impl Question<'_> {
    /// Whether some assignment of these votes fills every slot, each vote at most one.
    pub(super) fn is_satisfied(&self, votes: &[Vote]) -> bool {
        !self.rules.is_empty() && self.can_fill(&self.places(|_, _| true), votes)
    }

    /// Whether some assignment fills the stages of a rule below `stage`.
    pub(super) fn fills_below(&self, name: &RuleName, stage: usize, votes: &[Vote]) -> bool {
        self.can_fill(&self.places(|rule, at| rule == name && at < stage), votes)
    }

    fn places(&self, wanted: impl Fn(&RuleName, usize) -> bool) -> Vec<Place> {
        let mut places = Vec::new();
        let mut names = BTreeSet::new();
        for rule in self
            .rules
            .iter()
            .filter(|rule| names.insert(rule.name.clone()))
        {
            let alike = self.rules.iter().filter(|other| other.name == rule.name);
            let longest = alike.clone().map(|rule| rule.stages.len()).max().unwrap();
            for stage in 0..longest.max(1) {
                let of_stage =
                    |rule: &ApprovalRule| rule.stages.get(stage).map_or(1, |s| s.count.max(1));
                let count = alike.clone().map(of_stage).max().unwrap();
                let place = (rule.name.clone(), stage);
                let place = Some(place).filter(|(name, stage)| wanted(name, *stage));
                places.extend(
                    place
                        .into_iter()
                        .flat_map(|p| (0..count).map(move |_| p.clone())),
                );
            }
        }
        places
    }

    fn can_fill(&self, places: &[Place], votes: &[Vote]) -> bool {
        let Some(((name, stage), rest)) = places.split_first() else {
            return true;
        };
        if places.len() > votes.len() {
            return false;
        }
        (0..votes.len()).any(|index| {
            let mut others = votes.to_vec();
            let vote = others.remove(index);
            // Who is away and whoever signs for them are one.
            others.retain(|other| right(other) != right(&vote));
            self.counts(&vote) && self.may(&vote, name, *stage) && self.can_fill(rest, &others)
        })
    }

    /// Whether a vote counts for anything at all.
    fn counts(&self, vote: &Vote) -> bool {
        let credential = &vote.credential;
        let foreign = credential.issued_by.as_ref().is_some_and(|issuer| {
            self.myself.contains(issuer) && !self.myself.contains(&vote.voter)
        });
        let enough = |rule: &ApprovalRule| {
            credential.assurance >= rule.assurance
                && (rule.reason == ReasonRequirement::Optional || vote.reason.is_some())
        };
        vote.digest == self.request.digest && !foreign && self.rules.iter().all(enough)
    }

    /// Whether the voter may sign a stage of every rule of that name.
    fn may(&self, vote: &Vote, name: &RuleName, stage: usize) -> bool {
        let mut named = self.rules.iter().filter(|rule| rule.name == *name);
        named.all(|rule| self.may_sign(vote, rule, stage))
    }

    /// Whether the voter may sign any stage of any rule.
    pub(super) fn may_any(&self, vote: &Vote) -> bool {
        let stages = |rule: &ApprovalRule| rule.stages.len().max(1);
        let any = |rule| (0..stages(rule)).any(|stage| self.may_sign(vote, rule, stage));
        self.rules.iter().any(any)
    }

    fn may_sign(&self, vote: &Vote, rule: &ApprovalRule, stage: usize) -> bool {
        let Some(person) = self.directory.people.get(&vote.voter) else {
            return false;
        };
        if person.disabled {
            return false;
        }
        if rule.confirmation {
            return vote.in_place_of.is_none() && self.is_represented(&vote.voter);
        }
        let stands_in = |away| self.stands_in(vote, away);
        if !vote.in_place_of.as_ref().is_none_or(stands_in) {
            return false;
        }
        let waited = vote.at.0 - self.request.at.0;
        let late = rule
            .escalate
            .iter()
            .filter(|more| more.after.as_millis() <= waited);
        let Some(stage) = rule.stages.get(stage) else {
            return false;
        };
        let mut named = stage.from.iter().chain(late.flat_map(|more| &more.to));
        !self.myself.contains(&vote.voter) && named.any(|one| self.names(one, right(vote)))
    }

    fn stands_in(&self, vote: &Vote, away: &PersonId) -> bool {
        let Some(absence) = self.directory.absences.get(away) else {
            return false;
        };
        let then = (absence.from..absence.until).contains(&vote.at);
        let acts = !self.directory.people[away].disabled && !self.myself.contains(away);
        absence.stand_in == vote.voter && absence.countersigned && then && acts
    }

    pub(super) fn is_represented(&self, voter: &PersonId) -> bool {
        self.request.chain.members().any(|member| match &member.id {
            SubjectId::Person(id) => id == voter,
            SubjectId::Agent(id) => {
                member.owner.as_ref() == Some(voter)
                    && self.directory.agents[id].owner.as_ref() == Some(voter)
            }
            SubjectId::Workload(_) => false,
        })
    }

    pub(super) fn names(&self, approver: &Approver, voter: &PersonId) -> bool {
        let people = &self.directory.people;
        let asker = self.request.chain.requester.people().next();
        match approver {
            Approver::User(id) => id == voter,
            Approver::OwnerOfResource => self.request.resource_owners.contains(voter),
            Approver::ManagerOfRequester => {
                asker.and_then(|asker| people[asker].manager.as_ref()) == Some(voter)
            }
            Approver::Group(group) => match people[voter].groups.get(group) {
                Some(member) => member.countersigned || member.since < self.request.at,
                None => false,
            },
        }
    }
}

/// Whose right a vote uses.
pub(super) fn right(vote: &Vote) -> &PersonId {
    vote.in_place_of.as_ref().unwrap_or(&vote.voter)
}
