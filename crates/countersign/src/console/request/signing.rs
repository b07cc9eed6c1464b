//! How far the rules of a case are, and who could sign what is open.
//!
//! In scope: rules, stages and slots as the page shows them.
//! Out of scope: counting; the core's tally is shown as it is.

use std::collections::BTreeSet;

use countersign_console::{
    part::Moment,
    request::{Rule, Signature, Slot as Shown, Stage, StageState},
};
use countersign_core::{
    approval::{
        ApprovalRule,
        myself::myself,
        quorum::{Electorate, Signer, Slot, Tally, stage_counts},
        rule::ReasonRequirement,
    },
    id::PersonId,
    lifecycle,
    request::Case,
};

use crate::{
    api::{detail::assurance, ways::Ways},
    console::{viewer::Viewer, waiting, words},
};

/// How many names an open slot lists.
const NAMED: usize = 10;

/// What the progress of a case is judged by.
struct Signing<'a> {
    viewer: &'a Viewer<'a>,
    case: &'a Case,
    tally: Tally,
    electorate: Electorate<'a>,
    /// With what people could sign, and did.
    ways: &'a Ways,
    /// Whether the viewer's vote would be taken in this session.
    mine: bool,
}

/// The rules of a case with their progress.
pub(super) fn rules(viewer: &Viewer<'_>, case: &Case, ways: &Ways) -> Vec<Rule> {
    let side = myself(case, &viewer.active.directory);
    let world = viewer.active.world();
    let signing = Signing {
        viewer,
        case,
        tally: lifecycle::progress(case, world),
        electorate: waiting::electorate(viewer, case, &side),
        ways,
        mine: waiting::refusal(viewer, case).is_none(),
    };
    case.request
        .rules
        .iter()
        .map(|rule| signing.rule(rule))
        .collect()
}

impl Signing<'_> {
    fn rule(&self, rule: &ApprovalRule) -> Rule {
        let hours = rule.hours.as_ref();
        Rule {
            name: rule.name.to_string(),
            confirmation: rule.confirmation,
            assurance: assurance(rule.assurance).into(),
            reason_required: rule.reason == ReasonRequirement::Required,
            hours: hours.map(ToString::to_string).unwrap_or_default(),
            outside_hours: hours.is_some_and(|hours| !hours.contains(self.viewer.now)),
            expires: rule.expires.to_string(),
            valid_for: rule.valid_for.to_string(),
            unreachable: String::new(),
            stages: self.stages(rule),
            lifted: self.case.lifted.iter().any(|lift| lift.rule == rule.name)
                && !self.has_slots(rule),
            emergency: rule
                .emergency
                .as_ref()
                .map_or_else(String::new, |emergency| {
                    let from: Vec<_> = emergency.from.iter().map(ToString::to_string).collect();
                    let within = emergency.review_within;
                    format!("lifted by {}, reviewed within {within}", words::list(&from))
                }),
        }
    }

    /// Whether somebody has to sign it: a rule that was lifted has no slots.
    fn has_slots(&self, rule: &ApprovalRule) -> bool {
        let mut slots = self.tally.filled.keys().chain(&self.tally.empty);
        slots.any(|slot| slot.rule == rule.name)
    }

    fn stages(&self, rule: &ApprovalRule) -> Vec<Stage> {
        let of_rule = |slot: &&Slot| slot.rule == rule.name;
        let open = self
            .tally
            .empty
            .iter()
            .filter(of_rule)
            .map(|slot| slot.stage)
            .min();
        let numbers = (0u32..).zip(stage_counts(rule)).map(|(stage, _)| stage);
        let stages = numbers.filter_map(|stage| {
            let state = match open {
                Some(open) if stage == open => StageState::Open,
                Some(open) if stage > open => StageState::NotYet,
                _ => StageState::Complete,
            };
            let slots = self.slots(rule, stage, state);
            // A rule that was lifted has no slots.
            (!slots.is_empty()).then_some(Stage { state, slots })
        });
        stages.collect()
    }

    fn slots(&self, rule: &ApprovalRule, stage: u32, state: StageState) -> Vec<Shown> {
        let here = |slot: &Slot| slot.rule == rule.name && slot.stage == stage;
        let filled = self.tally.filled.iter().filter(|(slot, _)| here(slot));
        let empty = self.tally.empty.iter().filter(|slot| here(slot)).count();
        let filled = filled.map(|(_, person)| Shown::Filled(self.signature(person)));
        let open = (empty > 0).then(|| self.empty(rule, stage, state));
        filled
            .chain(
                open.into_iter()
                    .flat_map(|slot| std::iter::repeat_n(slot, empty)),
            )
            .collect()
    }

    fn signature(&self, person: &PersonId) -> Signature {
        // What runs under a grant has the votes of the request that it was given with.
        let lent = self.case.granted.iter().flat_map(|granted| &granted.votes);
        let mut votes = self.case.votes.iter().chain(lent);
        let vote = votes.find(|vote| vote.voter == *person);
        let with = self.ways.signed_with(person);
        Signature {
            by: person.to_string(),
            at: vote.map_or_else(Moment::default, |vote| self.viewer.moment(vote.at)),
            assurance: vote
                .map(|vote| assurance(vote.credential.assurance))
                .unwrap_or_default()
                .into(),
            in_place_of: vote
                .and_then(|vote| vote.in_place_of.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            mine: *person == self.viewer.session.person,
            passkey: with.and_then(|with| with.label.clone()).unwrap_or_default(),
            void: with.is_some_and(|with| !with.counts),
        }
    }

    fn empty(&self, rule: &ApprovalRule, stage: u32, state: StageState) -> Shown {
        let index = usize::try_from(stage).unwrap_or(usize::MAX);
        let from = match rule.stages.get(index) {
            Some(stage) => stage.from.iter().map(ToString::to_string).collect(),
            None => vec!["the person it acts for".into()],
        };
        let signed: BTreeSet<_> = self.tally.filled.values().collect();
        let could = |person| {
            let counts = match state {
                StageState::Open => self.ways.able().contains_key(person),
                StageState::NotYet => self.case.phase.is_open() && !signed.contains(person),
                StageState::Complete => false,
            };
            let now = self.viewer.now;
            let signer = self.electorate.signer_of(person, rule, stage, now);
            signer.filter(|_| counts)
        };
        let everybody = self.viewer.active.directory.people.keys();
        let people: Vec<_> = everybody.filter_map(could).collect();
        let open = state == StageState::Open;
        let viewer = &self.viewer.session.person;
        let own = people.iter().find(|signer| signer.person == viewer);
        let in_place_of = own.and_then(|signer| signer.in_place_of);
        Shown::Empty {
            from,
            mine: open && self.mine && own.is_some(),
            in_place_of: in_place_of.map(ToString::to_string).unwrap_or_default(),
            more: words::count(people.len().saturating_sub(NAMED)),
            people: people.iter().take(NAMED).map(|one| said(*one)).collect(),
        }
    }
}

/// Somebody who could sign, and for whom.
fn said(signer: Signer<'_>) -> String {
    match signer.in_place_of {
        Some(away) => format!("{} in the place of {away}", signer.person),
        None => signer.person.to_string(),
    }
}
