//! Every interleaving of a small life: one request by an agent, its owner, three voters, a rule of
//! two signatures, and a clock of four moments.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};

use countersign_core::{
    decision::DenyReason,
    id::RequestId,
    lifecycle::{Event, Fact, deadline, step},
    request::{Case, MessageKind, Phase},
    time::{Span, Timestamp},
};
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    model::{StepFn, faults},
    scene::{START, Scene, bot, person, someone},
};

const RULE: &str = "r: 2 user:ann user:bob user:cat user:olga | expires 20m | valid 10m";
const OTHERS: [&str; 3] = ["ann", "bob", "cat"];
const LAST_MOMENT: i64 = 3;

/// The case, and what has really happened beside it.
#[derive(Clone, Debug, PartialEq)]
struct State {
    case: Case,
    moment: i64,
    approving: BTreeSet<&'static str>,
    /// `ann` has left.
    is_ann_gone: bool,
    denied: bool,
    permits: u8,
    /// A permit was given that the claim's decision or the votes did not carry.
    unfounded: bool,
    /// The name of the first phase after which nothing may come.
    over: Option<&'static str>,
    /// When the case asks to be woken, seen after a step.
    overdue: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        serde_json::to_string(&self.case).unwrap().hash(hasher);
        (self.moment, &self.approving, self.is_ann_gone, self.denied).hash(hasher);
        (self.permits, self.unfounded, self.over, self.overdue).hash(hasher);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Word(&'static str),
    Wait,
    AnnLeaves,
    Told,
    ClaimDenied,
    Amend,
}

const WORDS: &[&str] = &[
    "ann+",
    "bob+",
    "cat+",
    "olga+",
    "ann-",
    "cat-",
    "olga-",
    "ann~",
    "bob~",
    "cat~",
    "claim",
    "claim:rita",
    "restart",
    "done",
    "failed",
    "olgax",
    "bob^",
];

/// Enough for every fault to show.
const FEW: &[&str] = &["ann+", "bob+", "olga+", "cat-", "claim"];

type Law = Property<Life>;

struct Life {
    step: StepFn,
    words: &'static [&'static str],
}

impl Life {
    fn scene(state: &State) -> Scene {
        let mut scene = Scene::new(&[RULE]);
        scene.town.person("ann").disabled = state.is_ann_gone;
        scene.now = START.after(Span::from_millis(state.moment * 600_000));
        scene.case = state.case.clone();
        scene
    }

    fn event(scene: &Scene, action: Action) -> Event {
        let into = RequestId::from_bits(2);
        match action {
            Action::Word(word) => scene.event(word),
            Action::Wait => Event::Tick,
            Action::AnnLeaves | Action::Told => Event::WorldChanged,
            Action::ClaimDenied => scene.claim(
                bot(),
                countersign_core::decision::Decision::deny(DenyReason::Forbidden),
            ),
            Action::Amend => {
                let kind = MessageKind::Amendment {
                    request: into.clone(),
                };
                let message = scene.message(someone("cat"), kind, "so");
                let editor = person("cat");
                Event::Amend {
                    editor,
                    into,
                    message,
                }
            }
        }
    }

    /// Handles an event and keeps the books beside it.
    fn handle(&self, scene: &Scene, state: &mut State, action: Action) -> Option<()> {
        let event = Self::event(scene, action);
        let (case, now) = (state.case.clone(), scene.now);
        let done = (self.step)(case, event, scene.town.world(), now).ok()?;
        let carried = state
            .approving
            .iter()
            .filter(|name| !(state.is_ann_gone && **name == "ann"));
        if done.intent.is_some() {
            state.permits = state.permits.saturating_add(1);
            let grown = |name: &&&str| done.case.self_grown.contains(&person(name));
            let enough = carried.filter(|name| !grown(name)).count() >= 2;
            state.unfounded |= !enough || action != Action::Word("claim");
        }
        state.case = Case {
            version: 0,
            ..done.case
        };
        for fact in done.facts {
            match fact {
                Fact::Voted { vote, .. } => {
                    let name = OTHERS.iter().find(|name| person(name) == vote.voter);
                    match vote.verdict {
                        countersign_core::approval::vote::Verdict::Deny => state.denied = true,
                        _ => state.approving.extend(name),
                    }
                }
                Fact::Withdrawn { voter } => state.approving.retain(|name| person(name) != voter),
                _ => {}
            }
        }
        let phase = &state.case.phase;
        if matches!(phase, Phase::Finished { .. } | Phase::Closed { .. }) {
            state.over = state.over.or(Some(phase.name()));
        }
        state.overdue |= deadline(&state.case).is_some_and(|at| at <= now);
        Some(())
    }
}

impl Model for Life {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            case: Scene::new(&[RULE]).case,
            moment: 0,
            approving: BTreeSet::new(),
            is_ann_gone: false,
            denied: false,
            permits: 0,
            unfounded: false,
            over: None,
            overdue: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.words.iter().copied().map(Action::Word));
        actions.extend([Action::Told, Action::ClaimDenied, Action::Amend]);
        // The later moments of what has ended look all alike.
        if state.over.is_some() {
            return;
        }
        if state.moment < LAST_MOMENT {
            actions.push(Action::Wait);
        }
        if !state.is_ann_gone {
            actions.push(Action::AnnLeaves);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Wait => state.moment += 1,
            Action::AnnLeaves => {
                state.is_ann_gone = true;
                return Some(state);
            }
            _ => {}
        }
        let scene = Self::scene(&state);
        self.handle(&scene, &mut state, action).map(|()| state)
    }

    fn properties(&self) -> Vec<Law> {
        vec![
            Law::always("two others and policy carry a permit", |_, s: &State| {
                !s.unfounded
            }),
            Law::always("at most one permit", |_, s| s.permits <= 1),
            Law::always("self never votes", |_, s| {
                s.case.votes.iter().all(|vote| vote.voter != person("olga"))
            }),
            Law::always("one vote a person", |_, s| {
                s.case.votes.len() <= s.approving.len() + usize::from(s.denied)
            }),
            Law::always("deny is final", |_, s| !s.denied || in_phase(s, "denied")),
            Law::always("terminal is terminal", |_, s| {
                s.over.is_none_or(|name| in_phase(s, name))
            }),
            Law::always("deadlines are acted on", |_, s| !s.overdue),
            Law::always("running needs a permit", |_, s| {
                !in_phase(s, "running") || s.permits == 1
            }),
            Law::sometimes("held", |_, s| in_phase(s, "held")),
            Law::sometimes("approved", |_, s| in_phase(s, "approved")),
            Law::sometimes("running", |_, s| in_phase(s, "running")),
            Law::sometimes("succeeded", |_, s| in_phase(s, "succeeded")),
            Law::sometimes("failed", |_, s| in_phase(s, "failed")),
            Law::sometimes("unknown", |_, s| in_phase(s, "unknown")),
            Law::sometimes("denied", |_, s| in_phase(s, "denied")),
            Law::sometimes("expired", |_, s| in_phase(s, "expired")),
            Law::sometimes("unclaimed", |_, s| in_phase(s, "unclaimed")),
            Law::sometimes("cancelled", |_, s| in_phase(s, "cancelled")),
            Law::sometimes("amended", |_, s| in_phase(s, "amended")),
            Law::sometimes("unreachable", |_, s| in_phase(s, "unreachable")),
            Law::sometimes("policy changed", |_, s| in_phase(s, "policy_changed")),
        ]
    }
}

fn in_phase(state: &State, name: &str) -> bool {
    state.case.phase.name() == name
}

#[test]
fn every_interleaving_keeps_every_promise() {
    let life = Life { step, words: WORDS };
    let checker = life.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(checker.unique_state_count() > 1_000);
}

#[test]
fn a_faulty_step_is_found() {
    let faults: [(StepFn, &str); 7] = [
        (
            faults::permits_what_is_only_held,
            "two others and policy carry a permit",
        ),
        (
            faults::ignores_policy,
            "two others and policy carry a permit",
        ),
        (faults::permits_again, "at most one permit"),
        (faults::counts_self, "self never votes"),
        (faults::forgets_a_denial, "deny is final"),
        (faults::reopens, "terminal is terminal"),
        (faults::never_ticks, "deadlines are acted on"),
    ];
    for (step, name) in faults {
        let life = Life { step, words: FEW };
        let checker = life
            .checker()
            .finish_when(HasDiscoveries::AnyFailures)
            .target_max_depth(8)
            .spawn_bfs()
            .join();
        assert!(
            checker.discovery(name).is_some(),
            "no interleaving breaks `{name}`"
        );
    }
}

#[test]
fn the_clock_reaches_past_every_deadline() {
    let last = START.after(Span::from_millis(LAST_MOMENT * 600_000));
    assert!(last > Timestamp(START.0 + 20 * 60_000));
}
