//! Hours, expiry, validity, escalation, and clocks that jump.

use countersign_core::{
    lifecycle::{Event, deadline},
    request::Phase,
    time::{Span, Timestamp},
};

use crate::scene::{START, Scene, check};

#[test]
fn waiting_and_approval_end() {
    check(&[
        (
            &["r: 1 group:dba | expires 30m"],
            "+29m ann+",
            "held approved",
        ),
        (
            &["r: 1 group:dba | expires 30m"],
            "+30m ann+",
            "expired not_open",
        ),
        (
            &["r: 1 group:dba | valid 5m"],
            "ann+ +5m claim",
            "approved approved running",
        ),
        (
            &["r: 1 group:dba | valid 5m"],
            "ann+ +300001ms claim",
            "approved unclaimed lapsed",
        ),
        (
            &["r: 2 group:dba | valid 5m"],
            "ann+ +20m bob+ +4m claim",
            "held held approved approved running",
        ),
        (
            &["r: 1 group:dba | expires 5m | valid 1h"],
            "+4m ann+ +50m claim",
            "held approved approved running",
        ),
        (
            &["r: 1 group:dba | expires 5m | valid 1h"],
            "ann+ +6m ann~",
            "approved approved expired",
        ),
        (
            &["r: 1 group:dba"],
            "ann+ +365000d claim",
            "approved unclaimed lapsed",
        ),
    ]);
}

#[test]
fn a_late_event_meets_a_case_that_time_has_ended() {
    for (minutes, who, expected) in [(30, "ann", "not_open/expired"), (29, "ann", "approved")] {
        let mut scene = Scene::new(&["r: 1 group:dba"]);
        scene.now = START.after(Span::minutes(minutes));
        assert_eq!(scene.approve(who, |_| ()), expected);
    }
    let mut scene = Scene::new(&["r: 1 group:dba"]);
    scene.play("ann+");
    scene.now = START.after(Span::minutes(11));
    assert_eq!(scene.play("claim claim"), "lapsed/unclaimed lapsed");
    assert!(scene.intents.is_empty());
}

#[test]
fn several_rules_take_the_shortest_times_and_the_highest_assurance() {
    let rules: &[&str] = &[
        "a: 1 group:dba | expires 10m | valid 9m",
        "b: 1 group:security | expires 20m | valid 3m | passkey",
    ];
    check(&[
        (rules, "+10m", "expired"),
        (
            rules,
            "ann+ cat+ +3m claim",
            "held approved approved running",
        ),
        (
            rules,
            "ann+ cat+ +4m claim",
            "held approved unclaimed lapsed",
        ),
    ]);
    let weak = Scene::new(rules).approve("ann", |ballot| {
        ballot.credential.assurance = countersign_core::approval::rule::Assurance::Session;
    });
    assert_eq!(weak, "assurance_too_low");
}

#[test]
fn hours_of_every_rule_count_when_voting() {
    // The scene starts on a Friday at 12:00 UTC.
    let rules: &[&str] = &[
        "a: 1 group:dba | expires 8d | hours Fri 08:00-13:00 UTC",
        "b: 1 group:security | expires 8d",
    ];
    check(&[
        (rules, "ann+ cat+", "held approved"),
        (
            rules,
            "+1h ann+ cat+ cat-",
            "held outside_hours outside_hours denied",
        ),
        (
            rules,
            "+1h +6d +23h ann+ cat+",
            "held held held held approved",
        ),
        (rules, "+8d ann+", "expired not_open"),
    ]);
}

#[test]
fn escalation_adds_people_and_never_skips_a_stage() {
    let rules: &[&str] = &["r: 1 group:dba > 1 group:security | escalate 10m group:oncall"];
    check(&[
        (
            rules,
            "eve+ +9m eve+ +1m eve+",
            "not_eligible held not_eligible held held",
        ),
        (
            rules,
            "+10m eve+ eve+ cat+",
            "held held already_voted approved",
        ),
        (rules, "ann+ +10m eve+", "held held approved"),
        (rules, "+10m cat+", "held not_needed"),
        (rules, "eve- +10m eve-", "not_eligible held denied"),
        (
            rules,
            "ann+ cat+ +10m eve+",
            "held approved approved not_needed",
        ),
    ]);
    let mut scene = Scene::new(rules);
    assert_eq!(deadline(&scene.case), Some(START.after(Span::minutes(10))));
    scene.play("+10m +1m");
    assert_eq!(scene.facts.len(), 1);
    assert_eq!(deadline(&scene.case), Some(START.after(Span::minutes(30))));
}

#[test]
fn the_end_of_time_overflows_nothing() {
    for at in [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX] {
        let rules = &["r: 1 group:dba | escalate 10m group:oncall | valid 106751991167d"];
        let mut scene = Scene::with(rules, |town, request| {
            request.at = Timestamp(at);
            for person in town.directory.people.values_mut() {
                for member in person.groups.values_mut() {
                    member.since = Timestamp(i64::MIN);
                }
            }
        });
        for now in [i64::MIN, -1, 0, at, i64::MAX] {
            scene.now = Timestamp(now);
            let before = scene.case.clone();
            for event in ["ann+", "ann~", "ann+", "claim", "restart", "sam!"] {
                scene.play(event);
            }
            scene.tell(Event::Tick);
            let _ = deadline(&scene.case);
            scene.case = before;
        }
    }
}

#[test]
fn validity_that_became_shorter_holds_at_once() {
    let rules = &["r: 2 group:dba | valid 10m"];
    for (told, later, expected) in [
        (true, 3, "approved running"),
        (true, 4, "unclaimed lapsed"),
        (false, 3, "running"),
        (false, 4, "lapsed/unclaimed"),
    ] {
        let mut scene = Scene::new(rules);
        scene.play("ann+ bob+");
        let rule = scene.town.rules.values_mut().next().unwrap();
        rule.valid_for = Span::minutes(3);
        let mut results = Vec::new();
        scene.now = START.after(Span::minutes(later));
        if told {
            results.push(scene.tell(Event::WorldChanged));
        }
        results.push(scene.play("claim"));
        assert_eq!(results.join(" "), expected, "{told} {later}");
    }
}

#[test]
fn an_approval_that_comes_back_is_no_younger() {
    let mut scene = Scene::new(&["r: 1 group:dba | valid 10m"]);
    scene.play("ann+ ann=0 +5m");
    assert_eq!(scene.play("ann=1"), "approved");
    let until = START.after(Span::minutes(10));
    assert_eq!(scene.case.phase, Phase::Approved { until });
    assert_eq!(scene.play("ann=0 +6m ann=1"), "held held unclaimed");
}
