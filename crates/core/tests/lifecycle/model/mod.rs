//! Random lives of a request beside a naive model of the promises.
//!
//! In scope: plans of events (`plan`), what has really happened (`history`), quorums by trying
//! every assignment (`brute`), the invariants, and faults that each invariant must report.
//! Out of scope: exact refusals, which the tables next door list.

mod brute;
pub(crate) mod faults;
mod history;
mod invariants;
mod plan;

use std::collections::BTreeSet;

use countersign_core::{
    lifecycle::{Event, Refusal, Step, World, open, step},
    request::{Case, Phase},
    time::Timestamp,
};
use proptest::test_runner::{Config, TestRunner};

use history::History;
use plan::{Plan, Stage};

/// The function under test, or a faulty copy of it.
pub(crate) type StepFn = fn(Case, Event, World<'_>, Timestamp) -> Result<Step, Refusal>;

/// One event with everything around it.
struct Observation<'a> {
    stage: &'a Stage,
    history: &'a History,
    before: &'a Case,
    event: &'a Event,
    now: Timestamp,
    result: &'a Result<Step, Refusal>,
    again: &'a Result<Step, Refusal>,
}

impl Observation<'_> {
    fn world(&self) -> World<'_> {
        self.stage.town.world()
    }

    /// The case afterwards.
    fn after(&self) -> &Case {
        self.result.as_ref().map_or(self.before, |step| &step.case)
    }

    fn step(&self) -> Option<&Step> {
        self.result.as_ref().ok()
    }

    /// Whether the event itself was taken, not only time's passing.
    fn is_taken(&self) -> bool {
        self.step().is_some_and(|step| step.refused.is_none())
    }
}

/// What a play came to: the invariants broken, and the phases seen on the way.
#[derive(Default)]
struct Played {
    broken: BTreeSet<&'static str>,
    /// Whether it ran with a vote in somebody's place.
    stood_in: bool,
    phases: BTreeSet<&'static str>,
}

/// Plays a plan to its end, past broken invariants.
fn play(plan: &Plan, step: StepFn) -> Played {
    let mut played = Played::default();
    let mut stage = Stage::new(plan);
    let Ok(mut case) = open(stage.request.clone(), stage.town.world()) else {
        return played;
    };
    let mut history = History::new(&case);
    let mut now = case.request.at;
    for act in &plan.acts {
        now = Timestamp(now.0 + act.wait);
        if stage.change(&act.word, &mut case, now) {
            history.tampered = true;
        }
        let Some(event) = stage.event(&act.word, &case, now) else {
            continue;
        };
        history.meet(&stage, &event);
        let world = stage.town.world();
        let result = step(case.clone(), event.clone(), world, now);
        let again = step(case.clone(), event.clone(), world, now);
        history.note(&event, &result, now);
        let seen = Observation {
            stage: &stage,
            history: &history,
            before: &case,
            event: &event,
            now,
            result: &result,
            again: &again,
        };
        played.broken.extend(invariants::broken(&seen));
        played.phases.insert(seen.after().phase.name());
        let ran = matches!(seen.after().phase, Phase::Running { .. });
        let lent = |vote: &countersign_core::approval::Vote| vote.in_place_of.is_some();
        played.stood_in |= ran && seen.after().votes.iter().any(lent);
        if let Ok(step) = result {
            case = step.case;
        }
        stage.last = Some(event);
    }
    played
}

fn cases() -> u32 {
    match std::env::var("COUNTERSIGN_FULL") {
        Ok(full) if full == "1" => 20_000,
        _ => 400,
    }
}

#[test]
fn random_lives_keep_every_promise() {
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&plan::plans(), |plan| {
            let broken = play(&plan, step).broken;
            proptest::prop_assert!(broken.is_empty(), "{broken:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_lives_reach_every_phase() {
    let mut runner = TestRunner::deterministic();
    let mut phases = BTreeSet::new();
    let mut stood_in = false;
    for _ in 0..800 {
        let played = play(&plan::sample(&mut runner), step);
        phases.extend(played.phases);
        stood_in |= played.stood_in;
    }
    assert!(stood_in, "nothing ran on a stand-in's vote");
    let closures = ["denied", "expired", "unclaimed", "cancelled", "amended"];
    let others = [
        "held",
        "approved",
        "running",
        "succeeded",
        "failed",
        "unknown",
    ];
    let more = ["unreachable", "policy_changed", "requester_stopped"];
    let all: BTreeSet<_> = closures.into_iter().chain(others).chain(more).collect();
    assert_eq!(phases, all);
}

/// Whether nothing more can happen.
fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Finished { .. } | Phase::Closed { .. })
}
