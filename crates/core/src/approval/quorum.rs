//! Whether enough different people, each eligible, signed every stage in order.
//!
//! In scope: who is eligible for which stage, matching votes to slots, whether a quorum can be
//! reached at all.
//! Out of scope: who is *self* ([`myself`](super::myself)) and the lifecycle.
//! Invariant: one person fills at most one slot over all rules, and so does the right of one person,
//! whether they use it or their stand-in does; a slot once filled stays filled when a vote is added; a
//! stage takes votes only when the stage before it is full.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rule::{ApprovalRule, Approver};
use crate::{
    absence::Absence,
    directory::Directory,
    id::{PersonId, RuleName},
    request::Request,
    subject::SubjectId,
    time::{Span, Timestamp},
};

/// One place a vote can fill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// The rule.
    pub rule: RuleName,
    /// The stage within it, from 0.
    pub stage: u32,
    /// The place within the stage, from 0.
    pub place: u32,
}

/// Who signs, and by whose right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer<'a> {
    /// Who.
    pub person: &'a PersonId,
    /// The person who is away, where somebody signs in their place.
    pub in_place_of: Option<&'a PersonId>,
}

impl<'a> Signer<'a> {
    /// Somebody who signs for themselves.
    #[must_use]
    pub fn themselves(person: &'a PersonId) -> Self {
        Self {
            person,
            in_place_of: None,
        }
    }

    /// Whose right it is.
    fn right(self) -> &'a PersonId {
        self.in_place_of.unwrap_or(self.person)
    }
}

/// Votes matched to slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Filled slots and who fills them.
    pub filled: BTreeMap<Slot, PersonId>,
    /// Slots still empty.
    pub empty: BTreeSet<Slot>,
    /// For every vote that counts, the slots it could fill when it was cast.
    pub could_fill: BTreeMap<PersonId, BTreeSet<Slot>>,
    /// The people whose right is used by a vote that counts.
    used: BTreeSet<PersonId>,
}

impl Tally {
    /// Whether every slot is filled. A tally without slots is satisfied by nothing.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        self.empty.is_empty() && !self.filled.is_empty()
    }

    /// Whether one rule's slots are all filled.
    #[must_use]
    pub fn satisfies(&self, rule: &RuleName) -> bool {
        let of_rule = |slot: &&Slot| slot.rule == *rule;
        self.filled.keys().any(|slot| of_rule(&slot)) && !self.empty.iter().any(|s| of_rule(&s))
    }

    /// The stage that takes votes now, per rule.
    fn open_stages(&self) -> BTreeMap<&RuleName, u32> {
        let mut open = BTreeMap::new();
        for slot in &self.empty {
            let stage = open.entry(&slot.rule).or_insert(slot.stage);
            *stage = (*stage).min(slot.stage);
        }
        open
    }

    /// The slots of open and earlier stages that somebody could fill.
    fn reachable_slots(&self, eligible: impl Fn(&RuleName, u32) -> bool) -> BTreeSet<Slot> {
        let open = self.open_stages();
        self.filled
            .keys()
            .chain(&self.empty)
            .filter(|slot| {
                open.get(&slot.rule)
                    .is_none_or(|stage| slot.stage <= *stage)
            })
            .filter(|slot| eligible(&slot.rule, slot.stage))
            .cloned()
            .collect()
    }

    /// Adds one person's vote; `false` when it fills nothing.
    fn add(&mut self, signer: Signer<'_>, eligible: impl Fn(&RuleName, u32) -> bool) -> bool {
        let person = signer.person;
        if self.could_fill.contains_key(person) || self.used.contains(signer.right()) {
            return false;
        }
        let slots = self.reachable_slots(eligible);
        self.could_fill.insert(person.clone(), slots);
        let found = self.place(person, &mut BTreeSet::new());
        match found {
            true => drop(self.used.insert(signer.right().clone())),
            false => drop(self.could_fill.remove(person)),
        }
        found
    }

    /// Finds a slot for `person`, moving earlier voters to other slots of theirs where that frees
    /// one (augmenting path, Kuhn 1955).
    fn place(&mut self, person: &PersonId, tried: &mut BTreeSet<Slot>) -> bool {
        let slots = self.could_fill.get(person).cloned().unwrap_or_default();
        for slot in slots {
            if !tried.insert(slot.clone()) {
                continue;
            }
            let free = match self.filled.get(&slot).cloned() {
                None => true,
                Some(holder) => self.place(&holder, tried),
            };
            if free {
                self.empty.remove(&slot);
                self.filled.insert(slot, person.clone());
                return true;
            }
        }
        false
    }
}

/// Who may sign what, for one request at one state of the directory.
#[derive(Clone, Copy)]
pub struct Electorate<'a> {
    /// The request.
    pub request: &'a Request,
    /// The directory as it is.
    pub directory: &'a Directory,
    /// The rules to judge by, as they were or as they are.
    pub rules: &'a [ApprovalRule],
    /// The people on the requester's side, who sign nothing but confirmations.
    pub myself: &'a BTreeSet<PersonId>,
}

impl Electorate<'_> {
    /// Whether a vote cast `at` signs `stage` of `rule`.
    fn signs(&self, signer: Signer<'_>, rule: &ApprovalRule, stage: u32, at: Timestamp) -> bool {
        let person = signer.person;
        if self.directory.active_person(person).is_none() || !rule.is_sound() {
            return false;
        }
        if rule.confirmation {
            let themselves = signer.in_place_of.is_none();
            return stage == 0 && themselves && self.is_represented(person);
        }
        let stands_in = |away| self.stands_in(person, away, at);
        if self.myself.contains(person) || !signer.in_place_of.is_none_or(stands_in) {
            return false;
        }
        let waited = Span::from_millis(at.millis_since(self.request.at));
        let index = usize::try_from(stage).unwrap_or(usize::MAX);
        let Some(stage) = rule.stages.get(index) else {
            return false;
        };
        let added = rule
            .escalate
            .iter()
            .filter(|more| more.after <= waited)
            .flat_map(|more| &more.to);
        stage
            .from
            .iter()
            .chain(added)
            .any(|approver| self.is_one_of(signer.right(), approver))
    }

    /// Whether `person` signs at a time in the place of somebody who is `away` then. Nobody is of any
    /// use to the requester's side by naming a stand-in.
    fn stands_in(&self, person: &PersonId, away: &PersonId, at: Timestamp) -> bool {
        let found = self.directory.absences.get(away);
        let counts = |absence: &Absence| {
            absence.stand_in == *person && absence.covers(at) && absence.countersigned
        };
        found.is_some_and(counts)
            && !self.myself.contains(away)
            && self.directory.active_person(away).is_some()
    }

    /// By whose right `person` may sign at a time, their own first.
    pub fn signers<'p>(
        &'p self,
        person: &'p PersonId,
        at: Timestamp,
    ) -> impl Iterator<Item = Signer<'p>> {
        let away = self.directory.absences.keys();
        let others = away.filter(move |away| self.stands_in(person, away, at));
        let in_place_of = move |away| Signer {
            person,
            in_place_of: Some(away),
        };
        std::iter::once(Signer::themselves(person)).chain(others.map(in_place_of))
    }

    /// By whose right `person` may sign `stage` of `rule` with a vote cast `at`, their own first; `None`
    /// when they may not.
    #[must_use]
    pub fn signer_of<'p>(
        &'p self,
        person: &'p PersonId,
        rule: &ApprovalRule,
        stage: u32,
        at: Timestamp,
    ) -> Option<Signer<'p>> {
        self.signers(person, at)
            .find(|signer| self.signs(*signer, rule, stage, at))
    }

    /// Whether somebody may sign any stage of any rule.
    #[must_use]
    pub fn signs_any(&self, signer: Signer<'_>, at: Timestamp) -> bool {
        self.rules.iter().any(|rule| {
            (0..stage_counts(rule).len())
                .filter_map(|stage| u32::try_from(stage).ok())
                .any(|stage| self.signs(signer, rule, stage, at))
        })
    }

    /// Whether `person` may sign any stage of any rule, by whosever right.
    #[must_use]
    pub fn may_sign_any(&self, person: &PersonId, at: Timestamp) -> bool {
        self.signers(person, at)
            .any(|signer| self.signs_any(signer, at))
    }

    /// The person an agent acts for, its owner then and now, or a person who asks for themselves.
    fn is_represented(&self, person: &PersonId) -> bool {
        let still_owns = |id| {
            self.directory
                .machine(id)
                .is_some_and(|machine| machine.owner.as_ref() == Some(person))
        };
        self.request.chain.members().any(|member| match &member.id {
            SubjectId::Person(id) => id == person,
            machine => member.owner.as_ref() == Some(person) && still_owns(machine),
        })
    }

    /// Whether an entry of a rule's list names `person`.
    #[must_use]
    pub fn is_one_of(&self, person: &PersonId, approver: &Approver) -> bool {
        match approver {
            Approver::User(id) => id == person,
            Approver::Group(group) => self
                .directory
                .active_person(person)
                .and_then(|found| found.groups.get(group))
                .is_some_and(|member| member.countersigned || member.since < self.request.at),
            Approver::OwnerOfResource => self.request.resource_owners.contains(person),
            Approver::ManagerOfRequester => self.is_manager(person),
        }
    }

    fn is_manager(&self, person: &PersonId) -> bool {
        let requester = &self.request.chain.requester;
        let answerable = match &requester.id {
            SubjectId::Person(id) => Some(id),
            SubjectId::Agent(_) | SubjectId::Workload(_) => requester.owner.as_ref(),
        };
        answerable
            .and_then(|id| self.directory.people.get(id))
            .and_then(|found| found.manager.as_ref())
            .is_some_and(|manager| manager == person)
    }

    /// Whether `person` may sign a slot; where several rules have its name, by all of them.
    fn may_fill(&self, signer: Signer<'_>, slot: (&RuleName, u32), at: Timestamp) -> bool {
        let (name, stage) = slot;
        let mut named = self
            .rules
            .iter()
            .filter(|rule| rule.name == *name)
            .peekable();
        named.peek().is_some() && named.all(|rule| self.signs(signer, rule, stage, at))
    }

    /// An empty tally with every slot of every rule.
    #[must_use]
    pub fn empty_tally(&self) -> Tally {
        let mut empty = BTreeSet::new();
        for rule in self.rules {
            for (stage, count) in (0u32..).zip(stage_counts(rule)) {
                let slot = |place| Slot {
                    rule: rule.name.clone(),
                    stage,
                    place,
                };
                empty.extend((0..count).map(slot));
            }
        }
        Tally {
            empty,
            ..Tally::default()
        }
    }

    /// Counts approvals in the order in which they were cast.
    pub fn tally<'v>(&self, votes: impl IntoIterator<Item = (Signer<'v>, Timestamp)>) -> Tally {
        let mut tally = self.empty_tally();
        for (signer, at) in votes {
            self.count(&mut tally, signer, at);
        }
        tally
    }

    /// Adds one approval; `false` when it fills nothing.
    pub fn count(&self, tally: &mut Tally, signer: Signer<'_>, at: Timestamp) -> bool {
        tally.add(signer, |name, stage| {
            self.may_fill(signer, (name, stage), at)
        })
    }

    /// Adds an approval of `person` by the first right of theirs that fills anything, and says by whose.
    pub fn count_any<'p>(
        &'p self,
        tally: &mut Tally,
        person: &'p PersonId,
        at: Timestamp,
    ) -> Option<Signer<'p>> {
        self.signers(person, at)
            .find(|signer| self.count(tally, *signer, at))
    }

    /// The slots that stay empty even if everybody who may sign does, escalations included. A stand-in
    /// fills nothing that whoever is away could not come back for.
    #[must_use]
    pub fn unreachable(&self) -> BTreeSet<Slot> {
        let mut tally = self.empty_tally();
        let expires = shortest(self.rules, |rule| rule.expires);
        let last = self
            .request
            .at
            .after(Span::from_millis(expires.as_millis() - 1));
        for person in self.directory.people.keys() {
            let may_fill = |slot: &&Slot| {
                let signer = Signer::themselves(person);
                self.may_fill(signer, (&slot.rule, slot.stage), last)
            };
            let slots = tally.filled.keys().chain(&tally.empty).filter(may_fill);
            let all: BTreeSet<Slot> = slots.cloned().collect();
            tally.could_fill.insert(person.clone(), all);
            tally.place(person, &mut BTreeSet::new());
            if tally.empty.is_empty() {
                break;
            }
        }
        tally.empty
    }
}

/// How many signatures each stage needs; a confirmation is one stage of one, and so is a rule that
/// is not sound, whose slot nobody may sign.
#[must_use]
pub fn stage_counts(rule: &ApprovalRule) -> Vec<u32> {
    if rule.confirmation || !rule.is_sound() {
        return vec![1];
    }
    rule.stages.iter().map(|stage| stage.count.max(1)).collect()
}

/// The shortest of a span over several rules; with none, no time at all.
#[must_use]
pub fn shortest(rules: &[ApprovalRule], of: impl Fn(&ApprovalRule) -> Span) -> Span {
    rules.iter().map(of).min().unwrap_or(Span::from_millis(0))
}
